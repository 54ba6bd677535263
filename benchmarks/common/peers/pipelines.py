"""The pipelines. Each imports what it needs, and gives a function that scores a folder of series.

The peers are what a user would write in ten lines: the whole slice at the contract's size, windowed
and given to the same network in batches, without a search for the body, checks, findings, tables or
a way to resume.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

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


PIPELINES: dict[str, tuple[Callable[[], Run], str]] = {
    "score, torch": (partial(ours, "torch"), "ubr-pretrain"),
    "score, openvino": (partial(ours, "openvino"), "openvino"),
    "monai": (monai, "monai"),
    "torchio": (torchio, "torchio"),
}
"""Name -> what imports it, and the distribution whose version stands in the row."""
PEERS = ("monai", "torchio")
