"""The two losses of Unsupervised Body-part Regression (Yan, Lu, Summers, ISBI 2018, eq. 1-3), and a
third of this project. No label is needed: order is the label, and where slices are known in
millimetres, so is the distance.

Scores are `[G, M]`: G volumes, M equidistant slices of each from superior to inferior. All are
returned as sums, as the paper writes them; `mean` divides each by its number of terms, as the
authors' later code does. At the paper's learning rate the difference is a factor of G (M - 1), 84
at the paper's size.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .reading.context import MM_PER_UNIT


def order_loss(scores: Tensor, *, scale: float = 1.0, mean: bool = False) -> Tensor:
    """Slices further down must score higher: eq. 1, -sum over i, j of log h(D(i, j)), with h the
    sigmoid and D(i, j) = S(i, j+1) - S(i, j).

    Args:
        scores: `[G, M]`, M >= 2.
        scale: factor on the difference; 1 in the paper, 2 in the authors' code (a two-way softmax
            over (d, -d)).
        mean: divide by the number of pairs, G (M - 1).

    Raises:
        ValueError: fewer than two slices per volume.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(
            f"order_loss needs [G, M] scores with M >= 2, got shape {tuple(scores.shape)}"
        )
    # log-sigmoid, not log(sigmoid): the worst errors keep their gradient.
    terms = -F.logsigmoid(scale * scores.diff(dim=1))
    return terms.mean() if mean else terms.sum()


def distance_loss(scores: Tensor, *, mean: bool = False) -> Tensor:
    """Equal steps must give equal differences: eq. 2, the sum over i, j of f(D(i, j+1) - D(i, j)),
    with f the smooth L1 loss and D as in `order_loss`.

    With M = 2 there is no second difference and the loss is 0: what is left is the pair ordering of
    Zhang et al. (ISBI 2017).

    Args:
        scores: `[G, M]`.
        mean: divide by the number of second differences, G (M - 2).
    """
    if scores.ndim != 2:
        raise ValueError(f"distance_loss needs [G, M] scores, got shape {tuple(scores.shape)}")
    if scores.shape[1] < 3:
        return scores.sum() * 0.0
    second = scores.diff(n=2, dim=1)
    return F.smooth_l1_loss(
        second, second.new_zeros(second.shape), reduction="mean" if mean else "sum"
    )


def position_loss(
    scores: Tensor, z_mm: Tensor, *, stretch: float = 0.0, mean: bool = False
) -> Tensor:
    """Scores must follow the position, up to a volume's own offset: sum over i, j of f(e(i, j)), f
    the smooth L1 loss and e(i, j) = (S(i, j) - mean S(i)) - (z(i, j) - mean z(i)) / MM_PER_UNIT.

    Where a volume begins in the body is unknown, so its offset is free; but every volume shares one
    scale, which the paper's distance loss leaves open: with it a part of the body that few volumes
    show may collapse to one score. People differ in height, so a volume may stretch this scale, by
    the factor within 1 +- `stretch` that fits its scores best.

    Args:
        scores: `[G, M]`.
        z_mm: `[G, M]` positions in mm, increasing from superior to inferior, from any origin per
            volume.
        stretch: largest deviation of a volume's scale from the common one; 0 allows none.
        mean: divide by the number of terms, G M.

    Raises:
        ValueError: scores that are not `[G, M]`, or positions of another shape.
    """
    if scores.ndim != 2 or scores.shape != z_mm.shape:
        raise ValueError(
            f"position_loss needs scores and positions [G, M], got {tuple(scores.shape)} and "
            f"{tuple(z_mm.shape)}"
        )
    wanted = z_mm.to(scores) / MM_PER_UNIT
    wanted = wanted - wanted.mean(1, keepdim=True)
    centred = scores - scores.mean(1, keepdim=True)
    if stretch:
        best = (centred.detach() * wanted).sum(1) / (wanted * wanted).sum(1).clamp_min(1e-12)
        wanted = wanted * best.clamp(1 - stretch, 1 + stretch)[:, None]
    error = centred - wanted
    return F.smooth_l1_loss(
        error, error.new_zeros(error.shape), reduction="mean" if mean else "sum"
    )
