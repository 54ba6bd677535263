"""Lesions planted in a CT volume: their shape, and how they take the place of the tissue.

Where they fit is found by `places`.

The shape is a turned ellipsoid whose surface swells and shrinks with direction, `r(u) = 1 +
amplitude * sum_i cos(k_i u + phase_i)`. Its share `a` of each voxel is the partial volume in the
slice and through its thickness, blurred in-plane as the scan's own skin edge is. In organs the
change is `a * (mean + contrast - lowpass(tissue))`: the tissue's own noise stays. Lung and fat hold
vessels that a solid lesion displaces, so there it brings noise from soft tissue of the same scan,
mixed at the edge so that the variance stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .places import KINDS, Bools, Floats, Places, Spacing

LONG_MM = {"nodule": 15.0, "liver": 26.0, "kidney": 24.0, "node": 18.0}
"""Median long diameter, about DeepLesion's 19 mm over all kinds, before it is clipped to what fits.
"""
SPREAD = 0.6
"""Standard deviation of the logarithm of the long diameter; 0.7 over all of DeepLesion's kinds."""
LONGEST_MM = 340.0
APART_MM = 8.0
"""Tissue left between two lesions."""
LOWPASS_PX = 3.0
"""Standard deviation that separates tissue from noise."""


@dataclass(frozen=True, eq=False)
class Lesion:
    """A planted lesion.

    kind: one of `KINDS`. coarse_type: DeepLesion's code (2 abdomen, 3 mediastinum, 4 liver, 5 lung,
    6 kidney). contrast_hu: of its middle to the tissue it replaces. origin: (z, y, x) in the volume
    of `mask`, `[z, y, x]`: the voxels that change by more than half of the contrast.
    """

    kind: str
    coarse_type: int
    contrast_hu: float
    origin: tuple[int, int, int]
    mask: Bools

    @property
    def areas_px(self) -> NDArray[np.int64]:
        """`[z]` pixels in each slice of the mask."""
        return np.asarray(self.mask.sum((1, 2)))

    @property
    def key(self) -> int:
        """The slice of the volume with the largest area."""
        return self.origin[0] + int(self.areas_px.argmax())

    def on(self, z: int) -> Bools | None:
        """The mask in slice z of the volume.

        None where the lesion is absent, or where the slice cuts only its cap (less than a tenth of
        its largest area).
        """
        here = z - self.origin[0]
        if not 0 <= here < len(self.mask) or self.areas_px[here] < max(4, self.areas_px.max() / 10):
            return None
        return np.asarray(self.mask[here])


@dataclass(frozen=True)
class _Shape:
    """A lesion's shape on the voxel grid.

    centre: (z, y, x) in voxels, real. radii_mm: long, middle, short. part: `[z, y, x]` share of
    lesion in the voxels of `crop`.
    """

    centre: NDArray[np.float64]
    radii_mm: NDArray[np.float64]
    crop: tuple[slice, slice, slice]
    part: Floats


def plant_lesions(
    hu: NDArray[np.int16],
    spacing_mm: Spacing,
    places: Places,
    *,
    count: int,
    rng: Generator,
    kinds: Sequence[str] = KINDS,
) -> tuple[NDArray[np.int16], list[Lesion]]:
    """A copy of the volume with up to `count` lesions, kinds taking turns as far as they fit.

    hu: `[z, y, x]`, z superior to inferior, y anterior to posterior, x patient right to left.
    spacing_mm: (z, y, x). places: of this volume. Fewer lesions come back where fewer fit, none
    where none fits. Nothing outside the lesions changes.
    """
    planted = hu.copy()
    lesions: list[Lesion] = []
    taken: list[tuple[NDArray[np.float64], float]] = []
    turns = [k for k in rng.permutation(list(kinds)).tolist() if places.room_mm[k].any()]
    while turns and len(lesions) < count:
        kind = turns.pop(0)
        site = _site(places, kind, spacing_mm, taken, rng)
        if site is None:
            continue
        turns.append(kind)
        shape = _shape(site[0], site[1], kind, hu.shape, spacing_mm, places.blur_px, rng)
        taken.append((shape.centre * spacing_mm, float(shape.radii_mm[0])))
        lesion = _blend(planted, hu, shape, kind, places, spacing_mm, rng)
        if lesion.areas_px.max() >= 4:
            lesions.append(lesion)
    return planted, lesions


def _site(
    places: Places,
    kind: str,
    spacing_mm: Spacing,
    taken: list[tuple[NDArray[np.float64], float]],
    rng: Generator,
) -> tuple[NDArray[np.float64], float] | None:
    """Draw a centre (z, y, x) in voxels and a long radius in mm.

    The radius is lognormal and clipped to what fits. None where the kind no longer fits.
    """
    wanted = min(LONGEST_MM, LONG_MM[kind] * float(np.exp(SPREAD * rng.standard_normal()))) / 2
    smallest = max(2.0, 1.7 * max(spacing_mm[1:]), 0.6 * spacing_mm[0])
    blocks = np.argwhere(places.room_mm[kind] > 0)
    room = places.room_mm[kind][tuple(blocks.T)] / 1.1  # the surface swells beyond the radius
    middle = (blocks + 0.5) * places.block_mm
    for centre, radius in taken:
        room = np.minimum(room, np.linalg.norm(middle - centre, axis=1) - radius - APART_MM)
    if not len(room) or room.max() < smallest:
        return None
    radius = float(np.clip(wanted, smallest, room.max()))
    chosen = blocks[rng.choice(np.flatnonzero(room >= radius))]
    # Near the middle of a slice in z: what is thinner than a slice would otherwise be cut in two
    # faint halves.
    jitter = rng.uniform([-0.25, -0.5, -0.5], [0.25, 0.5, 0.5])
    return (chosen + 0.5) * places.step - 0.5 + jitter, radius


def _shape(
    centre: NDArray[np.float64],
    radius_mm: float,
    kind: str,
    size: tuple[int, ...],
    spacing_mm: Spacing,
    blur_px: float,
    rng: Generator,
) -> _Shape:
    """A lesion's share of the voxels around its centre."""
    from scipy import ndimage

    centre = np.array([round(centre[0]) + rng.uniform(-0.2, 0.2), centre[1], centre[2]])
    middle = rng.uniform(0.65, 0.95)
    radii = radius_mm * np.array([1.0, middle, middle * rng.uniform(0.75, 1.0)])
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    reach = [
        1.5 * radius_mm / s + 4 * blur_px * (axis > 0) + 1 for axis, s in enumerate(spacing_mm)
    ]
    crop = tuple(
        slice(max(0, int(c - r)), min(n, int(c + r) + 2))
        for c, r, n in zip(centre, reach, size, strict=True)
    )
    waves = rng.uniform(2.0, 8.0 if kind == "nodule" else 5.0, 8)[:, None] * _directions(rng, 8)
    phases = rng.uniform(0, 2 * np.pi, 8)
    amplitude = rng.uniform(*{"node": (0.03, 0.07), "nodule": (0.06, 0.2)}.get(kind, (0.05, 0.15)))

    parts = max(1, min(8, round(2 * spacing_mm[0] / spacing_mm[1])))
    part = np.zeros([s.stop - s.start for s in crop], np.float32)
    y, x = (
        ((np.arange(crop[i].start, crop[i].stop) - centre[i]) * spacing_mm[i]).astype(np.float32)
        for i in (1, 2)
    )
    for k in range(parts):
        z = (
            np.arange(crop[0].start, crop[0].stop) + (k + 0.5) / parts - 0.5 - centre[0]
        ) * spacing_mm[0]
        point = np.stack(
            np.broadcast_arrays(z[:, None, None].astype(np.float32), y[:, None], x), -1
        )
        length = np.maximum(np.linalg.norm(point, axis=-1), 1e-3)
        scaled = np.linalg.norm((point @ turn / radii).astype(np.float32), axis=-1).clip(1e-6)
        swell = np.cos(
            (point / length[..., None]) @ waves.T.astype(np.float32) + phases.astype(np.float32)
        ).sum(-1)
        depth_mm = (1 + amplitude * swell / 2 - scaled) * (length / scaled)
        part += np.clip(0.5 + depth_mm / (1.2 * spacing_mm[1]), 0, 1) / parts
    part = ndimage.gaussian_filter(part, (0, blur_px, blur_px), mode="nearest")
    part[part < 0.004] = 0
    return _Shape(centre, radii, (crop[0], crop[1], crop[2]), part)


def _directions(rng: Generator, n: int) -> NDArray[np.float64]:
    """`[n, 3]` unit vectors, uniform on the sphere."""
    vectors = rng.standard_normal((n, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _blend(
    planted: NDArray[np.int16],
    hu: NDArray[np.int16],
    shape: _Shape,
    kind: str,
    places: Places,
    spacing_mm: Spacing,
    rng: Generator,
) -> Lesion:
    """Put the lesion into `planted`."""
    part = shape.part
    tissue = hu[shape.crop].astype(np.float32)
    smooth = _lowpass(tissue)
    noise = _donor_noise(hu, shape, places, spacing_mm)
    sigma = float(noise.std())
    around = (
        float(np.median(tissue[part > 0.5])) if (part > 0.5).any() else float(np.median(tissue))
    )
    contrast, solid = _contrast(kind, around, places.soft_hu, sigma, rng)
    texture_hu = min(0.1 * abs(contrast), max(3.0, 0.4 * sigma))
    inside = contrast + texture_hu * _texture(part.shape, float(shape.radii_mm[0]), spacing_mm, rng)
    if kind in ("liver", "kidney"):
        # The fat or air beside an organ must not pull its lowpass, or a faint mass near the edge
        # would vanish.
        same = (np.abs(tissue - around) < 40 + 3 * sigma).astype(np.float32)
        weight = _lowpass(same)
        smooth = np.where(weight > 0.05, _lowpass(same * tissue) / np.maximum(weight, 0.05), around)
        new = tissue + part * (around + inside - smooth)
    elif solid:
        # Weights whose squares sum to one keep the noise's variance where half of it is the
        # lesion's; vessels count as themselves.
        norm = np.sqrt((1 - part) ** 2 + part**2)
        own = np.clip(tissue - smooth, -3 * sigma, 3 * sigma)
        new = (
            (1 - part) * tissue
            + part * (around + inside)
            + part / norm * noise
            + ((1 - part) / norm - (1 - part)) * own
        )
    else:
        new = tissue + part * inside
    planted[shape.crop] = np.where(
        part > 0, np.rint(new).clip(-32768, 32767), planted[shape.crop]
    ).astype(np.int16)
    chest = bool(places.chest[min(int(shape.centre[0]) // places.step[0], len(places.chest) - 1)])
    code = {"nodule": 5, "liver": 4, "kidney": 6, "node": 3 if chest else 2}[kind]
    z, y, x = shape.crop
    return Lesion(kind, code, contrast, (z.start, y.start, x.start), part * inside / contrast > 0.5)


def _lowpass(tissue: Floats) -> Floats:
    """Each slice without its noise."""
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(tissue, (0, LOWPASS_PX, LOWPASS_PX), mode="nearest"))


def _contrast(
    kind: str, around: float, soft_hu: float, sigma: float, rng: Generator
) -> tuple[float, bool]:
    """Draw the contrast in HU of the lesion's middle to the tissue.

    Returns the contrast, and whether the lesion displaces the tissue or is added to it.
    """
    if kind == "nodule" and rng.random() < 0.2:
        return rng.uniform(180, 420), False
    if kind == "nodule":
        return rng.uniform(-20, 70) - around, True
    if kind == "node":
        return soft_hu + rng.uniform(-15, 35) - around, True
    faintest = max(25.0, 1.5 * sigma)
    if rng.random() < 0.6:
        return -min(rng.uniform(faintest, faintest + 50), max(faintest, around + 10)), True
    return rng.uniform(faintest, faintest + 45), True


def _texture(
    size: tuple[int, ...], radius_mm: float, spacing_mm: Spacing, rng: Generator
) -> Floats:
    """A smooth random field of unit standard deviation that varies over a third of the radius."""
    from scipy import ndimage

    field = ndimage.gaussian_filter(
        rng.standard_normal(size, np.float32), [radius_mm / 3 / s for s in spacing_mm]
    )
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6)).clip(-2, 2)


def _donor_noise(
    hu: NDArray[np.int16], shape: _Shape, places: Places, spacing_mm: Spacing
) -> Floats:
    """Noise of soft tissue for the voxels of the lesion's crop.

    It is taken from the roomiest place nearby and mirrored as often as needed; zero without any.
    """
    size = shape.part.shape
    # In less room the folds of the mirror would show inside the lesion.
    enough = max(12.0, 2 * float(shape.radii_mm[0]))
    blocks = np.argwhere(places.donor_mm >= min(enough, places.donor_mm.max()))
    if not places.donor_mm.any():
        return np.zeros(size, np.float32)
    far = np.abs((blocks[:, 0] + 0.5) * places.block_mm[0] - shape.centre[0] * spacing_mm[0])
    best = blocks[np.argmin(far - 2 * places.donor_mm[tuple(blocks.T)])]
    reach_mm = float(places.donor_mm[tuple(best)]) / np.sqrt(3)
    middle = (best + 0.5) * places.step
    box = tuple(
        slice(
            max(0, int(m - reach_mm / s)),
            max(0, int(m - reach_mm / s)) + max(2, int(2 * reach_mm / s)),
        )
        for m, s in zip(middle, spacing_mm, strict=True)
    )
    tissue = hu[box].astype(np.float32)
    noise = tissue - _lowpass(tissue)
    noise -= noise.mean()
    for axis, n in enumerate(size):
        turn = (np.arange(n) + (noise.shape[axis] - n) // 2) % (2 * noise.shape[axis])
        noise = np.take(noise, np.minimum(turn, 2 * noise.shape[axis] - 1 - turn), axis)
    return np.asarray(noise, np.float32)
