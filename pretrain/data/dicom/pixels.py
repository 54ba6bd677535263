"""The pixels of a DICOM series: slice by slice, trusting nothing but the headers met there."""

from __future__ import annotations

import warnings
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hu import HuScale
from ..libraries import LibraryError, library
from ..orient import Stack, to_volume
from ..volume import Series, UnusableError, Volume
from .headers import Slice, slices_in
from .phases import SAME_MM, rank
from .series import alike, first_at_each_position
from .values import numbers

PIXELS = 0x7FE0
"""The group of tags that hold pixels."""
UNREADABLE_AT_MOST = 0.1
"""Share of a series' files that may fail; the rest is still a volume with gaps."""


def read_series(series: Series) -> Volume:
    """The volume of a series that `group_series` made.

    HU by each slice's own slope and intercept; padding is air. A slice at a position already taken
    is dropped (the one with the lower acquisition and instance number stays).

    Raises:
        UnusableError: more than a tenth of the files cannot be read, nothing tells which of several
            slices at one position belong together, or what remains is no axial CT volume.
        LibraryError: a library that decodes pixels cannot be imported.
    """
    scale = HuScale()
    slices, images, failed = _convert_files(series, scale)
    notes = (*series.warnings, *failed)
    if any(s.scale is None for s in slices):
        _check_unscaled(slices, scale)
        notes += ("rescale: no slope and intercept",)
    notes += scale.warnings()
    _check_one_stack(slices)
    _check_rivals(slices, images)
    keep = first_at_each_position(slices)
    if len(keep) < len(slices):
        notes += (f"duplicate: {len(slices) - len(keep)} of {len(slices)} slices",)
    first = slices[keep[0]]
    keep.sort(key=lambda k: -slices[k].corner[2])  # head first: sorting later copies all
    hu = np.stack([images[k] for k in keep])
    images.clear()  # a long series takes half a gigabyte
    stack = Stack(
        hu,
        np.array(first.right),
        np.array(first.down),
        first.pixel_mm,
        np.array([slices[k].corner for k in keep]),
    )
    return to_volume(stack, thickness_mm=first.thickness_mm, warnings=notes)


def _convert_files(
    series: Series, scale: HuScale
) -> tuple[list[Slice], list[NDArray[np.int16]], tuple[str, ...]]:
    """The slices of all files, their HU, and the warning of the files that cannot be read.

    Raises `UnusableError` when these are too many.
    """
    slices: list[Slice] = []
    images: list[NDArray[np.int16]] = []
    reasons = Counter[str]()
    library("pydicom.pixels")
    for number, path in enumerate(series.files):
        try:
            loaded = _load(path)
            if series.frames:
                loaded = [loaded[frame] for frame in series.frames[number]]
            converted = [
                scale.convert(stored, *(header.scale or (1.0, 0.0)), padding)
                for header, stored, padding in loaded
            ]
        except (MemoryError, ImportError, LibraryError):
            raise
        except UnusableError as error:
            reasons[str(error)] += 1
        except Exception as error:  # pydicom and its decoders raise whatever broken bytes lead to
            reasons[_decoding(error)] += 1
        else:
            slices += [header for header, _, _ in loaded]
            images += converted
    failed = reasons.total()
    if not failed:
        return slices, images, ()
    most = reasons.most_common(1)[0][0]
    if failed > UNREADABLE_AT_MOST * len(series.files):
        raise UnusableError(f"{failed} of {len(series.files)} files cannot be read: {most}")
    return slices, images, (f"unreadable: {failed} of {len(series.files)} files ({most})",)


def _load(path: str) -> list[tuple[Slice, NDArray[Any], NDArray[np.bool_] | None]]:
    """Every slice of one file: header, stored values, and where they are padding."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    with warnings.catch_warnings(action="ignore"):
        ds = pydicom.dcmread(path, force=True)
        slices = slices_in(ds, path)
        if "TransferSyntaxUID" not in ds.file_meta:
            # A data set without the file's preamble is not compressed.
            ds.file_meta.TransferSyntaxUID = (
                ImplicitVRLittleEndian if ds.original_encoding[0] else ExplicitVRLittleEndian
            )
        if ds.file_meta.TransferSyntaxUID.is_encapsulated:
            library("gdcm")  # pydicom does without where it cannot be imported
        _check_pixels(ds)
        stored = ds.pixel_array
    if stored.ndim == 2:
        stored = stored[None]
    if stored.shape != (len(slices), *slices[0].size):
        raise UnusableError("the pixels do not have the size the header gives")
    loaded = []
    for header, image in zip(slices, stored, strict=True):
        padding = _padding(ds, image)
        if padding is not None and image.dtype.kind == "f":
            image = np.where(padding, 0, image)  # it may be NaN
        loaded.append((header, image, padding))
    return loaded


def _check_pixels(ds: Any) -> None:
    """Raise `UnusableError` where a damaged header would give other pixels, without an error.

    Tags ascend in a file: a smaller one after the pixels is made of their last bytes, because
    others came between. The bits of a value end with the highest: pydicom cuts off what is above
    BitsStored, whatever HighBit says.
    """
    tags = list(ds.keys())
    first = next((n for n, tag in enumerate(tags) if tag.group == PIXELS), len(tags))
    if tags[first:] != sorted(tags[first:]):
        raise UnusableError("truncated or damaged (bytes between the pixels)")
    high, bits = numbers(ds, "HighBit"), numbers(ds, "BitsStored")
    if high and bits and high[0] != bits[0] - 1:
        raise UnusableError(f"BitsStored {bits[0]:g} and HighBit {high[0]:g} contradict each other")


def _padding(ds: Any, image: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where an image is padding; None where the header names no value for it.

    A range goes from the first value to the limit. Further values count as well.
    """
    kind = "FloatPixelPadding" if image.dtype.kind == "f" else "PixelPadding"
    values = _padding_values(ds, f"{kind}Value", image.dtype)
    limits = _padding_values(ds, f"{kind}RangeLimit", image.dtype)
    if not values:
        return None
    low, high = sorted((values[0], limits[0] if limits else values[0]))
    padding = (image >= low) & (image <= high)
    for value in values[1:]:
        padding |= image == value
    return padding | np.isnan(image) if np.isnan(low) or np.isnan(high) else padding


def _padding_values(ds: Any, name: str, dtype: np.dtype[Any]) -> list[float]:
    if dtype.kind == "f":
        value = ds.get(name)
        return [] if value is None else [float(v) for v in np.atleast_1d(value)]
    return [_as_stored(value, dtype) for value in numbers(ds, name) or []]


def _as_stored(value: float, dtype: np.dtype[Any]) -> int:
    """A padding value in the type of the pixels.

    It is not always written so: 63536 in a file of signed pixels is -2000.
    """
    bits = 8 * dtype.itemsize
    unsigned: int = int(value) % (1 << bits)
    return unsigned - (1 << bits) if dtype.kind == "i" and unsigned >= 1 << (bits - 1) else unsigned


def _check_one_stack(slices: list[Slice]) -> None:
    if not all(alike(slices[0], s) for s in slices):
        raise UnusableError("slices differ in size, orientation or pixel spacing")


def _check_rivals(slices: list[Slice], images: list[NDArray[np.int16]]) -> None:
    """Raise `UnusableError` where slices at one position differ and their headers do not.

    Whichever stayed would be chosen by the name of its file, and might be another patient's.
    """
    at = [s.at() for s in slices]
    order = sorted(range(len(slices)), key=lambda k: (round(at[k] / SAME_MM), rank(slices[k])))
    unlike = {
        round(at[k] / SAME_MM)
        for before, k in pairwise(order)
        if abs(at[k] - at[before]) < SAME_MM
        and rank(slices[k]) == rank(slices[before])
        and images[k].shape == images[before].shape
        and not np.array_equal(images[k], images[before])
    }
    if unlike:
        raise UnusableError(
            f"different slices at {len(unlike)} of the positions, and nothing in their headers "
            "tells which belong together (patient, study, acquisition, time, instance number)"
        )


def _check_unscaled(slices: list[Slice], scale: HuScale) -> None:
    """Raise `UnusableError` where values without slope and intercept are no HU.

    They pass if all slices lack both, and there is air near -1000.
    """
    missing = sum(s.scale is None for s in slices)
    if missing < len(slices):
        raise UnusableError(
            f"{missing} of {len(slices)} slices have no rescale slope and intercept"
        )
    if scale.low > -900:
        raise UnusableError(
            f"no rescale slope and intercept, and values {scale.low:g}..{scale.high:g} are not HU"
        )


def _decoding(error: Exception) -> str:
    """Why a file cannot be decoded: decoders' own messages name files and values."""
    if isinstance(error, RuntimeError):  # NotImplementedError is one too
        return (
            "the pixels cannot be decoded (damaged, or compressed in a way pydicom and gdcm "
            "do not know)"
        )
    return f"truncated or damaged ({type(error).__name__})"
