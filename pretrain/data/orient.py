"""From a stack of slices somewhere in the patient to a `Volume` in the project's axes.

Coordinates are DICOM's: millimetres, x to the patient's left, y to the back, z to the head (LPS).
They belong to the patient, not to the table, so feet first, prone and lying on the side need no
case of their own.

* **Order**: slices are sorted along their normal, head first. Names and instance numbers play no
  part.
* **Rows and columns** are swapped and flipped until x runs to the patient's left and y to the back.
* **Tilt**: with a tilted gantry the slices lie on a slope and the next slice is not straight below
  along the normal. Slices are moved in-plane, by whole pixels, until columns of z follow the
  normal; the grid grows so that nothing is lost. The slices themselves stay what the scanner made:
  turning them would cut wedges out of both ends and blend slices that are thick. The same holds for
  a head reformatted along such a slope (pitch only, up to `TILT_DEG`). `z_mm` runs along the
  normal.
* **Oblique**: any other turn of more than `OBLIQUE_DEG` is resampled (linear, air outside) to the
  patient's axes, about the centre, on a grid of the same extent. Slices that are nearer to coronal
  or sagittal are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...weights.common.hu import AIR_HU
from .volume import UnusableError, Volume

OBLIQUE_DEG = 2.0
"""Turns up to this are taken as they are.

2 degrees move the edge of a 250 mm head by 4 mm, less than a usual slice.
"""
TILT_DEG = 30.0
"""How far a CT gantry tilts."""
PIXEL_MM = (0.05, 20.0)
STEP_MM = (0.05, 100.0)
"""Beyond these the unit is wrong, or the header is."""
ANISOTROPY = 3.0
"""A pixel more elongated than this is a thick coronal or sagittal slice seen from the side."""

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Stack:
    """Parallel slices of one shape. LPS, mm.

    hu: `[slice, row, column]` int16, in any order of slices.
    right, down: unit vectors along which the column and the row index grow.
    pixel_mm: distance of (rows, columns).
    corner: `[slice, 3]`, centre of the pixel at row 0, column 0.
    """

    hu: NDArray[np.int16]
    right: Float
    down: Float
    pixel_mm: tuple[float, float]
    corner: Float

    @property
    def up(self) -> Float:
        """The slice normal, towards the head."""
        normal = np.cross(self.right, self.down)
        return normal / np.linalg.norm(normal) * (1.0 if normal[2] >= 0 else -1.0)


def to_volume(
    stack: Stack, *, thickness_mm: float | None = None, warnings: tuple[str, ...] = ()
) -> Volume:
    """The stack as a `Volume`. `thickness_mm` stands for the step where there is one slice only.

    Raises `UnusableError` when the slices are not axial, do not follow each other, or have an
    impossible size.
    """
    check_axial(stack.right, stack.down)
    stack = _radiological(stack)
    below = -(stack.corner @ stack.up)
    order = np.argsort(below, kind="stable")
    if (np.diff(order) != 1).any():  # sorting copies all pixels
        stack = replace(stack, hu=stack.hu[order], corner=stack.corner[order])
    z_mm = below[order] - below[order[0]]
    step_mm = float(np.median(np.diff(z_mm))) if len(z_mm) > 1 else thickness_mm
    if step_mm is None:
        raise UnusableError("a single slice without a thickness")
    check_spacing((step_mm, *stack.pixel_mm))
    pitch = _pitch_deg(stack)
    hu, corner, moved_mm = _straighten(stack, z_mm)
    dy, dx = stack.pixel_mm
    place: Float | None = np.stack([stack.right * dx, stack.down * dy, -stack.up, corner], axis=1)
    if moved_mm or pitch is not None:
        moved = f"; slices moved in-plane by up to {moved_mm:.1f} mm" if moved_mm else ""
        warnings += (f"tilt: {pitch or 0.0:.1f} degrees{moved}",)
    warnings += step_warnings(z_mm)
    turn = _turn_deg(stack)
    if pitch is None and turn > OBLIQUE_DEG:
        warnings += (f"oblique: {turn:.1f} degrees",)
        hu, z_mm = _resample(replace(stack, hu=hu), z_mm, step_mm)
        place = None
    return Volume(np.ascontiguousarray(hu), (step_mm, *stack.pixel_mm), z_mm, warnings, place)


def grid_to_volume(
    hu: NDArray[np.int16], axes: Float, origin: Float, *, warnings: tuple[str, ...] = ()
) -> Volume:
    """A regular grid as a `Volume`.

    hu: `[i, j, k]` in any order of axes. axes: `[3, 3]`, column a is the LPS step in mm along array
    axis a. origin: LPS of voxel 0, 0, 0. Raises as `to_volume` does.
    """
    steps = np.linalg.norm(axes, axis=0)
    if not np.isfinite(axes).all() or (steps <= 0).any() or abs(np.linalg.det(axes / steps)) < 0.1:
        raise UnusableError("the header's axes are degenerate")
    # The array axis nearest to the patient's z holds the slices, and so on: the assignment with the
    # largest sum of cosines.
    ways = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    x, y, z = max(ways, key=lambda way: sum(abs(axes[p, a]) / steps[a] for p, a in enumerate(way)))
    corner = origin + np.arange(hu.shape[z])[:, None] * axes[:, z]
    directions = axes / steps
    stack = Stack(
        hu.transpose(z, y, x),
        directions[:, x],
        directions[:, y],
        (float(steps[y]), float(steps[x])),
        corner,
    )
    return to_volume(stack, thickness_mm=float(steps[z]), warnings=warnings)


def check_axial(right: Float, down: Float) -> None:
    """Raise `UnusableError` for directions nearer to sagittal or coronal than to axial."""
    normal = np.cross(right, down)
    if not np.isfinite(normal).all() or np.linalg.norm(normal) < 0.9:
        raise UnusableError("row and column directions are not at right angles")
    nearest = int(np.abs(normal).argmax())
    if nearest != 2:
        raise UnusableError(f"slices are {('sagittal', 'coronal')[nearest]}, not axial")


def step_warnings(z_mm: Float) -> tuple[str, ...]:
    """What is irregular about the slice steps. Slices count from 0 at the superior end.

    A scan that continues in wider steps (4 mm through the skull base, then 7 mm) has no gap, it is
    uneven.
    """
    steps = np.diff(z_mm)
    if gaps := gaps_in(z_mm):
        first = gaps[0]
        which = "1 step" if len(gaps) == 1 else f"{len(gaps)} steps, the first"
        return (
            f"gap: {which} of {first.step_mm:.1f} mm after slice {first.after}, usual "
            f"{first.usual_mm:.1f} mm",
        )
    if len(steps) > 1 and steps.max() - steps.min() > 0.05 * np.median(steps):
        return (f"uneven: steps of {steps.min():.2f} to {steps.max():.2f} mm",)
    return ()


class Gap(NamedTuple):
    """A step after slice `after` that is wider than the usual one around it."""

    after: int
    step_mm: float
    usual_mm: float


def gaps_in(z_mm: Float) -> list[Gap]:
    """The steps of more than 1.5 times the usual one around them (median of seven), in order."""
    steps = np.diff(z_mm)
    if len(steps) < 2:
        return []
    usual = np.array([np.median(steps[max(0, k - 3) : k + 4]) for k in range(len(steps))])
    return [
        Gap(int(k), float(steps[k]), float(usual[k])) for k in np.flatnonzero(steps > 1.5 * usual)
    ]


def _radiological(stack: Stack) -> Stack:
    """Rows and columns swapped and flipped so that columns run to the left and rows to the back."""
    if abs(stack.right[0]) < abs(stack.right[1]):
        stack = Stack(
            stack.hu.swapaxes(1, 2), stack.down, stack.right, stack.pixel_mm[::-1], stack.corner
        )
    if stack.right[0] < 0:
        far = stack.corner + stack.right * stack.pixel_mm[1] * (stack.hu.shape[2] - 1)
        stack = replace(stack, hu=stack.hu[:, :, ::-1], right=-stack.right, corner=far)
    if stack.down[1] < 0:
        far = stack.corner + stack.down * stack.pixel_mm[0] * (stack.hu.shape[1] - 1)
        stack = replace(stack, hu=stack.hu[:, ::-1], down=-stack.down, corner=far)
    return stack


def check_spacing(spacing_mm: tuple[float, float, float]) -> None:
    """Raise `UnusableError` for a spacing (z, y, x) that no axial CT has."""
    step_mm, y, x = spacing_mm
    for name, value, (low, high) in (
        ("pixel", y, PIXEL_MM),
        ("pixel", x, PIXEL_MM),
        ("slice step", step_mm, STEP_MM),
    ):
        if not low <= value <= high:
            raise UnusableError(
                f"a {name} of {value:g} mm is not plausible for CT ({low:g} to {high:g} mm); "
                "check the unit"
            )
    if max(x, y) > ANISOTROPY * min(x, y):
        raise UnusableError(
            f"axial pixels of {x:.2f} x {y:.2f} mm: these are thick "
            f"{'coronal' if y > x else 'sagittal'} slices"
        )


def _turn_deg(stack: Stack) -> float:
    """The angle by which the stack's axes are turned against the patient's."""
    trace = stack.right[0] + stack.down[1] + stack.up[2]
    return float(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))))


def _pitch_deg(stack: Stack) -> float | None:
    """The tilt of the slices about the patient's left-right axis.

    None where they are turned about another axis, or further than a gantry goes.
    """
    about_others = np.degrees(np.arccos(np.clip(stack.right[0], -1, 1)))
    pitch = _turn_deg(stack)
    return pitch if OBLIQUE_DEG < pitch <= TILT_DEG and about_others <= OBLIQUE_DEG else None


def _straighten(stack: Stack, z_mm: Float) -> tuple[NDArray[np.int16], Float, float]:
    """Move slices in-plane so that equal indices lie on one line along the normal.

    Returns the slices, the first one's corner, and by how many mm one moved at most.
    """
    offset_mm = (stack.corner - stack.corner[0]) @ np.stack([stack.down, stack.right], axis=1)
    pixels = offset_mm / np.array(stack.pixel_mm)
    if (np.ptp(pixels, axis=0) < 1).all():
        return stack.hu, stack.corner[0], 0.0
    moved_mm = float(np.linalg.norm(offset_mm, axis=1).max())
    if moved_mm > z_mm[-1]:
        raise UnusableError(
            f"slices are laterally offset by up to {moved_mm:.0f} mm over a height of "
            f"{z_mm[-1]:.0f} mm; they do not form one stack"
        )
    shift = np.rint(pixels - pixels.min(axis=0)).astype(int)
    n, rows, columns = stack.hu.shape
    grown = np.full((n, rows + shift[:, 0].max(), columns + shift[:, 1].max()), AIR_HU, np.int16)
    for target, source, (y, x) in zip(grown, stack.hu, shift, strict=True):
        target[y : y + rows, x : x + columns] = source
    corner = (
        stack.corner[0]
        - stack.down * stack.pixel_mm[0] * shift[0, 0]
        - stack.right * stack.pixel_mm[1] * shift[0, 1]
    )
    return grown, corner, moved_mm


def _resample(stack: Stack, z_mm: Float, step_mm: float) -> tuple[NDArray[np.int16], Float]:
    """The stack on a grid along the patient's axes: the same extent and centre, even steps."""
    n, rows, columns = stack.hu.shape
    z_out = np.arange(round(z_mm[-1] / step_mm) + 1) * step_mm
    dy, dx = stack.pixel_mm
    y = ((np.arange(rows) - (rows - 1) / 2) * dy)[:, None]
    x = ((np.arange(columns) - (columns - 1) / 2) * dx)[None, :]
    out = np.empty((len(z_out), rows, columns), np.int16)
    for k in range(len(z_out)):
        z = z_out[-1] / 2 - z_out[k]  # above the centre
        along = [
            x * axis[0] + y * axis[1] + z * axis[2] for axis in (stack.up, stack.down, stack.right)
        ]
        depth = z_mm[-1] / 2 - along[0]
        slices = np.interp(depth, z_mm, np.arange(n), left=-1, right=n)
        # Half a step beyond the outer slices still belongs to them.
        slices[(depth < 0) & (depth > -step_mm / 2)] = 0
        slices[(depth > z_mm[-1]) & (depth < z_mm[-1] + step_mm / 2)] = n - 1
        where = [slices, along[1] / dy + (rows - 1) / 2, along[2] / dx + (columns - 1) / 2]
        out[k] = _between(stack.hu, where)
    return out, z_out


def _between(hu: NDArray[np.int16], where: list[Float]) -> NDArray[np.int16]:
    """HU at fractional indices (z, y, x), each `[rows, columns]`, linear between voxels.

    Outside of the voxels' centres there is air.
    """
    sides = hu.shape
    inside = np.logical_and.reduce(
        [(at >= 0) & (at <= side - 1) for at, side in zip(where, sides, strict=True)]
    )
    low = [
        at[inside].astype(np.intp).clip(0, max(0, side - 2))
        for at, side in zip(where, sides, strict=True)
    ]
    shares = [at[inside] - below for at, below in zip(where, low, strict=True)]
    total = np.zeros(int(inside.sum()))
    for corner in np.ndindex(2, 2, 2):
        weight = np.ones_like(total)
        for above, share in zip(corner, shares, strict=True):
            weight *= share if above else 1 - share
        at = tuple(
            np.minimum(below + above, side - 1)
            for below, above, side in zip(low, corner, sides, strict=True)
        )
        total += weight * hu[at]
    plane = np.full(inside.shape, AIR_HU, np.int16)
    plane[inside] = np.rint(total)
    return plane
