"""Regions: what a series covers, the file, and the refusals."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from ubr.pretrain.reading.regions import BODY_PART_EXAMINED, Level, Regions

from .test_parts import ORDER

SHA = "a" * 64


def level(score: float) -> Level:
    return Level(score, 0.5, 2, (score - 1, score + 1), (4.0, 6.0))


def regions(**changes: object) -> Regions:
    fields: dict[str, object] = {
        "weights_sha256": SHA,
        "parts": ORDER,
        "borders": (level(10.0), level(20.0)),
        "landmarks": {
            "lung_apex": level(0.0),
            "femoral_head": level(25.0),
            "single": Level(5.0, None, 1, (), ()),
        },
        "scale": ("lung_apex", "femoral_head"),
    }
    return Regions(**{**fields, **changes})  # type: ignore[arg-type]


def test_regions__are_read_back_as_they_were(tmp_path: Path) -> None:
    for number, one in enumerate((regions(), regions(parts=(), borders=(), scale=None))):
        path = one.save(tmp_path / f"{number}.json")
        assert Regions.load(path) == one
        with pytest.raises(ValueError, match="exists; give a new `out`"):
            one.save(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.json", "1.json"]


def test_regions__of_positions_say_so_and_of_scores_are_as_ever(tmp_path: Path) -> None:
    by_score, by_position = regions(), regions(axis="position")
    stored = json.loads(by_score.save(tmp_path / "score.json").read_text())
    assert "axis" not in stored and "axis" not in by_score.described()
    assert by_position.described() == {**by_score.described(), "axis": "position"}
    again = Regions.load(by_position.save(tmp_path / "position.json"))
    assert again == by_position and again.axis == "position"
    assert Regions.load(tmp_path / "score.json").axis == "score"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "regions format 2, this version reads 1; upgrade"),
        ({"borders": []}, "damaged regions file .*0 borders between the parts"),
        ({"landmarks": None}, "damaged regions file"),
        ({"axis": "mm"}, "damaged regions file .*axis"),
        ({"scale": ["lung_apex", "nose"]}, "damaged regions file .*'nose' is none"),
        (
            {"borders": [asdict(level(20.0)), asdict(level(10.0))]},
            "damaged regions file .*increase",
        ),
        ({"borders": [asdict(level(10.0))] * 2}, "damaged regions file .*increase"),
        (
            {"borders": [asdict(level(1.0)), {**asdict(level(2.0)), "residuals_mm": [1.0]}]},
            "damaged regions file .*each volume",
        ),
        (
            {"borders": [asdict(level(1.0)), {**asdict(level(2.0)), "score": "x"}]},
            "damaged regions file",
        ),
        (
            {"borders": [asdict(level(1.0)), {**asdict(level(2.0)), "score": float("nan")}]},
            "damaged regions file .*finite",
        ),
        (
            {"parts": [], "borders": [], "landmarks": {}, "scale": None},
            "damaged regions file .*at least two parts",
        ),
    ],
)
def test_regions__damaged_or_newer_files_are_refused(
    change: dict[str, object], reason: str, tmp_path: Path
) -> None:
    path = regions().save(tmp_path / "r.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=reason):
        Regions.load(path)


def test_regions__cut_or_foreign_files_are_refused(tmp_path: Path) -> None:
    path = regions().save(tmp_path / "r.json")
    for content in (path.read_bytes()[:-20], b"", b"\xff\xfe", b"[1]", b'{"a": 1}'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a regions file"):
            Regions.load(path)
    with pytest.raises(ValueError, match="does not exist"):
        Regions.load(tmp_path / "none.json")


def test_columns__part_of_each_slice_and_position_on_the_scale() -> None:
    found = regions().columns(np.array([0.0, 9.9, 10.0, 20.0, 25.0, 50.0]))
    assert found["part"].tolist() == ["chest", "chest", "abdomen", "pelvis", "pelvis", "pelvis"]
    assert found["position"] == pytest.approx([0, 39.6, 40, 80, 100, 200])
    assert set(regions(scale=None).columns(np.zeros(1))) == {"part"}


def test_scale__needs_two_landmarks_that_differ() -> None:
    with pytest.raises(ValueError, match="have the same score"):
        regions(scale=("lung_apex", "lung_apex"))
    with pytest.raises(ValueError, match=r"have scores 25\.0000 and 0.0000, which fall"):
        regions(scale=("femoral_head", "lung_apex"))
    with pytest.raises(ValueError, match="needs two landmarks, 'chest' is none"):
        regions(scale=("lung_apex", "chest"))


def test_covered__a_stray_slice_or_a_margin_makes_no_part() -> None:
    z = 5.0 * np.arange(40)
    assert regions().covered(z / 10, z) == ("chest", "abdomen")  # scores 0..19.5
    stray = z / 10
    stray[[3, 4, 30]] = 40.0
    assert regions().covered(stray, z) == ("chest", "abdomen")
    assert regions().covered(z / 10 + 3, z) == ("chest", "abdomen")  # 22.5 mm of pelvis
    assert regions().covered(z / 10 + 5, z) == ("chest", "abdomen", "pelvis")


def test_covered__a_short_series_is_of_the_part_with_most_slices() -> None:
    assert regions().covered(np.array([9.0, 11.0, 12.0]), np.array([0.0, 5.0, 10.0])) == (
        "abdomen",
    )
    assert regions().covered(np.array([30.0]), np.array([0.0])) == ("pelvis",)


def test_summary__gives_the_defined_term_of_dicom_or_none() -> None:
    z = 5.0 * np.arange(40)
    assert regions().summary(z / 7, z) == {
        "parts": "chest; abdomen; pelvis",
        "body_part_examined": "CHESTABDPELVIS",
    }
    upper = regions(parts=("Neck", "CHEST", "abdomen"))
    assert upper.summary(z / 10, z) == {"parts": "Neck; CHEST", "body_part_examined": "NECKCHEST"}
    odd = regions(parts=("snout", "chest", "abdomen"))
    assert odd.summary(z / 10, z) == {"parts": "snout; chest", "body_part_examined": ""}
    assert regions(parts=(), borders=()).summary(z, z) == {}


def test_terms__are_code_strings_of_dicom() -> None:
    assert all(re.fullmatch("[A-Z]{1,16}", term) for term in BODY_PART_EXAMINED.values())


def test_check__refuses_other_weights() -> None:
    regions().check(SHA)
    with pytest.raises(ValueError, match="made with weights aaaaaaaaaaaa, these are bbbbbbbbbbbb"):
        regions().check("b" * 64)


@pytest.mark.parametrize("name", ["abdomen", "chest/abdomen"])
def test_regions__a_landmark_has_a_name_of_its_own(name: str) -> None:
    with pytest.raises(
        ValueError, match=f"'{name}' is the name of a landmark and of a part or border"
    ):
        regions(landmarks={name: level(1.0)}, scale=None)


@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "NaN", "1e999", '"5"', "[5]", "true"])
@pytest.mark.parametrize("field", ["score", "std", "volumes", "without", "residuals_mm"])
def test_load__what_is_no_number_is_named(field: str, value: str, tmp_path: Path) -> None:
    path = regions().save(tmp_path / "r.json")
    about = json.loads(path.read_text())
    about["borders"][1][field] = [0] if value == "[5]" and "std" not in field else "HERE"
    if field in ("without", "residuals_mm"):
        about["borders"][1][field] = ["HERE"]
    path.write_text(json.dumps(about).replace('"HERE"', value))
    with pytest.raises(ValueError, match=rf"r\.json: damaged regions file \(borders\.1\.{field}"):
        Regions.load(path)


@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "", "a\tb", "a" * 65]
)
def test_regions__a_name_that_a_spreadsheet_runs_is_refused(name: str, tmp_path: Path) -> None:
    path = regions().save(tmp_path / "r.json")
    for part, old in (("parts", "chest"), ("landmarks", "single")):
        about = json.loads(path.read_text())
        if part == "parts":
            about[part][about[part].index(old)] = name
        else:
            about[part][name] = about[part].pop(old)
        (tmp_path / "odd.json").write_text(json.dumps(about))
        with pytest.raises(
            ValueError, match=r"odd\.json: damaged .* cannot name a part or landmark"
        ):
            Regions.load(tmp_path / "odd.json")


def test_load__is_nested_too_deep(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"r\.json: not a regions file"):
        Regions.load(tmp_path / "r.json")
