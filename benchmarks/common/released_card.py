"""The card of released weights: sources, terms, how they were judged, where they fail, who can take
them.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.common.citations import STARTS, citation_of
from benchmarks.common.cohort import Cohort, is_head, may_be_released
from benchmarks.common.released_regions import THIGH, Made
from ubr.pretrain.data.store import SeriesRow
from ubr.pretrain.reading.intervals import highest_coverage
from ubr.weights import Weights
from ubr.weights.cards import card
from ubr.weights.layouts import layouts_of

Row = Mapping[str, str]
FIGURES = {
    "long torsos: median r": "long_trunk_r_median",
    "lowest r": "long_trunk_r_lowest",
    "r below 0.99": "long_trunk_r_below_0.99",
    "heads: median r": "head_r_median",
    "bone, median mm": "bone_mm_q50_context",
    "90 %": "bone_mm_q90_context",
    "soft, median mm": "soft_mm_q50_context",
    "90 % of soft": "soft_mm_q90_context",
    "three parts, two labelled patients": "part_accuracy_context",
}
"""What is shown of results/learning_summary.csv."""

REGIONS_ONLY = """
The landmarks of these were used for the regions, and the network did not learn from them:

{}
"""
FEW_HEADS = """* Head and neck: its real scans are of torsos, few of which show the neck. The
  largest errors are those of the mandible, the border between head and neck."""
AXES = {
    "score": """A level is the mean score of the landmark's slice in the labelled patients.""",
    "position": """They read positions, which all slices of a series give together, not the scores
of single slices: a level is the mean position of the landmark in the labelled patients. Positions
were chosen on the patients for development. On the patients of the folds they have the larger
median errors: docs/how-to/scores.md compares both, and says how to learn levels on scores.""",
}
"""What the regions are read by."""
TEXT = """# {name}: body-part regression weights that come with ubr-pretrain

{body}

## What it was trained on
{series} series of {patients} patients from public collections, whose
terms let weights be given away (read in the collections' files where they state them, else from
memory of the archive's terms), and {computed} synthetic scans (`ubr-pretrain phantom`), which show
nobody. The trunk began as: {began}.

{sources}
{regions_only}
{left_out}

The held-out series in the table at the top are those that were not learned from, most of them scans
of heads. Their r says little about torsos, which are judged below.

## How it was judged
By three outer folds of patients, on none of whom the recipe was chosen. Each fold's network saw
neither the fold's patients nor those whose terms are not known. The released network itself was
trained on the patients of all three folds, without those whose terms are not known. It can
therefore not be judged on these patients, and is assumed to be no worse. The table has one row for
each seed. Landmarks are looked for on the body axis, with the level from other patients.

{results}

With the regions of each fold's own network, {accuracy} % of {slices} slices
of unseen patients are classified correctly as chest, abdomen or pelvis.

## Its regions
`score {name}` uses them: landmarks, the parts between them, and intervals. {axis}

How far off a level is was measured with the folds' networks, each on patients that it had not seen,
so no interval rests on a scan that its network saw. n counts patients whose scans may be given
away, with one series each. With n patients an interval can cover n of
n + 1 (jackknife+). The folds' networks are not this one, so the coverage is what was found there,
not a promise.

{levels}

Landmarks were read by eye, to within two slices. The thigh begins 60 mm below the centre of the
femoral head. The dome of the liver moves with the breath.

## Where it fails
{heads}
* Regions of which few patients were seen: pelvis and thigh, and raised arms beside or above the
  head. The numbers of patients above say how few.
* Fields of view that cut the body, such as one lung or the heart alone, and series shorter than
  20 cm, whose place on the body axis rests on few slices.
* Children, animals, contrast phases and devices that the collections do not show. Nothing about
  them was measured.
* Its scores say where a slice lies, not whether it is healthy.

## Which networks can take it
{takers}

## License
{license}. The collections above ask to be cited. The method is that of Yan, Lu and Summers,
Unsupervised Body-part Regression via Spatially Self-ordering Convolutional Neural Networks, ISBI
2018.
"""
"""The card; `released_card` says what is filled in."""


def released_card(
    name: str,
    weights: Weights,
    cohort: Cohort,
    trained: Sequence[SeriesRow],
    labelled: Sequence[SeriesRow],
    made: Made,
    rows: Sequence[Row],
) -> str:
    """The card as Markdown.

    Args:
        name: of the version.
        weights: the file.
        cohort: whose scans they are.
        trained: the series that were trained on.
        labelled: the series whose landmarks the regions come from.
        made: the regions.
        rows: of learning_summary.csv, one per seed of the recipe.
    """
    real = [row for row in trained if not cohort.is_computed(row)]
    keys = {row.key for row in real}
    only_labels = [row for row in labelled if row.key not in keys]
    start = weights.made().start
    return wrapped(
        TEXT.format(
            name=name,
            body=card(weights).split("\n", 1)[1].strip(),
            series=len(real),
            patients=len({row.patient for row in real}),
            computed=len(trained) - len(real),
            began=STARTS.get(start.sha256 or "", start.source) if start else "unstated",
            sources=sources(cohort, real),
            regions_only=REGIONS_ONLY.format(sources(cohort, only_labels)) if only_labels else "",
            left_out=left_out(cohort, real),
            results=results(rows),
            heads=FEW_HEADS if sum(is_head(cohort.names[row.key]) for row in real) < 10 else "",
            accuracy=f"{100 * made.accuracy:.1f}",
            slices=f"{made.slices:,}",
            axis=AXES[made.regions.axis],
            levels=levels(made),
            takers=takers(weights),
            license=weights.license,
        )
    )


def sources(cohort: Cohort, rows: Sequence[SeriesRow]) -> str:
    """A table with a line for each collection."""
    of: dict[str, list[SeriesRow]] = {}
    for row in rows:
        of.setdefault(cohort.labels(row)["collection"].strip(), []).append(row)
    lines = ["| collection | series | patients | terms | cite |", "|---|---|---|---|---|"]
    for collection, series in sorted(of.items()):
        terms = " / ".join(sorted({cohort.labels(row)["terms"].strip() for row in series}))
        patients = str(len({row.patient for row in series}))
        cells = [collection, str(len(series)), patients, terms, citation_of(collection)]
        lines.append(f"| {' | '.join(cell.replace('|', ' ') for cell in cells)} |")
    return "\n".join(lines)


def left_out(cohort: Cohort, real: Sequence[SeriesRow]) -> str:
    """Which collections the network did not learn from, though their scans are there."""
    trained = {row.key for row in real}
    counts = Counter(
        (labels["collection"].strip(), may_be_released(labels["terms"]))
        for row in cohort.store.usable()
        if row.key not in trained and (labels := cohort.labels(row))
    )
    lines = []
    for allowed, why in ((False, "because of their terms"), (True, "by choice, or too short")):
        named = [f"{name} ({n})" for (name, terms), n in sorted(counts.items()) if terms == allowed]
        if named:
            lines.append(f"Not learned from, {why}: {', '.join(named)}.")
    return "\n".join(lines)


def results(rows: Sequence[Row]) -> str:
    """A table of what the folds showed, with a line for each seed."""
    if not rows:
        return "Not recorded: benchmarks.learning has no rows of this recipe on these scans."
    lines = [f"| seed | {' | '.join(FIGURES)} |", f"|---|{'---|' * len(FIGURES)}"]
    for row in rows:
        cells = [row["seed"], *(row[column] or "-" for column in FIGURES.values())]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def levels(made: Made) -> str:
    """A table of the levels: how many patients, the error on unseen ones, the highest coverage."""
    lines = ["| level | n | median error, mm | 90 % within, mm | interval covers at most |"]
    lines.append("|---|---|---|---|---|")
    for name, level in made.regions.levels().items():
        n, at_most = len(level.residuals_mm), 100 * highest_coverage(level)
        q50, q90 = np.quantile(level.residuals_mm, [0.5, 0.9]) if n else (np.nan, np.nan)
        lines.append(f"| {name} | {n} | {q50:.0f} | {q90:.0f} | {n} of {n + 1}: {at_most:.0f} % |")
    assert THIGH not in made.regions.landmarks
    return "\n".join(lines)


def takers(weights: Weights) -> str:
    """Which libraries and detectors can take the trunk, and which cannot."""
    layouts = layouts_of(weights.backbone, weights.trunk)
    lines = [
        f"* {library}: its `{layout.model}`, by `export`" for library, layout in layouts.items()
    ]
    lines.append("* ONNX Runtime and OpenVINO: the whole network, HU in and scores out")
    lines.append("* this project's detectors: `ubr-detect train --weights released`")
    lines.append(
        "* anything that is built on the timm model: `timm.create_model(..., features_only=True)`, "
        "and encoders of segmentation_models_pytorch of that name"
    )
    if "torchvision" not in layouts:
        lines.append(
            "* not torchvision's own models and detectors: it has no such network, and its others "
            "cannot take these numbers"
        )
    lines.append(
        "* not networks of three-dimensional convolutions (nnU-Net, nnDetection, MONAI's 3D nets), "
        "nor any ResNet or VGG: train such a trunk with `fit --backbone`"
    )
    return "\n".join(lines)


def wrapped(text: str) -> str:
    """Markdown whose prose has lines of at most 100 columns; tables and headings stay."""
    done: list[str] = []
    prose: list[str] = []
    for line in [*text.splitlines(), ""]:
        apart = not line or line.startswith(("|", "#"))
        if prose and (apart or line.startswith("* ")):
            indent = "  " if prose[0].startswith("* ") else ""
            done += textwrap.wrap(
                " ".join(part.strip() for part in prose),
                100,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            prose = []
        if apart:
            done.append(line)
        else:
            prose.append(line)
    return "\n".join(done).rstrip() + "\n"
