"""Body parts from features: logistic regression on the 512 pooled features of each slice (the
paper's last row of Table 1), for those who have labelled more than a few volumes.

It is learned with scikit-learn (the extra `[labels]`); telling parts by it needs numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

INVERSE_PENALTY = 0.1
"""scikit-learn's C, on features of mean 0 and variance 1.

Slices of one volume are alike, so a weak penalty learns volumes by heart.
"""


@dataclass(frozen=True)
class Classifier:
    """A linear function of the features for each part:

    the largest is the slice's. weights: `[parts, 512]`. offsets: `[parts]`.
    """

    weights: tuple[tuple[float, ...], ...]
    offsets: tuple[float, ...]

    def __post_init__(self) -> None:
        weights = np.array(self.weights, np.float64)
        if (
            weights.ndim != 2
            or len(weights) != len(self.offsets)
            or not (np.isfinite(weights).all() and np.isfinite(self.offsets).all())
        ):
            raise ValueError(
                "a classifier has as many finite weights for each part, and an offset a part"
            )

    def classify(self, features: NDArray[np.float32], order: Sequence[str]) -> NDArray[np.str_]:
        """The part of each slice: `[n, 512]` -> `[n]`."""
        values = features @ np.array(self.weights, np.float64).T + np.array(self.offsets)
        told: NDArray[np.str_] = np.array(order)[values.argmax(1)]
        return told


def fit_classifier(
    features: NDArray[np.float32], parts: Sequence[str], order: Sequence[str]
) -> Classifier:
    """Learn the parts of labelled slices.

    Args:
        features: `[n, 512]`.
        parts: the part of each.
        order: the parts in the order that the classifier keeps; each must have a slice.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise ValueError(
            'parts by features need scikit-learn: pip install "ubr-pretrain[labels]"'
        ) from None
    values = np.asarray(features, np.float64)
    mean, std = values.mean(0), values.std(0)
    std[std < 1e-6 * max(1.0, float(std.max()))] = (
        np.inf
    )  # a feature that never changes tells nothing
    rank = {part: i for i, part in enumerate(order)}
    fitted = LogisticRegression(C=INVERSE_PENALTY, max_iter=2000).fit(
        (values - mean) / std, [rank[part] for part in parts]
    )
    weights, offsets = fitted.coef_, fitted.intercept_
    if len(order) == 2:  # scikit-learn then has one row, of the second part against the first
        weights, offsets = (
            np.concatenate([-weights, weights]) / 2,
            np.concatenate([-offsets, offsets]) / 2,
        )
    weights = weights / std
    return Classifier(
        tuple(map(tuple, weights.tolist())), tuple((offsets - weights @ mean).tolist())
    )
