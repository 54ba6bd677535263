"""Detectors on scans: places in the patient, resuming, what is left out and refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.made.detectors import use_bright
from tests.made.dicom import Made, write
from tests.made.odd import odd_entries
from tests.pretrain.scores.helpers import Stop, stopping
from ubr.downstream.cli import main
from ubr.downstream.prediction import predicting
from ubr.downstream.prediction.predicting import predict
from ubr.downstream.slices import View
from ubr.pretrain.data.ingestion import ingest
from ubr.weights.common.working import Working

QUIET: dict[str, Any] = {"workers": 0, "progress": False, "device": "cpu"}
FILES = {
    *("settings.json", "left_out.csv", "series.csv", "findings.csv", "boxes.parquet"),
    "findings.html",
}
STEP, ROW, COLUMN = 4.0, 0.8, 1.25
RAS = np.array([[COLUMN, 0, 0, -40.0], [0, ROW, 0, -30.0], [0, 0, STEP, -200.0], [0, 0, 0, 1]])
"""Columns to the patient's right, rows to the front, slices from foot to head."""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    assert {p.name for p in folder.iterdir()} == FILES
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def scan(path: Path, seed: int = 0) -> Path:
    """A body with two bright cuboids; the larger one is voxels 30..50, 20..60, 8..12, without the
    ends.
    """
    rng = np.random.default_rng(seed)
    hu = np.full((90, 100, 20), -1000, np.int16)
    hu[10:80, 8:92] = rng.integers(0, 80, (70, 84, 20))
    hu[30:50, 20:60, 8:12] = 950
    hu[60:70, 70:80, 3:4] = 990
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(hu, RAS), path)
    return path


@pytest.mark.parametrize("view", [View(mm_per_px=0.8), View(channels=3, mm_per_px=0.8)])
def test_findings__lie_where_they_are_in_the_patient(
    view: View, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_bright(monkeypatch, view)
    predict(run, [scan(tmp_path / "a.nii")], tmp_path / "found", **QUIET)
    large = max(rows(tmp_path / "found" / "findings.csv"), key=lambda one: float(one["depth_mm"]))
    # NIfTI's affine places the middles of voxels, in RAS; its first slice is at the foot.
    middle = RAS @ [(30 + 49) / 2, (20 + 59) / 2, (8 + 11) / 2, 1]
    at = [float(large[name]) for name in ("l_mm", "p_mm", "s_mm")]
    assert at == pytest.approx([-middle[0], -middle[1], middle[2]], abs=0.8)
    sizes = [float(large[name]) for name in ("width_mm", "height_mm", "depth_mm")]
    assert sizes == pytest.approx([20 * COLUMN, 40 * ROW, 4 * STEP], abs=1.6)
    assert (large["first_slice"], large["last_slice"]) == ("8", "11")
    # Slices count from the head, columns from the patient's right and rows from the front.
    edges = [float(large[name]) for name in ("x1", "y1", "x2", "y2")]
    assert edges == pytest.approx([90 - 50, 100 - 60, 90 - 30, 100 - 20], abs=1)
    assert float(large["diameter_mm"]) == pytest.approx(40 * ROW - 2 * 5 * ROW, abs=1)
    boxes = pq.read_table(tmp_path / "found" / "boxes.parquet").to_pylist()
    assert len(boxes) == 5 and {box["finding"] for box in boxes} == {1, 2}
    assert {box["index"] for box in boxes} == {8, 9, 10, 11, 16}
    for box in (one for one in boxes if one["index"] != 16):
        heads = RAS @ [0, 0, 19 - box["index"], 1]
        assert box["s1_mm"] == box["s2_mm"] == pytest.approx(heads[2])
        assert box["z_mm"] == STEP * box["index"]
        # Corners are edges: half a voxel beyond the middles.
        first, last = RAS @ [29.5, 59.5, 0, 1], RAS @ [49.5, 19.5, 0, 1]
        corners = [box[name] for name in ("l1_mm", "p1_mm", "l2_mm", "p2_mm")]
        wanted = sorted([-first[0], -last[0]]), sorted([-first[1], -last[1]])
        assert sorted(corners[::2]) == pytest.approx(wanted[0], abs=1.3)
        assert sorted(corners[1::2]) == pytest.approx(wanted[1], abs=1.3)


def test_findings__of_dicom_lie_where_its_headers_say(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_bright(monkeypatch, View(mm_per_px=4.0))
    made = Made()
    datasets = made.datasets()
    for ds in datasets[5:8]:
        pixels = np.frombuffer(ds.PixelData, np.uint16).reshape(made.size).copy()
        pixels[8:20, 12:30] = 1024 + 950
        ds.PixelData = pixels.tobytes()
    write(tmp_path / "dicom", datasets)
    predict(run, [tmp_path / "dicom"], tmp_path / "found", **QUIET)
    (found,) = rows(tmp_path / "found" / "findings.csv")
    corner = np.array(datasets[6].ImagePositionPatient, float)
    at = [float(found[name]) for name in ("l_mm", "p_mm", "s_mm")]
    assert at == pytest.approx(corner + np.array([82.0, 54.0, 0.0]), abs=4)
    assert (found["first_slice"], found["best_slice"], found["last_slice"]) == ("5", "5", "7")


def world(tmp_path: Path, count: int = 3) -> list[Path]:
    return [scan(tmp_path / "scans" / f"{seed}.nii", seed) for seed in range(count)]


def test_predict__of_a_store_equals_that_of_its_files_but_for_the_place(
    run: Path, tmp_path: Path
) -> None:
    world(tmp_path)
    ingest([tmp_path / "scans"], tmp_path / "store", workers=1)
    options = {**QUIET, "min_score": 0.0, "top": 3}
    for name in ("scans", "store"):
        predict(run, [tmp_path / name], tmp_path / f"of {name}", **options)
    files, store = (rows(tmp_path / f"of {name}" / "findings.csv") for name in ("scans", "store"))
    assert len(files) == 9 and all(row["l_mm"] for row in files)
    assert store == [{**row, "l_mm": "", "p_mm": "", "s_mm": ""} for row in files]


@pytest.mark.parametrize("series", range(3))
def test_predict__stopped_and_repeated_gives_the_same_bytes(
    series: int, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world(tmp_path)
    options = {**QUIET, "min_score": 0.0}
    predict(run, [tmp_path / "scans"], tmp_path / "whole", **options)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Working, "add", stopping(Working.add, series))
        predict(run, [tmp_path / "scans"], tmp_path / "cut", **options)
    with monkeypatch.context() as patch:  # what was finished is not read again
        patch.setattr(predicting, "_read", stopping(predicting._read, 3 - series))
        again = predict(run, [tmp_path / "scans"], tmp_path / "cut", **options)
    assert again.already == series
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cut").iterdir()}
    assert predict(run, [tmp_path / "scans"], tmp_path / "cut", **options).already == 3
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cut").iterdir()} == before


def test_predict__stopped_and_repeated_looks_again_at_a_series_that_has_grown(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grows, stays = Made().datasets(), Made().datasets()
    write(tmp_path / "scans", [*grows[:-5], *stays])
    options = {**QUIET, "min_score": 0.0}
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Working, "finish", stopping(Working.finish, 0))
        predict(run, [tmp_path / "scans"], tmp_path / "cut", **options)
    write(tmp_path / "scans", grows[-5:])
    assert predict(run, [tmp_path / "scans"], tmp_path / "cut", **options).already == 1
    predict(run, [tmp_path / "scans"], tmp_path / "whole", **options)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_predict__readers_beside_it_change_nothing(run: Path, tmp_path: Path) -> None:
    world(tmp_path)
    for workers in (0, 2):
        options = {**QUIET, "workers": workers, "min_score": 0.0}
        predict(run, [tmp_path / "scans"], tmp_path / str(workers), **options)
    assert contents(tmp_path / "0") == contents(tmp_path / "2")


def test_every_mm__looks_at_some_slices(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = use_bright(monkeypatch, View(mm_per_px=0.8))
    options = {**QUIET, "every_mm": 12.0}
    predict(run, [scan(tmp_path / "a.nii")], tmp_path / "found", **options)
    assert sum(map(len, detector.seen)) == 8  # 0, 3, ..., 18 and the last one, 19
    (one,) = rows(tmp_path / "found" / "series.csv")
    assert (one["slices"], one["looked_at"]) == ("20", "8")
    (found,) = rows(tmp_path / "found" / "findings.csv")
    assert found["first_slice"] == found["last_slice"] == "9"


def test_top__keeps_the_surest_findings_and_all_boxes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_bright(monkeypatch, View(mm_per_px=0.8))
    for top in (1, None):
        options = {**QUIET, "top": top}
        predict(run, [scan(tmp_path / "a.nii")], tmp_path / str(top), **options)
    (one,), both = (rows(tmp_path / str(top) / "findings.csv") for top in (1, None))
    assert len(both) == 2 and one == max(both, key=lambda row: float(row["score"]))
    boxes = pq.read_table(tmp_path / "1" / "boxes.parquet").to_pylist()
    assert len(boxes) == 5 and {box["finding"] for box in boxes} == {1, None}


def test_coco__is_read_by_cocos_own_tools(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    use_bright(monkeypatch, View(mm_per_px=0.8))
    world(tmp_path, 2)
    options = {**QUIET, "coco": True, "top": 1}
    predict(run, [tmp_path / "scans"], tmp_path / "found", **options)
    read = coco.COCO(str(tmp_path / "found" / "boxes.json"))
    assert len(read.imgs) == 2 * 20 and len(read.anns) == 2 * 5
    boxes = pq.read_table(tmp_path / "found" / "boxes.parquet").to_pylist()
    for box, one in zip(boxes, read.loadAnns(read.getAnnIds()), strict=True):
        (image,) = read.loadImgs(one["image_id"])
        assert (image["series"], image["index"]) == (box["series"], box["index"])
        assert (image["width"], image["height"]) == (90, 100)
        x, y, w, h = one["bbox"]
        edges = [box[name] for name in ("x1", "y1", "x2", "y2")]
        assert [x, y, x + w, y + h] == pytest.approx(edges, abs=1e-3)
        assert one["finding"] == box["finding"] and one["area"] == pytest.approx(w * h, rel=1e-5)
        assert one["score"] == pytest.approx(box["score"])


def test_coco__of_scans_without_a_box(run: Path, tmp_path: Path) -> None:
    predict(run, [scan(tmp_path / "a.nii")], tmp_path / "f", coco=True, min_score=0.99, **QUIET)
    read = json.loads((tmp_path / "f" / "boxes.json").read_text())
    assert len(read["images"]) == 20 and read["annotations"] == []


def test_predict__says_what_was_left_out_and_no_path_unless_asked(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = scan(tmp_path / "DOE^JANE" / "a.nii")
    (good.parent / "cut.nii").write_bytes(good.read_bytes()[:2000])
    (good.parent / "letter.txt").write_text("Dear Jane")
    words = ["predict", str(run), str(good.parent), "--workers", "0", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "f")]) == 0
    assert "1 damaged or truncated NIfTI file" in capsys.readouterr().out
    assert not any(b"JANE" in data for data in contents(tmp_path / "f").values())
    assert len(rows(tmp_path / "f" / "left_out.csv")) == 2
    assert main([*words, "--out", str(tmp_path / "g"), "--with-paths", "--json"]) == 0
    (one,) = rows(tmp_path / "g" / "series.csv")
    assert Path(one["path"]).name == "a.nii"
    assert {Path(row["path"]).name for row in rows(tmp_path / "g" / "left_out.csv")} == {
        *("cut.nii", "letter.txt")
    }


def test_predict__odd_entries_cost_a_line_each(run: Path, tmp_path: Path) -> None:
    scan(tmp_path / "scans" / "a.nii")
    with odd_entries(tmp_path / "scans" / "odd") as reasons:
        predict(run, [tmp_path / "scans"], tmp_path / "found", **QUIET)
    assert len(rows(tmp_path / "found" / "series.csv")) == 1
    found = [row["reason"] for row in rows(tmp_path / "found" / "left_out.csv")]
    assert sorted(found) == sorted(reasons.values())


def never(*_: Any) -> Any:
    raise AssertionError("it looked at a scan")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--min-score", "1"], "--min-score must be at least 0 and below 1, got 1"),
        (["--top", "0"], "--top must be at least 1, got 0"),
        (["--every-mm", "0"], "--every-mm must be above 0, got 0"),
        (["--every-mm", "nan"], "--every-mm must be a number or null, got nan"),
        (["--workers", "-1"], "--workers must be at least 0, got -1"),
        (["--which", "worst"], "--which must be one of best, last, got worst"),
        (["--scorer", "none.safetensors"], "none.safetensors does not exist"),
        (["--device", "cuda:9"], "--device 'cuda:9' is not available; this machine has cpu"),
    ],
)
def test_predict__refuses_in_one_line_and_leaves_nothing(
    words: list[str],
    reason: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(predicting, "_read", never)
    argv = ["predict", str(run), str(scan(tmp_path / "a.nii")), "--out", str(tmp_path / "out")]
    try:
        assert main([*argv, *words]) == 2
    except SystemExit as stop:  # jsonargparse's own refusals
        assert stop.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert reason in line and not (tmp_path / "out").exists()


Change = Callable[[Path, Path], list[str]]
OTHERS: dict[str, tuple[Change, str]] = {
    "no run": (lambda run, scans: [str(scans), str(scans)], "holds no best.pth"),
    "no scan": (lambda run, scans: [str(run), "nowhere"], "nowhere does not exist"),
    "not a scan": (lambda run, scans: [str(run), str(run)], "no CT series was found"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_predict__needs_a_run_and_scans(
    case: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, reason = OTHERS[case]
    scan(tmp_path / "scans" / "a.nii")
    words = change(run, tmp_path / "scans")
    assert main(["predict", *words, "--out", str(tmp_path / "out"), "--workers", "0"]) == 2
    assert reason in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_predict__a_folder_of_other_settings_or_series_is_refused(
    run: Path, tmp_path: Path
) -> None:
    one, other = scan(tmp_path / "a.nii", 1), scan(tmp_path / "b.nii", 2)
    predict(run, [one], tmp_path / "found", **QUIET)
    with pytest.raises(ValueError, match=r"was begun with min_score 0\.3, not 0\.4"):
        predict(run, [one], tmp_path / "found", min_score=0.4, **QUIET)
    with pytest.raises(ValueError, match="already holds the results of other series"):
        predict(run, [other], tmp_path / "found", **QUIET)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="is not empty, or is a file; give a new `out`"):
        predict(run, [one], tmp_path / "full", **QUIET)


def test_predict__a_real_series(run: Path, shared: Path, tmp_path: Path) -> None:
    source = shared / "ct" / "dicom" / "totalseg_jpeg2000_20"
    predict(run, [source], tmp_path / "found", min_score=0.0, top=5, every_mm=20.0, **QUIET)
    found = rows(tmp_path / "found" / "findings.csv")
    assert len(found) == 5
    # The patient's places are those of pydicom's own reading of the headers.
    import pydicom

    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in source.iterdir()]
    heights = sorted((float(ds.ImagePositionPatient[2]) for ds in headers), reverse=True)
    for row in found:
        ends = heights[int(row["first_slice"])], heights[int(row["last_slice"])]
        assert float(row["s_mm"]) == pytest.approx(sum(ends) / 2, abs=0.01)
