"""Transforms for MONAI's dictionaries.

Images are CT in HU, as `LoadImaged` and `EnsureChannelFirstd` give them; scale intensities
afterwards.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ubr.weights.released import NEWEST

from ...reading.ranges import Range
from .body import RAS_TO_LPS, Grid, Reader

try:
    from monai.data import MetaTensor
    from monai.transforms import Crop, Cropd, MapTransform
    from monai.utils import MetaKeys, SpaceKeys
except ImportError as error:
    raise ImportError(
        'transforms for MONAI need monai: pip install "ubr-pretrain[monai]"'
    ) from error

Keys = Hashable | Iterable[Hashable]


class CropToLevelsd(Cropd):  # type: ignore[misc]
    """Crop images to the slices between two levels of the body, as `ubr-pretrain crop` does.

    The inverse is that of MONAI's `Crop`: the image is padded with zeros to where it was.

    Args:
        keys: the images to crop, on one grid.
        source_key: the CT among them, or another one on this grid, that is read.
        start: a landmark, a part (its upper border), or a number.
        end: a landmark, a part (its lower border), or a number.
        margin_mm: length kept beyond both ends.
        partial: crop to what the image shows of the range. Without it, an image that does not show
            all of the range is refused.
        weights: a file that `fit` wrote, an .onnx that `export` made, or "released".
        regions: a file that `calibrate` wrote for these weights; released weights include theirs.
        allow_missing_keys: do not raise where a key is missing.
        lazy: as in MONAI's `Cropd`; what is read is always up to date.

    Raises:
        ValueError: levels that the regions do not have; when called, an image that is no axial CT
            in HU with an affine, that lies upside-down, or that does not show the range.
    """

    def __init__(
        self,
        keys: Keys,
        source_key: Hashable,
        start: str,
        end: str,
        *,
        margin_mm: float = 0.0,
        partial: bool = False,
        weights: str | Path = NEWEST,
        regions: str | Path | None = None,
        allow_missing_keys: bool = False,
        lazy: bool = False,
    ) -> None:
        super().__init__(keys, Crop(), allow_missing_keys, lazy)
        self.source_key = source_key
        self.range = Range(start, end, margin_mm, partial)
        self.reader = Reader(weights, regions)
        self.reader.check_range(self.range)

    @property
    def requires_current_data(self) -> bool:
        """Crops that MONAI still postpones are done before the image is read."""
        return True

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Any, Any]:
        """A copy of the dictionary with the images cropped."""
        d = dict(data)
        source = _grid(d[self.source_key], self.source_key)
        box = self.reader.read(source).box(self.range)
        for key in self.key_iterator(d):
            if d[key].shape[1:] != source.hu.shape:
                raise ValueError(
                    f"{key} is {tuple(d[key].shape[1:])} and {self.source_key} {source.hu.shape}; "
                    "resample one to the other first"
                )
            d[key] = self.cropper(d[key], slices=box, lazy=self.lazy if lazy is None else lazy)
        return d


class AddBodyCoordinated(MapTransform):  # type: ignore[misc]
    """Add an image of the body coordinate: `position_mm` in every voxel, in one channel.

    It has a key of its own, so that intensities can be scaled without it; `ConcatItemsd` makes it a
    channel of the image. Spatial transforms of both keep it valid.

    Args:
        keys: CT images.
        postfix: the coordinate of `image` gets the key `image_POSTFIX`.
        weights, regions, allow_missing_keys: as in `CropToLevelsd`.

    Raises:
        ValueError: weights without positions in mm; when called, as `CropToLevelsd`.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        postfix: str = "position_mm",
        weights: str | Path = NEWEST,
        regions: str | Path | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.postfix = postfix
        self.reader = Reader(weights, regions)
        self.reader.check_positions()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Any, Any]:
        """A copy of the dictionary with the coordinates added."""
        d = dict(data)
        for key in self.key_iterator(d):
            mm = self.reader.read(_grid(d[key], key)).position_mm()
            added = torch.from_numpy(mm)[None].to(d[key].device)
            meta = {MetaKeys.SPACE: d[key].meta.get(MetaKeys.SPACE, SpaceKeys.RAS)}
            d[f"{key}_{self.postfix}"] = MetaTensor(added, affine=d[key].affine.clone(), meta=meta)
        return d


class AddBodyMetad(MapTransform):  # type: ignore[misc]
    """Add to an image's `meta`, under "body", where in the body the image begins and ends.

    `from_mm` and `to_mm` are positions of the slices nearest to head and feet, `parts` names the
    parts covered. Later transforms do not change them: crop first.

    Args:
        keys: CT images.
        weights, regions, allow_missing_keys: as in `CropToLevelsd`.

    Raises:
        ValueError: as `AddBodyCoordinated`.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        weights: str | Path = NEWEST,
        regions: str | Path | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.reader = Reader(weights, regions)
        self.reader.check_positions()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Any, Any]:
        """A copy of the dictionary with `meta` of the images added to."""
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            about = self.reader.read(_grid(image, key)).about()
            d[key] = MetaTensor(
                image.as_tensor(),
                meta={**image.meta, "body": about},
                applied_operations=image.applied_operations,
            )
        return d


class ShowsLevelsd:
    """Whether an item shows the body between two levels: drop the others with `filter`.

    MONAI's data sets have a fixed length, so items are dropped before a data set is made of them.

    Args:
        key: the CT: a path of a file or a folder in any format that this project reads, or an
            image as in `CropToLevelsd`.
        start, end, weights, regions: as in `CropToLevelsd`.

    Raises:
        ValueError: levels that the regions do not have.
    """

    def __init__(
        self,
        key: Hashable,
        start: str,
        end: str,
        *,
        weights: str | Path = NEWEST,
        regions: str | Path | None = None,
    ) -> None:
        self.key, self.range, self.reader = key, Range(start, end), Reader(weights, regions)
        self.reader.check_range(self.range)

    def __call__(self, data: Mapping[Hashable, Any]) -> bool:
        """False also for what cannot be read, with a warning that says why."""
        scan = data[self.key]
        is_path = isinstance(scan, str | PathLike)
        return self.reader.shows(Path(scan) if is_path else _grid(scan, self.key), self.range)


def _grid(image: Any, key: Hashable) -> Grid:
    """Raises `ValueError` for what is not one channel with an affine."""
    if not isinstance(image, MetaTensor):
        raise ValueError(
            f"{key} is a {type(image).__name__}, and only a MetaTensor says how it lies in the "
            "patient; load it with LoadImaged"
        )
    if image.ndim != 4 or len(image) != 1:
        raise ValueError(
            f"{key} has shape {tuple(image.shape)}; a CT is [1, x, y, z]: use EnsureChannelFirstd"
        )
    affine = np.asarray(image.affine.cpu(), np.float64)[:3]
    is_lps = image.meta.get(MetaKeys.SPACE) == SpaceKeys.LPS
    hu = image.as_tensor()[0].detach().cpu().numpy()
    return Grid(hu, affine if is_lps else RAS_TO_LPS @ affine, str(key))
