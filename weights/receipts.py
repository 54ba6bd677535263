"""What a transfer of tensors did, and the error of one that was not complete."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Receipt:
    """What a transfer did; names are the target's.

    loaded: hold the source's numbers now. missing: the source has none for them. unexpected: the
    source's, without a place in the target. other_shape, other_kind: cannot be copied. differing:
    have a place, and other numbers. left: the target's that are none of the trunk's: heads that
    this training does not train. layout, prefix: how the names were found. feature_difference: the
    largest of any layer, relative to its largest value; none where tensors alone were moved.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    other_shape: tuple[str, ...] = ()
    other_kind: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    layout: str = ""
    prefix: str = ""
    feature_difference: float | None = None

    def faults(self) -> str:
        """What keeps the transfer from being complete, empty where nothing does."""
        kinds = (
            ("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", self.other_shape),
            ("of another kind", self.other_kind), ("with other numbers", self.differing),
        )  # fmt: skip
        return "; ".join(f"{len(names)} {word} ({_some(names)})" for word, names in kinds if names)

    def __str__(self) -> str:
        where = f" at {self.prefix!r}" if self.prefix else ""
        lines = [
            f"{len(self.loaded)} tensors "
            f"loaded{where}{f', {self.layout} names' if self.layout else ''}"
        ]
        if self.left:
            lines.append(
                f"{len(self.left)} left as they were, not trained by this method: "
                f"{_some(self.left)}"
            )
        if self.feature_difference is not None:
            lines.append(
                "reference slice: every layer puts out the same (largest relative difference "
                f"{self.feature_difference:.1g})"
            )
        return "\n".join(lines)


class TransferError(ValueError):
    """A transfer that was not complete; the text says why.

    receipt: the details, where tensors were compared.
    """

    def __init__(self, text: str, receipt: Receipt | None = None) -> None:
        super().__init__(text)
        self.receipt = receipt


def _some(names: Collection[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def compare(
    target: Mapping[str, Tensor], source: Mapping[str, Tensor], trunk: Collection[str]
) -> Receipt:
    """Compare tensors by name. trunk: those names of the target that the source has to fill."""
    common = sorted(set(target) & set(source))
    shapes = [n for n in common if source[n].shape != target[n].shape]
    kinds = [n for n in common if source[n].dtype != target[n].dtype]
    alike = [n for n in common if n not in shapes and n not in kinds]
    differing = [n for n in alike if not torch.equal(target[n].cpu(), source[n].cpu())]
    return Receipt(
        loaded=tuple(n for n in alike if n not in differing),
        missing=tuple(sorted(set(trunk) - set(source))),
        unexpected=tuple(sorted(set(source) - set(target))),
        other_shape=tuple(
            f"{n} {tuple(source[n].shape)} for {tuple(target[n].shape)}" for n in shapes
        ),
        other_kind=tuple(f"{n} {source[n].dtype} for {target[n].dtype}" for n in kinds),
        differing=tuple(differing),
        left=tuple(sorted(set(target) - set(source) - set(trunk))),
    )
