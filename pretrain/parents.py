"""Going on from weights of this project: what a recipe takes from them, and how far scores moved.

With its head kept, a training begins at its parent's scores. How far it leaves them is measured on
series that it does not learn from, so that whoever reads by the parent's regions knows what they
are worth.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from ubr.weights.released import resolve

from .recipes import Recipe

if TYPE_CHECKING:
    from ubr.weights import Weights

    from .module import UBR


def onto(recipe: Recipe, start: str) -> Recipe:
    """A recipe that starts from weights of this project, with their backbone and input contract.

    Any other start leaves the rest of the recipe as it is.
    """
    from ubr.weights import load
    from ubr.weights.artifact import metadata

    path, taken = resolve(start), dataclasses.replace(recipe, start=start)
    if path.suffix != ".safetensors" or not path.is_file() or metadata(path) is None:
        return taken
    weights = load(start)
    return dataclasses.replace(taken, backbone=weights.backbone, inputs=weights.inputs)


def moved(parent: Weights, module: UBR) -> dict[str, Any] | None:
    """How far the scores of held-out slices lie from the parent's; None if nobody was held out.

    `ubr.weights.provenance.Moved`, as plain values.
    """
    from ubr.weights import Regressor

    if not module.held_out:
        return None
    child, older = module.regressor.eval(), Regressor.from_weights(parent).eval().to(module.device)
    differences, slopes = [], []
    for volume in range(len(module.held_out)):
        now, z_mm = module.held_out_scores(volume, child)
        then, _ = module.held_out_scores(volume, older)
        differences.append(np.abs(now - then))
        slopes.append(float(np.polyfit(z_mm, then, 1)[0]))
    every, slope = np.concatenate(differences), float(np.median(slopes))
    found: dict[str, Any] = {"series": len(differences), "slices": len(every)}
    for name, q in (("q50", 0.5), ("q90", 0.9)):
        at = float(np.quantile(every, q))
        found[f"score_{name}"] = round(at, 4)
        found[f"mm_{name}"] = round(at / slope, 1) if slope > 0 else None
    return found
