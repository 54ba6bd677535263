"""The soft parts of the chest: lungs, heart, mediastinum, airways.

The lungs need no shape of their own: they are the rib cage above the diaphragm, less what is
painted onto them.
"""

from __future__ import annotations

import numpy as np

from .anatomy import GAS, Body
from .shapes import Floats, Shape, Table


def paint_chest(body: Body, inside: Floats) -> None:
    c, p, hu = body.c, body.p, body.hu
    z1 = int(np.searchsorted(c.u, body.dome + 180))
    columns = np.flatnonzero(inside[:z1].any((0, 1)))
    rows = np.flatnonzero(inside[:z1].any((0, 2)))
    if not len(columns):
        return
    box = (slice(0, z1), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    cage = Shape(box, inside[box])
    u, y, x = c.grid(cage)
    above = np.clip((_diaphragm(body, y, x) - u) / c.pixel + 0.5, 0, 1)
    lung = (
        -865
        + 45 * np.clip(y / 80, -1, 1)
        + 820 * body.vessels(cage, 15, 0.2)
        + 12 * c.noise(9, p.seed, cage)
    )
    c.paint(cage * above, lung)
    h = p.heart
    middle: Table = (
        (270, 0, 20, 22, 25), (300, 0, 18, 34, 38), (340, 2, 8, 30, 52), (380, 2, 5, 30, 62),
        (420, 4, 12, 26, 56), (460, 6, 26, 24, 44), (500, 8, 38, 23, 34), (560, 0, 50, 22, 26),
    )  # fmt: skip
    heart: Table = (
        (392, 8, -20, 0, 0), (410, 10, -26, 40 * h, 40 * h, 35), (445, 18, -30, 58 * h, 46 * h, 35),
        (485, 28, -38, 56 * h, 40 * h, 35), (512, 34, -48, 0, 0, 0),
    )  # fmt: skip
    heart = [(*row, 0)[:6] for row in heart]
    body.organ(c.tube(middle, power=2.4), inside, -85)
    fat = c.tube(heart, grow=5)
    body.organ(fat, inside, -85)
    body.organ(c.tube(heart), inside, hu["myocardium"])
    for centre, size, what in (
        ((462, 40, -28), (36, 26 * h, 17 * h), "ventricle"),
        ((455, 6, -52), (36, 30 * h, 14 * h), "lung_artery"),
        ((432, 4, 4), (22, 28 * h, 15 * h), "ventricle"),
        ((455, -24, -18), (34, 18 * h, 24 * h), "lung_artery"),
    ):
        c.paint(c.ball(*centre, *size), hu[what])
    _mediastinum(body)
    c.paint(
        c.tube(((270, 4, 30, 7, 6), (400, 6, 42, 8, 6), (500, 14, 34, 8, 6), (515, 30, 20, 0, 0))),
        35,
    )
    _airways(body)


def _diaphragm(body: Body, y: Floats, x: Floats) -> Floats:
    """Level of the diaphragm over (x, y).

    It has two domes, the left one 10 mm lower, that fall to the back and the sides.
    """

    def dome(top: float, x0: float) -> Floats:
        side = (x - x0) * np.sign(x0)
        return np.asarray(
            top
            + np.where(side < 0, 14, 50) * (side / 62) ** 2
            + np.where(y < 0, 30, 105) * (y / 92) ** 2
        )

    return np.asarray(np.minimum(dome(body.dome, -62), dome(body.dome + 10, 62)))


def _mediastinum(body: Body) -> None:
    c, hu = body.c, body.hu
    aorta: Table = (
        (356, -10, -10, 14, 14),
        (380, -16, -16, 15, 15),
        (415, -8, -18, 15, 15),
        (436, 6, -16, 13, 13),
    )
    cava: Table = ((330, -24, -8, 8, 8), (380, -28, -6, 10, 10), (435, -26, -8, 12, 12))
    c.paint(c.tube(cava), hu["vein"])
    c.paint(c.tube(aorta), hu["artery"])
    for a, b in (((354, -10, -10), (346, 8, 12)), ((346, 8, 12), (356, 24, 46))):
        c.paint(c.rod(a, b, 13), hu["artery"])
    c.paint(c.rod((425, 8, -38), (392, 14, -18), 14), hu["lung_artery"])
    for end in ((396, -50, 8), (390, 46, 18)):
        c.paint(c.rod((392, 12, -14), end, 11), hu["lung_artery"])
        c.paint(c.rod(end, (end[0] + 45, end[1] * 1.55, end[2] + 24), 6), hu["lung_artery"])
        c.paint(c.rod(end, (end[0] - 40, end[1] * 1.4, end[2] - 4), 5), hu["lung_artery"])
        c.paint(c.rod((428, 0.4 * end[1], 14), (410, end[1] * 1.2, 20), 6), hu["ventricle"])
    c.paint(c.rod((328, 18, -12), (330, -20, -14), 7), hu["vein"])
    for top, foot in (
        ((270, -30, 8), (346, -8, -2)),
        ((270, 30, 10), (346, 8, 6)),
        ((290, 46, 22), (348, 18, 22)),
    ):
        c.paint(c.rod(top, foot, 5), hu["artery"])


def _airways(body: Body) -> None:
    c = body.c
    trachea: Table = ((236, 0, 8, 9, 8), (285, 0, 16, 9, 9), (378, 0, 28, 9, 9))
    c.paint(c.tube(trachea, grow=2), 50)
    c.paint(c.tube(trachea), GAS)
    for a, b, r in (
        ((376, -3, 28), (402, -38, 26), 7.5), ((376, 3, 28), (412, 40, 26), 6.5),
        ((402, -38, 26), (445, -54, 38), 4.5), ((412, 40, 26), (450, 56, 40), 4.5),
    ):  # fmt: skip
        c.paint(c.rod(a, b, r + 1.5), 30)
        c.paint(c.rod(a, b, r), GAS)
