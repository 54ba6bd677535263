"""`card.md`: what a set of weights is, for the person who finds it in two years."""

from __future__ import annotations

from pathlib import Path

from ubr.weights import Weights


def write_card(path: Path, weights: Weights) -> None:
    """Write the model card of freshly trained weights, whose provenance is what `fit` records."""
    p, i = weights.provenance, weights.inputs
    recipe, data, held_out = p["recipe"], p["data"], p["held_out"]
    quality = f"mean Pearson r {held_out['r']:.4f}, ordered pairs {held_out['ordered']:.4f}" if "r" in held_out else "none were held out"
    field = f"{i.mm_per_px} mm per pixel" if i.mm_per_px else f"the whole {i.field}, stretched"
    path.write_text(
        f"""# Body-part regression weights, {weights.backbone}

{p["method"]}. Trained without labels, {p["steps"]} steps from a {recipe["start"]} start, seed {p["seed"]}, on {p["date"]}.

| | |
|---|---|
| backbone | {weights.backbone} |
| input | {i.size_px} x {i.size_px} pixels, {field} |
| intensity | HU {i.window_hu[0]:g}..{i.window_hu[1]:g} to 0..1, minus {i.mean}, over {i.std} |
| data | {data["series"]} series of {data["patients"]} patients, {data["slices"]} slices; fingerprint {data["fingerprint"]} |
| quality on {held_out["series"]} held-out series | {quality} |
| recipe | {p["recipe_sha256"][:12]}: g {recipe["g"]}, m {recipe["m"]}, {recipe["optimiser"]} at {recipe["lr"]} |
| precision, device | {p["precision"]}, {p["device"]} |
| versions | {", ".join(f"{k} {v}" for k, v in p["versions"].items())} |
| licence | {weights.licence} |
| SHA-256 of the content | {weights.sha256()} |

## Intended use
A start for other tasks on CT, and one body-coordinate score for each axial slice: larger is more inferior. Research
only; not a medical device.

## Limits
Scores are relative to this training: thresholds and landmarks must be calibrated for each weights file. Body parts, scanners and ages that
were rare in the training data are scored less well; the held-out quality above says nothing about other hospitals.
"""
    )
