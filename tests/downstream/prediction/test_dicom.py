"""Reports of findings: the template, the images, the places, and the same report again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.made import scores as known
from tests.made.detectors import use_bright
from tests.made.dicom import Made, enhanced, write
from ubr.downstream.prediction.predicting import predict
from ubr.downstream.slices import View
from ubr.weights.common.working import Working

from .test_predicting import QUIET, Stop, rows, scan, stopping

sr = pytest.importorskip("highdicom.sr")

VIEW = View(mm_per_px=4.0)
ROWS, COLUMNS, SLICES = slice(8, 20), slice(12, 30), (5, 6, 7)
"""Where the lesion lies in the images as they are stored, head first."""


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    use_bright(monkeypatch, VIEW)


def with_lesion(made: Made, **tags: Any) -> list[Dataset]:
    """The series with a bright block; in one slice it is brightest."""
    datasets = made.datasets(StudyDate="20200102", PatientSex="F", **tags)
    for z in SLICES:
        pixels = np.frombuffer(datasets[z].PixelData, np.uint16).reshape(made.size).copy()
        pixels[ROWS, COLUMNS] = 1024 + (980 if z == SLICES[1] else 940)
        datasets[z].PixelData = pixels.tobytes()
    return datasets


def reported(run: Path, source: Path, out: Path, **options: Any) -> Dataset:
    predict(run, [source], out, **{**QUIET, "sr": True, **options})
    (one,) = rows(out / "series.csv")
    return pydicom.dcmread(out / one["report"])


def items(item: Dataset, code: str) -> list[Dataset]:
    """The content items below this one whose concept has a code."""
    return [
        one
        for one in item.get("ContentSequence", [])
        if one.ConceptNameCodeSequence[0].CodeValue == code
    ]


def only(item: Dataset, *path: str) -> Dataset:
    for code in path:
        (item,) = items(item, code)
    return item


def test_report__follows_the_template(run: Path, tmp_path: Path) -> None:
    """TID 1500, 1410 and 1419 of PS3.16, read without the library that wrote it."""
    datasets = with_lesion(Made())
    write(tmp_path / "series", datasets)
    report = reported(run, tmp_path / "series", tmp_path / "found")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"  # Imaging Measurement Report
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert only(report, "121058").RelationshipType == "HAS CONCEPT MOD"  # procedure reported
    group = only(report, "126010", "125007")  # Imaging Measurements, Measurement Group
    assert group.ContentTemplateSequence[0].TemplateIdentifier == "1410"
    assert only(group, "112039").TextValue == "Finding 1"
    assert only(group, "112040").ValueType == "UIDREF"
    assert only(group, "121071").ConceptCodeSequence[0].CodeMeaning == "Lesion"
    region = only(group, "111030")
    assert (region.ValueType, region.GraphicType) == ("SCOORD", "POLYLINE")
    assert region.RelationshipType == "CONTAINS"
    (image,) = region.ContentSequence
    assert (image.ValueType, image.RelationshipType) == ("IMAGE", "SELECTED FROM")
    best = image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert best == datasets[SLICES[1]].SOPInstanceUID
    corners = np.array(region.GraphicData).reshape(5, 2)
    assert (corners[0] == corners[4]).all()
    box = [COLUMNS.start, ROWS.start, COLUMNS.stop, ROWS.stop]
    assert [*corners.min(0), *corners.max(0)] == pytest.approx(box, abs=0.05)
    measured = {
        one.ConceptNameCodeSequence[0].CodeMeaning: (
            float(one.MeasuredValueSequence[0].NumericValue),
            one.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue,
        )
        for one in group.ContentSequence
        if one.ValueType == "NUM"
    }
    assert measured["Diameter"] == (pytest.approx(18 * 4 - 2 * 5), "mm")
    assert measured["Extent along the body"] == (15.0, "mm")
    assert measured["Score of a detector, 0 to 1"] == (pytest.approx(0.99, abs=0.01), "1")


def test_report__is_read_back_and_belongs_to_the_study(run: Path, tmp_path: Path) -> None:
    datasets = with_lesion(Made())
    write(tmp_path / "series", datasets)
    report = reported(run, tmp_path / "series", tmp_path / "found")
    for name in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "StudyDate"):
        assert report[name].value == datasets[0][name].value
    (name,) = (path.name for path in (tmp_path / "found" / "sr").iterdir())
    read = sr.srread(tmp_path / "found" / "sr" / name)
    (group,) = read.content.get_planar_roi_measurement_groups()
    assert group.roi.graphic_type.value == "POLYLINE" and len(group.get_measurements()) == 3
    others = [p for p in (tmp_path / "found").iterdir() if p.name != "sr"]
    assert not any(b"Secret" in p.read_bytes() or b"SECRET" in p.read_bytes() for p in others)


def test_report__says_in_which_part_of_the_body_a_finding_lies(run: Path, tmp_path: Path) -> None:
    """Read back by highdicom, and by its codes: Chest and others are in CID 4031 of PS3.16."""
    write(tmp_path / "series", with_lesion(Made()))
    of = known.weights()
    of.save(tmp_path / "w.safetensors")
    regions = known.regions(of).save(tmp_path / "regions.json")
    body = {"body": str(tmp_path / "w.safetensors"), "regions": str(regions)}
    with known.scored_by_darkness():
        report = reported(run, tmp_path / "series", tmp_path / "found", **body)
    (row,) = rows(tmp_path / "found" / "findings.csv")
    assert row["part"] in ("chest", "abdomen", "pelvis")
    sct = {"chest": "816094009", "abdomen": "818981001", "pelvis": "816092008"}
    (group,) = items(only(report, "126010"), "125007")
    (place,) = only(group, "363698007").ConceptCodeSequence  # Finding Site
    assert (place.CodeValue, place.CodingSchemeDesignator) == (sct[row["part"]], "SCT")
    (path,) = (tmp_path / "found" / "sr").iterdir()
    (read,) = sr.srread(path).content.get_planar_roi_measurement_groups(
        finding_site=sr.CodedConcept(place.CodeValue, "SCT", place.CodeMeaning)
    )
    assert read.finding_type.meaning == "Lesion"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"PatientIdentityRemoved": "YES", "DeidentificationMethod": ""}, set()),
        ({"PatientIdentityRemoved": "YES"}, set()),
        (
            {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "by hand"},
            {"PatientIdentityRemoved", "DeidentificationMethod"},
        ),
    ],
)
def test_report__repeats_that_identity_was_removed_only_with_the_method(
    said: dict[str, str], kept: set[str], run: Path, tmp_path: Path
) -> None:
    write(tmp_path / "series", with_lesion(Made(), **said))
    report = reported(run, tmp_path / "series", tmp_path / "found")
    about = ("PatientIdentityRemoved", "DeidentificationMethod")
    assert {name for name in about if name in report} == kept


TURNED = {
    "prone": ((-1.0, 0, 0, 0, -1, 0), lambda c: (-c[0] - 4.0, -c[1] - 4.0, c[2])),
    "head first": ((1.0, 0, 0, 0, 1, 0), lambda c: c),
}


@pytest.mark.parametrize("turn", TURNED)
def test_report__a_box_lies_in_the_image_as_it_is_stored(
    turn: str, run: Path, tmp_path: Path
) -> None:
    """Rows and columns of an image may run against the volume's."""
    orientation, corner = TURNED[turn]
    plain = Made()
    made = Made([corner(one) for one in plain.corners], orientation)
    write(tmp_path / "series", with_lesion(made))
    group = only(reported(run, tmp_path / "series", tmp_path / "found"), "126010", "125007")
    corners = np.array(only(group, "111030").GraphicData).reshape(5, 2)
    box = [COLUMNS.start, ROWS.start, COLUMNS.stop, ROWS.stop]
    assert [*corners.min(0), *corners.max(0)] == pytest.approx(box, abs=0.05)


def test_report__names_the_frame_of_a_multi_frame_file(run: Path, tmp_path: Path) -> None:
    one = enhanced(np.arange(20)[::-1])
    size = Made().size
    pixels = np.frombuffer(one.PixelData, np.uint16).reshape(20, *size).copy()
    pixels[12, ROWS, COLUMNS] = 1024 + 980
    one.PixelData = pixels.tobytes()
    write(tmp_path / "series", [one])
    group = only(reported(run, tmp_path / "series", tmp_path / "found"), "126010", "125007")
    (image,) = only(group, "111030").ContentSequence[0].ReferencedSOPSequence
    assert image.ReferencedFrameNumber == 13


def test_report__of_two_stacks_in_a_file_each_has_its_own_frames_and_uids(
    run: Path, tmp_path: Path
) -> None:
    one = enhanced(np.tile(np.arange(20), 2))
    pixels = np.frombuffer(one.PixelData, np.uint16).reshape(40, *Made().size).copy()
    for k, functional in enumerate(one.PerFrameFunctionalGroupsSequence):
        functional.FrameContentSequence = [Dataset()]
        functional.FrameContentSequence[0].TemporalPositionIndex = 1 + k // 20
    pixels[[7, 27], ROWS, COLUMNS] = 1024 + 980
    one.PixelData = pixels.tobytes()
    write(tmp_path / "series", [one])
    predict(run, [tmp_path / "series"], tmp_path / "found", **{**QUIET, "sr": True})
    reports = [pydicom.dcmread(path) for path in (tmp_path / "found" / "sr").iterdir()]
    groups = [only(report, "126010", "125007") for report in reports]
    images = [only(group, "111030").ContentSequence[0] for group in groups]
    frames = [image.ReferencedSOPSequence[0].ReferencedFrameNumber for image in images]
    assert sorted(frames) == [8, 28]
    for name in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({report[name].value for report in reports}) == 2
    assert len({only(group, "112040").UID for group in groups}) == 2


def lines(report: Dataset) -> Iterator[str]:
    for element in report.iterall():
        if element.VR not in ("SQ", "DA", "TM", "DT"):
            yield f"{element.tag} {element.value}"


def test_report__again_is_the_same_but_for_its_time(run: Path, tmp_path: Path) -> None:
    write(tmp_path / "series", with_lesion(Made()))
    first, again = (
        reported(run, tmp_path / "series", tmp_path / name, with_paths=name == "b") for name in "ab"
    )
    assert list(lines(first)) == list(lines(again))
    other = reported(run, tmp_path / "series", tmp_path / "c", min_score=0.5)
    assert other.SOPInstanceUID != first.SOPInstanceUID
    assert other.SeriesInstanceUID != first.SeriesInstanceUID


def test_report__of_a_call_that_was_stopped(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        write(tmp_path / "scans" / name, with_lesion(Made()))
    options = {**QUIET, "sr": True}
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Working, "tidy", stopping(Working.tidy, 0))
        predict(run, [tmp_path / "scans"], tmp_path / "found", **options)
    (tmp_path / "found" / "boxes.parquet").unlink()  # as of a kill before the last table
    predict(run, [tmp_path / "scans"], tmp_path / "found", **options)
    assert len(list((tmp_path / "found" / "sr").iterdir())) == 2
    assert not (tmp_path / "found" / "working").exists()


def test_report__where_there_can_be_none_the_table_says_why(run: Path, tmp_path: Path) -> None:
    oblique = (0.9, 0.1, 0.42, -0.1, 0.99, 0.0)
    right, down = np.array(oblique[:3]), np.array(oblique[3:])
    right /= np.linalg.norm(right)
    down -= right * (right @ down)
    down /= np.linalg.norm(down)
    up = np.cross(right, down)
    made = Made([tuple(-80 * right - 60 * down - 5 * z * up) for z in range(20)], (*right, *down))
    write(tmp_path / "scans" / "oblique", with_lesion(made))
    scan(tmp_path / "scans" / "a.nii")
    told = predict(run, [tmp_path / "scans"], tmp_path / "found", **{**QUIET, "sr": True})
    reports = {row["report"] for row in rows(tmp_path / "found" / "series.csv")}
    assert "no DICOM" in reports and any("were resampled" in one for one in reports)
    assert "1 without a report: no DICOM" in told.table()
    assert not (tmp_path / "found" / "sr").exists()


@pytest.mark.skipif(
    shutil.which("dciodvfy") is None,
    reason="dicom3tools is not installed: its dciodvfy judges files by the standard",
)
def test_report__is_without_error_by_the_standard(run: Path, tmp_path: Path) -> None:
    write(tmp_path / "series", with_lesion(Made()))
    reported(run, tmp_path / "series", tmp_path / "found")
    (path,) = (tmp_path / "found" / "sr").iterdir()
    source = next((tmp_path / "series").iterdir())
    assert errors(path) <= errors(source), "what it inherits from the study, and nothing else"


def errors(path: Path) -> set[str]:
    """What dciodvfy calls an error."""
    judged = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True)
    assert judged.stdout or judged.stderr, "it names what it has read"
    found = (judged.stdout + judged.stderr).splitlines()
    return {line for line in found if line.startswith("Error")}
