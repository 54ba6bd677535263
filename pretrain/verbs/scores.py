"""Verbs that make scores and use them: score, calibrate, report, montage, crop, level, annotate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ubr.weights.common.commandline import show

if TYPE_CHECKING:
    from ubr.weights.common.options import Options

WEIGHTS = "a run folder, its weights.safetensors, or released (the bundled weights)"
REGIONS = "a regions.json made with these weights; released weights come with their own"


def score(options: Options, words: Sequence[str]) -> None:
    """Scores of slices."""
    from ubr.weights.common.messages import with_flags

    from ..scores.scoring import score

    options.description = (
        "Score every slice of a store or of scans. Repeat the command to resume it."
    )
    options.layout = {
        "Most used": ("out", "regions", "features", "every_mm"),
        "Regions": ("coverage",),
        "Machine": ("device", "runtime", "workers", "scheduler", "shard"),
        "Output": ("with_paths", "json"),
    }
    options.add_argument(
        "weights", metavar="WEIGHTS", help=f"{WEIGHTS}; or an .onnx that export made"
    )
    options.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a store, or files and folders with scans; or one folder of scores, to which "
        "--regions adds parts without scoring again",
    )
    options.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="a new folder for slices.parquet, series.csv and the other tables, or one that an "
        "interrupted command began",
    )
    options.add_argument(
        "--regions",
        metavar="FILE",
        help=f"add body parts, positions and landmarks.csv, from {REGIONS}",
    )
    options.add_argument(
        "--features",
        action="store_true",
        help="also write features.npy: 512 numbers per slice, in the row order of slices.parquet",
    )
    options.add_argument(
        "--with_paths",
        action="store_true",
        help="also write where each series was read from; paths may contain a patient's name",
    )
    options.offer(score, {"weights", "sources", "out", "features", "with_paths", "regions"})
    options.offer_json("what was scored and what was left out")
    given = options.read(words)
    as_json = given.pop("json")
    scored = score(**given)
    show(scored.summary() if as_json else with_flags(scored.table(), options.flags()))


def report(options: Options, words: Sequence[str]) -> None:
    """A page of scores."""
    from ..uses.report.page import report

    options.description = (
        "Write one page that shows a folder of scores offline, in any browser: findings, curves, "
        "histogram, slices. Click on a slice to label it for calibrate."
    )
    options.add_argument("scores", metavar="SCORES", help="a folder that score wrote")
    options.add_argument("--out", required=True, metavar="FILE", help="the .html file")
    options.add_argument("--overwrite", action="store_true", help="replace an earlier page there")
    options.offer(report, {"scores", "out", "overwrite"})
    show(str(report(**options.read(words))))


def montage(options: Options, words: Sequence[str]) -> None:
    """Contact sheets."""
    from ..uses.montage import contact_sheets

    options.description = (
        "Draw slices of each series with their indices on a contact sheet, to label them for "
        "calibrate."
    )
    options.add_argument("source", metavar="SOURCE", help="a store, or a file or folder with scans")
    options.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="a .png file for one series, or a folder, in which each sheet is called KEY.png",
    )
    options.add_argument("--overwrite", action="store_true", help="replace earlier sheets there")
    options.offer(contact_sheets, {"source", "out", "overwrite"})
    show(contact_sheets(**options.read(words)).table())


def calibrate(options: Options, words: Sequence[str]) -> None:
    """Regions from labelled volumes."""
    from ..reading.context import Axis
    from ..uses.calibration import calibrate

    options.description = (
        "Learn body parts and landmarks from a few labelled volumes, or from masks of organs, for "
        "score --regions."
    )
    options.add_argument("scores", metavar="SCORES", help="a folder that score wrote")
    options.add_argument(
        "labels",
        nargs="?",
        default=None,
        metavar="LABELS",
        help="CSV file with the columns series (key in series.csv, its beginning, or the path of "
        "the scan), index (a slice, 0 at the superior end, or a range such as 12-57), and part, "
        "landmark or both; omit it with --from-masks",
    )
    options.add_argument("--out", required=True, metavar="FILE", help="a new file, regions.json")
    options.add_argument(
        "--from_masks",
        metavar="DIR",
        help="instead of labels: NIfTI masks of organs and bones, with TotalSegmentator's names, "
        "in one folder per scan, named after the scan; the scores must be made with the option "
        "--with-paths",
    )
    options.add_argument(
        "--mask_names",
        metavar="FILE",
        help="for masks with other names: CSV file with the columns landmark, mask (name "
        "of a file, or name or number of a label) and end (top, bottom or middle)",
    )
    options.add_argument(
        "--parts",
        nargs="+",
        metavar="PART",
        help="the parts from superior to inferior; by default ordered by median score",
    )
    options.add_argument(
        "--scale",
        nargs=2,
        metavar="LANDMARK",
        help="two landmarks, whose mean scores become positions 0 and 100",
    )
    options.add_argument(
        "--features",
        action="store_true",
        help="classify parts by features.npy, with many labelled volumes (extra `labels`); see "
        "score --features",
    )
    options.add_argument(
        "--axis",
        type=Axis | None,
        default=None,
        help="what locates borders and landmarks: score (of each slice) or position (from all "
        "slices of a series); by default position, if the scores have positions",
    )
    show(calibrate(**options.read(words)).table())


def crop(options: Options, words: Sequence[str]) -> None:
    """A scan between two levels."""
    from ..uses.cropping import crop

    options.description = (
        "Cut one scan to the slices between two levels of the body. Voxels and geometry stay as "
        "they are."
    )
    options.called = {"start": "from", "end": "to"}
    options.add_argument(
        "scan", metavar="SCAN", help="a file, or a folder with the files of one series"
    )
    options.add_argument("--weights", default="released", metavar="FILE", help=WEIGHTS)
    options.add_argument(
        "--regions", metavar="FILE", help=f"{REGIONS}; not needed if both ends are scores"
    )
    options.add_argument(
        "--from",
        required=True,
        metavar="LEVEL",
        help="where the crop begins: a landmark, a part, or a number (a score, or position_mm / 50 "
        "if the regions were calibrated with --axis position)",
    )
    options.add_argument(
        "--to", required=True, metavar="LEVEL", help="where the crop ends, given likewise"
    )
    options.add_argument("--out", required=True, metavar="FILE", help="a new .nii.gz file")
    options.add_argument(
        "--partial",
        action="store_true",
        help="if the scan shows only part of the range, cut to that part",
    )
    options.offer(crop, {"scan", "weights", "regions", "out", "start", "end", "partial"})
    given = options.read(words)
    given["start"], given["end"] = given.pop("from"), given.pop("to")
    show(crop(**given).line())


def level(options: Options, words: Sequence[str]) -> None:
    """The level of a slice in other exams."""
    from ubr.weights.common.messages import with_flags

    from ..reading.regions import Regions
    from ..uses.levels import no_interval, own_regions, same_level, table

    options.description = "Find the level of one slice in the other exams of a folder of scores."
    options.add_argument("scores", metavar="SCORES", help="a folder that score wrote")
    options.add_argument(
        "--regions",
        metavar="FILE",
        help="a regions.json that calibrate made from volumes with landmarks; released weights "
        "have their own; without any there is no interval",
    )
    options.offer(same_level, {"scores", "regions"})
    given = options.read(words)
    given["regions"] = Regions.load(given["regions"]) if given["regions"] else None
    rows = same_level(**given)
    why = no_interval(given["regions"] or own_regions(given["scores"]), given["coverage"])
    show(table(rows, with_flags(why, options.flags())))


def annotate(options: Options, words: Sequence[str]) -> None:
    """A DICOM report."""
    from ..uses.annotation import annotate

    options.description = (
        "Report the body parts and landmarks of DICOM series as DICOM Structured Reports, in a new "
        "folder. The series stay unchanged. A report belongs to the study and names its patient. "
        "Repeat the command to resume it."
    )
    options.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="files and folders with DICOM series, searched to any depth; each series gets its own "
        "report",
    )
    options.add_argument("--weights", default="released", metavar="FILE", help=WEIGHTS)
    options.add_argument("--regions", metavar="FILE", help=REGIONS)
    options.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="a new folder for sr.dcm and copies/, or one that an interrupted command began; with "
        "several series, each gets a folder in it",
    )
    options.add_argument(
        "--copies",
        action="store_true",
        help="also copy the images, as a new series with BodyPartExamined set",
    )
    show(annotate(**options.read(words)).table())
