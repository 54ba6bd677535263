"""A sound file of every kind that a verb reads, small enough that each verb takes a moment."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.common.forked import run
from ubr.pretrain.phantom.forms import write_phantom
from ubr.pretrain.phantom.patient import Patient
from ubr.pretrain.phantom.scan import Acquisition, Case, image

SERIES = 4
SCANS = "dicom nii nii_gz nrrd nrrd_gz nhdr mha mha_z mhd png".split()
TINY = (
    "--backbone timm/test_convnext --inputs.size-px 32 --g 2 --m 3 --precision 32 --holdout 0.3 "
    "--device cpu --workers 0 --steps {steps} --validate-every 2 --checkpoint-every 2 --log-every 1"
)
TINY_DETECTOR = (
    "--backbone timm/test_resnet --view.longest-px 64 --view.mm-per-px 6 --batch 1 --device cpu "
    "--precision 32 --workers 0 --steps {steps} --validate-every 2 --checkpoint-every 2 "
    "--log-every 1 --pyramid 16"
)

SCORE = "ubr-pretrain score run store --workers 0 --device cpu"


def make(folder: Path, names: Iterable[str] | None = None) -> Path:
    """The sound files, made by the command lines where they make them, as far as they are missing.

    names: those that are needed; all by default.

    Raises:
        RuntimeError: a command of the product fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in MAKERS if names is None else names:
        if (folder / name).exists():
            continue
        needs, maker = MAKERS.get(name) or ((), _scans)  # the scans are made at once
        make(folder, needs)
        maker(folder)
    return folder


def furnish(sound: Path, folder: Path, inputs: Sequence[str]) -> None:
    """Copy files and folders of the sound world into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in inputs:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (sound / name).is_dir():
            shutil.copytree(sound / name, folder / name)
        else:
            shutil.copy(sound / name, folder / name)


def _made(folder: Path, words: str) -> None:
    ran = run(words.split(), folder, said_in=folder / "said", seconds=600)
    if ran.status:
        raise RuntimeError(f"{words}: {ran.status}\n{ran.out}{ran.err}")


def _by(words: str) -> Callable[[Path], None]:
    return lambda folder: _made(folder, words)


def _store(folder: Path) -> None:
    """The store, and the run, which adds the store's grids."""
    _made(folder, "ubr-pretrain ingest nii --store store --workers 1")
    _made(folder, f"ubr-pretrain fit store --out run {TINY.format(steps=4)}")


def _begun(folder: Path) -> None:
    """A scoring that was killed after two of the series."""
    words = f"{SCORE} --out begun".split()
    run(words, folder, said_in=folder / "said", before=_killed_at_the_third)


def _killed_at_the_third() -> None:
    from ubr.weights.common.working import Working

    add = Working.add

    def cut(self: Any, key: str, **arrays: Any) -> None:
        if len(list(self.path.glob("*.npz"))) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        add(self, key, **arrays)

    Working.add = cut  # type: ignore[method-assign]


def _start(folder: Path) -> None:
    """Files of other libraries to start from."""
    _made(folder, "ubr-pretrain export run --to timm --out start/hub")
    _made(folder, "ubr-pretrain export run --to detectron2 --out start/a.pkl")
    torch.save(load_file(folder / "start/hub/model.safetensors"), folder / "start/a.pth")


def _scans(folder: Path) -> None:
    """The same computed patients in every format."""
    import SimpleITK as sitk

    for seed in range(SERIES):
        scan = Acquisition(top=300, bottom=900, spacing_mm=20, size_px=48, phase="none")
        phantom = image(Case(seed, Patient.random(seed), scan))
        forms: dict[str, Any] = {
            **{"dicom": "dicom", "dicoms": "dicom"},
            **{"nii_gz": "nifti", "png": "png"},
        }
        for name, form in forms.items():
            if name in ("nii_gz", "dicoms") or seed < 1:
                (folder / name).mkdir(exist_ok=True)
                write_phantom(phantom, folder / name, form)
        packed = folder / "nii_gz" / f"PHANTOM-{seed:06d}.nii.gz"
        read = sitk.ReadImage(str(packed))
        for key in read.GetMetaDataKeys():  # type: ignore[no-untyped-call]
            read.EraseMetaData(key)  # type: ignore[no-untyped-call]  # others do not take them
        for name in ("nii", *(() if seed else ("nrrd", "nrrd_gz", "nhdr", "mha", "mha_z", "mhd"))):
            (folder / name).mkdir(exist_ok=True)
            to = folder / name / f"{seed}.{name.partition('_')[0]}"
            sitk.WriteImage(read, str(to), useCompression=name.endswith(("_z", "_gz")))


def _patients(folder: Path) -> None:
    names = [f"PHANTOM-{seed:06d}.nii.gz" for seed in range(SERIES)]
    _write(folder / "patients.csv", ("file", "patient"), [(n, f"patient {n[13]}") for n in names])


def _labels(folder: Path) -> None:
    """Parts and the borders between them, each a third of a series."""
    with (folder / "scores" / "series.csv").open(newline="") as file:
        keys = [(row["series"], int(row["slices"])) for row in csv.DictReader(file)]
    labels: list[tuple[object, ...]] = []
    for key, slices in keys:
        third = slices // 3
        labels += [(key, f"0-{third}", "chest", ""), (key, third, "", "dome")]
        labels += [(key, f"{third + 1}-{2 * third}", "abdomen", ""), (key, 2 * third, "", "crest")]
    _write(folder / "labels.csv", ("series", "index", "part", "landmark"), labels)


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


MAKERS: dict[str, tuple[tuple[str, ...], Callable[[Path], None]]] = {
    "nii": ((), _scans),
    "patients.csv": ((), _patients),
    "store": (("nii",), _store),
    "run": (("store",), _store),
    "scores": (("run",), _by(f"{SCORE} --out scores --features")),
    "begun": (("run",), _begun),
    "labels.csv": (("scores",), _labels),
    "regions.json": (
        ("labels.csv",),
        _by("ubr-pretrain calibrate scores labels.csv --out regions.json"),
    ),
    "audit": (
        ("nii", "regions.json"),
        _by(
            "ubr-pretrain audit nii --out audit --weights run --regions regions.json --workers 0 "
            "--device cpu"
        ),
    ),
    "run.onnx": (("run",), _by("ubr-pretrain export run --to onnx --out run.onnx")),
    "start": (("run",), _start),
    "lesions": (
        ("nii", "patients.csv"),
        _by("ubr-detect plant nii_gz --out lesions --patients patients.csv --per-scan 3"),
    ),
    "detector": (
        ("lesions",),
        _by(f"ubr-detect train lesions --out detector {TINY_DETECTOR.format(steps=4)}"),
    ),
}
"""What is made from what."""
