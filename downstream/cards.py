"""The card of a detector: what it is, for a reader who finds it in two years."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ubr.weights import Weights
from ubr.weights.cards import cell, intensity, start_in_words

from .recipes import DetectorRecipe
from .slices import View

if TYPE_CHECKING:
    from .dataset import DeepLesion


def card(
    weights: Weights,
    recipe: DetectorRecipe,
    train: DeepLesion,
    val: DeepLesion | None,
    about: Mapping[str, Any],
    best: Mapping[str, Any] | None,
) -> str:
    """The card as Markdown. It names no patient and no file.

    weights: the start. train, val: the images. about: what last.pth says of itself. best: the step
    and recall of best.pth, if there is one.
    """
    took = f"{recipe.steps} steps of {recipe.batch} images, {recipe.optimizer} at {recipe.lr:g}"
    rows = {
        "detector": _detector(weights, recipe),
        "view": _view(recipe.view),
        "intensity": intensity(weights.inputs, _channels(recipe.view)),
        **({"position": _position(about)} if recipe.position else {}),
        "start": _start(weights),
        "trained on": _images(train),
        "validated on": _images(val) if val else "nothing",
        "data": f"SHA-256 of both lists of images and boxes: {about['data']['sha256']}",
        "quality": _quality(about["metrics"], best),
        "training": f"{took}, seed {recipe.seed}, recipe {recipe.sha256()[:12]}, "
        f"{about['precision']} on {about['device']}, {about['date']}",
        "versions": ", ".join(f"{k} {v}" for k, v in about["versions"].items()),
        "commit": about["commit"] or "unstated",
        "license": f"of the start: {weights.license}. The terms of the training images also apply; "
        "state both when you pass the detector on",
    }
    table = "\n".join(f"| {name} | {cell(value)} |" for name, value in rows.items())
    return f"""# Lesion detector, {cell(weights.backbone)}

Boxes around lesions in axial CT slices, with a score. `ubr-detect predict` links them into findings
in space.

| | |
|---|---|
{table}

## Intended use
Research on lesion detection in CT. Feed it exactly the view and the intensity above; `predict` and
`evaluate` do. Other pixel sizes, windows or neighbours raise no error, but it was not trained for
them.

## Do not use it
For diagnosis, screening, triage or to rule a lesion out: it is not a medical device, and no finding
does not mean no lesion. On anything but axial CT. Scores are not probabilities; a threshold must be
chosen on your own scans.

## Limits
It looks for what its training images call lesions. DeepLesion's radiologists marked some lesions of
a slice and not others, so it may take lesions for background. Planted lesions are not real ones,
and quality on them says nothing about patients. Its best step was chosen on the validation images
above, so expect lower quality on other patients.
"""


def _detector(weights: Weights, recipe: DetectorRecipe) -> str:
    maps = f"a pyramid of {recipe.pyramid} channels" if recipe.pyramid else "its last map"
    return (
        f"torchvision's Faster R-CNN on {weights.backbone}, {maps}, box head {recipe.box_head}, "
        f"norms {recipe.norms}"
    )


def _view(view: View) -> str:
    border = ", without the border of air" if view.clip_border else ""
    return (
        f"{view.mm_per_px:g} mm per pixel{border}, the longer side at most {view.longest_px} px; "
        f"{_channels(view)}"
    )


def _channels(view: View) -> str:
    if view.channels == 1:
        return "one slice copied to three channels"
    return f"{view.channels} slices {view.distance_mm:g} mm apart from head to foot"


def _position(about: Mapping[str, Any]) -> str:
    return f"takes body scores of the weights {about['positions']['scorer_sha256'][:12]}"


def _start(weights: Weights) -> str:
    made = weights.made()
    trained = f"{made.method}; SHA-256 {weights.sha256()}"
    return f"{made.name or 'weights'}: {trained}; these began with {start_in_words(made.start)}"


def _images(data: DeepLesion) -> str:
    """Counts of what is trained or validated on."""
    keys = data.keys
    patients, lesions = len({k.patient for k in keys}), sum(len(k.boxes) for k in keys)
    skipped = len(data.unreadable_names)
    return (
        f"{len(keys)} images of {patients} patients with {lesions} lesions, split {data.split}"
        f"{f'; {skipped} more could not be read' if skipped else ''}"
    )


def _quality(last: Mapping[str, float], best: Mapping[str, Any] | None) -> str:
    """Recall on the validation images."""
    if not last:
        return "not measured: nothing was validated on"
    found = (
        f"last.pth finds {_share(last['recall5'])} of the lesions with the 5 best boxes of a slice,"
        f" and {_share(last['froc'])} on average over 0.5 to 16 false positives per image"
    )
    if best is None:
        return found
    return f"{found}; best.pth, of step {best['step']}, {_share(best['recall5'])} with the 5 best"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
