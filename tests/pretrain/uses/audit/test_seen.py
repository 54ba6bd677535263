"""Parts seen on curves whose truth is known, and their agreement with what is stated."""

from __future__ import annotations

import numpy as np
import pytest

from ubr.pretrain.reading.parts import PARTS
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.uses.audit.seen import PartSeen, agreement, parts_seen, shown
from ubr.pretrain.uses.audit.stated import Stated

BORDERS = {"mandible": 200.0, "apex": 260.0, "dome": 450.0, "crest": 700.0, "ischium": 900.0}
"""mm below the vertex. Scores are a hundredth of that."""


def regions(parts: tuple[str, ...] = PARTS) -> Regions:
    first = PARTS.index(parts[0])
    scores = [mm / 100 for mm in BORDERS.values()][first : first + len(parts) - 1]
    levels = tuple(Level(score, 0.1, 5, (score,) * 5, (10.0,) * 5) for score in scores)
    return Regions("a" * 64, parts, levels, {})


def scan(top: float, bottom: float, step: float = 5.0) -> tuple[PartSeen, ...]:
    z = np.arange(0, bottom - top + 1e-6, step)
    return parts_seen((z + top) / 100, z, regions(), 0.01)


def says(top: float, bottom: float, *stated: str) -> str:
    kind = "part" if stated else ""
    found = agreement(Stated(stated, kind), scan(top, bottom), PARTS, bottom - top)
    return found.verdict


def test_parts_seen__lengths_and_ends_are_those_of_the_body() -> None:
    neck, chest, abdomen = scan(230, 600)
    assert [one.part for one in (neck, chest, abdomen)] == ["neck", "chest", "abdomen"]
    assert [one.mm for one in (neck, chest, abdomen)] == pytest.approx([30, 190, 150], abs=5)
    assert [one.half_mm for one in (neck, chest, abdomen)] == pytest.approx([30, 95, 125])
    assert (neck.top, neck.bottom) == ("no", "yes")
    assert (chest.top, chest.bottom) == ("yes", "yes")
    assert (abdomen.top, abdomen.bottom) == ("yes", "no")


def test_parts_seen__an_end_near_that_of_the_scan_is_unsure() -> None:
    for mm, said in ((20, "yes"), (4, "unsure"), (-4, "unsure"), (-20, "no")):
        *_, last = scan(470, 700 + mm)
        abdomen = next(one for one in scan(470, 700 + mm) if one.part == "abdomen")
        assert abdomen.bottom == said and abdomen.top == "no", (mm, last)


@pytest.mark.parametrize(
    ("std", "residuals", "unsure_mm"),
    [
        (0.001, (), 7),  # two volumes that agree by chance, and give no residual
        (0.2, (), 12),  # 20 mm
        (None, (), 12),  # a single volume
        (0.001, (0.5, 0.2), 7),
        (0.001, (20.0, 20.0), 12),
    ],
)
def test_parts_seen__an_end_is_no_surer_than_scores_are(
    std: float | None, residuals: tuple[float, ...], unsure_mm: float
) -> None:
    """Ends of a part are said to be sure 1.4 errors from the scan's, but never within 8 mm."""
    level = Level(4.5, std, 3, (4.5,) * len(residuals), residuals)
    found = Regions("a" * 64, ("chest", "abdomen"), (level,), {})
    z = np.arange(0, 100.5, 1.0)
    for mm, said in ((unsure_mm, "unsure"), (-unsure_mm, "unsure"), (25, "yes"), (-25, "no")):
        seen = parts_seen((z + 450 - 100 + mm) / 100, z, found, 0.01)
        assert seen[0].bottom == said, mm


def test_parts_seen__the_outermost_ends_are_not_known() -> None:
    head, *_, thigh = scan(50, 1000)
    assert head.top == thigh.bottom == "" and head.bottom == thigh.top == "yes"


def test_shown__a_stray_slice_is_no_part_unless_the_series_is_short() -> None:
    assert [one.part for one in shown(scan(440, 690), 250)] == ["abdomen"]
    assert [one.part for one in shown(scan(560, 580), 20)] == ["abdomen"]


@pytest.mark.parametrize(
    ("top", "bottom", "stated", "verdict"),
    [
        (260, 560, ["chest"], "yes"),  # chest and the upper 110 mm of the abdomen
        (260, 620, ["chest"], "partly"),
        (260, 620, ["chest", "abdomen"], "yes"),
        (430, 720, ["abdomen"], "yes"),
        (430, 930, ["abdomen"], "partly"),
        (430, 930, ["abdomen", "pelvis"], "yes"),
        (260, 560, ["pelvis"], "no"),
        (0, 190, ["abdomen"], "no"),
        (0, 190, ["head"], "yes"),
        (0, 190, ["head", "neck"], "partly"),
        (230, 560, ["chest"], "yes"),  # 30 mm of the neck are its half, and no more than a margin
        (260, 900, list(PARTS), "yes"),  # "whole body" is at least the trunk
        (260, 700, list(PARTS), "partly"),
        (560, 640, ["abdomen"], "yes"),  # short, and nothing else
    ],
)
def test_agreement__of_known_ranges(
    top: float, bottom: float, stated: list[str], verdict: str
) -> None:
    assert says(top, bottom, *stated) == verdict


def test_agreement__without_a_part_to_compare() -> None:
    seen = scan(260, 560)
    assert agreement(Stated(), seen, PARTS, 300).verdict == "not stated"
    assert agreement(Stated((), "elsewhere"), seen, PARTS, 300).verdict == "unknown"
    head = Stated(("head",), "part")
    assert agreement(head, seen, ("chest", "abdomen", "pelvis"), 300).verdict == "unknown"


def test_agreement__is_less_sure_the_nearer_a_limit_is() -> None:
    stated = Stated(("chest",), "part")
    sure, near = (
        agreement(stated, scan(260, bottom), PARTS, bottom - 260).confidence
        for bottom in (500, 570)
    )
    assert sure is not None and near is not None
    assert 0.5 <= near < 0.8 < sure
