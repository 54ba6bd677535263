"""Head and neck: skull, brain, face, throat, and the soft parts of the neck."""

from __future__ import annotations

import numpy as np

from .anatomy import GAS, SIDES, Body, ramp
from .shapes import Table


def paint_head(body: Body) -> None:
    c, hu, seed = body.c, body.hu, body.p.seed
    _face_soft(body)
    skull: Table = (
        (5, 0, 4, 0, 0), (14, 0, 4, 42, 53), (40, 0, 2, 64, 83), (75, 0, 1, 71, 91),
        (112, 0, 4, 70, 88), (130, 0, 14, 64, 74), (144, 0, 26, 48, 50), (150, 0, 28, 0, 0),
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


def paint_neck(body: Body) -> None:
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
            (150, 56, 22, 0, 0), (190, 50, 14, 10, 18), (250, 38, -8, 10, 14), (300, 24, -28, 8, 6),
            (318, 18, -34, 0, 0),
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
