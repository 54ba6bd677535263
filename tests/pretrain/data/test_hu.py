"""Stored values to HU, against the same in float64."""

from __future__ import annotations

import numpy as np
import pytest

from ubr.pretrain.data.hu import HuScale
from ubr.pretrain.data.volume import UnusableError

SCALES = [(1, 0), (1, -1024), (1, -8192), (1, 40000), (2, -1024), (1, 0.5), (0.5, 3)]


@pytest.mark.parametrize("scale", SCALES, ids=str)
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_convert__every_type_and_scale(dtype: str, scale: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    for low, high in ((-1200, 3500), (0, 4095), (-(1 << 15), 1 << 16), (-3000, -2000), (-4, 90)):
        stored = rng.integers(low, high, (6, 7))
        if dtype[0] != "f":
            stored = stored.clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
        stored = stored.astype(dtype)
        exact = np.rint(stored.astype(np.float64) * scale[0] + scale[1])
        for padding in (None, stored == stored[0, 0], np.ones(stored.shape, bool)):
            expected = exact.clip(-1024, 3071)
            inside = exact if padding is None else exact[~padding]
            expected[np.zeros(stored.shape, bool) if padding is None else padding] = -1024
            converter = HuScale()
            hu = converter.convert(stored, *scale, padding)
            assert hu.dtype == np.int16
            np.testing.assert_array_equal(hu, expected)
            assert converter.low == inside.min(initial=np.inf)
            assert converter.high == inside.max(initial=-np.inf)
            assert (converter.above, converter.total) == ((inside > 3071).sum(), stored.size)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_convert__what_is_no_number_is_refused(broken: float) -> None:
    with pytest.raises(UnusableError, match="1 of 4 values are NaN or infinite"):
        HuScale().convert(np.array([[0, broken], [1, 2]], np.float32))
