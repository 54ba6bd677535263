"""What UBR is compared with, and a table whose rows are made once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import ablation, sampling, table1
from benchmarks.common import recipes
from benchmarks.common import rows as result_rows
from benchmarks.common.baselines import PART_MM, PairOrder, Supervised, places, trained
from benchmarks.common.labelled import read_labelled
from benchmarks.common.landmarks import PARTS
from benchmarks.common.methods import measured
from tests.made.toys import toy_recipe
from ubr.pretrain.data.bank import to_grid
from ubr.pretrain.module import UBR
from ubr.pretrain.phantom.files import phantoms

Z = 10.0 * np.arange(60)


def ranks(chest: int, abdomen: int, pelvis: int, before: int = 0) -> np.ndarray:
    """Of a volume with so many slices of each part."""
    found = np.repeat([-1, 0, 1, 2], [before, chest, abdomen, pelvis])
    return np.concatenate([found, np.full(60 - len(found), -1)])


def test_places__are_linear_between_borders_and_of_usual_length_beyond() -> None:
    found = places(ranks(20, 22, 10, before=5), Z)
    assert np.isnan(found[:5]).all() and np.isnan(found[57:]).all()
    assert found[25] == pytest.approx(1 + 5 / 220) and found[46] == pytest.approx(
        2 - 5 / 220
    )  # borders lie between slices
    assert np.diff(found[5:57]).min() > 0
    assert found[24] - found[14] == pytest.approx(100 / PART_MM[0], abs=1e-9)
    assert found[56] - found[50] == pytest.approx(60 / PART_MM[2], abs=1e-9)


def test_places__without_a_border_nothing_is_known() -> None:
    assert np.isnan(places(ranks(30, 0, 0), Z)).all() and np.isnan(places(np.full(60, -1), Z)).all()
    one = places(ranks(0, 20, 20), Z)
    assert one[19] == pytest.approx(2 - 5 / PART_MM[1]) and one[0] == pytest.approx(
        2 - 195 / PART_MM[1]
    )
    long = places(ranks(40, 15, 0), Z)  # a chest that is longer than usual continues evenly
    assert long[0] < 0 and long[1] - long[0] == pytest.approx(10 / PART_MM[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten small computed scans with a labels.csv, like the labelled folder of a user."""
    out = tmp_path_factory.mktemp("labelled") / "scans"
    phantoms(out, n=10, seed=3, form="nifti", size_px=64, workers=2)
    return out


def test_labelled__a_users_folder_is_read_and_split_by_patient(
    folder: Path, tmp_path: Path
) -> None:
    data = read_labelled(str(folder), tmp_path / "work")
    assert len(data.parts) == 10 and set().union(
        *(set(p.values()) for p in data.parts.values())
    ) == set(PARTS)
    train, tested = data.split(0)
    assert len(tested) == 4 and not {r.patient for r in train} & {r.patient for r in tested}
    assert (
        [r.key for r in data.split(0)[1]]
        == [r.key for r in tested]
        != [r.key for r in data.split(1)[1]]
    )
    row = tested[0]
    assert [PARTS[i] for i in data.ranks(row) if i >= 0] == list(data.parts[row.key].values())


def test_labelled__a_folder_without_labels_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"has no labels: give 'phantom', or a folder with a labels\.csv"
    ):
        read_labelled(str(tmp_path), tmp_path / "work")
    other = tmp_path / "other"
    other.mkdir()
    (other / "labels.csv").write_text("file,slice,region\nnobody,0,chest\n")
    (other / "a.nii.gz").symlink_to(next(folder.glob("*.nii.gz")))
    with pytest.raises(ValueError, match=r"labels\.csv .* names none of its series"):
        read_labelled(str(other), tmp_path / "work2")


@pytest.mark.heavy
def test_baselines__learn_and_are_trained_once(folder: Path, tmp_path: Path) -> None:
    data = read_labelled(str(folder), tmp_path / "work")
    rows = [row for row in data.store.usable() if row.slices >= 4]
    known = [data.ranks(row) for row in rows]
    recipe = toy_recipe(g=5, steps=60)
    module = trained(Supervised(recipe, data.store, rows, known), tmp_path / "supervised")
    assert isinstance(module, Supervised)
    with torch.inference_mode():
        found = [
            module.logits(to_grid(data.store, row, recipe.inputs)).argmax(1).numpy() for row in rows
        ]
    right = np.concatenate(
        [(one == truth)[truth >= 0] for one, truth in zip(found, known, strict=True)]
    )
    assert right.mean() > 0.55, "it classifies what it was trained on"
    again = trained(Supervised(recipe, data.store, rows, known), tmp_path / "supervised")
    for a, b in zip(module.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    pairs = trained(PairOrder(toy_recipe(g=8, m=2, steps=3), data.store, rows), tmp_path / "pairs")
    assert pairs.order.in_features == 1024


@pytest.mark.heavy
def test_table__every_method_has_a_row_once(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(result_rows, "RESULTS", tmp_path / "results")
    monkeypatch.setitem(recipes.RECIPES, "quick", lambda: toy_recipe(g=4, steps=4))
    monkeypatch.setattr(
        sys, "argv", ["table1", "--data", str(folder), "--work", str(tmp_path / "work")]
    )
    table1.main()
    found = result_rows.read("table1")
    assert [row["labelled"] for row in found] == ["6", "6", "2", "2", "2", "2", "6"]
    assert len({row["method"] for row in found}) == 7
    assert {row["pairs"] for row in found if row["labelled"] == "2"} == {"5"}, "the same for all"
    assert all(
        0 <= float(row["low"]) <= float(row["accuracy"]) <= float(row["high"]) <= 1 for row in found
    )
    assert sum(int(row["slices"]) for row in result_rows.read("histogram")) == int(
        found[0]["slices"]
    )
    table1.main()
    assert result_rows.read("table1") == found
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--steps", "3"])
    monkeypatch.setattr(
        Supervised,
        "configure_optimizers",
        lambda self: torch.optim.SGD(self.parameters(), lr=float("inf")),
    )
    table1.main()
    lost, *others = result_rows.read("table1")[7:]
    assert (lost["recipe"], lost["method"], lost["accuracy"]) == (
        "small, 3 steps",
        "supervised",
        "",
    ) and len(others) == 6
    assert all(row["accuracy"] for row in others), "the next method has its turn"
    monkeypatch.setattr(sys, "argv", sys.argv[:-2])
    monkeypatch.setattr(sampling, "SLICES", (2, 4))
    sampling.main()
    sampling.main()
    found = result_rows.read("sampling")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--only", "no crops"])
    ablation.main()
    (row,) = result_rows.read("ablation")
    assert row["method"] == "no crops" and -1 <= float(row["r"]) <= 1
    assert [(row["m"], row["g"], row["distance"]) for row in found] == [
        ("2", "6", "0.0"),
        ("4", "4", "0.0"),
        ("4", "4", "1.0"),
    ]
    monkeypatch.setattr(
        UBR,
        "configure_optimizers",
        lambda self: torch.optim.SGD(self.parameters(), lr=float("inf")),
    )
    monkeypatch.setattr(sys, "argv", [*sys.argv[:5], "--steps", "2"])
    sampling.main()
    assert (
        capsys.readouterr().out.count("no row, it diverged") == 3
        and result_rows.read("sampling") == found
    )


class Row:
    def __init__(self, patient: str) -> None:
        self.patient = patient


def test_measured__weighs_slices_and_draws_patients() -> None:
    right = [np.array([True] * 30), np.array([True] * 5 + [False] * 5)]
    found = measured(right, [Row("a"), Row("b")])
    assert found["accuracy"] == pytest.approx(35 / 40, abs=1e-4)
    assert (found["low"], found["high"], found["patients"], found["slices"]) == (0.5, 1.0, 2, 40)


def test_measured__the_interval_holds_what_each_pair_gives() -> None:
    """Patients are all alike here, so that nothing but the pair of labelled volumes varies."""
    by_pair = np.arange(20) < np.array([[20], [16], [12], [8]])
    found = measured([by_pair] * 6, [Row(name) for name in "abcdef"])
    assert (found["accuracy"], found["low"], found["high"]) == (0.7, 0.4, 1.0)
    assert found["slices"] == 120
    one = measured([by_pair[1:2]] * 6, [Row(name) for name in "abcdef"])
    assert (one["accuracy"], one["low"], one["high"]) == (0.8, 0.8, 0.8)
