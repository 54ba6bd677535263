"""Train on a folder of real CT without labels and score the patients held out: a row a series in results/real_ct.csv.

    python -m benchmarks.real_ct --data ../shared/ct --work /scratch/real-ct

The folder is read by `ingest` as any user's is. Where it has a catalog.csv with the columns file and patient (and region), patients are
kept on one side of the split by it. Stopped and started again with the same --work, it goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from benchmarks.rows import append, provenance
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.store import Store
from ubr.pretrain.reading.pictures import figure
from ubr.pretrain.recipes import RECIPES, recipe
from ubr.pretrain.scoring import score
from ubr.pretrain.tables import SeriesScores
from ubr.pretrain.training import fit

COLUMNS = ("slices", "extent_mm", "pearson_r", "ordered", "score_per_mm", "first_score", "last_score", "warnings")
"""Of series.csv, in the rows."""
# The same scan as DICOM and as NIfTI: one patient, whatever the headers say.
TWINS = {
    "dicom/lungdx_chest_8mm": "torso/dashvtk_Lung_Dx-A0002_chest_8mm.nii.gz",
    "dicom/totalseg_jpeg2000_20": "torso/totalseg_example_ct_dicom_20.nii.gz",
    "dicom/ge_head_gantry_tilt_uneven": "torso/ge_head_dcm_qa_ct.nii.gz",
}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with CT series")
    parser.add_argument("--work", type=Path, required=True, help="folder for store, run and scores")
    parser.add_argument("--recipe", default="default", choices=list(RECIPES))
    parser.add_argument("--steps", type=int, help="other than the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--holdout", type=float, default=0.2, help="share of the patients")
    options = parser.parse_args()

    options.work.mkdir(parents=True, exist_ok=True)
    catalog = {row["file"]: row for row in csv.DictReader((options.data / "catalog.csv").open(newline=""))}
    patients = options.work / "patients.csv"
    owner = {name: row["patient"] for name, row in catalog.items()}
    owner |= {twin: owner[name] for twin, name in TWINS.items() if name in owner and (options.data / twin).exists()}
    patients.write_text("file,patient\n" + "".join(f"{name},{patient}\n" for name, patient in owner.items()))
    taken = ingest([options.data], options.work / "store", patients=patients)
    print(taken.table())

    chosen = dataclasses.replace(recipe(options.recipe), seed=options.seed)
    if options.steps:
        chosen = dataclasses.replace(chosen, steps=options.steps)
    store = Store.open(options.work / "store")
    run = fit(store, options.work / f"run-{chosen.sha256()[:8]}", chosen, holdout=options.holdout, licence="none: for the benchmark only")
    minutes = (run.weights.stat().st_mtime - (run.folder / "config.yaml").stat().st_mtime) / 60  # pauses included
    scored = score(run.weights, [store.path], run.folder / f"scores-{time.strftime('%Y%m%d-%H%M%S')}")

    held_out = set(yaml.safe_load((run.folder / "config.yaml").read_text())["data"]["held_out"])
    names = {key: series_name(paths, options.data) for key, paths in store.sources().items()}
    rows = [_row(s, names[s.key], catalog, s.key in held_out) for s in scored.series]
    about = {
        **provenance(chosen.sha256(), chosen.seed),
        "recipe": f"{options.recipe}, {chosen.steps} steps",
        "fit_minutes": round(minutes, 1),
    }
    path = append("real_ct", [{**about, **row} for row in sorted(rows, key=lambda row: (not row["held_out"], str(row["file"])))])

    unseen = [s for s in scored.series if s.key in held_out]
    for title, series in (("held-out", unseen), ("held-out torso", [s for s in unseen if names[s.key].startswith(("torso", "dicom"))])):
        figure(series, lambda key, index: store.read(key, [index])[0]).savefig(run.folder / f"{title}.png".replace(" ", "-"), dpi=100)
        r = [float(row["pearson_r"]) for row in (s.summary() for s in series)]  # type: ignore[arg-type]
        print(f"{title}: {len(r)} series, median r {np.median(r):.4f}, lowest {min(r):.4f}, r >= 0.99 in {sum(v >= 0.99 for v in r)}")
    print(f"rows in {path}; pictures and weights in {run.folder}")


def series_name(paths: Sequence[str], data: Path) -> str:
    """A series' name in a folder's tables: its file, or the folder of its files, relative to it."""
    first = Path(min(paths))
    path = (first.parent.resolve() / first.name).relative_to(data.resolve())  # a file may itself be a link to elsewhere
    return str(path if len(paths) == 1 else path.parent)


def _row(series: SeriesScores, name: str, catalog: dict[str, dict[str, str]], held_out: bool) -> dict[str, object]:
    known = catalog.get(TWINS.get(name, name), {})
    measured = {key: value for key, value in series.summary().items() if key in COLUMNS}
    return {"held_out": held_out, "file": name, "region": known.get("region", ""), **measured}


if __name__ == "__main__":
    main()
