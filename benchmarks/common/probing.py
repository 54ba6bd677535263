"""What a linear reading finds in frozen features, on patients that it was not fitted to.

Levels are in mm of a body axis that the landmarks of all patients share: between two landmarks of a
series it is stretched, beyond them it goes on in mm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ubr.pretrain.reading.classifier import INVERSE_PENALTY

FOLDS = 5
DRAWS = 1000
PENALTIES = np.logspace(0, 6, 7)
"""From which ridge takes the one with the least error on slices that it leaves out."""

Float = NDArray[np.float64]


def body_axis(marks_mm: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The place of each landmark in mm; the topmost is 0.

    They are the least-squares solution of place = z - offset of the series. Series with one
    landmark say nothing of it.

    Args:
        marks_mm: of each series the z of its landmarks.

    Raises:
        ValueError: no series shows two landmarks.
    """
    several = [marks for marks in marks_mm if len(marks) > 1]
    names = sorted({name for marks in several for name in marks})
    if not names:
        raise ValueError("no series shows two landmarks; give others")
    rows, values = [], []
    for series, marks in enumerate(several):
        for name, z in marks.items():
            row = np.zeros(len(names) + len(several))
            row[names.index(name)], row[len(names) + series] = 1.0, 1.0
            rows.append(row)
            values.append(z)
    # The sum of places is free; lstsq takes the shortest solution, and the topmost becomes 0.
    places = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0][: len(names)]
    return dict(zip(names, (places - places.min()).tolist(), strict=True))


def levels_mm(marks_mm: Mapping[str, float], z_mm: Float, axis: Mapping[str, float]) -> Float:
    """The place of each slice of a series on the axis; it must show a landmark of it."""
    known = sorted((z, axis[name]) for name, z in marks_mm.items() if name in axis)
    z, place = np.array(known).T
    beyond = np.minimum(z_mm - z[0], 0) + np.maximum(z_mm - z[-1], 0)
    return np.asarray(np.interp(z_mm, z, place) + beyond, np.float64)


def folds_of(patients: Sequence[str]) -> NDArray[np.intp]:
    """The fold of each sample, all of a patient in one; at most `FOLDS`, at least two.

    Raises:
        ValueError: there is one patient only.
    """
    names = sorted(set(patients))
    if len(names) < 2:
        raise ValueError(f"{len(names)} patient; a reading is judged on others, give two or more")
    count = min(FOLDS, len(names))
    order = np.random.default_rng(0).permutation(len(names))
    fold = {names[i]: k % count for k, i in enumerate(order)}
    return np.array([fold[name] for name in patients])


def read_levels(features: Float, mm: Float, fold: NDArray[np.intp]) -> Float:
    """The level of each sample by ridge regression on the other folds."""
    return _held_out(lambda: RidgeCV(PENALTIES), "predict", features, mm, fold)


def read_parts(features: Float, part: NDArray[Any], fold: NDArray[np.intp]) -> NDArray[Any]:
    """The part of each sample by logistic regression on the other folds."""
    return _held_out(_logistic, "predict", features, part, fold)


def read_lesions(features: Float, lesion: NDArray[np.bool_], fold: NDArray[np.intp]) -> Float:
    """How sure logistic regression on the other folds is that a patch shows a lesion."""
    return _held_out(_logistic, "decision_function", features, lesion, fold)


def _logistic() -> LogisticRegression:
    return LogisticRegression(C=INVERSE_PENALTY, max_iter=2000)


def _held_out(
    make: Callable[[], Any],
    method: str,
    features: Float,
    truth: NDArray[Any],
    fold: NDArray[np.intp],
) -> NDArray[Any]:
    found: NDArray[Any] | None = None
    for k in np.unique(fold):
        model = make_pipeline(StandardScaler(), make())
        model.fit(features[fold != k], truth[fold != k])
        values = getattr(model, method)(features[fold == k])
        found = np.empty(len(truth), values.dtype) if found is None else found
        found[fold == k] = values
    assert found is not None
    return found


def auc(lesion: NDArray[np.bool_], sure: Float) -> float:
    """Area under the ROC curve; NaN where all patches are alike."""
    return float(roc_auc_score(lesion, sure)) if len(np.unique(lesion)) > 1 else float("nan")


def with_interval(
    statistic: Callable[[NDArray[np.intp]], float], patients: Sequence[str]
) -> tuple[float, float, float]:
    """A statistic of samples, and its 95 % interval: patients are drawn with replacement.

    Args:
        statistic: of the indices of samples.
        patients: of each sample.
    """
    of_patient = [np.flatnonzero(np.array(patients) == name) for name in sorted(set(patients))]
    rng = np.random.default_rng(0)
    drawn = [
        statistic(np.concatenate([of_patient[i] for i in rng.integers(len(of_patient), size=n)]))
        for n in [len(of_patient)] * DRAWS
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return statistic(np.arange(len(patients))), float(low), float(high)
