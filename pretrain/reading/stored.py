"""Shapes of the regions file, as it is validated on reading."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from ...weights.common.shapes import Shape


class StoredLevel(Shape):
    score: FiniteFloat
    std: FiniteFloat | None
    volumes: int
    without: list[FiniteFloat]
    residuals_mm: list[FiniteFloat]


class StoredClassifier(Shape):
    weights: list[list[FiniteFloat]]
    offsets: list[FiniteFloat]


class Stored(Shape):
    """The whole regions file."""

    weights_sha256: str
    parts: list[str]
    borders: list[StoredLevel]
    landmarks: dict[str, StoredLevel]
    scale: Annotated[list[str], Field(min_length=2, max_length=2)] | None
    # Files of earlier versions have none of these.
    classifier: StoredClassifier | None = None
    pairs_mm: list[FiniteFloat] = []  # noqa: RUF012
    axis: Literal["score", "position"] = "score"
