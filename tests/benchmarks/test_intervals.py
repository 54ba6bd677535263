"""Figures of the documentation follow from rows, with the intervals that rows give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks import equal_starts, intervals
from benchmarks.common.cohort import patient_of
from benchmarks.common.comparison import differences
from benchmarks.common.intervals import wilson
from benchmarks.common.rows import read

DOCS = Path(intervals.__file__).parents[1] / "docs" / "benchmarks"


def test_tables__stand_in_the_documentation_as_the_rows_give_them() -> None:
    text = (DOCS / "results.md").read_text()
    for line in [line for table in intervals.TABLES for line in table()]:
        assert line in text, "run python -m benchmarks.intervals and copy its tables"


@pytest.mark.parametrize(("hits", "tests"), [(4, 320), (15, 17), (17, 17), (0, 9)])
def test_wilson__is_scipys(hits: int, tests: int) -> None:
    other = binomtest(hits, tests).proportion_ci(method="wilson")
    assert wilson(hits, tests) == pytest.approx((hits / tests, *other), abs=1e-6)


def test_interval__series_of_a_patient_are_drawn_together() -> None:
    """Ten scans of one patient and one of another: either can be drawn alone."""
    rows = [{"file": f"torso/elastix_3DCT_lung_{i}.nii.gz", "r": "0.9"} for i in range(10)]
    rows.append({"file": "torso/other.nii.gz", "r": "0.5"})
    found = intervals.by_patients([rows], lambda r: float(np.mean([float(x["r"]) for x in r])))
    assert found == (pytest.approx(9.5 / 11), 0.5, pytest.approx(0.9))


def test_interval__is_as_wide_as_that_of_the_normal_distribution() -> None:
    """Of a mean of many patients, whose interval is known without drawing."""
    r = np.random.default_rng(0).normal(0.9, 0.05, 400)
    rows = [{"file": f"{i}", "r": f"{value}"} for i, value in enumerate(r)]
    value, low, high = intervals.by_patients(
        [rows], lambda drawn: float(np.mean([float(x["r"]) for x in drawn]))
    )
    half = 1.96 * r.std(ddof=1) / np.sqrt(len(r))
    assert (value, low, high) == pytest.approx((r.mean(), value - half, value + half), abs=5e-4)


def test_patients__of_the_rows_are_told_by_their_files() -> None:
    whole = [row for row in read("learning") if row["config"] == "bd81f0a2310f"]
    files = {row["file"] for row in whole}
    assert len(files) == 132 and len({patient_of(file) for file in files}) == 125
    assert patient_of("torso/cmb_crc_01068_sag.nii.gz").startswith("torso/colon_CMB-CRC")
    assert patient_of("dicom/lungdx_chest_8mm") == "torso/dashvtk_Lung_Dx-A0002_chest_8mm.nii.gz"


def test_landmarks__misses_are_counted_over_landmarks() -> None:
    rows = [row for row in read("learning") if row["config"] == "bd81f0a2310f"]
    found = intervals.errors([row for row in rows if not row["file"].startswith("headneck")])
    assert (len(found), int((found > 20).sum())) == (46, 12)


def test_equal_starts__rows_are_as_those_that_are_compared() -> None:
    rows = equal_starts.equal_starts(np.random.default_rng(0), 8, 5, 0.0)
    (one,) = differences(rows)
    assert (one.patients, one.seeds, one.a, one.b) == (8, 5, "random", "imagenet")
    assert abs(one.value) < 0.1
    recalls = [int(row["found"]) / int(row["lesions"]) for row in rows]
    assert np.mean(recalls) == pytest.approx(0.45, abs=0.1)
