"""Bones and metal: spine, ribs, shoulders and arms, pelvis and thighs.

The skull is in `head`.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .anatomy import ARMS, CAVITY, CORTEX_HU, SIDES, Body, Metal
from .shapes import Floats, Shape, Table

SPINE = np.array(
    [
        (140, 8), (165, 12), (210, 22), (270, 40), (330, 60), (400, 73), (470, 76), (560, 62),
        (620, 46), (670, 38), (720, 40), (765, 54), (800, 74), (850, 90), (895, 78),
    ],
    float,
)  # fmt: skip
"""(u, y) of the vertebral bodies' centres.

Lordosis of neck and loin, kyphosis of chest and sacrum.
"""
DISCS = np.concatenate(
    [
        150 + 17.9 * np.arange(8),
        275.3 + np.cumsum(np.linspace(20.3, 28.3, 12)),
        566.9 + 39.6 * np.arange(1, 6),
    ]
)
"""Upper border of C1..C7, T1..T12, L1..L5 and S1."""
_SPINE_U = np.arange(140.0, 905.0, 3.0)
_BODY = np.interp(_SPINE_U, [150, 270, 300, 470, 567, 700, 765], [8, 9.5, 11, 13.5, 16, 18, 18.5])
"""Radius of the vertebral bodies from front to back."""
_RIB_ENDS = np.array([2.6, 2.75, 2.8, 2.85, 2.9, 2.95, 2.95, 2.7, 2.5, 2.2, 1.5, 1.0])
"""How far round from the back each rib and its cartilage reach, radians."""


def paint_skeleton(body: Body, implants: Metal) -> list[tuple[float, float, float]]:
    """All bones but the skull, then implants.

    Returns (u, x, y) of the middle of each piece of metal.
    """
    _spine(body)
    _ribs(body)
    _shoulders(body)
    _pelvis(body)
    return _metal(body, implants)


def _spine_y(u: float) -> float:
    return float(np.interp(u, *SPINE.T))


def _phase(u: Floats) -> Floats:
    """0 at the upper border of a vertebra, 1 at that of the next."""
    return np.asarray(np.interp(u, DISCS, np.arange(len(DISCS))) % 1)


def _along_spine(low: float, high: float, back: float, rx: Floats, ry: Floats) -> Table:
    """A table every 3 mm, `back` radii of the bodies behind their centres.

    rx, ry: over `_SPINE_U`.
    """
    y = np.interp(_SPINE_U, *SPINE.T) + back * _BODY
    rows = np.stack([_SPINE_U, 0 * y, y, rx, ry], 1)
    return [tuple(r) for r in rows[(low <= _SPINE_U) & (high >= _SPINE_U)]]


def _spine(body: Body) -> None:
    """Vertebrae, canal, sacrum and coccyx.

    Bodies have a waist, end plates and discs; the canal lies in a ring of bone.
    """
    c = body.c
    middle = np.sin(np.pi * _phase(_SPINE_U))
    for k in range(1, 24):
        u, height = DISCS[k] + 0.45 * (DISCS[k + 1] - DISCS[k]), DISCS[k + 1] - DISCS[k]
        if c.u[0] - 60 < u < c.u[-1] + 20:
            _processes(body, k, u, height)
    canal = _along_spine(148, 860, 1.0, 11 * np.ones_like(middle), 9 * np.ones_like(middle))
    canal = [(u, x, y + 8, rx, ry) for u, x, y, rx, ry in canal]
    ring = c.tube(canal, grow=4.5)
    seam = _phase(c.u[ring.box[0]])[:, None, None]
    c.paint(ring * np.where((seam > 0.1) & (seam < 0.85), 1, 0.45).astype(np.float32), 550)
    c.paint(c.tube(canal), 25)
    c.paint(c.tube(canal, grow=-4), 40)
    column = _along_spine(150, 766, 0, _BODY * (1.28 - 0.14 * middle), _BODY * (1.0 - 0.1 * middle))
    c.paint(c.tube(column, power=2.3), 620)
    core = c.tube(column, power=2.3, grow=-2.2)
    body.spongy(core)
    plate = _phase(c.u[core.box[0]])[:, None, None]
    c.paint(
        core
        * (
            np.clip(1 - np.abs((plate + 0.14) % 1 - 0.05) / 0.05, 0, 1)
            + np.clip(1 - np.abs(plate - 0.14) / 0.05, 0, 1)
        ),
        420,
    )
    c.paint(core * np.clip((0.12 - np.minimum(plate, 1 - plate)) / 0.03, 0, 1), 85)
    sacrum: Table = (
        (764, 0, 60, 26, 16), (785, 0, 72, 56, 22), (810, 0, 86, 46, 17), (845, 0, 98, 26, 10),
        (868, 0, 98, 12, 7), (892, 0, 88, 6, 5), (905, 0, 80, 0, 0),
    )  # fmt: skip
    body.bone(sacrum, wall=2.2, power=2.5, marrow=None)
    for side in SIDES:
        for u, x, y in ((792, 22, 76), (812, 20, 86), (832, 15, 92)):
            c.paint(c.ball(u, x, y, 7, 5, 5, side=side), -40)
    c.paint(c.tube(((764, 0, 78, 11, 7), (800, 0, 90, 10, 5), (835, 0, 100, 0, 0))), -20)


def _processes(body: Body, k: int, u: float, height: float) -> None:
    y, r = _spine_y(u), float(np.interp(u, _SPINE_U, _BODY))
    thoracic = 7 <= k < 19
    back, drop = (34, 1.1 * height) if thoracic else ((34, 6) if k >= 19 else (26, 8))
    if k > 0:
        body.c.paint(body.c.rod((u, 0, y + r + 18), (u + drop, 0, y + r + back), 3.5), 480)
    for side in SIDES:
        far = 36 if thoracic else (44 if k >= 19 else 24)
        body.c.paint(
            body.c.rod(
                (u, 12, y + r + 6), (u - 3, far, y + r + (16 if thoracic else 4)), 4, side=side
            ),
            520,
        )
        body.c.paint(
            body.c.ball(u + 0.5 * height, 15, y + r + 12, 0.3 * height, 7, 7, side=side), 560
        )


def _ribs(body: Body) -> None:
    """The wall of the rib cage, crossed by twelve oblique bands.

    They start at the vertebrae and fall to the front.
    """
    c = body.c
    wall = c.tube(
        tuple(row for row in CAVITY if row[0] <= 720), power=2.3, grow=8, bulge=body.bulge
    )
    inner = c.tube(
        tuple(row for row in CAVITY if row[0] <= 720), power=2.3, grow=0.5, bulge=body.bulge
    )
    if not wall.share.size:
        return
    shell = wall.share.copy()
    inset = tuple(
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner.box, wall.box, strict=True)
    )
    shell[inset] -= inner.share
    u, y, x = c.grid(wall)
    turn = np.arctan2(np.abs(x), y - 8)
    order = np.interp(
        u - 92 * np.sin(np.minimum(turn / 2.4, 1) * np.pi / 2), DISCS[7:20], np.arange(13)
    )
    number = np.clip(order.astype(int), 0, 11)
    spacing = np.diff(DISCS[7:20])[number]
    band = np.clip((4.8 - np.abs(order - number - 0.35) * spacing) / max(c.pixel, 2) + 0.5, 0, 1)
    band *= (order > 0) & (order < 12) & (turn < _RIB_ENDS[number])
    marrow = np.clip(shell * 2 - 1, 0, 1)
    hu = np.where(turn > 2.3, 120, 700 - 350 * marrow)
    c.paint(Shape(wall.box, (shell * band).astype(np.float32)), hu.astype(np.float32))
    sternum: Table = (
        (320, 0, -28, 0, 0), (326, 0, -32, 26, 7), (360, 0, -54, 22, 7), (372, 0, -62, 15, 6),
        (400, 0, -80, 18, 6), (455, 0, -97, 18, 6), (478, 0, -99, 8, 4), (500, 0, -98, 0, 0),
    )  # fmt: skip
    body.bone(sternum, wall=2.0, power=2.6)


def _shoulders(body: Body) -> None:
    """Collar bones, shoulder blades and the bones of the arms, which follow how the arms lie."""
    c, raised = body.c, body.p.arms != "down"
    lift = 8.0 if raised else 0.0
    arm = {row[0]: row for row in body.beside(ARMS[body.p.arms])}
    path = [np.array(row[:3]) for row in arm.values()]
    for side in SIDES:
        shaft = (
            [(u, x, y) for u, x, y in path if u < 300]
            if raised
            else [(u, x, y) for u, x, y in path if u > 340]
        )
        c.paint(c.rod((327, 20, -38), (314 - lift, 75, -32), 6, side=side), 600)
        c.paint(c.rod((314 - lift, 75, -32), (304 - lift, 145, 16), 6, side=side), 600)
        blade: Table = (
            (312 - lift, 140, 55, 14, 5, -30), (345 - lift, 128, 66, 34, 5, -34),
            (390 - lift, 122, 76, 30, 4, -34), (430 - lift, 112, 86, 18, 4, -30),
            (452 - lift, 106, 92, 0, 0, 0),
        )  # fmt: skip
        c.paint(c.tube(blade, side=side), 620)
        c.paint(c.rod((320 - lift, 85, 92), (304 - lift, 160, 46), 5, side=side), 620)
        c.paint(c.ball(330 - lift, 150, 42, 16, 8, 15, side=side), 500)
        head = (328 - lift, 172, 28)
        body.ball_bone(*head, 23, side=side)
        points = [head, *(shaft[::-1] if raised else shaft)]
        for k, (a, b) in enumerate(pairwise(points)):
            forearm = (
                (a[0] < 25 and body.p.arms == "up")
                or a[0] > 640
                or (body.p.arms == "beside" and a[0] < 120)
            )
            for off in (-9, 9) if forearm else (0,):
                r = 6.5 if forearm else 11
                p, q = ((v[0], v[1], v[2] + (off if k else 0)) for v in (a, b))
                c.paint(c.rod(p, q, r, side=side), CORTEX_HU)
                c.paint(c.rod(p, q, 0.5 * r, side=side), 60)


def _pelvis(body: Body) -> None:
    c = body.c
    wide = 4.0 if body.p.sex == "female" else 0.0
    for side in SIDES:
        wing: Table = (
            (715, 122, 8, 0, 0, 60), (722, 122, 10, 20, 5, 62), (745, 116, 14, 40, 5, 60),
            (775, 106, 20, 56, 6, 56), (800, 100, 14, 52, 8, 54), (825, 98, 6, 40, 12, 58),
            (842, 100, 4, 32, 18, 70), (858, 100, 4, 0, 0, 70),
        )  # fmt: skip
        wing = [(u, x + wide, y, a, b, -t) for u, x, y, a, b, t in wing]
        body.bone(wing, wall=1.8, side=side)
        c.paint(c.rod((785, 60, 66), (815, 78, 52), 9, side=side), 420)
        body.ball_bone(858, 92 + wide, 10, 35, side=side, wall=3)
        c.paint(c.rod((862, 78 + wide, -12), (884, 12, -58), 8, side=side), 600)
        c.paint(c.rod((890, 12, -56), (928, 56, 22), 6.5, side=side), 600)
        c.paint(c.rod((872, 86 + wide, 36), (922, 62 + wide, 44), 13, side=side), 550)
        body.spongy(c.rod((872, 86 + wide, 36), (922, 62 + wide, 44), 10, side=side))
        c.paint(c.ball(862, 94 + wide, 8, 27, 27, 27, side=side), 80)
        c.paint(
            c.rod((864, 96 + wide, 10), (890, 138 + wide, 20), 27, side=side) * 0.6,
            body.hu["muscle"],
        )
        body.ball_bone(862, 94 + wide, 8, 24, side=side, wall=2.5)
        c.paint(c.rod((864, 98, 8), (888, 128 + wide, 18), 14, side=side), 800)
        body.spongy(c.rod((864, 98, 8), (888, 128 + wide, 18), 11, side=side))
        body.ball_bone(884, 136 + wide, 22, 19, side=side)
        shaft: Table = (
            (880, 130 + wide, 18, 0, 0), (895, 128 + wide, 16, 20, 20), (930, 120, 14, 16, 17),
            (1000, 108, 8, 14, 15), (1112, 94, 4, 13, 14),
        )  # fmt: skip
        body.bone(shaft, wall=6.0, side=side, marrow=-30)
    c.paint(c.ball(884, 0, -60, 18, 5, 10), 90)


def _metal(body: Body, kind: Metal) -> list[tuple[float, float, float]]:
    """Implants, far above any tissue. Returns the middle of each piece."""
    c = body.c
    side = -1 if body.p.seed % 2 else 1
    if kind == "dental":
        places = [(178.0, 26.0 * s, -70.0) for s in SIDES] + [(180.0, side * 18.0, -86.0)]
        shapes = [c.ball(u, x, y, 6, 5, 5) for u, x, y in places]
    elif kind == "hip":
        places = [
            (862.0, side * 94.0, 8.0),
            (900.0, side * 122.0, 14.0),
            (935.0, side * 119.0, 13.0),
        ]
        shapes = [c.ball(862, 94, 8, 26, 26, 26, side=side)]
        shapes += [
            c.rod((870, 100, 8), (895, 122, 14), 9, side=side),
            c.rod((895, 122, 14), (1000, 108, 8), 8, side=side),
        ]
    elif kind == "spine":
        places = [(u, 0.0, _spine_y(u) + 10) for u in (664.0, 704.0, 744.0)]
        shapes = [
            c.rod((u, 8, y - 12), (u - 4, 22, y + 30), 3.5, side=s)
            for u, _, y in places
            for s in SIDES
        ]
        shapes += [
            c.rod((658, 23, _spine_y(658) + 42), (746, 23, _spine_y(746) + 42), 3, side=s)
            for s in SIDES
        ]
    elif kind == "port":
        places = [(352.0, -72.0, -86.0)]
        shapes = [
            c.ball(352, -72, -86, 9, 12, 6),
            c.rod((348, -72, -84), (312, -40, -30), 2),
            c.rod((312, -40, -30), (410, -26, -8), 2),
        ]
    else:
        places, shapes = [], []
    for shape in shapes:
        c.paint(shape, 6000)
    return places
