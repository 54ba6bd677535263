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
    scale: str | None = None
    first_convolution_saw: Reach | None = None
    first_convolution_gets: Reach | None = None


class Data(Shape):
    """What was learned from."""

    series: int | None = None
    patients: int | None = None
    slices: int | None = None
    fingerprint: str | None = None


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
    """The provenance; it may hold more, and lack any of this."""

    method: str = "Method unstated"
    recipe: Recipe = Recipe()
    recipe_sha256: str | None = None
    start: Start | None = None
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
    """An input contract. Which fields there must be, `InputSpec.from_dict` says."""

    window_hu: Pair = (-1.0, 0.0)
    size_px: int = 16
    field: str = ""
    mm_per_px: FiniteFloat | None = None
    channels: str = ""
    neighbours_mm: FiniteFloat | None = None
    mean: Three = (0.0, 0.0, 0.0)
    std: Three = (1.0, 1.0, 1.0)
