"""The soft parts of abdomen and pelvis, each a table or a few shapes in the reference body."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .anatomy import FAT, FLUID, GAS, SIDES, Body
from .shapes import Floats, Table


def paint_abdomen(body: Body, inside: Floats) -> None:
    """Bowel, psoas, pelvic organs, colon, then the upper abdomen from back to front."""
    c, hu = body.c, body.hu
    _bowel(body, inside)
    for side in SIDES:
        psoas: Table = (
            (585, 26, 44, 0, 0), (650, 38, 42, 17, 19), (725, 52, 32, 22, 23), (790, 70, 4, 22, 22),
            (840, 88, -22, 20, 18), (880, 104, -14, 0, 0),
        )  # fmt: skip
        c.paint(c.tube(psoas, side=side), hu["muscle"])
    _pelvic_organs(body)
    _colon(body, inside)
    _spleen(body, inside)
    for side, u0 in ((-1, 634), (1, 622)):
        _kidney(body, u0 + 0.5 * body.p.breath_mm + body.p.kidney_mm, side)
    _pancreas_and_stomach(body, inside)
    _liver(body, inside)


def _spleen(body: Body, inside: Floats) -> None:
    low, s = body.p.breath_mm, body.p.spleen
    spleen: Table = (
        (545 + low - 52 * s, 100, 45, 0, 0), (540 + low, 108, 42, 20 * s, 42 * s, -28),
        (575 + low, 106, 40, 18 * s, 36 * s, -28), (545 + low + 62 * s, 104, 30, 0, 0, 0),
    )  # fmt: skip
    spleen = [(*row, 0)[:6] for row in spleen]
    body.organ(body.c.tube(spleen), inside, body.hu["spleen"])


def _pancreas_and_stomach(body: Body, inside: Floats) -> None:
    c, low = body.c, body.p.breath_mm
    for a, b in (
        ((618, -24, -6), (596, 14, -20)),
        ((596, 14, -20), (580, 78, 22)),
        ((640, -26, -4), (612, -24, -6)),
    ):
        body.organ(
            c.rod((a[0] + low, *a[1:]), (b[0] + low, *b[1:]), 10), inside, body.hu["pancreas"]
        )
    stomach: Table = (
        (490 + low, 70, 10, 0, 0), (515 + low, 72, 12, 38, 42), (560 + low, 66, -18, 36, 42),
        (600 + low, 42, -44, 40, 28), (632 + low, 20, -52, 42, 18), (652 + low, 10, -54, 0, 0),
    )  # fmt: skip
    body.level_gas(c.tube(stomach, power=2.2), inside, -42 - 12 * body.p.gas, 25)


def _liver(body: Body, inside: Floats) -> None:
    """Right and left lobe, veins; gallbladder."""
    c, p, hu = body.c, body.p, body.hu
    size = p.liver
    end = body.dome + 190 * size
    right: Table = (
        (body.dome - 25, -62, -5, 78, 85), (body.dome + 30, -60, -2, 88, 88),
        (body.dome + 75, -62, 0, 80, 84), (body.dome + 115, -76, 2, 58, 70),
        (end - 25, -92, 0, 32, 42), (end, -98, 0, 0, 0),
    )  # fmt: skip
    left: Table = (
        (body.dome + 8, 0, -40, 40, 45), (body.dome + 45, 18, -52, 62 * size, 36),
        (body.dome + 90, 10, -58, 52 * size, 26), (body.dome + 135, -5, -62, 0, 0),
    )  # fmt: skip
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
        (600, 0, -40, 0, 0), (640, 10, -42 - front, 92, 34), (720, 0, -42 - front, 98, 42),
        (790, 0, -30, 84, 42), (835, 0, -12, 56, 36), (862, 0, -8, 0, 0),
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
        (612, -96, -18, 0, 0), (630, -98, -10, 22, 22), (690, -100, -2, 24, 26),
        (745, -92, -8, 27, 28), (780, -84, -14, 0, 0),
    )  # fmt: skip
    descending: Table = (
        (570, 104, 0, 0, 0), (590, 106, 12, 17, 19), (660, 104, 18, 15, 17), (740, 98, 2, 14, 16),
        (790, 84, -8, 14, 15), (815, 70, -6, 0, 0),
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
