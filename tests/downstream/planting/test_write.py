"""The data set that planted lesions are written as."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.made.trunk import SPACING, scan_of, trunk
from tests.pretrain.scores.helpers import Stop, stopping
from ubr.downstream.planting import write
from ubr.downstream.planting.lesions import Lesion, plant_lesions
from ubr.downstream.planting.places import find_places
from ubr.downstream.planting.scans import read_split
from ubr.downstream.planting.write import plant, scan_digest
from ubr.pretrain.data.deeplesion.table import COLUMNS
from ubr.pretrain.data.scans import Scan
from ubr.pretrain.data.volume import Volume
from ubr.weights.common.working import Working


def scans(n: int = 4) -> Iterator[Scan]:
    for i in range(n):
        yield scan_of(trunk(seed=i), f"patient {i // 2 if n == 4 else i}")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planted") / "set"
    plant(scans(), out, per_scan=4, seed=1, progress=False)
    return out


def table(out: Path) -> list[dict[str, str]]:
    with (out / "DL_info.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(text: str) -> NDArray[np.float64]:
    return np.array([float(v) for v in text.split(",")])


def test_plant__official_columns_and_formats(written: Path) -> None:
    assert (written / "DL_info.csv").read_bytes().splitlines(keepends=True)[0] == ",".join(
        COLUMNS
    ).encode() + b"\r\n"
    rows = table(written)
    assert {row["Patient_index"] for row in rows} == {"1", "2"}
    for row in rows:
        box, ends = (
            numbers(row["Bounding_boxes"]),
            numbers(row["Measurement_coordinates"]).reshape(4, 2),
        )
        margin = 5 / SPACING[1]
        assert np.allclose(box, [*(ends.min(0) - margin), *(ends.max(0) + margin)], atol=2e-3)
        long, short = numbers(row["Lesion_diameters_Pixel_"])
        assert long >= short > 0
        key, (first, last) = int(row["Key_slice_index"]), numbers(row["Slice_range"])
        assert first <= key <= last
        assert last - first >= 2
        folder = "{:06d}_{:02d}_{:02d}".format(*(int(row[c]) for c in COLUMNS[1:4]))
        assert row["File_name"] == f"{folder}_{key:03d}.png"
        assert all(
            (written / "Images_png" / folder / f"{i:03d}.png").is_file()
            for i in range(int(first), int(last) + 1)
        )
        assert row["Spacing_mm_px_"] == "1.6, 1.6, 3"
        assert row["Image_size"] == "230, 180"
        assert row["Coarse_lesion_type"] in {"2", "3", "4", "5", "6"}
        assert (numbers(row["Normalized_lesion_location"]) < 1).all()


def test_plant__box_is_round_what_changed(tmp_path: Path) -> None:
    hu = trunk(noise=0)
    plant([scan_of(hu)], tmp_path / "set", per_scan=1, kinds=("nodule",), progress=False)
    (row,) = table(tmp_path / "set")
    key = int(row["Key_slice_index"])
    image = (
        np.asarray(
            Image.open(tmp_path / "set" / "Images_png" / "000001_01_01" / f"{key:03d}.png")
        ).astype(int)
        - 32768
    )
    change = np.abs(image - hu[key - 1])
    y, x = np.nonzero(change > change.max() / 2)
    box = numbers(row["Bounding_boxes"]) - 1
    margin = 5 / SPACING[1]
    outline = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
    inner = box + np.array([margin, margin, -margin, -margin])
    # A measurement has four ends; on a slant they reach less far than the lesion does.
    assert np.abs(inner - outline).max() < 0.25 * (outline[2:] - outline[:2]).max() + 1


def test_plant__png_hold_hu(tmp_path: Path) -> None:
    hu = trunk(seed=9)
    plant([scan_of(hu)], tmp_path / "set", per_scan=1, kinds=("liver",), progress=False)
    for path in (tmp_path / "set" / "Images_png" / "000001_01_01").iterdir():
        with Image.open(path) as image:
            assert image.mode == "I;16"
            stored = np.asarray(image).astype(int) - 32768
        same = stored == hu[int(path.stem) - 1]
        assert same.mean() > 0.9
        assert same[:, 140:].all(), "nothing changes on the side that has no liver"


def test_plant__every_lesion_in_a_key_slice_has_a_row(written: Path) -> None:
    by_file: dict[str, int] = {}
    for row in table(written):
        by_file[row["File_name"]] = by_file.get(row["File_name"], 0) + 1
    hu = trunk(seed=0)
    digest_rng = np.random.default_rng(int(scan_digest(scan_of(hu).volume, 1), 16))
    _, lesions = plant_lesions(hu, SPACING, find_places(hu, SPACING), count=4, rng=digest_rng)
    for z in {lesion.key for lesion in lesions}:
        assert by_file[f"000001_01_01_{z + 1:03d}.png"] == sum(
            lesion.on(z) is not None for lesion in lesions
        )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_plant__same_seed_same_bytes(written: Path, tmp_path: Path) -> None:
    plant(scans(), tmp_path / "again", per_scan=4, seed=1, progress=False)
    assert contents(tmp_path / "again") == contents(written)
    plant([next(scans())], tmp_path / "other", per_scan=4, seed=2, progress=False)
    assert contents(tmp_path / "other").keys() != contents(written).keys()


@pytest.mark.parametrize("kept", range(3))
def test_plant__stopped_and_repeated_gives_the_same_bytes(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(name: str) -> None:
        plant(scans(3), tmp_path / name, per_scan=2, studies=2, whole=True, progress=False)

    planted("unbroken")
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Working, "add", stopping(Working.add, kept))  # its slices are there by then
        planted("cut")
    assert not (tmp_path / "cut" / "DL_info.csv").exists()
    assert len(list((tmp_path / "cut" / "Images_png").iterdir())) == 2 * (kept + 1)
    with monkeypatch.context() as patch:  # no scan is planted twice
        patch.setattr(write, "plant_lesions", stopping(plant_lesions, 2 * (3 - kept)))
        planted("cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "unbroken")
    with pytest.raises(ValueError, match="is finished; give a new `out`"):
        planted("cut")


def test_plant__a_folder_begun_with_other_scans_or_options_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Working, "add", stopping(Working.add, 1))
        plant(scans(3), tmp_path / "set", per_scan=1, progress=False)
    others = [scan_of(trunk(seed=9), "another"), *scans(3)]
    with pytest.raises(ValueError, match="was begun with other scans; give the scans it was"):
        plant(others, tmp_path / "set", per_scan=1, progress=False)
    with pytest.raises(ValueError, match="was begun with seed 0, not 1"):
        plant(scans(3), tmp_path / "set", per_scan=1, seed=1, progress=False)


@pytest.mark.parametrize("kind", ["nodule", "liver"])
def test_plant__whole_scans_say_where_lesions_lie_in_space(kind: str, tmp_path: Path) -> None:
    hu = trunk(noise=0)
    options: dict[str, Any] = {"per_scan": 1, "kinds": (kind,), "progress": False}
    plant([scan_of(hu)], tmp_path / "set", whole=True, **options)
    folder = tmp_path / "set" / "Images_png" / "000001_01_01"
    assert len(list(folder.iterdir())) == len(hu)
    stored = [np.asarray(Image.open(folder / f"{z + 1:03d}.png")).astype(int) for z in range(56)]
    changed = np.abs(np.stack(stored) - 32768 - hu)
    inside = changed > changed.max() / 2
    areas = inside.sum((1, 2))
    shown = np.flatnonzero(areas >= max(4, areas.max() / 10))
    with (tmp_path / "set" / "lesions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["folder"], row["kind"]) == ("000001_01_01", kind)
    ends = [int(row["first_slice"]) - 1, int(row["last_slice"]) - 1]
    assert np.abs(np.array(ends) - shown[[0, -1]]).max() <= 1  # its texture moves the half
    assert int(row["key_slice"]) == areas.argmax() + 1
    _, y, x = np.nonzero(inside[shown[0] : shown[-1] + 1])
    edges = np.array([float(row[name]) for name in ("x1", "y1", "x2", "y2")])
    margin = 5 / SPACING[1]
    outline = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
    reached = edges + np.array([margin, margin, -margin, -margin])
    # Measurements have four ends; on a slant they reach less far than the lesion does.
    assert np.abs(reached - outline).max() < 0.25 * (outline[2:] - outline[:2]).max() + 1
    sides = (outline[2:] - outline[:2]) * SPACING[1]
    assert max(sides) * 0.95 - 2 < float(row["diameter_mm"]) < np.hypot(*sides) + 2
    plant([scan_of(hu)], tmp_path / "keys", **options)
    assert not (tmp_path / "keys" / "lesions.csv").exists()
    assert (tmp_path / "keys" / "DL_info.csv").read_bytes() == (
        tmp_path / "set" / "DL_info.csv"
    ).read_bytes()


def test_plant__a_scan_takes_the_same_lesions_whatever_the_order(
    written: Path, tmp_path: Path
) -> None:
    plant([*scans()][::-1], tmp_path / "back", per_scan=4, seed=1, progress=False)
    there, back = contents(written / "Images_png"), contents(tmp_path / "back" / "Images_png")
    assert sorted(there.values()) == sorted(back.values())


def test_plant__studies_are_the_same_scan_with_other_lesions(tmp_path: Path) -> None:
    plant(scans(2), tmp_path / "one", per_scan=4, progress=False)
    summary = plant(scans(2), tmp_path / "two", per_scan=4, studies=2, progress=False)
    first, second = (
        [row for row in table(tmp_path / "two") if row["Study_index"] == study] for study in "12"
    )
    assert first == table(tmp_path / "one"), "the first study does not depend on how many follow"
    assert (summary.patients, summary.scans) == (2, 4)
    assert {row["Bounding_boxes"] for row in first}.isdisjoint(
        row["Bounding_boxes"] for row in second
    )


def test_plant__split_by_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(hu: NDArray[np.int16], *_: Any, **__: Any) -> tuple[NDArray[np.int16], list[Lesion]]:
        return hu, [Lesion("node", 2, 100.0, (1, 4, 4), np.ones((1, 5, 5), bool))]

    monkeypatch.setattr("ubr.downstream.planting.write.plant_lesions", one)
    many = [
        scan_of(np.full((3, 16, 16), i, np.int16), f"p{i // 2}", (5.0, 1.0, 1.0)) for i in range(40)
    ]
    summary = plant([*many, many[0]], tmp_path / "set", progress=False)
    part = {row["Patient_index"]: row["Train_Val_Test"] for row in table(tmp_path / "set")}
    assert all(
        part[row["Patient_index"]] == row["Train_Val_Test"] for row in table(tmp_path / "set")
    )
    assert [list(part.values()).count(p) for p in "123"] == [14, 3, 3]
    assert (summary.patients, summary.scans, summary.left_out) == (
        20,
        40,
        ("1 scans: the same pixels as another scan",),
    )


def test_plant__split_as_given(tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    file.write_text("patient,split\npatient 0,test\npatient 1,train\npatient 2,val\n")
    split = read_split(file)
    made = plant(scans(3), tmp_path / "out", split=split, per_scan=2, progress=False)
    assert made.split == {"patient 0": "test", "patient 1": "train", "patient 2": "val"}
    parts = {row["Patient_index"]: row["Train_Val_Test"] for row in table(tmp_path / "out")}
    assert parts == {"1": "3", "2": "1", "3": "2"}
    with pytest.raises(ValueError, match="a patient is not in `split`; assign a split to"):
        plant(scans(3), tmp_path / "other", split={"patient 1": "test"}, progress=False)
    with pytest.raises(ValueError, match="split must give train, val, test to each patient, got"):
        plant(scans(3), tmp_path / "third", split={**split, "patient 0": "all"}, progress=False)
    file.write_text("patient,split\na,test\na,train\n")
    with pytest.raises(ValueError, match="line 3: this patient has another split above; give a"):
        read_split(file)


def test_plant__mistakes(tmp_path: Path) -> None:
    scan = scan_of(np.full((20, 64, 64), -1000, np.int16))
    with pytest.raises(ValueError, match="per_scan must be at least 1, got 0"):
        plant([scan], tmp_path / "set", per_scan=0)
    with pytest.raises(ValueError, match="studies must be at least 1, got 0"):
        plant([scan], tmp_path / "set", studies=0)
    with pytest.raises(
        ValueError, match="kinds must be some of nodule, liver, kidney, node, got spleen"
    ):
        plant([scan], tmp_path / "set", kinds=("spleen",))
    with pytest.raises(ValueError, match="none of 1 scans has room for a lesion"):
        plant([scan], tmp_path / "set", progress=False)
    assert list(tmp_path.iterdir()) == [], "nothing half made is left"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="is not empty, or is a file; give a new"):
        plant([scan], tmp_path / "full")
    with pytest.raises(ValueError, match="int16"):
        scan_of(np.zeros((3, 3, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="spacing must be positive"):
        Volume(np.zeros((3, 3, 3), np.int16), (0.0, 1.0, 1.0), np.arange(3.0))


def test_plant__an_empty_scan_is_counted(tmp_path: Path) -> None:
    air = scan_of(np.full((20, 64, 64), -1000, np.int16), "air")
    summary = plant([air, next(scans())], tmp_path / "set", per_scan=1, progress=False)
    assert (summary.empty, summary.scans, summary.lesions) == (1, 1, 1)
    assert "1 scans in which no lesion fits" in str(summary)
