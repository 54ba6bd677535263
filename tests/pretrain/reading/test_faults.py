"""Each fault is found where it was made, and none in sound curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ubr.pretrain.reading.faults import findings
from ubr.pretrain.reading.finding import KINDS, Finding
from ubr.pretrain.reading.line import fit_line
from ubr.pretrain.reading.reference import Reference, reference_of

from .curves import REFERENCE, SLOPE, STEP, sound, told


@pytest.mark.parametrize("step", [1.0, 4.0, 8.0])
@pytest.mark.parametrize("seed", range(10))
def test_findings__none_in_sound_curves_of_any_slice_distance(seed: int, step: float) -> None:
    assert told(*sound(seed, n=round(480 / step), step=step)) == []


def test_findings__an_upside_down_series_is_reversed() -> None:
    scores, z = sound()
    assert told(scores[::-1], z) == [("reversed", 0, 119)]


@pytest.mark.parametrize("factor", [0.5, 2])
def test_findings__spacing_that_the_slope_contradicts(factor: float) -> None:
    scores, z = sound()
    (found,) = findings(scores, z * factor, reference=REFERENCE)
    assert (found.kind, found.first, found.last) == ("spacing", 0, 119)
    assert f"{STEP * factor:.2f}" in found.reason  # what the header says


def test_findings__spacing_that_changes_within_the_series() -> None:
    scores, z = sound()
    changed = np.where(np.arange(120) < 60, z, z[60] + 2.5 * (z - z[60]))
    ((kind, first, last),) = told(scores, changed)
    assert (kind, last) == ("spacing", 119)
    assert abs(first - 60) <= 8


def test_findings__a_leap_of_z_that_the_body_does_not_make_is_spacing() -> None:
    scores, z = sound()
    assert told(scores, z + 80.0 * (np.arange(120) >= 50)) == [("spacing", 49, 50)]


@pytest.mark.parametrize("rate", [1.0, 1.1])
def test_findings__a_leap_of_z_is_stated_in_the_mm_of_the_file(rate: float) -> None:
    scores, z = sound()
    z = z / rate + 80.0 * (np.arange(120) >= 50)
    (found,) = findings(scores, z, reference=REFERENCE)
    assert found.reason.startswith(f"positions jump by {STEP / rate + 80:.1f} mm where the score ")


def test_findings__a_leap_of_z_over_slices_that_are_missing_is_sound() -> None:
    scores, z = sound()
    kept = np.delete(np.arange(120), np.arange(50, 70))
    assert told(scores[kept], z[kept]) == []


@pytest.mark.parametrize("missing", [12, 20])
def test_findings__slices_missing_under_an_even_z_are_a_gap(missing: int) -> None:
    scores, z = sound()
    kept = np.delete(np.arange(120), np.arange(50, 50 + missing))
    assert told(scores[kept], z[: len(kept)]) == [("gap", 49, 50)]


@pytest.mark.parametrize("length", [2, 5, 20])
def test_findings__the_same_slices_twice_are_repeated(length: int) -> None:
    scores, _ = sound()
    twice = np.concatenate([scores[: 40 + length], scores[40:]])
    assert told(twice, np.arange(len(twice)) * STEP) == [("repeated", 40 + length, 39 + 2 * length)]


def test_findings__slices_scanned_again_are_repeated() -> None:
    scores, _ = sound()
    twice = np.concatenate([scores[:60], scores[40:]])
    twice[60:80] += SLOPE * np.random.default_rng(1).normal(0, 1, 20)
    ((kind, first, last),) = told(twice, np.arange(140) * STEP)
    assert (kind, first) == ("repeated", 60)
    assert abs(last - 79) <= 3


@pytest.mark.parametrize("leap_mm", [-500.0, -150.0, 400.0])
def test_findings__two_bodies_in_one_series_are_glued(leap_mm: float) -> None:
    upper, _ = sound(1, n=60, start_mm=300)
    lower, _ = sound(2, n=60, start_mm=300 + 240 + leap_mm)
    assert told(np.concatenate([upper, lower]), np.arange(120) * STEP) == [("glued", 59, 60)]


def test_findings__two_slices_in_each_others_place_are_swapped() -> None:
    scores, z = sound()
    order = np.arange(120)
    order[[40, 70]] = 70, 40
    assert told(scores[order], z) == [("swapped", 40, 70)]


def test_findings__two_stretches_in_each_others_place_are_swapped() -> None:
    scores, z = sound()
    order = np.r_[0:40, 65:90, 40:65, 90:120]
    assert told(scores[order], z) == [("swapped", 40, 89)]


@pytest.mark.parametrize(
    ("first", "last", "off_mm"), [(50, 50, 120), (50, 57, -120), (114, 119, 300), (0, 3, -300)]
)
def test_findings__slices_that_leave_the_line_are_abnormal_at_the_ends_if_they_leave_it_far(
    first: int, last: int, off_mm: float
) -> None:
    scores, z = sound()
    scores[first : last + 1] += SLOPE * off_mm
    assert told(scores, z) == [("abnormal", first, last)]


@pytest.mark.parametrize("step", [60.0, 100.0])
def test_findings__none_where_slices_are_further_apart_than_neighbourhoods_reach(
    step: float,
) -> None:
    scores, z = sound(n=9, step=step)
    assert told(scores, z) == []
    assert told(scores[::-1], z) == [("reversed", 0, 8)]


def test_findings__noise_without_position_is_out_of_range() -> None:
    scores = np.random.default_rng(0).normal(3, 0.3, 120)
    assert told(scores, np.arange(120) * STEP) == [("out_of_range", 0, 119)]


@pytest.mark.parametrize(("part", "border"), [(slice(0, 45), 44), (slice(75, 120), 75)])
def test_findings__a_part_in_which_scores_hardly_rise_is_out_of_range(
    part: slice, border: int
) -> None:
    scores, z = sound()
    scores[part] = scores[border] + 0.1 * (scores[part] - scores[border])
    ((kind, first, last),) = told(scores, z)
    assert kind == "out_of_range"
    assert abs(first - part.start) <= 8
    assert abs(last - (part.stop - 1)) <= 8


def test_findings__a_flatter_part_where_the_models_scale_ends_is_sound() -> None:
    scores, z = sound()
    scores[80:] = scores[80] + 0.3 * (scores[80:] - scores[80])
    assert [kind for kind, *_ in told(scores, z)] == ["spacing"]
    assert findings(scores, z, reference=replace(REFERENCE, high=float(scores.max()))) == ()


@pytest.mark.parametrize("end", [slice(0, 4), slice(116, 120)])
def test_findings__empty_slices_of_one_score_at_an_end_are_not_repeated(end: slice) -> None:
    scores, z = sound()
    scores[end] = scores[end][1]
    assert told(scores, z) == []


def test_findings__slices_of_a_fine_series_that_happen_to_score_alike_are_not_repeated() -> None:
    assert told(*sound(n=2000, step=0.3)) == []


def test_findings__a_line_where_no_body_has_scores_is_out_of_range() -> None:
    scores, z = sound()
    assert told(scores + 40, z) == [("out_of_range", 0, 119)]


def test_findings__constant_scores_are_out_of_range_whatever_the_reference() -> None:
    for reference in (REFERENCE, Reference(float("nan"))):
        (found,) = findings(np.full(30, 2.0), np.arange(30.0), reference=reference)
        assert (found.kind, found.first, found.last, found.confidence) == (
            "out_of_range",
            0,
            29,
            1.0,
        )


def test_findings__slices_without_a_score_are_named_and_the_others_judged() -> None:
    scores, z = sound()
    scores[50:60] = np.nan
    assert told(scores, z) == [("out_of_range", 50, 59)]
    kept = np.delete(np.arange(120), np.arange(80, 100))
    assert told(scores[kept], z[:100]) == [("out_of_range", 50, 59), ("gap", 79, 80)]
    assert told(np.full(3, np.nan), z[:3]) == [("out_of_range", 0, 2)]


def test_findings__z_that_does_not_increase_is_named_and_nothing_else() -> None:
    scores, z = sound()
    z[50] = z[49]
    assert told(scores, z) == [("spacing", 49, 50)]
    z[50] = np.nan
    assert told(scores, z) == [("spacing", 49, 51)]


def test_findings__grow_in_confidence_with_the_fault() -> None:
    scores, z = sound()
    small, large = ((np.arange(120) >= 50) * leap for leap in (60, 150))
    (a,), (b,) = (
        findings(scores + SLOPE * leap, z, reference=REFERENCE) for leap in (small, large)
    )
    assert a.kind == b.kind == "gap"
    assert 0.5 < a.confidence < b.confidence < 1


@pytest.mark.parametrize("n", [0, 1, 2])
def test_findings__none_for_fewer_than_three_slices(n: int) -> None:
    assert told(np.arange(n) * 9.0, np.arange(n) * 1.0) == []


def test_findings__lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        findings(np.zeros(3), np.zeros(4), reference=REFERENCE)


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(
        st.one_of(
            st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
            st.sampled_from([0.0, 1.0, float("nan"), float("inf")]),
        ),
        min_size=0,
        max_size=40,
    ),
    step=st.sampled_from([0.0, 0.01, 1.0, 8.0, 500.0]),
    known=st.booleans(),
)
def test_findings__any_numbers_give_findings_within_the_series(
    scores: list[float], step: float, known: bool
) -> None:
    s, z = np.array(scores, float), np.arange(len(scores)) * step
    for found in findings(s, z, reference=REFERENCE if known else reference_of([(s, z)])):
        assert isinstance(found, Finding)
        assert found.kind in KINDS
        assert 0 <= found.first <= found.last < len(scores)
        assert 0 <= found.confidence <= 1
    fit_line(s, z)


def test_findings__scores_that_differ_by_rounding_only_are_out_of_range() -> None:
    """The same slice in two batches can score a hair apart."""
    scores = np.where(np.arange(67) < 64, 1.0, 1.0 + 1e-7)
    (one,) = findings(scores, 3.0 * np.arange(67), reference=Reference(0.02))
    assert (one.kind, one.first, one.last) == ("out_of_range", 0, 66)
