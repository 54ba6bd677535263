"""The card of a detector says what it is, and nothing of patients and places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.made.lesions import tiny_recipe
from ubr.downstream.cards import card
from ubr.downstream.slices import View
from ubr.downstream.training import finetune
from ubr.weights import Intervals, Weights

from .helpers import CPU, sets

ABOUT: dict[str, Any] = {
    "data": {"sha256": "da7a" * 16},
    "metrics": {"recall5": 0.625, "froc": 0.5},
    "precision": "32-true",
    "device": "x86_64 cpu",
    "date": "2026-11-28",
    "versions": {"torch": "2.8"},
    "commit": None,
    "positions": {"scorer_sha256": "5c0e" * 16},
}


def rows(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line.startswith("| ") and line != "| | |"]
    return dict(line[2:-2].split(" | ") for line in lines)


def test_card__of_a_training(world: Path, weights: Weights, tmp_path: Path) -> None:
    recipe = tiny_recipe(steps=2)
    options = {"machine": CPU, "intervals": Intervals(2, 2, 1, progress=False)}
    run = finetune(weights, *sets(world, weights, recipe), tmp_path / "run", recipe, **options)
    text = (tmp_path / "run" / "card.md").read_text()
    found = rows(text)
    assert "on timm/test_convnext, its last map" in found["detector"]
    assert found["trained on"] == "10 images of 10 patients with 10 lesions, split train"
    assert found["validated on"] == "3 images of 3 patients with 3 lesions, split val"
    assert weights.sha256() in found["start"]
    about = torch.load(run.last, weights_only=True)["about"]
    digest = found["data"].rpartition(" ")[2]
    assert len(digest) == 64 and digest in about
    assert f"finds {100 * run.metrics['recall5']:.1f} % of the lesions" in found["quality"]
    assert "best.pth, of step 2" in found["quality"]
    for secret in (str(tmp_path), "000001", "_01_01"):
        assert secret not in text


def test_card__says_view_window_mean_and_std(world: Path, weights: Weights) -> None:
    view = View(channels=3, distance_mm=3.0, mm_per_px=1.2, longest_px=288)
    recipe = tiny_recipe(view=view, pyramid=32, position=True)
    train, val = sets(world, weights, recipe)
    found = rows(card(weights, recipe, train, val, ABOUT, {"step": 4, "recall5": 0.75}))
    assert found["view"] == (
        "1.2 mm per pixel, without the border of air, the longer side at most 288 px; "
        "3 slices 3 mm apart from head to foot"
    )
    assert found["intensity"] == (
        "HU -200..500 to 0..1, clipped; 3 slices 3 mm apart from head to foot; "
        "minus [0.485, 0.456, 0.406], over [0.229, 0.224, 0.225]"
    )
    assert found["position"] == "takes body scores of the weights 5c0e5c0e5c0e"
    assert found["quality"] == (
        "last.pth finds 62.5 % of the lesions with the 5 best boxes of a slice, and 50.0 % on "
        "average over 0.5 to 16 false positives per image; best.pth, of step 4, 75.0 % with the 5 "
        "best"
    )


@pytest.mark.parametrize("license", ["CC BY 4.0", "unstated"])
def test_card__says_the_starts_license(license: str, world: Path, weights: Weights) -> None:
    licensed = Weights(
        weights.backbone,
        weights.inputs,
        weights.trunk,
        provenance=weights.provenance,
        license=license,
    )
    recipe = tiny_recipe()
    train, _ = sets(world, weights, recipe)
    text = card(licensed, recipe, train, None, {**ABOUT, "metrics": {}}, None)
    assert rows(text)["license"].startswith(f"of the start: {license}.")
    assert rows(text)["validated on"] == "nothing"
    assert rows(text)["quality"].startswith("not measured")
    assert "not a medical device" in text and "## Do not use it" in text
