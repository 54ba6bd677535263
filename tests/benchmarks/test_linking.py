"""The choice of a rule of linking, on boxes that a hand has written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import linking
from benchmarks.common import rows as result_rows
from ubr.downstream.prediction.boxes import Boxes
from ubr.downstream.prediction.judging import LookedAt
from ubr.pretrain.data.volume import Volume

LESION = {
    **{"folder": "a", "coarse_lesion_type": "2", "diameter_mm": "9"},
    **{"first_slice": "1", "last_slice": "12"},
    **{"x1": "10", "y1": "20", "x2": "20", "y2": "30"},
}


def looked(*_: object, **__: object) -> Iterator[LookedAt]:
    """Two scans; a lesion of twelve slices is found in two, 8 mm apart."""
    index = np.array([3, 7], np.int32)
    boxes = Boxes(index, np.tile([10.0, 20.0, 20.0, 30.0], (2, 1)), np.array([0.9, 0.8]))
    for patient in ("a", "b"):
        volume = Volume(np.zeros((12, 60, 60), np.int16), (2.0, 1.0, 1.0), np.arange(12) * 2.0)
        yield LookedAt(patient, [LESION], volume, boxes)


def test_linked__leaves_out_boxes_that_are_not_sure_enough() -> None:
    scan = next(looked())
    assert len(linking.linked(scan, 0.05, 0.3, 10.0).scores) == 1
    assert len(linking.linked(scan, 0.05, 0.3, 5.0).scores) == 2
    assert linking.linked(scan, 0.85, 0.3, 10.0).scores.tolist() == [0.9]


def test_program__chooses_on_validation_and_reports_on_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_rows, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(linking, "look_at_scans", looked)
    monkeypatch.setattr(linking, "to_device", lambda *_: None)
    monkeypatch.setattr(linking, "Looker", lambda *_: None)
    recipe = SimpleNamespace(view=None)
    monkeypatch.setattr(linking, "load_detector", lambda *_: (None, recipe, None))
    config = {"start": {"weights_sha256": "f" * 64}, "recipe": {"seed": 0}}
    monkeypatch.setattr(linking.runs, "read_config", lambda _: config)
    linking.main([str(tmp_path / "one"), "--data", str(tmp_path)])
    rows = result_rows.read("linking")
    assert len([row for row in rows if row["split"] == "val"]) == len(linking.RULES)
    (chosen,) = (row for row in rows if row["split"] == "test" and row["chosen"])
    assert float(chosen["gap_mm"]) >= 8 and chosen["at_1"] == "1.0"
    unlinked = next(row for row in rows if row["split"] == "test" and row["overlap"] == "1.0")
    # A box of one slice covers a twelfth of the lesion: too little to have found it.
    assert (unlinked["findings"], chosen["findings"]) == ("4", "2")
    assert unlinked["at_4"] == "0.0" and unlinked["lesions"] == "2"
