"""Where a trunk's weights come from before training: random, ImageNet, or a file.

A start that is not available is an error, never a silent random start, and the message says what to
do on a machine without internet. The provenance of the trained weights records the start and the
range of inputs that its first convolution was trained on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision import models

from . import artifact, files
from .backbones import TORCHVISION, Backbone, build
from .inputs import InputSpec
from .layouts import layouts_of
from .receipts import TransferError, copy_into
from .released import resolve

IMAGENET_TAGS = ("in1k", "in12k", "in21k", "in22k")
"""Parts of the tags of timm's weights that were trained on ImageNet or a superset of it."""


def start(
    backbone: str,
    source: str = "random",
    *,
    inputs: InputSpec | None = None,
    seed: int = 0,
    start_prefix: str | None = None,
    assume_scale: bool = False,
) -> Backbone:
    """A backbone ready to train; its `origin` says where it started.

    Args:
        backbone: a name that `build` takes.
        source: "random" (the library's own initialisation); "random:msra" (the authors': He's
            normal over the inputs of a convolution, biases 0); "imagenet" or "imagenet:TAG"
            (torchvision's or timm's weights, from their cache or the internet; TAG is a member of
            torchvision's enum, such as IMAGENET1K_V1, or a tag of timm, such as a1_in1k); or a
            file: weights of this project ("released": the bundled weights), or a state dict of
            torchvision, timm or detectron2 (.safetensors, .pth, .pkl), for machines without
            internet.
        inputs: the contract of the coming training; checked against the scale that the weights were
            trained on. If a file does not state its scale, that of its library's own weights of the
            network is taken, provided they all share one.
        seed: of the random initialisation.
        start_prefix: what precedes the trunk's tensor names in the file; for a file that holds
            several trunks, or one in an unusual place.
        assume_scale: assume that a file that does not state its scale was trained on the
            contract's.

    Raises:
        ValueError: the file does not exist, its backbone or contract differs, its scale is not
            known, ImageNet weights are not available, or `start_prefix` is given without a file.
        TransferError: the file does not hold the whole trunk, or more than one.
    """
    kind, _, tag = source.partition(":")
    if start_prefix is not None and kind in ("random", "imagenet"):
        raise ValueError(
            f"`start_prefix` {start_prefix!r} is for starts from a file, and {source!r} is none; "
            "leave it out"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build(backbone)
        if source == "random:msra":
            _msra(net)
    if source in ("random", "random:msra"):
        library = "torchvision" if backbone in TORCHVISION else "timm"
        net.origin = {"source": "random", "initialisation": tag or f"{library}'s own", "seed": seed}
        return net
    if kind == "random":
        raise ValueError(
            f"unknown start {source!r}; allowed: random, random:msra, imagenet, imagenet:TAG, "
            "released, or a file"
        )
    if kind == "imagenet":
        origin, scale, fetch = _imagenet(backbone, tag)
        origin |= _scales(inputs, scale, origin["source"])  # checked before the download
        tensors = fetch()
    else:
        tensors, origin = _file(source, net, inputs, start_prefix, assume_scale)
    tensors = {name: tensors[name] for name in net.body.state_dict() if name in tensors}
    try:
        copy_into(net.body, tensors)
    except TransferError as error:
        raise TransferError(f"{source}: {error}", error.receipt) from error
    net.origin = origin
    return net


def _msra(net: Backbone) -> None:
    for module in net.body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


_Scale = tuple[Sequence[float], Sequence[float]]


def _scales(inputs: InputSpec | None, scale: _Scale, whose: str) -> dict[str, Any]:
    """The range of the first convolution's inputs: in its own training, and under the contract.

    Raises `ValueError` if the two ranges differ by more than half in width, or by more than 1.5 in
    their middle (the authors' own mean is off by 1.3).
    """
    mean, std = scale
    saw = _reach(mean, std)
    about: dict[str, Any] = {"mean": list(mean), "std": list(std), "first_convolution_saw": saw}
    if inputs is None:
        return about
    gets = _reach(inputs.mean, inputs.std)
    width = (gets[1] - gets[0]) / (saw[1] - saw[0])
    if (
        inputs.channels != "grey"
        or not 2 / 3 <= width <= 1.5
        or abs(sum(gets) - sum(saw)) / 2 > 1.5
    ):
        raise ValueError(
            f"{whose}: its first convolution was trained on inputs of {saw[0]:.2f}..{saw[1]:.2f} "
            f"and would get {gets[0]:.2f}..{gets[1]:.2f}; use inputs.channels='grey', "
            f"inputs.mean={list(mean)}, inputs.std={list(std)}"
        )
    return about | {"first_convolution_gets": gets, "from_hu": list(inputs.window_hu)}


def _reach(mean: Sequence[float], std: Sequence[float]) -> list[float]:
    """The smallest and largest input for windowed values in 0..1."""
    pairs = list(zip(mean, std, strict=True))
    return [
        round(min((0 - m) / s for m, s in pairs), 3),
        round(max((1 - m) / s for m, s in pairs), 3),
    ]


def _imagenet(
    backbone: str, tag: str
) -> tuple[dict[str, Any], _Scale, Callable[[], dict[str, Tensor]]]:
    """The origin and scale of a library's ImageNet weights, and a function that fetches them."""
    if backbone in TORCHVISION:
        enum: Any = models.get_model_weights(backbone)
        if tag and tag not in enum.__members__:
            raise ValueError(
                f"torchvision has no {backbone} weights {tag!r}; allowed: "
                f"{', '.join(enum.__members__)}"
            )
        member = enum[tag] if tag else enum.IMAGENET1K_V1
        transforms = member.transforms()
        fetch = partial(member.get_state_dict, progress=False, check_hash=True)
        return (
            {"source": f"torchvision {member}"},
            (transforms.mean, transforms.std),
            partial(_fetched, backbone, fetch),
        )
    name = backbone.removeprefix("timm/")
    tags = [
        full.partition(".")[2]
        for full in timm.list_pretrained(f"{name}.*")
        if full.partition(".")[0] == name
    ]
    config = None
    if not tag or tag in tags:
        config = timm.get_pretrained_cfg(f"{name}.{tag}" if tag else name)
    if config is None or not config.tag or not tags:
        raise ValueError(
            f"timm has no {name} weights {repr(tag) if tag else 'of ImageNet'}; allowed: "
            f"{', '.join(tags) or 'none'}"
        )
    if not any(word in config.tag for word in IMAGENET_TAGS):
        raise ValueError(
            f"timm's {name} weights {config.tag!r} are not from ImageNet; give imagenet:TAG with "
            f"one of {', '.join(tags)}"
        )
    origin = {"source": f"timm {name}.{config.tag}", "licence": config.license}
    return (
        origin,
        (config.mean, config.std),
        partial(_fetched, backbone, partial(_timm, f"{name}.{config.tag}")),
    )


def _timm(name: str) -> dict[str, Tensor]:
    return dict(timm.create_model(name, pretrained=True, num_classes=0).state_dict())


def _fetched(backbone: str, fetch: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    try:
        return dict(fetch())
    except Exception as error:  # urllib, huggingface_hub and timm each raise their own
        raise ValueError(
            f"no ImageNet weights for {backbone} in the cache, and none could be downloaded "
            f"({type(error).__name__}); offline, copy the file from a machine with internet and "
            "give its path (start=FILE), or use start='random'"
        ) from error


def _file(
    source: str,
    net: Backbone,
    inputs: InputSpec | None,
    prefix: str | None,
    assume_scale: bool,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if "://" in source:
        raise ValueError(f"start {source!r} is a URL; download the file and give its path")
    path = resolve(source)
    if not path.is_file():
        raise ValueError(
            f"unknown start {source!r}; allowed: random, imagenet, released, or an existing file"
        )
    if path.suffix == ".safetensors" and artifact.metadata(path) is not None:
        weights = artifact.load(path)
        if weights.backbone != net.name:
            raise ValueError(
                f"{path}: weights of {weights.backbone}, but the recipe's backbone is {net.name}; "
                f"use backbone={weights.backbone!r}"
            )
        _same_intensity(path, weights.inputs, inputs)
        origin = {
            "source": "weights of this project",
            "sha256": weights.sha256(),
            **({"name": name} if (name := weights.made().name) else {}),
            "start": weights.provenance.get("start", {}),
        }
        return dict(weights.trunk), origin
    foreign = files.read_foreign(path)
    foreign.check_backbone(net.name)
    trunk = foreign.trunk(net.name, net.body.state_dict(), prefix)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if (made := foreign.inputs()) is not None:
        _same_intensity(path, made, inputs)
        if foreign.record:
            sha256 = foreign.record["weights_sha256"]
        what = "an export" if foreign.record else "a checkpoint"
        return trunk, {"source": f"{what} of this project", "sha256": sha256}
    member = _torchvision_member(net, sha256)
    origin = {"source": f"torchvision {member}" if member else "a file", "sha256": sha256}
    if member:
        transforms = member.transforms()
        origin |= _scales(inputs, (transforms.mean, transforms.std), f"{path}: {origin['source']}")
    elif foreign.scale:
        origin |= _scales(inputs, foreign.scale, str(path))
    else:
        origin |= _unstated(path, net.name, inputs, assume_scale)
    return trunk, origin


def _unstated(
    path: Path, backbone: str, inputs: InputSpec | None, assume_scale: bool
) -> dict[str, Any]:
    """What is known of the scale of a file that does not state it.

    Raises `ValueError` unless the library's own weights of this network have one scale, and it is
    that of the contract.
    """
    unstated = "not stated by the file"
    if inputs is None:
        return {"scale": unstated}
    if assume_scale:
        return {"scale": f"{unstated}, assumed to be that of the contract"}
    library, scales = _librarys_scales(backbone)
    ask = "if it was trained on the scale of the contract, set `assume_scale`"
    if not scales:
        raise ValueError(
            f"{path}: does not state the scale it was trained on, and {library} has no weights of "
            f"{backbone} to compare with; {ask}"
        )
    if len(scales) > 1:
        shown = " or ".join(f"mean {list(m)} and std {list(s)}" for m, s in scales)
        raise ValueError(
            f"{path}: does not state its scale, and {library}'s weights of {backbone} have "
            f"{shown}; {ask}"
        )
    try:
        found = _scales(
            inputs, scales[0], f"{path}: does not state its scale; if it is {library}'s"
        )
    except ValueError as error:
        raise ValueError(f"{error}; {ask}") from error
    return {**found, "scale": f"{unstated}, taken to be that of {library}'s weights"}


def _librarys_scales(backbone: str) -> tuple[str, list[_Scale]]:
    """A backbone's library, and the scales of all of its weights of it."""
    if backbone in TORCHVISION:
        transforms = [member.transforms() for member in models.get_model_weights(backbone)]
        return "torchvision", sorted({(tuple(t.mean), tuple(t.std)) for t in transforms})
    name = backbone.removeprefix("timm/")
    full = [n for n in timm.list_pretrained(f"{name}.*") if n.partition(".")[0] == name]
    configs = [config for n in full if (config := timm.get_pretrained_cfg(n)) is not None]
    return "timm", sorted({(tuple(c.mean), tuple(c.std)) for c in configs})


def _torchvision_member(net: Backbone, sha256: str) -> Any:
    """The member of torchvision's enum whose file this is, None if there is none.

    torchvision's file names end with the beginning of their SHA-256.
    """
    layout = layouts_of(net.name, net.body.state_dict()).get("torchvision")
    for member in models.get_model_weights(layout.model) if layout else ():
        found = re.search(r"-([0-9a-f]{8,})\.pth$", member.url)
        if found and sha256.startswith(found[1]):
            return member
    return None


def _same_intensity(path: Path, made: InputSpec, wanted: InputSpec | None) -> None:
    if wanted is not None and made.intensity() != wanted.intensity():
        raise ValueError(
            f"{path}: trained with window_hu, channels, mean, std {made.intensity()}, but the "
            f"recipe has {wanted.intensity()}; use the file's"
        )
