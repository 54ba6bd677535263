"""The soft parts: organs, vessels and airways, in the order in which they are painted."""

from __future__ import annotations

from .abdomen import paint_abdomen
from .anatomy import SIDES, Body
from .chest import paint_chest
from .head import paint_head, paint_neck
from .shapes import Floats, Table


def paint_organs(body: Body, inside: Floats) -> None:
    """All soft parts; `inside` is the share of each voxel that lies in the body's cavity."""
    paint_abdomen(body, inside)
    paint_chest(body, inside)
    _great_vessels(body)
    paint_head(body)
    paint_neck(body)


def _great_vessels(body: Body) -> None:
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
            (718, 6, 14, 7, 7), (775, 42, 14, 6.5, 6.5), (830, 72, -34, 6, 6), (880, 84, -56, 6, 6),
            (950, 82, -42, 5, 5), (1112, 74, -5, 4, 4),
        )  # fmt: skip
        vein: Table = (
            (730, 12, 22, 8, 7), (775, 40, 26, 8, 7), (830, 62, -28, 8, 7), (880, 72, -50, 7, 7),
            (950, 72, -34, 6, 6), (1112, 68, 3, 5, 5),
        )  # fmt: skip
        c.paint(c.tube(vein, side=side), hu["vein"])
        c.paint(c.tube(iliac, side=side), hu["artery"])
        c.paint(c.rod((600, 10, 30), (612, 44, 40), 4, side=side), hu["vein"])
