"""The losses against the paper's formulas as plain loops, then closed forms, invariances, gradients
and extremes.
"""

from __future__ import annotations

import math

import pytest
import torch

from ubr.pretrain.losses import MM_PER_UNIT, distance_loss, order_loss, position_loss


def slow_order(scores: list[list[float]], scale: float = 1.0) -> float:
    """Eq. 1 as written: minus the sum over i and j of log h(S(i, j+1) - S(i, j))."""
    total = 0.0
    for volume in scores:
        for j in range(len(volume) - 1):
            h = 1 / (1 + math.exp(-scale * (volume[j + 1] - volume[j])))
            total -= math.log(h)
    return total


def slow_distance(scores: list[list[float]]) -> float:
    """Eq.

    2 as written, f the smooth L1 loss of Fast R-CNN: x^2 / 2 where |x| < 1, |x| - 1/2 elsewhere.
    """
    total = 0.0
    for volume in scores:
        for j in range(len(volume) - 2):
            x = (volume[j + 2] - volume[j + 1]) - (volume[j + 1] - volume[j])
            total += x * x / 2 if abs(x) < 1 else abs(x) - 0.5
    return total


@pytest.mark.parametrize("g", [1, 3, 12])
@pytest.mark.parametrize("m", [2, 3, 8, 16])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_losses__equal_the_slow_oracle(g: int, m: int, spread: float) -> None:
    scores = (
        torch.randn(g, m, dtype=torch.float64, generator=torch.Generator().manual_seed(g * 100 + m))
        * spread
    )
    for scale in (1.0, 2.0):
        expected = slow_order(scores.tolist(), scale)
        assert order_loss(scores, scale=scale).item() == pytest.approx(expected, rel=1e-12)
        assert order_loss(scores, scale=scale, mean=True).item() == pytest.approx(
            expected / (g * (m - 1)), rel=1e-12
        )
    expected = slow_distance(scores.tolist())
    assert distance_loss(scores).item() == pytest.approx(expected, rel=1e-12)
    if m > 2:
        assert distance_loss(scores, mean=True).item() == pytest.approx(
            expected / (g * (m - 2)), rel=1e-12
        )


def test_order_loss__closed_form_for_constant_scores() -> None:
    assert order_loss(torch.zeros(12, 8)).item() == pytest.approx(84 * math.log(2), rel=1e-6)


def test_order_loss__scale_two_is_the_two_way_softmax_of_the_authors_code() -> None:
    scores = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    d = scores.diff(dim=1)
    softmax = -torch.log_softmax(torch.stack([d, -d]), dim=0)[0].sum()
    torch.testing.assert_close(order_loss(scores, scale=2.0), softmax)


def test_distance_loss__zero_for_any_line() -> None:
    lines = torch.tensor([[-2.0], [0.5], [7.0]]) * torch.arange(8.0) + torch.tensor(
        [[3.0], [-1.0], [0.0]]
    )
    assert distance_loss(lines).item() == 0


def test_distance_loss__is_zero_with_a_gradient_for_pairs() -> None:
    scores = torch.randn(5, 2, requires_grad=True)
    loss = distance_loss(scores)
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None and scores.grad.abs().sum() == 0


def test_losses__do_not_change_when_a_volume_is_shifted() -> None:
    scores = torch.randn(6, 8, dtype=torch.float64)
    shifted = scores + torch.randn(6, 1, dtype=torch.float64) * 100
    torch.testing.assert_close(order_loss(shifted), order_loss(scores))
    torch.testing.assert_close(distance_loss(shifted), distance_loss(scores))


def test_order_loss__pushes_a_wrong_pair_apart_the_right_way() -> None:
    scores = torch.tensor([[1.0, -1.0]], requires_grad=True)
    order_loss(scores).backward()
    assert scores.grad is not None
    assert (
        scores.grad[0, 0] > 0 > scores.grad[0, 1]
    )  # descent lowers the upper slice and raises the lower one


@pytest.mark.parametrize("value", [1e4, -1e4])
def test_losses__stay_finite_and_keep_their_gradient_at_extreme_scores(value: float) -> None:
    scores = torch.tensor([[value, 0.0, -value, value]], requires_grad=True)
    loss = order_loss(scores) + distance_loss(scores)
    loss.backward()
    assert torch.isfinite(loss)
    assert (
        scores.grad is not None
        and torch.isfinite(scores.grad).all()
        and scores.grad.abs().max() >= 1
    )


def test_losses__gradients_are_those_of_the_formula() -> None:
    scores = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(order_loss, scores)
    assert torch.autograd.gradcheck(distance_loss, scores)


def test_order_loss__refuses_single_slices() -> None:
    with pytest.raises(ValueError, match=r"M >= 2, got shape \(4, 1\)"):
        order_loss(torch.zeros(4, 1))


def slow_position(scores: list[list[float]], z_mm: list[list[float]]) -> float:
    total = 0.0
    for volume, z in zip(scores, z_mm, strict=True):
        offset = sum(s - p / MM_PER_UNIT for s, p in zip(volume, z, strict=True)) / len(volume)
        for s, p in zip(volume, z, strict=True):
            x = s - p / MM_PER_UNIT - offset
            total += x * x / 2 if abs(x) < 1 else abs(x) - 0.5
    return total


def test_position_loss__equals_the_slow_oracle_and_leaves_offsets_free() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(5, 6, dtype=torch.float64, generator=generator)
    z = torch.rand(5, 6, dtype=torch.float64, generator=generator).mul(40).cumsum(1)
    loss = position_loss(scores, z)
    assert loss.item() == pytest.approx(slow_position(scores.tolist(), z.tolist()), rel=1e-12)
    assert position_loss(scores, z, mean=True).item() == pytest.approx(loss.item() / 30)
    offsets = torch.randn(5, 1, dtype=torch.float64, generator=generator)
    assert position_loss(scores + offsets, z - 10 * offsets).item() == pytest.approx(loss.item())
    assert position_loss(z / MM_PER_UNIT + offsets, z).item() == pytest.approx(0, abs=1e-12)
    assert position_loss(2 * z / MM_PER_UNIT, z) > 0.1, "one scale for all volumes"
    taller = torch.tensor([[1.08], [0.95], *[[1.0]] * (len(z) - 2)]).to(z)
    assert position_loss(taller * z / MM_PER_UNIT, z, stretch=0.1).item() == pytest.approx(
        0, abs=1e-12
    )
    assert position_loss(taller * z / MM_PER_UNIT, z, stretch=0.05) > 0, "within bounds"
    with pytest.raises(ValueError, match=r"got \(5, 6\) and \(5, 5\)"):
        position_loss(scores, z[:, :5])
