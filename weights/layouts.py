"""The names that other libraries give to a trunk's tensors, as data, in both directions.

A trunk is stored under the names of the library that its backbone comes from. If another library
has the same network, the renaming is a list of substitutions, which `layouts_of` turns into a table
name -> name. A table that is not a bijection is refused. Names are never matched by their endings:
the names under a known prefix must be exactly those of the table, or the transfer is incomplete.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

COUNTER = ".num_batches_tracked"
"""BatchNorm's counter of steps. No output depends on it, and frozen norms do not have it."""

_RESNET_NAMES = (
    r"resnet(?:18|34|50|101|152)|wide_resnet(?:50|101)_2|resnext50_32x4d|resnext101_(?:32x8d|64x4d)"
)

Rules = tuple[tuple[str, str], ...]

_CONVNEXT: Rules = (
    (r"^stem\.", "features.0."),
    *((rf"^stages\.{i}\.blocks\.", f"features.{2 * i + 1}.") for i in range(4)),
    *((rf"^stages\.{i}\.downsample\.", f"features.{2 * i}.") for i in range(1, 4)),
    (r"\.conv_dw\.", ".block.0."),
    (r"\.norm\.", ".block.2."),
    (r"\.mlp\.fc1\.", ".block.3."),
    (r"\.mlp\.fc2\.", ".block.5."),
    (r"\.gamma$", ".layer_scale"),
)
_REGNET: Rules = (
    (r"^stem\.conv\.", "stem.0."),
    (r"^stem\.bn\.", "stem.1."),
    *((rf"^s(\d)\.b{i + 1}\.", rf"trunk_output.block\1.block\1-{i}.") for i in range(32)),
    *((rf"\.conv{i}\.conv\.", f".f.{part}.0.") for i, part in ((1, "a"), (2, "b"), (3, "c"))),
    *((rf"\.conv{i}\.bn\.", f".f.{part}.1.") for i, part in ((1, "a"), (2, "b"), (3, "c"))),
    (r"\.se\.", ".f.se."),
    (r"\.downsample\.conv\.", ".proj.0."),
    (r"\.downsample\.bn\.", ".proj.1."),
)
_EFFICIENTNET: Rules = (
    (r"^conv_stem\.", "features.0.0."),
    (r"^bn1\.", "features.0.1."),
    # The first stage's blocks have no expansion, so the indices of their layers are lower by one.
    (r"^blocks\.0\.(\d+)\.conv_dw\.", r"features.1.\1.block.0.0."),
    (r"^blocks\.0\.(\d+)\.bn1\.", r"features.1.\1.block.0.1."),
    (r"^blocks\.0\.(\d+)\.se\.", r"features.1.\1.block.1."),
    (r"^blocks\.0\.(\d+)\.conv_pw\.", r"features.1.\1.block.2.0."),
    (r"^blocks\.0\.(\d+)\.bn2\.", r"features.1.\1.block.2.1."),
    *((rf"^blocks\.{i}\.(\d+)\.", rf"features.{i + 1}.\1.") for i in range(1, 7)),
    (r"(\.\d+)\.conv_pw\.", r"\1.block.0.0."),
    (r"(\.\d+)\.bn1\.", r"\1.block.0.1."),
    (r"(\.\d+)\.conv_dw\.", r"\1.block.1.0."),
    (r"(\.\d+)\.bn2\.", r"\1.block.1.1."),
    (r"(\.\d+)\.se\.", r"\1.block.2."),
    (r"(\.\d+)\.conv_pwl\.", r"\1.block.3.0."),
    (r"(\.\d+)\.bn3\.", r"\1.block.3.1."),
    (r"\.conv_reduce\.", ".fc1."),
    (r"\.conv_expand\.", ".fc2."),
)
_DETECTRON2_RESNET: Rules = (
    (r"^conv1\.", "stem.conv1."),
    (r"^bn1\.", "stem.conv1.norm."),
    *((rf"^layer{i}\.", f"res{i + 1}.") for i in range(1, 5)),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
)


class _Family(NamedTuple):
    """Backbones that a library has as well, and the library's names for them.

    Attributes:
        backbones: a pattern of the backbones' names.
        model: a template of the library's name.
        rules: substitutions from our tensor names to the library's.
        prefix: what precedes the trunk's names in that library's checkpoints.
        axes: a pattern of tensors that have more axes of length 1 there, and their shape.
        heads: beginnings of names that look like the trunk's there but are not part of it.
    """

    backbones: str
    model: str
    rules: Rules = ()
    prefix: str = ""
    axes: tuple[str, tuple[int, ...]] | None = None
    heads: tuple[str, ...] = ()


# torchvision's DenseNets are left out: their tensors match, but their `features` end before the
# last ReLU, so a detector would receive another map.
FAMILIES: Mapping[str, tuple[_Family, ...]] = {
    "torchvision": (
        _Family(r"(vgg16|vgg16_bn|alexnet)", r"\1"),
        _Family(rf"timm/(vgg1[1369](?:_bn)?|{_RESNET_NAMES})", r"\1"),
        _Family(
            r"timm/(convnext_(?:tiny|small|base|large))",
            r"\1",
            _CONVNEXT,
            axes=(r"\.gamma$", (-1, 1, 1)),
        ),
        _Family(r"timm/(efficientnet_b[0-4])", r"\1", _EFFICIENTNET, heads=("features.8.",)),
        _Family(r"timm/regnet(x)_004_tv", r"regnet_\1_400mf", _REGNET),
        _Family(r"timm/regnet(y)_004", r"regnet_\1_400mf", _REGNET),
        _Family(r"timm/regnet(?:(x)_008|(y)_008_tv)", r"regnet_\1\2_800mf", _REGNET),
        _Family(r"timm/regnet([xy])_016", r"regnet_\1_1_6gf", _REGNET),
        _Family(r"timm/regnet([xy])_032", r"regnet_\1_3_2gf", _REGNET),
        _Family(r"timm/regnet(?:(x)_080|(y)_080_tv)", r"regnet_\1\2_8gf", _REGNET),
        _Family(r"timm/regnet([xy])_160", r"regnet_\1_16gf", _REGNET),
        _Family(r"timm/regnet([xy])_320", r"regnet_\1_32gf", _REGNET),
    ),
    "timm": (
        _Family(r"(vgg16|vgg16_bn)", r"\1"),
        _Family(r"timm/(.+)", r"\1"),
    ),
    "detectron2": (
        _Family(
            rf"timm/({_RESNET_NAMES})", r"\1", _DETECTRON2_RESNET, prefix="backbone.bottom_up."
        ),
        _Family(r"(.+)", r"\1", prefix="backbone.body."),  # ours, as registered with detectron2
    ),
}


@dataclass(frozen=True)
class Layout:
    """A backbone's tensors under another library's names.

    Attributes:
        library: the other library.
        model: the library's name of the network.
        names: our name -> their name.
        prefix: what precedes their names in a checkpoint.
        views: their shape by our name, for tensors that have more axes of length 1 there.
        heads: beginnings of their names that look like the trunk's but are not part of it.
    """

    library: str
    model: str
    names: Mapping[str, str]
    prefix: str
    views: Mapping[str, tuple[int, ...]]
    heads: tuple[str, ...]

    @cached_property
    def parts(self) -> frozenset[str]:
        """The first components of their names: the modules that belong to the trunk."""
        return frozenset(name.split(".")[0] for name in self.names.values())

    def to_theirs(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our names -> their names, without the prefix."""
        return {
            self.names[n]: t.reshape(self.views[n]) if n in self.views else t
            for n, t in tensors.items()
        }

    def to_ours(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their names, without the prefix -> our names; the inverse of `to_theirs`."""
        own = {theirs: ours for ours, theirs in self.names.items()}
        return {
            own[n]: t.flatten() if own[n] in self.views and t.ndim == len(self.views[own[n]]) else t
            for n, t in tensors.items()
        }


def layouts_of(backbone: str, names: Iterable[str]) -> dict[str, Layout]:
    """The layouts of a backbone by library; `names` are those of its own tensors."""
    names = tuple(names)
    found = {}
    for library, families in FAMILIES.items():
        for family in families:
            if match := re.fullmatch(family.backbones, backbone):
                table = {name: _renamed(name, family.rules) for name in names}
                if len(set(table.values())) < len(table):
                    raise ValueError(f"layout {library} of {backbone} gives two tensors one name")
                views = (
                    {n: family.axes[1] for n in names if re.search(family.axes[0], n)}
                    if family.axes
                    else {}
                )
                found[library] = Layout(
                    library, match.expand(family.model), table, family.prefix, views, family.heads
                )
                break
    return found


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


PREFIXES = (
    "",
    "module.",
    "body.",
    "backbone.",
    "backbone.body.",
    "backbone.bottom_up.",
    "backbone.bottom_up.body.",
)
"""What precedes the trunk's names in models and checkpoints.

The trunk alone, this project's `Backbone`, and detectors of torchvision and detectron2.
"""


@dataclass(frozen=True)
class Location:
    """Where a trunk's tensors are among the names of a model or file: a layout under a prefix.

    `cut` is the beginning of the layout's names that is absent there: "features." if a detector's
    backbone is `vgg16().features`.
    """

    layout: Layout
    prefix: str
    cut: str = ""

    def name(self, theirs: str) -> str:
        """The full name of one of the layout's tensors."""
        return self.prefix + theirs.removeprefix(self.cut)

    def holds(self, name: str) -> bool:
        """Whether a full name belongs to the trunk.

        It does if it is under the prefix, in a module of the trunk, and in no head.
        """
        if not name.startswith(self.prefix):
            return False
        theirs = self.cut + name.removeprefix(self.prefix)
        return theirs.split(".")[0] in self.layout.parts and not theirs.startswith(
            self.layout.heads
        )


def locate(
    layouts: Mapping[str, Layout], names: Collection[str], prefix: str | None = None
) -> Location | None:
    """The location under which most of the trunk's tensors are among `names`.

    None if no tensor is found. With `prefix`, no other prefix is tried; without, those in
    `PREFIXES`.
    """
    prefixes = PREFIXES if prefix is None else (f"{prefix.rstrip('.')}." if prefix else "",)
    here = [found for found in _found(layouts, names) if found.location.prefix in prefixes]
    return max(here, key=lambda found: found.tensors).location if here else None


def places(layouts: Mapping[str, Layout], names: Collection[str]) -> list[Location]:
    """The locations, under any prefix, that hold as much of the trunk as any other.

    None of them holds less than half of it. More than one means that the trunk is there more than
    once, such as in a model and its moving average.
    """
    found = _found(layouts, names)
    most = max((one.tensors for one in found), default=0)
    best: dict[str, Location] = {}
    for one in found:
        if one.tensors == most and 2 * most >= len(_wanted(one.location.layout)):
            first = next(iter(one.location.layout.names.values()))
            best.setdefault(one.location.name(first), one.location)
    return list(best.values())


class _Found(NamedTuple):
    location: Location
    tensors: int


def _wanted(layout: Layout) -> list[str]:
    """Their names, without counters, which not every copy of a trunk has."""
    return [theirs for theirs in layout.names.values() if not theirs.endswith(COUNTER)]


def _found(layouts: Mapping[str, Layout], names: Collection[str]) -> list[_Found]:
    """Every location that has a tensor of the trunk; known prefixes first."""
    names = frozenset(names)
    beginnings = [(name, [0, *(m.end() for m in re.finditer(r"\.", name))]) for name in names]
    endings = {name[at:] for name, starts in beginnings for at in starts}
    joined = [_joined(layout, endings) for layout in layouts.values() if layout.library == "timm"]
    found = []
    for layout in (*layouts.values(), *filter(None, joined)):
        in_features = all(n.startswith("features.") for n in layout.names.values())
        for cut in ("", "features.") if in_features else ("",):
            wanted = {theirs.removeprefix(cut) for theirs in _wanted(layout)}
            counts = Counter(
                name[:at] for name, starts in beginnings for at in starts if name[at:] in wanted
            )
            order = sorted(counts, key=lambda p: (p not in PREFIXES, p))
            found += [_Found(Location(layout, before, cut), counts[before]) for before in order]
    return found


def _joined(layout: Layout, endings: Collection[str]) -> Layout | None:
    """A layout of timm as `features_only` renames it, if any name among `endings` is so renamed.

    There the children of sequential modules at the top become modules at the top: `stages.0.x` is
    `stages_0.x`. Which modules are sequential is seen from the names.
    """
    moved = {
        theirs.split(".")[0]
        for theirs in layout.names.values()
        if theirs.replace(".", "_", 1) in endings
    }
    if not moved:
        return None
    names = {
        ours: theirs.replace(".", "_", 1) if theirs.split(".")[0] in moved else theirs
        for ours, theirs in layout.names.items()
    }
    return dataclasses.replace(layout, names=names)
