"""Whether slices are missing: told by positions, files, numbers and the curve."""

from __future__ import annotations

import numpy as np
import pytest

from ubr.pretrain.data.dicom import Header, Slice
from ubr.pretrain.reading.finding import Finding
from ubr.pretrain.uses.audit.completeness import begins_at, completeness, numbered

EVEN = np.arange(40) * 2.5


def without(*gone: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    z = np.delete(EVEN, gone)
    return z - z[0]


def test_completeness__even_positions_are_complete() -> None:
    found = completeness("dicom", EVEN, (), (), begins_at=1)
    assert (found.verdict, found.missing, found.places) == ("complete", 0, "")


@pytest.mark.parametrize(
    ("gone", "missing", "places"),
    [
        ((20,), 1, "1 after 19"),
        ((10, 11, 12), 3, "3 after 9"),
        ((5, 30, 31), 3, "1 after 4; 2 after 28"),
    ],
)
def test_completeness__gaps_are_counted_and_placed(
    gone: tuple[int, ...], missing: int, places: str
) -> None:
    found = completeness("dicom", without(*gone), (), ())
    assert (found.verdict, found.missing, found.places) == ("missing", missing, places)


def test_completeness__a_step_just_below_a_gap_is_none() -> None:
    z = np.concatenate([EVEN[:20], EVEN[20:] + 0.49 * 2.5])
    assert completeness("dicom", z, (), ()).verdict == "complete"
    z = np.concatenate([EVEN[:20], EVEN[20:] + 0.51 * 2.5])
    assert completeness("dicom", z, (), ()).verdict == "missing"


def test_completeness__unread_and_lacking_files_are_missing_slices() -> None:
    warnings = ("unreadable: 2 of 42 files (truncated)",)
    assert completeness("dicom", EVEN, warnings, ()).missing == 2
    found = completeness("dicom", EVEN, ("gap: 5 of 6 files of the object",), ())
    assert (found.verdict, found.missing) == ("missing", 1)
    found = completeness("dicom", EVEN, (), (), images=45)
    assert (found.verdict, found.missing) == ("missing", 5)


def test_completeness__slices_at_one_position_are_images_too() -> None:
    again = ("duplicate: 5 of 45 slices",)
    assert completeness("dicom", EVEN, again, (), images=45).verdict == "complete"
    found = completeness("dicom", EVEN, again, (), images=47)
    assert (found.missing, found.reason) == (2, "45 of 47 images of the acquisition")


@pytest.mark.parametrize(
    "warning",
    ["mixed: stack 2 of 2 of the series", "joined: 40 series of one slice each"],
)
def test_completeness__a_count_of_several_stacks_tells_nothing(warning: str) -> None:
    for images in (0, 80):
        first = completeness("dicom", EVEN, (warning,), (), begins_at=1, images=images)
        second = completeness("dicom", EVEN, (warning,), (), begins_at=41, images=images)
        assert (first.verdict, second.verdict) == ("complete", "unknown")
    whole = completeness("dicom", EVEN, (warning,), (), begins_at=41, images=40)
    assert whole.verdict == "complete", "each stack is an acquisition"


def test_completeness__is_unknown_where_nothing_tells() -> None:
    leap = Finding("gap", 10, 11, 0.7, "")
    for found in (
        completeness("nifti", EVEN, (), ()),
        completeness("dicom", EVEN[:2], (), ()),
        completeness("dicom", EVEN, (), (), begins_at=12),
        completeness("dicom", EVEN, (), (leap,)),
    ):
        assert found.verdict == "unknown" and found.reason
    assert completeness("dicom", EVEN, (), (), begins_at=12, images=40).verdict == "complete"


def headers(numbers: list[int], down: float = 1.0, z: float = -2.5) -> list[Header]:
    """Slices from head to feet with these numbers. down: -1 where rows run to the front."""
    made = [
        Slice((8, 8), (1.0, 0, 0), (0, down, 0), (1, 1), (0, 0, k * z), (0, 0), n, 2.5, None)
        for k, n in enumerate(numbers)
    ]
    return [Header(str(k), "1.2", "", slices=(one,)) for k, one in enumerate(made)]


def test_begins_at__counts_in_the_numbers_own_step() -> None:
    assert begins_at(headers([1, 2, 3, 4])) == 1
    assert begins_at(headers([7, 8, 9, 10])) == 7
    assert begins_at(headers([1, 3, 5, 7])) == 1
    assert begins_at(headers([2, 4, 6, 8])) == 1
    assert begins_at(headers([5, 7, 9, 11])) == 3
    assert begins_at(headers([1, 1, 1, 1])) == begins_at(headers([0, 1, 2])) == begins_at([]) == 0


def test_numbered__says_in_which_direction() -> None:
    assert numbered(headers([1, 2, 3, 4])) == "head to feet"
    assert numbered(headers([4, 3, 2, 1])) == "feet to head"
    assert numbered(headers([1, 2, 3, 4], down=-1.0)) == "head to feet"
    assert numbered(headers([1, 3, 2, 4])) == numbered([]) == ""
