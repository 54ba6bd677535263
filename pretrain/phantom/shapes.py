"""What a phantom is painted with: soft-edged shapes on a stack of axial slices.

Shapes live in the reference body's millimetres: u down from the vertex, x to the patient's left, y
to the back. The canvas knows where each slice and pixel lies there, so one table of numbers draws
every patient on every grid. A shape is rasterised only inside its bounding box; its edge runs over
about one pixel (partial volume). Painting is in order: what comes later covers what came before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]
Table = Sequence[Sequence[float]]
"""Rows of (u, x, y, rx, ry) or (u, x, y, rx, ry, degrees).

An ellipse's centre, semi-axes and turn at levels u, in mm.
"""

TILE = 64
"""Grid points per side of the periodic noise that textures are made of."""


@dataclass(frozen=True)
class Shape:
    """Where a shape lies on the canvas.

    box: (z, y, x) slices. share: of each voxel in the box, how much the shape fills, 0..1.
    """

    box: tuple[slice, slice, slice]
    share: Floats

    def __mul__(self, other: float | Floats) -> Shape:
        """The shape times a share, a number or one per voxel of its box."""
        return Shape(self.box, self.share * other)


EMPTY = Shape((slice(0), slice(0), slice(0)), np.zeros((0, 0, 0), np.float32))


@lru_cache(maxsize=16)
def _tile(seed: int, kind: int) -> Floats:
    return np.random.default_rng([seed, kind]).standard_normal((TILE,) * 3, np.float32)


class Canvas:
    """A stack of slices to paint on.

    u: `[z]` level of each slice, increasing. x: `[z, nx]`, y: `[z, ny]` coordinates of its pixels,
    equally spaced. All in reference mm. hu: `[z, y, x]` float32, what has been painted.
    """

    def __init__(
        self,
        u: NDArray[np.float64],
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        air_hu: float = -1000.0,
    ) -> None:
        self.u, self.x, self.y = (a.astype(np.float32) for a in (u, x, y))
        self.pixel = float(y[0, 1] - y[0, 0])
        self.step = (float(x[0, 1] - x[0, 0]), self.pixel)
        self.hu = np.full((len(u), y.shape[1], x.shape[1]), air_hu, np.float32)

    def paint(self, shape: Shape, hu: float | Floats) -> None:
        """Replace the share of each voxel that the shape fills.

        `hu` may be a field on the shape's box.
        """
        part = self.hu[shape.box]
        part += shape.share * (hu - part)

    def grid(self, shape: Shape) -> tuple[Floats, Floats, Floats]:
        """(u, y, x) of the box's voxels, as arrays that broadcast to its shape."""
        zs, ys, xs = shape.box
        return self.u[zs, None, None], self.y[zs, ys][:, :, None], self.x[zs, xs][:, None, :]

    def tube(
        self, table: Table, *, side: int = 1, power: float = 2.0,
        grow: float | Floats = 0.0, bulge: float | Floats = 0.0,
    ) -> Shape:  # fmt: skip
        """A stack of superellipses |x/rx|^power + |y/ry|^power <= 1 whose centre and axes run
        smoothly (PCHIP) through the table's rows.

        Squared axes are interpolated, so a table that starts or ends with axes 0 has a round end.
        `side` -1 mirrors left to right. `grow` mm is added to both axes, `bulge` mm to the front
        only: a number, or one per slice of the canvas.
        """
        from scipy.interpolate import PchipInterpolator

        t = np.asarray(table, np.float64)
        z0, z1 = np.searchsorted(self.u, [t[0, 0], t[-1, 0]])
        if z0 == z1:
            return EMPTY
        t[:, 3:5] **= 2
        rows = PchipInterpolator(t[:, 0], t[:, 1:])(self.u[z0:z1])
        more, front = (np.broadcast_to(a, self.u.shape)[z0:z1] for a in (grow, bulge))
        rx, ry = (
            np.maximum(np.sqrt(np.maximum(rows[:, k], 0)) + more + extra, 0)
            for k, extra in ((2, 0), (3, front / 2))
        )
        turn = side * np.deg2rad(rows[:, 4]) if t.shape[1] > 5 else np.zeros(z1 - z0)
        return self._ellipses(
            int(z0), side * rows[:, 0], rows[:, 1] - front / 2, rx, ry, turn, power
        )

    def ball(
        self,
        u: float,
        x: float,
        y: float,
        ru: float,
        rx: float,
        ry: float,
        *,
        side: int = 1,
        power: float = 2.0,
    ) -> Shape:
        """An ellipsoid with its centre at (u, x, y)."""
        z0, z1 = np.searchsorted(self.u, [u - ru, u + ru])
        if z0 == z1:
            return EMPTY
        width = (1 - np.abs((self.u[z0:z1] - u) / ru) ** power) ** (1 / power)
        still = np.ones(z1 - z0)
        return self._ellipses(
            int(z0), side * x * still, y * still, rx * width, ry * width, 0 * still, power
        )

    def rod(self, a: Sequence[float], b: Sequence[float], radius: float, *, side: int = 1) -> Shape:
        """All points within `radius` of the line from a to b, each (u, x, y)."""
        p, q = np.array(a, np.float32), np.array(b, np.float32)
        p[1], q[1] = side * p[1], side * q[1]
        low, high = np.minimum(p, q) - radius - self.pixel, np.maximum(p, q) + radius + self.pixel
        z0, z1 = np.searchsorted(self.u, [low[0], high[0]])
        if z0 == z1:
            return EMPTY
        box = (
            slice(int(z0), int(z1)),
            *self._window(int(z0), int(z1), low[2], high[2], low[1], high[1]),
        )
        outline = Shape(box, EMPTY.share)
        u, y, x = self.grid(outline)
        d = q - p
        along = np.clip(
            ((u - p[0]) * d[0] + (x - p[1]) * d[1] + (y - p[2]) * d[2]) / max(float(d @ d), 1e-6),
            0,
            1,
        )
        far = np.sqrt(
            (u - p[0] - along * d[0]) ** 2
            + (x - p[1] - along * d[1]) ** 2
            + (y - p[2] - along * d[2]) ** 2
        )
        return Shape(
            box,
            np.clip((radius - far) / self.pixel + 0.5, 0, 1) * min(1.0, 2 * radius / self.pixel),
        )

    def noise(self, size_mm: float, seed: int, shape: Shape | None = None) -> Floats:
        """Smooth random texture of unit variance, on a shape's box (default: everywhere).

        Its grains are about `size_mm` wide.

        Quadratic B-spline on a periodic grid of `TILE`^3 normal numbers, fixed to the body: the
        same for every grid it is seen on.
        """
        field = _tile(seed, round(10 * size_mm))
        zs, ys, xs = shape.box if shape else (slice(None),) * 3
        for axis, at in enumerate((self.u[zs], self.y[0, ys], self.x[0, xs])):
            t = at / size_mm
            first = np.floor(t - 0.5).astype(int)
            f = (t - 0.5 - first).astype(np.float32)
            weights = (0.5 * (1 - f) ** 2, 0.5 + f * (1 - f), 0.5 * f**2)
            norm = np.sqrt(sum(w**2 for w in weights))
            along = [1, 1, 1]
            along[axis] = -1
            field = sum(
                np.take(field, (first + k) % TILE, axis) * (w / norm).reshape(along)
                for k, w in enumerate(weights)
            )
        return field

    def _ellipses(
        self, z0: int, cx: Floats, cy: Floats, rx: Floats, ry: Floats, turn: Floats, power: float,
    ) -> Shape:  # fmt: skip
        """One superellipse per slice from slice z0 on; all arguments `[slices]`."""
        z1 = z0 + len(cx)
        c, s = np.abs(np.cos(turn)), np.abs(np.sin(turn))
        wide, high = c * rx + s * ry + self.pixel, s * rx + c * ry + self.pixel
        window = self._window(z0, z1, (cy - high), (cy + high), (cx - wide), (cx + wide))
        x = self.x[z0:z1, window[1]] - cx[:, None].astype(np.float32)
        y = self.y[z0:z1, window[0]] - cy[:, None].astype(np.float32)
        small = np.minimum(rx, ry)
        ax, ay = (np.maximum(r, 1e-3)[:, None].astype(np.float32) for r in (rx, ry))
        if turn.any():
            cos, sin = (f(turn)[:, None, None].astype(np.float32) for f in (np.cos, np.sin))
            along, across = (
                cos * x[:, None] + sin * y[:, :, None],
                cos * y[:, :, None] - sin * x[:, None],
            )
            total = (
                np.abs(along / ax[:, :, None]) ** power + np.abs(across / ay[:, :, None]) ** power
            )
        else:
            total = (np.abs(x / ax) ** power)[:, None] + (np.abs(y / ay) ** power)[:, :, None]
        # Near the edge, where the total is 1, the distance to it is about (1 - total) / power
        # radii.
        sharp = (small / (power * self.pixel)).astype(np.float32)[:, None, None]
        share = (
            np.clip((1 - total) * sharp + 0.5, 0, 1)
            * np.minimum(1, 2 * small / self.pixel).astype(np.float32)[:, None, None]
        )
        return Shape((slice(z0, z1), *window), share)

    def _window(
        self, z0: int, z1: int, y0: ArrayLike, y1: ArrayLike, x0: ArrayLike, x1: ArrayLike
    ) -> tuple[slice, slice]:
        """Rows and columns that hold y0..y1 and x0..x1 in every slice of z0..z1."""
        windows = []
        for grid, step, low, high in (
            (self.y, self.step[1], y0, y1),
            (self.x, self.step[0], x0, x1),
        ):
            start = grid[z0:z1, 0]
            first = int(np.floor(np.min((np.asarray(low) - start) / step)))
            last = int(np.ceil(np.max((np.asarray(high) - start) / step))) + 1
            n = grid.shape[1]
            windows.append(slice(min(max(first, 0), n), min(max(last, 0), n)))
        return windows[0], windows[1]
