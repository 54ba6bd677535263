"""Faults that are put into series, and how far from the truth they leave scores and positions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.common.fault_rows import counted, faulty
from benchmarks.common.series_faults import FAULTS, ComputedSeries
from benchmarks.faults import _placed
from ubr.pretrain.reading.faults import findings
from ubr.pretrain.reading.finding import Finding
from ubr.pretrain.reading.reference import Reference

MOVING = ("reversed", "gap", "repeated", "glued", "swapped", "another level")


def body(top: float) -> ComputedSeries:
    """A series whose slices hold the level that they show, in every pixel."""
    z = 4.0 * np.arange(160)
    level = z + top
    hu = np.broadcast_to(level[:, None, None], (160, 2, 2)).astype(np.int16)
    return ComputedSeries(hu, z, 1.0, level)


@pytest.mark.parametrize("fault", [name for name in FAULTS if any(k in str(name) for k in MOVING)])
def test_faults__the_level_is_that_of_the_slices_that_are_there(fault: tuple[str, str]) -> None:
    rng = np.random.default_rng(1)
    made = FAULTS[fault](body(100), body(420), rng) or FAULTS[fault](body(420), body(20), rng)
    assert made is not None and len(made.z_mm) == len(made.level) == len(made.hu)
    off = np.abs(made.hu[:, 0, 0] - made.level)
    assert (off[: made.first] <= 0).all() and np.median(off) == 0
    assert off.max() < 100, "noise alone"
    assert np.array_equal(body(100).every_second().level, body(100).level[::2])


def test_placed__counts_the_distance_from_the_truth_by_scores_and_by_positions() -> None:
    sound, gap = body(100), body(100).take(np.delete(np.arange(160), np.arange(60, 90)))
    scans = [("none", "whole", sound), ("gap", "120 mm", gap), ("out_of_range", "air", sound)]
    rng = np.random.default_rng(0)
    curves = [
        ((one.level + 700 + rng.normal(0, 20, len(one.level))) / 50).astype(np.float32)
        for *_, one in scans
    ]
    found = [
        findings(curve, one.z_mm, reference=Reference(0.02))
        for curve, (*_, one) in zip(curves, scans, strict=True)
    ]
    assert [[f.kind for f in those] for those in found[:2]] == [[], ["gap"]]
    placed = _placed(scans, curves, found)
    assert set(placed) == {("none", "whole"), ("gap", "120 mm")}
    for name, one_line in ((("none", "whole"), 1.0), (("gap", "120 mm"), 0.0)):
        assert placed[name]["score_mm"] == pytest.approx(16, abs=10)
        assert placed[name]["one_line"] == one_line
    assert placed["gap", "120 mm"]["position_mm"] < 40, "and not half of 120"


def test_counted__shares_by_kind_and_distance_to_where_the_fault_begins() -> None:
    gap = faulty([body(100), body(420)], 2, np.random.default_rng(0), [("gap", "80 mm missing")])
    assert [names[:2] for names in gap] == [("gap", "80 mm missing")] * 2
    scans = [("none", "whole", body(100)), *gap]
    late = Finding("gap", (gap[0][2].first or 0) + 5, (gap[0][2].first or 0) + 6, 0.9, "late")
    elsewhere = Finding("gap", 3, 4, 0.9, "elsewhere")
    sound, missing = counted(scans, [(elsewhere,), (late,), ()])
    assert (sound["suspected"], sound["recall"]) == (1.0, "")
    assert (missing["n"], missing["suspected"], missing["recall"]) == (2, 0.5, 0.5)
    assert (missing["precision"], missing["q50_mm"]) == (0.5, 20.0)


def test_glued__slices_of_another_size_are_not_joined() -> None:
    glue = FAULTS["glued", "100 to 300 mm back"]
    upper, lower = body(100), body(20)
    assert glue(upper, lower, np.random.default_rng(0)) is not None
    lower = dataclasses.replace(lower, hu=lower.hu[:, :, :1])
    assert glue(upper, lower, np.random.default_rng(0)) is None
