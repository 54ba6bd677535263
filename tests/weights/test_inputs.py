"""The input contract: geometry against hand-made cases, intensity against the formula."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ubr.weights import InputSpec
from ubr.weights.body import series_box, shown_boxes


def test_to_input__windows_and_normalises_by_the_formula() -> None:
    spec = InputSpec(window_hu=(-100, 300), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0), size_px=16)
    grid = (
        torch.tensor([-1024, -100, 0, 100, 300, 3000], dtype=torch.int16)
        .repeat_interleave(256)
        .view(6, 16, 16)
    )
    x = spec.to_input(grid)
    assert x.shape == (6, 3, 16, 16) and x.dtype == torch.float32
    unit = torch.tensor([0, 0, 0.25, 0.5, 1, 1])
    for channel in range(3):
        torch.testing.assert_close(
            x[:, channel, 5, 7], (unit - spec.mean[channel]) / spec.std[channel]
        )


def test_to_grid__keeps_a_slice_that_already_fits() -> None:
    hu = np.random.default_rng(0).integers(-1024, 3071, (4, 32, 32)).astype(np.int16)
    np.testing.assert_array_equal(InputSpec(size_px=32).to_grid(hu, (0.7, 0.7)), hu)


def test_to_grid__a_slice_that_is_not_square_is_padded_with_air_not_stretched() -> None:
    hu = np.full((1, 32, 64), 40, np.int16)
    grid = InputSpec(size_px=64).to_grid(hu, (1.0, 1.0))
    assert (
        (grid[0, 16:48] == 40).all()
        and (grid[0, :16] == -1024).all()
        and (grid[0, 48:] == -1024).all()
    )
    assert (InputSpec(size_px=64).to_grid(hu, (2.0, 1.0)) == 40).all()  # square in mm


def test_to_grid__averages_when_it_shrinks() -> None:
    """Antialiased: one bright pixel in a field of 64 is not lost nor kept as it is."""
    hu = np.zeros((1, 128, 128), np.int16)
    hu[0, 64, 64] = 3000
    grid = InputSpec(size_px=16).to_grid(hu, (1, 1))
    assert 5 < grid.max() < 200
    assert grid.mean() == pytest.approx(3000 / 128**2, abs=0.1)


@pytest.mark.parametrize(("field_mm", "expected"), [(64, (16, 48)), (16, (0, 64))])
def test_to_grid__mm_per_px_fixes_the_size_of_the_body(
    field_mm: int, expected: tuple[int, int]
) -> None:
    """A 32 mm square: half of a 64 mm field, and all of a 16 mm one (the rest is cut)."""
    hu = np.full((1, 40, 40), 40, np.int16)
    grid = InputSpec(size_px=64, mm_per_px=field_mm / 64).to_grid(hu, (0.8, 0.8))
    inside = np.flatnonzero(grid[0, 32] == 40)
    assert (int(inside[0]), int(inside[-1]) + 1) == expected


def boxes(*rows: tuple[int, int, int, int]) -> NDArray[np.int16]:
    return np.array(rows, np.int16)


def test_to_grid__body_field_shows_the_box_only() -> None:
    hu = np.full((2, 60, 60), -1000, np.int16)
    hu[:, 10:30, 20:50] = 40
    grid = InputSpec(size_px=30, field="body").to_grid(
        hu, (1, 1), boxes((10, 30, 20, 50), (10, 30, 20, 50))
    )
    assert (grid[:, 5:25] == 40).all() and (grid[:, :5] == -1024).all()
    whole = InputSpec(size_px=60, field="body").to_grid(
        hu, (1, 1), boxes((0, 0, 0, 0), (0, 0, 0, 0))
    )  # no body was found: the whole slice
    np.testing.assert_array_equal(whole, hu)
    for given in (None, boxes((10, 30, 20, 50))):
        with pytest.raises(
            ValueError, match="field 'body' needs the body's box in each of the 2 slices"
        ):
            InputSpec(field="body").to_grid(hu, (1, 1), given)


def test_to_grid__beside_the_body_is_air() -> None:
    """A head of 20 pixels between raised arms, above shoulders of 60:

    the arms go, the head, the shoulders and the field stay.
    """
    hu = np.full((6, 60, 60), -1000, np.int16)
    hu[:3, 20:40, 20:40] = 40
    hu[:3, 20:40, 2:12] = 50
    hu[3:, 20:40] = 60
    narrow, wide = (20, 40, 20, 40), (20, 40, 0, 60)
    grid = InputSpec(size_px=60, field="body").to_grid(
        hu, (1, 1), boxes(narrow, narrow, narrow, wide, wide, wide)
    )
    assert (grid[3:, 20:40] == 60).all() and (grid[:, :20] == -1024).all()
    assert (grid[:3, 20:40, 20:40] == 40).all()
    assert (grid[:2, :, :20] == -1024).all() and (grid[:2, :, 40:] == -1024).all()
    assert (
        grid[2, 20:40, 2:12] == 50
    ).all()  # next to the shoulders: what its neighbour shows is kept


def test_to_grid__finer_grid_shows_the_same_field() -> None:
    y, x = np.mgrid[:80, :80]
    hu = (600 * np.sin(x / 9) * np.cos(y / 13))[None].astype(np.int16)
    spec = InputSpec(size_px=32, mm_per_px=2.0)
    fine = spec.to_grid(hu, (1, 1), size_px=64)
    halved = fine.reshape(1, 32, 2, 32, 2).mean(axis=(2, 4))
    coarse = spec.to_grid(hu, (1, 1))
    assert np.corrcoef(halved.ravel(), coarse.ravel())[0, 1] > 0.999


def test_with_neighbours__are_so_far_above_and_below_in_mm() -> None:
    """Slices of HU 10 z at uneven steps:

    the channels are z - 3, z and z + 3, clipped at the ends.
    """
    z = np.array([0.0, 2.0, 4.0, 9.0, 12.0])
    grid = np.broadcast_to((10 * z).astype(np.int16)[:, None, None], (5, 16, 16))
    assert InputSpec(size_px=16).with_neighbours(grid, z) is grid
    spec = InputSpec(
        size_px=16, neighbours_mm=3.0, window_hu=(0, 120), mean=(0, 0, 0), std=(1, 1, 1)
    )
    found = spec.with_neighbours(grid, z)
    assert found.shape == (5, 3, 16, 16) and found.dtype == np.int16
    expected = np.stack([10 * (z + away).clip(0, 12) for away in (-3, 0, 3)], axis=1)
    np.testing.assert_array_equal(found[:, :, 3, 4], expected)
    torch.testing.assert_close(
        spec.to_input(torch.from_numpy(found))[:, :, 3, 4], torch.from_numpy(expected / 120).float()
    )
    alone = torch.from_numpy(grid.copy())
    torch.testing.assert_close(
        spec.to_input(alone), spec.to_input(alone[:, None].expand(-1, 3, -1, -1))
    )


def test_spec__without_neighbours_is_told_as_before_there_were_any() -> None:
    assert "neighbours_mm" not in InputSpec().to_dict()
    assert InputSpec.from_dict(InputSpec().to_dict()) == InputSpec()
    assert InputSpec.from_dict(InputSpec(neighbours_mm=2.5).to_dict()).neighbours_mm == 2.5


def test_spec__survives_json_and_refuses_guesses() -> None:
    spec = InputSpec(window_hu=(-300, 400), field="body", mm_per_px=1.5)
    assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    short = spec.to_dict()
    del short["mean"]
    with pytest.raises(ValueError, match="an input contract has the fields"):
        InputSpec.from_dict(short)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"window_hu": (100, -100)}, "low < high"),
        ({"size_px": 8}, r"size_px must be in 16\.\.2048, got 8"),
        ({"field": "head"}, "got 'head'"),
        ({"mm_per_px": 0}, "mm_per_px must be in"),
        ({"neighbours_mm": 0}, "neighbours_mm must be in"),
        ({"neighbours_mm": 3, "channels": "folded"}, "channels 'folded' hold one slice"),
        ({"std": (1, 1, 0)}, "std positive"),
    ],
)
def test_spec__refuses(wrong: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        InputSpec(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("mm_per_px", [None, 3.0, 9.0])
@pytest.mark.parametrize("n", [1, 16, 37])
def test_to_grid__some_slices_at_a_time_equal_all_at_once(n: int, mm_per_px: float | None) -> None:
    rng = np.random.default_rng(n)
    hu = rng.integers(-1000, 1500, (n, 70, 90)).astype(np.int16)
    boxes = np.array([[5 + k % 3, 60, 10, 70 + k % 5] for k in range(n)], np.int16)
    boxes[n // 2] = (0, 0, 0, 0) if n > 1 else boxes[0]
    inputs = InputSpec(size_px=32, field="body", mm_per_px=mm_per_px)
    # Once more, on the whole series: air outside each body, then one crop, one call, one pad.
    top, bottom, left, right = series_box(boxes)
    shown = torch.from_numpy(hu.copy())
    for plane, (y0, y1, x0, x1) in zip(shown, shown_boxes(boxes).tolist(), strict=True):
        outside = torch.ones_like(plane, dtype=torch.bool)
        outside[y0:y1, x0:x1] = False
        if y1 > y0:
            plane[outside] = -1024
    shown = shown[:, None, top:bottom, left:right].float()
    field_mm = max(2.0 * (bottom - top), 1.5 * (right - left)) if mm_per_px is None else None
    sides = 2.0 * (bottom - top), 1.5 * (right - left)
    y, x = (round(side * 32 / (field_mm or 32 * (mm_per_px or 0))) for side in sides)
    small = F.interpolate(shown, (y, x), mode="bilinear", antialias=True)
    up, before = (32 - y) // 2, (32 - x) // 2
    small = F.pad(small, (before, 32 - x - before, up, 32 - y - up), value=-1024)
    found = inputs.to_grid(hu, (2.0, 1.5), boxes)
    # PyTorch's number, rounded; it may be rounded the other way where it lies between two.
    assert np.abs(found - small[:, 0].numpy()).max() <= 0.5 + 1e-3
    some = np.arange(0, n, 3)
    np.testing.assert_array_equal(
        inputs.to_grid(hu[some], (2.0, 1.5), boxes, slices=some), found[some]
    )


@pytest.mark.parametrize("neighbours", [None, 4.0, 7.5, 30.0])
def test_with_neighbours__of_some_slices_needs_few_and_equals_all(neighbours: float | None) -> None:
    inputs = InputSpec(size_px=16, neighbours_mm=neighbours)
    z_mm = np.array([0, 2.5, 5, 7.5, 10, 15, 17.5, 20, 22.5, 25, 27.5, 30])
    grid = np.random.default_rng(0).integers(-1000, 1000, (12, 16, 16)).astype(np.int16)
    wanted = np.array([0, 4, 5, 11])
    needed = inputs.needed(z_mm, wanted)
    assert set(wanted) <= set(needed.tolist()) <= set(range(12))
    assert len(needed) == {None: 4, 4.0: 11, 7.5: 8, 30.0: 4}[neighbours]
    whole = inputs.with_neighbours(grid, z_mm)
    np.testing.assert_array_equal(inputs.with_neighbours(grid[needed], z_mm, wanted), whole[wanted])
