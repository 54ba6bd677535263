"""What `inspect` tells of a store, beside counts made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ubr.pretrain.cli import main
from ubr.pretrain.data.store import Store
from ubr.pretrain.data.store.description import describe

from ....made.stores import add, made_boxes, made_series, made_volume


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two series of one patient, one of no known patient at another spacing, two left out."""
    store = Store.create(tmp_path / "store")
    add(store, 1, "A")
    add(store, 2, "A")
    made = made_volume(3, slices=4)
    volume = replace(made, spacing_mm=(5.0, 0.5, 1.5), z_mm=made.z_mm * 2, warnings=())
    store.add(made_series(3), volume, made_boxes(volume))
    store.leave_out("0" * 16, "dicom", "no pixel data")
    store.leave_out("1" * 16, "dicom", "no pixel data")
    return store


def test_describe__counts_and_ranges(store: Store) -> None:
    assert describe(store) == {
        "series": 3,
        "patients": 2,
        "slices": 9 + 9 + 4,
        "kinds": {"nifti": 3},
        "spacing_mm": {
            "z": {"smallest": 2.5, "median": 2.5, "largest": 5.0},
            "y": {"smallest": 0.5, "median": 0.75, "largest": 0.75},
            "x": {"smallest": 1.5, "median": 1.5, "largest": 1.5},
        },
        "warnings": {"gap": 2},
        "left_out": {"no pixel data": 2},
    }


def test_describe__an_empty_store(tmp_path: Path) -> None:
    about = describe(Store.create(tmp_path / "empty"))
    assert (about["series"], about["patients"], about["spacing_mm"], about["left_out"]) == (
        0,
        0,
        {},
        {},
    )


def test_inspect__shows_a_store_as_text_and_as_json(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(store.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == describe(store)
    assert main(["inspect", str(store.path)]) == 0
    text = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines == [
        "series 3 (3 nifti)",
        "patients 2",
        "slices 22",
        "z mm 2.500 (2.500 to 5.000)",
        "y mm 0.750 (0.500 to 0.750)",
        "x mm 1.500 (1.500 to 1.500)",
        "warning 2 gap",
        "left out 2",
        "2 no pixel data",
    ]
    assert "JANE" not in text
    assert main(["inspect", str(Store.create(store.path.parent / "empty").path)]) == 0
