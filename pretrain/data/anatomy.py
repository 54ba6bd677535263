"""A human body from head to thigh as tables of numbers, painted onto a canvas.

All numbers are in the reference body (see `patient`); they are rounded textbook values, and nothing is taken from a person's scan.
Painting goes from the outside in and from soft to hard, what comes later covers what came before: outline, fat, muscle, cavity,
abdomen, lungs, mediastinum, head and neck, bones. So the lungs need no shape of their own: they are the rib cage above the diaphragm, less
what is painted onto them. `side` is -1 for the patient's right and 1 for the left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from .patient import LEVELS, Arms, Patient
from .shapes import Canvas, Floats, Shape, Table

Phase = Literal["none", "arterial", "portal", "delayed"]
Metal = Literal["none", "dental", "hip", "spine", "port"]
SIDES = (-1, 1)

ENHANCEMENT: Mapping[Phase, Mapping[str, float]] = {
    "none": dict(artery=42, vein=40, lung_artery=42, ventricle=42, myocardium=45, liver=58, hepatic=42, spleen=48, cortex=32, medulla=30,
                 urine=5, bladder=6, pancreas=40, bowel_wall=40, muscle=54, thyroid=105, brain=36),
    "arterial": dict(artery=330, vein=80, lung_artery=230, ventricle=290, myocardium=95, liver=70, hepatic=62, spleen=125, cortex=180,
                     medulla=70, urine=5, bladder=6, pancreas=100, bowel_wall=85, muscle=57, thyroid=190, brain=40),
    "portal": dict(artery=160, vein=155, lung_artery=150, ventricle=150, myocardium=112, liver=112, hepatic=165, spleen=122, cortex=185,
                   medulla=170, urine=8, bladder=8, pancreas=88, bowel_wall=92, muscle=62, thyroid=150, brain=42),
    "delayed": dict(artery=105, vein=108, lung_artery=105, ventricle=105, myocardium=92, liver=88, hepatic=100, spleen=88, cortex=125,
                    medulla=125, urine=620, bladder=240, pancreas=68, bowel_wall=75, muscle=62, thyroid=125, brain=40),
}  # fmt: skip
"""HU of what takes up contrast medium, by phase (portal: about 70 s after injection; delayed: minutes)."""

FAT, SKIN, FLUID, GAS, CORTEX_HU = -105.0, 30.0, 10.0, -960.0, 1050.0

OUTLINE: Table = (
    (0, 0, 5, 0, 0), (12, 0, 4, 45, 56), (40, 0, 2, 68, 86), (75, 0, 1, 76, 96), (110, 0, 1, 77, 97), (140, 0, 2, 72, 94),
    (170, 0, 2, 66, 84), (200, 0, 12, 58, 70), (225, 0, 22, 57, 60), (250, 0, 27, 58, 57), (275, 0, 30, 72, 59), (298, 0, 28, 105, 66),
    (325, 0, 24, 143, 80), (350, 0, 17, 160, 93), (385, 0, 11, 165, 103), (430, 0, 7, 161, 108), (480, 0, 5, 158, 110),
    (550, 0, 3, 152, 108), (620, 0, 3, 144, 104), (680, 0, 4, 142, 101), (725, 0, 6, 150, 101), (775, 0, 9, 163, 103), (825, 0, 10, 170, 105),
    (870, 0, 11, 172, 105), (900, 0, 14, 160, 98), (922, 0, 20, 122, 84), (942, 0, 30, 0, 0),
)  # fmt: skip
"""Skin of a person without fat: the outer border of muscle."""
THIGH: Table = ((850, 95, 10, 0, 0), (880, 92, 10, 72, 86), (940, 88, 10, 80, 88), (1000, 85, 10, 76, 82), (1112, 80, 10, 68, 72))
SHOULDER: Table = ((272, 95, 30, 0, 0), (290, 115, 30, 36, 30), (320, 140, 28, 48, 40), (352, 145, 24, 0, 0))
CAVITY: Table = (
    (277, 0, 40, 0, 0), (290, 0, 38, 52, 26), (310, 0, 32, 80, 46), (340, 0, 22, 104, 66), (400, 0, 8, 126, 88), (470, 0, 1, 137, 96),
    (540, 0, -3, 137, 97), (600, 0, -8, 129, 90), (660, 0, -14, 122, 80), (720, 0, -16, 118, 74), (770, 0, -10, 104, 74),
    (820, 0, 4, 78, 74), (860, 0, 14, 62, 70), (900, 0, 24, 42, 48), (925, 0, 30, 0, 0),
)  # fmt: skip
"""Inside of the rib cage, the abdominal wall and the small pelvis."""
ARMS: Mapping[Arms, Table] = {
    "down": ((292, 170, 28, 0, 0), (305, 172, 28, 34, 36), (335, 180, 26, 46, 46), (400, 198, 24, 44, 46), (500, 214, 22, 38, 42),
             (600, 224, 16, 36, 38), (650, 226, 12, 38, 36), (740, 220, -5, 33, 32), (840, 208, -20, 24, 24), (885, 200, -24, 26, 18),
             (930, 196, -26, 36, 14), (985, 192, -28, 0, 0)),
    "up": ((-128, 30, -30, 0, 0), (-105, 60, -28, 34, 24), (-60, 118, -20, 34, 30), (-15, 165, -10, 34, 32), (20, 184, -4, 38, 36),
           (90, 190, 4, 40, 40), (180, 188, 12, 42, 44), (260, 178, 20, 46, 48), (320, 168, 25, 44, 48), (375, 150, 25, 0, 0)),
    "beside": ((28, 96, -80, 0, 0), (50, 105, -66, 24, 26), (110, 130, -30, 36, 38), (170, 150, 0, 40, 44), (250, 166, 18, 45, 48),
               (320, 166, 25, 44, 48), (375, 150, 25, 0, 0)),
}  # fmt: skip
SPINE = np.array([
    (140, 8), (165, 12), (210, 22), (270, 40), (330, 60), (400, 73), (470, 76), (560, 62), (620, 46), (670, 38), (720, 40), (765, 54),
    (800, 74), (850, 90), (895, 78),
], float)  # fmt: skip
"""(u, y) of the vertebral bodies' centres: lordosis of the neck and loin, kyphosis of the chest and sacrum."""
DISCS = np.concatenate([150 + 17.9 * np.arange(8), 275.3 + np.cumsum(np.linspace(20.3, 28.3, 12)), 566.9 + 39.6 * np.arange(1, 6)])
"""Upper border of C1..C7, T1..T12, L1..L5 and S1."""


def paint(canvas: Canvas, patient: Patient, phase: Phase, metal: Metal) -> list[tuple[float, float, float]]:
    """Paint the patient onto an empty canvas. Returns (u, x, y) of the middle of each piece of metal."""
    body = _Body(canvas, patient, ENHANCEMENT[phase])
    inside = body.outline()
    body.abdomen(inside)
    body.chest(inside)
    body.great_vessels()
    body.head()
    body.neck()
    body.spine()
    body.ribs()
    body.shoulders()
    body.pelvis()
    return body.metal(metal)


def _bump(u: Floats, low: float, high: float) -> Floats:
    """0 outside low..high, smooth, 1 in the middle."""
    return np.sin(np.pi * np.clip((u - low) / (high - low), 0, 1)) ** 2


def _ramp(u: Floats, low: float, high: float) -> Floats:
    """0 above low, 1 below high, straight between."""
    return np.clip((u - low) / (high - low), 0, 1)


def _fat_mm(u: Floats, patient: Patient) -> Floats:
    """Between muscle and skin at levels u. At the back it is 0.6 of this, as the patient lies on it; in front 1.2."""
    return 2 + patient.obesity * (4 + 8 * _ramp(u, 215, 330) + 22 * _bump(u, 430, 1000) + 8 * _ramp(u, 760, 860))


def back_mm(patient: Patient) -> float:
    """y of the table's top: the farthest back that the skin of the trunk lies, in the reference body."""
    rows = np.array([(u, y + ry) for u, _, y, _, ry in OUTLINE], np.float32)
    return float((rows[:, 1] + 0.6 * _fat_mm(rows[:, 0], patient)).max())


class _Body:
    """The painters share the canvas, the patient, the HU of the phase and the shapes that more than one of them needs."""

    def __init__(self, canvas: Canvas, patient: Patient, hu: Mapping[str, float]) -> None:
        self.c, self.p, self.hu = canvas, patient, hu
        self.dome = patient.landmarks()["liver_dome"]
        u = canvas.u
        self.fat = _fat_mm(u, patient)
        self.bulge = 26 * patient.obesity * _bump(u, 470, 850) + 40 * patient.ascites * _bump(u, self.dome + 12, LEVELS["femoral_head"])
        """mm by which visceral fat and ascites push the abdominal wall forward."""
        self.rng = np.random.default_rng([patient.seed, 2])

    def spine_y(self, u: float) -> float:
        return float(np.interp(u, *SPINE.T))

    def bone(self, table: Table, *, wall: float = 2.5, side: int = 1, power: float = 2.0, marrow: float | None = None) -> None:
        """A compact wall of `wall` mm around spongy bone (or `marrow` HU)."""
        self.c.paint(self.c.tube(table, side=side, power=power), CORTEX_HU)
        self.spongy(self.c.tube(table, side=side, power=power, grow=-wall), marrow)

    def ball_bone(self, u: float, x: float, y: float, r: float, *, side: int = 1, wall: float = 2.0) -> None:
        self.c.paint(self.c.ball(u, x, y, r, r, r, side=side), 800)
        self.spongy(self.c.ball(u, x, y, r - wall, r - wall, r - wall, side=side), 1.4 * self.p.spongy_hu)

    def spongy(self, shape: Shape, hu: float | None = None) -> None:
        if hu is None:
            self.c.paint(shape, self.p.spongy_hu + 40 * self.c.noise(4.5, self.p.seed, shape))
        else:
            self.c.paint(shape, hu)

    def outline(self) -> Floats:
        """Skin, fat, muscle and the fat of the body's cavity. Returns the share of each voxel that lies in the cavity."""
        c, p, fat, bulge = self.c, self.p, self.fat, self.bulge
        tubes: list[tuple[Table, int, float, Floats]] = [(ARMS[p.arms], s, 2.0, 2 + 0.4 * (fat - 2)) for s in SIDES]
        tubes += [(table, s, 2.2, fat) for table in (SHOULDER, THIGH) for s in SIDES]
        tubes += [(OUTLINE, 1, 2.25, fat)]
        for hu, inset in ((SKIN, 0.0), (FAT, -2.0)):
            for table, side, power, grow in tubes:
                shape = c.tube(self._beside(table), side=side, power=power, grow=grow + inset, bulge=bulge * (table is OUTLINE))
                c.paint(shape, hu)
            self._breasts(hu, inset)
        for table, side, power, _ in tubes:
            self._muscle(c.tube(self._beside(table), side=side, power=power, bulge=bulge * (table is OUTLINE)), table is not OUTLINE)
        cavity = c.tube(CAVITY, power=2.3, bulge=bulge)
        inside = np.zeros(c.hu.shape, np.float32)
        inside[cavity.box] = cavity.share
        c.paint(cavity, FAT)
        if p.ascites:
            u, y, x = c.grid(cavity)
            peritoneum = np.clip((u - self.dome - 4) / 8, 0, 1) * np.clip((LEVELS["femoral_head"] + 15 - u) / 12, 0, 1) * (y < 45 + 0 * x)
            c.paint(cavity * peritoneum.astype(np.float32), FLUID)
        return inside

    def _beside(self, table: Table) -> Table:
        """Arms that lie beside a fat trunk lie farther out."""
        if table is not ARMS["down"]:
            return table
        far = 22 * self.p.obesity
        return [(u, x + far * min(max((u - 330) / 120, 0), 1), *rest) for u, x, *rest in table]

    def _muscle(self, shape: Shape, thick: bool) -> None:
        septa = np.clip(1.3 - 9 * np.abs(self.c.noise(26, self.p.seed, shape)), 0, 1) * (0.75 if thick else 0.4)
        self.c.paint(shape, self.hu["muscle"] + septa * (FAT - self.hu["muscle"]) * min(0.5 + 0.4 * self.p.obesity, 1))

    def _breasts(self, hu: float, inset: float) -> None:
        if self.p.sex == "male":
            return
        size = 44 + 12 * self.p.obesity
        for side in SIDES:
            self.c.paint(self.c.ball(420, 82, -88, size + 12 + inset, size + 6 + inset, 0.75 * size + inset, side=side), hu)
            if hu == FAT:
                gland = self.c.ball(420, 82, -104, 0.7 * size, 0.55 * size, 0.4 * size, side=side)
                self.c.paint(gland * np.clip(0.5 + self.c.noise(9, self.p.seed, gland), 0, 1), 25)

    def organ(self, shape: Shape, inside: Floats, hu: float | Floats) -> None:
        self.c.paint(shape * inside[shape.box], hu)

    def level_gas(self, shape: Shape, inside: Floats, y_mm: float, content: float | Floats) -> None:
        """A hollow organ with a wall: content, and gas in front of y."""
        self.organ(shape, inside, self.hu["bowel_wall"])
        lumen = shape * np.clip(3 * shape.share - 2, 0, 1)
        self.organ(lumen, inside, content)
        y = self.c.grid(lumen)[1]
        self.organ(lumen * np.clip((y_mm - y) / self.c.pixel + 0.5, 0, 1), inside, GAS)

    def abdomen(self, inside: Floats) -> None:
        c, p, hu = self.c, self.p, self.hu
        self._bowel(inside)
        for side in SIDES:
            psoas: Table = ((585, 26, 44, 0, 0), (650, 38, 42, 17, 19), (725, 52, 32, 22, 23), (790, 70, 4, 22, 22), (840, 88, -22, 20, 18), (880, 104, -14, 0, 0))
            c.paint(c.tube(psoas, side=side), hu["muscle"])
        self._pelvic_organs()
        self._colon(inside)
        # Liver: right and left lobe, veins; gallbladder.
        low = self.p.breath_mm
        size = p.liver
        end = self.dome + 190 * size
        right: Table = (
            (self.dome - 25, -62, -5, 78, 85), (self.dome + 30, -60, -2, 88, 88), (self.dome + 75, -62, 0, 80, 84),
            (self.dome + 115, -76, 2, 58, 70), (end - 25, -92, 0, 32, 42), (end, -98, 0, 0, 0),
        )  # fmt: skip
        left: Table = ((self.dome + 8, 0, -40, 40, 45), (self.dome + 45, 18, -52, 62 * size, 36), (self.dome + 90, 10, -58, 52 * size, 26), (self.dome + 135, -5, -62, 0, 0))
        stomach: Table = ((490 + low, 70, 10, 0, 0), (515 + low, 72, 12, 38, 42), (560 + low, 66, -18, 36, 42), (600 + low, 42, -44, 40, 28), (632 + low, 20, -52, 42, 18), (652 + low, 10, -54, 0, 0))
        s = p.spleen
        spleen: Table = ((545 + low - 52 * s, 100, 45, 0, 0), (540 + low, 108, 42, 20 * s, 42 * s, -28), (575 + low, 106, 40, 18 * s, 36 * s, -28), (545 + low + 62 * s, 104, 30, 0, 0, 0))
        spleen = [(*row, 0)[:6] for row in spleen]
        self.organ(c.tube(spleen), inside, hu["spleen"])
        for side, u0 in ((-1, 634), (1, 622)):
            self._kidney(u0 + 0.5 * low + p.kidney_mm, side)
        for a, b in (((618, -24, -6), (596, 14, -20)), ((596, 14, -20), (580, 78, 22)), ((640, -26, -4), (612, -24, -6))):
            self.organ(c.rod((a[0] + low, *a[1:]), (b[0] + low, *b[1:]), 10), inside, hu["pancreas"])
        self.level_gas(c.tube(stomach, power=2.2), inside, -42 - 12 * p.gas, 25)
        for table in (right, left):
            shape = c.tube(table, power=2.2)
            self.organ(shape, inside, hu["liver"] + 4 * c.noise(9, p.seed, shape))
        for end_point in ((self.dome + 25, -95, 10), (self.dome + 30, -60, -45), (self.dome + 30, 15, -45)):
            self.organ(c.rod((self.dome + 30, -18, 30), end_point, 5), inside, hu["hepatic"])
        for end_point in ((self.dome + 80, -100, 5), (self.dome + 95, -70, 25), (self.dome + 70, 10, -45)):
            self.organ(c.rod((self.dome + 90, -30, 0), end_point, 5.5), inside, hu["hepatic"])
        self.organ(c.rod((self.dome + 90, -30, 0), (self.dome + 130, 5, 5), 7), inside, hu["vein"])
        self.organ(c.ball(self.dome + 125, -52, -48, 30, 15, 18), inside, 8)

    def _bowel(self, inside: Floats) -> None:
        """Small-bowel loops: a warped gyroid whose walls bend through the mesenteric fat."""
        c, p = self.c, self.p
        front = 20.0 * p.ascites
        room: Table = ((600, 0, -40, 0, 0), (640, 10, -42 - front, 92, 34), (720, 0, -42 - front, 98, 42), (790, 0, -30, 84, 42), (835, 0, -12, 56, 36), (862, 0, -8, 0, 0))
        shape = c.tube(room, power=2.4, bulge=self.bulge)
        if not shape.share.size:
            return
        u, y, x = c.grid(shape)
        warp = c.noise(40, p.seed + 1, shape)
        a, b, d = (2 * np.pi / 58 * (v + 14 * warp) + phase for v, phase in zip((u, y, x), self.rng.uniform(0, 6, 3), strict=True))
        g = np.sin(a) * np.cos(b) + np.sin(b) * np.cos(d) + np.sin(d) * np.cos(a)
        loop = shape * np.clip(4 * (g + 0.55 - 0.35 * p.obesity), 0, 1).astype(np.float32)
        mesentery = np.clip(2 * (self._vessels(shape, 12) - 0.3), 0, 1)
        self.organ(shape, inside, (FLUID if p.ascites else FAT) + mesentery * 110)
        self.organ(loop, inside, self.hu["bowel_wall"])
        lumen = loop * np.clip(5 * (g - 0.05), 0, 1).astype(np.float32)
        self.organ(lumen, inside, 18 + 8 * warp)
        gas = c.noise(38, p.seed + 2, shape) + 2.6 * p.gas - (y + 60) / 40
        self.organ(lumen * np.clip(3 * (gas - 1.1), 0, 1).astype(np.float32), inside, GAS)

    def _vessels(self, shape: Shape, size_mm: float, thin: float = 0.22) -> Floats:
        """1 on a network of curves: where two smooth random fields are both zero."""
        f, g = (self.c.noise(size_mm, self.p.seed + k, shape) for k in (3, 4))
        return np.exp(-(f * f + g * g) / (2 * thin**2))

    def _colon(self, inside: Floats) -> None:
        c, p = self.c, self.p
        front = -0.8 * float(np.interp(640, c.u, self.bulge)) if len(c.u) else 0.0
        stool = 20.0
        ascending: Table = ((612, -96, -18, 0, 0), (630, -98, -10, 22, 22), (690, -100, -2, 24, 26), (745, -92, -8, 27, 28), (780, -84, -14, 0, 0))
        descending: Table = ((570, 104, 0, 0, 0), (590, 106, 12, 17, 19), (660, 104, 18, 15, 17), (740, 98, 2, 14, 16), (790, 84, -8, 14, 15), (815, 70, -6, 0, 0))
        rectum: Table = ((775, 12, 40, 0, 0), (800, 6, 48, 20, 18), (850, 0, 56, 22, 20), (900, 0, 58, 15, 16), (940, 0, 62, 0, 0))
        for table, gas_y in ((ascending, -16), (descending, 2), (rectum, 44)):
            shape = c.tube(table, grow=3 * np.sin(2 * np.pi * c.u / 31))
            self.level_gas(shape, inside, gas_y - 14 * (1 - 2 * p.gas), stool + 45 * c.noise(7, p.seed, shape) - 40)
        path = ((622, -92, -30), (646, -45, -62 + front), (652, 10, -66 + front), (628, 65, -52 + front), (590, 100, -5))
        for a, b in zip(path, path[1:], strict=False):
            self.level_gas(c.rod(a, b, 17), inside, a[2] + 10 * p.gas, 10)
        sigmoid = ((810, 70, -8), (838, 30, -22), (812, -18, -8), (800, 8, 34))
        for a, b in zip(sigmoid, sigmoid[1:], strict=False):
            self.level_gas(c.rod(a, b, 14), inside, a[2] - 4, 5)

    def _kidney(self, u: float, side: int) -> None:
        c, hu = self.c, self.hu
        c.paint(c.ball(u, 62, 44, 58, 29, 27, side=side), hu["cortex"])
        if hu["cortex"] > 1.5 * hu["medulla"]:
            c.paint(c.ball(u, 60, 44, 47, 20, 18, side=side), hu["medulla"])
        c.paint(c.ball(u, 48, 40, 32, 15, 12, side=side), FAT)
        c.paint(c.ball(u, 50, 40, 20, 9, 7, side=side), hu["urine"])
        c.paint(c.ball(u - 62, 48, 42, 12, 10, 4, side=side), 30)
        ureter: Table = ((u, 44, 38, 4, 4), (u + 60, 40, 22, 3, 3), (790, 45, 16, 3, 3), (850, 40, 20, 3, 3))
        c.paint(c.tube(ureter, side=side), max(hu["urine"], 20))

    def _pelvic_organs(self) -> None:
        c, hu = self.c, self.hu
        if self.p.sex == "female":
            c.paint(c.ball(838, 3, 14, 32, 30, 20), hu["bowel_wall"] + 20)
            for side in SIDES:
                c.paint(c.ball(822, 46, 12, 13, 15, 11, side=side), 25)
        else:
            c.paint(c.ball(895, 0, 12, 18, 24, 19), hu["muscle"] + 5)
        c.paint(c.ball(862, 0, -28, 30, 42, 30, power=2.3), 35)
        c.paint(c.ball(862, 0, -28, 27, 39, 27, power=2.3), hu["bladder"])

    def great_vessels(self) -> None:
        c, hu = self.c, self.hu
        cava: Table = ((490, -20, 28, 11, 11), (560, -24, 28, 13, 12), (640, -24, 16, 13, 10), (735, -16, 14, 12, 9))
        aorta: Table = ((352, 24, 50, 12, 12), (480, 20, 46, 12, 12), (560, 12, 36, 11, 11), (640, 8, 16, 9.5, 9.5), (722, 4, 14, 9, 9))
        c.paint(c.tube(cava), hu["vein"])
        c.paint(c.tube(aorta), hu["artery"])
        for side in SIDES:
            iliac: Table = ((718, 6, 14, 7, 7), (775, 42, 14, 6.5, 6.5), (830, 72, -34, 6, 6), (880, 84, -56, 6, 6), (950, 82, -42, 5, 5), (1112, 74, -5, 4, 4))
            vein: Table = ((730, 12, 22, 8, 7), (775, 40, 26, 8, 7), (830, 62, -28, 8, 7), (880, 72, -50, 7, 7), (950, 72, -34, 6, 6), (1112, 68, 3, 5, 5))
            c.paint(c.tube(vein, side=side), hu["vein"])
            c.paint(c.tube(iliac, side=side), hu["artery"])
            c.paint(c.rod((600, 10, 30), (612, 44, 40), 4, side=side), hu["vein"])

    def diaphragm(self, y: Floats, x: Floats) -> Floats:
        """Level of the diaphragm over (x, y): two domes, the left 10 mm lower, falling to the back and the sides."""

        def dome(top: float, x0: float) -> Floats:
            side = (x - x0) * np.sign(x0)
            return top + np.where(side < 0, 14, 50) * (side / 62) ** 2 + np.where(y < 0, 30, 105) * (y / 92) ** 2

        return np.minimum(dome(self.dome, -62), dome(self.dome + 10, 62))

    def chest(self, inside: Floats) -> None:
        c, p, hu = self.c, self.p, self.hu
        z1 = int(np.searchsorted(c.u, self.dome + 180))
        columns = np.flatnonzero(inside[:z1].any((0, 1)))
        rows = np.flatnonzero(inside[:z1].any((0, 2)))
        if not len(columns):
            return
        box = (slice(0, z1), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        cage = Shape(box, inside[box])
        u, y, x = c.grid(cage)
        above = np.clip((self.diaphragm(y, x) - u) / c.pixel + 0.5, 0, 1)
        lung = -865 + 45 * np.clip(y / 80, -1, 1) + 820 * self._vessels(cage, 15, 0.2) + 12 * c.noise(9, p.seed, cage)
        c.paint(cage * above, lung)
        h = p.heart
        middle: Table = ((270, 0, 20, 22, 25), (300, 0, 18, 34, 38), (340, 2, 8, 30, 52), (380, 2, 5, 30, 62), (420, 4, 12, 26, 56), (460, 6, 26, 24, 44), (500, 8, 38, 23, 34), (560, 0, 50, 22, 26))
        heart: Table = ((392, 8, -20, 0, 0), (410, 10, -26, 40 * h, 40 * h, 35), (445, 18, -30, 58 * h, 46 * h, 35), (485, 28, -38, 56 * h, 40 * h, 35), (512, 34, -48, 0, 0, 0))
        heart = [(*row, 0)[:6] for row in heart]
        self.organ(c.tube(middle, power=2.4), inside, -85)
        fat = c.tube(heart, grow=5)
        self.organ(fat, inside, -85)
        self.organ(c.tube(heart), inside, hu["myocardium"])
        for centre, size, what in (
            ((462, 40, -28), (36, 26 * h, 17 * h), "ventricle"), ((455, 6, -52), (36, 30 * h, 14 * h), "lung_artery"),
            ((432, 4, 4), (22, 28 * h, 15 * h), "ventricle"), ((455, -24, -18), (34, 18 * h, 24 * h), "lung_artery"),
        ):  # fmt: skip
            c.paint(c.ball(*centre, *size), hu[what])
        self._mediastinum()
        c.paint(c.tube(((270, 4, 30, 7, 6), (400, 6, 42, 8, 6), (500, 14, 34, 8, 6), (515, 30, 20, 0, 0))), 35)
        self._airways()

    def _mediastinum(self) -> None:
        c, hu = self.c, self.hu
        aorta: Table = ((356, -10, -10, 14, 14), (380, -16, -16, 15, 15), (415, -8, -18, 15, 15), (436, 6, -16, 13, 13))
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
        for top, foot in (((270, -30, 8), (346, -8, -2)), ((270, 30, 10), (346, 8, 6)), ((290, 46, 22), (348, 18, 22))):
            c.paint(c.rod(top, foot, 5), hu["artery"])

    def _airways(self) -> None:
        c = self.c
        trachea: Table = ((236, 0, 8, 9, 8), (285, 0, 16, 9, 9), (378, 0, 28, 9, 9))
        c.paint(c.tube(trachea, grow=2), 50)
        c.paint(c.tube(trachea), GAS)
        for a, b, r in (((376, -3, 28), (402, -38, 26), 7.5), ((376, 3, 28), (412, 40, 26), 6.5), ((402, -38, 26), (445, -54, 38), 4.5), ((412, 40, 26), (450, 56, 40), 4.5)):
            c.paint(c.rod(a, b, r + 1.5), 30)
            c.paint(c.rod(a, b, r), GAS)

    def head(self) -> None:
        c, hu, seed = self.c, self.hu, self.p.seed
        self._face_soft()
        skull: Table = ((5, 0, 4, 0, 0), (14, 0, 4, 42, 53), (40, 0, 2, 64, 83), (75, 0, 1, 71, 91), (112, 0, 4, 70, 88), (130, 0, 14, 64, 74), (144, 0, 26, 48, 50), (150, 0, 28, 0, 0))
        c.paint(c.tube(skull), 950)
        inner = c.tube(skull, grow=-6.5)
        grey = 4 * np.sign(c.noise(11, seed, inner))
        c.paint(inner, hu["brain"] + grey)
        for side in SIDES:
            c.paint(c.tube(((58, 8, -10, 0, 0), (68, 10, -6, 5, 26), (84, 8, -4, 4, 22), (92, 6, -8, 0, 0)), side=side), 8)
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

    def _face_soft(self) -> None:
        """Maxilla with sinuses, nose, palate, teeth, tongue, throat and mandible."""
        c, hu = self.c, self.hu
        c.paint(c.tube(((108, 0, -86, 0, 0), (124, 0, -94, 10, 14), (146, 0, -98, 13, 20), (156, 0, -92, 14, 20), (166, 0, -86, 0, 0))), 20)
        c.paint(c.tube(((120, 0, -68, 46, 24), (145, 0, -66, 44, 28), (170, 0, -70, 30, 24), (178, 0, -72, 0, 0)), power=2.6), 650)
        for side in SIDES:
            c.paint(c.ball(146, 29, -64, 17, 14, 17, side=side), GAS)
        c.paint(c.tube(((122, 0, -66, 9, 24), (146, 0, -66, 10, 30), (163, 0, -66, 9, 26))), -700)
        c.paint(c.tube(((122, 0, -66, 1.2, 24), (163, 0, -66, 1.2, 24))), 400)
        c.paint(c.tube(((150, 0, -24, 13, 12), (200, 0, -12, 10, 9), (236, 0, 2, 9, 9))), GAS)
        jaw: Table = ((160, 0, -38, 48, 46), (185, 0, -38, 46, 48), (206, 0, -52, 34, 34), (215, 0, -62, 22, 20), (216, 0, -62, 0, 0))
        low = c.tube(jaw, power=2.4)
        u, y, _ = c.grid(low)
        arch = np.clip((-18 - 40 * _ramp(u, 185, 215) - y) / c.pixel + 0.5, 0, 1)
        c.paint(low * arch, 1150)
        c.paint(c.tube(jaw, power=2.4, grow=-9), hu["muscle"])
        for side in SIDES:
            c.paint(c.rod((134, 52, -22), (188, 46, -14), 6, side=side), 1000)
        teeth = c.tube(((166, 0, -62, 29, 34), (190, 0, -62, 29, 34)), power=2.4)
        angle = np.arctan2(*np.broadcast_arrays(*(c.grid(teeth)[k] + (62, 0)[k - 1] for k in (1, 2))))
        c.paint(teeth * ((c.grid(teeth)[1] < -50) * (0.65 + 0.35 * np.cos(26 * angle))).astype(np.float32), 1900)
        c.paint(c.tube(((166, 0, -56, 24, 30), (190, 0, -56, 24, 32)), power=2.2), hu["muscle"])

    def neck(self) -> None:
        c, hu = self.c, self.hu
        for side in SIDES:
            fat: Table = ((180, 40, -2, 0, 0), (220, 38, 5, 18, 22), (270, 46, 16, 24, 20), (300, 70, 18, 30, 22), (316, 90, 20, 0, 0))
            c.paint(c.tube(fat, side=side), -80)
            sternomastoid: Table = ((150, 56, 22, 0, 0), (190, 50, 14, 10, 18), (250, 38, -8, 10, 14), (300, 24, -28, 8, 6), (318, 18, -34, 0, 0))
            c.paint(c.tube(sternomastoid, side=side), hu["muscle"])
            carotid: Table = ((140, 26, -2, 3, 3), (205, 28, 2, 4, 4), (272, 24, 10, 4, 4))
            jugular: Table = ((140, 32, 6, 5, 5), (205, 36, 6, 6, 6), (300, 34, 4, 7, 6), (330, 22, -8, 7, 7))
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

    def _along_spine(self, low: float, high: float, back: float, rx: Floats, ry: Floats) -> Table:
        """A table every 3 mm, `back` radii of the bodies behind their centres; rx, ry over `_SPINE_U`."""
        y = np.interp(_SPINE_U, *SPINE.T) + back * _BODY
        rows = np.stack([_SPINE_U, 0 * y, y, rx, ry], 1)
        return [tuple(r) for r in rows[(low <= _SPINE_U) & (high >= _SPINE_U)]]

    def spine(self) -> None:
        """Bodies with waist, end plates and discs; canal in a ring of bone; transverse and spinous processes; sacrum and coccyx."""
        c = self.c
        phase = np.interp(_SPINE_U, DISCS, np.arange(len(DISCS))) % 1
        middle = np.sin(np.pi * phase)
        for k in range(1, 24):
            u, height = DISCS[k] + 0.45 * (DISCS[k + 1] - DISCS[k]), DISCS[k + 1] - DISCS[k]
            if c.u[0] - 60 < u < c.u[-1] + 20:
                self._processes(k, u, height)
        canal = self._along_spine(148, 860, 1.0, 11 * np.ones_like(middle), 9 * np.ones_like(middle))
        canal = [(u, x, y + 8, rx, ry) for u, x, y, rx, ry in canal]
        ring = c.tube(canal, grow=4.5)
        seam = np.interp(c.u[ring.box[0]], _SPINE_U, phase)[:, None, None]
        c.paint(ring * np.where((seam > 0.1) & (seam < 0.85), 1, 0.45).astype(np.float32), 550)
        c.paint(c.tube(canal), 25)
        c.paint(c.tube(canal, grow=-4), 40)
        column = self._along_spine(150, 766, 0, _BODY * (1.28 - 0.14 * middle), _BODY * (1.0 - 0.1 * middle))
        c.paint(c.tube(column, power=2.3), 620)
        core = c.tube(column, power=2.3, grow=-2.2)
        self.spongy(core)
        plate = np.interp(c.u[core.box[0]], _SPINE_U, phase)[:, None, None]
        c.paint(core * (np.clip(1 - np.abs((plate + 0.14) % 1 - 0.05) / 0.05, 0, 1) + np.clip(1 - np.abs(plate - 0.14) / 0.05, 0, 1)), 420)
        c.paint(core * np.clip((0.12 - np.minimum(plate, 1 - plate)) / 0.03, 0, 1), 85)
        sacrum: Table = ((764, 0, 60, 26, 16), (785, 0, 72, 56, 22), (810, 0, 86, 46, 17), (845, 0, 98, 26, 10), (868, 0, 98, 12, 7), (892, 0, 88, 6, 5), (905, 0, 80, 0, 0))
        self.bone(sacrum, wall=2.2, power=2.5, marrow=None)
        for side in SIDES:
            for u, x, y in ((792, 22, 76), (812, 20, 86), (832, 15, 92)):
                c.paint(c.ball(u, x, y, 7, 5, 5, side=side), -40)
        c.paint(c.tube(((764, 0, 78, 11, 7), (800, 0, 90, 10, 5), (835, 0, 100, 0, 0))), -20)

    def _processes(self, k: int, u: float, height: float) -> None:
        y, r = self.spine_y(u), float(np.interp(u, _SPINE_U, _BODY))
        thoracic = 7 <= k < 19
        back, drop = (34, 1.1 * height) if thoracic else ((34, 6) if k >= 19 else (26, 8))
        if k > 0:
            self.c.paint(self.c.rod((u, 0, y + r + 18), (u + drop, 0, y + r + back), 3.5), 480)
        for side in SIDES:
            far = 36 if thoracic else (44 if k >= 19 else 24)
            self.c.paint(self.c.rod((u, 12, y + r + 6), (u - 3, far, y + r + (16 if thoracic else 4)), 4, side=side), 520)
            self.c.paint(self.c.ball(u + 0.5 * height, 15, y + r + 12, 0.3 * height, 7, 7, side=side), 560)

    def ribs(self) -> None:
        """The wall of the rib cage, crossed by twelve oblique bands that start at the vertebrae and fall to the front."""
        c = self.c
        wall = c.tube(tuple(row for row in CAVITY if row[0] <= 720), power=2.3, grow=8, bulge=self.bulge)
        inner = c.tube(tuple(row for row in CAVITY if row[0] <= 720), power=2.3, grow=0.5, bulge=self.bulge)
        if not wall.share.size:
            return
        shell = wall.share.copy()
        inset = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner.box, wall.box, strict=True))
        shell[inset] -= inner.share
        u, y, x = c.grid(wall)
        turn = np.arctan2(np.abs(x), y - 8)
        order = np.interp(u - 92 * np.sin(np.minimum(turn / 2.4, 1) * np.pi / 2), DISCS[7:20], np.arange(13))
        number = np.clip(order.astype(int), 0, 11)
        spacing = np.diff(DISCS[7:20])[number]
        band = np.clip((4.8 - np.abs(order - number - 0.35) * spacing) / max(c.pixel, 2) + 0.5, 0, 1)
        band *= (order > 0) & (order < 12) & (turn < _RIB_ENDS[number])
        marrow = np.clip(shell * 2 - 1, 0, 1)
        hu = np.where(turn > 2.3, 120, 700 - 350 * marrow)
        c.paint(Shape(wall.box, (shell * band).astype(np.float32)), hu.astype(np.float32))
        sternum: Table = ((320, 0, -28, 0, 0), (326, 0, -32, 26, 7), (360, 0, -54, 22, 7), (372, 0, -62, 15, 6), (400, 0, -80, 18, 6), (455, 0, -97, 18, 6), (478, 0, -99, 8, 4), (500, 0, -98, 0, 0))
        self.bone(sternum, wall=2.0, power=2.6)

    def shoulders(self) -> None:
        """Collar bones, shoulder blades and the bones of the arms, which follow how the arms lie."""
        c, raised = self.c, self.p.arms != "down"
        lift = 8.0 if raised else 0.0
        arm = {row[0]: row for row in self._beside(ARMS[self.p.arms])}
        path = [np.array(row[:3]) for row in arm.values()]
        for side in SIDES:
            shaft = [(u, x, y) for u, x, y in path if u < 300] if raised else [(u, x, y) for u, x, y in path if u > 340]
            c.paint(c.rod((327, 20, -38), (314 - lift, 75, -32), 6, side=side), 600)
            c.paint(c.rod((314 - lift, 75, -32), (304 - lift, 145, 16), 6, side=side), 600)
            blade: Table = ((312 - lift, 140, 55, 14, 5, -30), (345 - lift, 128, 66, 34, 5, -34), (390 - lift, 122, 76, 30, 4, -34), (430 - lift, 112, 86, 18, 4, -30), (452 - lift, 106, 92, 0, 0, 0))
            c.paint(c.tube(blade, side=side), 620)
            c.paint(c.rod((320 - lift, 85, 92), (304 - lift, 160, 46), 5, side=side), 620)
            c.paint(c.ball(330 - lift, 150, 42, 16, 8, 15, side=side), 500)
            head = (328 - lift, 172, 28)
            self.ball_bone(*head, 23, side=side)
            points = [head, *(shaft[::-1] if raised else shaft)]
            for k, (a, b) in enumerate(zip(points, points[1:], strict=False)):
                forearm = (a[0] < 25 and self.p.arms == "up") or a[0] > 640 or (self.p.arms == "beside" and a[0] < 120)
                for off in (-9, 9) if forearm else (0,):
                    r = 6.5 if forearm else 11
                    p, q = ((v[0], v[1], v[2] + (off if k else 0)) for v in (a, b))
                    c.paint(c.rod(p, q, r, side=side), CORTEX_HU)
                    c.paint(c.rod(p, q, 0.5 * r, side=side), 60)

    def pelvis(self) -> None:
        c = self.c
        wide = 4.0 if self.p.sex == "female" else 0.0
        for side in SIDES:
            wing: Table = (
                (715, 122, 8, 0, 0, 60), (722, 122, 10, 20, 5, 62), (745, 116, 14, 40, 5, 60), (775, 106, 20, 56, 6, 56), (800, 100, 14, 52, 8, 54),
                (825, 98, 6, 40, 12, 58), (842, 100, 4, 32, 18, 70), (858, 100, 4, 0, 0, 70),
            )  # fmt: skip
            wing = [(u, x + wide, y, a, b, -t) for u, x, y, a, b, t in wing]
            self.bone(wing, wall=1.8, side=side)
            c.paint(c.rod((785, 60, 66), (815, 78, 52), 9, side=side), 420)
            self.ball_bone(858, 92 + wide, 10, 35, side=side, wall=3)
            c.paint(c.rod((862, 78 + wide, -12), (884, 12, -58), 8, side=side), 600)
            c.paint(c.rod((890, 12, -56), (928, 56, 22), 6.5, side=side), 600)
            c.paint(c.rod((872, 86 + wide, 36), (922, 62 + wide, 44), 13, side=side), 550)
            self.spongy(c.rod((872, 86 + wide, 36), (922, 62 + wide, 44), 10, side=side))
            c.paint(c.ball(862, 94 + wide, 8, 27, 27, 27, side=side), 80)
            c.paint(c.rod((864, 96 + wide, 10), (890, 138 + wide, 20), 27, side=side) * 0.6, self.hu["muscle"])
            self.ball_bone(862, 94 + wide, 8, 24, side=side, wall=2.5)
            c.paint(c.rod((864, 98, 8), (888, 128 + wide, 18), 14, side=side), 800)
            self.spongy(c.rod((864, 98, 8), (888, 128 + wide, 18), 11, side=side))
            self.ball_bone(884, 136 + wide, 22, 19, side=side)
            shaft: Table = ((880, 130 + wide, 18, 0, 0), (895, 128 + wide, 16, 20, 20), (930, 120, 14, 16, 17), (1000, 108, 8, 14, 15), (1112, 94, 4, 13, 14))
            self.bone(shaft, wall=6.0, side=side, marrow=-30)
        c.paint(c.ball(884, 0, -60, 18, 5, 10), 90)

    def metal(self, kind: Metal) -> list[tuple[float, float, float]]:
        """Implants, far above any tissue. Returns the middle of each piece."""
        c = self.c
        side = -1 if self.p.seed % 2 else 1
        if kind == "dental":
            places = [(178.0, 26.0 * s, -70.0) for s in SIDES] + [(180.0, side * 18.0, -86.0)]
            shapes = [c.ball(u, x, y, 6, 5, 5) for u, x, y in places]
        elif kind == "hip":
            places = [(862.0, side * 94.0, 8.0), (900.0, side * 122.0, 14.0), (935.0, side * 119.0, 13.0)]
            shapes = [c.ball(862, 94, 8, 26, 26, 26, side=side), c.rod((870, 100, 8), (895, 122, 14), 9, side=side), c.rod((895, 122, 14), (1000, 108, 8), 8, side=side)]
        elif kind == "spine":
            places = [(u, 0.0, self.spine_y(u) + 10) for u in (664.0, 704.0, 744.0)]
            shapes = [c.rod((u, 8, y - 12), (u - 4, 22, y + 30), 3.5, side=s) for u, _, y in places for s in SIDES]
            shapes += [c.rod((658, 23, self.spine_y(658) + 42), (746, 23, self.spine_y(746) + 42), 3, side=s) for s in SIDES]
        elif kind == "port":
            places = [(352.0, -72.0, -86.0)]
            shapes = [c.ball(352, -72, -86, 9, 12, 6), c.rod((348, -72, -84), (312, -40, -30), 2), c.rod((312, -40, -30), (410, -26, -8), 2)]
        else:
            places, shapes = [], []
        for shape in shapes:
            c.paint(shape, 6000)
        return places


_SPINE_U = np.arange(140.0, 905.0, 3.0)
_BODY = np.interp(_SPINE_U, [150, 270, 300, 470, 567, 700, 765], [8, 9.5, 11, 13.5, 16, 18, 18.5])
"""Radius of the vertebral bodies from front to back."""
_RIB_ENDS = np.array([2.6, 2.75, 2.8, 2.85, 2.9, 2.95, 2.95, 2.7, 2.5, 2.2, 1.5, 1.0])
"""How far round from the back each rib and its cartilage reach, radians."""
