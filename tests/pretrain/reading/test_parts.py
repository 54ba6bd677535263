"""Thresholds against brute force, and the refusals."""

from __future__ import annotations

import numpy as np
import pytest

from ubr.pretrain.reading.parts import classify, thresholds

ORDER = ("chest", "abdomen", "pelvis")


def test_thresholds__separate_what_can_be_separated() -> None:
    scores = np.array([-9, -5, -4, 0, 1, 2, 6, 7.0])
    parts = ["chest"] * 2 + ["abdomen"] * 4 + ["pelvis"] * 2
    cuts = thresholds(scores, parts, ORDER)
    assert cuts.tolist() == [-4.5, 4.0]
    assert classify(scores, cuts, ORDER).tolist() == parts


def test_thresholds__no_cut_classifies_better() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        parts = np.sort(rng.integers(0, 3, 40))
        parts[:3] = [0, 1, 2]
        scores = parts + rng.normal(0, 0.7, 40)
        names = [ORDER[p] for p in parts]
        cuts = thresholds(scores, names, ORDER)
        candidates = np.concatenate([[-9], (np.sort(scores)[:-1] + np.sort(scores)[1:]) / 2, [9]])
        for part, cut in enumerate(cuts):
            mistakes = ((parts <= part) != (scores < cut)).sum()
            best = min(((parts <= part) != (scores < c)).sum() for c in candidates)
            assert mistakes == best or (np.diff(cuts) == 0).any()


def test_thresholds__do_not_part_slices_of_one_score() -> None:
    """Ten slices of the upper part and one of the lower share a score:

    a cut there would tell ten wrong.
    """
    scores, parts = np.array([5.0] * 11 + [9.0] * 5), ["a"] * 10 + ["b"] * 6
    (cut,) = thresholds(scores, parts, ("a", "b"))
    assert (
        cut == 7 and (classify(scores, np.array([cut]), ("a", "b")) != np.array(parts)).sum() == 1
    )


def test_thresholds__refuse_an_absent_part_and_a_foreign_label() -> None:
    with pytest.raises(ValueError, match="no labelled slice of pelvis"):
        thresholds(np.array([0.0, 1.0]), ["chest", "abdomen"], ORDER)
    with pytest.raises(ValueError, match=r"labels \['brain'\] are not among"):
        thresholds(np.array([0.0, 1.0]), ["chest", "brain"], ORDER)
