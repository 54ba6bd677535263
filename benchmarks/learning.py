"""How well a recipe learns from real CT without labels, on patients it has not seen:
cross-validation by patient.

    python -m benchmarks.learning --data ../shared/ct --work /scratch/learning [--recipe default --backbone vgg16 --seed 1 --fold 0]

Every patient is held out once. A row a held-out series goes to results/learning.csv: r, share of
ordered pairs, and the error in mm where a landmark is looked for at the score that it has on
training patients. A row a seed goes to results/learning_summary.csv once all folds are there.
Labels (the landmarks of catalog.csv) judge and never train. Folds that have rows are skipped; a cut
one goes on.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import append, provenance, read, recorded
from ubr.pretrain.data.bank import to_grid
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.store import SeriesRow, Store
from ubr.pretrain.planning import plan
from ubr.pretrain.reading.curve import line_errors_mm, ordered_share, passage, pearson_r
from ubr.pretrain.reading.regions import classify, thresholds
from ubr.pretrain.recipes import RECIPES, Recipe, recipe
from ubr.pretrain.scores.scoring import scores_of
from ubr.pretrain.training import fit
from ubr.weights import Intervals, Regressor, Weights, build, load
from ubr.weights.common.devices import to_device
from ubr.weights.common.stored import STORED

LANDMARKS = ("mandible", "lung_apex", "liver_dome", "iliac_crest", "femoral_head")
PARTS = ("chest", "abdomen", "pelvis")
TWINS = {
    "dicom/lungdx_chest_8mm": "torso/dashvtk_Lung_Dx-A0002_chest_8mm.nii.gz",
    "dicom/totalseg_jpeg2000_20": "torso/totalseg_example_ct_dicom_20.nii.gz",
    "dicom/ge_head_gantry_tilt_uneven": "torso/ge_head_dcm_qa_ct.nii.gz",
}
"""The same scan as DICOM and as NIfTI: one patient, whatever the headers say."""
THIGH_MM = 60.0
"""Below the femoral head's centre by this the pelvis ends."""
FOLDS = 5


def main() -> None:
    """Train fold by fold, judge, append rows."""
    options, chosen = command_line(__doc__)
    cohort = stored(options.data, options.work)
    about = described(options, cohort, chosen)
    for number, held_out in remaining(cohort, options.fold, about, "learning"):
        found = judged(cohort, chosen, held_out, folder_of(options.work, chosen, number))
        append("learning", [{**about, "fold": number, **row} for row in found])
        print(
            f"fold {number}: {len(found)} series, median r "
            f"{np.median([row['r'] for row in found]):.4f}",
            flush=True,
        )
    rows = rows_alike("learning", about)
    if len({row["fold"] for row in rows}) == FOLDS and not rows_alike("learning_summary", about):
        print(
            append(
                "learning_summary", [{**{name: rows[0][name] for name in about}, **summary(rows)}]
            )
        )


def command_line(about: str | None) -> tuple[argparse.Namespace, Recipe]:
    """The options of this program and of those that take its models, and the recipe that they make."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with CT series and a catalog.csv with landmarks",
    )
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="folder for stores and runs, each data's in a folder of its own",
    )
    parser.add_argument("--recipe", default="default", choices=list(RECIPES))
    parser.add_argument("--backbone", help="other than the recipe's")
    parser.add_argument("--steps", type=int, help="other than the recipe's")
    parser.add_argument("--optimizer", choices=("adamw", "sgd"), help="other than the recipe's")
    parser.add_argument("--lr", type=float, help="other than the recipe's")
    parser.add_argument("--weight-decay", type=float, help="other than the recipe's")
    parser.add_argument("--start", help="other than the recipe's")
    parser.add_argument("--size-px", type=int, help="other than the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fold", type=int, choices=range(FOLDS), help="only this one")
    options = parser.parse_args()
    options.work = options.work / options.data.resolve().name
    names = ("backbone", "steps", "optimizer", "lr", "weight_decay", "start")
    changes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    try:
        chosen = dataclasses.replace(recipe(options.recipe), seed=options.seed, **changes)
        if options.size_px is not None:
            chosen = dataclasses.replace(
                chosen, inputs=dataclasses.replace(chosen.inputs, size_px=options.size_px)
            )
        build(chosen.backbone)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    return options, chosen


@dataclasses.dataclass(frozen=True)
class Cohort:
    """The CT series of a folder, in a store, and what its catalog.csv says of them.

    name: the folder's. names: each series' file or folder, by its key. catalog: the rows of
    catalog.csv, by file.
    """

    name: str
    store: Store
    names: Mapping[str, str]
    catalog: Mapping[str, Mapping[str, str]]

    def marks(self, series: SeriesRow) -> dict[str, int]:
        """The slice of each landmark that the catalogue has of a series."""
        labels = self.labels(series)
        return {n: int(labels[n]) for n in LANDMARKS if labels.get(n)}

    def labels(self, series: SeriesRow) -> Mapping[str, str]:
        """The catalogue's row of a series; empty if it has none."""
        name = self.names[series.key]
        return self.catalog.get(TWINS.get(name, name), {})

    def columns(self) -> dict[str, object]:
        """The columns of rows that say whose they are: the name, and a digest of what judges and of
        what folds are made by.

        These are pixels, landmarks, whose series they are, and which are of heads, in any order.
        """
        patients: dict[str, list[str]] = {}
        for series in self.store.usable():
            line = (
                f"{series.digest} {is_head(self.names[series.key])} "
                f"{sorted(self.marks(series).items())}"
            )
            patients.setdefault(series.patient, []).append(line)
        told = sorted("\n".join(sorted(series)) for series in patients.values())
        return {
            "data": self.name,
            "data_sha256": hashlib.sha256("\n\n".join(told).encode()).hexdigest()[:12],
        }


def is_head(file: str) -> bool:
    """Whether a series of this name is of head and neck: those lie in a folder of their own."""
    return file.startswith("headneck")


def _read_catalog(data: Path) -> dict[str, dict[str, str]]:
    if not (data / "catalog.csv").is_file():
        raise SystemExit(
            f"{data} holds no catalog.csv with the columns file, patient, region and landmarks; "
            "give a folder that does"
        )
    with (data / "catalog.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def folder_of(work: Path, chosen: Recipe, fold: int) -> Path:
    """The run of a fold."""
    return work / f"{chosen.sha256()[:12]}-fold{fold}"


def model_of(folder: Path, cohort: Cohort, chosen: Recipe, held_out: Sequence[str]) -> Regressor:
    """What a run of a fold has trained, to look at.

    Exits where it was trained on other series than these, or is not there.
    """
    file = folder / "weights.safetensors"
    if not file.is_file():
        raise SystemExit(
            f"{folder} holds no weights; run benchmarks.learning with these options first"
        )
    weights = load(file)
    wanted = cohort.store.fingerprint(row.key for row in plan(cohort.store, chosen, held_out).train)
    if weights.provenance["data"]["fingerprint"] != wanted:
        raise SystemExit(
            f"{file} was trained on other series than those of {cohort.name} today; give another "
            "--work and train anew"
        )
    return regressor_of(weights)


def regressor_of(weights: Weights) -> Regressor:
    """To score with, on a GPU where there is one."""
    regressor = Regressor.from_weights(weights).eval()
    to_device(regressor, "auto")
    return regressor


def described(options: argparse.Namespace, cohort: Cohort, chosen: Recipe) -> dict[str, object]:
    """What rows begin with:

    where they come from, the data, and what tells recipes apart at a glance; the digest tells the
    rest.
    """
    named = {
        STORED.get(name, name): getattr(chosen, name)
        for name in ("backbone", "start", "steps", "optimizer", "lr")
    }
    about = {
        **provenance(chosen.sha256(), chosen.seed),
        **cohort.columns(),
        "recipe": options.recipe,
    }
    return {**about, **named, "size_px": chosen.inputs.size_px}


def rows_alike(name: str, about: Mapping[str, object]) -> list[dict[str, str]]:
    """The rows of results/NAME.csv of this configuration, which holds the seed, and data."""
    return [
        row
        for row in read(name)
        if all(row[column] == about[column] for column in ("config", "data_sha256"))
    ]


def stored(data: Path, work: Path) -> Cohort:
    """The series of a folder with a catalog.csv, taken into a store."""
    catalog = _read_catalog(data)
    work.mkdir(parents=True, exist_ok=True)
    owner = {name: row["patient"] for name, row in catalog.items()}
    owner |= {
        twin: owner[name]
        for twin, name in TWINS.items()
        if name in owner and (data / twin).exists()
    }
    (work / "patients.csv").write_text(
        "file,patient\n" + "".join(f"{name},{patient}\n" for name, patient in owner.items())
    )
    ingest([data], work / "store", patients=work / "patients.csv")
    store = Store.open(work / "store")
    return Cohort(
        data.resolve().name,
        store,
        {key: series_name(paths, data) for key, paths in store.sources().items()},
        catalog,
    )


def series_name(paths: Sequence[str], data: Path) -> str:
    """A series' name in a folder's tables: its file, or the folder of its files, relative to it."""
    first = Path(min(paths))
    path = (first.parent.resolve() / first.name).relative_to(
        data.resolve()
    )  # a file may itself be a link to elsewhere
    return str(path if len(paths) == 1 else path.parent)


def folds(cohort: Cohort) -> list[list[str]]:
    """The patients of each fold:

    trunks and heads dealt out by themselves, each in an order that the store's content gives.
    """
    trunk: dict[str, bool] = {}
    for series in cohort.store.usable():
        trunk[series.patient] = trunk.get(series.patient, False) or not is_head(
            cohort.names[series.key]
        )
    rng = np.random.default_rng(0)
    dealt: list[list[str]] = [[] for _ in range(FOLDS)]
    for kind in (True, False):
        patients = [patient for patient, is_trunk in trunk.items() if is_trunk == kind]
        for i, which in enumerate(rng.permutation(len(patients))):
            dealt[i % FOLDS].append(patients[which])
    return dealt


def remaining(
    cohort: Cohort, only: int | None, about: Mapping[str, object], rows: str
) -> list[tuple[int, list[str]]]:
    """Folds that were asked for and have no rows of this configuration and data in results/ROWS.csv
    yet.
    """
    asked = [
        (number, held_out)
        for number, held_out in enumerate(folds(cohort))
        if only in (None, number)
    ]
    return [
        (n, who)
        for n, who in asked
        if not recorded(rows, {**about, "fold": n}, ("config", "data_sha256", "fold"))
    ]


def judged(
    cohort: Cohort, chosen: Recipe, held_out: Sequence[str], folder: Path
) -> list[dict[str, object]]:
    """Train without these patients; a row for each of their series."""
    every = max(1, chosen.steps // 4)
    run = fit(
        cohort.store,
        folder,
        chosen,
        holdout=held_out,
        intervals=Intervals(validate_every=every),
        license="none: for the benchmark only",
    )
    return rows_of(regressor_of(load(run.weights)), cohort, held_out)


def rows_of(
    regressor: Regressor, cohort: Cohort, held_out: Sequence[str]
) -> list[dict[str, object]]:
    """What a trained regressor makes of the held-out patients' series; the others tell it the level
    of each landmark.
    """
    known, rows = [], []
    for series in cohort.store.usable():
        if cohort.marks(series) or series.patient in held_out:
            (rows if series.patient in held_out else known).append(
                curve_of(regressor, cohort, series)
            )
    levels = {n: [one.scores[one.marks[n]] for one in known if n in one.marks] for n in LANDMARKS}
    right = accuracy(known, rows)
    line = line_errors_mm([one.scores for one in rows], [one.series.z_mm for one in rows])
    return [
        {
            "file": cohort.names[one.series.key],
            "region": cohort.labels(one.series).get("region", ""),
            "slices": one.series.slices,
            "length_mm": round(float(one.series.z_mm[-1]), 1),
            "r": round(pearson_r(one.scores, one.series.z_mm), 5),
            "ordered": round(ordered_share(one.scores), 5),
            "line_error_mm": round(float(apart), 2),
            **{f"{n}_error_mm": _error(one, n, levels[n]) for n in LANDMARKS},
            **{
                f"{n}_score": round(float(one.scores[one.marks[n]]), 4) if n in one.marks else ""
                for n in LANDMARKS
            },
            "part_slices": len(one.parts()),
            "part_accuracy": round(share, 5) if share is not None else "",
        }
        for one, share, apart in zip(rows, right, line, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class Curve:
    """A series, its scores, and the slice of each landmark that it shows."""

    series: SeriesRow
    scores: NDArray[np.float64]
    marks: dict[str, int]

    def parts(self) -> dict[int, str]:
        """The part of each slice that the landmarks tell."""
        return parts_of(self.marks, self.series.z_mm)


def parts_of(marks: dict[str, int], z_mm: NDArray[np.float64]) -> dict[int, str]:
    """The part of each slice that landmarks tell; the borders are lung apex, liver dome and iliac
    crest, neck and thigh are left out.
    """
    parts: dict[int, str] = {}
    if not {"lung_apex", "liver_dome", "iliac_crest"} & set(marks):
        return parts
    end = z_mm[marks["femoral_head"]] + THIGH_MM if "femoral_head" in marks else np.inf
    first = "neck" if "lung_apex" in marks else "chest" if "liver_dome" in marks else "abdomen"
    for i in range(len(z_mm)):
        part = first
        for name, below in (
            ("lung_apex", "chest"),
            ("liver_dome", "abdomen"),
            ("iliac_crest", "pelvis"),
        ):
            part = below if name in marks and i >= marks[name] else part
        if part != "neck" and z_mm[i] <= end:
            parts[i] = part
    return parts


def curve_of(regressor: Regressor, cohort: Cohort, series: SeriesRow) -> Curve:
    """A series, scored."""
    scores = scores_of(regressor, to_grid(cohort.store, series, regressor.inputs))
    return Curve(series, scores.astype(np.float64), cohort.marks(series))


def accuracy(known: Sequence[Curve], unseen: Sequence[Curve]) -> list[float | None]:
    """Share of each unseen series' slices whose part is told right, by thresholds from two known
    ones (the paper, Table 1).

    The mean over all pairs that together show the three parts: which two matters. None where there
    is no such pair, or no part is known.
    """
    pairs = []
    for pair in combinations([one for one in known if one.parts()], 2):
        scores, parts = _pool(pair)
        if set(parts) == set(PARTS):
            pairs.append(thresholds(scores, parts, PARTS))
    shares: list[float | None] = []
    for one in unseen:
        scores, parts = _pool([one])
        told = [
            (classify(scores, cuts, PARTS) == np.array(parts)).mean() for cuts in pairs if parts
        ]
        shares.append(float(np.mean(told)) if told else None)
    return shares


def _pool(curves: Sequence[Curve]) -> tuple[NDArray[np.float64], list[str]]:
    told = [(one.scores[i], part) for one in curves for i, part in one.parts().items()]
    return np.array([score for score, _ in told]), [part for _, part in told]


def _error(one: Curve, name: str, levels: Sequence[float]) -> float | str:
    """mm from the landmark to where the curve passes its level; to its first or last slice where it
    does not.
    """
    if name not in one.marks or not levels:
        return ""
    z = passage(one.scores, one.series.z_mm, float(np.mean(levels))).z_mm
    return round(float(abs(z - one.series.z_mm[one.marks[name]])), 2)


def summary(rows: Sequence[dict[str, str]]) -> dict[str, object]:
    """One line a seed:

    trunks by themselves, since heads are many and easy. Empty is what there are no series for.
    """
    trunk = [row for row in rows if not is_head(row["file"])]
    heads = [row for row in rows if is_head(row["file"])]
    long = [row for row in trunk if float(row["length_mm"]) > 200]
    errors = [
        float(row[f"{n}_error_mm"]) for row in trunk for n in LANDMARKS if row[f"{n}_error_mm"]
    ]
    parts = [
        (float(row["part_accuracy"]), int(row["part_slices"]))
        for row in trunk
        if row["part_accuracy"]
    ]

    def quantile(values: Sequence[float], digits: int, q: float = 0.5) -> float | str:
        return round(float(np.quantile(values, q)), digits) if values else ""

    return {
        "trunk_series": len(trunk),
        "trunk_r_median": quantile([float(row["r"]) for row in trunk], 4),
        "trunk_ordered_median": quantile([float(row["ordered"]) for row in trunk], 4),
        "long_trunk_series": len(long),
        "long_trunk_r_median": quantile([float(row["r"]) for row in long], 4),
        "long_trunk_r_lowest": min((float(row["r"]) for row in long), default=""),
        "long_trunk_r_below_0.95": sum(float(row["r"]) < 0.95 for row in long),
        "head_r_median": quantile([float(row["r"]) for row in heads], 4),
        "landmarks": len(errors),
        "landmark_error_mm_median": quantile(errors, 1),
        "landmark_error_mm_q90": quantile(errors, 1, 0.9),
        "part_accuracy": round(sum(share * n for share, n in parts) / sum(n for _, n in parts), 4)
        if parts
        else "",
    }


if __name__ == "__main__":
    main()
