"""Every kind of file that a verb reads, with a command that reads it."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.forked import files_below
from benchmarks.common.small_world import TINY, TINY_DETECTOR, furnish

DECIDES_NOTHING = ("tensorboard", "receipt.txt")
"""Files of a run that hold the time, or a text for people."""


@dataclass(frozen=True)
class Door:
    """A command, and the files of one kind among those that it reads.

    words: the command, run in a folder with `inputs`, files and folders of the sound world.
    target: pattern of the files to damage. form: their format, as in `wild.WILD`. text: whether
    people write or read them. checked: whether the format has a checksum, so that damage to bytes
    is told from other values. pickled: whether a careless reader would run code in them.
    answer: what the command makes, beside what it prints. spoken: whether what it prints is the
    answer.
    without: patterns of files that are taken away, so that there is something to do.
    """

    name: str
    words: str
    inputs: tuple[str, ...]
    target: str
    form: str
    answer: tuple[str, ...] = ("out",)
    text: bool = False
    checked: bool = False
    pickled: bool = False
    spoken: bool = False
    without: tuple[str, ...] = ()

    def furnish(self, sound: Path, folder: Path) -> list[Path]:
        """Put the inputs into a new folder. Returns the files that may be damaged."""
        furnish(sound, folder, self.inputs)
        for pattern in self.without:
            for path in folder.glob(pattern):
                path.unlink()
        found = sorted(path for path in folder.glob(self.target) if path.is_file())
        if not found:
            raise ValueError(f"door {self.name}: nothing is called {self.target}")
        return found

    def answered(self, folder: Path) -> dict[str, str]:
        """Digests of what the command made."""
        found = {}
        for name in self.answer:
            for file, path in [("", folder / name), *files_below(folder / name)]:
                if not path.is_file() or any(part in str(path) for part in DECIDES_NOTHING):
                    continue
                content = hashlib.sha256(what_counts(path)).hexdigest()[:16]
                found[content if path.parent.name == "series" else f"{name}/{file}"] = content
        return found


def what_counts(path: Path) -> bytes:
    """The bytes of a file, but for how long things took.

    Of a store the rows count, which hold a digest of the pixels. The keys in them follow from the
    files, not from what is read.
    """
    data = path.read_bytes()
    if path.parent.name == "series":
        try:
            row = {} if path.suffix == ".b2nd" else json.loads(data)
            if row.get("patient") == row.get("key"):
                row["patient"] = ""
            data = json.dumps({k: v for k, v in row.items() if k not in ("key", "crc32")}).encode()
        except (ValueError, AttributeError, RecursionError):  # a damaged row that stays
            return data
    elif path.suffix == ".safetensors":
        data = re.sub(rb"[0-9a-f]{64}", b"", data)  # the seal, and the digest of a start's file
    elif path.name == "metrics.jsonl":
        lines = [json.loads(line) for line in data.splitlines()]
        kept = [{k: v for k, v in one.items() if "per_s" not in k} for one in lines]
        data = json.dumps(kept).encode()
    elif path.suffix == ".dcm":
        import pydicom

        dataset = pydicom.dcmread(path)
        dataset.walk(_without_time)
        dataset.file_meta.walk(_without_time)
        dataset.file_meta.FileMetaInformationGroupLength = 0
        data = str(dataset).encode()
    elif path.suffix == ".ckpt":
        import torch

        # Lightning's counters differ where a run was cut, and nothing depends on them.
        saved = torch.load(path, weights_only=True)
        saved = {k: v for k, v in saved.items() if k not in ("loops", "epoch")}
        out = io.BytesIO()
        torch.save(saved, out)
        data = out.getvalue()
    return data


def _without_time(dataset: Any, element: Any) -> None:
    """Empty the identifiers and times that are new each time."""
    if element.VR in ("UI", "DA", "TM", "DT"):
        element.value = ""


def _scans() -> list[Door]:
    """Scans, read by `ingest`; each format is read by the same readers for every other verb."""
    kinds: Mapping[str, tuple[str, str, bool]] = {
        "dicom": ("dicom/*/*.dcm", "dicom", False),
        "nii": ("nii/0.nii", "nifti", False),
        "nii_gz": ("nii_gz/*0.nii.gz", "nifti", True),
        "nrrd": ("nrrd/*", "header", False),
        "nrrd_gz": ("nrrd_gz/*", "header", True),
        "nhdr": ("nhdr/*", "header", False),
        "mha": ("mha/*", "header", False),
        "mha_z": ("mha_z/*", "header", True),
        "mhd": ("mhd/*", "header", False),
        "png": ("png/Images_png/*/*.png", "png", True),
    }
    return [
        Door(name, f"ubr-pretrain ingest {name} --store out --workers 1", (name,), target, form,
             checked=checked, answer=("out/series",))
        for name, (target, form, checked) in kinds.items()
    ]  # fmt: skip


SCORE = "ubr-pretrain score run store --out out --workers 0 --device cpu"
REPORT = "ubr-pretrain report scores --out out/a.html"
LEVELS = "--from dome --to crest"
CALIBRATE = "ubr-pretrain calibrate scores labels.csv --out out"
FIT = f"ubr-pretrain fit store --out out {TINY.format(steps=2)}"
RESUME = f"ubr-pretrain fit store --out run {TINY.format(steps=4)}"
TRAIN = f"ubr-detect train lesions --out out {TINY_DETECTOR.format(steps=1)}"
RETRAIN = f"ubr-detect train lesions --out detector {TINY_DETECTOR.format(steps=4)}"
EVALUATE = "ubr-detect evaluate detector lesions --out out --device cpu --workers 0 --pictures 1"
SCORED = ("run", "store")
BEGUN = ("begun/slices.parquet", "begun/series.csv", "begun/left_out.csv")
WEIGHTS = "run/weights.safetensors"
TABLES = ("run", "scores", "labels.csv", "regions.json")
RESUMED = ("run/weights.safetensors", "run/card.md")
DETECTOR_OUT = ("detector/last.pth", "detector/best.pth", "detector/metrics.jsonl")


def _plain() -> list[Door]:
    return [
        Door("patients", "ubr-pretrain ingest nii_gz --store out --patients patients.csv "
             "--workers 1", ("nii_gz", "patients.csv"), "patients.csv", "csv", text=True,
             answer=("out/series",)),
        Door("table of png", "ubr-pretrain ingest png --store out --workers 1", ("png",),
             "png/DL_info.csv", "csv", text=True, answer=("out/series",)),
        Door("store rows", SCORE, SCORED, "store/series/*.json", "json", text=True, checked=True,
             without=("store/catalog.parquet",)),
        Door("store volumes", SCORE, SCORED, "store/series/*.b2nd", "", checked=True),
        Door("store.json", SCORE, SCORED, "store/store.json", "json", text=True),
        Door("store catalog", SCORE, SCORED, "store/catalog.parquet", "parquet", checked=True),
        Door("store grown", "ubr-pretrain ingest nii_gz --store store --workers 1",
             ("store", "nii_gz"), "store/**/*", "", answer=("store/series",)),
        Door("store inspected", "ubr-pretrain inspect store --json", ("store",),
             "store/series/*.json", "json", text=True, checked=True, answer=()),
        Door("store secret", "ubr-pretrain ingest dicom --store store --workers 1",
             ("store", "dicom"), "store/private/secret", "", text=True, answer=("store/series",)),
        Door("weights", SCORE, SCORED, WEIGHTS, "safetensors", checked=True),
        Door("weights exported to ONNX", SCORE.replace("run", "run.onnx"), ("run.onnx", "store"),
             "run.onnx", "", checked=True),
        Door("weights inspected", "ubr-pretrain inspect run --json", ("run",), WEIGHTS,
             "safetensors", checked=True, answer=()),
        Door("weights exported", "ubr-pretrain export run --to timm --out out", ("run",), WEIGHTS,
             "safetensors", checked=True),
        Door("scored settings", SCORE.replace("--out out", "--out begun"), (*SCORED, "begun"),
             "begun/settings.json", "json", text=True, answer=BEGUN),
        Door("scored working", SCORE.replace("--out out", "--out begun"), (*SCORED, "begun"),
             "begun/working/*.npz", "", answer=BEGUN, checked=True),
        Door("scores.csv", REPORT, ("scores",), "scores/*.csv",
             "csv", text=True),
        Door("scores.parquet", REPORT, ("scores",),
             "scores/slices.parquet", "parquet"),
        Door("pictures of a store", "ubr-pretrain report scores --out out/a.html --store store",
             ("scores", "store"), "store/series/*", "", checked=True),
        Door("calibrated scores", CALIBRATE, TABLES, "scores/s*", "", text=True),
        Door("features", f"{CALIBRATE} --features", TABLES, "scores/features.npy", "numpy"),
        Door("labels", CALIBRATE, TABLES, "labels.csv", "csv", text=True),
        Door("level scores", "ubr-pretrain level scores --series 5267 --index 7 --out out "
             "--regions regions.json", TABLES, "scores/s*", "", text=True),
        Door("level regions", "ubr-pretrain level scores --series 5267 --index 7 --out out "
             "--regions regions.json", TABLES, "regions.json", "json", text=True),
        Door("scored regions", f"{SCORE} --regions regions.json", (*SCORED, "regions.json"),
             "regions.json", "json", text=True),
        Door("cropped", f"ubr-pretrain crop nii_gz/PHANTOM-000001.nii.gz --weights run {LEVELS} "
             "--regions regions.json --out out/a.nii.gz", ("run", "nii_gz", "regions.json"),
             "nii_gz/*1.nii.gz", "nifti", checked=True),
        Door("cropped regions", f"ubr-pretrain crop nii/1.nii --weights run {LEVELS} "
             "--regions regions.json --out out/a.nii.gz", ("run", "nii", "regions.json"),
             "regions.json", "json", text=True),
        Door("annotated", "ubr-pretrain annotate dicom --weights run --regions regions.json "
             "--out out", ("run", "dicom", "regions.json"), "dicom/*/*.dcm", "dicom"),
        Door("montage", "ubr-pretrain montage nii/0.nii --out out/a.png", ("nii",), "nii/0.nii",
             "nifti", answer=()),
    ]  # fmt: skip


def _trainings() -> list[Door]:
    return [
        Door("grids", FIT, ("store",), "store/grids/*/*", "numpy", checked=True),
        Door("fit config", RESUME, SCORED, "run/config.yaml", "yaml", text=True, answer=("run",),
             without=RESUMED),
        Door("fit checkpoint", RESUME, SCORED, "run/checkpoints/last.ckpt", "torch",
             answer=("run/weights.safetensors",), checked=True, pickled=True, without=RESUMED),
        Door("fit metrics", RESUME, SCORED, "run/metrics.jsonl", "lines", text=True,
             answer=("run/weights.safetensors",), without=RESUMED),
        Door("fit options", "ubr-pretrain fit store --out out --config run/config.yaml "
             "--holdout 0.3 --device cpu --workers 0", SCORED, "run/config.yaml", "yaml", text=True,
             answer=("out/weights.safetensors",)),
        *(
            Door(f"start {inner}", f"{FIT} --start start/{target} --assume-scale",
                 ("store", "start"), f"start/{inner}", form, pickled=not form,
                 answer=("out/weights.safetensors",), text=form in ("yaml", "json"))
            for target, inner, form in (
                ("a.pth", "a.pth", ""),
                ("a.pkl", "a.pkl", ""),
                ("a.pkl", "a.yaml", "yaml"),
                ("hub/model.safetensors", "hub/model.safetensors", "safetensors"),
                ("hub/model.safetensors", "hub/config.json", "json"),
            )
        ),
        Door("lesion table", "ubr-detect check lesions --workers 1", ("lesions",),
             "lesions/DL_info.csv", "csv", text=True, spoken=True),
        Door("lesion slices", "ubr-detect check lesions --workers 1", ("lesions",),
             "lesions/Images_png/*/*.png", "png", checked=True, spoken=True),
        Door("planted", "ubr-detect plant nii --out out --patients patients.csv --per-scan 1",
             ("nii", "patients.csv"), "nii/0.nii", "nifti"),
        Door("planted patients", "ubr-detect plant nii --out out --patients patients.csv "
             "--per-scan 1", ("nii", "patients.csv"), "patients.csv", "csv", text=True),
        Door("train slices", TRAIN, ("lesions",), "lesions/Images_png/*/*.png", "png",
             checked=True, answer=("out/last.pth",)),
        Door("train config", RETRAIN, ("lesions", "detector"), "detector/config.yaml", "yaml",
             text=True, answer=DETECTOR_OUT, without=("detector/last.pth",)),
        Door("train checkpoint", RETRAIN, ("lesions", "detector"),
             "detector/checkpoints/last.ckpt", "torch", checked=True, pickled=True,
             answer=DETECTOR_OUT, without=("detector/last.pth",)),
        Door("train best", RETRAIN, ("lesions", "detector"), "detector/best.pth", "torch",
             checked=True, pickled=True, answer=("detector/last.pth", "detector/metrics.jsonl"),
             without=("detector/last.pth",)),
        Door("train metrics", RETRAIN, ("lesions", "detector"), "detector/metrics.jsonl", "lines",
             text=True, answer=("detector/last.pth",), without=("detector/last.pth",)),
        Door("evaluated", EVALUATE, ("lesions", "detector"), "detector/best.pth", "torch",
             checked=True, pickled=True),
        Door("evaluated config", EVALUATE, ("lesions", "detector"), "detector/config.yaml", "yaml",
             text=True),
        Door("evaluated table", EVALUATE, ("lesions", "detector"), "lesions/DL_info.csv", "csv",
             text=True),
    ]  # fmt: skip


DOORS: dict[str, Door] = {door.name: door for door in (*_scans(), *_plain(), *_trainings())}
