"""Masks of computed CT, as a network would make them: what was painted as an organ and is seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ubr.pretrain.phantom import abdomen, chest, head, organs, skeleton
from ubr.pretrain.phantom.scan import Case, Phantom, image
from ubr.pretrain.phantom.shapes import Canvas, Shape
from ubr.pretrain.phantom.skeleton import DISCS

Masks = dict[str, NDArray[np.bool_]]
LUNG, LIVER, FEMUR, HIP, SKULL = "lung_upper_lobe_left", "liver", "femur_left", "hip_left", "skull"


def with_masks(case: Case) -> tuple[Phantom, Masks]:
    """The scan, and masks `[z, y, x]` called as TotalSegmentator calls them.

    Both sides of a pair are in one mask, the left.
    """
    masks: Masks = defaultdict(lambda: np.zeros(0, bool))
    painter = [""]

    def paint(canvas: Canvas, shape: Shape, hu: Any) -> None:
        own(canvas, shape, hu)
        organ = _organ(painter, hu)
        if not organ:
            return
        seen = np.zeros(canvas.hu.shape, bool)
        seen[shape.box] = shape.share > 0.5
        if organ == LUNG and LIVER in masks:  # what is painted later covers what came before
            masks[LIVER] = masks[LIVER] & ~seen
        if organ == "spine":
            for k, name in ((6, "C7"), (18, "T12"), (21, "L3")):
                within = (canvas.u >= DISCS[k]) & (canvas.u < DISCS[k + 1])
                masks[f"vertebrae_{name}"] = seen & within[:, None, None]
        masks[organ] = masks[organ] | seen if organ in masks else seen

    def marked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            painter[0] = name
            try:
                return function(*given)
            finally:
                painter[0] = ""

        return run

    own = Canvas.paint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Canvas, "paint", paint)
        patch.setattr(abdomen, "_liver", marked("liver", abdomen._liver))
        patch.setattr(organs, "paint_chest", marked("chest", chest.paint_chest))
        patch.setattr(organs, "paint_head", marked("head", head.paint_head))
        patch.setattr(skeleton, "_spine", marked("spine", skeleton._spine))
        patch.setattr(skeleton, "_pelvis", marked("hip", skeleton._pelvis))
        made = image(case)
    masks.pop("spine", None)
    return made, {name: mask for name, mask in masks.items()}


def _organ(painter: list[str], hu: Any) -> str:
    """What is being painted, by who paints and in which HU."""
    who, plain = painter[0], isinstance(hu, int | float)
    if who == "chest":
        painter[0] = ""  # the lungs come first, the rest is painted onto them
        return LUNG
    if who == "head":
        return SKULL if plain and hu >= 600 else ""
    if who == "spine":
        return "spine" if plain and hu == 620 else ""
    if who in ("hip", "femur"):
        if plain and hu == 80:  # the gap of the joint; the femur follows
            painter[0] = "femur"
            return ""
        if plain and hu == -30:  # the marrow of the shaft, painted last
            painter[0] = "hip"
            return ""
        return "" if plain and hu == 90 else FEMUR if who == "femur" else HIP
    return LIVER if who == "liver" else ""


def thresholded(hu: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> Masks:
    """Lungs, liver and hips of a real torso `[z, y, x]`, as far as thresholds tell them.

    Lungs are air inside the body in pieces too large for a trachea; the liver is what lies below
    the right lung; hips are the bone beside the spine, in the lower part, that is not a rib's.
    """
    _, dy, dx = spacing_mm
    body = ndimage.binary_fill_holes(_largest(ndimage.binary_opening(hu > -300, iterations=2)))
    inside = np.stack([ndimage.binary_fill_holes(one) for one in np.asarray(body)])
    air = _wide((hu < -400) & inside, 450 / (dy * dx))
    lungs = _largest(air, several=0.1) if air.any() else air
    middle = int(np.mean(np.nonzero(body)[2]))
    right = np.zeros(hu.shape, bool)
    right[:, :, : middle - int(30 / dx)] = True
    below = np.maximum.accumulate(lungs, axis=0) & ~lungs & (hu > -50) & (hu < 300) & right
    liver = _wide(ndimage.binary_opening(below, np.ones((1, 5, 5))), 400 / (dy * dx))
    beside = np.ones(hu.shape, bool)
    beside[:, :, middle - int(45 / dx) : middle + int(45 / dx)] = False
    bone = ndimage.binary_closing((hu > 180) & beside & inside)
    hips = _largest(bone & (np.arange(len(hu)) > 0.45 * len(hu))[:, None, None], several=0.3)
    found = {LUNG: lungs, LIVER: _largest(liver) if liver.any() else liver, HIP: hips}
    return {name: np.asarray(mask) for name, mask in found.items() if mask.any()}


def _wide(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """The pieces of each slice that are at least as large."""
    kept = []
    for one in mask:
        pieces, _ = ndimage.label(one)
        kept.append((np.bincount(pieces.ravel()) >= pixels)[pieces] & one)
    return np.stack(kept)


def _largest(mask: NDArray[np.bool_], several: float = 1.0) -> NDArray[np.bool_]:
    """The largest piece, and those of a share of its size."""
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= several * sizes.max())[pieces] & mask)


def ras(spacing_mm: tuple[float, float, float], top_mm: float = 0.0) -> NDArray[np.float64]:
    """RAS affine of a volume in the project's directions that begins top_mm below 0."""
    dz, dy, dx = spacing_mm
    return np.array([[-dx, 0, 0, 0], [0, -dy, 0, 0], [0, 0, -dz, -top_mm], [0, 0, 0, 1]], float)


def save(path: Path, values: NDArray[Any], affine: NDArray[np.float64]) -> Path:
    """Write `[z, y, x]` as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ascontiguousarray(values.transpose(2, 1, 0)), affine), path)
    return path


def save_masks(
    folder: Path, masks: Mapping[str, NDArray[np.bool_]], affine: NDArray[np.float64]
) -> None:
    """One file a mask."""
    for name, mask in masks.items():
        save(folder / f"{name}.nii.gz", mask.astype(np.uint8), affine)


def save_labels(
    path: Path, masks: Mapping[str, NDArray[np.bool_]], affine: NDArray[np.float64]
) -> None:
    """One file of numbered labels, with the table in which TotalSegmentator names them."""
    values = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for number, mask in enumerate(masks.values(), 1):
        values[mask] = number
    rows = "".join(
        f'<Label Key="{k}" Red="1.0" Green="0" Blue="0" Alpha="1"><![CDATA[{name}]]></Label>\n'
        for k, name in enumerate(masks, 1)
    )
    table = f"<CaretExtension><VolumeInformation><LabelTable>\n{rows}</LabelTable></CaretExtension>"
    made: Any = nib.Nifti1Image(np.ascontiguousarray(values.transpose(2, 1, 0)), affine)
    made.header.extensions.append(nib.nifti1.Nifti1Extension(0, table.encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(made, path)
