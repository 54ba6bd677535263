"""Moving a trunk into a model, with a receipt: a transfer is complete, and gives the same features, or it raises.

Nothing is matched by suffix and nothing is skipped silently. Half-loaded weights, or weights that are fed another intensity scale, show
only as a bad average precision, weeks later. So after the tensors, the layers are compared: a slice drawn in HU is given to both networks,
to each as it expects it, and what every layer of the trunk puts out must be the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .inputs import AIR_HU, InputSpec
from .layouts import COUNTER, Place, layouts, locate

if TYPE_CHECKING:
    from .artifact import Weights

TOLERANCE = 1e-4
"""Largest difference of a layer's output relative to its largest value. Rounding gives 1e-6, another epsilon of BatchNorm 1e-3."""


@dataclass(frozen=True)
class Receipt:
    """What a transfer did; names are the target's.

    loaded: hold the source's numbers now. missing: the source has none for them. unexpected: the source's, without a place in the target.
    other_shape, other_kind: cannot be copied. differing: have a place, and other numbers. left: the target's that are none of the trunk's:
    heads that this training does not train. layout, prefix: how the names were found. feature_difference: the largest of any layer,
    relative to its largest value; none where tensors alone were moved.
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
        lines = [f"{len(self.loaded)} tensors loaded{where}{f', {self.layout} names' if self.layout else ''}"]
        if self.left:
            lines.append(f"{len(self.left)} left as they were, not trained by this method: {_some(self.left)}")
        if self.feature_difference is not None:
            lines.append(f"reference slice: every layer puts out the same (largest relative difference {self.feature_difference:.1g})")
        return "\n".join(lines)


class TransferError(ValueError):
    """A transfer that was not complete; the text says why. receipt: the details, where tensors were compared."""

    def __init__(self, text: str, receipt: Receipt | None = None) -> None:
        super().__init__(text)
        self.receipt = receipt


def _some(names: Collection[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _compare(target: Mapping[str, Tensor], source: Mapping[str, Tensor], trunk: Collection[str]) -> Receipt:
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
        other_shape=tuple(f"{n} {tuple(source[n].shape)} for {tuple(target[n].shape)}" for n in shapes),
        other_kind=tuple(f"{n} {source[n].dtype} for {target[n].dtype}" for n in kinds),
        differing=tuple(differing),
        left=tuple(sorted(set(target) - set(source) - set(trunk))),
    )


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
        TransferError: a tensor is missing, unexpected, of another shape or kind; the module is then unchanged.
    """
    target = module.state_dict()
    _copy(target, tensors, _compare(target, tensors, set(target)))
    after = _compare(module.state_dict(), tensors, set(target))
    if faults := after.faults():
        raise TransferError(f"tensors differ after loading: {faults}", after)
    return after


def load_into(model: nn.Module, weights: Weights, prefix: str | None = None) -> Receipt:
    """Load a trunk into any model that holds the same network: torchvision, timm, detectron2, alone or inside a detector.

    Args:
        model: the target, of whatever library; only its trunk changes.
        weights: of this project.
        prefix: where the trunk sits among the model's names, with its dot; found by itself in the places of `layouts.PREFIXES`.

    Raises:
        TransferError: a tensor without a place or a place without a tensor, another shape or kind, a detector that normalises
            its images otherwise, or features that differ. The model is then as it was.
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
    """Prove that a model which something else has loaded, a detector's own checkpointer say, holds these weights. See `load_into`."""
    place, source, _ = _match(model, weights, prefix)
    return _verified(model, weights, place, source)


def _match(model: nn.Module, weights: Weights, prefix: str | None) -> tuple[Place, dict[str, Tensor], Receipt]:
    """Where the trunk sits, its tensors under the model's names, and how they compare."""
    target = model.state_dict()
    place = locate(layouts(weights.backbone, weights.trunk), target, prefix)
    if place is None:
        where = "under any prefix that is known; give prefix=..." if prefix is None else f"under {prefix!r}"
        raise TransferError(f"incomplete transfer, nothing was loaded: the model has no tensor of a {weights.backbone} {where}")
    source = {place.name(name): t for name, t in place.layout.to_theirs(weights.trunk).items()}
    source = {name: t for name, t in source.items() if name in target or not name.endswith(COUNTER)}
    return place, source, _compare(target, source, {name for name in target if place.kin(name)})


def _verified(model: nn.Module, weights: Weights, place: Place, source: Mapping[str, Tensor]) -> Receipt:
    target = model.state_dict()
    receipt = _compare(target, source, {name for name in target if place.kin(name)})
    if faults := receipt.faults():
        raise TransferError(f"the model does not hold these weights: {faults}", receipt)
    difference = _feature_difference(model, weights, place)
    return dataclasses.replace(receipt, layout=place.layout.library, prefix=place.prefix, feature_difference=difference)


def reference_slice(inputs: InputSpec) -> Tensor:
    """The slice that features are compared on: a body of waves over all of the window and a little beyond. `[1, S, S]` int16 HU."""
    low, high = inputs.window_hu
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, inputs.size_px, dtype=torch.float64)] * 2, indexing="ij")
    waves = (torch.sin(9 * x + 4 * y) * torch.cos(7 * y - 3 * x) + 1) / 2
    hu = low + (high - low) * (1.2 * waves - 0.1)
    return torch.where((x / 0.9) ** 2 + (y / 0.7) ** 2 < 1, hu, AIR_HU).round().clamp(-32768, 32767).to(torch.int16)[None]


def _feature_difference(model: nn.Module, weights: Weights, place: Place) -> float:
    """The largest relative difference of any layer's output on the reference slice. Raises `TransferError` above the tolerance."""
    device = next(model.parameters()).device
    backbone = weights.build().to(device)
    hu = reference_slice(weights.inputs).to(device)
    pairs = {}
    for ours, theirs in place.layout.names.items():
        own, other = (name.rpartition(".")[0] for name in (ours, place.name(theirs)))
        pairs[own] = other
    # A layer that holds another one inside (detectron2's convolutions hold their norm) puts out something else than one that does not.
    body = dict(backbone.body.named_modules()), dict(model.named_modules())
    pairs = {a: b for a, b in pairs.items() if a and b and _is_leaf(body[0][a]) == _is_leaf(body[1][b])}
    expected, map_ = _outputs(backbone.body, pairs, lambda: backbone(weights.inputs.to_input(hu)))
    x = _normalised(model, weights.inputs, hu)
    found, returned = _outputs(model, pairs.values(), lambda: _runner(model)(x))
    largest = 0.0
    for own, other in pairs.items():
        if own not in expected:
            continue
        if other not in found:
            raise TransferError(f"features differ: {other} does not run in the model")
        largest = max(largest, _difference(other, expected[own], found[other]))
    if isinstance(returned, Tensor) and isinstance(map_, Tensor) and returned.shape == map_.shape:
        largest = max(largest, _difference("the map", map_, returned))
    return largest


def _difference(what: str, expected: Tensor, found: Tensor) -> float:
    if expected.shape != found.shape:
        raise TransferError(f"features differ: {what} puts out {tuple(found.shape)}, in the source {tuple(expected.shape)}")
    relative = float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not relative <= TOLERANCE:
        raise TransferError(f"features differ: {what} puts out other values, by {relative:.2g} of its largest (allowed: {TOLERANCE:g})")
    return relative


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _outputs(root: nn.Module, paths: Collection[str], run: Callable[[], Any]) -> tuple[dict[str, Tensor], Any]:
    """What the layers at `paths` put out while `run` runs, and what it returns. In evaluation mode; the modes are put back."""
    outputs: dict[str, Tensor] = {}

    def keep(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, output: object) -> None:
            if isinstance(output, Tensor) and path not in outputs:
                outputs[path] = output.detach().clone()  # the next layer may work in place

        return hook

    modes = {module: module.training for module in root.modules()}
    modules = dict(root.named_modules())
    hooks = [modules[path].register_forward_hook(keep(path)) for path in paths]
    try:
        root.eval()
        with torch.no_grad():
            return outputs, run()
    except (RuntimeError, ValueError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TransferError(f"features cannot be compared, the model does not take the reference slice: {reason}") from error
    finally:
        for handle in hooks:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode


def _runner(model: nn.Module) -> Callable[[Tensor], Any]:
    """What to call to run the trunk: a detector's backbone; without the classifier where the model has such a way."""
    if isinstance(backbone := getattr(model, "backbone", None), nn.Module):
        model = backbone
    for way in ("forward_features", "features"):
        if callable(function := getattr(model, way, None)):
            return function  # type: ignore[no-any-return]
    return model


def _normalised(model: nn.Module, inputs: InputSpec, hu: Tensor) -> Tensor:
    """The reference slice as the model's trunk gets it when the model is used: detectors subtract a mean of their own.

    Raises `TransferError` where that is not the contract's. A detector that normalises nothing (mean 0, std 1) gets what the contract says.
    """
    scale = 1.0
    transform = getattr(model, "transform", None)
    if hasattr(transform, "image_mean") and hasattr(transform, "image_std"):
        names, values = ("image_mean", "image_std"), (transform.image_mean, transform.image_std)  # type: ignore[union-attr]
    elif hasattr(model, "pixel_mean") and hasattr(model, "pixel_std"):
        names, values = ("PIXEL_MEAN", "PIXEL_STD"), (model.pixel_mean, model.pixel_std)
        scale = inputs.pixel_scale
    else:
        return inputs.to_input(hu)
    mean, std = (torch.as_tensor(v, dtype=torch.float32).flatten().cpu() for v in values)
    if not mean.any() and (std == 1).all():
        return inputs.to_input(hu)
    wanted = torch.tensor(inputs.mean) * scale, torch.tensor(inputs.std) * scale
    if not all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-3) for a, b in zip((mean, std), wanted, strict=True)):
        shown = [f"{name} {[round(float(v), 4) for v in value]}" for name, value in zip(names, (mean, std), strict=True)]
        right = [f"{name} {[round(float(v), 4) for v in value]}" for name, value in zip(names, wanted, strict=True)]
        raise TransferError(f"another intensity scale: the detector has {', '.join(shown)}; these weights need {', '.join(right)}")
    mean, std = (v.view(1, 3, 1, 1).to(hu.device) for v in (mean, std))
    return (inputs.to_image(hu) * scale - mean) / std
