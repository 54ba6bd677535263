"""Which distribution this is: the toolkit, or the scorer, which holds some of the same modules."""

from __future__ import annotations

DISTRIBUTION = "ubr-score" if __name__.startswith("ubr_score.") else "ubr-pretrain"
"""The name that pip knows it by."""
