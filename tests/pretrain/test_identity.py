"""Identifiers planted in every text of DICOM headers and in the names of files turn up in nothing
that is written or said.
"""

from __future__ import annotations

import re
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from tests.made.dicom import Made, X, Y, Z, write
from ubr.pretrain.cli import main

TEXTS = {vr: "zqxplant {n}" for vr in ("PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE")} | {
    "DA": "19610304",
    "DT": "19610304112233",
    "TM": "112233.445566",
    "UI": "1.2.752.24.7.{n}",
    "UR": "http://zqxplant/{n}",
}
PLANTED = re.compile(rb"zqxplant|19610304|112233|1\.2\.752\.24\.7|secret", re.IGNORECASE)
NEEDED = {
    "SOPClassUID",
    "MediaStorageSOPClassUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "SOPInstanceUID",
    "RescaleType",
}


def plant(ds: Dataset) -> Dataset:
    """Fill every text element of the standard, but for those that a reader needs as they are, and
    one private element.
    """
    for n, (tag, (vr, _, _, retired, keyword)) in enumerate(DicomDictionary.items()):
        if (
            vr in TEXTS
            and keyword
            and not retired
            and 0x0008 <= tag >> 16 <= 0x4010
            and keyword not in NEEDED
        ):
            setattr(ds, keyword, TEXTS[vr].format(n=n))
    ds.private_block(0x0011, "ZQXPLANT MAKER", create=True).add_new(1, "LO", "zqxplantprivate")
    return ds


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Series that are taken and every kind that is not, in folders and files whose names tell too
    much.
    """
    root = tmp_path_factory.mktemp("scans")
    home = root / "ZQXPLANTNAME^PLANTED 19610304"
    for number in range(3):
        corners = [(X[0], Y[0], z + number) for z in Z]  # other pixels in each
        made = Made(
            corners=corners, series=f"1.2.752.24.7.1.{number}", study=f"1.2.752.24.7.2.{number}"
        )
        write(home / f"zqxplant-{number}", [plant(ds) for ds in made.datasets()], seed=number)
    faults: dict[str, dict[str, object]] = {
        "modality": {"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"},
        "private-class": {"SOPClassUID": "1.2.752.24.7.3"},
        "localizer": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "values": {"RescaleIntercept": 5000},
        "no-spacing": {"PixelSpacing": None},
        "no-pixels": {"PixelData": None},
    }
    for number, (name, tags) in enumerate(faults.items()):
        made = Made(series=f"1.2.752.24.7.4.{number}", study=f"1.2.752.24.7.5.{number}")
        write(home / f"zqxplant-{name}", [plant(ds) for ds in made.datasets(**tags)])
    for number, tag in enumerate(
        (0x00281053, 0x00200032, 0x00280030, 0x00200013, 0x00280010)
    ):  # text where numbers are due
        corners = [(X[0], Y[0], z + 10 + number) for z in Z]
        made = Made(corners=corners, series=f"1.2.752.24.7.6.{number}")
        datasets = [plant(ds) for ds in made.datasets()]
        for ds in datasets:
            ds.add_new(tag, "LO", "zqxplantnumber")
        write(home / f"zqxplant-text-{number}", datasets)
    damaged = write(
        home / "zqxplant-cut", [plant(ds) for ds in Made(series="1.2.752.24.7.7").datasets()]
    )
    for path in damaged:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
    (home / "zqxplant-letter.txt").write_text("Dear Zqxplant Planted")
    nibabel.save(
        nibabel.Nifti1Image(np.zeros((8, 8, 4, 3), np.int16), np.eye(4)),
        home / "zqxplantname_4d.nii.gz",
    )
    return root


def texts(folder: Path) -> dict[str, bytes]:
    """Every file as it is and, where its format packs text, as what it holds; and the names."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        found[f"name of {name}"] = name.encode()
        if path.is_file():
            found[name] = path.read_bytes()
            if path.suffix == ".parquet":
                found[f"{name}, decoded"] = (
                    repr(pq.read_table(path).to_pylist()).encode()
                    + repr(pq.read_schema(path).metadata).encode()
                )
    return found


@pytest.mark.heavy
def test_nothing_planted_turns_up_unless_paths_are_asked_for(
    scans: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, said = tmp_path / "out", []

    def run(*words: object, status: int = 0) -> str:
        assert main([str(word) for word in words]) == status
        captured = capfd.readouterr()
        said.append(captured.out + captured.err)
        return said[-1]

    ingest = ("ingest", scans, "--store", out / "store", "--workers", 1)
    assert "would take" in run(*ingest, "--dry")
    # Text as InstanceNumber does no harm: that series is the fourth.
    assert re.search(r"taken +4 series", run(*ingest))
    assert re.search(r"already there +4 series", run(*ingest))
    tiny = (
        "--backbone",
        "timm/test_resnet",
        "--inputs.size-px=32",
        "--g",
        2,
        "--m",
        4,
        "--steps",
        2,
        "--accelerator",
        "cpu",
    )
    run("fit", out / "store", "--out", out / "run", *tiny)
    weights = out / "run" / "weights.safetensors"
    assert re.search(
        r"scored +4 series",
        run("score", weights, scans, "--out", out / "scans", "--device", "cpu", "--workers", 1),
    )
    assert re.search(
        r"scored +4 series",
        run(
            "score",
            weights,
            out / "store",
            "--out",
            out / "stored",
            "--device",
            "cpu",
            "--workers",
            0,
        ),
    )
    run(
        "score",
        weights,
        scans / "nothing",
        "--out",
        out / "none",
        "--device",
        "cpu",
        "--workers",
        0,
        status=2,
    )

    written = {
        name: text
        for name, text in texts(out).items()
        if not name.removeprefix("name of ").startswith("store/private")
    }
    assert len(written) > 30 and not [
        (name, PLANTED.search(text)) for name, text in written.items() if PLANTED.search(text)
    ]
    assert not [found for text in said if (found := PLANTED.search(text.encode()))]

    assert PLANTED.search(b"".join(texts(out / "store" / "private").values())), (
        "the test would find what is there"
    )
    named = run(
        "score",
        weights,
        scans,
        "--out",
        out / "named",
        "--device",
        "cpu",
        "--workers",
        0,
        "--with-paths",
    )
    assert all(
        PLANTED.search(text)
        for text in (
            named.encode(),
            *((out / "named" / f"{t}.csv").read_bytes() for t in ("series", "left_out")),
        )
    )
    assert PLANTED.search(run(*ingest, "--dry", "--with-paths").encode())


def test_the_headers_hold_what_was_planted(scans: Path) -> None:
    ds = pydicom.dcmread(
        next((scans / "ZQXPLANTNAME^PLANTED 19610304" / "zqxplant-0").iterdir()),
        stop_before_pixels=True,
    )
    assert sum(PLANTED.search(str(element.value).encode()) is not None for element in ds) > 800
