"""Masks of organs in NIfTI: a file for each, or one file in which each has a number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .affine import shape_3d
from .find import silence
from .nifti import ENDINGS, nifti_lps, open_nifti
from .volume import UnusableError

STRAY = 0.01
"""Pieces of a mask that are smaller, as a share of it, were segmented by mistake."""
_LABEL = re.compile(rb'<Label\s[^>]*?Key="(\d+)"[^>]*>\s*(?:<!\[CDATA\[)?\s*([^\]<]*?)\s*[\]<]')


@dataclass(frozen=True, eq=False)
class MaskGrid:
    """A file of masks.

    values: `[i, j, k]` as stored: 0 is outside of all. lps: `[3, 4]`, from indices to mm in DICOM's
    LPS. names: number -> name where the header has a table of labels, as TotalSegmentator writes
    it (`--ml`).
    """

    values: NDArray[Any]
    lps: NDArray[np.float64]
    names: Mapping[int, str]

    def mask(self, label: int | None) -> NDArray[np.bool_]:
        """`[i, j, k]`, one label; without one, all that is not 0."""
        whole = self.values if self.values.dtype.kind in "iu" else np.rint(self.values)
        return np.asarray(whole > 0 if label is None else whole == label)


def read_mask_grid(path: str | Path) -> MaskGrid:
    """The masks in a NIfTI file.

    Raises `UnusableError` for a file that is damaged, not 3-D, or does not say how it lies in the
    patient.
    """
    try:
        with silence(), open_nifti((str(path),)) as image:
            shape = shape_3d(image.header.get_data_shape(), image.header.get_data_dtype())
            lps = nifti_lps(image.header)
            values = np.asanyarray(image.stored).reshape(shape)
            texts = [bytes(one.get_content()) for one in image.header.extensions if _is_table(one)]
    except (UnusableError, MemoryError):
        raise
    except Exception:  # nibabel raises whatever the broken bytes lead to
        raise UnusableError("damaged or truncated NIfTI file") from None
    found = [label for text in texts for label in _LABEL.findall(text)]
    return MaskGrid(values, lps, {int(key): name.decode("utf-8", "replace") for key, name in found})


def _is_table(extension: object) -> bool:
    content = getattr(extension, "get_content", bytes)()
    return isinstance(content, bytes) and b"<LabelTable" in content


def mask_name(path: Path) -> str:
    """The name of a NIfTI file without its ending; "" of another file."""
    ending = next((end for end in sorted(ENDINGS, key=len)[::-1] if path.name.endswith(end)), "")
    return path.name.removesuffix(ending) if ending else ""


def extent_mm(mask: NDArray[np.bool_], along: NDArray[np.float64]) -> tuple[float, float] | None:
    """Where a mask begins and ends on an axis: the centres of its outermost voxels.

    Stray pieces do not count. None where the mask is empty.

    along: `[4]`, the axis: a voxel's indices times the first three plus the last is its place.
    """
    from scipy.ndimage import find_objects, label

    boxes = find_objects(mask.astype(np.uint8))
    if not boxes:
        return None
    pieces, _ = label(mask[boxes[0]])
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept = (sizes >= STRAY * sizes.sum())[pieces]
    columns = kept.any(axis=2)
    lowest, highest = kept.argmax(axis=2), kept.shape[2] - 1 - kept[:, :, ::-1].argmax(axis=2)
    i, j = np.nonzero(columns)
    starts = [axis.start for axis in boxes[0]]
    ends = [
        along[0] * (i + starts[0]) + along[1] * (j + starts[1]) + along[2] * (k + starts[2])
        for k in (lowest[columns], highest[columns])
    ]
    places = np.concatenate(ends) + along[3]
    return float(places.min()), float(places.max())
