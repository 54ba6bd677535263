"""Landmarks and parts from masks: of computed CT, whose truth is known, and of real CT."""

from __future__ import annotations

import csv
import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from tests.made.masks import (
    HIP,
    LIVER,
    LUNG,
    Masks,
    ras,
    save,
    save_labels,
    save_masks,
    thresholded,
    with_masks,
)
from ubr.pretrain.cli import main
from ubr.pretrain.data.scans import read_scan
from ubr.pretrain.phantom.scan import Phantom, draw
from ubr.pretrain.reading.regions import Regions
from ubr.pretrain.uses.calibration import calibrate
from ubr.pretrain.uses.mask_labels import mask_labels, parts_between, read_rules
from ubr.weights.common.notes import Note

STEP = 5.0
RANGES = {"whole": (-20.0, 1090.0), "trunk": (255.0, 960.0), "belly": (510.0, 800.0)}
"""Levels of the scans: `belly` begins below the liver's dome and ends within the hips."""


@pytest.fixture(scope="module")
def computed() -> dict[str, tuple[Phantom, Masks]]:
    scan = {"spacing_mm": STEP, "size_px": 56, "metal": "none"}
    return {
        name: with_masks(draw(seed, top=top, bottom=bottom, **scan))
        for seed, (name, (top, bottom)) in enumerate(RANGES.items(), 3)
    }


def affine(made: Phantom) -> NDArray[np.float64]:
    return ras(made.volume.spacing_mm, made.case.first_mm)


def scored(folder: Path, curves: Mapping[Path, NDArray[np.float64]], *, paths: bool = True) -> Path:
    """A folder of scores, as `score` writes it."""
    folder.mkdir()
    rows: list[dict[str, Any]] = []
    table = []
    for path, scores in curves.items():
        key = read_scan(path).key
        rows += [
            {"series": key, "index": i, "z_mm": STEP * i, "score": float(score)}
            for i, score in enumerate(scores)
        ]
        about = {"series": key, "slices": len(scores), "pearson_r": 1.0, "score_per_mm": 0.01}
        about |= {"paper_rule": "", "findings": "", "warnings": ""}
        table.append(about | ({"path": str(path)} if paths else {}))
    settings = {"ubr": json.dumps({"weights_sha256": "c" * 64})}
    slices = pa.Table.from_pylist(rows).replace_schema_metadata(settings)
    pq.write_table(slices, folder / "slices.parquet")
    with (folder / "series.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return folder


@pytest.fixture(scope="module")
def world(
    computed: dict[str, tuple[Phantom, Masks]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Scans as TotalSegmentator's data set lies, and scores that are levels of the body."""
    root = tmp_path_factory.mktemp("world")
    curves = {}
    for name, (made, masks) in computed.items():
        path = save(root / "data" / name / "ct.nii.gz", made.volume.hu, affine(made))
        save_masks(root / "data" / name / "segmentations", masks, affine(made))
        save_masks(root / "data" / name / "segmentations", {"spleen": masks[LIVER]}, affine(made))
        curves[path] = made.body_mm
    scored(root / "scores", curves)
    return root


def marks_of(
    world: Path, folder: Path, names: Path | None = None
) -> dict[str, Mapping[str, float]]:
    """The marks by the name of the scan's folder."""
    with (world / "scores" / "series.csv").open(newline="") as file:
        called = {row["series"]: Path(row["path"]).parent.name for row in csv.DictReader(file)}
    found = mask_labels(folder, world / "scores", names)
    return {called[key]: marks for key, marks in found.marks.items()}


def finite(marks: Mapping[str, float]) -> dict[str, float]:
    return {name: mm for name, mm in marks.items() if math.isfinite(mm)}


def test_marks__are_the_landmarks_of_computed_patients(
    world: Path, computed: dict[str, tuple[Phantom, Masks]]
) -> None:
    found = marks_of(world, world / "data")
    assert set(found) == set(RANGES)
    own = {"C7", "T12", "L3", "knee"}
    for name, (made, _) in computed.items():
        truth = {mark: STEP * index for mark, index in made.landmarks.items() if mark != "carina"}
        if name == "belly":  # the hips reach the end of the scan, the liver its beginning
            assert set(finite(found[name])) - own == {"iliac_crest"}
        else:
            assert set(finite(found[name])) - own == set(truth)
        for mark, mm in finite(found[name]).items():
            if mark not in own:
                assert mm == pytest.approx(truth[mark], abs=2.5 * STEP), (name, mark)


def test_marks__vertebrae_are_told_by_their_middle(
    world: Path, computed: dict[str, tuple[Phantom, Masks]]
) -> None:
    found = marks_of(world, world / "data")["trunk"]
    made, masks = computed["trunk"]
    shown = np.flatnonzero(masks["vertebrae_L3"].any(axis=(1, 2)))
    assert found["L3"] == pytest.approx(STEP * (shown[0] + shown[-1]) / 2)
    assert made.landmarks["liver_dome"] * STEP < found["T12"] < found["L3"]


def test_marks__an_organ_that_reaches_the_end_of_the_scan_has_no_end_there(
    world: Path, computed: dict[str, tuple[Phantom, Masks]], tmp_path: Path
) -> None:
    found = marks_of(world, world / "data")["belly"]
    assert (found["liver_dome"], found["ischium"]) == (-math.inf, math.inf)
    assert math.isnan(found["vertex"])
    made, masks = computed["trunk"]
    for slices, is_cut in ((0, True), (1, True), (2, False)):  # from the first slice to the dome
        first = np.flatnonzero(masks[LIVER].any(axis=(1, 2)))[0] - slices
        place = ras(made.volume.spacing_mm, made.case.first_mm + STEP * first)
        root = tmp_path / str(slices)
        ct = save(root / "scans" / "a.nii", made.volume.hu[first:], place)
        few = {name: masks[name][first:] for name in (LIVER, HIP)}
        save_masks(root / "masks" / "a", few, place)
        scores = scored(root / "scores", {ct: made.body_mm[first:]})
        (marks,) = mask_labels(root / "masks", scores).marks.values()
        assert math.isinf(marks["liver_dome"]) == is_cut
        assert math.isfinite(marks["iliac_crest"])


def test_marks__masks_on_another_grid_lie_where_their_affine_says(
    world: Path, computed: dict[str, tuple[Phantom, Masks]], tmp_path: Path
) -> None:
    """Half the slices, the first third missing, and every axis turned round."""
    made, masks = computed["trunk"]
    cut = len(made.volume.hu) // 3
    z = affine(made) @ [0, 0, len(made.volume.hu) - 1, 1]
    turned = affine(made) @ np.diag([-1.0, -1.0, -2.0, 1.0])
    n = made.volume.hu.shape[2]
    turned[:, 3] = affine(made) @ [n - 1, n - 1, 0, 1]
    turned[2, 3] = z[2]
    other = {name: mask[:cut:-2, ::-1, ::-1] for name, mask in masks.items()}
    save_masks(tmp_path / "trunk", other, turned)
    found = marks_of(world, tmp_path)["trunk"]
    same = marks_of(world, world / "data")["trunk"]
    for name in ("iliac_crest", "femoral_head", "ischium", "L3"):
        assert found[name] == pytest.approx(same[name], abs=1.01 * STEP)
    assert found["lung_apex"] == -math.inf  # cut by the end of the masks, not of the scan


def test_marks__masks_beside_the_scan_or_without_one_are_told(
    world: Path, computed: dict[str, tuple[Phantom, Masks]], tmp_path: Path
) -> None:
    made, masks = computed["trunk"]
    far = affine(made)
    far[2, 3] -= 5000
    save_masks(tmp_path / "trunk", masks, far)
    with pytest.raises(ValueError, match=r"yields a landmark .*1 of 1: the masks do not overlap"):
        mask_labels(tmp_path, world / "scores")
    save_masks(tmp_path / "whole", computed["whole"][1], affine(computed["whole"][0]))
    save_masks(tmp_path / "unknown", masks, far)
    with pytest.warns(
        Note, match="1 of 3: the masks do not overlap .*; 1 of 3: they match no scan"
    ):
        assert set(marks_of(world, tmp_path)) == {"whole"}


@pytest.mark.parametrize(
    ("names", "scan"),
    [
        ("whole", "whole"),
        ("whole/segmentations", "whole"),
        ("whole/ct", "whole"),  # a name that all scans have
        ("site/whole/total", "whole"),
        ("unknown/ct", ""),
        ("ct", ""),
    ],
)
def test_marks__masks_belong_to_the_scan_that_has_their_folders_name(
    world: Path,
    computed: dict[str, tuple[Phantom, Masks]],
    tmp_path: Path,
    names: str,
    scan: str,
) -> None:
    made, masks = computed["whole"]
    save_masks(tmp_path / "masks" / names, {LIVER: masks[LIVER]}, affine(made))
    for name in ("segmentations", "ct", "total"):  # of another scan
        trunk, others = computed["trunk"]
        save_masks(tmp_path / "masks" / "trunk" / name, {HIP: others[HIP]}, affine(trunk))
    with warnings.catch_warnings(action="ignore"):
        found = marks_of(world, tmp_path / "masks")
    assert {name for name, marks in found.items() if "liver_dome" in marks} == {
        *filter(None, [scan])
    }
    assert "iliac_crest" in found["trunk"]


def test_marks__one_file_of_labels_named_in_its_header_or_by_the_user(
    world: Path, computed: dict[str, tuple[Phantom, Masks]], tmp_path: Path
) -> None:
    made, masks = computed["trunk"]
    few = {name: masks[name] for name in (LUNG, LIVER, HIP)}
    save_labels(tmp_path / "a" / "trunk.nii.gz", few, affine(made))
    found, same = marks_of(world, tmp_path / "a")["trunk"], marks_of(world, world / "data")["trunk"]
    assert {name: same[name] for name in ("lung_apex", "liver_dome", "iliac_crest", "ischium")} == {
        **finite(found)
    }
    names = tmp_path / "names.csv"
    names.write_text("landmark,mask,end\nliver_dome,2,top\nlowest_liver,2,bottom\n")
    found = marks_of(world, tmp_path / "a", names)["trunk"]
    assert set(found) == {"liver_dome", "lowest_liver"}
    assert found["liver_dome"] == same["liver_dome"] < found["lowest_liver"]
    save(tmp_path / "b" / "trunk.nii.gz", masks[LIVER].astype(np.uint8), affine(made))
    with pytest.raises(ValueError, match="have no names; give `mask_names`"):
        mask_labels(tmp_path / "b", world / "scores")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("landmark,mask\na,b\n", "end"),
        ("landmark,mask,end\ndome,liver,up\n", "line 2: .* end must be top, bottom, middle"),
        ("landmark,mask,end\nd,a,top\nd,b,bottom\n", "line 3: .* end must be top, got 'bottom'"),
        ("landmark,mask,end\n=x,a,top\n", "line 2: "),
        ("landmark,mask,end\n", "no rows"),
    ],
)
def test_rules__that_cannot_be_used_are_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "names.csv").write_text(text)
    with pytest.raises(ValueError, match=why):
        read_rules(tmp_path / "names.csv")


Z = np.arange(0, 100.0, 10.0)
NOT = math.nan


@pytest.mark.parametrize(
    ("marks", "parts"),
    [
        ({"lung_apex": 20.0, "liver_dome": 50.0}, {**dict.fromkeys((2, 3, 4), "chest")}),
        # The hips are not shown, so the abdomen goes on to the end; nothing is known of the neck.
        (
            {"lung_apex": 20.0, "liver_dome": 50.0, "iliac_crest": NOT},
            {**dict.fromkeys((2, 3, 4), "chest"), **dict.fromkeys(range(5, 10), "abdomen")},
        ),
        ({"vertex": NOT, "mandible": NOT, "lung_apex": 30.0}, dict.fromkeys(range(3), "neck")),
        ({"liver_dome": -math.inf, "iliac_crest": math.inf}, dict.fromkeys(range(10), "abdomen")),
        ({"lung_apex": -math.inf, "liver_dome": NOT}, dict.fromkeys(range(10), "chest")),
        ({"lung_apex": NOT, "liver_dome": NOT}, {}),  # a head, or legs
        ({"lung_apex": 10.0, "liver_dome": NOT, "iliac_crest": 70.0}, {}),  # it must have a liver
        ({"vertex": 25.0, "mandible": math.inf}, dict.fromkeys(range(3, 10), "head")),
    ],
)
def test_parts__lie_between_borders_that_are_known(
    marks: dict[str, float], parts: dict[int, str]
) -> None:
    assert parts_between(marks, Z) == parts


def test_parts__borders_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="iliac_crest lies above liver_dome"):
        parts_between({"liver_dome": 50.0, "iliac_crest": 20.0}, Z)


def test_calibrate__from_masks_is_as_from_the_truth(world: Path, tmp_path: Path) -> None:
    words = ["calibrate", str(world / "scores"), "--from-masks", str(world / "data")]
    assert main([*words, "--out", str(tmp_path / "r.json")]) == 0
    found = Regions.load(tmp_path / "r.json")
    assert found.parts == ("head", "neck", "chest", "abdomen", "pelvis", "thigh")
    # Scores are levels of the reference body, so they are those of the phantom's anatomy.
    assert found.thresholds == pytest.approx([215, 280, 470, 715, 935], abs=2.5 * STEP)
    assert found.landmarks["femoral_head"].score == pytest.approx(838, abs=2 * STEP)
    assert found.landmarks["liver_dome"].volumes == 2 and found.landmarks["L3"].volumes == 3


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "give `labels` or --from-masks, got neither"),
        (["labels.csv", "--from-masks", "masks"], "--from-masks, got both"),
        (
            ["labels.csv", "--mask-names", "names.csv"],
            "--mask-names applies to masks; give --from-masks",
        ),
        (["--from-masks", "nowhere"], "nowhere does not exist; give an existing file or folder"),
        (["--from-masks", "."], "holds no NIfTI masks"),
    ],
)
def test_calibrate__what_is_given_must_fit(
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "masks").mkdir()
    for name in ("labels.csv", "names.csv"):
        (tmp_path / name).touch()
    assert main(["calibrate", str(world / "scores"), *given, "--out", "r.json"]) == 2
    assert why in capsys.readouterr().err and not Path("r.json").exists()


def test_calibrate__from_masks_needs_paths(
    computed: dict[str, tuple[Phantom, Masks]], world: Path, tmp_path: Path
) -> None:
    path, made = world / "data" / "trunk" / "ct.nii.gz", computed["trunk"][0]
    scores = scored(tmp_path / "scores", {path: made.body_mm}, paths=False)
    with pytest.raises(ValueError, match="keeps no paths, which `from_masks` needs"):
        calibrate(scores, None, tmp_path / "r.json", from_masks=world / "data")


APEX, DOME, CREST = {LUNG: "lung_apex"}, {LIVER: "liver_dome"}, {HIP: "iliac_crest"}
REAL = {
    "gate_ct_bg_4mm_neck_to_thigh": APEX | DOME,
    "itkelastix_4DCT_phase00_chest": APEX | DOME,
    "readii_NSCLC-Radiogenomics_R01-001_chest": APEX | DOME,
    "matrad_CORT_LIVER_abdomen": APEX | DOME | CREST,  # begins within the lungs
    "aitest_ACRIN-FLT-Breast_001_lungbase_to_pelvis": DOME | CREST,  # begins at the dome
}
"""Scan -> mask -> the landmark at its top."""


@pytest.mark.parametrize("name", REAL)
def test_marks__of_thresholded_lungs_and_bones_of_real_ct(
    shared: Path, tmp_path: Path, name: str
) -> None:
    """Lungs, liver and hips begin where a reader saw them."""
    ct = shared / "ct" / "torso" / f"{name}.nii.gz"
    with (shared / "ct" / "catalog.csv").open(newline="") as file:
        (row,) = (row for row in csv.DictReader(file) if row["file"] == f"torso/{ct.name}")
    volume = read_scan(ct).volume
    assert volume.place is not None
    place = np.diag([-1.0, -1, 1, 1]) @ np.vstack([volume.place, [0, 0, 0, 1]])
    place = place @ np.diag([1.0, 1, volume.spacing_mm[0], 1])
    found = thresholded(volume.hu, volume.spacing_mm)
    save_masks(tmp_path / "masks" / name, {mask: found[mask] for mask in REAL[name]}, place)
    scores = scored(tmp_path / "scores", {ct: np.arange(len(volume.hu)) / 10})
    (marks,) = mask_labels(tmp_path / "masks", scores).marks.values()
    for mark in REAL[name].values():
        seen = float(volume.z_mm[int(row[mark] or 0)])
        if seen < 10:
            assert marks[mark] == -math.inf, mark
        else:
            assert marks[mark] == pytest.approx(seen, abs=20), mark
