"""Body parts from features: logistic regression on the 512 pooled features of each slice (the
paper's last row of Table 1), for those who have labelled more than a few volumes.

Learning it needs scikit-learn (the extra `[labels]`); classifying needs numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...weights.common.optional import optional

INVERSE_PENALTY = 0.1
"""scikit-learn's C, on features of mean 0 and variance 1.

Slices of one volume are alike, so a weak penalty overfits to volumes.
"""


@dataclass(frozen=True)
class Classifier:
    """A linear function of the features for each part; the largest one gives the slice's part.

    weights: `[parts, 512]`. offsets: `[parts]`.
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
                "a classifier needs finite weights, as many for each part, and one offset per part"
            )

    def classify(self, features: NDArray[np.float32], order: Sequence[str]) -> NDArray[np.str_]:
        """The part of each slice: `[n, 512]` -> `[n]`."""
        values = features @ np.array(self.weights, np.float64).T + np.array(self.offsets)
        parts: NDArray[np.str_] = np.array(order)[values.argmax(1)]
        return parts


def fit_classifier(
    features: NDArray[np.float32], parts: Sequence[str], order: Sequence[str]
) -> Classifier:
    """Learn the parts of labelled slices.

    Args:
        features: `[n, 512]`.
        parts: the part of each slice.
        order: the parts in the classifier's order; each must have a slice.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    linear = optional("sklearn.linear_model", extra="labels", purpose="learning parts by features")
    values = np.asarray(features, np.float64)
    mean, std = values.mean(0), values.std(0)
    constant = std < 1e-6 * max(1.0, float(std.max()))
    std[constant] = np.inf  # a feature that never changes says nothing
    rank = {part: i for i, part in enumerate(order)}
    fitted = linear.LogisticRegression(C=INVERSE_PENALTY, max_iter=2000).fit(
        (values - mean) / std, [rank[part] for part in parts]
    )
    weights, offsets = fitted.coef_, fitted.intercept_
    if len(order) == 2:  # scikit-learn then gives one row, the second part against the first
        weights, offsets = (
            np.concatenate([-weights, weights]) / 2,
            np.concatenate([-offsets, offsets]) / 2,
        )
    weights = weights / std
    return Classifier(
        tuple(map(tuple, weights.tolist())), tuple((offsets - weights @ mean).tolist())
    )
