"""The model card: what the weights are, for a reader who finds them in two years."""

from __future__ import annotations

import re

from .artifact import Weights
from .inputs import InputSpec
from .provenance import Data, HeldOut, Provenance, Start


def card(weights: Weights) -> str:
    """The card as Markdown. Whatever the provenance does not state is shown as unstated."""
    p = weights.made()
    count = sum(t.numel() for t in weights.trunk.values())
    rows = {
        "backbone": weights.backbone,
        "trunk": f"{len(weights.trunk)} tensors, {count:,} numbers",
        "head": "Conv6 and Fc7, for scores"
        if weights.head
        else "none: these weights give features, no scores",
        "input": _field(weights.inputs),
        "intensity": intensity(weights.inputs, _channels(weights.inputs)),
        "start": start_in_words(p.start),
        **({"parent": f"{p.parent}"} if p.parent else {}),
        "data": _data(p.data),
        "quality, no label used": _quality(p.held_out or HeldOut()),
        "training": _training(p),
        "versions": ", ".join(f"{k} {v}" for k, v in p.versions.items()) or "unstated",
        "commit": p.commit or "unstated",
        "license": weights.license,
        "SHA-256 of the content": weights.sha256(),
    }
    table = "\n".join(f"| {name} | {cell(value)} |" for name, value in rows.items())
    return f"""# Body-part regression weights, {cell(weights.backbone)}

{cell(p.method)}. A score for every axial CT slice, learned without labels
from the order and spacing of slices. The trunk is a start for detectors and other networks on CT.

| | |
|---|---|
{table}

## Intended use
A start for other tasks on CT, and one body-coordinate score for each axial slice; larger is more
inferior. Research only; not a medical device. Feed it exactly the input above. Other windows,
means or channel rules raise no error, but give features that it was not trained for.

## Data
Scans are counted above and identified by a digest of their pixels. The weights hold nothing about
a patient.

## Limits
Scores are relative to this training: thresholds and landmarks must be calibrated for each weights
file. Body parts, scanners and ages that were rare in the training data are scored less accurately.
The held-out quality above says nothing about other hospitals. The classifier or detection heads of
a model that takes this trunk still have to be trained.
"""


def _field(inputs: InputSpec) -> str:
    shown = "square around the body" if inputs.field == "body" else "whole image"
    size = f"{inputs.size_px} x {inputs.size_px} px"
    if inputs.mm_per_px:
        scale = f"{inputs.mm_per_px} mm per pixel, cropped or padded with air around the centre"
    else:
        scale = "stretched to that size"
    return f"axial slice, the {shown}, {size}, {scale}"


def _channels(inputs: InputSpec) -> str:
    if inputs.neighbours_mm:
        return f"the slices {inputs.neighbours_mm:g} mm above and below beside it"
    return "one slice copied to three channels"


def intensity(inputs: InputSpec, channels: str) -> str:
    """How HU become input, in words. channels: what the three channels are, if not folded."""
    low, high = inputs.window_hu
    if inputs.channels == "folded":
        return (
            f"three channels: HU clipped to {low:g}..{high:g}, zeros, ones; nothing else is "
            "subtracted or divided"
        )
    scale = f"minus {list(inputs.mean)}, over {list(inputs.std)}"
    return f"HU {low:g}..{high:g} to 0..1, clipped; {channels}; {scale}"


def start_in_words(start: Start | None) -> str:
    """What a training began with."""
    if start is None:
        return "unstated"
    whose = f", {start.name}" if start.name else ""
    whose += f", SHA-256 {start.sha256[:12]}" if start.sha256 else ""
    scale = f"; its scale is {start.scale}" if start.scale else ""
    saw, gets = start.first_convolution_saw, start.first_convolution_gets
    if saw is None or gets is None:
        return f"{start.source}{whose}{scale}"
    reach = "first convolution saw {:g}..{:g}, gets {:g}..{:g}".format(*saw, *gets)
    return f"{start.source}{whose} ({reach}){scale}"


def _data(data: Data) -> str:
    if None in (data.series, data.patients, data.slices, data.fingerprint):
        return "unstated"
    return (
        f"{data.series} series of {data.patients} patients, {data.slices} slices; "
        f"fingerprint {data.fingerprint}"
    )


def _quality(held_out: HeldOut) -> str:
    if held_out.r is None or held_out.ordered is None:
        return "no patients were held out"
    return (
        f"mean Pearson r {held_out.r:.4f}, ordered pairs {held_out.ordered:.4f} on "
        f"{held_out.series} held-out series"
    )


def _training(p: Provenance) -> str:
    recipe = p.recipe
    if recipe.lr is None or p.recipe_sha256 is None:
        return "unstated"
    return (
        f"{p.steps} steps of {recipe.g} x {recipe.m} slices, {recipe.optimiser} at "
        f"{recipe.lr:g}, seed {p.seed}, recipe "
        f"{p.recipe_sha256[:12]}, {p.precision} on {p.device}, {p.date}"
    )


def cell(text: str) -> str:
    """Words of a file as one cell of a table: no lines of their own, and no markup."""
    return re.sub(r"([|<>`]|\](?=\())", r"\\\1", " ".join(text.split()))
