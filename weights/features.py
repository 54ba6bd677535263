"""Whether two networks compute the same: equal tensors do not make equal features.

Another stride, epsilon or activation, or a detector that subtracts another mean, leaves every
tensor as it was. So a slice drawn in HU is given to both networks, to each as its user would give
it, and what every layer of the trunk puts out must be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .inputs import AIR_HU, InputSpec
from .layouts import Place
from .receipts import TransferError

if TYPE_CHECKING:
    from .artifact import Weights

TOLERANCE = 1e-4
"""Largest difference of a layer's output relative to its largest value.

Rounding gives 1e-6, another epsilon of BatchNorm 1e-3.
"""


def reference_slice(inputs: InputSpec) -> Tensor:
    """The slice that features are compared on:

    a body of waves over all of the window and a little beyond. `[1, S, S]` int16 HU.
    """
    low, high = inputs.window_hu
    y, x = torch.meshgrid(
        *[torch.linspace(-1, 1, inputs.size_px, dtype=torch.float64)] * 2, indexing="ij"
    )
    waves = (torch.sin(9 * x + 4 * y) * torch.cos(7 * y - 3 * x) + 1) / 2
    hu = low + (high - low) * (1.2 * waves - 0.1)
    return (
        torch.where((x / 0.9) ** 2 + (y / 0.7) ** 2 < 1, hu, AIR_HU)
        .round()
        .clamp(-32768, 32767)
        .to(torch.int16)[None]
    )


def feature_difference(model: nn.Module, weights: Weights, place: Place) -> float:
    """The largest relative difference of any layer's output on the reference slice.

    Raises `TransferError` above the tolerance.
    """
    device = next(model.parameters()).device
    backbone = weights.build().to(device)
    hu = reference_slice(weights.inputs).to(device)
    pairs = {}
    for ours, theirs in place.layout.names.items():
        own, other = (name.rpartition(".")[0] for name in (ours, place.name(theirs)))
        pairs[own] = other
    # A layer that holds another one inside (detectron2's convolutions hold their norm) puts out
    # something else than one that does not.
    body = dict(backbone.body.named_modules()), dict(model.named_modules())
    pairs = {
        a: b for a, b in pairs.items() if a and b and _is_leaf(body[0][a]) == _is_leaf(body[1][b])
    }
    expected, map_ = _outputs(
        backbone.body, pairs, device, lambda: backbone(weights.inputs.to_input(hu))
    )
    x = _normalised(model, weights.inputs, hu)
    found, returned = _outputs(model, pairs.values(), device, lambda: _runner(model)(x))
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
        raise TransferError(
            f"features differ: {what} puts out {tuple(found.shape)}, in the source "
            f"{tuple(expected.shape)}"
        )
    relative = float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not relative <= TOLERANCE:
        raise TransferError(
            f"features differ: {what} puts out other values, by {relative:.2g} of its largest "
            f"(allowed: {TOLERANCE:g})"
        )
    return relative


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _outputs(
    root: nn.Module, paths: Collection[str], device: torch.device, run: Callable[[], Any]
) -> tuple[dict[str, Tensor], Any]:
    """What the layers at `paths` put out while `run` runs, and what it returns.

    In evaluation mode; the modes are put back.
    """
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
        # In full float32: TF32 rounds by more than the tolerance, and two kernels need not round
        # alike.
        with (
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(allow_tf32=False),
        ):
            return outputs, run()
    except (
        RuntimeError,
        ValueError,
        AssertionError,
        TypeError,
    ) as error:  # whatever a foreign model makes of the slice
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TransferError(
            f"features cannot be compared, the model does not take the reference slice: {reason}"
        ) from error
    finally:
        for handle in hooks:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode


def _runner(model: nn.Module) -> Callable[[Tensor], Any]:
    """What to call to run the trunk:

    a detector's backbone; without the classifier where the model has such a way.
    """
    if isinstance(backbone := getattr(model, "backbone", None), nn.Module):
        model = backbone
    for way in ("forward_features", "features"):
        if callable(function := getattr(model, way, None)):
            return function  # type: ignore[no-any-return]
    return model


def _normalised(model: nn.Module, inputs: InputSpec, hu: Tensor) -> Tensor:
    """The reference slice as the model's trunk gets it when the model is used: detectors subtract a
    mean of their own.

    Raises `TransferError` where that is not the contract's. A detector that normalises nothing
    (mean 0, std 1) gets what the contract says.
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
    if not all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-3)
        for a, b in zip((mean, std), wanted, strict=True)
    ):
        shown = [
            f"{name} {[round(float(v), 4) for v in value]}"
            for name, value in zip(names, (mean, std), strict=True)
        ]
        right = [
            f"{name} {[round(float(v), 4) for v in value]}"
            for name, value in zip(names, wanted, strict=True)
        ]
        raise TransferError(
            f"another intensity scale: the detector has {', '.join(shown)}; these weights need "
            f"{', '.join(right)}"
        )
    mean, std = (v.view(1, 3, 1, 1).to(hu.device) for v in (mean, std))
    return (inputs.to_image(hu) * scale - mean) / std
