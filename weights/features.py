"""Whether two networks compute the same features; equal tensors do not guarantee it.

A different stride, epsilon or activation, or a detector that subtracts a different mean, leaves
every tensor unchanged. Both networks are therefore run on the same synthetic slice, each with the
preprocessing of its own users, and the outputs of every layer of the trunk must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .artifact import Weights
from .inputs import InputSpec, reference_slice
from .layouts import Location
from .receipts import TransferError

TOLERANCE = 1e-4
"""Largest difference of a layer's output that is accepted, relative to its largest value.

Rounding gives 1e-6; a different epsilon of BatchNorm gives 1e-3.
"""


def feature_difference(model: nn.Module, weights: Weights, location: Location) -> float:
    """The largest relative difference of a layer's output on the reference slice.

    Raises:
        TransferError: the difference exceeds `TOLERANCE`, the detector normalises its images
            differently, or the model cannot be run on the slice.
    """
    device = next(model.parameters()).device
    backbone = weights.build().to(device)
    hu = reference_slice(weights.inputs).to(device)
    pairs = {}
    for ours, theirs in location.layout.names.items():
        own, other = (name.rpartition(".")[0] for name in (ours, location.name(theirs)))
        pairs[own] = other
    # A layer that contains another one (detectron2's convolutions contain their norm) has another
    # output than a layer that does not. A traced model (torch.fx) keeps some layers as holders of
    # tensors only.
    body = dict(backbone.body.named_modules()), dict(model.named_modules())
    pairs = {
        a: b
        for a, b in pairs.items()
        if a and b and _is_leaf(body[0][a]) == _is_leaf(body[1][b]) and _runs(body[1][b])
    }
    expected, map_ = _outputs(
        backbone.body, pairs, device, lambda: backbone(weights.inputs.to_input(hu))
    )
    chain = _chain(model, location.prefix)
    x = _normalised(chain, weights.inputs, hu)
    runner = _runner(chain)
    found, returned = _outputs(model, pairs.values(), device, lambda: runner(x))
    largest = 0.0
    for own, other in pairs.items():
        if own not in expected:
            continue
        if other not in found:
            raise TransferError(f"features differ: {other} does not run in the model")
        largest = max(largest, _difference(other, expected[own], found[other]))
    if isinstance(returned, dict | list | tuple) and len(returned) == 1:
        returned = next(iter(returned.values() if isinstance(returned, dict) else returned))
    if isinstance(returned, Tensor) and isinstance(map_, Tensor) and returned.shape == map_.shape:
        largest = max(largest, _difference("the map", map_, returned))
    return largest


def _difference(what: str, expected: Tensor, found: Tensor) -> float:
    if expected.shape != found.shape:
        raise TransferError(
            f"features differ: the output of {what} is {tuple(found.shape)}, but in the source "
            f"{tuple(expected.shape)}"
        )
    relative = float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not relative <= TOLERANCE:
        raise TransferError(
            f"features differ: the output of {what} is off by {relative:.2g} of its largest value "
            f"(allowed: {TOLERANCE:g})"
        )
    return relative


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _outputs(
    root: nn.Module, paths: Collection[str], device: torch.device, run: Callable[[], Any]
) -> tuple[dict[str, Tensor], Any]:
    """The outputs of the layers at `paths` while `run` runs, and what it returns.

    `root` runs in evaluation mode; its own modes are restored afterwards.
    """
    outputs: dict[str, Tensor] = {}

    def keep(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, output: object) -> None:
            if isinstance(output, Tensor) and path not in outputs:
                outputs[path] = output.detach().clone()  # the next layer may be in-place

        return hook

    modes = {module: module.training for module in root.modules()}
    modules = dict(root.named_modules())
    hooks = [modules[path].register_forward_hook(keep(path)) for path in paths]
    try:
        root.eval()
        # Full float32: TF32 rounds by more than the tolerance, and two kernels may round
        # differently.
        with (
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(allow_tf32=False),
            _eager(root),
        ):
            return outputs, run()
    # What other libraries' models raise when they cannot process the slice.
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TransferError(
            f"features cannot be compared: the model fails on the reference slice: {reason}"
        ) from error
    finally:
        for handle in hooks:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode


def _eager(root: nn.Module) -> AbstractContextManager[Any]:
    """A context in which compiled modules run as written: hooks are not called in compiled code."""
    compiled = any(
        type(module).__name__ == "OptimizedModule" or module._compiled_call_impl is not None
        for module in root.modules()
    )
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def _chain(model: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    """The modules from the whole model down to the one that holds the trunk, with their names.

    Wrappers that only pass their input on (DataParallel, DDP, torch.compile) are left out.
    """
    chain, name = [], ""
    for part in prefix.split(".")[:-1]:
        if not _is_wrapper(model):
            chain.append((name, model))
            name = part
        model = getattr(model, part)
    return [*chain, (name, model)]


def _is_wrapper(module: nn.Module) -> bool:
    # The class of compiled modules is not public, and importing it takes seconds.
    return (
        isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel)
        or type(module).__name__ == "OptimizedModule"
    )


def _normalises(module: nn.Module) -> bool:
    """Whether a module is a detector that subtracts its own mean from images."""
    transform = getattr(module, "transform", None)
    return (hasattr(transform, "image_mean") and hasattr(transform, "image_std")) or (
        hasattr(module, "pixel_mean") and hasattr(module, "pixel_std")
    )


def _runner(chain: Sequence[tuple[str, nn.Module]]) -> Callable[[Tensor], Any]:
    """The function that runs the trunk: a detector's backbone, a classifier without its head.

    What is around the detector or the network does not matter.
    """
    at = len(chain) - 1
    detectors = [i for i, (_, module) in enumerate(chain) if _normalises(module)]
    if detectors:
        at = min(detectors[-1] + 1, at)
    else:
        while at and chain[at][0] in ("body", "bottom_up"):
            at -= 1
        if not _runs(chain[at][1]):  # it only holds the trunk
            at = len(chain) - 1
    model = chain[at][1]
    for name in ("forward_features", "features"):
        function = getattr(model, name, None)
        if callable(function) and (not isinstance(function, nn.Module) or _runs(function)):
            return function  # type: ignore[no-any-return]
    return model


def _runs(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward


def _normalised(chain: Sequence[tuple[str, nn.Module]], inputs: InputSpec, hu: Tensor) -> Tensor:
    """The reference slice as the model's trunk receives it in use.

    Detectors subtract their own mean. A detector that does not normalise (mean 0, std 1) receives
    what the contract says.

    Raises:
        TransferError: the mean or std of the detector that holds the trunk is not the contract's.
    """
    model = next((module for _, module in reversed(chain) if _normalises(module)), None)
    if model is None:
        return inputs.to_input(hu)
    scale = 1.0
    transform = getattr(model, "transform", None)
    if hasattr(transform, "image_mean"):
        names, values = ("image_mean", "image_std"), (transform.image_mean, transform.image_std)  # type: ignore[union-attr]
    else:
        names, values = ("PIXEL_MEAN", "PIXEL_STD"), (model.pixel_mean, model.pixel_std)
        scale = inputs.pixel_scale
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
            f"intensity scales differ: the detector has {', '.join(shown)}; these weights need "
            f"{', '.join(right)}"
        )
    mean, std = (v.view(1, 3, 1, 1).to(hu.device) for v in (mean, std))
    return (inputs.to_image(hu) * scale - mean) / std
