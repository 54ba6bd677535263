"""Moving a trunk into a model, with a receipt: a transfer is complete, and gives the same features,
or it raises.

Nothing is matched by suffix and nothing is skipped silently: half-loaded weights show only as a bad
average precision, weeks later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .features import feature_difference
from .layouts import COUNTER, Place, layouts, locate
from .receipts import Receipt, TransferError, compare

if TYPE_CHECKING:
    from .artifact import Weights


def _copy(target: Mapping[str, Tensor], source: Mapping[str, Tensor], before: Receipt) -> None:
    """Copy every tensor, or raise before the first."""
    if faults := dataclasses.replace(before, differing=()).faults():
        raise TransferError(f"incomplete transfer, nothing was loaded: {faults}", before)
    with torch.no_grad():
        for name in before.differing:
            target[name].copy_(source[name])


def copy_into(module: nn.Module, tensors: Mapping[str, Tensor]) -> Receipt:
    """Copy `tensors` into a module of the same names, every one or none.

    Raises:
        TransferError: a tensor is missing, unexpected, of another shape or kind; the module is then
            unchanged.
    """
    target = module.state_dict()
    _copy(target, tensors, compare(target, tensors, set(target)))
    after = compare(module.state_dict(), tensors, set(target))
    if faults := after.faults():
        raise TransferError(f"tensors differ after loading: {faults}", after)
    return after


def load_into(model: nn.Module, weights: Weights, prefix: str | None = None) -> Receipt:
    """Load a trunk into any model that holds the same network: torchvision, timm, detectron2, alone
    or inside a detector.

    Args:
        model: the target, of whatever library; only its trunk changes.
        weights: of this project.
        prefix: where the trunk sits among the model's names, with its dot; found by itself in the
            places of `layouts.PREFIXES`.

    Raises:
        TransferError: a tensor without a place or a place without a tensor, another shape or kind,
            a detector that normalises its images otherwise, or features that differ. The model is
            then as it was.
    """
    target = model.state_dict()
    place, source, before = _match(model, weights, prefix)
    kept = {name: target[name].clone() for name in before.differing}
    _copy(target, source, before)
    try:
        return _verified(model, weights, place, source)
    except TransferError:
        with torch.no_grad():
            for name, tensor in kept.items():
                target[name].copy_(tensor)
        raise


def verify(model: nn.Module, weights: Weights, prefix: str | None = None) -> Receipt:
    """Prove that a model which something else has loaded, a detector's own checkpointer say, holds
    these weights. See `load_into`.
    """
    place, source, _ = _match(model, weights, prefix)
    return _verified(model, weights, place, source)


def _match(
    model: nn.Module, weights: Weights, prefix: str | None
) -> tuple[Place, dict[str, Tensor], Receipt]:
    """Where the trunk sits, its tensors under the model's names, and how they compare."""
    target = model.state_dict()
    place = locate(layouts(weights.backbone, weights.trunk), target, prefix)
    if place is None:
        where = (
            "under any prefix that is known; give prefix=..."
            if prefix is None
            else f"under {prefix!r}"
        )
        raise TransferError(
            "incomplete transfer, nothing was loaded: the model has no tensor of a "
            f"{weights.backbone} {where}"
        )
    source = {place.name(name): t for name, t in place.layout.to_theirs(weights.trunk).items()}
    source = {name: t for name, t in source.items() if name in target or not name.endswith(COUNTER)}
    return place, source, compare(target, source, {name for name in target if place.kin(name)})


def _verified(
    model: nn.Module, weights: Weights, place: Place, source: Mapping[str, Tensor]
) -> Receipt:
    target = model.state_dict()
    receipt = compare(target, source, {name for name in target if place.kin(name)})
    if faults := receipt.faults():
        raise TransferError(f"the model does not hold these weights: {faults}", receipt)
    difference = feature_difference(model, weights, place)
    return dataclasses.replace(
        receipt, layout=place.layout.library, prefix=place.prefix, feature_difference=difference
    )
