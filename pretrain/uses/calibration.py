"""Calibration: from a few labelled volumes to thresholds between parts and levels of landmarks.

Labels are made by hand, or come from masks of organs. Two volumes suffice for thresholds; intervals
need more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.checks import check_choice
from ubr.weights.common.claims import claiming
from ubr.weights.released import check_there

from ..reading.classifier import Classifier, fit_classifier
from ..reading.context import MM_PER_UNIT, Axis
from ..reading.contradictions import check_parts, check_scale, order_of_parts
from ..reading.curve import Curve
from ..reading.intervals import highest_coverage
from ..reading.labelled import (
    Labelled,
    border_level,
    landmark_level,
    pairs_mm,
    pool,
)
from ..reading.parts import classify, thresholds
from ..reading.regions import Level, Regions
from ..scores.read import read_curves, read_features, usual_axis
from .labels import read_labels
from .mask_labels import mask_labels


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate` made.

    path: the file. labelled: number of labelled volumes. accuracy: share of their labelled slices
    whose part is classified correctly. held_out: the same, over `held_out_volumes` volumes, each
    classified by thresholds from the others; none with fewer than three volumes. by_features: as
    held_out, by the classifier, where one was asked for. by_scores: of regions that read positions,
    the same levels read on scores.
    """

    path: Path
    regions: Regions
    labelled: int
    accuracy: float | None
    held_out: float | None
    held_out_volumes: int
    by_features: float | None = None
    by_scores: Mapping[str, Level] | None = None

    def table(self) -> str:
        """The summary of a calibration as text."""
        by_position = self.regions.axis == "position"
        unit, digits = (MM_PER_UNIT, 0) if by_position else (1.0, 3)
        lines = [
            f"calibrated on {self.labelled} volumes, by {'positions' if by_position else 'scores'};"
            f" in {self.path}"
        ]
        if self.accuracy is not None:
            lines.append(
                f"parts       {', '.join(self.regions.parts)}: {100 * self.accuracy:.1f} % of "
                "the labelled slices classified correctly"
            )
        if self.held_out is not None:
            lines.append(
                f"{'':12}{100 * self.held_out:.1f} % by the other volumes' thresholds (leave one "
                f"out, {self.held_out_volumes} volumes)"
            )
        if self.by_features is not None:
            lines.append(
                f"{'':12}{100 * self.by_features:.1f} % by a classifier on the other volumes' "
                "features, which score will use"
            )
        lines.append(
            f"{'level':<24}{'at mm' if by_position else 'score':>9}{'std':>8}{'volumes':>9}"
            f"{'median mm':>11}{'  by scores' if self.by_scores else ''}"
            f"{'coverage at most':>18}"
        )
        for name, level in self.regions.levels().items():
            score = f"{unit * level.score:.{digits}f}"
            std = "" if level.std is None else f"{unit * level.std:.{digits}f}"
            off = [level, *([self.by_scores[name]] if self.by_scores else [])]
            most = f"{100 * highest_coverage(level):.0f} %"
            lines.append(
                f"{name:<24}{score:>9}{std:>8}{level.volumes:>9}"
                f"{''.join(f'{_median_mm(one):>11}' for one in off)}{most:>18}"
            )
        return "\n".join(lines)


@claiming("out")
def calibrate(
    scores: str | Path,
    labels: str | Path | None,
    out: str | Path,
    *,
    from_masks: str | Path | None = None,
    mask_names: str | Path | None = None,
    parts: Sequence[str] | None = None,
    scale: tuple[str, str] | None = None,
    features: bool = False,
    axis: Axis | None = None,
) -> Calibrated:
    """Learn body parts and landmarks on the scores of a weights file from labelled volumes.

    Args:
        scores: a folder that `score` wrote.
        labels: a CSV file with the columns series, index, and part, landmark or both; an index is a
            slice or a range such as 12-57. None with `from_masks`.
        from_masks: in place of labels, a folder with masks of organs and bones of the scored scans:
            for each scan a folder of NIfTI files named as by TotalSegmentator, or one file
            of numbered labels. The folder is named after the scan. The scores must keep paths.
        mask_names: for masks with other names, a CSV file with the columns landmark, mask,
            end (top, bottom or middle).
        out: a new file, regions.json.
        parts: the parts from superior to inferior; by default the labelled ones in the order of
            their median scores.
        scale: two landmarks, whose mean scores become positions 0 and 100.
        features: classify slices by their features instead of thresholds on their scores; worth it
            from about ten labelled volumes on. The scores must have been made with features.
        axis: what locates borders and landmarks: "score", or "position" on the body axis; positions
            by default, if the scores have them. The table then shows the errors of both.

    Raises:
        ValueError: no scores, or none of the features or positions asked for; labels that name
            what the scores lack, contradict each other or leave a part out; neither labels nor
            masks, or both; masks that fit no scan or give no landmark; scores that are constant.
    """
    if Path(out).exists():
        raise ValueError(f"{out} exists; give a new `out`")
    check_choice("axis", axis, Axis | None)
    axis = axis or usual_axis(scores)
    labels_of = _labels(scores, labels, from_masks, mask_names)
    labelled, weights_sha256 = _labelled(scores, labels_of, axis)
    order = order_of_parts(labelled, parts)
    check_parts(labelled, order)
    landmarks = _landmarks(labelled)
    if scale is not None:
        check_scale(labelled, landmarks, scale)
    classifier, by_features = _by_features(labelled, order, scores) if features else (None, None)
    by_thresholds = _held_out(labelled, order, partial(_by_thresholds, order=order))
    regions = Regions(
        weights_sha256,
        order,
        tuple(border_level(labelled, order, i) for i in range(len(order) - 1)),
        landmarks,
        None if scale is None else (scale[0], scale[1]),
        classifier,
        pairs_mm(labelled),
        axis,
    )
    return Calibrated(
        regions.save(out),
        regions,
        len(labelled),
        _accuracy(labelled, order),
        _mean(by_thresholds),
        len(by_thresholds),
        by_features,
        _levels(_labelled(scores, labels_of, "score")[0], order) if axis == "position" else None,
    )


LabelsOf = Callable[[Mapping[str, Curve]], list[Labelled]]
"""Labels, once the curves are known."""


def _labels(
    scores: str | Path,
    labels: str | Path | None,
    from_masks: str | Path | None,
    mask_names: str | Path | None,
) -> LabelsOf:
    check_there(*(Path(one) for one in (labels, from_masks, mask_names) if one))
    if (labels is None) == (from_masks is None):
        raise ValueError(f"give `labels` or `from_masks`, got {'both' if labels else 'neither'}")
    if labels is None:
        assert from_masks is not None
        return mask_labels(from_masks, scores, mask_names).labelled
    if mask_names is not None:
        raise ValueError("`mask_names` applies to masks; give `from_masks`, too")
    return partial(read_labels, labels)


def _labelled(scores: str | Path, labels_of: LabelsOf, axis: Axis) -> tuple[list[Labelled], str]:
    """The labelled volumes with their scores or positions, and the digest of the weights."""
    curves, weights_sha256 = read_curves(scores, axis)
    labelled = labels_of(curves)
    if np.ptp(np.concatenate([one.curve.scores for one in labelled])) == 0:
        raise ValueError(
            "all slices of the labelled volumes have the same score, so parts cannot be told "
            "apart; train longer"
        )
    return labelled, weights_sha256


def _levels(labelled: Sequence[Labelled], order: Sequence[str]) -> dict[str, Level]:
    """All levels by the names that `Regions.levels` has."""
    borders = {
        f"{above}/{below}": border_level(labelled, order, i)
        for i, (above, below) in enumerate(pairwise(order))
    }
    return {**_landmarks(labelled), **borders}


def _median_mm(level: Level) -> str:
    return f"{np.median(level.residuals_mm):.1f}" if level.residuals_mm else ""


def _landmarks(labelled: Sequence[Labelled]) -> dict[str, Level]:
    names = sorted({name for one in labelled for name in one.landmarks})
    return {
        n: landmark_level([(one.curve, one.landmarks[n]) for one in labelled if n in one.landmarks])
        for n in names
    }


def _accuracy(labelled: Sequence[Labelled], order: Sequence[str]) -> float | None:
    if not order:
        return None
    scores, names = pool(labelled)
    return float(
        (classify(scores, thresholds(scores, names, order), order) == np.array(names)).mean()
    )


def _held_out(
    labelled: Sequence[Labelled],
    order: Sequence[str],
    classify_one: Callable[[Labelled, Sequence[Labelled]], NDArray[np.str_]],
) -> list[NDArray[np.bool_]]:
    """Which labelled slices of each volume are classified correctly by the others.

    A volume is skipped where the others lack one of its parts.

    classify_one: the parts of the first one's labelled slices, learned from the others.
    """
    shown = [one for one in labelled if one.parts]
    correct = []
    for one in shown if len(shown) >= 3 else ():
        others = [other for other in shown if other is not one]
        if set(pool(others)[1]) == set(order):
            correct.append(classify_one(one, others) == np.array(one.pool()[1]))
    return correct


def _by_thresholds(
    one: Labelled, others: Sequence[Labelled], order: Sequence[str]
) -> NDArray[np.str_]:
    return classify(one.pool()[0], thresholds(*pool(others), order), order)


def _by_features(
    labelled: Sequence[Labelled], order: Sequence[str], scores: str | Path
) -> tuple[Classifier, float | None]:
    """A classifier learned from all volumes, and the accuracy of one on the volumes left out."""
    if not order:
        raise ValueError(
            "features classify parts, but the labels name none; label parts, or omit `features`"
        )
    features = read_features(scores)
    correct = _held_out(
        labelled,
        order,
        lambda one, others: _classifier(others, features, order).classify(
            _labelled_features([one], features), order
        ),
    )
    return _classifier(labelled, features, order), _mean(correct)


def _classifier(
    labelled: Sequence[Labelled], features: Mapping[str, NDArray[np.float32]], order: Sequence[str]
) -> Classifier:
    return fit_classifier(_labelled_features(labelled, features), pool(labelled)[1], order)


def _labelled_features(
    labelled: Sequence[Labelled], features: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Features of the labelled slices, in the order of `pool`."""
    return np.concatenate([features[one.series][list(one.parts)] for one in labelled])


def _mean(correct: Sequence[NDArray[np.bool_]]) -> float | None:
    return float(np.concatenate(correct).mean()) if correct else None
