"""The API says optimizer; files keep the spelling, and so the digests, of the first version."""

from __future__ import annotations

import dataclasses

from ubr.downstream.recipes import DetectorRecipe
from ubr.downstream.recipes import small as small_detector
from ubr.pretrain.recipes import default, paper
from ubr.weights.common.stored import from_stored

DEFAULT = "bd81f0a2310fc8163d6805454bec7c64a31024040cee9c80b7a584e8e38cd9e7"
PAPER = "65e3c9fca807da1334946a4f9fa4a6abe28242668fbc659e895dcb03089ddc07"
DETECTOR = "6cdda87fbbb4ffb77050fd1b7793df86cd840aaa36afdd56970c77ea73cb4314"


def test_recipes__digests_are_those_of_the_version_before() -> None:
    assert default().sha256() == DEFAULT
    assert paper().sha256() == PAPER
    assert small_detector().sha256() == DETECTOR
    assert default().described()["optimiser"] == "adamw"


def test_detector_recipe__comes_back_from_its_stored_form() -> None:
    recipe = dataclasses.replace(small_detector(), optimizer="sgd", drops=(0.25, 0.5))
    assert recipe.described()["optimiser"] == "sgd"
    assert DetectorRecipe.from_described(recipe.described()) == recipe


def test_from_stored__understands_both_spellings() -> None:
    old, new = {"optimiser": "sgd", "licence": "MIT"}, {"optimizer": "sgd", "license": "MIT"}
    assert from_stored(old) == from_stored(new) == new
