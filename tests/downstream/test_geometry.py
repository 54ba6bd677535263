"""Resampling and geometry against closed forms, then there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ubr.downstream.geometry import Geometry, prepare
from ubr.downstream.slices import View, key_volume
from ubr.pretrain.data.deeplesion.images import slice_path
from ubr.pretrain.data.deeplesion.table import read_table


def blob(height: int, width: int, box: tuple[float, float, float, float]) -> NDArray[np.float32]:
    """A slice of soft tissue with 1000 HU on whole pixels of a box."""
    hu = np.full((1, height, width), 40, np.float32)
    x1, y1, x2, y2 = map(int, box)
    hu[:, y1:y2, x1:x2] = 1000
    return hu


def test_prepare__a_box_stays_on_its_lesion() -> None:
    """The lesion's extent in the image, from its mass and centre, is the mapped box."""
    edges = (60, 90, 100, 120)
    hu, boxes, geometry = prepare(blob(200, 300, edges), [edges], (0.5, 0.7, 5.0), View())
    assert (geometry.crop_px, geometry.size_px, hu.shape) == ((300, 200), (188, 175), (1, 175, 188))
    share = (hu[0].astype(float) - 40) / 960
    y, x = np.mgrid[: hu.shape[1], : hu.shape[2]] + 0.5
    (x1, y1, x2, y2), mass = boxes[0], share.sum()
    assert mass == pytest.approx((x2 - x1) * (y2 - y1), rel=0.01)
    assert (share * x).sum() / mass == pytest.approx((x1 + x2) / 2, abs=0.02)
    assert (share * y).sum() / mass == pytest.approx((y1 + y2) / 2, abs=0.02)
    assert np.ptp(boxes[0, ::2]) * 0.8 == pytest.approx(40 * 0.5, rel=0.01)  # in mm as it was


def test_prepare__at_its_own_pixel_size_changes_nothing() -> None:
    hu = np.random.default_rng(0).integers(-800, 1000, (3, 40, 50)).astype(np.float32)
    out, boxes, geometry = prepare(hu, [(1, 2, 3, 4)], (0.8, 0.8, 1), View())
    assert (
        (out == hu).all()
        and (boxes == [(1, 2, 3, 4)]).all()
        and geometry == Geometry(0, 0, (50, 40), (50, 40))
    )


def test_prepare__the_longest_side_is_a_limit() -> None:
    out, boxes, _ = prepare(
        blob(100, 400, (100, 20, 200, 60)), [(100, 20, 200, 60)], (2, 2, 1), View(longest_px=512)
    )
    assert out.shape == (1, 128, 512) and boxes == pytest.approx(np.array([[128, 25.6, 256, 76.8]]))
    assert prepare(blob(8, 8, (1, 1, 2, 2)), [], (0.1, 0.1, 1), View(mm_per_px=20))[0].shape == (
        1,
        1,
        1,
    )


def test_prepare__reduction_averages() -> None:
    """Antialiased:

    noise of 100 HU is 25 HU after a reduction by four (a box filter's share; a triangle's is less),
    the mean stays.
    """
    hu = np.random.default_rng(0).normal(40, 100, (1, 256, 256)).astype(np.float32)
    out, _, _ = prepare(hu, [], (0.2, 0.2, 1), View())
    assert (
        out.shape == (1, 64, 64) and 12 < out.std() < 25 and out.mean() == pytest.approx(40, abs=2)
    )


def test_prepare__clips_the_border_with_a_margin() -> None:
    hu = np.full((1, 200, 300), -1000, np.float32)
    hu[0, 50:120, 100:250] = 40
    _, _, geometry = prepare(hu, [], (0.8, 0.8, 1), View())
    assert (geometry.left, geometry.top, geometry.crop_px) == (92, 42, (166, 86))
    _, _, geometry = prepare(hu, [], (0.8, 0.8, 1), View(clip_border=False))
    assert (geometry.left, geometry.top, geometry.crop_px) == (0, 0, (300, 200))
    neighbour = hu.copy()
    neighbour[0, 10, 280] = 40
    _, _, geometry = prepare(
        np.concatenate([neighbour, hu, hu]), [], (0.8, 0.8, 1), View(channels=3)
    )
    assert (geometry.left, geometry.top, geometry.crop_px) == (
        92,
        2,
        (197, 126),
    )  # what one channel shows is no border


def test_prepare__never_cuts_a_box() -> None:
    hu = np.full((1, 200, 300), -1000, np.float32)
    hu[0, 50:120, 100:250] = 40
    _, boxes, geometry = prepare(
        hu, [(10.5, 60, 30, 80), (120, 100, 140, 199.5)], (0.8, 0.8, 1), View()
    )
    assert (geometry.left, geometry.top, geometry.crop_px) == (10, 42, (248, 158))
    assert boxes[0] == pytest.approx([0.5, 18, 20, 38])


def test_prepare__a_slice_of_air_stays_whole() -> None:
    out, _, geometry = prepare(np.full((1, 40, 40), -2000, np.float32), [], (0.8, 0.8, 1), View())
    assert geometry == Geometry(0, 0, (40, 40), (40, 40)) and (out == -1024).all()


GEOMETRIES = st.builds(
    Geometry,
    st.integers(0, 100),
    st.integers(0, 100),
    st.tuples(st.integers(1, 600), st.integers(1, 600)),
    st.tuples(st.integers(1, 600), st.integers(1, 600)),
    st.booleans(),
)
BOXES = st.lists(st.tuples(*[st.floats(-50, 700)] * 4), max_size=4)


@settings(deadline=None)
@given(GEOMETRIES, BOXES)
def test_geometry__there_and_back(geometry: Geometry, boxes: list[tuple[float, ...]]) -> None:
    slice_boxes = np.array(boxes).reshape(-1, 4)
    image_boxes = geometry.to_image(slice_boxes)
    np.testing.assert_allclose(geometry.to_slice(image_boxes), slice_boxes, atol=1e-3)
    assert image_boxes.shape == slice_boxes.shape
    float32 = geometry.to_slice(image_boxes.astype(np.float32))  # as a detector's boxes come
    np.testing.assert_allclose(float32, slice_boxes, atol=1e-3 * max(1, *(1 / geometry.scale)))


@settings(deadline=None)
@given(GEOMETRIES, BOXES)
def test_geometry__a_flip_mirrors_and_twice_is_none(
    geometry: Geometry, boxes: list[tuple[float, ...]]
) -> None:
    slice_boxes = np.array(boxes).reshape(-1, 4)
    assert geometry.flip().flip() == geometry
    plain, mirrored = geometry.to_image(slice_boxes), geometry.flip().to_image(slice_boxes)
    np.testing.assert_allclose(mirrored[:, 0] + plain[:, 2], geometry.size_px[0])
    np.testing.assert_allclose(mirrored[:, [1, 3]], plain[:, [1, 3]])
    np.testing.assert_allclose(
        mirrored[:, 2] - mirrored[:, 0], plain[:, 2] - plain[:, 0], atol=1e-6
    )


def test_geometry__corners_of_the_crop_are_corners_of_the_image() -> None:
    geometry = Geometry(20, 30, (100, 50), (80, 70), flipped=True)
    assert (geometry.to_image([(20, 30, 120, 80)]) == [(0, 0, 80, 70)]).all()
    with pytest.raises(ValueError, match="sizes must be positive"):
        Geometry(0, 0, (0, 5), (5, 5))


def test_prepare__real_slices_keep_their_lesions(lesions: Path) -> None:
    """Boxes come back, keep their size in mm, and hold the same tissue before and after."""
    view, images = View(), lesions / "Images_png"
    keys = [k for k in read_table(lesions) if slice_path(images, k.folder, k.index).is_file()]
    assert keys
    for key in keys:
        hu, _ = key_volume(images, key, view)
        assert (hu.shape[2], hu.shape[1]) == key.size_px
        edges = np.array([b.edges for b in key.boxes])
        out, boxes, geometry = prepare(hu, edges, key.spacing_mm, view)
        np.testing.assert_allclose(geometry.to_slice(boxes), edges, atol=1e-3)
        assert max(out.shape) <= view.longest_px
        liver = all(box.lesion_type == 4 for box in key.boxes)
        if liver:  # there is air above and below each of these bodies
            assert geometry.crop_px[1] < 480
        for before, after in zip(edges, boxes, strict=True):
            (u1, v1, u2, v2), (x1, y1, x2, y2) = (
                before.round().astype(int),
                after.round().astype(int),
            )
            # Boxes are rounded to pixels here, which counts where lung lies around the lesion.
            assert out[0, y1:y2, x1:x2].mean() == pytest.approx(
                hu[0, v1:v2, u1:u2].mean(), abs=15 if liver else 40
            )
