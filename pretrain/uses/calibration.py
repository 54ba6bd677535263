"""Regions from labels: a few volumes whose slices somebody named -> thresholds between parts,
levels of landmarks.

labels.csv has the columns `series` (the key in series.csv), `index` (a slice from the superior end,
from 0, or several as `12-57`), and `part`, `landmark` or both:

    series,index,part,landmark
    3f2a...,0-51,chest,
    3f2a...,52-106,abdomen,
    3f2a...,52,,liver_dome

Slices without a row are not used. Landmarks have one slice a series. Two volumes suffice for
thresholds; intervals need more.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..reading.classifier import Classifier, fit_classifier
from ..reading.curve import Curve, passage
from ..reading.intervals import highest_coverage
from ..reading.regions import Level, Regions, classify, thresholds
from ..scores.tables import read_curves, read_features


@dataclass(frozen=True)
class Labelled:
    """A labelled volume. series: its key. parts: slice -> part. landmarks: name -> slice."""

    series: str
    curve: Curve
    parts: dict[int, str] = field(default_factory=dict)
    landmarks: dict[str, int] = field(default_factory=dict)

    def pool(self) -> tuple[NDArray[np.float64], list[str]]:
        """Scores and parts of the labelled slices."""
        return self.curve.scores[list(self.parts)], list(self.parts.values())


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate` made. path: the file. labelled: volumes with labels. accuracy: share of
    their labelled slices whose part is told right. held_out: the same for `held_out_volumes`
    volumes by thresholds from the others, none of fewer than three volumes. by_features: the same
    as held_out with the classifier, where one was asked for.
    """

    path: Path
    regions: Regions
    labelled: int
    accuracy: float | None
    held_out: float | None
    held_out_volumes: int
    by_features: float | None = None

    def table(self) -> str:
        """The end of a calibration as text."""
        lines = [f"calibrated on {self.labelled} volumes; in {self.path}"]
        if self.accuracy is not None:
            lines.append(
                f"parts       {', '.join(self.regions.parts)}: {100 * self.accuracy:.1f} % of "
                "the labelled slices told right"
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
            f"{'level':<24}{'score':>9}{'std':>8}{'volumes':>9}{'median mm':>11}{'coverage at most':>18}"
        )
        for name, level in self.regions.levels().items():
            std = "" if level.std is None else f"{level.std:.3f}"
            off = f"{np.median(level.residuals_mm):.1f}" if level.residuals_mm else ""
            most = f"{100 * highest_coverage(level):.0f} %"
            lines.append(
                f"{name:<24}{level.score:>9.3f}{std:>8}{level.volumes:>9}{off:>11}{most:>18}"
            )
        return "\n".join(lines)


def calibrate(
    scores: str | Path,
    labels: str | Path,
    out: str | Path,
    *,
    parts: Sequence[str] | None = None,
    scale: tuple[str, str] | None = None,
    features: bool = False,
) -> Calibrated:
    """Learn body parts and landmarks on the scores of a weights file from labelled volumes.

    Args:
        scores: a folder that `score` wrote.
        labels: a CSV file with the columns series, index, and part, landmark or both; an index is a
            slice or a range such as 12-57.
        out: a new file, regions.json.
        parts: the parts from superior to inferior; by default the labelled ones in the order of
            their median scores.
        scale: two landmarks, whose mean scores become positions 0 and 100.
        features: tell the parts of slices by their features (`classifier`) instead of thresholds on
            their scores; worth it from some ten labelled volumes on. The scores must have been made
            with features.

    Raises:
        ValueError: no scores, or none of the features asked for; labels that name what the scores
            lack, contradict each other or leave a part out; scores that are constant.
    """
    if Path(out).exists():
        raise ValueError(f"{out} exists; give a new --out")
    curves, weights_sha256 = read_curves(scores)
    labelled = read_labels(labels, curves)
    if np.ptp(np.concatenate([one.curve.scores for one in labelled])) == 0:
        raise ValueError(
            "the labelled volumes have one and the same score everywhere, so it tells nothing "
            "apart; train longer"
        )
    order = _order(labelled, parts)
    borders = tuple(_border(labelled, order, i) for i in range(len(order) - 1))
    names = sorted({name for one in labelled for name in one.landmarks})
    landmarks = {
        n: landmark([(one.curve, one.landmarks[n]) for one in labelled if n in one.landmarks])
        for n in names
    }
    by_thresholds = _held_out(
        labelled, order, lambda one, others: _by_thresholds(one, others, order)
    )
    classifier, by_features = None, list[NDArray[np.bool_]]()
    if features:
        if not order:
            raise ValueError(
                "features tell parts, and the labels name none; label parts, or leave --features "
                "out"
            )
        seen = read_features(scores)
        classifier = _classifier(labelled, seen, order)
        by_features = _held_out(
            labelled,
            order,
            lambda one, others: _classifier(others, seen, order).classify(
                _seen([one], seen), order
            ),
        )
    zero_and_hundred = None if scale is None else (scale[0], scale[1])
    regions = Regions(
        weights_sha256, order, borders, landmarks, zero_and_hundred, classifier, pairs_mm(labelled)
    )
    right = _accuracy(labelled, order)
    return Calibrated(
        regions.save(out),
        regions,
        len(labelled),
        right,
        _mean(by_thresholds),
        len(by_thresholds),
        _mean(by_features),
    )


def read_labels(path: str | Path, curves: Mapping[str, Curve]) -> list[Labelled]:
    """The labelled volumes of labels.csv. Raises `ValueError`, with the line, for what the curves
    lack or what contradicts itself.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = {name.strip() for name in table.fieldnames or ()}
            rows = [
                (
                    table.line_num,
                    {
                        (k or "").strip(): (v or "").strip()
                        for k, v in row.items()
                        if isinstance(v, str)
                    },
                )
                for row in table
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}); give a CSV file with the columns "
            "series, index, part"
        ) from None
    if not {"series", "index"} <= columns or not {"part", "landmark"} & columns:
        raise ValueError(
            f"{path} has the columns {sorted(columns)}; needed are series, index, and part, "
            "landmark or both"
        )
    if not rows:
        raise ValueError(f"{path} has no label; give a row a labelled slice, or a range of slices")
    found: dict[str, Labelled] = {}
    for line, row in rows:
        try:
            _add(found, curves, row)
        except ValueError as error:
            raise ValueError(f"{path} line {line}: {error}") from None
    return list(found.values())


def _add(found: dict[str, Labelled], curves: Mapping[str, Curve], row: Mapping[str, str]) -> None:
    key, part, name = row.get("series", ""), row.get("part", ""), row.get("landmark", "")
    if key not in curves:
        near = difflib.get_close_matches(key, curves, n=1)
        right = (
            f"nearest: {near[0]}"
            if near
            else "give a key of series.csv (score --with-paths adds the scan)"
        )
        raise ValueError(f"no series {key!r} among the {len(curves)} scored ones; {right}")
    slices = len(curves[key].scores)
    if slices < 3:
        raise ValueError(f"series {key} has {slices} slices; a labelled one needs at least 3")
    span = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", row.get("index", ""))
    if span is None:
        raise ValueError(
            f"index must be a slice or a range such as 12-57, got {row.get('index', '')!r}"
        )
    first, last = int(span[1]), int(span[2] or span[1])
    if not first <= last < slices:
        raise ValueError(f"series {key} has slices 0 to {slices - 1}, got {row['index']}")
    if not part and not name:
        raise ValueError("neither a part nor a landmark; name one, or remove the line")
    volume = found.setdefault(key, Labelled(key, curves[key]))
    if name:
        if first != last:
            raise ValueError(f"the landmark {name} needs one slice, got {row['index']}")
        if name in volume.landmarks:
            raise ValueError(
                f"series {key} has {name} twice, at slices {volume.landmarks[name]} and {first}; "
                "keep one"
            )
        volume.landmarks[name] = first
    for index in range(first, last + 1) if part else ():
        if volume.parts.setdefault(index, part) != part:
            raise ValueError(
                f"slice {index} of series {key} is labelled {volume.parts[index]} and {part}; "
                "keep one"
            )


def _order(labelled: Sequence[Labelled], parts: Sequence[str] | None) -> tuple[str, ...]:
    """The parts from superior to inferior, as given or by median score.

    Raises `ValueError` where a volume contradicts it.
    """
    scores, names = _pool(labelled)
    of_part = {part: scores[np.array(names) == part] for part in dict.fromkeys(names)}
    order = (
        tuple(parts)
        if parts is not None
        else tuple(sorted(of_part, key=lambda part: float(np.median(of_part[part]))))
    )
    if len(set(order)) != len(order):
        raise ValueError(f"parts must differ, got {', '.join(order)}")
    if order and len(order) < 2:
        given = "is given (names are set apart by spaces)" if parts is not None else "is labelled"
        raise ValueError(f"only the part {order[0]} {given}; a border needs two")
    if order:
        thresholds(scores, names, order)  # refuses absent and foreign parts
    for one in labelled:
        ranked = [(order.index(one.parts[i]), i) for i in sorted(one.parts)]
        for (above, i), (below, j) in pairwise(ranked):
            if above > below:
                raise ValueError(
                    f"a volume has {order[above]} at slice {i} above {order[below]} at slice "
                    f"{j}, against the order {', '.join(order)}; "
                    "correct the labels, or give --parts from superior to inferior"
                )
    return order


def landmark(shown: Sequence[tuple[Curve, int]]) -> Level:
    """A landmark's level from the volumes that show it, each with its slice."""
    scores = np.array([curve.scores[index] for curve, index in shown])
    k = len(scores)
    without = (scores.sum() - scores) / (k - 1) if k > 1 else np.array([])
    labels = [float(curve.z_mm[index]) for curve, index in shown]
    return _level(float(scores.mean()), scores, [curve for curve, _ in shown], labels, without)


def pairs_mm(labelled: Sequence[Labelled]) -> tuple[float, ...]:
    """How far apart labelled volumes see the same landmark (`Regions`):

    what `level` makes its interval of.
    """
    found = []
    for one, other in permutations(labelled, 2):
        for name in one.landmarks.keys() & other.landmarks.keys():
            score = float(one.curve.scores[one.landmarks[name]])
            found.append(
                abs(
                    passage(*other.curve, score).z_mm
                    - float(other.curve.z_mm[other.landmarks[name]])
                )
            )
    return tuple(sorted(found))


def _border(labelled: Sequence[Labelled], order: Sequence[str], border: int) -> Level:
    """The level between `order[border]` and the next part.

    Its residuals come from volumes whose labels show it between two slices.
    """

    def threshold(volumes: Sequence[Labelled]) -> float:
        scores, names = _pool(volumes)
        sides = ["below" if order.index(name) > border else "above" for name in names]
        return float(thresholds(scores, sides, ("above", "below"))[0])

    everything, names = _pool(labelled)
    score = float(thresholds(everything, names, order)[border])
    shown, scores, labels, without = [], [], [], []
    for one in labelled:
        last = next(
            (
                i
                for i, part in one.parts.items()
                if part == order[border] and one.parts.get(i + 1) == order[border + 1]
            ),
            None,
        )
        if last is not None:
            shown.append(one.curve)
            scores.append(float(one.curve.scores[last : last + 2].mean()))
            labels.append(float(one.curve.z_mm[last : last + 2].mean()))
            try:
                without.append(threshold([other for other in labelled if other is not one]))
            except ValueError:  # no other volume shows both sides
                return _level(score, np.array(scores), [], [], np.array([]))
    return _level(score, np.array(scores), shown, labels, np.array(without))


def _level(
    score: float,
    scores: NDArray[np.float64],
    curves: Sequence[Curve],
    labels_mm: Sequence[float],
    without: NDArray[np.float64],
) -> Level:
    residuals = [
        abs(passage(*curve, level).z_mm - z)
        for curve, z, level in zip(curves, labels_mm, without, strict=False)
    ]
    std = float(scores.std(ddof=1)) if len(scores) > 1 else None
    return Level(score, std, len(scores), tuple(map(float, without)), tuple(residuals))


def _pool(labelled: Sequence[Labelled]) -> tuple[NDArray[np.float64], list[str]]:
    pools = [one.pool() for one in labelled]
    return np.concatenate([scores for scores, _ in pools]), [
        name for _, names in pools for name in names
    ]


def _accuracy(labelled: Sequence[Labelled], order: Sequence[str]) -> float | None:
    if not order:
        return None
    scores, names = _pool(labelled)
    return float(
        (classify(scores, thresholds(scores, names, order), order) == np.array(names)).mean()
    )


def _held_out(
    labelled: Sequence[Labelled],
    order: Sequence[str],
    tell: Callable[[Labelled, Sequence[Labelled]], NDArray[np.str_]],
) -> list[NDArray[np.bool_]]:
    """Of each volume with parts, whether its slices are told right by the others; volumes without
    which a part is missing are left out.

    tell: the parts of the first's labelled slices, learned from the others.
    """
    shown = [one for one in labelled if one.parts]
    right = []
    for one in shown if len(shown) >= 3 else ():
        others = [other for other in shown if other is not one]
        if set(_pool(others)[1]) == set(order):
            right.append(tell(one, others) == np.array(one.pool()[1]))
    return right


def _by_thresholds(
    one: Labelled, others: Sequence[Labelled], order: Sequence[str]
) -> NDArray[np.str_]:
    return classify(one.pool()[0], thresholds(*_pool(others), order), order)


def _classifier(
    labelled: Sequence[Labelled], features: Mapping[str, NDArray[np.float32]], order: Sequence[str]
) -> Classifier:
    return fit_classifier(_seen(labelled, features), _pool(labelled)[1], order)


def _seen(
    labelled: Sequence[Labelled], features: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Features of the labelled slices, in the order of `_pool`."""
    return np.concatenate([features[one.series][list(one.parts)] for one in labelled])


def _mean(right: Sequence[NDArray[np.bool_]]) -> float | None:
    return float(np.concatenate(right).mean()) if right else None
