"""The soft parts: organs, vessels and airways, each a table or a few shapes in the reference body.

The lungs need no shape of their own: they are the rib cage above the diaphragm, less what is
painted onto them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .anatomy import FAT, FLUID, GAS, SIDES, Body, ramp
from .shapes import Floats, Shape, Table


def paint(body: Body, inside: Floats) -> None:
    """All soft parts; `inside` is the share of each voxel that lies in the body's cavity."""
    abdomen(body, inside)
    chest(body, inside)
    great_vessels(body)
    head(body)
    neck(body)


def abdomen(body: Body, inside: Floats) -> None:
    c, p, hu = body.c, body.p, body.hu
    _bowel(body, inside)
    for side in SIDES:
        psoas: Table = (
            (585, 26, 44, 0, 0), (650, 38, 42, 17, 19), (725, 52, 32, 22, 23), (790, 70, 4, 22, 22), (840, 88, -22, 20, 18),
            (880, 104, -14, 0, 0),
        )  # fmt: skip
        c.paint(c.tube(psoas, side=side), hu["muscle"])
    _pelvic_organs(body)
    _colon(body, inside)
    # Liver: right and left lobe, veins; gallbladder.
    low = body.p.breath_mm
    size = p.liver
    end = body.dome + 190 * size
    right: Table = (
        (body.dome - 25, -62, -5, 78, 85), (body.dome + 30, -60, -2, 88, 88), (body.dome + 75, -62, 0, 80, 84),
        (body.dome + 115, -76, 2, 58, 70), (end - 25, -92, 0, 32, 42), (end, -98, 0, 0, 0),
    )  # fmt: skip
    left: Table = (
        (body.dome + 8, 0, -40, 40, 45), (body.dome + 45, 18, -52, 62 * size, 36), (body.dome + 90, 10, -58, 52 * size, 26),
        (body.dome + 135, -5, -62, 0, 0),
    )  # fmt: skip
    stomach: Table = (
        (490 + low, 70, 10, 0, 0), (515 + low, 72, 12, 38, 42), (560 + low, 66, -18, 36, 42), (600 + low, 42, -44, 40, 28),
        (632 + low, 20, -52, 42, 18), (652 + low, 10, -54, 0, 0),
    )  # fmt: skip
    s = p.spleen
    spleen: Table = (
        (545 + low - 52 * s, 100, 45, 0, 0), (540 + low, 108, 42, 20 * s, 42 * s, -28), (575 + low, 106, 40, 18 * s, 36 * s, -28),
        (545 + low + 62 * s, 104, 30, 0, 0, 0),
    )  # fmt: skip
    spleen = [(*row, 0)[:6] for row in spleen]
    body.organ(c.tube(spleen), inside, hu["spleen"])
    for side, u0 in ((-1, 634), (1, 622)):
        _kidney(body, u0 + 0.5 * low + p.kidney_mm, side)
    for a, b in (
        ((618, -24, -6), (596, 14, -20)),
        ((596, 14, -20), (580, 78, 22)),
        ((640, -26, -4), (612, -24, -6)),
    ):
        body.organ(c.rod((a[0] + low, *a[1:]), (b[0] + low, *b[1:]), 10), inside, hu["pancreas"])
    body.level_gas(c.tube(stomach, power=2.2), inside, -42 - 12 * p.gas, 25)
    for table in (right, left):
        shape = c.tube(table, power=2.2)
        body.organ(shape, inside, hu["liver"] + 4 * c.noise(9, p.seed, shape))
    for end_point in (
        (body.dome + 25, -95, 10),
        (body.dome + 30, -60, -45),
        (body.dome + 30, 15, -45),
    ):
        body.organ(c.rod((body.dome + 30, -18, 30), end_point, 5), inside, hu["hepatic"])
    for end_point in (
        (body.dome + 80, -100, 5),
        (body.dome + 95, -70, 25),
        (body.dome + 70, 10, -45),
    ):
        body.organ(c.rod((body.dome + 90, -30, 0), end_point, 5.5), inside, hu["hepatic"])
    body.organ(c.rod((body.dome + 90, -30, 0), (body.dome + 130, 5, 5), 7), inside, hu["vein"])
    body.organ(c.ball(body.dome + 125, -52, -48, 30, 15, 18), inside, 8)


def _bowel(body: Body, inside: Floats) -> None:
    """Small-bowel loops: a warped gyroid whose walls bend through the mesenteric fat."""
    c, p = body.c, body.p
    front = 20.0 * p.ascites
    room: Table = (
        (600, 0, -40, 0, 0), (640, 10, -42 - front, 92, 34), (720, 0, -42 - front, 98, 42), (790, 0, -30, 84, 42), (835, 0, -12, 56, 36),
        (862, 0, -8, 0, 0),
    )  # fmt: skip
    shape = c.tube(room, power=2.4, bulge=body.bulge)
    if not shape.share.size:
        return
    u, y, x = c.grid(shape)
    warp = c.noise(40, p.seed + 1, shape)
    a, b, d = (
        2 * np.pi / 58 * (v + 14 * warp) + phase
        for v, phase in zip((u, y, x), body.rng.uniform(0, 6, 3), strict=True)
    )
    g = np.sin(a) * np.cos(b) + np.sin(b) * np.cos(d) + np.sin(d) * np.cos(a)
    loop = shape * np.clip(4 * (g + 0.55 - 0.35 * p.obesity), 0, 1).astype(np.float32)
    mesentery = np.clip(2 * (body.vessels(shape, 12) - 0.3), 0, 1)
    body.organ(shape, inside, (FLUID if p.ascites else FAT) + mesentery * 110)
    body.organ(loop, inside, body.hu["bowel_wall"])
    lumen = loop * np.clip(5 * (g - 0.05), 0, 1).astype(np.float32)
    body.organ(lumen, inside, 18 + 8 * warp)
    gas = c.noise(38, p.seed + 2, shape) + 2.6 * p.gas - (y + 60) / 40
    body.organ(lumen * np.clip(3 * (gas - 1.1), 0, 1).astype(np.float32), inside, GAS)


def _colon(body: Body, inside: Floats) -> None:
    c, p = body.c, body.p
    front = -0.8 * float(np.interp(640, c.u, body.bulge)) if len(c.u) else 0.0
    stool = 20.0
    ascending: Table = (
        (612, -96, -18, 0, 0), (630, -98, -10, 22, 22), (690, -100, -2, 24, 26), (745, -92, -8, 27, 28), (780, -84, -14, 0, 0),
    )  # fmt: skip
    descending: Table = (
        (570, 104, 0, 0, 0), (590, 106, 12, 17, 19), (660, 104, 18, 15, 17), (740, 98, 2, 14, 16), (790, 84, -8, 14, 15),
        (815, 70, -6, 0, 0),
    )  # fmt: skip
    rectum: Table = (
        (775, 12, 40, 0, 0),
        (800, 6, 48, 20, 18),
        (850, 0, 56, 22, 20),
        (900, 0, 58, 15, 16),
        (940, 0, 62, 0, 0),
    )
    for table, gas_y in ((ascending, -16), (descending, 2), (rectum, 44)):
        shape = c.tube(table, grow=3 * np.sin(2 * np.pi * c.u / 31))
        body.level_gas(
            shape, inside, gas_y - 14 * (1 - 2 * p.gas), stool + 45 * c.noise(7, p.seed, shape) - 40
        )
    path = (
        (622, -92, -30),
        (646, -45, -62 + front),
        (652, 10, -66 + front),
        (628, 65, -52 + front),
        (590, 100, -5),
    )
    for a, b in pairwise(path):
        body.level_gas(c.rod(a, b, 17), inside, a[2] + 10 * p.gas, 10)
    sigmoid = ((810, 70, -8), (838, 30, -22), (812, -18, -8), (800, 8, 34))
    for a, b in pairwise(sigmoid):
        body.level_gas(c.rod(a, b, 14), inside, a[2] - 4, 5)


def _kidney(body: Body, u: float, side: int) -> None:
    c, hu = body.c, body.hu
    c.paint(c.ball(u, 62, 44, 58, 29, 27, side=side), hu["cortex"])
    if hu["cortex"] > 1.5 * hu["medulla"]:
        c.paint(c.ball(u, 60, 44, 47, 20, 18, side=side), hu["medulla"])
    c.paint(c.ball(u, 48, 40, 32, 15, 12, side=side), FAT)
    c.paint(c.ball(u, 50, 40, 20, 9, 7, side=side), hu["urine"])
    c.paint(c.ball(u - 62, 48, 42, 12, 10, 4, side=side), 30)
    ureter: Table = (
        (u, 44, 38, 4, 4),
        (u + 60, 40, 22, 3, 3),
        (790, 45, 16, 3, 3),
        (850, 40, 20, 3, 3),
    )
    c.paint(c.tube(ureter, side=side), max(hu["urine"], 20))


def _pelvic_organs(body: Body) -> None:
    c, hu = body.c, body.hu
    if body.p.sex == "female":
        c.paint(c.ball(838, 3, 14, 32, 30, 20), hu["bowel_wall"] + 20)
        for side in SIDES:
            c.paint(c.ball(822, 46, 12, 13, 15, 11, side=side), 25)
    else:
        c.paint(c.ball(895, 0, 12, 18, 24, 19), hu["muscle"] + 5)
    c.paint(c.ball(862, 0, -28, 30, 42, 30, power=2.3), 35)
    c.paint(c.ball(862, 0, -28, 27, 39, 27, power=2.3), hu["bladder"])


def great_vessels(body: Body) -> None:
    c, hu = body.c, body.hu
    cava: Table = (
        (490, -20, 28, 11, 11),
        (560, -24, 28, 13, 12),
        (640, -24, 16, 13, 10),
        (735, -16, 14, 12, 9),
    )
    aorta: Table = (
        (352, 24, 50, 12, 12),
        (480, 20, 46, 12, 12),
        (560, 12, 36, 11, 11),
        (640, 8, 16, 9.5, 9.5),
        (722, 4, 14, 9, 9),
    )
    c.paint(c.tube(cava), hu["vein"])
    c.paint(c.tube(aorta), hu["artery"])
    for side in SIDES:
        iliac: Table = (
            (718, 6, 14, 7, 7), (775, 42, 14, 6.5, 6.5), (830, 72, -34, 6, 6), (880, 84, -56, 6, 6), (950, 82, -42, 5, 5),
            (1112, 74, -5, 4, 4),
        )  # fmt: skip
        vein: Table = (
            (730, 12, 22, 8, 7), (775, 40, 26, 8, 7), (830, 62, -28, 8, 7), (880, 72, -50, 7, 7), (950, 72, -34, 6, 6),
            (1112, 68, 3, 5, 5),
        )  # fmt: skip
        c.paint(c.tube(vein, side=side), hu["vein"])
        c.paint(c.tube(iliac, side=side), hu["artery"])
        c.paint(c.rod((600, 10, 30), (612, 44, 40), 4, side=side), hu["vein"])


def diaphragm(body: Body, y: Floats, x: Floats) -> Floats:
    """Level of the diaphragm over (x, y):

    two domes, the left 10 mm lower, falling to the back and the sides.
    """

    def dome(top: float, x0: float) -> Floats:
        side = (x - x0) * np.sign(x0)
        return np.asarray(
            top
            + np.where(side < 0, 14, 50) * (side / 62) ** 2
            + np.where(y < 0, 30, 105) * (y / 92) ** 2
        )

    return np.asarray(np.minimum(dome(body.dome, -62), dome(body.dome + 10, 62)))


def chest(body: Body, inside: Floats) -> None:
    c, p, hu = body.c, body.p, body.hu
    z1 = int(np.searchsorted(c.u, body.dome + 180))
    columns = np.flatnonzero(inside[:z1].any((0, 1)))
    rows = np.flatnonzero(inside[:z1].any((0, 2)))
    if not len(columns):
        return
    box = (slice(0, z1), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    cage = Shape(box, inside[box])
    u, y, x = c.grid(cage)
    above = np.clip((diaphragm(body, y, x) - u) / c.pixel + 0.5, 0, 1)
    lung = (
        -865
        + 45 * np.clip(y / 80, -1, 1)
        + 820 * body.vessels(cage, 15, 0.2)
        + 12 * c.noise(9, p.seed, cage)
    )
    c.paint(cage * above, lung)
    h = p.heart
    middle: Table = (
        (270, 0, 20, 22, 25), (300, 0, 18, 34, 38), (340, 2, 8, 30, 52), (380, 2, 5, 30, 62), (420, 4, 12, 26, 56), (460, 6, 26, 24, 44),
        (500, 8, 38, 23, 34), (560, 0, 50, 22, 26),
    )  # fmt: skip
    heart: Table = (
        (392, 8, -20, 0, 0), (410, 10, -26, 40 * h, 40 * h, 35), (445, 18, -30, 58 * h, 46 * h, 35), (485, 28, -38, 56 * h, 40 * h, 35),
        (512, 34, -48, 0, 0, 0),
    )  # fmt: skip
    heart = [(*row, 0)[:6] for row in heart]
    body.organ(c.tube(middle, power=2.4), inside, -85)
    fat = c.tube(heart, grow=5)
    body.organ(fat, inside, -85)
    body.organ(c.tube(heart), inside, hu["myocardium"])
    for centre, size, what in (
        ((462, 40, -28), (36, 26 * h, 17 * h), "ventricle"), ((455, 6, -52), (36, 30 * h, 14 * h), "lung_artery"),
        ((432, 4, 4), (22, 28 * h, 15 * h), "ventricle"), ((455, -24, -18), (34, 18 * h, 24 * h), "lung_artery"),
    ):  # fmt: skip
        c.paint(c.ball(*centre, *size), hu[what])
    _mediastinum(body)
    c.paint(
        c.tube(((270, 4, 30, 7, 6), (400, 6, 42, 8, 6), (500, 14, 34, 8, 6), (515, 30, 20, 0, 0))),
        35,
    )
    _airways(body)


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


def head(body: Body) -> None:
    c, hu, seed = body.c, body.hu, body.p.seed
    _face_soft(body)
    skull: Table = (
        (5, 0, 4, 0, 0), (14, 0, 4, 42, 53), (40, 0, 2, 64, 83), (75, 0, 1, 71, 91), (112, 0, 4, 70, 88), (130, 0, 14, 64, 74),
        (144, 0, 26, 48, 50), (150, 0, 28, 0, 0),
    )  # fmt: skip
    c.paint(c.tube(skull), 950)
    inner = c.tube(skull, grow=-6.5)
    grey = 4 * np.sign(c.noise(11, seed, inner))
    c.paint(inner, hu["brain"] + grey)
    for side in SIDES:
        c.paint(
            c.tube(
                ((58, 8, -10, 0, 0), (68, 10, -6, 5, 26), (84, 8, -4, 4, 22), (92, 6, -8, 0, 0)),
                side=side,
            ),
            8,
        )
        c.paint(c.rod((128, 12, 12), (122, 60, 26), 10, side=side), 700)
        c.paint(c.ball(132, 58, 30, 14, 9, 11, side=side), -500)
        c.paint(c.ball(112, 33, -74, 19, 19, 22, side=side), -60)
        c.paint(c.ball(112, 33, -82, 12, 12, 12, side=side), 15)
        c.paint(c.rod((112, 33, -70), (118, 12, -38), 2.5, side=side), 40)
        c.paint(c.rod((126, 40, -84), (122, 68, -30), 4, side=side), 900)
        c.paint(c.rod((98, 20, -92), (102, 52, -76), 5, side=side), 900)
    c.paint(c.rod((20, 0, 0), (95, 0, 80), 1.5), 60)
    c.paint(c.ball(112, 0, 52, 18, 42, 26), hu["brain"] + 3)
    for u, x, y, ru, rx, ry in ((104, 0, -85, 12, 16, 6), (122, 0, -52, 14, 12, 16)):
        c.paint(c.ball(u, x, y, ru + 3, rx + 3, ry + 3), 600)
        c.paint(c.ball(u, x, y, ru, rx, ry), GAS)


def _face_soft(body: Body) -> None:
    """Maxilla with sinuses, nose, palate, teeth, tongue, throat and mandible."""
    c, hu = body.c, body.hu
    c.paint(
        c.tube(
            (
                (108, 0, -86, 0, 0),
                (124, 0, -94, 10, 14),
                (146, 0, -98, 13, 20),
                (156, 0, -92, 14, 20),
                (166, 0, -86, 0, 0),
            )
        ),
        20,
    )
    c.paint(
        c.tube(
            (
                (120, 0, -68, 46, 24),
                (145, 0, -66, 44, 28),
                (170, 0, -70, 30, 24),
                (178, 0, -72, 0, 0),
            ),
            power=2.6,
        ),
        650,
    )
    for side in SIDES:
        c.paint(c.ball(146, 29, -64, 17, 14, 17, side=side), GAS)
    c.paint(c.tube(((122, 0, -66, 9, 24), (146, 0, -66, 10, 30), (163, 0, -66, 9, 26))), -700)
    c.paint(c.tube(((122, 0, -66, 1.2, 24), (163, 0, -66, 1.2, 24))), 400)
    c.paint(c.tube(((150, 0, -24, 13, 12), (200, 0, -12, 10, 9), (236, 0, 2, 9, 9))), GAS)
    jaw: Table = (
        (160, 0, -38, 48, 46),
        (185, 0, -38, 46, 48),
        (206, 0, -52, 34, 34),
        (215, 0, -62, 22, 20),
        (216, 0, -62, 0, 0),
    )
    low = c.tube(jaw, power=2.4)
    u, y, _ = c.grid(low)
    arch = np.clip((-18 - 40 * ramp(u, 185, 215) - y) / c.pixel + 0.5, 0, 1)
    c.paint(low * arch, 1150)
    c.paint(c.tube(jaw, power=2.4, grow=-9), hu["muscle"])
    for side in SIDES:
        c.paint(c.rod((134, 52, -22), (188, 46, -14), 6, side=side), 1000)
    teeth = c.tube(((166, 0, -62, 29, 34), (190, 0, -62, 29, 34)), power=2.4)
    angle = np.arctan2(*np.broadcast_arrays(*(c.grid(teeth)[k] + (62, 0)[k - 1] for k in (1, 2))))
    c.paint(
        teeth * ((c.grid(teeth)[1] < -50) * (0.65 + 0.35 * np.cos(26 * angle))).astype(np.float32),
        1900,
    )
    c.paint(c.tube(((166, 0, -56, 24, 30), (190, 0, -56, 24, 32)), power=2.2), hu["muscle"])


def neck(body: Body) -> None:
    c, hu = body.c, body.hu
    for side in SIDES:
        fat: Table = (
            (180, 40, -2, 0, 0),
            (220, 38, 5, 18, 22),
            (270, 46, 16, 24, 20),
            (300, 70, 18, 30, 22),
            (316, 90, 20, 0, 0),
        )
        c.paint(c.tube(fat, side=side), -80)
        sternomastoid: Table = (
            (150, 56, 22, 0, 0), (190, 50, 14, 10, 18), (250, 38, -8, 10, 14), (300, 24, -28, 8, 6), (318, 18, -34, 0, 0),
        )  # fmt: skip
        c.paint(c.tube(sternomastoid, side=side), hu["muscle"])
        carotid: Table = ((140, 26, -2, 3, 3), (205, 28, 2, 4, 4), (272, 24, 10, 4, 4))
        jugular: Table = (
            (140, 32, 6, 5, 5),
            (205, 36, 6, 6, 6),
            (300, 34, 4, 7, 6),
            (330, 22, -8, 7, 7),
        )
        c.paint(c.tube(carotid, side=side), hu["artery"])
        c.paint(c.tube(jugular, side=side), hu["vein"])
        c.paint(c.ball(266, 17, 6, 24, 8, 11, side=side), hu["thyroid"])
        c.paint(c.ball(178, 52, -4, 22, 9, 16, side=side), 10)
        c.paint(c.ball(206, 30, -22, 12, 9, 12, side=side), 40)
    c.paint(c.tube(((222, 0, -8, 17, 18), (246, 0, 2, 16, 17), (256, 0, 4, 0, 0))), 160)
    c.paint(c.tube(((200, 0, -8, 13, 13), (246, 0, 4, 12, 12), (256, 0, 6, 0, 0))), 40)
    c.paint(c.tube(((190, 0, -10, 9, 9), (225, 0, -2, 6, 9), (250, 0, 6, 8, 9))), GAS)
    for side in SIDES:
        c.paint(c.rod((214, 0, -30), (210, 20, -8), 2.5, side=side), 500)
