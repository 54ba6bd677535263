"""Copying tensors by name, all or none, with a receipt that says what was done."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Receipt:
    """What a transfer did, as names of the target's tensors.

    Attributes:
        loaded: now hold the source's values.
        missing: the source has no value for them.
        unexpected: tensors of the source that the target does not have.
        other_shape: cannot be copied, because the shapes differ.
        other_kind: cannot be copied, because the dtypes differ.
        differing: exist in both, with different values.
        left: tensors of the target outside the trunk, such as heads; they are left unchanged.
        layout: the library whose names were recognised.
        prefix: what precedes these names in the target.
        feature_difference: the largest difference of a layer's output, relative to its largest
            value; None if only tensors were copied.
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
        """Why the transfer is incomplete; empty if it is complete."""
        kinds = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.other_shape),
            ("of another dtype", self.other_kind),
            ("with different values", self.differing),
        )
        return "; ".join(f"{len(names)} {word} ({_some(names)})" for word, names in kinds if names)

    def __str__(self) -> str:
        where = f" at {self.prefix!r}" if self.prefix else ""
        lines = [
            f"{len(self.loaded)} tensors "
            f"loaded{where}{f', {self.layout} names' if self.layout else ''}"
        ]
        if self.left:
            lines.append(
                f"{len(self.left)} left unchanged, not trained by this method: {_some(self.left)}"
            )
        if self.feature_difference is not None:
            lines.append(
                "reference slice: every layer gives the same output (largest relative difference "
                f"{self.feature_difference:.1g})"
            )
        return "\n".join(lines)


class TransferError(ValueError):
    """A transfer that is incomplete; the message says why.

    receipt: the details, if tensors were compared.
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
    """Compare tensors by name.

    Args:
        target: the tensors to copy to.
        source: the tensors to copy from.
        trunk: the names in `target` for which `source` must have values.
    """
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


def copy_compared(
    target: Mapping[str, Tensor], source: Mapping[str, Tensor], comparison: Receipt
) -> None:
    """Copy every tensor that differs.

    Raises:
        TransferError: `comparison`, what `compare` found, is incomplete; nothing is copied.
    """
    if faults := dataclasses.replace(comparison, differing=()).faults():
        raise TransferError(f"incomplete transfer, nothing was loaded: {faults}", comparison)
    with torch.no_grad():
        for name in comparison.differing:
            target[name].copy_(source[name])


def copy_into(module: nn.Module, tensors: Mapping[str, Tensor]) -> Receipt:
    """Copy `tensors` into a module that has the same names, all of them or none.

    Raises:
        TransferError: a tensor is missing, unexpected, or of another shape or dtype; the module is
            then unchanged.
    """
    target = module.state_dict()
    copy_compared(target, tensors, compare(target, tensors, set(target)))
    after = compare(module.state_dict(), tensors, set(target))
    if faults := after.faults():
        raise TransferError(f"tensors differ after loading: {faults}", after)
    return after
