"""Moving a trunk into a model: complete and with the same features, or an error is raised.

Names are never matched by suffix and no tensor is skipped silently. Weights that are only partly
loaded would otherwise only be noticed weeks later, as a poor average precision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .artifact import Weights
from .features import feature_difference
from .layouts import COUNTER, Location, layouts_of, locate, places
from .receipts import Receipt, TransferError, compare, copy_compared


def load_into(model: nn.Module, weights: Weights, prefix: str | None = None) -> Receipt:
    """Load a trunk into a model of torchvision, timm or detectron2 that contains the same network.

    Args:
        model: the network itself or a detector around it; only its trunk changes.
        weights: of this project.
        prefix: what precedes the trunk's tensor names in the model. By default it is detected,
            also inside wrappers such as `DataParallel`, `torch.compile` and a LightningModule;
            it is needed if the model holds the trunk twice.

    Raises:
        TransferError: a tensor is missing, unexpected, or of another shape or dtype; the trunk is
            there twice; the detector normalises its images differently; or the features differ.
            The model is then unchanged.
    """
    target = model.state_dict()
    location, source, before = _match(model, weights, prefix)
    kept = {name: target[name].clone() for name in before.differing}
    copy_compared(target, source, before)
    try:
        return _verified(model, weights, location, source)
    except TransferError:
        with torch.no_grad():
            for name, tensor in kept.items():
                target[name].copy_(tensor)
        raise


def verify(model: nn.Module, weights: Weights, prefix: str | None = None) -> Receipt:
    """Prove that a model holds these weights, whatever loaded them.

    Arguments and errors are those of `load_into`.
    """
    location, source, _ = _match(model, weights, prefix)
    return _verified(model, weights, location, source)


def _match(
    model: nn.Module, weights: Weights, prefix: str | None
) -> tuple[Location, dict[str, Tensor], Receipt]:
    """The trunk's location, its tensors under the model's names, and how they compare."""
    target = model.state_dict()
    location = _place(target, weights, prefix)
    source = {
        location.name(name): t for name, t in location.layout.to_theirs(weights.trunk).items()
    }
    source = {name: t for name, t in source.items() if name in target or not name.endswith(COUNTER)}
    return (
        location,
        source,
        compare(target, source, {name for name in target if location.holds(name)}),
    )


def _place(target: Mapping[str, Tensor], weights: Weights, prefix: str | None) -> Location:
    layouts = layouts_of(weights.backbone, weights.trunk)
    if prefix is None:
        # A module that is registered twice is one trunk under two names.
        trunks: dict[int, Location] = {}
        for place in places(layouts, target):
            own = (target.get(place.name(theirs)) for theirs in place.layout.names.values())
            trunks.setdefault(next(t.data_ptr() for t in own if t is not None), place)
        if len(trunks) > 1:
            where = " and ".join(repr(place.prefix) for place in trunks.values())
            raise TransferError(
                f"the model holds {len(trunks)} trunks of {weights.backbone}, at {where}; give one "
                "of them as `prefix`"
            )
        if trunks:
            return next(iter(trunks.values()))
    location = locate(layouts, target, prefix)
    if location is None:
        where = "under any known prefix; give prefix=..." if prefix is None else f"under {prefix!r}"
        raise TransferError(
            "incomplete transfer, nothing was loaded: the model has no tensor of "
            f"{weights.backbone} {where}"
        )
    return location


def _verified(
    model: nn.Module, weights: Weights, location: Location, source: Mapping[str, Tensor]
) -> Receipt:
    target = model.state_dict()
    receipt = compare(target, source, {name for name in target if location.holds(name)})
    if faults := receipt.faults():
        raise TransferError(f"the model does not hold these weights: {faults}", receipt)
    difference = feature_difference(model, weights, location)
    return dataclasses.replace(
        receipt,
        layout=location.layout.library,
        prefix=location.prefix,
        feature_difference=difference,
    )
