"""Starts compared: intervals, corrections, refusals, and rows that are made once."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import starts
from benchmarks.common import given_starts, planted
from benchmarks.common import rows as result_rows
from benchmarks.common.comparison import as_text, differences, experiments, null_check
from tests.made.lesions import lesion_world, tiny_recipe
from tests.made.networks import weights_of
from ubr.downstream.evaluation import load_detector
from ubr.downstream.recipes import RECIPES
from ubr.weights import Machine

PATIENTS, SEEDS = 12, 6


def made(
    recall: dict[str, float], seed: int = 0, share: float = 0.1, suits: float = 0.0
) -> list[dict[str, str]]:
    """Rows of detectors that find lesions with these probabilities; patients differ in how easy
    they are, trainings in luck.

    suits: by how much it differs from patient to patient which start finds their lesions.
    """
    rng = np.random.default_rng(seed)
    easy = rng.normal(0, 0.1, PATIENTS)
    rows = []
    for start, chance in recall.items():
        own = rng.normal(0, suits, PATIENTS)
        for training in range(SEEDS):
            luck = rng.normal(0, 0.02)
            for patient in range(PATIENTS):
                found = rng.binomial(
                    40, np.clip(chance + easy[patient] + own[patient] + luck, 0, 1)
                )
                about = {
                    "data": "torso",
                    "data_sha256": "d",
                    "steps": "400",
                    "config": "c",
                    "intensity": "i",
                    "backbone": "b",
                }
                about |= {"share": f"{share}", "start": start}
                about |= {"weights": "", "pretraining": "64 px" if "ubr" in start else ""}
                rows.append(
                    {
                        **about,
                        "seed": f"{training}",
                        "patient": f"{patient}",
                        "lesions": "40",
                        "found": f"{found}",
                    }
                )
    return rows


def test_differences__a_true_one_is_found_and_its_interval_holds_it() -> None:
    (one,) = differences(made({"random": 0.5, "ubr": 0.6}))
    assert (one.a, one.b, one.seeds, one.patients) == ("random", "ubr", SEEDS, PATIENTS)
    assert 0.02 < one.low < 0.1 < one.high < 0.18 and one.p < 0.01
    assert one.value == pytest.approx(one.recall_b - one.recall_a)
    assert "ubr - random" in as_text([one]) and f"{100 * one.value:+.1f}" in as_text([one])


@pytest.mark.parametrize(("patients", "seeds"), [(12, 6), (8, 5), (4, 2)])
def test_differences__equal_starts_seldom_differ(patients: int, seeds: int) -> None:
    """Also where a patient suits one start better than the other, which is no difference between
    starts.
    """
    found = []
    for draw in range(60):
        rows = made({"random": 0.6, "ubr": 0.6}, draw, suits=0.05)
        found += differences(
            [row for row in rows if int(row["patient"]) < patients and int(row["seed"]) < seeds]
        )
    assert sum(one.p < 0.05 for one in found) <= 6
    assert sum(one.low <= 0 <= one.high for one in found) >= 48


def test_differences__are_corrected_for_how_many_there_are() -> None:
    rows = made({"random": 0.5, "ubr": 0.53, "imagenet": 0.7}) + made(
        {"random": 0.6, "ubr": 0.6, "imagenet": 0.6}, 1, share=1.0
    )
    found = differences(rows)
    assert len(found) == 6 and [one.share for one in found] == [0.1] * 3 + [1.0] * 3
    by_p = sorted(found, key=lambda one: one.p)
    assert by_p[0].corrected == pytest.approx(6 * by_p[0].p)
    assert all(a.corrected <= b.corrected for a, b in pairwise(by_p))
    assert all(one.p <= one.corrected <= 1 for one in found)


def test_differences__several_ubr_trainings_are_compared_separately_and_corrected_together() -> (
    None
):
    rows = made({"random": 0.5, "imagenet": 0.5, "ubr": 0.6})
    first = differences(rows)
    other = [{**row, "pretraining": "128 px", "weights": "w"} for row in made({"ubr": 0.7}, 1)]
    found = differences(rows + other)
    assert [(one.pretraining, one.a, one.b) for one in found if not one.pretraining] == [
        ("", "random", "imagenet")
    ]
    assert [(one.b, one.a) for one in found if one.pretraining == "128 px"] == [
        ("ubr", "random"),
        ("imagenet", "ubr"),
    ]
    assert len(found) == 5 and {one.value for one in first} < {one.value for one in found}
    corrected = {one.value: one.corrected for one in found}
    assert all(corrected[one.value] >= one.corrected for one in first)
    assert as_text(found).count("UBR of ") == 2 and as_text(found).endswith(
        "corrected for by Holm: 5 of starts"
    )


def test_differences__what_positions_bring_is_a_question_of_its_own() -> None:
    starts = {"random": 0.5, "ubr": 0.6, "ubr, position": 0.7, "ubr, shuffled position": 0.6}
    found = differences(made(starts))
    assert [(one.b, one.a) for one in found] == [
        ("ubr", "random"),
        ("ubr, position", "ubr"),
        ("ubr, shuffled position", "ubr"),
        ("ubr, shuffled position", "ubr, position"),
    ]
    assert found[0].corrected == found[0].p
    assert as_text(found).endswith(
        "differences of this experiment corrected for by Holm: 1 of starts, 3 of positions"
    )


def test_experiments__are_called_by_scans_and_length_and_by_more_where_these_are_alike() -> None:
    rows = made({"random": 0.5})
    longer = [{**row, "steps": "800", "config": "longer"} for row in rows]
    again = [{**row, "data_sha256": "planted anew"} for row in rows]
    assert list(experiments([*rows, *longer])) == ["torso, 400 steps", "torso, 800 steps"]
    found = experiments([*rows, *longer, *again])
    assert list(found) == [
        "torso, 400 steps (d, c, b, i)",
        "torso, 800 steps",
        "torso, 400 steps (planted anew, c, b, i)",
    ]
    assert {len(mine) for mine in found.values()} == {PATIENTS * SEEDS}


def test_differences__seeds_that_only_one_has_do_not_count() -> None:
    rows = [
        row
        for row in made({"random": 0.5, "ubr": 0.6})
        if not (row["start"] == "ubr" and row["seed"] in "45")
    ]
    assert differences(rows)[0].seeds == 4
    assert (
        as_text(differences([row for row in rows if row["start"] == "ubr"]))
        == "no two starts have rows of the same seed"
    )


def test_differences__refuse_rows_of_several_configurations() -> None:
    rows = made({"random": 0.5, "ubr": 0.6})
    rows[3] |= {"config": "e"}
    with pytest.raises(
        ValueError, match="rows of different config cannot be compared: c, e; choose one"
    ):
        differences(rows)
    rows[3] |= {"config": "c", "weights": "w"}
    with pytest.raises(
        ValueError, match="rows of the start random are of the weights  and w; move one away"
    ):
        differences(rows)


def test_differences__of_one_patient_and_seed_tell_nothing() -> None:
    rows = [
        row for row in made({"random": 0.1, "ubr": 0.9}) if row["patient"] == row["seed"] == "0"
    ]
    (one,) = differences(rows)
    assert one.p == 1 and one.low == -np.inf and one.value > 0.5


def test_null_check__starts_whose_names_are_exchanged_are_alike() -> None:
    different, tried = null_check(made({"random": 0.5, "ubr": 0.6}))
    assert tried == 2 ** (SEEDS - 1) - 1 and different <= 2
    assert null_check(made({"random": 0.5})) == (0, 0)


@pytest.mark.heavy
def test_lesions__are_planted_once_and_data_have_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planted, "PHANTOMS", 3)
    monkeypatch.setattr(planted, "PHANTOM_PX", 160)
    data, about = planted.lesion_folder("phantom", tmp_path, per_scan=2, studies=1)
    assert data == tmp_path / "planted-phantom-2-1" and about["data"] == "phantom"
    free = (tmp_path / "planted-phantom-2-1-pretraining.txt").read_text().split()
    assert (
        len(free) == 1 and Path(free[0]).is_file()
    )  # of three patients one is validated and one tested on
    assert planted.lesion_folder("phantom", tmp_path, per_scan=2, studies=1) == (data, about)
    other, about_other = planted.lesion_folder(
        str(lesion_world(tmp_path / "world")), tmp_path, per_scan=2, studies=1
    )
    assert other == tmp_path / "world" and about_other["data"] == "world"
    assert about_other["data_sha256"] != about["data_sha256"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="empty"):
        planted.lesion_folder(str(tmp_path / "empty"), tmp_path, per_scan=2, studies=1)


@pytest.fixture
def argv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of a small comparison, where ImageNet's weights cannot be had."""
    world = lesion_world(tmp_path / "world")
    w = weights_of("timm/test_resnet")
    w.provenance["start"] = {"source": "random"}
    w.save(tmp_path / "ubr.safetensors")
    monkeypatch.setattr(result_rows, "RESULTS", tmp_path / "results")
    monkeypatch.setitem(RECIPES, "small", lambda: tiny_recipe(norms="measured", drops=(0.5,)))
    # Processes that load images take seconds to start, and there would be sixteen.
    monkeypatch.setattr(starts, "Machine", lambda **given: Machine(**{**given, "workers": 0}))
    monkeypatch.setattr(starts, "detect", partial(starts.detect, workers=0))
    real = given_starts.starting_weights

    def no_internet(backbone: str, source: str, *more: object, **opened: bool) -> object:
        if source == "imagenet":
            raise ValueError("no ImageNet weights here")
        return real(backbone, source, *more, **opened)

    monkeypatch.setattr(given_starts, "starting_weights", no_internet)
    data = ["--data", str(world), "--work", str(tmp_path / "work")]
    return [*data, "--ubr", str(tmp_path / "ubr.safetensors")]


@pytest.mark.heavy
def test_starts__rows_are_made_once_and_imagenet_is_not_passed_off(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    short = [*argv, "--steps", "3", "--shares", "0.5", "--seeds", "0"]
    starts.main([*short, "--position"])
    said = capsys.readouterr().out
    assert "without ImageNet: no ImageNet weights here" in said and "ubr - random" in said
    rows = result_rows.read("starts")
    # Patients of both validation and test, at a quarter of the steps and at the end.
    assert [row["step"] for row in rows] == 4 * (6 * ["1"] + 6 * ["3"])
    assert "a quarter of the steps:" in said and "all steps:" in said
    (run,) = Path(argv[3]).glob("small-random-*")
    first, last = (load_detector(run, which)[0].state_dict() for which in ("early", "last"))
    assert any(not torch.equal(first[name], last[name]) for name in first)
    names = {"random", "ubr", "ubr, position", "ubr, shuffled position"}
    assert {row["start"] for row in rows} == names
    assert {(row["share"], row["train_images"]) for row in rows} == {("0.5", "5")}
    assert {row["step"] for row in result_rows.read("starts_curve")} == {"1", "2", "3"}
    starts.main([*short, "--position"])
    assert result_rows.read("starts") == rows
    starts.main([*short, "--validate-only", "--only", "random"])
    assert result_rows.read("starts") == rows
    chosen_by = result_rows.read("starts_choice")
    assert [row["step"] for row in chosen_by] == ["1", "2", "3"]
    assert chosen_by[0].items() >= {"start": "random", "share": "0.5", "seed": "0"}.items()
    starts.main([*short[:-1], "1", "--only", "random", "--split", "of-the-plan.csv"])
    assert len(result_rows.read("starts")) == len(rows) + 2 * 3  # patients of the test alone
    assert result_rows.read("starts_choice") == chosen_by
    capsys.readouterr()
    starts.main([*short, "--only", "random"])
    assert capsys.readouterr().out.count("skipped") == 1


@pytest.mark.heavy
def test_starts__a_trunk_of_a_file_is_compared_under_its_name(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trunk = weights_of("timm/test_resnet", 7).trunk
    torch.save(dict(trunk), tmp_path / "hub.pth")
    short = [*argv, *"--steps 1 --shares 0.5 --seeds 0 --only random hub".split()]
    hub = ["--start", f"hub={tmp_path / 'hub.pth'}"]
    with pytest.raises(SystemExit, match=r"--start hub: .* does not state its scale"):
        starts.main([*short, *hub])
    starts.main([*short, *hub, "--assume-scale"])
    assert "hub (scale assumed) - random" in capsys.readouterr().out
    own = {row["weights"] for row in result_rows.read("starts")} - {""}
    assert len(own) == 1 and {row["pretraining"] for row in result_rows.read("starts")} == {""}
    for wrong in ("hub", "=f", "ubr=f"):
        with pytest.raises(SystemExit, match="--start is NAME=FILE, with a NAME unlike random"):
            starts.main([*short, "--start", wrong])
    with pytest.raises(SystemExit, match=r"--start hub: unknown start .*none.pth'"):
        starts.main([*short, "--start", f"hub={tmp_path / 'none.pth'}"])
    (tmp_path / "other.pth").write_bytes(b"no weights")
    with pytest.raises(SystemExit, match="--start hub: "):
        starts.main([*short, "--start", f"hub={tmp_path / 'other.pth'}"])


@pytest.mark.heavy
def test_starts__weights_that_do_not_fit_are_refused(argv: list[str], tmp_path: Path) -> None:
    missing = r"--only imagenet: not among the starts that can be had here: random, ubr$"
    with pytest.raises(SystemExit, match=missing):
        starts.main([*argv, "--only", "random", "imagenet"])
    not_imagenet = (
        "--imagenet-ubr was trained from the start 'random', not imagenet; give other weights"
    )
    with pytest.raises(SystemExit, match=not_imagenet):
        starts.main([*argv, "--imagenet-ubr", str(tmp_path / "ubr.safetensors")])
    other = weights_of("timm/test_convnext")
    other.provenance["start"] = {"source": "timm test_convnext.r160_in1k"}
    other.save(tmp_path / "imagenet-ubr.safetensors")
    unlike = r"--imagenet-ubr has the backbone and intensity .*; train both alike"
    with pytest.raises(SystemExit, match=unlike):
        starts.main([*argv, "--imagenet-ubr", str(tmp_path / "imagenet-ubr.safetensors")])
    without = r"give --ubr WEIGHTS, trained on scans that .* does not validate and test on"
    with pytest.raises(SystemExit, match=without):
        starts.main(argv[:4])


@pytest.mark.heavy
def test_starts__each_detector_may_have_a_pretraining_of_its_own(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        weights = weights_of("timm/test_resnet", seed)
        weights.provenance["start"] = {"source": "random"}
        weights.provenance["seed"] = seed
        weights.save(tmp_path / f"ubr-{seed}.safetensors")
    own = str(tmp_path / "ubr-{seed}.safetensors")
    starts.main([*argv[:4], "--ubr", own, *"--steps 1 --shares 0.5 --seeds 0 1".split()])
    assert "ubr - random" in capsys.readouterr().out
    rows = [row for row in result_rows.read("starts") if row["start"] == "ubr"]
    assert len({row["weights"] for row in rows}) == 2
    (pretraining,) = {row["pretraining"] for row in rows}
    assert pretraining.startswith("64 px, 0 steps, the detector's seed")
    done = [(row["seed"], row["start"]) for row in result_rows.read("starts")]
    assert list(dict.fromkeys(done)) == [
        (seed, start) for seed in "01" for start in ("random", "ubr")
    ]
