"""`ubr-pretrain`: verbs -> functions, nothing else.

A verb's options and help come from its function's signature and docstring. Only the verb that is
called is imported, so that the list of verbs shows at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from ubr.weights.common import commandline
from ubr.weights.common.commandline import Verb, add_options, arguments, taken, with_recipe


def _parser(name: str, description: str) -> Any:
    return commandline.parser(f"ubr-pretrain {name}", description)


def _phantom(argv: list[str]) -> None:
    from .phantom.files import phantoms

    parser = _parser(
        "phantom", "Write computed CT series, with known body position, to try things on."
    )
    add_options(parser, phantoms, set())
    print(phantoms(**arguments(parser.parse_args(argv))))


def _ingest(argv: list[str]) -> None:
    from .data.ingestion import ingest
    from .data.store import Store

    parser = _parser(
        "ingest",
        "Read CT series of any format and order into a store. Run again, it goes on where it was.",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="files or folders with DICOM, NIfTI, NRRD, MHA or 16-bit PNG series",
    )
    parser.add_argument(
        "--store", required=True, help="the store's folder; made if it does not exist"
    )
    parser.add_argument(
        "--dry", action="store_true", help="find, but neither read pixels nor write anything"
    )
    parser.add_argument(
        "--with_paths",
        action="store_true",
        help="name files by their paths in the table; paths may hold a name",
    )
    add_options(parser, ingest, {"sources", "store", "dry"})
    options = arguments(parser.parse_args(argv))
    with_paths = options.pop("with_paths")
    done = ingest(**options)
    print(done.table(with_paths))
    if not done.would_take and (done.store / "store.json").exists():
        Store.open(done.store).usable()


def _fit(argv: list[str]) -> None:

    from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]

    from ubr.weights import Intervals, Machine
    from ubr.weights.common.trainer import is_first_process

    from .data.store import Store
    from .planning import plan
    from .recipes import RECIPES, Recipe, recipe
    from .training import fit

    parser = _parser(
        "fit",
        "Train a body-part regressor on a store, without labels. Run again, it goes on where it "
        "was.",
    )
    parser.add_argument("store", metavar="STORE", help="made by ingest")
    parser.add_argument("--out", required=True, help="the run's folder")
    parser.add_argument(
        "--recipe",
        default="default",
        help=f"complete configuration that the options below change: {', '.join(RECIPES)}",
    )
    parser.add_argument(
        "--config", action=ActionConfigFile, help="YAML file with any of these options"
    )
    parser.add_argument(
        "--dry", action="store_true", help="say what would be trained on what, and stop"
    )
    parser.add_class_arguments(Recipe, fail_untyped=True)
    parser.add_class_arguments(Machine, fail_untyped=True)
    parser.add_class_arguments(Intervals, skip={"progress"}, fail_untyped=True)
    add_options(parser, fit, {"store", "out", "recipe", "machine", "intervals", "callbacks"})
    options = with_recipe(parser, argv, recipe, "default")
    chosen = taken(Recipe, options)
    store = Store.open(options.store)
    speaks = is_first_process()
    if speaks:
        print(plan(store, chosen, options.holdout), flush=True)
    if options.dry:
        return
    run = fit(
        store,
        options.out,
        chosen,
        holdout=options.holdout,
        machine=taken(Machine, options),
        intervals=taken(Intervals, options),
        license=options.license,
    )
    if speaks:
        quality = (
            ", ".join(f"{name} {value:.4f}" for name, value in run.metrics.items()) or "nothing was"
        )
        print(
            "\n".join(
                [
                    f"{run.weights} (held out: {quality}); described in {run.folder / 'card.md'}",
                    *run.notes,
                ]
            )
        )


def _score(argv: list[str]) -> None:
    from .scores.scoring import score

    parser = _parser(
        "score",
        "Give every slice of a store or of scans its score. Run again, it goes on where it was.",
    )
    parser.add_argument("weights", metavar="WEIGHTS", help="weights.safetensors of a run")
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a store, or files and folders with scans"
    )
    parser.add_argument(
        "--out",
        required=True,
        help="a new folder for slices.parquet, series.csv and the other tables, or one begun so",
    )
    parser.add_argument(
        "--features",
        action="store_true",
        help="also write features.npy: 512 numbers a slice, as rows of slices.parquet",
    )
    parser.add_argument(
        "--with_paths",
        action="store_true",
        help="also write where each series was read from; paths may hold a name",
    )
    parser.add_argument(
        "--regions",
        help="regions.json of calibrate, made with these weights: adds body parts, positions, "
        "landmarks.csv",
    )
    add_options(parser, score, {"weights", "sources", "out", "features", "with_paths", "regions"})
    print(score(**arguments(parser.parse_args(argv))).table())


def _report(argv: list[str]) -> None:
    from .uses.report import report

    parser = _parser(
        "report",
        "One page of a scores folder, for a browser without internet: findings, curves, "
        "histogram, slices.",
    )
    parser.add_argument("scores", metavar="SCORES", help="a folder that score wrote")
    parser.add_argument("--out", required=True, help="the .html file")
    add_options(parser, report, {"scores", "out"})
    print(report(**arguments(parser.parse_args(argv))))


def _calibrate(argv: list[str]) -> None:
    from .uses.calibration import calibrate

    parser = _parser(
        "calibrate",
        "Learn body parts and landmarks from a few labelled volumes, for score --regions.",
    )
    parser.add_argument("scores", metavar="SCORES", help="a folder that score wrote")
    parser.add_argument(
        "labels",
        metavar="LABELS",
        help="CSV file: series (key in series.csv; score --with-paths shows the scan), index (a "
        "slice, 0 at the superior end, or some as "
        "12-57), and part, landmark or both",
    )
    parser.add_argument("--out", required=True, help="a new file, regions.json")
    parser.add_argument(
        "--parts",
        nargs="+",
        metavar="PART",
        help="the parts from superior to inferior; else ordered by median score",
    )
    parser.add_argument(
        "--scale",
        nargs=2,
        metavar="LANDMARK",
        help="two landmarks, whose mean scores become positions 0 and 100",
    )
    parser.add_argument(
        "--features",
        action="store_true",
        help="tell parts by features.npy, with many labelled volumes (extra `labels`); see score "
        "--features",
    )
    print(calibrate(**arguments(parser.parse_args(argv))).table())


def _crop(argv: list[str]) -> None:
    from .uses.cropping import crop

    parser = _parser(
        "crop",
        "Cut one scan to the slices between two levels of the body; voxels and geometry stay as "
        "they are.",
    )
    parser.add_argument(
        "scan", metavar="SCAN", help="a file, or a folder with the files of one series"
    )
    parser.add_argument("--weights", required=True, help="weights.safetensors of a run")
    parser.add_argument(
        "--regions", required=True, help="regions.json that was made with these weights"
    )
    parser.add_argument(
        "--from",
        required=True,
        metavar="LEVEL",
        help="where the crop begins: a landmark, a part, or a score",
    )
    parser.add_argument(
        "--to", required=True, metavar="LEVEL", help="where it ends: a landmark, a part, or a score"
    )
    parser.add_argument("--out", required=True, help="a new .nii.gz file")
    parser.add_argument(
        "--partial",
        action="store_true",
        help="cut to what the scan shows of the range, where it shows not all of it",
    )
    add_options(parser, crop, {"scan", "weights", "regions", "out", "start", "end", "partial"})
    options = arguments(parser.parse_args(argv))
    options["start"], options["end"] = options.pop("from"), options.pop("to")
    print(crop(**options).line())


def _level(argv: list[str]) -> None:
    from .uses.levels import same_level, table

    parser = _parser(
        "level", "Where the other exams of a folder of scores are at the level of one slice."
    )
    parser.add_argument("scores", metavar="SCORES", help="a folder that score wrote")
    parser.add_argument(
        "--regions",
        help="regions.json of calibrate, made from volumes with landmarks: without it there is "
        "no interval",
    )
    add_options(parser, same_level, {"scores", "regions"})
    print(table(same_level(**arguments(parser.parse_args(argv)))))


def _annotate(argv: list[str]) -> None:
    from .uses.annotation import annotate

    parser = _parser(
        "annotate",
        "Report the body parts and landmarks of a DICOM series as a DICOM Structured Report, in "
        "a new folder; the series is only read. "
        "The report belongs to the study and names its patient.",
    )
    parser.add_argument("folder", metavar="DICOM_FOLDER", help="the files of one series")
    parser.add_argument("--weights", required=True, help="weights.safetensors of a run")
    parser.add_argument(
        "--regions", required=True, help="regions.json that was made with these weights"
    )
    parser.add_argument("--out", required=True, help="a new folder for sr.dcm and copies/")
    parser.add_argument(
        "--copies",
        action="store_true",
        help="also copy the images, as a new series with BodyPartExamined set",
    )
    print(annotate(**arguments(parser.parse_args(argv))).line())


def _export(argv: list[str]) -> None:
    from ubr.weights import export, load

    parser = _parser(
        "export",
        "Write the weights for another library, and prove that they arrive there. Prints how to "
        "load them.",
    )
    parser.add_argument("weights", metavar="WEIGHTS", help="weights.safetensors of a run")
    parser.add_argument(
        "--out",
        required=True,
        help="torchvision: a .pth file; timm: a folder; detectron2: a .pkl file; onnx: an .onnx "
        "file",
    )
    parser.add_argument(
        "--fold",
        action="store_true",
        help="put the intensity contract into the first convolution: the trunk then takes HU",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier export wrote there"
    )
    add_options(parser, export, {"weights", "path", "fold", "overwrite"})
    options = parser.parse_args(argv)
    print(
        export(
            load(options.weights),
            options.out,
            to=options.to,
            fold=options.fold,
            overwrite=options.overwrite,
        )
    )


def _inspect(argv: list[str]) -> None:
    from ubr.weights import load

    parser = _parser(
        "inspect", "What a weights file is: backbone, input contract, provenance, digest, tensors."
    )
    parser.add_argument("weights", metavar="WEIGHTS", help="a .safetensors file of this project")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    options = parser.parse_args(argv)
    about = load(options.weights).about()
    print(json.dumps(about, indent=1) if options.json else _shown(about))


def _shown(about: dict[str, Any]) -> str:
    """The tables of `inspect` as text."""
    lines = [f"{name:<12}{about[name]}" for name in ("backbone", "license", "sha256")]
    for part in ("inputs", "provenance"):
        lines += [f"{part:<12}{name}: {json.dumps(value)}" for name, value in about[part].items()]
    lines += [f"exports to  {', '.join(about['exports_to'])}", ""]
    width = max(len(t["name"]) for t in about["tensors"])
    lines += [
        f"{t['name']:<{width}}  {t['kind']:<8} {' x '.join(map(str, t['shape'])) or 'one number'}"
        for t in about["tensors"]
    ]
    count, numbers = len(about["tensors"]), sum(t["numbers"] for t in about["tensors"])
    return "\n".join([*lines, f"{count} tensors, {numbers:,} numbers"])


def _demo(argv: list[str]) -> None:
    from .uses.demo import demo

    parser = _parser(
        "demo",
        "The whole road on computed CT: scans, store, training, scores, figure, export. Three to "
        "five minutes on two cores.",
    )
    add_options(parser, demo, set())
    print(demo(**arguments(parser.parse_args(argv))))


VERBS = {
    "demo": Verb(_demo, "the whole road on computed CT, in minutes", resumes=True),
    "phantom": Verb(_phantom, "write computed CT series with known body position", resumes=True),
    "ingest": Verb(_ingest, "read CT series of any format into a store", resumes=True),
    "fit": Verb(_fit, "train a body-part regressor on a store, without labels", resumes=True),
    "score": Verb(_score, "give every slice of a store or of scans its score", resumes=True),
    "calibrate": Verb(_calibrate, "learn body parts and landmarks from a few labelled volumes"),
    "report": Verb(
        _report, "one page of scores for a browser: findings, curves, histogram, slices"
    ),
    "crop": Verb(_crop, "cut a scan to the slices between two landmarks"),
    "level": Verb(_level, "find the level of a slice in other exams"),
    "annotate": Verb(_annotate, "report parts and landmarks of a DICOM series as DICOM"),
    "export": Verb(_export, "write the weights for torchvision, timm, detectron2 or onnx"),
    "inspect": Verb(_inspect, "say what a weights file is"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb. Returns the exit status."""
    return commandline.main(
        "ubr-pretrain",
        "Unsupervised body-part regression: pretraining on unlabelled CT.",
        VERBS,
        argv,
    )


if __name__ == "__main__":  # how DDP starts its other processes
    sys.exit(main())
