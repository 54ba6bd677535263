"""What the hub reads of a timm folder, judged by the hub's own library, offline."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load, metadata_save
from huggingface_hub.utils import validate_repo_id

from tests.made.networks import kept
from ubr.weights import export
from ubr.weights.exports.hub import front_matter, license_text

ROOT = Path(__file__).parents[2]
PROVENANCE: dict[str, Any] = {
    "start": {"source": "timm tf_efficientnet_lite0.in1k", "licence": "apache-2.0"},
    "held_out": {"series": 7, "r": 0.99123456, "ordered": 0.9876, "error_mm": 12.5},
}


def card_of(license: str = "Apache-2.0", provenance: dict[str, Any] = PROVENANCE) -> ModelCard:
    weights = dataclasses.replace(kept("timm/resnet18"), license=license, provenance=provenance)
    return ModelCard(front_matter(weights) + "# Card\n")  # raises on metadata it cannot read


def test_front_matter__holds_what_is_recorded() -> None:
    data = card_of().data
    assert (data.library_name, data.license) == ("timm", "apache-2.0")
    assert data.pipeline_tag == "image-feature-extraction" and "ct" in data.tags
    assert data.base_model == "timm/tf_efficientnet_lite0.in1k"
    validate_repo_id(data.base_model)
    assert data.model_name == "ubr-resnet18"
    assert {one.metric_type: one.metric_value for one in data.eval_results} == {
        "pearsonr": 0.9912,
        "ordered_pairs": 0.9876,
        "error_mm": 12.5,
    }
    assert {one.dataset_name for one in data.eval_results} == {
        "7 CT series held out of the training"
    }


@pytest.mark.parametrize(
    "provenance",
    [
        {},
        {"start": {"source": "random"}, "held_out": {}},
        {"start": {"source": "a file", "sha256": "00"}, "held_out": None},
        {"start": {"source": "torchvision ResNet18_Weights.IMAGENET1K_V1"}},
        {"start": None},
    ],
)
def test_front_matter__leaves_out_what_is_not_stated(provenance: dict[str, Any]) -> None:
    data = card_of(provenance=provenance).data.to_dict()
    assert not {"base_model", "model-index", "datasets"} & set(data)


def test_front_matter__has_the_qualities_that_were_recorded() -> None:
    held_out = {"held_out": {"series": 1, "r": 0.5}}  # as earlier weights have them
    assert [one.metric_type for one in card_of(provenance=held_out).data.eval_results] == [
        "pearsonr"
    ]


@pytest.mark.parametrize(
    ("license", "expected"),
    [
        ("MIT", {"license": "mit"}),
        ("CC BY 4.0", {"license": "cc-by-4.0"}),
        ("unstated", {"license": "unknown"}),
        (
            "Our hospital's terms, v2",
            {
                "license": "other",
                "license_name": "our-hospital-s-terms-v2",
                "license_link": "LICENSE",
            },
        ),
    ],
)
def test_license__is_one_that_the_hub_knows_or_other(
    license: str, expected: dict[str, str]
) -> None:
    data = card_of(license).data.to_dict()
    assert {name: data[name] for name in data if name.startswith("license")} == expected


@pytest.mark.parametrize(
    ("license", "said"),
    [
        ("MIT", "https://choosealicense.com/licenses/mit/"),
        ("CC-BY-NC-SA-4.0", "https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode"),
        ("CC0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/legalcode"),
        ("Our terms", "licensed under: Our terms"),
        ("unstated", "No licence is stated"),
    ],
)
def test_license_text__names_the_licence_and_where_its_text_is(license: str, said: str) -> None:
    assert said in license_text(license)


def test_license_text__of_apache_is_whole_and_the_projects_own() -> None:
    assert license_text("apache-2.0") == license_text("Apache-2.0")
    assert license_text("Apache-2.0") == (ROOT / "LICENSE").read_text()


def test_folder__is_read_by_the_hubs_library_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> NoReturn:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refused)
    weights = dataclasses.replace(
        kept("timm/resnet18"), license="Apache-2.0", provenance=PROVENANCE
    )
    export(weights, tmp_path / "folder", to="timm")
    readme = tmp_path / "folder" / "README.md"
    card = ModelCard.load(readme)
    assert card.data.eval_results and weights.sha256() in card.text
    metadata = metadata_load(readme)
    copy = tmp_path / "copy.md"
    metadata_save(copy, metadata)
    assert metadata == metadata_load(copy) == card.data.to_dict()
    assert (tmp_path / "folder" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    export(weights, tmp_path / "folder", to="timm", overwrite=True)  # a LICENSE is part of it
