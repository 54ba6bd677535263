"""The pipelines. Each imports what it needs, and gives a function that scores a folder of series.

MONAI and TorchIO are what a user would write in ten lines: the whole slice at the contract's size,
windowed and given to the same network in batches, without a search for the body, checks, findings,
tables or a way to resume. bpreg is a program of its own, with its own network.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

Run = Callable[[Path, Path, Path], int]
"""Weights, folder of series and a new folder for the result -> how many slices were scored."""
BATCH = 16


def ours(runtime: str) -> Run:
    """`score` of this project."""
    from ubr.pretrain.scores.scoring import score

    def run(weights: Path, folder: Path, out: Path) -> int:
        scored = score(weights, [folder], out, progress=False, runtime=runtime)  # type: ignore[arg-type]
        return sum(len(series.scores) for series in scored.series)

    return run


def monai() -> Run:
    """MONAI's dictionary transforms."""
    make = import_module("monai.transforms")

    def read(path: Path, inputs: Any) -> Any:
        low, high = inputs.window_hu
        load = make.Compose(
            [
                make.LoadImaged("ct", reader="PydicomReader" if path.is_dir() else "NibabelReader"),
                make.EnsureChannelFirstd("ct"),
                make.Orientationd("ct", axcodes="LPS", labels=None),
                make.ScaleIntensityRanged("ct", low, high, 0, 1, clip=True),
                make.Resized("ct", (inputs.size_px, inputs.size_px, -1)),
            ]
        )
        return load({"ct": str(path)})["ct"].as_tensor()[0].permute(2, 1, 0).flip(0)

    return partial(_scored, read)


def torchio() -> Run:
    """TorchIO's transforms."""
    tio = import_module("torchio")

    def read(path: Path, inputs: Any) -> Any:
        low, high = inputs.window_hu
        image = tio.ToCanonical()(tio.ScalarImage(path))
        image = tio.RescaleIntensity((0, 1), in_min_max=(low, high))(tio.Clamp(low, high)(image))
        image = tio.Resize((inputs.size_px, inputs.size_px, image.shape[3]))(image)
        return image.data[0].permute(2, 1, 0).flip(0, 1, 2)

    return partial(_scored, read)


def _scored(read: Callable[[Path, Any], Any], weights: Path, folder: Path, out: Path) -> int:
    import numpy as np
    import torch

    from ubr.weights import Regressor, load

    net = Regressor.from_weights(load(weights)).eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (net.inputs.mean, net.inputs.std))
    out.mkdir()
    count = 0
    with torch.inference_mode():
        for path in sorted(folder.iterdir()):
            grey = read(path, net.inputs).float()[:, None].expand(-1, 3, -1, -1)
            scores = torch.cat([net((some - mean) / std) for some in grey.split(BATCH)])
            np.save(out / f"{count}.npy", scores.numpy())
            count += len(scores)
    return count


def bpreg() -> Run:
    """bpreg's own inference (MIC-DKFZ/BodyPartRegression). It takes nothing of the weights.

    Random numbers stand for its published model: the arithmetic is the same. Writing them counts
    as import.
    """
    infer = import_module("bpreg.scripts.bpreg_inference").bpreg_inference
    model = TemporaryDirectory()
    _write_random_model(f"{model.name}/")

    def run(weights: Path, folder: Path, out: Path) -> int:
        out.mkdir()
        infer(str(folder), str(out), f"{model.name}/", gpu_available=False)
        # It passes over a scan that it cannot read; then a file is missing here.
        files = [out / f"{path.name.partition('.nii')[0]}.json" for path in folder.iterdir()]
        return sum(len(json.loads(file.read_text())["z"]) for file in files)

    return run


def _write_random_model(folder: str) -> None:
    """A model folder of bpreg: network and settings by its classes, landmarks at made-up scores."""
    import torch

    network = import_module("bpreg.network_architecture.bpr_model").BodyPartRegression
    inference = import_module("bpreg.inference.inference_settings").InferenceSettingsStorage
    settings = import_module("bpreg.settings")
    tags = import_module("bpreg.score_processing.bodypartexamined_tag")

    torch.manual_seed(0)
    torch.save(network().state_dict(), f"{folder}model.pt")
    settings.ModelSettings().save(f"{folder}config.json")
    tables = (settings.BODY_PARTS, tags.BODY_PARTS_INCLUDED, tags.DISTINCT_BODY_PARTS)
    names = {name for table in tables for part in table.values() for name in part}
    landmarks = sorted(name for name in names if isinstance(name, str))  # NaN: an open end
    scores = {name: {"mean": float(at), "std": 1.0} for at, name in enumerate(landmarks)}
    table = {"original": scores, "transformed": scores}
    ends = {"start-landmark": landmarks[0], "end-landmark": landmarks[-1]}
    inference(lookuptable_train=table, lookuptable_train_val=table, settings=ends).save(folder)


class Pipeline(NamedTuple):
    """What is compared."""

    prepare: Callable[[], Run]
    """Imports it."""
    distribution: str
    """Its version stands in the row."""
    backbone: str = ""
    """Of a network of its own; otherwise that of the weights."""
    dicom: bool = True
    """Whether it reads DICOM."""


PIPELINES: dict[str, Pipeline] = {
    "score, torch": Pipeline(partial(ours, "torch"), "ubr-pretrain"),
    "score, openvino": Pipeline(partial(ours, "openvino"), "openvino"),
    "monai": Pipeline(monai, "monai"),
    "torchio": Pipeline(torchio, "torchio"),
    "bpreg": Pipeline(bpreg, "bpreg", "torchvision/vgg16, random numbers", dicom=False),
}
PEERS = ("monai", "torchio", "bpreg")
