"""Trunks in files of other libraries: torchvision, timm and detectron2.

Opening such a file executes nothing. What `export` writes carries a record of its input contract,
in the file or beside it, depending on the library. A file whose tensors do not match its record is
refused.
"""

from __future__ import annotations

import io
import pickle
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .artifact import tensors_sha256
from .common import doors
from .common.published import check_published
from .common.shapes import Shape
from .common.tensors import check_numbers, load_safetensors, load_torch
from .inputs import InputSpec
from .layouts import COUNTER, PREFIXES, Location, layouts_of, locate, places
from .receipts import TransferError

Scale = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and std of images of 0..1."""


@dataclass(frozen=True)
class ForeignFile:
    """A file of tensors.

    Attributes:
        record: what `export` wrote about it; empty if the file is not an export.
        run: backbone and inputs of the run of this project that wrote it; empty if none did.
        architecture: the network that timm's config beside it names.
        scale: mean and std that the file, or its library's config, states.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    architecture: str | None = None
    scale: Scale | None = None

    def inputs(self) -> InputSpec | None:
        """The contract of an export or of a run's file; None if the file is neither."""
        made = self.record or self.run
        return InputSpec.from_dict(made["inputs"]) if made else None

    def check_backbone(self, backbone: str) -> None:
        """Raise `ValueError` if the file says that it is of another backbone.

        Networks with the same tensors may still differ, in strides or epsilons.
        """
        own = (self.record or self.run).get("backbone", backbone)
        layout = layouts_of(backbone, ()).get("timm")
        if layout and self.architecture and self.architecture != layout.model:
            own = f"timm/{self.architecture}"
        if own != backbone:
            raise ValueError(
                f"{self.path}: holds {own}, but the recipe's backbone is {backbone}; use "
                f"backbone={own!r}"
            )

    def trunk(
        self, backbone: str, names: Collection[str], prefix: str | None = None
    ) -> dict[str, Tensor]:
        """A backbone's tensors under its own `names`.

        Args:
            backbone: a name that `build` takes.
            names: of its tensors.
            prefix: what precedes the trunk's names in the file. By default one of
                `layouts.PREFIXES`.

        Raises:
            TransferError: no tensor of the backbone is found, it is there more than once or under
                a prefix that was not given, or the file holds a larger network.
        """
        location = self._locate(backbone, names, prefix)
        theirs = {location.name(theirs): theirs for theirs in location.layout.names.values()}
        if foreign := sorted(
            name for name in self.tensors if location.holds(name) and name not in theirs
        ):
            raise TransferError(
                f"{self.path}: holds a larger network than {backbone}, with {len(foreign)} "
                f"more tensors ({foreign[0]})"
            )
        trunk = location.layout.to_ours(
            {theirs[n]: t for n, t in self.tensors.items() if n in theirs}
        )
        counters = self.record.get("counters", {})
        absent = [n for n in names if n.endswith(COUNTER) and n not in trunk]
        return {n: torch.tensor(counters.get(n, 0)) for n in absent} | trunk

    def _locate(self, backbone: str, names: Collection[str], prefix: str | None) -> Location:
        layouts = layouts_of(backbone, names)
        if prefix is None and (found := [p.prefix for p in places(layouts, self.tensors)]):
            if len(found) > 1:
                raise TransferError(
                    f"{self.path}: holds {len(found)} trunks of {backbone}, at "
                    f"{' and '.join(map(repr, found))}; give one of them as `start_prefix`"
                )
            if found[0] not in PREFIXES:
                raise TransferError(
                    f"{self.path}: holds {backbone} at {found[0]!r}; to start from it, give that "
                    "as `start_prefix`"
                )
        location = locate(layouts, self.tensors, prefix)
        if location is None:
            where = f" at {prefix!r}" if prefix else ""
            raise TransferError(
                f"{self.path}: holds no tensor of {backbone}{where}; it holds {self._contents()}; "
                "give its `backbone`, or the prefix of the trunk's names as `start_prefix`"
            )
        return location

    def _contents(self) -> str:
        """The file's tensors by the first part of their names."""
        parts = Counter(name.split(".")[0] for name in self.tensors)
        shown = ", ".join(f"{part!r} {count}" for part, count in parts.most_common(4))
        more = f" and {len(parts) - 4} more parts" if len(parts) > 4 else ""
        return f"{len(self.tensors)} tensors: {shown}{more}"


def record_beside(path: Path) -> Path:
    """The path of a state dict's record."""
    return path.with_name(path.name + ".inputs.json")


def read_foreign(path: Path) -> ForeignFile:
    """Read a state dict (.pth, .safetensors), a checkpoint, or a detectron2 checkpoint (.pkl).

    An export's record, in the file or beside it, timm's config beside it, and the config of a run
    of this project are read as well.

    Raises:
        ValueError: the file is something else, would execute code, or matches neither its record
            nor the checksum that is published beside it.
    """
    check_published(path)
    record: object = None
    run: Mapping[str, Any] = {}
    architecture = scale = None
    if path.suffix == ".safetensors":
        tensors, metadata = load_safetensors(path, "give another file")
        if EXPORT in metadata:
            record = doors.from_json(metadata[EXPORT], f"{path}: its record", "give another file")
        if (config := path.with_name("config.json")).is_file():  # a timm model's folder
            beside, architecture, scale = _timm_config(config)
            record = beside or record
    elif path.suffix == ".pkl":
        tensors, record = _detectron2(path)
    else:
        tensors, record, run = _checkpoint(path)
        if (beside := record_beside(path)).is_file():
            record = _json(beside)
    check_numbers(path, tensors)
    record = _record(path, record)
    if record and record["tensors_sha256"] != tensors_sha256(tensors):
        raise ValueError(f"{path}: its tensors do not match its record; export the weights again")
    return ForeignFile(
        path, tensors, record, run, architecture, scale or _detectors_scale(path, tensors)
    )


EXPORT = "ubr_export"
"""The key of an export's record in the metadata of a .safetensors or .pth file."""


def _record(path: Path, found: object) -> dict[str, Any]:
    """An export's record, empty if there is none."""
    if not found:
        return {}
    where = f"{path}: the record of its export, in it or beside it, is damaged"
    record: dict[str, Any] = doors.check(found, _Record, where, "export the weights again")
    return record


class _Record(Shape):
    backbone: str
    inputs: dict[str, Any]
    weights_sha256: str
    tensors_sha256: str
    counters: dict[str, int] = {}  # noqa: RUF012


def _json(path: Path) -> Any:
    return doors.read_json(path, Any, "it describes the file beside it; correct it or move it away")


def _timm_config(path: Path) -> tuple[object, str | None, Scale | None]:
    """The record of our export, the architecture and the scale that a config.json states.

    Other programs write files of this name, too; those state none of it.
    """
    about = _json(path)
    if not isinstance(about, dict):
        return None, None, None
    architecture, pretrained = about.get("architecture"), about.get("pretrained_cfg", about)
    scale = None
    if isinstance(pretrained, dict) and "mean" in pretrained and "std" in pretrained:
        scale = _scale(path, pretrained["mean"], pretrained["std"])
    name = architecture.partition(".")[0] if isinstance(architecture, str) else None
    return about.get("ubr"), name, scale


def _scale(path: Path, mean: Any, std: Any) -> Scale:
    try:
        scale = tuple(map(float, mean)), tuple(map(float, std))
        if {len(scale[0]), len(scale[1])} == {3} and min(scale[1]) > 0:
            return scale
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(
        f"{path}: its mean {mean} and std {std} must be three numbers each, std positive"
    )


def _detectors_scale(path: Path, tensors: Mapping[str, Tensor]) -> Scale | None:
    """The scale of detectron2's `pixel_mean` and `pixel_std` in a file, where they state one."""
    found = {
        (
            tuple(tensor.float().flatten().tolist()),
            tuple(tensors[name[: -len("mean")] + "std"].float().flatten().tolist()),
        )
        for name, tensor in tensors.items()
        if name.split(".")[-1] == "pixel_mean" and name[: -len("mean")] + "std" in tensors
    }
    if len(found) != 1:
        return None
    mean, std = _scale(path, *found.pop())
    if not any(mean) and set(std) == {1.0}:  # its user normalises
        return None
    unit = 255.0 if max(*mean, *std) > 2 else 1.0  # of images of 0..255, or of 0..1
    return tuple(v / unit for v in mean), tuple(v / unit for v in std)


def _checkpoint(path: Path) -> tuple[dict[str, Tensor], object, Mapping[str, Any]]:
    """The tensors of a file of `torch.save`, its record, and the run that wrote it.

    A checkpoint's state dict is under "state_dict" or "model"; the names of tensors elsewhere in it
    (a moving average, a teacher) begin with the key that they are under.
    """
    loaded = load_torch(path, "it is not a state dict that opens without executing code")
    if not isinstance(loaded, dict):
        return _checked(path, {}), None, {}
    main = next((k for k in ("state_dict", "model") if isinstance(loaded.get(k), dict)), None)
    tensors = dict(_tensors({k: v for k, v in loaded.items() if k != main}))
    tensors |= dict(_tensors(loaded[main])) if main else {}
    ours = {"about", "pytorch-lightning_version"} & set(loaded)
    run = _run_of(path, loaded) if ours else {}
    metadata = getattr(loaded, "_metadata", None)
    record = metadata.get(EXPORT) if isinstance(metadata, dict) else None
    return _checked(path, tensors), record, run


def _tensors(values: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in values.items():
        if isinstance(key, str) and isinstance(value, Tensor):
            yield before + key, value
        elif isinstance(key, str) and isinstance(value, dict):
            yield from _tensors(value, f"{before}{key}.")


def _run_of(path: Path, loaded: Mapping[str, Any]) -> Mapping[str, Any]:
    """Backbone and inputs of this project's run that wrote a checkpoint; empty if none did.

    A detector states them itself; earlier ones and Lightning's checkpoints have the run's
    config.yaml beside or above them.
    """
    text, remedy = loaded.get("about"), "give another file"
    abouts = [doors.from_json(text, path, remedy)] if isinstance(text, str) else []
    above = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    if (config := above / "config.yaml").is_file():
        abouts.append(doors.read_yaml(config, Any, "it describes the file beside it; correct it"))
    parts = [a.get(key) for a in abouts if isinstance(a, dict) for key in ("start", "recipe")]
    found = [p for p in parts if isinstance(p, dict) and {"backbone", "inputs"} <= set(p)]
    return doors.check(found[0], _Run, path, remedy) if found else {}


class _Run(Shape):
    backbone: str
    inputs: dict[str, Any]


def _checked(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not tensors:
        raise ValueError(f"{path}: not a state dict, which maps names to tensors")
    return dict(tensors)


class _Arrays(pickle.Unpickler):
    """Reads pickles of plain values and NumPy arrays.

    Any other object is refused, so that nothing is executed.
    """

    ALLOWED = frozenset(
        [
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
            # NumPy 1 and NumPy 2.
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.numeric", "_frombuffer"),
        ]
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return super().find_class(module, name)


def _detectron2(path: Path) -> tuple[dict[str, Tensor], object]:
    try:
        loaded = _Arrays(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        arrays = {str(name): np.asarray(array) for name, array in loaded["model"].items()}
        if max(array.nbytes for array in arrays.values()) > path.stat().st_size:
            raise ValueError("an array that is larger than the file")
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    except Exception as error:
        raise ValueError(
            f"{path}: not a detectron2 checkpoint of arrays only, which opens without executing "
            f"code ({type(error).__name__}: {error})"
        ) from error
    return _checked(path, tensors), loaded.get("ubr")
