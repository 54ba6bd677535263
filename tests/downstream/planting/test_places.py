"""Where lesions fit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.made.trunk import SPACING, trunk
from ubr.downstream.planting.places import find_places


@pytest.fixture(scope="module")
def flat() -> NDArray[np.int16]:
    return trunk(noise=0)


def test_places__kidneys_are_large_below_the_lungs_and_not_beside_drunk_contrast(
    flat: NDArray[np.int16],
) -> None:
    step = find_places(flat, SPACING).step
    kidney = find_places(flat, SPACING).room_mm["kidney"] > 0
    high = np.where(
        np.roll(flat == 35, -18, axis=0) & (flat != 300), np.int16(35), flat
    )  # a spleen among lungs
    lowest_lung = np.flatnonzero((flat == -820).any((1, 2)))[-1]
    below = find_places(high, SPACING).room_mm["kidney"] > 0
    assert below.any() and not below[: lowest_lung // step[0] + 1].any()

    thin = flat.copy()
    thin[
        (flat == 35) & (np.arange(len(flat))[:, None, None] % 12 > 1)
    ] = -105  # slabs of two slices, 3 cm apart
    assert not find_places(thin, SPACING).room_mm["kidney"].any()

    bowel = flat.copy()
    bowel[:, :, 160:] = np.where(flat[:, :, 160:] == 35, 400, flat[:, :, 160:])
    beside = find_places(bowel, SPACING).room_mm["kidney"] > 0
    near = slice(160 // step[2] - 1, None)
    assert beside.any() and kidney[:, :, near].any() and not beside[:, :, near].any()
