"""Neighbours against a formula a channel; resampling and geometry against closed forms, then there
and back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.downstream.test_deeplesion import lesions, write_slice
from ubr.downstream.deeplesion import Box, KeySlice, read_table
from ubr.downstream.slices import Geometry, View, key_volume, load_hu, plan, prepare, slice_path

__all__ = ["lesions"]  # a fixture
FOLDER = "000007_01_01"


def key_slice(spacing_z: float, index: int = 50, span: tuple[int, int] = (30, 70)) -> KeySlice:
    return KeySlice(
        FOLDER, index, 7, "train", (Box(1, 1, 5, 5),), (0.8, 0.8, spacing_z), span, (6, 4)
    )


def write_ramp(
    folder: Path, indices: range, without: tuple[int, ...] = ()
) -> dict[int, NDArray[np.int64]]:
    """Slices of random HU, by index."""
    rng = np.random.default_rng(0)
    slices = {i: rng.integers(-1024, 3071, (4, 6)) for i in indices if i not in without}
    for i, hu in slices.items():
        write_slice(folder, f"{FOLDER}/{i:03d}", hu)
    return slices


# ---- neighbours


@pytest.mark.parametrize("spacing_z", [0.25, 0.59998, 1.0, 1.25, 2.0, 2.5, 3.0, 5.0, 7.0])
@pytest.mark.parametrize("channels", [1, 3, 5, 7, 9])
def test_key_volume__each_neighbour_has_the_weights_of_its_own_place(
    tmp_path: Path, spacing_z: float, channels: int
) -> None:
    """The oracle: HU as a function of mm, straight lines between slices, read at -d .. d mm."""
    slices = write_ramp(tmp_path, range(1, 100))
    key = key_slice(spacing_z, span=(1, 99))
    hu, filled = key_volume(tmp_path / "Images_png", key, View(channels=channels, distance_mm=2.0))
    mm = [(i - key.index) * spacing_z for i in slices]
    for c in range(channels):
        at = (c - channels // 2) * 2.0
        for y, x in np.ndindex(4, 6):
            assert hu[c, y, x] == pytest.approx(
                np.interp(at, mm, [s[y, x] for s in slices.values()]), abs=0.5
            )
    assert (hu.shape, hu.dtype, filled) == ((channels, 4, 6), np.float32, 0)


def test_plan__five_millimetres() -> None:
    """At 5 mm the slice at +4 mm is 0.2 of the key slice and 0.8 of the next; +6 mm is 0.8 of the
    next and 0.2 of the one after.
    """
    channels = plan(key_slice(5.0), View(channels=7), lambda i: True)
    assert [(c.lower, c.upper) for c in channels] == [
        (48, 49),
        (49, 50),
        (49, 50),
        (50, 50),
        (50, 51),
        (50, 51),
        (51, 52),
    ]
    assert [c.weight for c in channels] == pytest.approx([0.8, 0.2, 0.6, 0, 0.4, 0.8, 0.2])


def test_plan__a_whole_number_of_slices_needs_no_interpolation() -> None:
    """2 mm is five slices of 0.4 mm, though 2 / 0.4 need not be exactly 5; and of 0.399999 mm for
    the table's rounding.
    """
    for spacing_z in (0.4, 0.1, 2.0, 0.3999999):
        assert all(
            c.weight == 0 and c.lower == c.upper
            for c in plan(key_slice(spacing_z), View(channels=5), lambda i: True)
        )


def test_plan__is_symmetric() -> None:
    for spacing_z in (0.7, 1.0, 3.0, 5.0):
        channels = plan(key_slice(spacing_z), View(channels=9), lambda i: True)
        for up, down in zip(channels, reversed(channels), strict=True):
            mirrored = 100 - (up.lower * (1 - up.weight) + up.upper * up.weight)
            assert mirrored == pytest.approx(
                down.lower * (1 - down.weight) + down.upper * down.weight
            )


def test_key_volume__an_absent_neighbour_is_the_nearest_that_exists_and_is_counted(
    tmp_path: Path,
) -> None:
    slices = write_ramp(tmp_path, range(46, 53), without=(48,))
    images, view = tmp_path / "Images_png", View(channels=9, distance_mm=2)
    hu, filled = key_volume(images, key_slice(2.0), view)
    used = [
        46,
        47,
        49,
        49,
        50,
        51,
        52,
        52,
        52,
    ]  # 48 is absent: 49 is as near as 47, and nearer the key slice; 53 and 54 were never there
    assert all((hu[c] == slices[i]).all() for c, i in enumerate(used)) and filled == 3
    hu, filled = key_volume(
        images, key_slice(2.0, span=(49, 51)), view
    )  # what lies outside the range is not used, though it is there
    used = [49, 49, 49, 49, 50, 51, 51, 51, 51]
    assert all((hu[c] == slices[i]).all() for c, i in enumerate(used)) and filled == 6


def test_key_volume__one_channel_reads_one_file(tmp_path: Path) -> None:
    slices = write_ramp(tmp_path, range(50, 51))
    hu, filled = key_volume(tmp_path / "Images_png", key_slice(5.0), View())
    assert (hu == slices[50]).all() and filled == 0
    _, filled = key_volume(tmp_path / "Images_png", key_slice(5.0), View(channels=3))
    assert filled == 2


# ---- files


def test_load_hu__gives_back_what_was_written(tmp_path: Path) -> None:
    hu = np.array([[-32768, -1024, 0], [1, 3071, 32767]])
    write_slice(tmp_path, "a_b_c/001", hu)
    read = load_hu(tmp_path / "Images_png/a_b_c/001.png")
    assert read.dtype == np.int16 and (read == hu).all()


def test_load_hu__refuses_in_one_line_without_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "000001_01_01"
    folder.mkdir()
    for mode in ("L", "RGB"):
        Image.new(mode, (4, 4)).save(folder / "001.png")
        with pytest.raises(
            ValueError, match=rf"^000001_01_01/001\.png is {mode} and not 16-bit grey"
        ):
            load_hu(folder / "001.png")
    with pytest.raises(ValueError, match=r"^000001_01_01/002\.png is absent"):
        load_hu(folder / "002.png")


def test_load_hu__any_damage_is_a_refusal(tmp_path: Path) -> None:
    write_slice(tmp_path, "a_b_c/001", np.random.default_rng(0).integers(-1000, 1000, (32, 32)))
    path = tmp_path / "Images_png/a_b_c/001.png"
    whole = path.read_bytes()
    for length in range(0, len(whole) - 13, 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^a_b_c/001\.png is damaged or no PNG"):
            load_hu(path)


def test_key_volume__refuses_neighbours_of_another_size(tmp_path: Path) -> None:
    write_ramp(tmp_path, range(48, 53))
    write_slice(tmp_path, f"{FOLDER}/051", np.zeros((8, 8)))
    with pytest.raises(ValueError, match=r"^000007_01_01/050: neighbours differ in size"):
        key_volume(tmp_path / "Images_png", key_slice(2.0), View(channels=3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 2}, "channels must be 1, 3, 5"),
        ({"channels": -1}, "got -1"),
        ({"mm_per_px": 0}, "0.1..20, got 0"),
        ({"longest_px": 8}, "8"),
    ],
)
def test_view__refuses(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        View(**values)  # type: ignore[arg-type]


# ---- geometry


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
    """19 real liver lesions:

    boxes come back, keep their size in mm, and the tissue in them is the same before and after.
    """
    view, images = View(), lesions / "Images_png"
    keys = [k for k in read_table(lesions) if slice_path(images, k.folder, k.index).is_file()]
    assert len(keys) == 19
    for key in keys:
        hu, _ = key_volume(images, key, view)
        assert (hu.shape[2], hu.shape[1]) == key.size_px
        edges = np.array([b.edges for b in key.boxes])
        out, boxes, geometry = prepare(hu, edges, key.spacing_mm, view)
        np.testing.assert_allclose(geometry.to_slice(boxes), edges, atol=1e-3)
        assert (
            max(out.shape) <= view.longest_px and geometry.crop_px[1] < 480
        )  # there is air above and below each of these bodies
        for before, after in zip(edges, boxes, strict=True):
            (u1, v1, u2, v2), (x1, y1, x2, y2) = (
                before.round().astype(int),
                after.round().astype(int),
            )
            assert out[0, y1:y2, x1:x2].mean() == pytest.approx(hu[0, v1:v2, u1:u2].mean(), abs=15)
