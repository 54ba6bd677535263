"""The table of patients: which line counts for a file, and tables that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from ubr.pretrain.data.patients import assign_patients, read_patients
from ubr.pretrain.data.volume import Series


def test_patients_by_the_longest_end_of_the_path() -> None:
    found = [
        Series("nifti", (f"/data/{p}",), p, "")
        for p in ("a/x.nii", "b/x.nii", "c/deep/y.nii", "xx.nii")
    ]
    found.append(Series("dicom", ("/data/a/x.nii",), "d", "from the header"))
    named, unmatched = assign_patients(
        found, {"x.nii": "1", "b/x.nii": "2", "c": "3", "z.nii": "4"}
    )
    assert [s.patient for s in named] == ["1", "2", "3", "", "1"] and unmatched == 1


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"name,id\na,b\n", "needs the columns file, patient; this one has name, id"),
        (b"file,patient\na.nii,\n", "line 2 names no patient; give one, or drop the line"),
        (b"file,patient\na.nii,1a.nii,1\n", "line 2 must have 2 columns, like the first line"),
        (b"file,patient\na.nii,1,\n", "line 2 must have 2 columns, like the first line"),
        (
            b"file,patient\nb/a.nii,1\nc,1\n/b\\a.nii,2\n",
            "line 4 names another patient for its file than an earlier line; drop the wrong one",
        ),
        (b"\xff\xfe\x00", "not a readable CSV"),
    ],
)
def test_read_patients__bad_tables(tmp_path: Path, text: bytes, match: str) -> None:
    (tmp_path / "list.csv").write_bytes(text)
    with pytest.raises(ValueError, match=match):
        read_patients(tmp_path / "list.csv")


def test_read_patients__files_of_windows_and_lines_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,patient\ntorso\\a.nii,1\n,2\n/b/,3\nb,3\n")
    assert read_patients(tmp_path / "list.csv") == {"torso/a.nii": "1", "b": "3"}
