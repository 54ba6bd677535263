"""What is in a store, as plain values and as text."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from .folder import Store
from .rows import LEFT_OUT


def describe(store: Store) -> dict[str, Any]:
    """Series, patients, slices, spacing, warnings, and what was left out and why.

    A series without a patient counts as a patient of its own.
    """
    rows, catalog = store.rows(), store.catalog().select(["status", "reason"]).to_pylist()
    spacing = np.array([row.spacing_mm for row in rows]).reshape(-1, 3)
    warnings = Counter(code for row in rows for code in {w.split(":")[0] for w in row.warnings})
    reasons = Counter(row["reason"] for row in catalog if row["status"] == LEFT_OUT)
    return {
        "series": len(rows),
        "patients": len({row.patient for row in rows}),
        "slices": sum(row.slices for row in rows),
        "kinds": dict(sorted(Counter(row.kind for row in rows).items())),
        "spacing_mm": {
            axis: dict(zip(("smallest", "median", "largest"), three, strict=True))
            for axis, values in zip("zyx", spacing.T, strict=True)
            if len(three := [float(f(values)) for f in (np.min, np.median, np.max) if len(values)])
        },
        "warnings": dict(sorted(warnings.items())),
        "left_out": dict(reasons.most_common()),
    }


def description(about: dict[str, Any]) -> str:
    """The values of `describe` as text."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in about["kinds"].items())
    lines = [
        f"series    {about['series']:8,}{f'  ({kinds})' if kinds else ''}",
        f"patients  {about['patients']:8,}",
        f"slices    {about['slices']:8,}",
    ]
    lines += [
        f"{axis} mm      {of['median']:8.3f}  ({of['smallest']:.3f} to {of['largest']:.3f})"
        for axis, of in about["spacing_mm"].items()
    ]
    lines += [f"warning   {count:8,}  {code}" for code, count in about["warnings"].items()]
    lines.append(f"left out  {sum(about['left_out'].values()):8,}")
    lines += [f"          {count:8,}  {reason}" for reason, count in about["left_out"].items()]
    return "\n".join(lines)
