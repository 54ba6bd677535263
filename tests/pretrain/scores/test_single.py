"""One scan in memory is scored as in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest

from ubr.pretrain.scores import scoring, single
from ubr.pretrain.scores.series import SeriesScores
from ubr.pretrain.scores.write import TableOptions, write_tables
from ubr.weights import scorer
from ubr.weights.common.notes import Note, note

from ...made.dicom import Made, write
from ...made.scans import CANONICAL, cut, grid
from ...made.scores import regions, scored_by_darkness, weights


def test_score_scan__is_what_score_writes(tmp_path: Path) -> None:
    of = weights()
    nib.save(nib.Nifti1Image(grid(), CANONICAL), tmp_path / "ct.nii")
    with scored_by_darkness():
        written = scoring.score(
            of, [tmp_path / "ct.nii"], tmp_path / "scores", workers=0, progress=False
        ).series[0]
        _, volume, scores = single.score_scan(of, tmp_path / "ct.nii")
    np.testing.assert_array_equal(written.scores, scores)
    np.testing.assert_array_equal(written.z_mm, volume.z_mm)


def test_score_scan__slices_that_are_missing_are_noted(tmp_path: Path) -> None:
    cut(write(tmp_path, Made().datasets())[3], 0.9)
    note.cache_clear()
    with scored_by_darkness(), pytest.warns(Note, match="unreadable: 1 of 20 files"):
        _, volume, _ = single.score_scan(weights(), tmp_path)
    assert len(volume.hu) == 19


def test_score_scan__what_the_library_logs_is_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ct.nii"
    nib.save(nib.Nifti1Image(grid(), CANONICAL), path)
    content = bytearray(path.read_bytes())
    content[70:72] = b"\0\0"  # datatype 0, of which nibabel logs that it is not supported
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged or truncated NIfTI file"):
        single.score_scan(weights(), path)
    assert not caplog.records


def test_read_by__is_what_the_tables_hold_for_the_scan_alone(tmp_path: Path) -> None:
    of = weights()
    z = np.arange(80) * 5.0
    wavy = ((z + 30 * np.sin(z / 40)) / 50).astype(np.float32)
    gap = np.concatenate([wavy[:40], wavy[40:] + 4])
    for name, scores in (("line", wavy), ("gap", gap), ("reversed", wavy[::-1])):
        one = SeriesScores(name, scores, z, (), "")
        folder = tmp_path / name
        folder.mkdir()
        write_tables(folder, lambda one=one: iter([one]), [], TableOptions(positions=True), {})
        written = pq.read_table(folder / "slices.parquet")["position_mm"].to_numpy()
        by_position = replace(regions(of), axis="position")
        read = single.read_by(by_position, scores.astype(np.float64), z)
        np.testing.assert_allclose(50 * read, written, atol=1e-9)
        assert single.read_by(regions(of), scores, z) is scores
        assert single.read_by(None, scores, z) is scores


def test_score_scan__faults_of_the_curve_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def jumps(regressor: object, hu: object, spacing_mm: object, z_mm: np.ndarray) -> np.ndarray:
        return z_mm / 50 + np.where(z_mm > z_mm[-1] / 2, 4.0, 0.0)

    monkeypatch.setattr(scorer, "score_slices", jumps)
    long = np.tile(grid(), (1, 1, 4))
    nib.save(nib.Nifti1Image(long, CANONICAL), tmp_path / "ct.nii")
    note.cache_clear()
    with pytest.warns(Note, match=r"ct.nii may be faulty \(gap\): .*; levels in it may be wrong"):
        single.score_scan(weights(), tmp_path / "ct.nii")
