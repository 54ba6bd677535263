"""The model card: complete where the provenance is, honest where it is not."""

from __future__ import annotations

import dataclasses

import pytest

from tests.made.networks import kept
from ubr.weights import card, fold

PROVENANCE = {
    "method": "Unsupervised Body-part Regression",
    "recipe": {"g": 12, "m": 8, "optimiser": "sgd", "lr": 0.002},
    "recipe_sha256": "abcdef0123456789",
    "start": {
        "source": "torchvision VGG16_Weights.IMAGENET1K_V1",
        "first_convolution_saw": [-2.118, 2.64],
        "first_convolution_gets": [-2.118, 2.64],
    },
    "steps": 1500,
    "seed": 4,
    "data": {"fingerprint": "f1f2", "series": 800, "patients": 420, "slices": 99000},
    "held_out": {"series": 7, "r": 0.9912, "ordered": 0.9876},
    "precision": "bf16-mixed",
    "device": "cpu",
    "versions": {"torch": "2.15.0"},
    "commit": "0123456789",
    "date": "2026-11-25",
}


def test_card__says_everything_that_is_known() -> None:
    weights = dataclasses.replace(kept("timm/resnet18"), provenance=PROVENANCE)
    text = card(weights)
    for part in (
        "800 series of 420 patients, 99000 slices; fingerprint f1f2",
        "mean Pearson r 0.9912, ordered pairs 0.9876 on 7 held-out series",
        "1500 steps of 12 x 8 slices, sgd at 0.002, seed 4, recipe abcdef012345, bf16-mixed on "
        "cpu, 2026-11-25",
        "torchvision VGG16_Weights.IMAGENET1K_V1 (first convolution saw -2.118..2.64, gets "
        "-2.118..2.64)",
        "HU -200..300 to 0..1, clipped; one slice copied to three channels; minus [0.485, 0.456, "
        "0.406]",
        "64 x 64 px, stretched to that size",
        "CC0-1.0",
        "0123456789",
        weights.sha256(),
        "not a medical device",
    ):
        assert part in text, part


@pytest.mark.parametrize("start", [{}, {"source": "random", "initialisation": "msra", "seed": 0}])
def test_card__calls_the_rest_unstated(start: dict[str, object]) -> None:
    weights = dataclasses.replace(
        kept("timm/resnet18"), provenance={"start": start}, head={}, license="unstated"
    )
    text = card(weights)
    assert (
        "| data | unstated |" in text
        and "| training | unstated |" in text
        and "no patients were held out" in text
    )
    assert ("| start | random |" if start else "| start | unstated |") in text
    assert "these weights give features, no scores" in text


def test_card__of_folded_weights_says_what_the_channels_are() -> None:
    beside = dataclasses.replace(kept("timm/resnet18").inputs, neighbours_mm=2.5)
    assert "the slices 2.5 mm above and below beside it" in card(
        dataclasses.replace(kept("timm/resnet18"), inputs=beside)
    )
    assert "three channels: HU clipped to -200..300, zeros, ones" in card(
        fold(kept("timm/resnet18"))
    )


def test_card__words_of_a_file_stay_in_their_cell() -> None:
    made = {
        **PROVENANCE,
        "method": "# A\n\n<script>",
        "device": "cpu | ![x](http://a.b/c)\n| a | b |",
    }
    weights = dataclasses.replace(
        kept("timm/resnet18"), provenance=made, license="MIT\n\n# No limits\n<img src=x>"
    )
    text, plain = card(weights), card(dataclasses.replace(weights, provenance={}, license="MIT"))
    assert len(text.splitlines()) == len(plain.splitlines())
    assert "<script>" not in text.replace("\\<", "") and "<img" not in text.replace("\\<", "")
    assert "](http" not in text.replace("\\](http", "")


@pytest.mark.parametrize(
    "absent", ["steps", "seed", "recipe", "data", "versions", "held_out", "date"]
)
def test_card__of_a_provenance_that_lacks_something(absent: str) -> None:
    made = {name: value for name, value in PROVENANCE.items() if name != absent}
    assert "# Body-part" in card(dataclasses.replace(kept("timm/resnet18"), provenance=made))
