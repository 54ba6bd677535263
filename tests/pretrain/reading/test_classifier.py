"""Body parts by features: what is learned, kept in the file, and told."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ubr.pretrain.reading.classifier import Classifier, fit_classifier
from ubr.pretrain.reading.regions import Level, Regions

pytest.importorskip("sklearn", reason="parts by features need scikit-learn (the extra labels)")
PARTS = ("chest", "abdomen", "pelvis")
BORDER = Level(0.0, None, 1, (), ())


def slices(
    parts: tuple[str, ...], n: int = 40, seed: int = 0
) -> tuple[NDArray[np.float32], list[str]]:
    """Features of which twenty tell each part, among others that do not; one never changes."""
    rng = np.random.default_rng(seed)
    names = [part for part in parts for _ in range(n)]
    features = rng.normal(0, 1, (len(names), 512))
    for i, name in enumerate(names):
        first = 20 * parts.index(name)
        features[i, first : first + 20] += 1
    features[:, 100] = 7.0
    return features.astype(np.float32), names


@pytest.mark.parametrize("parts", [PARTS, PARTS[:2]])
def test_classifier__tells_parts_of_unseen_slices(parts: tuple[str, ...]) -> None:
    classifier = fit_classifier(*slices(parts), parts)
    features, names = slices(parts, seed=1)
    assert (classifier.classify(features, parts) == np.array(names)).mean() > 0.9
    assert np.array(classifier.weights).shape == (len(parts), 512) and len(
        classifier.offsets
    ) == len(parts)


def test_classifier__is_what_scikit_learn_makes_of_standardised_features() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, names = slices(PARTS)
    unseen, _ = slices(PARTS, seed=1)
    ours = fit_classifier(features * 3 + 1, names, PARTS).classify(unseen * 3 + 1, PARTS)
    theirs = (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        .fit(features, names)
        .predict(unseen)
    )
    assert (ours == theirs).all()


def test_regions__keep_the_classifier_and_use_it(tmp_path: Path) -> None:
    classifier = fit_classifier(*slices(PARTS), PARTS)
    regions = Regions("ab", PARTS, (BORDER, replace(BORDER, score=1.0)), {}, classifier=classifier)
    again = Regions.load(regions.save(tmp_path / "regions.json"))
    assert again == regions
    features, names = slices(PARTS, seed=1)
    told = again.columns(np.zeros(len(names)), features)["part"]
    assert (told == classifier.classify(features, PARTS)).all() and set(told) == set(PARTS)


def test_regions__refuse_a_classifier_of_other_parts() -> None:
    classifier = fit_classifier(*slices(PARTS), PARTS)
    with pytest.raises(ValueError, match="a classifier of 3 parts for 2"):
        Regions("ab", PARTS[:2], (BORDER,), {}, classifier=classifier)
    with pytest.raises(ValueError, match="finite weights"):
        Classifier(((float("nan"),),), (0.0,))


def test_classifier__without_scikit_learn_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ValueError, match=r'pip install "ubr-pretrain\[labels\]"'):
        fit_classifier(*slices(PARTS), PARTS)
