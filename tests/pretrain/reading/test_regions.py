"""Thresholds against brute force, what a series covers, the file, and the refusals."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from ubr.pretrain.reading.regions import BODY_PART_EXAMINED, Level, Regions, classify, thresholds

ORDER = ("chest", "abdomen", "pelvis")


def test_thresholds__separate_what_can_be_separated() -> None:
    scores = np.array([-9, -5, -4, 0, 1, 2, 6, 7.0])
    parts = ["chest"] * 2 + ["abdomen"] * 4 + ["pelvis"] * 2
    cuts = thresholds(scores, parts, ORDER)
    assert cuts.tolist() == [-4.5, 4.0]
    assert classify(scores, cuts, ORDER).tolist() == parts


def test_thresholds__no_cut_classifies_better() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        parts = np.sort(rng.integers(0, 3, 40))
        parts[:3] = [0, 1, 2]
        scores = parts + rng.normal(0, 0.7, 40)
        names = [ORDER[p] for p in parts]
        cuts = thresholds(scores, names, ORDER)
        candidates = np.concatenate([[-9], (np.sort(scores)[:-1] + np.sort(scores)[1:]) / 2, [9]])
        for part, cut in enumerate(cuts):
            mistakes = ((parts <= part) != (scores < cut)).sum()
            best = min(((parts <= part) != (scores < c)).sum() for c in candidates)
            assert mistakes == best or (np.diff(cuts) == 0).any()


def test_thresholds__do_not_part_slices_of_one_score() -> None:
    """Ten slices of the upper part and one of the lower share a score:

    a cut there would tell ten wrong.
    """
    scores, parts = np.array([5.0] * 11 + [9.0] * 5), ["a"] * 10 + ["b"] * 6
    (cut,) = thresholds(scores, parts, ("a", "b"))
    assert (
        cut == 7 and (classify(scores, np.array([cut]), ("a", "b")) != np.array(parts)).sum() == 1
    )


def test_thresholds__refuse_an_absent_part_and_a_foreign_label() -> None:
    with pytest.raises(ValueError, match="no labelled slice of pelvis"):
        thresholds(np.array([0.0, 1.0]), ["chest", "abdomen"], ORDER)
    with pytest.raises(ValueError, match=r"labels \['brain'\] are not among"):
        thresholds(np.array([0.0, 1.0]), ["chest", "brain"], ORDER)


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
        with pytest.raises(ValueError, match="exists; give a new --out"):
            one.save(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.json", "1.json"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "regions format 2, this version reads 1; upgrade"),
        ({"borders": []}, "damaged regions file .*0 borders between the parts"),
        ({"landmarks": None}, "damaged regions file"),
        ({"scale": ["lung_apex", "nose"]}, "damaged regions file .*'nose' is none"),
        (
            {"borders": [asdict(level(20.0)), asdict(level(10.0))]},
            "damaged regions file .*increase",
        ),
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
            "damaged regions file .*neither",
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
    with pytest.raises(ValueError, match="no such regions file"):
        Regions.load(tmp_path / "none.json")


def test_columns__part_of_each_slice_and_position_on_the_scale() -> None:
    found = regions().columns(np.array([0.0, 9.9, 10.0, 20.0, 25.0, 50.0]))
    assert found["part"].tolist() == ["chest", "chest", "abdomen", "pelvis", "pelvis", "pelvis"]
    assert found["position"] == pytest.approx([0, 39.6, 40, 80, 100, 200])
    assert set(regions(scale=None).columns(np.zeros(1))) == {"part"}


def test_scale__needs_two_landmarks_that_differ() -> None:
    with pytest.raises(ValueError, match="have the same score"):
        regions(scale=("lung_apex", "lung_apex"))
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
