"""Stored values to Hounsfield units, and whether they can be Hounsfield units at all.

A CT of a person holds air (near -1000 HU) and tissue (near 0 HU), and hardly anything above
`HU_RANGE`. Values that break one of these are something else under a CT's name: MR, PET, a mask, an
image scaled for display, stored values without their intercept. They are refused, because such a
volume would be learnt from without any sign of it.

Below -1024 there is only padding, and the noise of air: it becomes `AIR_HU` without a word. Above
3071 there is metal: clipping it is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...weights.common.hu import AIR_HU, HU_RANGE
from .volume import UnusableError

AIR_AT_MOST = -200
"""Something in a CT is below this: lung, bowel gas, the room. Every soft tissue is above."""
ABOVE_AT_MOST = 0.05
"""Share of voxels that may lie above `HU_RANGE`; a hip prosthesis is about 0.005 of a pelvis."""


@dataclass
class HuScale:
    """Converts the parts of one volume to HU and remembers the values it saw before clipping."""

    low: float = np.inf
    high: float = -np.inf
    above: int = 0
    total: int = 0

    def convert(
        self,
        stored: NDArray[Any],
        slope: float = 1.0,
        intercept: float = 0.0,
        padding: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.int16]:
        """HU = slope * stored + intercept, rounded and clipped to `HU_RANGE`.

        Where `padding` is true, the value is `AIR_HU`.

        Raises `UnusableError` when a value is NaN or infinite.
        """
        # Whole numbers are shifted only once they are known to fit in 16 bits.
        whole = _is_shift(stored.dtype, slope, intercept)
        values, shift = (
            (stored, int(intercept)) if whole else (_scaled(stored, slope, intercept), 0)
        )
        low, high = HU_RANGE[0] - shift, HU_RANGE[1] - shift
        inside = values if padding is None else values[~padding]
        if inside.size:
            least, most = float(inside.min()), float(inside.max())
            self.low, self.high = min(self.low, least + shift), max(self.high, most + shift)
            if most > high:
                self.above += int((inside > high).sum())
        self.total += values.size
        if padding is not None or not inside.size or least < low or most > high:
            wide = values.astype(np.result_type(values.dtype, np.int32)) if whole else values
            values = np.clip(wide, low, high)
        hu: NDArray[np.int16] = values.astype(np.int16)
        if shift:
            hu += np.int16(shift)  # both may wrap around, and the sum is right
        if padding is not None:
            hu[padding] = AIR_HU
        return hu

    def warnings(self) -> tuple[str, ...]:
        """The warnings of the volume.

        Raises `UnusableError` when what was converted cannot be HU.
        """
        seen = f"values {self.low:g}..{self.high:g} are not HU"
        if self.low > AIR_AT_MOST:
            raise UnusableError(
                f"{seen}: nothing is below {AIR_AT_MOST}, a CT holds air near -1000"
            )
        if self.high < AIR_AT_MOST:
            raise UnusableError(f"{seen}: nothing is above {AIR_AT_MOST}, a CT holds tissue near 0")
        if self.above > ABOVE_AT_MOST * self.total:
            raise UnusableError(f"{seen}: {self.above / self.total:.0%} lie above {HU_RANGE[1]}")
        if self.above:
            return (f"clipped: {self.above} voxels above {HU_RANGE[1]} HU, up to {self.high:.0f}",)
        return ()


def _is_shift(dtype: np.dtype[Any], slope: float, intercept: float) -> bool:
    """Whether stored values become HU by adding a whole number."""
    return (
        dtype.kind in "iu"
        and dtype.itemsize <= 4
        and slope == 1
        and abs(intercept) < 1 << 15
        and intercept == round(intercept)
    )


def _scaled(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """slope * stored + intercept, rounded. Raises `UnusableError` for NaN and infinite values."""
    values = stored
    if (slope, intercept) != (1.0, 0.0):
        values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if values.dtype.kind != "f":
        return values
    broken = values.size - int(np.isfinite(values).sum())
    if broken:
        raise UnusableError(f"{broken} of {values.size} values are NaN or infinite")
    rounded: NDArray[Any] = np.rint(values)
    return rounded
