"""Measuring images a second: what throughput programs share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray


def wait() -> None:
    """Wait until the GPU, if there is one, has done its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def logged_speeds(run: Path) -> list[float]:
    """Images a second of each interval of a run but the first, which has the start in it."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["images_per_s"] for line in lines[1:]]


def speed_columns(bare: Sequence[float], whole: Sequence[float], digits: int) -> dict[str, object]:
    """The columns of a row: median speeds, and the ratio of each pair of measurements.

    Args:
        bare: images a second of the yardstick.
        whole: images a second of what is measured, in the same order.
        digits: of the speeds.
    """
    ratio = _ratio(bare, whole)
    return {
        "bare_images_per_s": round(float(np.median(bare)), digits),
        "images_per_s": round(float(np.median(whole)), digits),
        "ratio_median": round(float(np.median(ratio)), 3),
        "ratio_min": round(float(ratio.min()), 3),
        "ratio_max": round(float(ratio.max()), 3),
    }


def ratio_text(bare: Sequence[float], whole: Sequence[float]) -> str:
    """The ratio of each pair of measurements in a line."""
    ratio = _ratio(bare, whole)
    return f"median ratio {np.median(ratio):.3f} ({ratio.min():.3f}..{ratio.max():.3f})"


def _ratio(bare: Sequence[float], whole: Sequence[float]) -> NDArray[np.float64]:
    return np.divide(np.array(whole, np.float64), np.array(bare, np.float64))
