"""The body's box on drawn slices, where it is known, and on real scans, where it was looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ubr.weights.body import _opened, body_boxes, series_box, shown_boxes

SPACING = (5.0, 1.5, 1.5)
AIR, FAT, MUSCLE, LUNG, FOAM = -1000, -100, 40, -840, -920


def _slices(n: int = 3, size: int = 256) -> NDArray[np.int16]:
    noise = np.random.default_rng(0).normal(0, 15, (n, size, size))
    return (AIR + noise).astype(np.int16)


def _ellipse(hu: NDArray[np.int16], y: float, x: float, ry: float, rx: float, value: int) -> None:
    """Centre and radii in pixels."""
    yy, xx = np.ogrid[: hu.shape[1], : hu.shape[2]]
    hu[:, ((yy - y) / ry) ** 2 + ((xx - x) / rx) ** 2 <= 1] = value


def _trunk(hu: NDArray[np.int16]) -> None:
    _ellipse(hu, 120, 128, 70, 90, FAT)
    _ellipse(hu, 120, 128, 62, 82, MUSCLE)
    for x in (88, 168):
        _ellipse(hu, 115, x, 40, 30, LUNG)


def _assert_box(
    found: NDArray[np.int16], y0: int, y1: int, x0: int, x1: int, margin_px: int = 10
) -> None:
    """The box holds the body and is at most `margin_px` larger on each side."""
    slack = np.array([y0, -y1, x0, -x1]) - found * np.array([1, -1, 1, -1])
    assert (slack >= 0).all() and (slack <= margin_px).all(), (found, slack)


def test_table_clothes_wires_and_arms_are_not_the_body() -> None:
    hu = _slices()
    _trunk(hu)
    hu[:, 200:203, 20:236] = 300  # table: two shells and the foam between them
    hu[:, 203:215, 20:236] = FOAM
    hu[:, 215:218, 20:236] = 300
    hu[:, 40:42, 30:220] = -150  # blanket
    hu[:, 20:60, 127:129] = 2000  # wire
    for x in (18, 238):
        _ellipse(hu, 120, x, 17, 15, MUSCLE)
    for box in body_boxes(hu, SPACING):
        _assert_box(box, 50, 191, 38, 219)


def test_table_that_the_body_lies_on_adds_no_more_than_its_shell() -> None:
    hu = _slices()
    _trunk(hu)
    hu[:, 189:192, 20:236] = 300
    hu[:, 192:210, 20:236] = FOAM
    hu[:, 210:213, 20:236] = 300
    for box in body_boxes(hu, SPACING):
        _assert_box(box, 50, 191, 38, 219)


def test_head_between_raised_arms() -> None:
    hu = _slices(6)
    _trunk(hu[3:])
    _ellipse(hu[:3], 120, 128, 60, 48, MUSCLE)
    for x in (40, 216):
        _ellipse(hu[:3], 90, x, 30, 28, MUSCLE)
    for box in body_boxes(hu, SPACING)[:3]:
        _assert_box(box, 60, 181, 80, 177)


@pytest.mark.parametrize("aside", [0, 14])
def test_both_thighs_are_the_body(aside: int) -> None:
    """Also where the patient's legs lie aside, so that one of them reaches the midline."""
    hu = _slices(4)
    _trunk(hu[:2])
    for x in (78, 178):
        _ellipse(hu[2:], 120, x + aside, 45, 42, MUSCLE)
    _ellipse(hu[2:], 120, 10, 14, 9, MUSCLE)  # a hand
    for box in body_boxes(hu, SPACING)[2:]:
        _assert_box(box, 75, 166, 36 + aside, 221 + aside)


def test_field_of_view_inside_the_chest_is_all_body() -> None:
    hu = np.full(
        (3, 120, 120), LUNG, np.int16
    )  # heart and spine between lungs, no chest wall to join them
    _ellipse(hu, 50, 60, 25, 30, MUSCLE)
    _ellipse(hu, 110, 60, 12, 14, 300)
    np.testing.assert_array_equal(body_boxes(hu, SPACING), [[0, 120, 0, 120]] * 3)


def test_no_body() -> None:
    hu = _slices(4)
    hu[:, 200:203, 20:236] = 300  # a table is none
    _trunk(hu[1:3])
    boxes = body_boxes(hu, SPACING)
    assert boxes.shape == (4, 4) and boxes.dtype == np.int16
    np.testing.assert_array_equal(boxes[[0, 3]], 0)
    assert (boxes[1:3, 1] > boxes[1:3, 0]).all()
    np.testing.assert_array_equal(body_boxes(np.full((2, 64, 64), -1024, np.int16), SPACING), 0)


@pytest.mark.parametrize("pixel_mm", [0.7, 1.5, 3.0, 5.0])
def test_box_in_millimetres_does_not_depend_on_the_pixels(pixel_mm: float) -> None:
    size = round(400 / pixel_mm)
    hu = _slices(2, size)
    _ellipse(hu, size / 2, size / 2, 100 / pixel_mm, 150 / pixel_mm, MUSCLE)
    box_mm = body_boxes(hu, (5.0, pixel_mm, pixel_mm)) * pixel_mm
    np.testing.assert_allclose(box_mm, [[100, 300, 50, 350]] * 2, atol=13)


def test_pixels_are_not_changed_and_one_slice_is_enough() -> None:
    hu = _slices(1)
    _trunk(hu)
    before = hu.copy()
    _assert_box(body_boxes(hu, SPACING)[0], 50, 191, 38, 219)
    np.testing.assert_array_equal(hu, before)


def test_series_box_is_a_union_without_outliers() -> None:
    boxes = np.tile(np.array([[50, 190, 40, 220]], np.int16), (200, 1))
    boxes[:50] = [60, 150, 80, 160]  # a head is inside
    boxes[100:102] = [0, 256, 0, 256]  # two slices that failed
    boxes[150:] = 0  # no body
    assert series_box(boxes) == (50, 190, 40, 220)
    assert series_box(boxes[:50]) == (60, 150, 80, 160)
    assert series_box(boxes[150:]) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("name", "at", "y0", "y1", "x0", "x1"),
    [
        (
            "aitest_ACRIN-FLT-Breast_001_head_to_chest",
            44,
            55,
            152,
            84,
            165,
        ),  # head between raised arms
        (
            "aitest_ACRIN-FLT-Breast_001_lungbase_to_pelvis",
            8,
            64,
            202,
            36,
            207,
        ),  # wrapped in blankets
        ("pyvista_Pancreas-CT-CB_001", 24, 68, 197, 27, 228),  # on a flat table
        ("saguatti_Pelvic-Ref-003", 130, 74, 170, 41, 228),  # thighs
        ("totalseg_pulmonary_ct_cropped", 15, 0, 102, 0, 122),  # a field of view inside the chest
        (
            "readii_NSCLC-Radiogenomics_R01-001_chest",
            9,
            38,
            184,
            0,
            256,
        ),  # shoulders beyond the field of view, curved table
    ],
)
def test_real_scans(shared: Path, name: str, at: int, y0: int, y1: int, x0: int, x1: int) -> None:
    """Edges read by eye, to about 10 pixels (13-20 mm)."""
    from ubr.pretrain.data.find import find_series, read_volume

    volume = read_volume(find_series([shared / "ct" / "torso" / f"{name}.nii.gz"])[0][0])
    np.testing.assert_allclose(
        body_boxes(volume.hu, volume.spacing_mm)[at], [y0, y1, x0, x1], atol=10
    )


@pytest.mark.parametrize("steps", [(1, 1), (2, 3), (5, 4), (7, 80)])
def test_block_mean__is_that_of_each_block(steps: tuple[int, int]) -> None:
    from ubr.weights.body import _block_mean

    hu = np.random.default_rng(0).integers(-1024, 3072, (2, 31, 45)).astype(np.int16)
    small = _block_mean(hu, *steps)
    down, right = (
        np.arange(0, -(-n // s) * s).clip(max=n - 1) for n, s in zip((31, 45), steps, strict=True)
    )
    for y in range(small.shape[1]):
        for x in range(small.shape[2]):
            rows, columns = (
                at[k * step : (k + 1) * step]
                for at, k, step in ((down, y, steps[0]), (right, x, steps[1]))
            )
            block = hu[:, rows][:, :, columns].astype(np.float64)
            np.testing.assert_array_equal(small[:, y, x], block.mean((1, 2)).astype(np.float32))


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97, 1.0])
def test_opening__is_that_of_scipy(share: float) -> None:
    mask = np.random.default_rng(0).random((4, 20, 31)) < share
    expected = ndimage.binary_opening(mask, np.ones((1, 3, 3), bool))
    np.testing.assert_array_equal(_opened(mask), expected)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_shown_boxes__are_the_union_with_both_neighbours(n: int) -> None:
    rng = np.random.default_rng(n)
    boxes = np.sort(rng.integers(1, 90, (n, 2, 2)), axis=2).reshape(n, 4).astype(np.int16)
    boxes[n // 2 :: 4] = 0
    for k, shown in enumerate(shown_boxes(boxes)):
        near = boxes[max(0, k - 1) : k + 2]
        near = near[near[:, 1] > 0]
        union = (
            [near[:, 0].min(), near[:, 1].max(), near[:, 2].min(), near[:, 3].max()]
            if len(near)
            else []
        )
        assert shown.tolist() == (union if boxes[k, 1] > 0 else [0] * 4)
