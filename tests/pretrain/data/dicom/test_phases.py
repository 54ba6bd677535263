"""Phases, acquisitions and stacks under one series UID: never mixed, and no sound scan split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ubr.pretrain.data import find

from ....made.dicom import Made, X, Y, Z, body, enhanced, expected, places, write
from ....made.odd import brighter, concatenated, two_at_each_place, written
from ....made.scans import codes, only, refusal


def volumes(folder: Path) -> list[NDArray[np.int16]]:
    """The HU of all series, the darkest first."""
    found = [find.read_volume(series).hu for series in find.find_series([folder])[0]]
    return sorted(found, key=lambda hu: float(hu.mean()))


def lower(mm: float) -> NDArray[np.int16]:
    """The body's slices that much further down."""
    z = Z - mm
    return np.stack(
        [body(places((X[0], Y[0], h), (1, 0, 0, 0, 1, 0), (len(Y), len(X)), (4, 4))) for h in z]
    )


TELLS: dict[str, dict[str, Any]] = {
    "acquisition": {"AcquisitionNumber": 2},
    "temporal position": {"TemporalPositionIdentifier": 2},
    "trigger time": {"TriggerTime": "350.5"},
    "cardiac phase": {"NominalPercentageOfCardiacPhase": 75},
    "acquisition time": {"AcquisitionTime": "101500.25"},
    "a time for each slice": {"AcquisitionTime": lambda k: f"1015{k:02d}"},
    "kernel": {"ConvolutionKernel": "B70f"},
    "image type": {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]},
    "instance numbers that go on": {"InstanceNumber": lambda k: 21 + k},
    "instance numbers that go on backwards": {"InstanceNumber": lambda k: 60 - k},
}


@pytest.mark.parametrize("apart_mm", [0.0, 1.0])
@pytest.mark.parametrize("what", TELLS)
def test_phases__are_told_apart(tmp_path: Path, what: str, apart_mm: float) -> None:
    write(tmp_path, two_at_each_place(TELLS[what], apart_mm))
    first, second = volumes(tmp_path)
    np.testing.assert_array_equal(first, expected())
    np.testing.assert_array_equal(second, lower(apart_mm) + 24)


def test_phases__at_each_place_in_turn(tmp_path: Path) -> None:
    """A table that stays while all phases are taken: the instance numbers alternate."""
    datasets = two_at_each_place({})
    for k in range(20):
        datasets[k].InstanceNumber, datasets[20 + k].InstanceNumber = 2 * k + 1, 2 * k + 2
    write(tmp_path, datasets)
    first, second = volumes(tmp_path)
    np.testing.assert_array_equal(first, expected())
    np.testing.assert_array_equal(second, expected() + 24)


def test_phases__nothing_but_places_a_millimetre_apart(tmp_path: Path) -> None:
    datasets = two_at_each_place({"InstanceNumber": None}, 1.0)
    for ds in datasets[:20]:
        del ds.InstanceNumber
    del datasets[7], datasets[30]
    write(tmp_path, datasets)
    first, second = volumes(tmp_path)
    np.testing.assert_array_equal(first, np.delete(expected(), 7, axis=0))
    np.testing.assert_array_equal(second, np.delete(lower(1.0) + 24, 11, axis=0))


def test_phases__of_two_properties(tmp_path: Path) -> None:
    made = Made()
    datasets: list[Dataset] = []
    for number in range(4):
        tags = {"AcquisitionNumber": 1 + number // 2, "TriggerTime": str(400 * (number % 2))}
        datasets += brighter(made.datasets(**tags), 24 * number)
    write(tmp_path, datasets)
    for number, hu in enumerate(volumes(tmp_path)):
        np.testing.assert_array_equal(hu, expected() + 24 * number)


def test_phases__of_a_part_of_the_body(tmp_path: Path) -> None:
    """A late phase of the liver only, between the slices of the first."""
    datasets = two_at_each_place({"AcquisitionNumber": 2}, 2.0)
    write(tmp_path, datasets[:26])
    first, second = volumes(tmp_path)
    np.testing.assert_array_equal(first, expected())
    np.testing.assert_array_equal(second, (lower(2.0) + 24)[:6])


def test_phases__that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    write(tmp_path, two_at_each_place({}))
    assert refusal(tmp_path).startswith(
        "different slices at 20 of the positions, and nothing in their headers tells"
    )


def test_phases__file_names_decide_nothing(tmp_path: Path) -> None:
    for seed in range(3):
        write(tmp_path / str(seed), two_at_each_place({"AcquisitionNumber": 2}), seed=seed)
    found = [
        {s.uid: find.read_volume(s).hu.tolist() for s in find.find_series([tmp_path / str(k)])[0]}
        for k in range(3)
    ]
    contents = [[uid[-4:] for uid in sorted(one, key=lambda u: one[u][0][0])] for one in found]
    assert contents[0] == contents[1] == contents[2] == ["#1/2", "#2/2"]


def test_phases__two_origins_are_two_stacks(tmp_path: Path) -> None:
    datasets = two_at_each_place({"FrameOfReferenceUID": "1.2.3"}, 1.0)
    write(tmp_path, datasets)
    first, second = volumes(tmp_path)
    np.testing.assert_array_equal(first, expected())
    np.testing.assert_array_equal(second, lower(1.0) + 24)


SOUND: dict[str, Callable[[Dataset, int], Any]] = {
    "a gantry that steps": lambda ds, k: setattr(ds, "AcquisitionNumber", 1 + k // 4),
    "an acquisition for each slice": lambda ds, k: setattr(ds, "AcquisitionNumber", k + 1),
    "two numbers of acquisition": lambda ds, k: written(
        ds, "AcquisitionNumber", f"{1 + k // 10}\\7", "IS"
    ),
    "a time for each slice": lambda ds, k: setattr(ds, "AcquisitionTime", f"1015{k:02d}.5"),
    "two times in turn of a slab": lambda ds, k: setattr(ds, "ContentTime", f"10{k // 2:02d}00"),
    "an origin for each slice": lambda ds, k: setattr(ds, "FrameOfReferenceUID", f"1.2.{k}"),
    "odd slices first": lambda ds, k: setattr(ds, "InstanceNumber", k // 2 + 10 * (k % 2)),
    "one instance number": lambda ds, k: setattr(ds, "InstanceNumber", 1),
    "one object's UID": lambda ds, k: setattr(ds, "SOPInstanceUID", "1.2.3"),
}


@pytest.mark.parametrize("what", SOUND)
def test_phases__a_sound_scan_is_one(tmp_path: Path, what: str) -> None:
    datasets = Made().datasets()
    for k, ds in enumerate(datasets):
        SOUND[what](ds, k)
    write(tmp_path, datasets)
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.warnings == ()


def test_phases__wider_steps_and_a_gap_are_one_scan(tmp_path: Path) -> None:
    steps = [4.0] * 10 + [7.0] * 6 + [20.0] + [7.0] * 4
    made = Made([(X[0], Y[0], 100 - z) for z in np.cumsum(steps)])
    datasets = made.datasets()
    for k, ds in enumerate(datasets):
        ds.AcquisitionNumber = 1 + k // 8
    write(tmp_path, datasets)
    volume = only(tmp_path)
    assert len(volume.hu) == len(steps)
    assert codes(volume) == ["gap"]


def frames(order: NDArray[np.int64], **content: list[Any]) -> Dataset:
    """The body's slices in one enhanced object; content: of each frame."""
    ds = enhanced(order)
    for k, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        item = Dataset()
        for name, values in content.items():
            setattr(item, name, values[k])
        group.FrameContentSequence = [item]
    return ds


@pytest.mark.parametrize(
    "name",
    ["FrameAcquisitionNumber", "TemporalPositionIndex", "StackID", "FrameAcquisitionDateTime"],
)
def test_phases__of_one_enhanced_object(tmp_path: Path, name: str) -> None:
    order = np.random.default_rng(3).permutation(np.repeat(np.arange(20), 2))
    seen: dict[int, int] = {}
    phase = []
    for k in order:
        seen[k] = seen.get(k, 0) + 1
        phase.append(seen[k])
    text = name in ("StackID", "FrameAcquisitionDateTime")
    ds = frames(order, **{name: [f"2001010101010{p}" if text else p for p in phase]})
    stored = np.frombuffer(ds.PixelData, np.uint16).reshape(40, -1) + 24 * (
        np.array(phase, np.uint16)[:, None] - 1
    )
    ds.PixelData = stored.astype(np.uint16).tobytes()
    write(tmp_path, [ds])
    first, second = volumes(tmp_path)
    np.testing.assert_array_equal(first, expected())
    np.testing.assert_array_equal(second, expected() + 24)


@pytest.mark.parametrize("parts", [2, 3])
def test_concatenation__is_one_volume(tmp_path: Path, parts: int) -> None:
    write(tmp_path, concatenated(enhanced(np.random.default_rng(1).permutation(20)), parts))
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.warnings == ()


def test_concatenation__a_missing_part_is_said(tmp_path: Path) -> None:
    write(tmp_path, concatenated(enhanced(np.arange(20)), 4)[:3])
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected()[:15])
    assert volume.warnings == ("gap: 3 of 4 files of the object",)


def test_two_enhanced_objects__stay_two(tmp_path: Path) -> None:
    one, other = enhanced(np.arange(20)), enhanced(np.arange(20))
    other.SeriesInstanceUID, other.StudyInstanceUID = one.SeriesInstanceUID, one.StudyInstanceUID
    other.PixelData = (np.frombuffer(other.PixelData, np.uint16) + 24).astype(np.uint16).tobytes()
    write(tmp_path, [one, other])
    first, second = volumes(tmp_path)
    np.testing.assert_array_equal(first, expected())
    np.testing.assert_array_equal(second, expected() + 24)


def objects(each: int, number: int = 1) -> list[Dataset]:
    """The body in enhanced objects of so many frames, numbered from `number`."""
    made = [enhanced(np.arange(k, min(k + each, 20))) for k in range(0, 20, each)]
    for k, ds in enumerate(made):
        ds.SeriesInstanceUID, ds.StudyInstanceUID = "1.2.3.4", "1.2.3.5"
        ds.InstanceNumber = number + k
    return made


@pytest.mark.parametrize("each", [1, 2])
def test_small_enhanced_objects__are_one_volume(tmp_path: Path, each: int) -> None:
    write(tmp_path, objects(each))
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.warnings == ()


@pytest.mark.parametrize("each", [1, 2])
def test_small_enhanced_objects__of_two_phases_are_two(tmp_path: Path, each: int) -> None:
    first = objects(each)[:-2]
    second = objects(each, number=len(first) + 1)
    for ds in second:
        stored = np.frombuffer(ds.PixelData, np.uint16) + 24
        ds.PixelData = stored.astype(np.uint16).tobytes()
    write(tmp_path, [*first, *second])
    found = volumes(tmp_path)
    assert [len(hu) for hu in found] == [20 - 2 * each, 20]
    np.testing.assert_array_equal(found[0], expected()[: 20 - 2 * each])
    np.testing.assert_array_equal(found[1], expected() + 24)


def test_phases__slices_taken_again_are_duplicates(tmp_path: Path) -> None:
    made = Made()
    again = brighter([made.dataset(k, AcquisitionNumber=2) for k in range(3, 7)])
    write(tmp_path, [*again, *made.datasets()])
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.warnings == ("duplicate: 4 of 24 slices",)


def test_phases__a_part_that_came_first_does_not_enter_the_whole(tmp_path: Path) -> None:
    made = Made()
    before = brighter([made.dataset(k, AcquisitionNumber=0) for k in range(3, 7)])
    write(tmp_path, [*before, *made.datasets()])
    first, second = volumes(tmp_path)
    assert len(first) == 20 or len(second) == 20
    whole, part = sorted((first, second), key=len, reverse=True)
    np.testing.assert_array_equal(whole, expected())
    np.testing.assert_array_equal(part, expected()[3:7] + 24)


def test_phases__of_another_step_go_on_in_instance_numbers(tmp_path: Path) -> None:
    """The second stack has twice the step, and lies 1 mm lower."""
    datasets = two_at_each_place({"InstanceNumber": lambda k: 21 + k}, 1.0)
    write(tmp_path, datasets[:20] + datasets[20::2])
    first, second = sorted(volumes(tmp_path), key=len, reverse=True)
    np.testing.assert_array_equal(first, expected())
    np.testing.assert_array_equal(second, (lower(1.0) + 24)[::2])


def taken(*phases: range, slab: int = 1) -> list[Dataset]:
    """The body's slices `range` of each phase, 24 HU apart, in the order that they were taken in.

    What tells the phases apart is the number of each slice, and one acquisition for each slab.
    """
    made, datasets = Made(), list[Dataset]()
    for number, slices in enumerate(phases):
        before = len(datasets)
        datasets += brighter([made.dataset(k) for k in slices], 24 * number)
        for k, ds in enumerate(datasets[before:]):
            ds.InstanceNumber = before + k + 1
            ds.AcquisitionNumber = before + k // slab if slab > 1 else 1
    return datasets


ONE_AFTER_THE_OTHER = {
    "a short one, then a long one": (range(10), range(20)),
    "a long one, then a short one": (range(20), range(10)),
    "a short one, then a long one back": (range(10), range(19, -1, -1)),
    "the lower part, then all": (range(5, 20), range(20)),
    "the upper part, then the lower": (range(10), range(5, 20)),
    "three": (range(10), range(20), range(5, 20)),
    "one given up, then all": (range(3), range(20)),
}


@pytest.mark.parametrize("slab", [1, 5])
@pytest.mark.parametrize("what", ONE_AFTER_THE_OTHER)
def test_phases__of_other_coverage_are_not_joined(tmp_path: Path, what: str, slab: int) -> None:
    phases = ONE_AFTER_THE_OTHER[what]
    write(tmp_path, taken(*phases, slab=slab))
    wanted = [expected()[sorted(phase)] + 24 * n for n, phase in enumerate(phases)]
    found = volumes(tmp_path)
    assert len(found) == len(wanted)
    for hu in wanted:
        assert any(np.array_equal(hu, one) for one in found)


def test_phases__of_slabs_in_turn(tmp_path: Path) -> None:
    """A table that stays for five slices of both phases."""
    slabs = [range(k, k + 5) for k in (0, 5, 10, 15) for _ in "ab"]
    datasets = taken(*slabs)
    for k, ds in enumerate(datasets):
        ds.RescaleIntercept = -1024 + 24 * (k // 5 % 2)
    write(tmp_path, datasets)
    first, second = volumes(tmp_path)
    np.testing.assert_array_equal(first, expected())
    np.testing.assert_array_equal(second, expected() + 24)


def test_phases__what_may_be_either_is_not_joined(tmp_path: Path) -> None:
    """Three phases of which two lie in one place: slabs in turn would be numbered alike."""
    phases = range(10), range(5, 20), range(12, 20)
    write(tmp_path, taken(*phases))
    rows = [(k, number) for number in range(3) for k in range(20)]
    found = volumes(tmp_path)
    for volume in found:
        of = [{n for k, n in rows if np.array_equal(hu, expected()[k] + 24 * n)} for hu in volume]
        assert len(set.union(*of)) == 1
    assert sum(map(len, found)) == sum(map(len, phases))


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "InstanceNumber"])
@pytest.mark.parametrize(
    "parts", [(range(10), range(10, 20), range(1, 10)), (range(10, 20), range(10), range(10, 19))]
)
def test_phases__a_part_taken_again_later_does_not_take_another_part_along(
    parts: tuple[range, ...], tag: str, tmp_path: Path
) -> None:
    made, datasets = Made(), []
    for number, part in enumerate(parts):
        new = brighter([made.dataset(k) for k in part], 24 * (number == 2))
        for one in new:
            one.AcquisitionNumber = number + 1 if tag == "AcquisitionNumber" else 1
            one.InstanceNumber = len(datasets) + 1
            datasets.append(one)
    write(tmp_path, datasets)
    (volume,) = volumes(tmp_path)
    np.testing.assert_array_equal(volume, expected())
