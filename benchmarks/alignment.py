"""Patients side by side, each shown at its scores: the picture of the README.

    python -m benchmarks.alignment --weights runs/first/weights.safetensors \\
        --out docs/pictures/body-coordinates.png SCAN...

Each column is the coronal section through the middle of one scan, moved up or down to where its
scores put it: to the line of `MM_PER_UNIT` through them, at their median offset. The same organ of
different patients lies at one height if the scores are right. Give scans of patients whom the
weights have not seen, and whose terms allow pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.common.commandline import new_parser
from ubr.pretrain.data.scans import read_scan
from ubr.pretrain.data.volume import Volume
from ubr.pretrain.reading.context import MM_PER_UNIT
from ubr.weights import Regressor, load
from ubr.weights.body import body_boxes
from ubr.weights.common import disk
from ubr.weights.scorer import score_slices

WINDOW_HU = (-200.0, 300.0)
SLAB_MM = 6.0
"""Thickness of the section, which is a mean: one row of voxels is noisy."""
WIDTH_MM = 420.0


def main(argv: Sequence[str] | None = None) -> None:
    """Score the scans, draw, save."""
    options = parse(argv)
    regressor = Regressor.from_weights(load(options.weights)).eval()
    volumes = [read_scan(path).volume for path in options.scans]
    curves = [score_slices(regressor, v.hu, v.spacing_mm, v.z_mm) for v in volumes]
    drawing = picture(volumes, [curve.astype(np.float64) for curve in curves])
    with disk.whole(options.out) as part:
        drawing.savefig(part, dpi=150, bbox_inches="tight", metadata={"Software": None})


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a .png file")
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN", help="file or folder")
    return parser.parse_args(argv)


def picture(volumes: Sequence[Volume], curves: Sequence[NDArray[np.float64]]) -> Figure:
    """The sections in columns over one common axis of scores."""
    tops = [
        float(np.median(curve - volume.z_mm / MM_PER_UNIT))
        for volume, curve in zip(volumes, curves, strict=True)
    ]
    ends = [top + v.z_mm[-1] / MM_PER_UNIT for top, v in zip(tops, volumes, strict=True)]
    height_mm = (max(ends) - min(tops)) * MM_PER_UNIT
    width = 1.7
    size = (width * len(volumes) + 0.6, width * height_mm / WIDTH_MM + 0.5)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    axes = figure.subplots(1, len(volumes), sharey=True, squeeze=False)[0]
    for number, (axis, volume, top) in enumerate(zip(axes, volumes, tops, strict=True), 1):
        _column(axis, volume, top)
        axis.set_title(f"patient {number}", fontsize=9, color="#333333")
    axes[0].set_ylim(max(ends) + 0.1, min(tops) - 0.1)
    axes[0].set_ylabel("score", fontsize=9)
    axes[0].tick_params(labelsize=8, length=2)
    return figure


def _column(axis: Axes, volume: Volume, top: float) -> None:
    section = coronal(volume)
    half = section.shape[1] * volume.spacing_mm[2] / 2
    axis.imshow(
        section,
        cmap="gray",
        vmin=WINDOW_HU[0],
        vmax=WINDOW_HU[1],
        extent=(-half, half, top + volume.z_mm[-1] / MM_PER_UNIT, top),
        aspect=MM_PER_UNIT,
        interpolation="bilinear",
    )
    axis.set_xlim(-WIDTH_MM / 2, WIDTH_MM / 2)
    axis.set_xticks([])
    axis.grid(axis="y", color="#2f7fd6", linewidth=0.6, alpha=0.7)
    for side in axis.spines.values():
        side.set_visible(False)


def coronal(volume: Volume) -> NDArray[np.float64]:
    """The coronal section through the middle of the body, `[z, x]` HU, centred on the body."""
    boxes = body_boxes(volume.hu, volume.spacing_mm)
    boxes = boxes[boxes[:, 1] > boxes[:, 0]]
    middle_y, middle_x = (int(np.median(boxes[:, i : i + 2].mean(1))) for i in (0, 2))
    half = max(1, round(SLAB_MM / volume.spacing_mm[1] / 2))
    section = volume.hu[:, max(0, middle_y - half) : middle_y + half].mean(1)
    section = np.roll(section, section.shape[1] // 2 - middle_x, axis=1)
    return np.asarray(section, np.float64)


if __name__ == "__main__":
    main()
