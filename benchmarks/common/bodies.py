"""Computed bodies that figures show: a phantom is drawn again from its seed."""

from __future__ import annotations

from ubr.pretrain.phantom import Phantom, make

TOP_MM, BOTTOM_MM = 280.0, 925.0
"""Of the scan, below the vertex of a body of 1750 mm: from the neck to the thigh."""


def drawn(seed: int, ascites: bool) -> Phantom:
    """The scan of a body, sound or with its belly full of fluid."""
    return make(seed, ascites=ascites, top=TOP_MM, bottom=BOTTOM_MM)
