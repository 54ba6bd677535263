"""Findings judged in space, beside what a hand computes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.made.deeplesion import row, write_slice, write_table
from tests.made.detectors import use_bright
from ubr.downstream.cli import main
from ubr.downstream.metrics import ImageResult
from ubr.downstream.planting.rows import LESION_COLUMNS
from ubr.downstream.prediction.boxes import Boxes
from ubr.downstream.prediction.judging import scan_report, scan_result
from ubr.downstream.prediction.linking import link
from ubr.downstream.slices import View
from ubr.pretrain.data.volume import Volume

LESION = {
    **{"folder": "000001_01_01", "kind": "node", "coarse_lesion_type": "2", "diameter_mm": "9"},
    **{"first_slice": "4", "last_slice": "6", "key_slice": "5"},
    **{"x1": "10", "y1": "20", "x2": "20", "y2": "30"},
}


def result(rows: list[tuple[int, float, tuple[float, ...]]]) -> ImageResult:
    """Boxes (slice, score, edges) in a scan of ten slices 5 mm apart, which has `LESION`."""
    volume = Volume(np.zeros((10, 60, 60), np.int16), (5.0, 1.0, 1.0), np.arange(10) * 5.0)
    boxes = Boxes(
        np.array([z for z, _, _ in rows], np.int32),
        np.array([edges for _, _, edges in rows]).reshape(-1, 4),
        np.array([score for _, score, _ in rows]),
    )
    found = link(boxes, volume.z_mm, volume.spacing_mm, range(10))
    return scan_result("a", volume, [LESION], found)


def test_scan_result__boxes_in_space_are_those_of_the_lesion() -> None:
    edges = (10.0, 20.0, 20.0, 30.0)
    # Slices 4 to 6 of the files are 3 to 5 from 0, at 15 to 25 mm, and 5 mm thick.
    one = result([(3, 0.5, edges), (4, 0.9, edges), (5, 0.7, edges)])
    assert one.truth.tolist() == one.predicted.tolist() == [[10, 20, 12.5, 20, 30, 27.5]]
    assert one.overlaps.tolist() == [[1]] and one.types.tolist() == [2]
    assert result([(4, 0.9, edges)]).overlaps.tolist() == [[pytest.approx(1 / 3)]]
    # Moved by half a side in the slice, one slice too far: (5 x 10 x 10) of 2 x 1500 - 500.
    moved = (15.0, 20.0, 25.0, 30.0)
    two = result([(4, 0.9, moved), (5, 0.9, moved), (6, 0.9, moved)])
    assert two.overlaps.tolist() == [[pytest.approx(500 / 2500)]]


def test_scan_report__counts_false_positives_per_scan() -> None:
    hit, far = (10.0, 20.0, 20.0, 30.0), (40.0, 40.0, 50.0, 50.0)
    # Two scans: in one the lesion comes after two false positives, in the other it is missed.
    first = result([(0, 0.9, far), (4, 0.6, hit), (9, 0.8, far)])
    second = result([(8, 0.7, hit)])
    report = scan_report([first, second], draws=10)
    assert (report["scans"], report["lesions"], report["findings"]) == (2, 2, 4)
    # Three false positives in two scans come before the lesion.
    shown = {point["fp_per_scan"]: point["value"] for point in report["froc"]}
    assert shown == {0.5: 0, 1.0: 0, 2.0: 0.5, 4.0: 0.5, 8.0: 0.5}


def planted(folder: Path, lesions: list[dict[str, str]], slices: int = 10) -> Path:
    """A data set of whole scans; its lesions shine."""
    for patient in (1, 2):
        for z in range(slices):
            hu = np.full((64, 64), -1000, int)
            hu[4:60, 4:60] = 40
            if 3 <= z <= 5:
                hu[25:35, 15:25] = 950
            if z == 8 and patient == 2:
                hu[40:46, 40:46] = 990
            write_slice(folder, f"00000{patient}_01_01/{z + 1:03d}", hu)
    rows = [
        row(
            f"00000{patient}_01_01_005.png",
            Bounding_boxes="16, 26, 26, 36",
            Spacing_mm_px_="1, 1, 5",
            Image_size="64, 64",
            Slice_range=f"1, {slices}",
            Possibly_noisy="0",
            Train_Val_Test="3",
        )
        for patient in (1, 2)
    ]
    write_table(folder, rows)
    with (folder / "lesions.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, LESION_COLUMNS)
        table.writeheader()
        table.writerows(lesions)
    return folder


def lesion(folder: str, **changes: str) -> dict[str, str]:
    return {**LESION, "x1": "15", "y1": "25", "x2": "25", "y2": "35", "folder": folder, **changes}


def evaluated(run: Path, data: Path, out: Path, *words: str) -> int:
    argv = ["evaluate", str(run), str(data), "--out", str(out), "--device", "cpu"]
    return main([*argv, "--workers", "0", "--pictures", "0", *words])


def test_evaluate__judges_whole_scans(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = use_bright(monkeypatch, View(mm_per_px=1.0))
    data = planted(tmp_path / "set", [lesion("000001_01_01"), lesion("000002_01_01")])
    assert evaluated(run, data, tmp_path / "out", "--scans") == 0
    text = capsys.readouterr().out
    assert "2 lesions in 2 whole scans, 3 findings" in text and "at    1 FP per scan" in text
    report: dict[str, Any] = json.loads((tmp_path / "out" / "report.json").read_text())
    # The false positive, 990 HU, is surer than both lesions.
    froc = {one["fp_per_scan"]: one["value"] for one in report["in_space"]["froc"]}
    assert froc == {0.5: 1, 1.0: 1, 2.0: 1, 4.0: 1, 8.0: 1}
    assert sum(map(len, detector.seen)) == 2 + 20
    assert evaluated(run, data, tmp_path / "plain") == 0
    assert "in_space" not in json.loads((tmp_path / "plain" / "report.json").read_text())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (None, "lesions.csv is absent, so lesions in space are not known; give a folder that"),
        ({"last_slice": "12"}, "000001_01_01 lacks slices; give a folder that plant --whole wrote"),
        ({"x1": "left"}, "x1 must be a number, got 'left'; give a folder that"),
    ],
)
def test_evaluate__needs_whole_scans(
    change: dict[str, str] | None,
    reason: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_bright(monkeypatch, View(mm_per_px=1.0))
    data = planted(tmp_path / "set", [lesion("000001_01_01", **(change or {}))])
    if change is None:
        (data / "lesions.csv").unlink()
    assert evaluated(run, data, tmp_path / "out", "--scans") == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert reason in line and not (tmp_path / "out").exists()
