"""A report says of the right images what the scores say, belongs to the study, and leaves the
series as it was.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom import config
from pydicom.uid import RLELossless

from ubr.pretrain.cli import main
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.uses.annotation import annotate
from ubr.weights import scorer

from ...made.dicom import Made, Z, enhanced, write
from ...made.scans import CANONICAL, grid
from ...made.scores import between, in_mm, regions, scored_by_darkness, weights

sr = pytest.importorskip("highdicom.sr")

WEIGHTS = weights()
MADE = regions(WEIGHTS)
REGIONS = dataclasses.replace(
    MADE,
    landmarks={
        "liver_dome": MADE.landmarks["dome"],
        "iliac_crest": MADE.landmarks["crest"],
        "my_mark": MADE.borders[1],
        "sky": MADE.landmarks["sky"],
    },
)
"""As `MADE`, with landmarks that have codes of SNOMED CT, one that has none, and one above the
scan.
"""


@pytest.fixture(autouse=True, scope="module")
def known_scores() -> Iterator[None]:
    with scored_by_darkness():
        yield


@pytest.fixture
def made(tmp_path: Path) -> list[pydicom.Dataset]:
    """The series in tmp_path/series, head first."""
    series = Made().datasets(BodyPartExamined="HEAD", StudyDate="20200102", PatientSex="F")
    write(tmp_path / "series", series)
    return series


def done(tmp_path: Path, which: Regions = REGIONS, *, copies: bool = False) -> Any:
    told = annotate(tmp_path / "series", WEIGHTS, which, tmp_path / "out", copies=copies)
    (report,) = told.reports
    assert told.table() == report.line() and report.folder == told.folder == tmp_path / "out"
    return report


def groups(tmp_path: Path) -> dict[str, Any]:
    report = sr.srread(tmp_path / "out" / "sr.dcm")
    return {
        group.tracking_identifier: group for group in report.content.get_image_measurement_groups()
    }


def shown(group: Any) -> list[str]:
    return [
        str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for image in group.source_images
    ]


def number(group: Any) -> tuple[str, float, str]:
    (measured,) = group.get_measurements()
    return measured.name.meaning, float(measured.value), measured.unit.value


def test_report__names_the_images_of_parts_and_landmarks(
    tmp_path: Path, made: list[pydicom.Dataset]
) -> None:
    told = done(tmp_path)
    assert (told.parts, told.landmarks) == (("abdomen",), ("liver_dome", "iliac_crest", "my_mark"))
    assert (told.body_part, told.stated, told.copies) == ("ABDOMEN", "HEAD", 0)
    found = groups(tmp_path)
    assert set(found) == {"abdomen", "liver_dome", "iliac_crest", "my_mark"}
    uids = [str(ds.SOPInstanceUID) for ds in made]
    assert shown(found["abdomen"]) == uids[5:15]
    assert number(found["abdomen"]) == ("Length", 45.0, "mm")
    for name, at in (("liver_dome", 4), ("iliac_crest", 14)):
        (image,) = shown(found[name])
        assert image in (uids[at], uids[at + 1])  # the passage lies between the two
        meaning, score, unit = number(found[name])
        assert (meaning, unit) == ("Body-part regression score", "1")
        assert abs(score - between(at)) == pytest.approx(
            abs(between(at) - between(at - 1)) / 2, rel=0.5
        )


def test_report__concepts_are_coded(tmp_path: Path, made: list[pydicom.Dataset]) -> None:
    done(tmp_path)
    sites = {name: group.finding_sites[0] for name, group in groups(tmp_path).items()}
    codes = {name: (site.value.scheme_designator, site.value.value) for name, site in sites.items()}
    assert codes == {
        "abdomen": ("SCT", "818981001"),
        "liver_dome": ("SCT", "10200004"),
        "iliac_crest": ("SCT", "29850006"),
        "my_mark": ("99UBR", "my_mark"),
    }
    assert sites["liver_dome"].topographical_modifier.value == "264217000"


def test_report__belongs_to_the_study_and_is_a_measurement_report(
    tmp_path: Path, made: list[pydicom.Dataset]
) -> None:
    done(tmp_path)
    report = pydicom.dcmread(tmp_path / "out" / "sr.dcm")
    for name in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "StudyDate"):
        assert report[name].value == made[0][name].value
    assert report.SeriesInstanceUID != made[0].SeriesInstanceUID
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert {str(item.ReferencedSOPInstanceUID) for item in series.ReferencedSOPSequence} == {
        str(ds.SOPInstanceUID) for ds in made
    }
    assert WEIGHTS.sha256()[:12] in str(report)


def uids(tmp_path: Path, which: Regions = REGIONS) -> set[str]:
    """Every UID that the report of tmp_path/series has of its own."""
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    done(tmp_path, which)
    report = pydicom.dcmread(tmp_path / "out" / "sr.dcm")
    tracked = [str(group.tracking_uid) for group in groups(tmp_path).values()]
    found = {str(report.SOPInstanceUID), str(report.SeriesInstanceUID), *tracked}
    assert len(found) == 2 + len(tracked)
    return found


def test_report__uids_are_the_same_for_the_same_images_and_regions_alone(tmp_path: Path) -> None:
    made = Made()
    write(tmp_path / "series", made.datasets()[:-1])
    first = uids(tmp_path)
    assert uids(tmp_path) == first
    assert uids(tmp_path, dataclasses.replace(REGIONS, landmarks={})).isdisjoint(first)
    write(tmp_path / "series", [made.dataset(len(Z) - 1)])  # the series grows
    assert uids(tmp_path).isdisjoint(first)


def test_originals__neither_bytes_nor_times_change(tmp_path: Path) -> None:
    write(tmp_path / "series", Made().datasets())
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in (tmp_path / "series").iterdir()
    }
    done(tmp_path, copies=True)
    assert {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in (tmp_path / "series").iterdir()
    } == before
    assert {path.name for path in tmp_path.iterdir()} == {"series", "out"}


@pytest.mark.parametrize("compressed", [False, True])
def test_copies__are_a_series_of_their_own_with_the_same_pixels(
    tmp_path: Path, compressed: bool
) -> None:
    originals = Made().datasets(
        AnatomicRegionSequence=[], ContributingEquipmentSequence=[pydicom.Dataset()]
    )
    if compressed:
        for ds in originals:
            ds.compress(RLELossless, generate_instance_uid=False)
    write(tmp_path / "series", originals)
    assert done(tmp_path, copies=True).copies == len(Z)
    copies = [pydicom.dcmread(path) for path in sorted((tmp_path / "out" / "copies").iterdir())]
    assert len(
        {ds.SOPInstanceUID for ds in copies} | {ds.SOPInstanceUID for ds in originals}
    ) == 2 * len(Z)
    assert len({ds.SeriesInstanceUID for ds in copies} | {originals[0].SeriesInstanceUID}) == 2
    new = {
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "BodyPartExamined",
        "SourceImageSequence",
        "DerivationDescription",
    }
    new |= {"ContributingEquipmentSequence", "AnatomicRegionSequence"}
    for copy, original in zip(copies, originals, strict=True):  # both head first
        assert copy.BodyPartExamined == "ABDOMEN"
        assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID
        assert copy.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
        assert copy.SourceImageSequence[0].ReferencedSOPInstanceUID == original.SOPInstanceUID
        assert "AnatomicRegionSequence" not in copy and len(copy.ContributingEquipmentSequence) == 2
        kept = {e.keyword for e in original} - new
        assert (
            all(copy[name].value == original[name].value for name in kept) and "PixelData" in kept
        )
        assert {e.keyword for e in copy} - new == kept


def test_report__of_slices_at_one_position_takes_the_one_that_was_scored(tmp_path: Path) -> None:
    made = Made()
    first = made.datasets()
    again = [made.dataset(i, AcquisitionNumber=2) for i in range(3, 7)]
    write(tmp_path / "series", [*again, *first])
    done(tmp_path)
    assert shown(groups(tmp_path)["abdomen"]) == [str(ds.SOPInstanceUID) for ds in first[5:15]]


def test_report__names_the_frames_of_a_multi_frame_file(tmp_path: Path) -> None:
    order = np.random.default_rng(4).permutation(len(Z))
    image = enhanced(order)
    image.StudyInstanceUID = image.StudyInstanceUID or "1.2.3"
    write(tmp_path / "series", [image])
    done(tmp_path)
    (source,) = groups(tmp_path)["abdomen"].source_images
    reference = source.ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert list(reference.ReferencedFrameNumber) == [
        int(np.flatnonzero(order == i)[0]) + 1 for i in range(5, 15)
    ]


def test_report__of_a_stack_names_its_own_frames_of_a_multi_frame_file(tmp_path: Path) -> None:
    """Two phases at the same positions, one after the other."""
    image = enhanced(np.tile(np.arange(len(Z)), 2))
    for k, functional in enumerate(image.PerFrameFunctionalGroupsSequence):
        functional.FrameContentSequence = [pydicom.Dataset()]
        functional.FrameContentSequence[0].TemporalPositionIndex = 1 + k // len(Z)
    write(tmp_path / "series", [image])
    told = annotate(tmp_path / "series", WEIGHTS, REGIONS, tmp_path / "out", copies=True)
    frames, own = [], []
    for report in told.reports:
        read = sr.srread(report.folder / "sr.dcm")
        found = {
            one.tracking_identifier: one for one in read.content.get_image_measurement_groups()
        }
        (source,) = found["abdomen"].source_images
        frames.append([int(k) for k in source.ReferencedSOPSequence[0].ReferencedFrameNumber])
        copy = pydicom.dcmread(report.folder / "copies" / "0001.dcm")
        uids = [ds[f"{what}InstanceUID"].value for ds in (read, copy) for what in ("SOP", "Series")]
        own.append({*uids, *(str(one.tracking_uid) for one in found.values())})
    assert sorted(frames) == [[*range(6, 16)], [*range(26, 36)]]
    assert own[0].isdisjoint(own[1])


def test_report__uids_may_stand_in_the_files_head_only(tmp_path: Path) -> None:
    made = Made().datasets()
    uids = [str(ds.SOPInstanceUID) for ds in made]
    for ds in made:
        ds.SOPInstanceUID = ds.SOPClassUID = ""
    (tmp_path / "series").mkdir()
    for i, ds in enumerate(made):
        pydicom.dcmwrite(tmp_path / "series" / f"{i}", ds, enforce_file_format=False)
    done(tmp_path)
    assert shown(groups(tmp_path)["abdomen"]) == uids[5:15]


def test_report__odd_patient_data_are_told_to_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write(
        tmp_path / "series", Made().datasets(PatientName="Secret Name", PatientBirthDate="Secret")
    )
    capfd.readouterr()
    caplog.clear()  # what writing them has said
    with pytest.raises(ValueError, match="headers do not make a valid report") as refused:
        done(tmp_path)
    told = capfd.readouterr()
    assert "ecret" not in f"{refused.value}{told.out}{told.err}{caplog.text}"
    assert not (tmp_path / "out").exists() and {path.name for path in tmp_path.iterdir()} == {
        "series"
    }


def test_line__a_name_in_place_of_a_body_part_is_not_told(tmp_path: Path) -> None:
    write(tmp_path / "series", Made().datasets(BodyPartExamined="DOE JANE"))
    told = done(tmp_path)
    assert told.stated == "" and "DOE" not in told.line()
    assert "ABDOMEN proposed, no known term in the files" in told.line()


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ({"PatientBirthDate": "Secret"}, "PatientBirthDate"),
        ({"StudyTime": "12:34:56"}, "StudyTime"),
        ({"SpecificCharacterSet": "LATIN SECRET"}, "SpecificCharacterSet"),
        ({"StudyDate": "1.2.2020 Secret", "PatientSex": "Secret"}, "PatientSex, StudyDate"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # pydicom's, of the values
def test_report__names_the_header_at_fault_and_keeps_its_cause(
    header: dict[str, str], named: str, tmp_path: Path
) -> None:
    series = Made().datasets(**header)
    with mock.patch.object(config.settings, "_writing_validation_mode", config.IGNORE):
        write(tmp_path / "series", series)
    with pytest.raises(ValueError, match=rf"not by the standard: {named}\); correct") as refused:
        done(tmp_path)
    assert "ecret" not in str(refused.value) and isinstance(refused.value.__cause__, Exception)


# What is refused, through the command line


def refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], which: Regions = REGIONS, *more: str
) -> str:
    WEIGHTS.save(tmp_path / "w.safetensors")
    which.save(tmp_path / "regions.json")
    there = sorted(tmp_path.rglob("*"))
    given = [
        "--weights",
        str(tmp_path / "w.safetensors"),
        "--regions",
        str(tmp_path / "regions.json"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["annotate", str(tmp_path / "series"), *given, *more]) == 2
    assert sorted(tmp_path.rglob("*")) == there
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_mistakes__no_dicom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "series").mkdir()
    nib.save(nib.Nifti1Image(grid(), CANONICAL), tmp_path / "series" / "ct.nii")
    assert "is not DICOM; give DICOM files, since a report belongs to a study" in refusal(
        tmp_path, capsys
    )


def test_mistakes__an_out_that_exists(
    tmp_path: Path, made: list[pydicom.Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "is not empty, or is a file; give a new --out" in refusal(tmp_path, capsys)


def test_mistakes__a_series_without_a_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "series", Made(study="").datasets())
    assert "files of the series have no StudyInstanceUID, which a report refers to" in refusal(
        tmp_path, capsys
    )


def test_mistakes__other_weights(
    tmp_path: Path, made: list[pydicom.Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "the regions were made with weights" in refusal(
        tmp_path, capsys, regions(weights(seed=1))
    )


def test_mistakes__copies_of_a_part_that_dicom_has_no_term_for(
    tmp_path: Path, made: list[pydicom.Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    odd = dataclasses.replace(REGIONS, parts=("chest", "waist", "pelvis"))
    assert "DICOM has no term for waist; leave out --copies" in refusal(
        tmp_path, capsys, odd, "--copies"
    )


def test_mistakes__copies_that_contradict_what_the_files_say(
    tmp_path: Path, made: list[pydicom.Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "the files say HEAD, the scores ABDOMEN" in refusal(
        tmp_path, capsys, REGIONS, "--copies"
    )
    assert not (tmp_path / "out").exists()


def test_mistakes__nothing_to_report(
    tmp_path: Path, made: list[pydicom.Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    none = dataclasses.replace(
        REGIONS, parts=(), borders=(), landmarks={"sky": MADE.landmarks["sky"]}
    )
    assert "shows none of the parts and landmarks of the regions" in refusal(tmp_path, capsys, none)


def test_mistakes__highdicom_is_not_installed(
    tmp_path: Path,
    made: list[pydicom.Dataset],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert 'annotate needs highdicom: pip install "ubr-pretrain[dicom]"' in refusal(
        tmp_path, capsys
    )


def test_help__says_that_the_report_names_the_patient(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["annotate", "--help"])
    assert "names its patient" in " ".join(capsys.readouterr().out.split())


def test_positions__are_those_of_the_made_body() -> None:
    assert np.diff(Z).tolist() == [-5.0] * 19  # the numbers above rely on it


@pytest.mark.skipif(
    shutil.which("dciodvfy") is None,
    reason="dicom3tools is not installed: its dciodvfy judges files by the standard",
)
def test_files__are_without_error_by_the_standard(tmp_path: Path) -> None:
    write(tmp_path / "series", Made().datasets(StudyDate="20200102", PatientSex="F"))
    done(tmp_path, copies=True)
    before = errors(next((tmp_path / "series").iterdir()))
    assert errors(tmp_path / "out" / "sr.dcm") <= before, (
        "what the report inherits from the study, and nothing else"
    )
    for copy in (tmp_path / "out" / "copies").iterdir():
        assert errors(copy) <= before


def errors(path: Path) -> set[str]:
    """What dciodvfy calls an error."""
    judged = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True)
    assert judged.stdout or judged.stderr, "it names what it has read"
    return {
        line for line in (judged.stdout + judged.stderr).splitlines() if line.startswith("Error")
    }


def test_report__images_are_those_at_the_positions_and_scores_stay_scores(
    tmp_path: Path, made: list[pydicom.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = ((200 + 5.0 * np.arange(20)) / 50).astype(np.float32)
    scores[6:10] += 0.5
    monkeypatch.setattr(scorer, "score_slices", lambda *_: scores)
    level = Level(4.65, None, 1, (), ())
    chosen = Regions(WEIGHTS.sha256(), (), (), {"iliac_crest": level}, axis="position")
    annotate(tmp_path / "series", in_mm(WEIGHTS), chosen, tmp_path / "out", copies=False)
    (group,) = groups(tmp_path).values()
    (image,) = shown(group)
    at = [str(ds.SOPInstanceUID) for ds in made].index(image)
    assert at in (6, 7), "232.5 mm lies between the two"
    assert number(group)[1] == pytest.approx(float(scores[at]), abs=1e-3)


# Several series in one call


@pytest.fixture
def several(tmp_path: Path) -> list[list[pydicom.Dataset]]:
    """Two series that can be reported on, one without a study, and a NIfTI file."""
    found = [Made().datasets(PatientID="SECRET"), Made().datasets(), Made(study="").datasets()]
    for name, datasets in zip("abc", found, strict=True):
        write(tmp_path / "series" / name, datasets)
    nib.save(nib.Nifti1Image(grid(), CANONICAL), tmp_path / "series" / "d.nii")
    return found


def test_several__each_has_a_report_of_its_own_images(
    tmp_path: Path, several: list[list[pydicom.Dataset]]
) -> None:
    sources = [tmp_path / "series" / name for name in ("a", "b")]
    told = annotate(sources, WEIGHTS, REGIONS, tmp_path / "out", copies=True)
    assert not told.left_out and len(told.reports) == 2
    assert {path.name for path in told.folder.iterdir() if path.is_dir()} == {
        one.series for one in told.reports
    }
    for report, datasets in zip(told.reports, several, strict=False):
        assert report.folder == tmp_path / "out" / report.series
        assert len([*(report.folder / "copies").iterdir()]) == report.copies == len(Z)
        written = sr.srread(report.folder / "sr.dcm")
        assert written.StudyInstanceUID == datasets[0].StudyInstanceUID
        (part, *_) = written.content.get_image_measurement_groups()
        assert shown(part) == [str(ds.SOPInstanceUID) for ds in datasets[5:15]]
    assert "2 of 2 series reported on" in told.table()


def test_several__those_that_cannot_be_reported_on_are_left_out(
    tmp_path: Path,
    several: list[list[pydicom.Dataset]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    WEIGHTS.save(tmp_path / "w.safetensors")
    REGIONS.save(tmp_path / "regions.json")
    given = ["--weights", str(tmp_path / "w.safetensors"), "--out", str(tmp_path / "out")]
    given += ["--regions", str(tmp_path / "regions.json")]
    assert main(["annotate", str(tmp_path / "series"), *given]) == 0
    shown = capsys.readouterr().out
    assert "2 of 4 series reported on" in shown and re.search(r"2 +ABDOMEN", shown)
    assert "no StudyInstanceUID, which a report refers to" in shown
    assert "is not DICOM; give DICOM files, since a report belongs to a study" in shown
    assert "SECRET" not in shown and str(tmp_path / "series") not in shown
    assert len([*(tmp_path / "out").glob("*/sr.dcm")]) == 2
    noted = (tmp_path / "out" / "annotated.json").read_text()
    assert "SECRET" not in noted and str(tmp_path) not in noted
    only = [str(tmp_path / "series" / name) for name in ("c", "d.nii")]
    given[3] = str(tmp_path / "other")
    assert main(["annotate", *only, *given]) == 2
    assert "none of 2 series could be reported on" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_mistakes__images_that_share_their_uid(tmp_path: Path) -> None:
    made = Made().datasets()
    for ds in made[:3]:
        ds.SOPInstanceUID = made[0].SOPInstanceUID
    write(tmp_path / "series", made)
    with pytest.raises(ValueError, match="20 images of the series have 18 SOPInstanceUIDs"):
        done(tmp_path)
    assert not (tmp_path / "out").exists()
