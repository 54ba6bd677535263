"""The whole road on computed CT: scans, store, training, scores of unseen scans, body parts, figure, export. Every step is the public one."""

from __future__ import annotations

import csv
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ubr.weights import export, load

from .data.find import find, read
from .data.ingestion import ingest
from .data.phantom_files import phantoms
from .reading.curve import pearson_r
from .reading.pictures import figure
from .reading.regions import classify, thresholds
from .recipes import quick
from .scoring import SeriesScores, score
from .training import fit

PARTS = ("chest", "abdomen", "pelvis")


@dataclasses.dataclass(frozen=True)
class Demo:
    """What the demo measured. mean_r: over the unseen phantoms; accuracy: of their chest, abdomen and pelvis slices, by two thresholds."""

    mean_r: float
    worst_r: float
    accuracy: float
    text: str

    def __str__(self) -> str:
        return self.text


def demo(out: Path = Path("demo-run"), *, train: int = 32, unseen: int = 14, steps: int = 500, seed: int = 0) -> Demo:
    """Run the main job on computed CT.

    Args:
        out: a folder for everything that is made; run again, finished steps are kept.
        train: phantoms to train on.
        unseen: phantoms to score; two of them give the thresholds.
        steps: training steps.
        seed: of phantoms and training.
    """
    began = time.monotonic()
    scans, store, run, scores = (Path(out) / name for name in ("scans", "store", "run", f"scores-{time.strftime('%H%M%S')}"))
    phantoms(scans / "train", n=train, seed=seed, form="dicom", size_px=128)
    phantoms(scans / "unseen", n=unseen, seed=seed + 10_000, form="dicom", size_px=128)
    taken = ingest([scans / "train"], store)
    recipe = dataclasses.replace(quick(), steps=steps, seed=seed)
    recipe = dataclasses.replace(recipe, inputs=dataclasses.replace(recipe.inputs, size_px=48))
    trained = fit(store, run, recipe, validate_every=max(1, steps // 4), licence="Apache-2.0")
    scored = score(trained.weights, [scans / "unseen"], scores)

    labels = read_labels(scans / "unseen" / "labels.csv")
    accuracy, named = body_part_accuracy(scored.series, labels)
    r = np.array([pearson_r(s.scores, s.z_mm) for s in scored.series])
    pixels = {s.key: s.source for s in scored.series}
    picture = Path(out) / "scores.png"
    figure(scored.series, lambda key, index: _slice(pixels[key], index)).savefig(picture, dpi=110)

    trunk = Path(out) / "resnet18-trunk.pth"
    snippet = export(load(trained.weights), trunk, to="torchvision", overwrite=True)
    text = f"""
{taken.table()}

Unseen phantoms     mean r {r.mean():.4f}, lowest {r.min():.4f}, of {len(r)}
Body parts          {100 * accuracy:.1f} % of the chest, abdomen and pelvis slices of {len(named)} phantoms, thresholds from two others
Curves and slices   {picture}
Scores              {scores}: slices.parquet, series.csv
Run                 {run}: weights.safetensors, card.md, metrics.jsonl, config.yaml; tensorboard --logdir {run}
Trunk               {trunk}: loaded back into torchvision's resnet18, every tensor and the features equal

{snippet}

{time.monotonic() - began:.0f} seconds. Next: ubr-pretrain ingest YOUR_SCANS --store store; ubr-pretrain fit store --out runs/first"""
    return Demo(float(r.mean()), float(r.min()), accuracy, text)


def read_labels(path: Path) -> dict[str, list[str]]:
    """Body parts of each series' slices, superior to inferior, by the series' folder or file name, from a phantom run's labels.csv."""
    parts: dict[str, dict[int, str]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            parts.setdefault(row["file"], {})[int(row["slice"])] = row["region"]
    return {name: [by_slice[i] for i in sorted(by_slice)] for name, by_slice in parts.items()}


def body_part_accuracy(series: Sequence[SeriesScores], labels: dict[str, list[str]]) -> tuple[float, list[SeriesScores]]:
    """Accuracy on chest, abdomen and pelvis slices by thresholds from two volumes (the paper, Table 1), and the volumes it was measured on.

    The two are the first that together show all three parts.
    """
    known = [(s, np.array(labels[Path(s.source).name])) for s in series]
    pairs = [(a, b) for a in range(len(known)) for b in range(a + 1, len(known))]
    chosen = next(pair for pair in pairs if set(PARTS) <= set(known[pair[0]][1]) | set(known[pair[1]][1]))

    def pool(members: list[int]) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        scores = np.concatenate([known[i][0].scores for i in members])
        parts = np.concatenate([known[i][1] for i in members])
        counted = np.isin(parts, PARTS)
        return scores[counted], parts[counted]

    scores, parts = pool(list(chosen))
    cuts = thresholds(scores, parts.tolist(), PARTS)
    others = [i for i in range(len(known)) if i not in chosen]
    scores, parts = pool(others)
    return float((classify(scores, cuts, PARTS) == parts).mean()), [known[i][0] for i in others]


def _slice(source: str, index: int) -> NDArray[np.int16]:
    """A slice of a series, for display."""
    found, _ = find([source])
    return read(found[0]).hu[index]
