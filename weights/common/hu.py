"""Hounsfield units that every package means the same by."""

AIR_HU = -1024
"""Air and padding: the lowest value that a 12-bit scanner stores."""
HU_RANGE = (AIR_HU, 3071)
"""The 12 bits that volumes are clipped to. Metal and some padding lie outside."""
FAINTEST_HU = AIR_HU + 24
"""Values up to this are air or padding. A scanner's calibration error does not apply to them."""
