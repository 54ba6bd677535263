"""Positions on a body axis from all slices of a series, and where there is no line for them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ubr.pretrain.reading.context import on_axis, positions
from ubr.pretrain.reading.faults import findings
from ubr.pretrain.reading.finding import KINDS, Finding
from ubr.pretrain.reading.reference import Reference

Z = np.arange(120) * 5.0
TRUE = Z + 300
"""Where the slices of a sound series lie, in mm."""


def scores(body_mm: NDArray[np.float64], seed: int = 0) -> NDArray[np.float32]:
    """What a network sees of slices at these places: neighbours err alike, by some 15 mm."""
    errors = np.convolve(np.random.default_rng(seed).normal(0, 50, len(body_mm)), np.ones(9) / 9)
    return ((body_mm + errors[4:-4]) / 50).astype(np.float32)


def found(curve: NDArray[np.float32], z_mm: NDArray[np.float64] = Z) -> tuple[Finding, ...]:
    return findings(curve, z_mm, reference=Reference(0.02))


def test_positions__follow_geometry_and_take_only_their_offset_from_the_scores() -> None:
    z = np.array([0.0, 5, 10, 15, 40, 45, 50])  # slices that the header knows to be missing
    curve = (z + 300) / 50 + np.array([0.1, -0.1, 0, 0.2, -0.2, 0, 0])
    mm, context = positions(curve, z, ())
    assert mm == pytest.approx(z + 300) and context == "series"
    curve[1] = 90  # one slice that is wrong does not move it
    assert positions(curve, z, ()).mm == pytest.approx(z + 300)
    assert positions(np.float32([3.0]), np.zeros(1), ()).mm.tolist() == [150.0]


def test_positions__err_less_than_scores_in_a_sound_series() -> None:
    errors = [
        [np.abs(mm - TRUE).mean() for mm in (50 * curve, positions(curve, Z, found(curve)).mm)]
        for curve in (scores(TRUE, seed) for seed in range(10))
    ]
    by_score, by_series = np.mean(errors, 0)
    assert by_score > 10 and by_series < by_score / 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (np.delete(TRUE, np.arange(50, 80)), "gap"),  # 150 mm that the header knows nothing of
        (np.concatenate([TRUE[60:], TRUE[:60]]), "glued"),  # the halves have changed places
        (np.concatenate([TRUE[:50], TRUE[50:] + 400]), "glued"),  # another's legs
    ],
)
def test_positions__a_leap_stays_between_two_lines(body: NDArray[np.float64], kind: str) -> None:
    curve, z = scores(body), Z[: len(body)]
    faults = found(curve, z)
    assert [fault.kind for fault in faults] == [kind]
    mm, context = positions(curve, z, faults)
    (leap,) = np.flatnonzero(np.abs(np.diff(mm) - 5) > 1e-6)
    assert context == "pieces" and leap == np.abs(np.diff(body)).argmax()
    assert np.diff(mm)[leap] == pytest.approx(np.diff(body)[leap], abs=25)
    assert np.abs(mm - body).mean() < np.abs(50 * curve - body).mean()


def test_positions__slices_that_leave_the_line_keep_their_scores() -> None:
    inside = TRUE.copy()
    inside[60:66] -= 290  # another's slices
    moved = np.concatenate([TRUE[:40], TRUE[58:76], TRUE[40:58], TRUE[76:]])
    for body, kind in ((inside, "abnormal"), (moved, "swapped")):
        curve = scores(body)
        faults = found(curve)
        assert {fault.kind for fault in faults} == {kind}
        mm, context = positions(curve, Z, faults)
        left = np.zeros(len(Z), bool)
        for fault in faults:
            left[fault.first : fault.last + 1] = True
        assert context == "pieces" and mm[left] == pytest.approx(50 * curve[left])
        assert np.ptp((mm - Z)[~left]) == pytest.approx(0) and not left[[0, -1]].any()
        assert np.abs(mm - body)[left].max() < 60, "not smoothed away"


TWICE = scores(TRUE)[[*range(60), *range(40, 100)]]


@pytest.mark.parametrize(
    ("curve", "kind"),
    [
        (scores(TRUE[::-1]), "reversed"),
        (scores(300 + Z * 1.6), "spacing"),  # another step than the header says
        (TWICE, "repeated"),
        (scores(TRUE) * 0 + 6, "out_of_range"),
    ],
)
def test_positions__are_the_scores_own_where_no_line_is_right(
    curve: NDArray[np.float32], kind: str
) -> None:
    faults = found(curve)
    assert {fault.kind for fault in faults} == {kind}
    mm, context = positions(curve, Z, faults)
    assert context == "slices" and mm == pytest.approx(50 * curve)


@pytest.mark.parametrize("kind", KINDS)
def test_positions__each_kind_of_finding_is_respected(kind: str) -> None:
    """Of two slices in the middle of a sound series: what becomes of the line."""
    curve = scores(TRUE)
    mm, context = positions(curve, Z, (Finding(kind, 59, 60, 0.9, ""),))
    if kind in ("reversed", "repeated", "out_of_range"):
        assert context == "slices" and mm == pytest.approx(50 * curve)
    else:
        assert context == "pieces"
        breaks = np.flatnonzero(np.abs(np.diff(mm) - 5) > 1e-6).tolist()
        assert breaks == ([59] if kind in ("gap", "glued", "spacing") else [58, 59, 60])


def test_positions__another_step_in_a_stretch_has_a_line_as_far_as_it_fits() -> None:
    z = np.arange(160) * 4.0
    for slower, expected in ((0.8, "series"), (0.3, "slices")):
        # The second half rises slowly: weights that know it badly, or a header that is wrong.
        body = np.concatenate([z[:80], z[80] + slower * (z[80:] - z[80])]) + 300
        mm, context = positions(scores(body), z, (Finding("spacing", 80, 159, 0.9, ""),))
        assert context == expected
        assert (np.ptp(mm - z) < 1e-6) == (expected == "series")
    whole = (Finding("spacing", 2, 159, 0.9, ""),)
    assert positions(scores(z + 300), z, whole).context == "slices"


@pytest.mark.parametrize(("length", "limit"), [(300.0, 75.0), (1200.0, 180.0)])
def test_positions__scores_too_far_from_the_line_have_none(length: float, limit: float) -> None:
    """Nine of ten of evenly spread distances up to d are within 0.9 d."""
    z = np.linspace(0.0, length, 601)
    for factor, expected in ((0.97, "series"), (1.03, "slices")):
        furthest = factor * limit / 0.9
        for slope in (1 + 2 * furthest / length, 1 - 2 * furthest / length):
            assert positions((slope * z + 300) / 50, z, ()).context == expected


def test_positions__need_places_that_increase() -> None:
    z = np.array([0.0, 5, 5, 10])
    mm, context = positions(np.float32([6.0, 6.1, 6.1, 6.2]), z, found(np.float32([6, 7, 7, 8]), z))
    assert context == "slices" and mm == pytest.approx([300, 305, 305, 310])


def test_on_axis__reads_scores_or_positions_in_units_of_the_score() -> None:
    curve = scores(TRUE)
    assert on_axis("score", curve, TRUE) is curve
    assert on_axis("position", curve, TRUE) == pytest.approx(TRUE / 50)
    with pytest.raises(ValueError, match="these scores have no positions"):
        on_axis("position", curve, None)
