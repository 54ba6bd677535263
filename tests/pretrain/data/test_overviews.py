"""Coronal overviews: square pixels, rays from front to back, gaps that show."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ubr.pretrain.data.overviews import OVERVIEW_MM, overview_webp, rows_of


def grey(webp: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(webp)).convert("L"))


def test_rows_of__is_the_mean_from_front_to_back_in_wide_pixels() -> None:
    hu = np.random.default_rng(0).integers(-1000, 1000, (3, 40, 64), np.int16)
    rows = rows_of(hu, 1.0)
    expected = hu.mean(1).reshape(3, 16, 4).mean(2)
    assert rows.dtype == np.int16 and np.abs(rows - expected).max() <= 0.5
    assert rows_of(hu, 8.0).shape == (3, 128) and rows_of(hu[:, :, :1], 0.5).shape == (3, 1)


def test_overview_webp__has_square_pixels_of_the_bodys_size() -> None:
    hu = np.full((41, 50, 60), -1000, np.int16)
    hu[:, 10:40, 20:30] = 40
    z = np.arange(41) * 5.0
    picture = grey(overview_webp(rows_of(hu, 4.0), z, 200.0))
    assert picture.shape == (200 / OVERVIEW_MM + 1, 60)
    assert picture[:, 23:27].min() > 200 and picture[:, :15].max() < 40


def test_overview_webp__a_gap_is_black_and_some_slices_do() -> None:
    hu = np.full((40, 20, 60), 40, np.int16)
    hu[:, :, :5] = -1000
    z = np.delete(np.arange(60) * 5.0, np.arange(20, 40))
    picture = grey(overview_webp(rows_of(hu, 4.0), z, float(z[-1])))
    assert picture[35, 30] < 40 and picture[10, 30] > 200 and picture[70, 30] > 200
    few = grey(overview_webp(rows_of(hu[::4], 4.0), np.arange(10) * 20.0, 180.0))
    assert few[:, 30].min() > 200


def test_overview_webp__of_one_slice() -> None:
    assert grey(overview_webp(np.zeros((1, 7), np.int16), np.zeros(1), 0.0)).shape == (1, 7)
