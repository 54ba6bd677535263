"""Which regions are read by: those given, those of released weights, a parent's with a note."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ubr.pretrain.reading.chosen import chosen_regions
from ubr.pretrain.reading.classifier import Classifier
from ubr.pretrain.reading.intervals import notes
from ubr.pretrain.reading.regions import Level, Regions
from ubr.weights import Weights
from ubr.weights.common.notes import Note

from ...made.networks import kept
from ...made.released import release

OLD, NEW = (kept("timm/test_resnet", seed) for seed in (0, 1))
MOVED = {"series": 2, "slices": 9, "score_q50": 0.1, "score_q90": 0.2}


def regions(of: Weights) -> Regions:
    levels = [Level(score, 0.1, 3, (score,) * 3, (1.0, 2.0, 3.0)) for score in (0.0, 1.0)]
    landmarks = {"dome": levels[0], "crest": levels[1]}
    return Regions(of.sha256(), ("a", "b"), (levels[0],), landmarks, pairs_mm=(1.0, 2.0))


def child(**parent: Any) -> Weights:
    """Weights that went on from OLD."""
    about = {"sha256": OLD.sha256(), "moved": MOVED, **parent}
    return dataclasses.replace(NEW, provenance={**NEW.provenance, "parent": about})


def test_released__bring_their_own_and_others_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = release(OLD, tmp_path / "own", monkeypatch, regions=regions(OLD))
    assert chosen_regions(None, ours) == regions(OLD)
    assert chosen_regions(None, OLD) is None  # nothing says that these are released
    assert chosen_regions("released", OLD) == regions(OLD)
    other = dataclasses.replace(regions(OLD), pairs_mm=())
    assert chosen_regions(other, ours) == other
    with pytest.raises(ValueError, match="run calibrate"):
        chosen_regions("released-1", NEW)
    (tmp_path / "own" / "released-1.regions.json").unlink()
    assert chosen_regions(None, ours) is None


def test_parents__are_taken_if_given_without_intervals_and_with_a_note() -> None:
    with pytest.warns(Note, match=r"moved by 0\.100 .* 0\.200.*no intervals: run calibrate"):
        found = chosen_regions(regions(OLD), child())
    assert found is not None
    assert [level.score for level in found.levels().values()] == [
        level.score for level in regions(OLD).levels().values()
    ]
    assert not any(level.residuals_mm for level in found.levels().values()) and not found.pairs_mm
    (line,) = notes(found, 0.5)
    assert line.endswith(
        "no volume scored with these weights has labels; label some, and calibrate"
    )
    assert chosen_regions(None, child()) is None


@pytest.mark.parametrize(
    "weights", [child(moved=None), child(sha256="0" * 64), NEW], ids=["unmeasured", "other", "none"]
)
def test_parents__are_refused_if_it_is_not_known_how_far_scores_moved(weights: Weights) -> None:
    with pytest.raises(ValueError, match="run calibrate on scores of these weights"):
        chosen_regions(regions(OLD), weights)


def test_parents__with_a_classifier_are_refused_as_features_moved_too() -> None:
    classifier = Classifier(((1.0,), (0.0,)), (0.0, 0.0))
    with pytest.raises(ValueError, match="run calibrate"):
        chosen_regions(dataclasses.replace(regions(OLD), classifier=classifier), child())


def test_positions__need_weights_that_follow_millimetres() -> None:
    by_position = dataclasses.replace(regions(OLD), axis="position")
    with pytest.raises(ValueError, match="without the position loss"):
        chosen_regions(by_position, OLD)
    recipe = {**NEW.provenance, "recipe": {"position_weight": 1.0}}
    follows = dataclasses.replace(OLD, provenance=recipe)
    assert chosen_regions(by_position, follows) == by_position
