"""Transforms for TorchIO's subjects.

Images are CT in HU; scale intensities afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ubr.weights.released import NEWEST

from ...reading.ranges import Range
from .body import RAS_TO_LPS, Body, Grid, Reader

try:
    import torchio as tio
except ImportError as error:
    raise ImportError(
        'transforms for TorchIO need torchio: pip install "ubr-pretrain[torchio]"'
    ) from error


class CropToLevels(tio.SpatialTransform):  # type: ignore[misc]
    """Crop a subject to the slices between two levels of the body, as `ubr-pretrain crop` does.

    A subject's history holds TorchIO's `Crop`, whose inverse pads with zeros to where it was.

    Args:
        start: a landmark, a part (its upper border), or a number.
        end: a landmark, a part (its lower border), or a number.
        margin_mm: length kept beyond both ends.
        partial: crop to what the subject shows of the range. Without it, a subject that does not
            show all of the range is refused.
        image_name: the CT that is read; the first `ScalarImage` by default.
        weights: a file that `fit` wrote, an .onnx that `export` made, or "released".
        regions: a file that `calibrate` wrote for these weights; released weights include theirs.
        **kwargs: those of `torchio.Transform`.

    Raises:
        ValueError: levels that the regions do not have; when called, an image that is no axial CT
            in HU, that lies upside-down, or that does not show the range.
    """

    def __init__(
        self,
        start: str,
        end: str,
        *,
        margin_mm: float = 0.0,
        partial: bool = False,
        image_name: str | None = None,
        weights: str | Path = NEWEST,
        regions: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start, self.end, self.margin_mm, self.partial = start, end, margin_mm, partial
        self.image_name, self.weights, self.regions = image_name, weights, regions
        names = "start end margin_mm partial image_name weights regions"
        self.args_names = names.split()
        self.range, self.reader = Range(start, end, margin_mm, partial), Reader(weights, regions)
        self.reader.check_range(self.range)

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Crop it by `torchio.Crop`, which records itself."""
        box = _read(self.reader, _grid(subject, self.image_name)).box(self.range)
        sides = zip(box, subject.spatial_shape, strict=True)
        cropping = tuple(n for part, side in sides for n in (part.start, side - part.stop))
        return tio.Crop(cropping, include=self.include, exclude=self.exclude)(subject)

    def _add_transform_to_subject_history(self, subject: tio.Subject) -> None:
        """Nothing: as of TorchIO's transforms that call others, only the crop is history."""


class AddBodyCoordinate(tio.Transform):  # type: ignore[misc]
    """Add an image of the body coordinate: `position_mm` in every voxel.

    It is an image of its own, because TorchIO's intensity transforms treat all channels of an image
    alike. `exclude` it from them. Spatial transforms of the subject keep it valid.

    Args:
        new_name: what the new image is called.
        image_name, weights, regions, kwargs: as in `CropToLevels`.

    Raises:
        ValueError: weights without positions in mm; when called, as `CropToLevels`.
    """

    def __init__(
        self,
        new_name: str = "position_mm",
        *,
        image_name: str | None = None,
        weights: str | Path = NEWEST,
        regions: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.new_name, self.image_name = new_name, image_name
        self.weights, self.regions = weights, regions
        self.args_names = ["new_name", "image_name", "weights", "regions"]
        self.reader = Reader(weights, regions)
        self.reader.check_positions()

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Add the image."""
        grid = _grid(subject, self.image_name)
        mm = torch.from_numpy(_read(self.reader, grid).position_mm())[None]
        affine = subject[grid.called].affine
        subject.add_image(tio.ScalarImage(tensor=mm, affine=affine), self.new_name)
        return subject


class AddBodyMetadata(tio.Transform):  # type: ignore[misc]
    """Add to a subject, under "body", where in the body its CT begins and ends.

    `from_mm` and `to_mm` are positions of the slices nearest to head and feet, `parts` names the
    parts covered. Later transforms do not change them: crop first.

    Args:
        image_name, weights, regions, kwargs: as in `CropToLevels`.

    Raises:
        ValueError: as `AddBodyCoordinate`.
    """

    def __init__(
        self,
        *,
        image_name: str | None = None,
        weights: str | Path = NEWEST,
        regions: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_name, self.weights, self.regions = image_name, weights, regions
        self.args_names = ["image_name", "weights", "regions"]
        self.reader = Reader(weights, regions)
        self.reader.check_positions()

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Add the value."""
        subject["body"] = _read(self.reader, _grid(subject, self.image_name)).about()
        subject.update_attributes()
        return subject


class ShowsLevels:
    """Whether a subject shows the body between two levels: drop the others with `filter`.

    A `SubjectsDataset` has a fixed length, so subjects are dropped before it is made of them.

    Args:
        start, end, image_name, weights, regions: as in `CropToLevels`.

    Raises:
        ValueError: levels that the regions do not have.
    """

    def __init__(
        self,
        start: str,
        end: str,
        *,
        image_name: str | None = None,
        weights: str | Path = NEWEST,
        regions: str | Path | None = None,
    ) -> None:
        self.image_name = image_name
        self.range, self.reader = Range(start, end), Reader(weights, regions)
        self.reader.check_range(self.range)

    def __call__(self, subject: tio.Subject) -> bool:
        """False also for what cannot be read, with a warning that says why."""
        return self.reader.shows(_grid(subject, self.image_name), self.range)


def _read(reader: Reader, grid: Grid) -> Body:
    """Read with NumPy's usual warnings: inside a transform TorchIO turns them into errors."""
    with np.errstate(all="warn", under="ignore"):
        return reader.read(grid)


def _grid(subject: tio.Subject, image_name: str | None) -> Grid:
    """The CT of a subject. Raises `ValueError` where it has none by this name, of one channel."""
    images = subject.get_images_dict(intensity_only=True)
    name = next(iter(images), "") if image_name is None else image_name
    if name not in images:
        raise ValueError(
            f"the subject has no ScalarImage {name!r}; it has: {', '.join(images) or 'none'}"
        )
    image = images[name]
    if len(image.data) != 1:
        raise ValueError(f"{name} has {len(image.data)} channels; a CT has one")
    affine = np.asarray(image.affine, np.float64)[:3]
    return Grid(image.data[0].numpy(), RAS_TO_LPS @ affine, name)
