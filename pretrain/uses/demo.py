"""The demo: the main job on synthetic CT, from scans to an exported trunk.

Scans, store, training, scores of unseen scans, body parts, figure and export, all by public
functions.
"""

from __future__ import annotations

import csv
import dataclasses
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ubr.weights import Intervals, export
from ubr.weights.common.claims import claiming
from ubr.weights.released import versions

from ..augment import Augment
from ..data.find import find_series, read_volume
from ..data.ingestion import ingest
from ..phantom.files import phantoms
from ..reading.curve import pearson_r
from ..reading.parts import classify, thresholds
from ..recipes import default
from ..scores.read import read_slices
from ..scores.scored import Scored
from ..scores.scoring import score
from ..scores.series import SeriesScores
from .pictures import figure

PARTS = ("chest", "abdomen", "pelvis")
MILD = Augment(
    crop_area=0.75,
    field_of_view=1.15,
    rotation_deg=5.0,
    hu_shift=15.0,
    hu_scale=0.05,
    noise_hu=20.0,
)
"""Mild augmentation: synthetic bodies are alike, and a few hundred steps are too few to learn from
the default recipe's views.
"""


@dataclasses.dataclass(frozen=True)
class Demo:
    """What the demo measured.

    mean_r: over the unseen phantoms. accuracy: see `body_part_accuracy`.
    """

    mean_r: float
    accuracy: float
    text: str

    def __str__(self) -> str:
        return self.text


@claiming("out", fills=True)
def run_demo(
    out: Path = Path("demo-run"),
    *,
    train: int = 32,
    unseen: int = 14,
    steps: int = 500,
    seed: int = 0,
) -> Demo:
    """Run the main job on synthetic CT.

    Args:
        out: a folder for all results; a repeated call keeps finished steps.
        train: phantoms to train on.
        unseen: phantoms to score; two of them set the thresholds between body parts.
        steps: training steps.
        seed: seed of the phantoms and the training.
    """
    from ubr.weights import load

    from ..training import fit

    if train < 9 or unseen < 3:
        raise ValueError(
            f"the demo needs at least 9 phantoms to train on and 3 unseen ones, got {train} and "
            f"{unseen}"
        )
    began = time.monotonic()
    out = Path(out)
    scans, store, run = (out / name for name in ("scans", "store", "run"))
    phantoms(scans / "train", n=train, seed=seed, form="dicom", size_px=128)
    phantoms(scans / "unseen", n=unseen, seed=seed + 10_000, form="dicom", size_px=128)
    taken = ingest([scans / "train"], store)
    recipe = dataclasses.replace(default(), steps=steps, augment=MILD, seed=seed)
    recipe = dataclasses.replace(recipe, inputs=dataclasses.replace(recipe.inputs, size_px=32))
    trained = fit(
        store,
        run,
        recipe,
        intervals=Intervals(validate_every=max(1, steps // 4)),
        license="Apache-2.0",
    )
    scored = score(trained.weights, [scans / "unseen"], out / "scores")
    labels = scans / "unseen" / "labels.csv"
    r, accuracies, measured = _measure(scored, labels)
    if versions():
        measured += _released(score("released", [scans / "unseen"], out / "released"), labels)
    picture, trunk = out / "scores.png", out / "resnet18-trunk.pth"
    volumes = {s.key: _pixels(s.source) for s in scored.series}
    figure(scored.series, lambda key, index: volumes[key][index]).savefig(picture, dpi=110)
    snippet = export(load(trained.weights), trunk, to="torchvision", overwrite=True)
    text = f"""
{taken.table()}

{measured}
Curves and slices   {picture}
Scores              {scored.folder}: slices.parquet, series.csv
Run                 {run}: weights.safetensors, card.md, metrics.jsonl, config.yaml
                    (tensorboard --logdir {run})
Trunk               {trunk}: loaded back into torchvision's resnet18;
                    every tensor and the features are equal

{snippet}

{time.monotonic() - began:.0f} seconds. Next: ubr-pretrain ingest YOUR_SCANS --store store;
ubr-pretrain fit store --out runs/first"""
    return Demo(float(r.mean()), float(accuracies.mean()), text)


def _measure(scored: Scored, labels: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Pearson r of each unseen phantom, body-part accuracies, and both as text."""
    accuracies = body_part_accuracy(scored.series, read_labels(labels))
    r = np.array([pearson_r(s.scores, s.z_mm) for s in scored.series])
    if not len(accuracies):
        raise ValueError(
            f"no two of the {len(r)} unseen phantoms show chest, abdomen and pelvis and leave "
            "others to measure on; raise `unseen`"
        )
    mean, lowest, highest = (
        100 * float(v) for v in (accuracies.mean(), accuracies.min(), accuracies.max())
    )
    text = f"""\
Unseen phantoms     mean r {r.mean():.4f}, lowest {r.min():.4f}, of {len(r)}
Body parts          {mean:.1f} % of chest, abdomen and pelvis slices classified correctly,
                    by thresholds from two phantoms, measured on the others (mean of the
                    {len(accuracies)} pairs that show all three; {lowest:.1f} to {highest:.1f} %)"""
    return r, accuracies, text


def _released(scored: Scored, labels: Path) -> str:
    """How well the bundled weights do on the same phantoms, whom they have not seen."""
    tables, _ = read_slices(scored.folder)
    parts = read_labels(labels)
    right = np.concatenate(
        [
            tables[one.key]["part"][shown] == truth[shown]
            for one in scored.series
            for truth in [np.array(parts[Path(one.source).name])]
            for shown in [np.isin(truth, PARTS)]
        ]
    )
    r = np.array([pearson_r(s.scores, s.z_mm) for s in scored.series])
    return f"""
The same by `released`, the bundled weights, which learned from real CT
                    mean r {r.mean():.4f}, lowest {r.min():.4f}; {100 * right.mean():.1f} % of these
                    slices classified correctly, without labels"""


def read_labels(path: Path) -> dict[str, list[str]]:
    """Body parts of each series' slices, superior to inferior, from a phantom run's labels.csv.

    The keys are the series' folder or file names.
    """
    parts: dict[str, dict[int, str]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            parts.setdefault(row["file"], {})[int(row["slice"])] = row["region"]
    return {name: [by_slice[i] for i in sorted(by_slice)] for name, by_slice in parts.items()}


def body_part_accuracy(
    series: Sequence[SeriesScores], labels: dict[str, list[str]]
) -> NDArray[np.float64]:
    """Accuracy on chest, abdomen and pelvis slices by thresholds from two volumes, measured on the
    others (the paper, Table 1).

    One number for each pair of volumes that together show all three parts, since it matters which
    two are chosen.
    """
    scores = [s.scores for s in series]
    parts = [np.array(labels[Path(s.source).name]) for s in series]

    def pool(members: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        s, p = (
            np.concatenate([scores[i] for i in members]),
            np.concatenate([parts[i] for i in members]),
        )
        return s[np.isin(p, PARTS)], p[np.isin(p, PARTS)]

    found = []
    for pair in combinations(range(len(series)), 2):
        known, truth = pool(pair)
        if set(truth) == set(PARTS):
            cuts = thresholds(known, truth.tolist(), PARTS)
            known, truth = pool([i for i in range(len(series)) if i not in pair])
            found.append(float((classify(known, cuts, PARTS) == truth).mean()))
    return np.array(found)


def _pixels(source: str) -> NDArray[np.int16]:
    hu: NDArray[np.int16] = read_volume(find_series([source])[0][0]).hu
    return hu
