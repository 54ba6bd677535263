"""The rebuild of released weights: levels, errors of unseen patients, the card."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.common import released_regions
from benchmarks.common.citations import CITATIONS, citation_of
from benchmarks.common.judging import MarkedCurve
from benchmarks.common.released_card import left_out, levels, results, sources, takers, wrapped
from benchmarks.common.released_regions import BORDERS, Fold, longest, regions_by, with_thigh
from benchmarks.going_on import _scans
from benchmarks.release import COMPUTED, SLICES, expected_scores
from tests.made.networks import kept
from ubr.pretrain.data.store import SeriesRow
from ubr.weights import Regressor

STEP_MM, SCALE = 10.0, 50.0
MARKS = {"mandible": 10, "lung_apex": 20, "liver_dome": 40, "iliac_crest": 60, "femoral_head": 80}


def series(patient: str, slices: int = 100, key: str = "") -> SeriesRow:
    z = STEP_MM * np.arange(slices)
    shape = (STEP_MM, 1.0, 1.0)
    body = np.zeros((slices, 4), np.int16)
    name = key or patient
    return SeriesRow(name, patient, "nifti", slices, 8, 8, shape, z, body, -1000, 1000, (), name)


class World:
    """Nine patients in three folds. A network sees each with an offset of its own, in mm."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **terms: str) -> None:
        self.rows = [series(f"p{i}") for i in range(9)]
        self.labelled = {
            row.key: {"collection": "LIDC-IDRI ", "terms": terms.get(row.key, "CC BY 3.0")}
            for row in self.rows
        }
        self.cohort: Any = SimpleNamespace(
            store=SimpleNamespace(usable=lambda: self.rows),
            marks=lambda row: MARKS,
            labels=lambda row: self.labelled[row.key],
            is_computed=lambda row: False,
        )
        rng = np.random.default_rng(0)
        self.offsets = {
            net: dict(zip([row.key for row in self.rows], rng.uniform(-30, 30, 9), strict=True))
            for net in ("final", 0, 1, 2)
        }
        self.folds: Any = [Fold(net, [f"p{i}" for i in range(net, 9, 3)]) for net in (0, 1, 2)]  # type: ignore[arg-type]
        monkeypatch.setattr(released_regions, "curve_of", self.curve)

    def curve(self, net: Any, cohort: Any, row: SeriesRow) -> MarkedCurve:
        return MarkedCurve(row, (row.z_mm + self.offsets[net][row.key]) / SCALE, MARKS)

    def made(self) -> Any:
        final: Any = "final"
        return regions_by(kept("timm/test_resnet"), final, self.folds, self.cohort, "score")


def test_regions__levels_are_the_final_networks_and_errors_the_folds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    found = world.made().regions
    assert found.parts == ("head", "neck", "chest", "abdomen", "pelvis", "thigh")
    assert found.weights_sha256 == kept("timm/test_resnet").sha256()
    assert [found.borders[i] for i in range(4)] == [
        found.landmarks[name] for name in list(BORDERS.values())[:4]
    ]
    assert "thigh" not in found.landmarks
    dome = found.landmarks["liver_dome"]
    finals = np.array(list(world.offsets["final"].values()))
    assert dome.score == pytest.approx((400 + finals.mean()) / SCALE)
    assert dome.std == pytest.approx(finals.std(ddof=1) / SCALE) and dome.volumes == 9
    thigh = found.borders[4].score
    assert thigh == pytest.approx((860 + finals.mean()) / SCALE)
    expected, without = [], []
    for net in (0, 1, 2):
        own = world.offsets[net]
        level = np.mean([v for k, v in own.items() if int(k[1]) % 3 != net])
        for key in (f"p{i}" for i in range(net, 9, 3)):
            expected.append(abs(level - own[key]))
            without.append(
                (400 + np.mean([f for k, f in world.offsets["final"].items() if k != key])) / SCALE
            )
    assert dome.without == pytest.approx(without)
    # A passage lies midway between two slices.
    assert np.abs(np.array(dome.residuals_mm) - expected).max() <= STEP_MM / 2 + 1e-6
    assert len(found.pairs_mm) == 3 * 6 * len(MARKS)


def test_regions__only_series_that_may_be_given_away_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, p0="public for research", p1="no terms")
    assert world.made().regions.landmarks["liver_dome"].volumes == 7
    text = left_out(world.cohort, world.rows[3:])
    assert text.splitlines() == [
        "Not learned from, because of their terms: LIDC-IDRI (2).",
        "Not learned from, by choice, or too short: LIDC-IDRI (1).",
    ]


def test_regions__a_patient_counts_once_with_the_longest_series() -> None:
    short, long, other = series("a", 50), series("a", 100, "b"), series("c", 70)
    curves = [MarkedCurve(row, row.z_mm, {}) for row in (long, short, other)]
    assert {curve.series.key for curve in longest(curves)} == {"b", "c"}


def test_thigh__begins_60_mm_below_the_head_if_the_series_shows_it() -> None:
    whole = with_thigh(MarkedCurve(series("a"), np.zeros(100), MARKS))
    assert whole.marks["thigh"] == 86
    cut = with_thigh(MarkedCurve(series("a", 86), np.zeros(86), MARKS))
    assert "thigh" not in cut.marks


def test_card__says_who_is_cited_and_what_intervals_can_cover(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    (line,) = sources(world.cohort, world.rows).splitlines()[2:]
    assert line == f"| LIDC-IDRI | 9 | 9 | CC BY 3.0 | {CITATIONS['LIDC-IDRI']} |"
    assert citation_of("nowhere") == "nowhere"
    shown = levels(world.made())
    assert "| liver_dome | 9 |" in shown and "9 of 10: 90 %" in shown
    assert "Not recorded" in results([])
    told = takers(kept("timm/test_resnet"))
    assert "ubr-detect train" in told and "not torchvision's own" in told


def test_card__prose_is_wrapped_and_tables_are_not() -> None:
    text = f"# {'h ' * 60}\n{'word ' * 40}\n* {'item ' * 30}\n* b\n\n| {'cell ' * 40}|\n"
    lines = wrapped(text).splitlines()
    assert max(map(len, lines[1:-2])) <= 100 and lines[-1] == text.splitlines()[-1]
    assert [line[:6] for line in lines if line.startswith(("* ", "  "))] == [
        "* item",
        "  item",
        "* b",
    ]
    assert " ".join(wrapped(text).split()) == " ".join(text.split())


def test_scores__of_computed_scans_as_the_test_of_the_file_reads_them() -> None:
    regressor = Regressor.from_weights(kept("timm/test_resnet")).eval()
    rows = expected_scores(regressor).splitlines()
    assert rows[0] == "seed,slice,score" and len(rows) == 1 + SLICES * len(COMPUTED)
    assert rows[1].startswith(f"{COMPUTED[0]},0,")


def test_going_on__scans_are_a_number_or_all() -> None:
    assert (_scans("5"), _scans("all")) == (5, 0)
