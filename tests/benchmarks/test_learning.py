"""Cross-validation on real CT: parts from landmarks, landmarks from scores, folds by patient."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.checkpoints import correlations
from benchmarks.common import folds
from benchmarks.common import rows as result_rows
from benchmarks.common.cohort import ingest_cohort, may_be_released
from benchmarks.common.folds import remaining, untrained
from benchmarks.common.judging import (
    MarkedCurve,
    landmark_error_mm,
    landmark_table,
    part_accuracies,
    summary,
)
from benchmarks.common.landmarks import LANDMARKS
from ubr.pretrain.data.store import SeriesRow
from ubr.pretrain.phantom.files import phantoms
from ubr.pretrain.reading.reference import Reference

STEP_MM = 5.0


def curve(
    marks: dict[str, int],
    scores: NDArray[np.float64] | None = None,
    n: int = 100,
    patient: str = "p",
) -> MarkedCurve:
    z = STEP_MM * np.arange(n)
    row = SeriesRow(
        "k",
        patient,
        "nifti",
        n,
        8,
        8,
        (STEP_MM, 1.0, 1.0),
        z,
        np.zeros((n, 4), np.int16),
        -1000,
        1000,
        (),
        "d",
    )
    return MarkedCurve(row, z / 50 if scores is None else scores, marks)


def test_parts__borders_are_the_landmarks_and_neck_and_thigh_are_left_out() -> None:
    parts = curve(
        {"lung_apex": 10, "liver_dome": 40, "iliac_crest": 70, "femoral_head": 85}
    ).parts()
    assert min(parts) == 10 and max(parts) == 97  # the femoral head and 60 mm
    assert [parts[i] for i in (10, 39, 40, 69, 70)] == [
        "chest",
        "chest",
        "abdomen",
        "abdomen",
        "pelvis",
    ]
    assert set(curve({"iliac_crest": 30}).parts().values()) == {"abdomen", "pelvis"}
    assert set(curve({"liver_dome": 30}).parts().values()) == {"chest", "abdomen"}
    assert curve({"mandible": 3}).parts() == {}


def test_error__is_the_distance_from_the_landmark_to_where_the_curve_passes_its_level() -> None:
    one = curve({"liver_dome": 40})
    assert landmark_error_mm(one, "liver_dome", [40 * STEP_MM / 50]) <= STEP_MM / 2
    assert landmark_error_mm(one, "liver_dome", [52 * STEP_MM / 50]) == pytest.approx(
        60, abs=STEP_MM / 2
    )
    assert landmark_error_mm(one, "liver_dome", [1000.0]) == pytest.approx(
        59 * STEP_MM
    )  # never passed: the last slice
    noisy = one.scores.copy()
    noisy[5] = 90  # one slice that is wrong does not move it
    assert (
        landmark_error_mm(curve({"liver_dome": 40}, noisy), "liver_dome", [40 * STEP_MM / 50])
        <= STEP_MM
    )
    assert (
        landmark_error_mm(one, "lung_apex", [1.0]) == landmark_error_mm(one, "liver_dome", []) == ""
    )


def test_accuracy__thresholds_of_known_pairs_tell_the_parts_of_unseen_ones() -> None:
    marks = {"lung_apex": 5, "liver_dome": 40, "iliac_crest": 70}
    known = [curve(marks), curve(marks, patient="q"), curve({"liver_dome": 40}, n=60)]
    assert part_accuracies(known, [curve(marks), curve({"mandible": 2})]) == [
        pytest.approx(1, abs=0.01),
        None,
    ]
    assert part_accuracies([], [curve(marks)]) == [None]
    moved = curve(marks, curve(marks).scores + 10 * STEP_MM / 50)  # ten slices too far down
    assert part_accuracies(known, [moved])[0] == pytest.approx(1 - 20 / 95, abs=0.01)


def test_summary__trunks_by_themselves_and_slices_weigh_alike() -> None:
    row = {
        "length_mm": "300",
        "r": "0.9",
        "ordered": "0.9",
        "part_accuracy": "0.5",
        "part_slices": "30",
    }
    row |= {f"{name}_error_mm": "" for name in LANDMARKS}
    rows = [
        {**row, "file": "torso/a", "liver_dome_error_mm": "10"},
        {**row, "file": "torso/b", "r": "0.99", "part_accuracy": "1", "part_slices": "10"},
        {**row, "file": "headneck/c", "r": "0.8"},
    ]
    found = summary(rows)
    assert (found["trunk_series"], found["long_trunk_r_below_0.95"], found["head_r_median"]) == (
        2,
        1,
        0.8,
    )
    assert (found["part_accuracy"], found["landmark_error_mm_median"]) == (0.625, 10.0)
    heads = summary(rows[2:])
    assert (
        heads["head_r_median"] == 0.8
        and heads["trunk_r_median"] == heads["part_accuracy"] == heads["long_trunk_r_lowest"] == ""
    )


def test_remaining__folds_that_other_data_or_recipes_have_rows_of_are_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(result_rows, "RESULTS", tmp_path)
    parts = {"development": ["d"], "0": ["a"], "1": ["b"], "2": ["c"]}
    monkeypatch.setattr(folds, "held_out_patients", lambda cohort: parts)
    about = {"config": "c", "data_sha256": "d"}
    result_rows.append(
        "learning",
        [
            {**about, "fold": 1},
            {**about, "data_sha256": "e", "fold": 0},
            {**about, "config": "o", "fold": 0},
        ],
    )
    assert remaining(ANY, None, about, "learning") == [("0", ["a"]), ("2", ["c"])]
    assert (
        "skipped, learning.csv has it: config c, data_sha256 d, fold 1" in capsys.readouterr().out
    )
    assert remaining(ANY, "1", about, "learning") == []
    assert remaining(ANY, "development", about, "learning") == [("development", ["d"])]


def test_checkpoints__a_quality_that_falls_with_the_error_chooses_the_best() -> None:
    errors = {"0": [50.0, 20.0, 30.0], "1": [40.0, 35.0, 10.0]}
    rows = [
        {
            "fold": fold,
            "step": str(i),
            "landmark_error_mm_median": str(error),
            "trunk_line_error_mm": str(2 * error),
            "trunk_r": str(error),
            "trunk_ordered": str(1 / error),
        }
        for fold, by_step in errors.items()
        for i, error in enumerate(by_step)
    ]
    lines = {line.split(":")[0]: line for line in correlations(rows).splitlines()}
    assert "last checkpoint 20.0 mm, best 15.0 mm" in lines["landmarks' error, median of 2 folds"]
    assert "Spearman 1.00" in lines["line_error_mm"] and lines["line_error_mm"].endswith("15.0 mm")
    assert "Spearman 1.00" in lines["ordered"] and lines["ordered"].endswith("15.0 mm")
    assert "Spearman -1.00" in lines["r"] and lines["r"].endswith("45.0 mm")


@pytest.mark.parametrize(
    ("terms", "allowed"),
    [
        ("data LIDC-IDRI: CC BY 3.0 (TCIA collection terms); repo MIT", True),
        ("CORT dataset (GigaScience 2014): CC0; repo BSD-3-Clause", True),
        ("no separate data terms; repo Apache-2.0", True),
        ("no data terms stated; GATE project license is LGPL", False),
        ("public for research; exact license not seen", False),
        ("data from SUBMITTERS", False),
    ],
)
def test_terms__weights_are_given_away_only_of_scans_under_known_licenses(
    terms: str, allowed: bool
) -> None:
    assert may_be_released(terms) is allowed


def test_cohort__patients_of_other_terms_and_collections_judge_but_do_not_train(
    tmp_path: Path,
) -> None:
    phantoms(tmp_path / "ct", n=5, seed=0, form="nifti", size_px=32)
    files = sorted(path.name for path in (tmp_path / "ct").glob("*.nii.gz"))
    terms = ["CC BY 4.0", "MIT", "MIT", "MIT", "unknown"]
    rows = zip(files, ["Open", "Heads", "Heads", "Heads", "Closed"], terms, strict=True)
    text = "".join(f"{f},p{f},{c},{t},chest\n" for f, c, t in rows)
    (tmp_path / "ct/catalog.csv").write_text("file,patient,collection,terms,region\n" + text)
    whole = ingest_cohort(tmp_path / "ct", tmp_path / "work")

    def selected(at_most: str) -> tuple[list[str], str, object]:
        only = ingest_cohort(tmp_path / "ct", tmp_path / "work", licensed=True, at_most=at_most)
        trained = [
            only.labels(series)["collection"]
            for series in only.store.usable()
            if series.patient not in untrained(only, [])
        ]
        return sorted(trained), only.name, only.columns()["data_sha256"]

    without, name, of_none = selected("Head=0")
    assert without == ["Open"] and name == "ct, licensed, without Head"
    two, name, of_two = selected("Head=2")
    assert two == ["Heads", "Heads", "Open"] and name == "ct, licensed, 2 of Head"
    assert selected("Head=3")[0] == selected("Head=9")[0] == ["Heads", "Heads", "Heads", "Open"]
    assert untrained(whole, []) == []
    assert len({of_none, of_two, whole.columns()["data_sha256"]}) == 3
    for wrong in ("Head", "Head=", "=2", "Head=-1"):
        with pytest.raises(SystemExit, match=r"--at-most is COLLECTION=N, got"):
            selected(wrong)
    with pytest.raises(SystemExit, match="no collection of ct begins with 'Feet'"):
        selected("Feet=2")


def test_landmark_table__says_what_positions_change_of_each_landmark() -> None:
    rows = [
        {f"{name}_error_mm{reading}": "" for name in LANDMARKS for reading in ("", "_context")}
        | {"iliac_crest_error_mm": by_score, "iliac_crest_error_mm_context": by_position}
        for by_score, by_position in ((10.0, 3.0), (20.0, 5.0), (60.0, 4.0), ("", ""))
    ]
    head, *lines = landmark_table(rows).splitlines()
    assert head.split() == ["landmark", "n", "score", "q50", "q90", "position", "q50", "q90"]
    assert [line.split() for line in lines] == [["iliac_crest", "3", "20.0", "52.0", "4.0", "4.8"]]


def test_in_context__is_the_line_except_where_a_fault_is_found() -> None:
    rng = np.random.default_rng(0)
    z = STEP_MM * np.arange(100)
    sound = curve({}, z / 50 + rng.normal(0, 0.2, 100))
    reversed_ = curve({}, sound.scores[::-1].copy())
    line, same = (one.in_context(Reference(0.02)) for one in (sound, reversed_))
    assert np.diff(line.scores) == pytest.approx(STEP_MM / 50)
    assert same.scores == pytest.approx(reversed_.scores)
