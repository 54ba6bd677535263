"""What a weights file says of its making and its input, as far as this project reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, FiniteFloat

from .common.shapes import Shape

Reach = Annotated[list[float], Field(min_length=2, max_length=2)]
"""The smallest and the largest value."""


class Start(Shape):
    """Where the trunk began."""

    source: str = "unstated"
    name: str | None = None
    sha256: str | None = None
    scale: str | None = None
    first_convolution_saw: Reach | None = None
    first_convolution_gets: Reach | None = None


class Data(Shape):
    """What was learned from."""

    series: int | None = None
    patients: int | None = None
    slices: int | None = None
    fingerprint: str | None = None


class Moved(Shape):
    """How far scores of series that were not learned from lie from those of the parent.

    The median of the differences, and what nine of ten are within; in mm of the body if the
    parent's scores rise along it.
    """

    series: int
    slices: int
    score_q50: float
    score_q90: float
    mm_q50: float | None = None
    mm_q90: float | None = None

    def __str__(self) -> str:
        unit, q50, q90 = "", f"{self.score_q50:.3f}", f"{self.score_q90:.3f}"
        if self.mm_q50 is not None and self.mm_q90 is not None:
            unit, q50, q90 = " mm", f"{self.mm_q50:.1f}", f"{self.mm_q90:.1f}"
        return (
            f"scores of {self.series} held-out series moved by {q50}{unit} (median; nine of ten "
            f"slices by at most {q90}{unit})"
        )


class Parent(Shape):
    """The weights that a training continued from with their head. moved: None if not measured."""

    sha256: str
    name: str | None = None
    moved: Moved | None = None

    def __str__(self) -> str:
        moved = self.moved or "how far scores moved was not measured, as no patients were held out"
        return f"{self.name or self.sha256[:12]}, whose head was kept; {moved}"


class HeldOut(Shape):
    """Quality on series that were not learned from."""

    series: int | None = None
    r: float | None = None
    ordered: float | None = None
    error_mm: float | None = None


class Recipe(Shape):
    """How it was trained."""

    g: int | None = None
    m: int | None = None
    optimiser: str | None = None
    lr: float | None = None
    position_weight: FiniteFloat = 0.0


class Provenance(Shape):
    """The provenance; it may hold more, and lack any of this.

    name: of a version that comes with the package.
    """

    name: str | None = None
    method: str = "Method unstated"
    recipe: Recipe = Recipe()
    recipe_sha256: str | None = None
    start: Start | None = None
    parent: Parent | None = None
    data: Data = Data()
    held_out: HeldOut | None = HeldOut()
    steps: int | None = None
    seed: int | None = None
    precision: str | None = None
    device: str | None = None
    date: str | None = None
    versions: dict[str, str] = {}  # noqa: RUF012
    commit: str | None = None

    @property
    def follows_mm(self) -> bool:
        """Whether scores follow millimetres, by the position loss of the training."""
        return self.recipe.position_weight > 0


Pair = Annotated[Sequence[FiniteFloat], Field(min_length=2, max_length=2)]
Three = Annotated[Sequence[FiniteFloat], Field(min_length=3, max_length=3)]


class Inputs(Shape):
    """An input contract. `InputSpec.from_dict` says which fields are required."""

    window_hu: Pair = (-1.0, 0.0)
    size_px: int = 16
    field: str = ""
    mm_per_px: FiniteFloat | None = None
    channels: str = ""
    neighbours_mm: FiniteFloat | None = None
    mean: Three = (0.0, 0.0, 0.0)
    std: Three = (1.0, 1.0, 1.0)
