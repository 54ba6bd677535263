"""Neighbours against a formula for each channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.made.deeplesion import write_slice
from ubr.downstream.slices import View, key_volume, plan
from ubr.pretrain.data.deeplesion.table import Box, KeySlice

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
