"""Connected components: equal to SciPy's, on random masks and on shapes that are hard to follow."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ubr.weights.components import components

IN_PLANE = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3], bool)


def random_mask(shape: tuple[int, int, int], share: float) -> NDArray[np.bool_]:
    return np.random.default_rng(sum(shape)).random(shape) < share


def spiral(side: int) -> NDArray[np.bool_]:
    """One path that winds inwards: its rows are joined only far apart."""
    mask = np.zeros((1, side, side), bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0, 0] = True
    for length in [side - 1, *np.repeat(np.arange(side - 1, 1, -2), 2)]:
        for _ in range(int(length)):
            y, x = y + dy, x + dx
            mask[0, y, x] = True
        dy, dx = dx, -dy
    return mask


@pytest.mark.parametrize(
    "mask",
    [
        *(random_mask((5, 40, 31), share) for share in (0.1, 0.4, 0.55, 0.6, 0.9)),
        random_mask((3, 1, 50), 0.5),
        random_mask((3, 50, 1), 0.5),
        spiral(41),
        np.zeros((2, 4, 4), bool),
        np.ones((2, 4, 4), bool),
        np.indices((2, 9, 9)).sum(axis=0) % 2 == 0,
    ],
)
def test_components__are_those_of_scipy(mask: NDArray[np.bool_]) -> None:
    labels, count = ndimage.label(mask, IN_PLANE)
    found = components(mask)
    assert found.count == count
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    np.testing.assert_array_equal(found.areas(), sizes)
    other = np.random.default_rng(1).random(mask.shape) < 0.3
    inside = np.bincount(labels[other], minlength=count + 1)[1:]
    np.testing.assert_array_equal(found.areas(other), inside)
    slices = ndimage.find_objects(labels)
    boxes = [(s[0].start, s[1].start, s[1].stop, s[2].start, s[2].stop) for s in slices]
    np.testing.assert_array_equal(found.boxes(), np.array(boxes).reshape(-1, 5))
    chosen = np.arange(count) % 3 == 1
    np.testing.assert_array_equal(
        found.pixels(chosen), np.concatenate([[False], chosen])[labels].astype(bool)
    )
