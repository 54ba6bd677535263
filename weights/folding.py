"""The intensity contract folded into the first convolution, so that a trunk takes clipped HU.

With channel weights w_c, window low..low+W, mean m_c and std s_c, a tap of the first convolution
gives for a slice of h HU

    sum_c w_c ((h - low) / W - m_c) / s_c
        =  h * sum_c w_c / (W s_c)  -  1 * sum_c w_c (low / W + m_c) / s_c

The second term cannot become the bias. A convolution pads with zeros, which stand for the mean, so
taps outside the slice must not add it. It goes to a channel of ones instead, which is padded with
zeros like the slice. The features are then equal up to the border, including where a detector pads
its batch. The three channels are HU, zeros, ones (`InputSpec.channels` "folded").
"""

from __future__ import annotations

import dataclasses

import torch

from .artifact import Weights
from .backbones import build
from .features import TOLERANCE
from .inputs import InputSpec, reference_slice
from .receipts import TransferError


def fold(weights: Weights) -> Weights:
    """The same network with an input contract of clipped HU; scores and features are unchanged.

    Raises:
        ValueError: the weights are folded already, or have no first convolution over three
            channels.
        TransferError: the features differ afterwards.
    """
    spec = weights.inputs
    if spec.channels != "grey":
        raise ValueError("the input contract of these weights is already folded")
    if spec.neighbours_mm:
        raise ValueError(
            "the first convolution of these weights takes three slices (neighbours_mm); export "
            "them without folding"
        )
    in_order = build(weights.backbone).body.state_dict()  # a file's order differs
    first = next((name for name, t in in_order.items() if t.ndim == 4), None)
    if first is None or weights.trunk[first].shape[1] != 3:
        raise ValueError(
            f"window, mean and std cannot be folded into {weights.backbone}: its first "
            "convolution does not take the image"
        )
    weight = weights.trunk[first].double()
    low, width = spec.window_hu[0], spec.window_hu[1] - spec.window_hu[0]
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (spec.mean, spec.std)
    )
    slope = (weight / (width * std)).sum(dim=1)
    offset = -(weight * (low / width + mean) / std).sum(dim=1)
    folded = torch.stack([slope, torch.zeros_like(slope), offset], dim=1).to(
        weights.trunk[first].dtype
    )
    inputs: InputSpec = dataclasses.replace(
        spec, channels="folded", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )
    result = dataclasses.replace(
        weights, inputs=inputs, trunk={**weights.trunk, first: folded}, reference=None
    )
    hu = reference_slice(spec)
    with torch.no_grad():
        before, after = (w.build()(w.inputs.to_input(hu)) for w in (weights, result))
    difference = float((before - after).abs().max() / before.abs().max())
    if not difference <= TOLERANCE:
        raise TransferError(
            f"the features differ by {difference:.2g} of the largest after folding; export these "
            "weights without folding"
        )
    return result
