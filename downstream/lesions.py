"""Lesions planted in a CT volume: where they fit, their shape, and how they take the place of the tissue.

No organ is segmented. One pass at about 3 mm finds where a lesion of each kind fits, by density, homogeneity and neighbours:

* `nodule`: large air-like regions denser than air and walled by soft tissue: lung. Four of five are solid, the rest ground glass.
* `liver`: large homogeneous soft tissue, 0..180 HU, right of the midline. Masses are darker or brighter than their surroundings.
* `kidney`: compact homogeneous soft tissue behind the middle of the body, off the midline, bedded in fat. Masses as in the liver.
* `node`: fat inside the body's wall. Lymph nodes are as dense as the scan's soft tissue.

These are likenesses: muscle, heart or spleen pass for liver or kidney where they meet the rule.

The shape is a turned ellipsoid whose surface swells and shrinks with direction, `r(u) = 1 + amplitude * sum_i cos(k_i u + phase_i)`.
Its share `a` of each voxel is the partial volume in the slice and through its thickness, blurred in-plane as the scan's own skin edge is.
In organs the change is `a * (mean + contrast - lowpass(tissue))`: the tissue's own noise stays. Lung and fat hold vessels that a solid
lesion displaces, so there it brings noise from soft tissue of the same scan, mixed at the edge so that the variance stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ubr.weights.body import body_boxes

KINDS = ("nodule", "liver", "kidney", "node")
WORK_MM = 3.0
"""Block size of the pass that looks for places."""
LONG_MM = {"nodule": 15.0, "liver": 26.0, "kidney": 24.0, "node": 18.0}
"""Median long diameter, about DeepLesion's 19 mm over all kinds, before it is clipped to what fits."""
SPREAD = 0.6
"""Standard deviation of the logarithm of the long diameter; 0.7 over all of DeepLesion's kinds."""
LONGEST_MM = 340.0
APART_MM = 8.0
"""Tissue left between two lesions."""
LOWPASS_PX = 3.0
"""Standard deviation that separates tissue from noise."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Lesion:
    """A planted lesion.

    kind: one of `KINDS`. coarse_type: DeepLesion's code (2 abdomen, 3 mediastinum, 4 liver, 5 lung, 6 kidney). contrast_hu: of its
    middle to the tissue it replaces. origin: (z, y, x) in the volume of `mask`, `[z, y, x]`: the voxels
    that change by more than half of the contrast.
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
        """The mask in slice z of the volume; none where the lesion is absent or only its cap is cut (a tenth of its largest area)."""
        here = z - self.origin[0]
        if not 0 <= here < len(self.mask) or self.areas_px[here] < max(4, self.areas_px.max() / 10):
            return None
        return np.asarray(self.mask[here])


@dataclass(frozen=True)
class Places:
    """Where lesions fit in a volume; `find_places` finds them.

    step: voxels a block. room_mm: per kind `[z, y, x]` blocks, radius of the sphere that fits round the middle of the block.
    donor_mm: the same for any homogeneous soft tissue. soft_hu: its median. chest: `[z]` blocks, slices that show lung. blur_px: of the
    scan, in the slice.
    """

    step: tuple[int, int, int]
    block_mm: Spacing
    room_mm: dict[str, Floats]
    donor_mm: Floats
    soft_hu: float
    chest: Bools
    blur_px: float


@dataclass(frozen=True)
class _Shape:
    """centre: (z, y, x) in voxels, real. radii_mm: long, middle, short. part: `[z, y, x]` share of lesion in the voxels of `crop`."""

    centre: NDArray[np.float64]
    radii_mm: NDArray[np.float64]
    crop: tuple[slice, slice, slice]
    part: Floats


def plant_lesions(
    hu: NDArray[np.int16], spacing_mm: Spacing, places: Places, *, count: int, rng: Generator, kinds: Sequence[str] = KINDS
) -> tuple[NDArray[np.int16], list[Lesion]]:
    """A copy of the volume with up to `count` lesions, kinds taking turns as far as they fit.

    hu: `[z, y, x]`, z superior to inferior, y anterior to posterior, x patient right to left. spacing_mm: (z, y, x). places: of this
    volume. Fewer lesions come back where fewer fit, none where none fits. Nothing outside the lesions changes.
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


# ------------------------------------------------------------------------------------------------------------------- places


def find_places(hu: NDArray[np.int16], spacing_mm: Spacing) -> Places:
    """One pass over a volume `[z, y, x]` of spacing (z, y, x), in blocks of about `WORK_MM`."""
    from scipy import ndimage

    step = tuple(max(1, min(round(WORK_MM / s), n)) for s, n in zip(spacing_mm, hu.shape, strict=True))
    block = tuple(s * n for s, n in zip(spacing_mm, step, strict=True))
    small = _block_mean(hu, step)
    in_box = np.zeros(small.shape, bool)
    for z, (y0, y1, x0, x1) in enumerate(body_boxes(hu, spacing_mm)[:: step[0]][: len(small)]):
        in_box[z, y0 // step[1] : y1 // step[1], x0 // step[2] : x1 // step[2]] = True

    lung = _lung(small, in_box, float(np.prod(block)) / 1000)
    body = ndimage.binary_opening((small > -400) & in_box, np.ones((1, 3, 3), bool)) | lung
    body = np.stack([ndimage.binary_fill_holes(plane) for plane in body])
    mean, mean_of_squares = ndimage.uniform_filter(small, 3), ndimage.uniform_filter(small * small, 3)
    rough = np.sqrt(np.maximum(mean_of_squares - mean * mean, 0))
    trunk = body & ~_head(small, body, block)[:, None, None]
    soft = trunk & (small > 0) & (small < 180) & (rough < 15)
    soft_mm = _room(soft, block)
    fat = body & (small > -140) & (small < -60)
    # After contrast medium kidneys are brighter and less even than other organs.
    kidney = _kidney(trunk & (small > 0) & (small < 260), body, fat, block)
    liver = _liver(soft_mm, body, block)
    chest = np.asarray(lung.sum((1, 2)) > 0.08 * body.sum((1, 2)))
    if chest.any():  # neither lies high in the chest
        top = max(0, int(np.flatnonzero(chest)[-1] - 120 / block[0]))
        liver[:top], kidney[:top] = 0, 0
    return Places(
        (step[0], step[1], step[2]),
        (block[0], block[1], block[2]),
        {
            "nodule": _room(lung, block),
            "liver": liver,
            "kidney": kidney,
            "node": _room(fat & _within_wall(body, fat, block), block),
        },
        soft_mm,
        float(np.median(small[soft])) if soft.any() else 50.0,
        chest,
        _blur_px(hu),
    )


def _block_mean(hu: NDArray[np.int16], step: tuple[int, ...]) -> Floats:
    """Means of whole blocks; what is left over at the far ends is cut off."""
    z, y, x = (n // s for n, s in zip(hu.shape, step, strict=True))
    whole = hu[: z * step[0], : y * step[1], : x * step[2]].reshape(z, step[0], y, step[1], x, step[2])
    return np.asarray(whole.mean((1, 3, 5), dtype=np.float32))


def _room(mask: Bools, block_mm: tuple[float, ...]) -> Floats:
    """Distance (mm) from each block of the mask to the mask's edge; the volume's ends are edges too."""
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=block_mm)[1:-1, 1:-1, 1:-1]
    return np.asarray((distance - 0.5 * block_mm[1]).clip(0), np.float32)


def _lung(small: Floats, in_box: Bools, block_cm3: float) -> Bools:
    """Air-like regions of at least 100 cm3 that are denser than air in the median and walled by tissue, not by air as foam and gaps are.

    What tissue encloses in a slice is judged apart from what lies open: a narrow field of view opens the lungs, arms touch the trunk.
    """
    from scipy import ndimage

    dark = ndimage.binary_opening((small > -960) & (small < -600) & in_box, np.ones((1, 2, 2), bool))
    closed = np.stack([ndimage.binary_fill_holes(plane) for plane in (small > -400) & in_box])
    lung = np.zeros_like(dark)
    for part in (dark & closed, dark & ~closed):
        labels, count = ndimage.label(part)
        size = np.bincount(labels.ravel(), minlength=count + 1) * block_cm3
        for i in np.flatnonzero(size[1:] >= 100) + 1:
            region = labels == i
            wall = small[ndimage.binary_dilation(region, iterations=2) & ~region]
            if -900 < np.median(small[region]) < -650 and (wall > -300).mean() > 1 / 3 and (wall < -960).mean() < 0.04:
                lung |= region
    return np.asarray(lung)


def _head(small: Floats, body: Bools, block_mm: tuple[float, ...]) -> Bools:
    """`[z]` slices in which bone encloses most of the body, and 60 mm about them: the brain is no parenchyma that is meant here."""
    from scipy import ndimage

    inside_bone = np.array([ndimage.binary_fill_holes(plane).sum() for plane in (small > 250) & body])
    skull = inside_bone > 0.6 * np.maximum(body.sum((1, 2)), 1)
    return np.asarray(ndimage.binary_dilation(skull, iterations=max(1, round(60 / block_mm[0])))) if skull.any() else skull


def _within_wall(body: Bools, fat: Bools, block_mm: tuple[float, ...]) -> Bools:
    """What the trunk's muscles and bones enclose in each slice; skin is left off first, or it would enclose everything."""
    from scipy import ndimage

    disk = _disk(12, block_mm)
    wall = _erode(body, _disk(9, block_mm)) & ~fat
    wall = ndimage.binary_opening(wall, np.ones((1, 2, 2), bool))
    closed = ndimage.binary_closing(np.pad(wall, ((0, 0), (8, 8), (8, 8))), disk)[:, 8:-8, 8:-8]
    return _erode(np.stack([ndimage.binary_fill_holes(plane) for plane in closed]), disk)


def _erode(mask: Bools, element: Bools) -> Bools:
    """Erosion; the image's border counts as more of the same, since a narrow field of view cuts the body."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_erosion(mask, element, border_value=1))


def _disk(radius_mm: float, block_mm: tuple[float, ...]) -> Bools:
    """A disk in the slice, `[1, y, x]`."""
    n = [int(radius_mm // s) for s in block_mm[1:]]
    y, x = np.mgrid[-n[0] : n[0] + 1, -n[1] : n[1] + 1]
    return np.asarray((y * block_mm[1]) ** 2 + (x * block_mm[2]) ** 2 <= radius_mm**2)[None]


def _liver(soft_mm: Floats, body: Bools, block_mm: tuple[float, ...]) -> Floats:
    """Room (mm) in cores of soft tissue, 9 mm below its surface, of at least 120 cm3: their part on the patient's right."""
    from scipy import ndimage

    liver = np.zeros_like(soft_mm)
    labels, count = ndimage.label(soft_mm >= 9)
    for i, where in enumerate(ndimage.find_objects(labels, count), 1):
        core = labels[where] == i
        if core.sum() * np.prod(block_mm) >= 120e3:
            left, right = _across(body, where[0])
            core &= np.arange(where[2].start, where[2].stop) < (left + right) / 2
            liver[where][core] = soft_mm[where][core]
    return liver


def _kidney(tissue: Bools, body: Bools, fat: Bools, block_mm: tuple[float, ...]) -> Floats:
    """Room (mm) in what looks like a kidney in its slice: compact, 10..45 cm2, beside the spine, behind the middle, bedded in fat.

    The colon, which also lies in fat, is slimmer and further from the midline.
    """
    from scipy import ndimage

    kidney = np.zeros_like(tissue)
    # An opening in the slice parts the kidney from the muscle that it touches.
    opened = ndimage.binary_opening(tissue, _disk(7, block_mm))
    labels, count = ndimage.label(opened, np.pad(np.ones((1, 3, 3), bool), ((1, 1), (0, 0), (0, 0))))
    for i, where in enumerate(ndimage.find_objects(labels, count), 1):
        region = labels[where] == i
        height, width = (region.shape[axis] * block_mm[axis] for axis in (1, 2))
        area = region.sum() * block_mm[1] * block_mm[2]
        if not 1000 <= area <= 4500 or area < 0.55 * height * width or max(height, width) > 2 * min(height, width):
            continue
        left, right = _across(body, where[0])
        rows = np.flatnonzero(body[where[0]].any((0, 2)))
        side = (where[2].start + where[2].stop - left - right) / 2 / (right - left)
        back = ((where[1].start + where[1].stop) / 2 - rows[0]) / (rows[-1] + 1 - rows[0])
        around = (where[0], *(slice(max(0, s.start - 3), s.stop + 3) for s in where[1:]))
        shell = ndimage.binary_dilation(labels[around] == i, np.ones((1, 3, 3), bool), iterations=3) & ~tissue[around]
        if 0.13 < abs(side) < 0.28 and 0.42 < back < 0.8 and fat[around][shell].mean() > 0.6 and shell.sum() > 2.4 * region.sum() ** 0.5:
            kidney[where] |= region
    return _room(kidney, block_mm)


def _across(body: Bools, slices: slice) -> tuple[int, int]:
    """First column of the body in these slices, and the one after its last."""
    columns = np.flatnonzero(body[slices].any((0, 1)))
    return int(columns[0]), int(columns[-1]) + 1


# ------------------------------------------------------------------------------------------------------------- site and shape


def _site(
    places: Places, kind: str, spacing_mm: Spacing, taken: list[tuple[NDArray[np.float64], float]], rng: Generator
) -> tuple[NDArray[np.float64], float] | None:
    """A centre (z, y, x) in voxels and a long radius (mm), lognormal and no more than what fits; none where the kind no longer fits."""
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
    # Near the middle of a slice in z: what is thinner than a slice would otherwise be cut in two faint halves.
    jitter = rng.uniform([-0.25, -0.5, -0.5], [0.25, 0.5, 0.5])
    return (chosen + 0.5) * places.step - 0.5 + jitter, radius


def _shape(
    centre: NDArray[np.float64], radius_mm: float, kind: str, size: tuple[int, ...], spacing_mm: Spacing, blur_px: float, rng: Generator
) -> _Shape:
    """A lesion's share of the voxels around its centre."""
    from scipy import ndimage

    centre = np.array([round(centre[0]) + rng.uniform(-0.2, 0.2), centre[1], centre[2]])
    middle = rng.uniform(0.65, 0.95)
    radii = radius_mm * np.array([1.0, middle, middle * rng.uniform(0.75, 1.0)])
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    reach = [1.5 * radius_mm / s + 4 * blur_px * (axis > 0) + 1 for axis, s in enumerate(spacing_mm)]
    crop = tuple(slice(max(0, int(c - r)), min(n, int(c + r) + 2)) for c, r, n in zip(centre, reach, size, strict=True))
    waves = rng.uniform(2.0, 8.0 if kind == "nodule" else 5.0, 8)[:, None] * _directions(rng, 8)
    phases = rng.uniform(0, 2 * np.pi, 8)
    amplitude = rng.uniform(*{"node": (0.03, 0.07), "nodule": (0.06, 0.2)}.get(kind, (0.05, 0.15)))

    parts = max(1, min(8, round(2 * spacing_mm[0] / spacing_mm[1])))
    part = np.zeros([s.stop - s.start for s in crop], np.float32)
    y, x = (((np.arange(crop[i].start, crop[i].stop) - centre[i]) * spacing_mm[i]).astype(np.float32) for i in (1, 2))
    for k in range(parts):
        z = (np.arange(crop[0].start, crop[0].stop) + (k + 0.5) / parts - 0.5 - centre[0]) * spacing_mm[0]
        point = np.stack(np.broadcast_arrays(z[:, None, None].astype(np.float32), y[:, None], x), -1)
        length = np.maximum(np.linalg.norm(point, axis=-1), 1e-3)
        scaled = np.linalg.norm((point @ turn / radii).astype(np.float32), axis=-1).clip(1e-6)
        swell = np.cos((point / length[..., None]) @ waves.T.astype(np.float32) + phases.astype(np.float32)).sum(-1)
        depth_mm = (1 + amplitude * swell / 2 - scaled) * (length / scaled)
        part += np.clip(0.5 + depth_mm / (1.2 * spacing_mm[1]), 0, 1) / parts
    part = ndimage.gaussian_filter(part, (0, blur_px, blur_px), mode="nearest")
    part[part < 0.004] = 0
    return _Shape(centre, radii, (crop[0], crop[1], crop[2]), part)


def _directions(rng: Generator, n: int) -> NDArray[np.float64]:
    """`[n, 3]` unit vectors, uniform on the sphere."""
    vectors = rng.standard_normal((n, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _blur_px(hu: NDArray[np.int16]) -> float:
    """Standard deviation (pixels) of the scan's in-plane blur, from its steepest edges between air and tissue.

    A step of 1000 HU blurred by sigma is at most 1000 / (sigma * sqrt(2 pi)) HU a pixel steep. The part that pixels and central
    differences have in it is taken off: the lesion's partial volume brings its own.
    """
    slices = hu[:: max(1, len(hu) // 16)].astype(np.float32)
    if min(slices.shape[1:]) < 3:
        return 0.5
    steep = np.hypot(*np.gradient(slices, axis=(1, 2)))[(slices > -650) & (slices < -350)]
    if len(steep) < 100:
        return 0.5
    sigma = 1000 / (np.sqrt(2 * np.pi) * float(np.quantile(steep, 0.9)))
    return float(np.clip(np.sqrt(max(sigma**2 - 0.7**2, 0)), 0.4, 2.0))


# ------------------------------------------------------------------------------------------------------------------ tissue


def _blend(
    planted: NDArray[np.int16], hu: NDArray[np.int16], shape: _Shape, kind: str, places: Places, spacing_mm: Spacing, rng: Generator
) -> Lesion:
    """Put the lesion into `planted`."""
    part = shape.part
    tissue = hu[shape.crop].astype(np.float32)
    smooth = _lowpass(tissue)
    noise = _donor_noise(hu, shape, places, spacing_mm)
    sigma = float(noise.std())
    around = float(np.median(tissue[part > 0.5])) if (part > 0.5).any() else float(np.median(tissue))
    contrast, solid = _contrast(kind, around, places.soft_hu, sigma, rng)
    texture_hu = min(0.1 * abs(contrast), max(3.0, 0.4 * sigma))
    inside = contrast + texture_hu * _texture(part.shape, float(shape.radii_mm[0]), spacing_mm, rng)
    if kind in ("liver", "kidney"):
        # The fat or air beside an organ must not pull its lowpass, or a faint mass near the edge would vanish.
        same = (np.abs(tissue - around) < 40 + 3 * sigma).astype(np.float32)
        weight = _lowpass(same)
        smooth = np.where(weight > 0.05, _lowpass(same * tissue) / np.maximum(weight, 0.05), around)
        new = tissue + part * (around + inside - smooth)
    elif solid:
        # Weights whose squares sum to one keep the noise's variance where half of it is the lesion's; vessels count as themselves.
        norm = np.sqrt((1 - part) ** 2 + part**2)
        own = np.clip(tissue - smooth, -3 * sigma, 3 * sigma)
        new = (1 - part) * tissue + part * (around + inside) + part / norm * noise + ((1 - part) / norm - (1 - part)) * own
    else:
        new = tissue + part * inside
    planted[shape.crop] = np.where(part > 0, np.rint(new).clip(-32768, 32767), planted[shape.crop]).astype(np.int16)
    chest = bool(places.chest[min(int(shape.centre[0]) // places.step[0], len(places.chest) - 1)])
    code = {"nodule": 5, "liver": 4, "kidney": 6, "node": 3 if chest else 2}[kind]
    z, y, x = shape.crop
    return Lesion(kind, code, contrast, (z.start, y.start, x.start), part * inside / contrast > 0.5)


def _lowpass(tissue: Floats) -> Floats:
    """Each slice without its noise."""
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(tissue, (0, LOWPASS_PX, LOWPASS_PX), mode="nearest"))


def _contrast(kind: str, around: float, soft_hu: float, sigma: float, rng: Generator) -> tuple[float, bool]:
    """HU of the lesion's middle less those of the tissue, and whether it displaces the tissue (rather than being added to it)."""
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


def _texture(size: tuple[int, ...], radius_mm: float, spacing_mm: Spacing, rng: Generator) -> Floats:
    """A smooth random field of standard deviation one that varies over about a third of the radius."""
    from scipy import ndimage

    field = ndimage.gaussian_filter(rng.standard_normal(size, np.float32), [radius_mm / 3 / s for s in spacing_mm])
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6)).clip(-2, 2)


def _donor_noise(hu: NDArray[np.int16], shape: _Shape, places: Places, spacing_mm: Spacing) -> Floats:
    """Noise of soft tissue for the voxels of the lesion's crop: of the roomiest nearby, mirrored as often as it takes; zero without any."""
    size = shape.part.shape
    enough = max(12.0, 2 * float(shape.radii_mm[0]))  # folds of the mirror would show inside the lesion
    blocks = np.argwhere(places.donor_mm >= min(enough, places.donor_mm.max()))
    if not places.donor_mm.any():
        return np.zeros(size, np.float32)
    far = np.abs((blocks[:, 0] + 0.5) * places.block_mm[0] - shape.centre[0] * spacing_mm[0])
    best = blocks[np.argmin(far - 2 * places.donor_mm[tuple(blocks.T)])]
    reach_mm = float(places.donor_mm[tuple(best)]) / np.sqrt(3)
    middle = (best + 0.5) * places.step
    box = tuple(
        slice(max(0, int(m - reach_mm / s)), max(0, int(m - reach_mm / s)) + max(2, int(2 * reach_mm / s)))
        for m, s in zip(middle, spacing_mm, strict=True)
    )
    tissue = hu[box].astype(np.float32)
    noise = tissue - _lowpass(tissue)
    noise -= noise.mean()
    for axis, n in enumerate(size):
        turn = (np.arange(n) + (noise.shape[axis] - n) // 2) % (2 * noise.shape[axis])
        noise = np.take(noise, np.minimum(turn, 2 * noise.shape[axis] - 1 - turn), axis)
    return np.asarray(noise, np.float32)
