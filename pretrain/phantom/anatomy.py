"""A body's outline as tables of numbers, and what the painters of organs and bones share.

All numbers are in the reference body (see `patient`); they are rounded textbook values, and nothing
is taken from a person's scan. Painting goes from the outside in and from soft to hard, what comes
later covers what came before: outline, fat, muscle, cavity, abdomen, lungs, mediastinum, head and
neck, bones. `side` is -1 for the patient's right and 1 for the left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from .patient import LEVELS, Arms, Patient
from .shapes import Canvas, Floats, Shape, Table

Phase = Literal["none", "arterial", "portal", "delayed"]
Metal = Literal["none", "dental", "hip", "spine", "port"]
SIDES = (-1, 1)

_TAKES_UP = {
    "artery": (42, 330, 160, 105),
    "vein": (40, 80, 155, 108),
    "lung_artery": (42, 230, 150, 105),
    "ventricle": (42, 290, 150, 105),
    "myocardium": (45, 95, 112, 92),
    "liver": (58, 70, 112, 88),
    "hepatic": (42, 62, 165, 100),
    "spleen": (48, 125, 122, 88),
    "cortex": (32, 180, 185, 125),
    "medulla": (30, 70, 170, 125),
    "urine": (5, 5, 8, 620),
    "bladder": (6, 6, 8, 240),
    "pancreas": (40, 100, 88, 68),
    "bowel_wall": (40, 85, 92, 75),
    "muscle": (54, 57, 62, 62),
    "thyroid": (105, 190, 150, 125),
    "brain": (36, 40, 42, 40),
}
"""HU of what takes up contrast medium, in the order of `Phase`.

Portal is about 70 s after injection, delayed minutes.
"""
ENHANCEMENT: Mapping[Phase, Mapping[str, float]] = {
    phase: {tissue: hu[k] for tissue, hu in _TAKES_UP.items()}
    for k, phase in enumerate(get_args(Phase))
}
"""The same by phase."""

FAT, SKIN, FLUID, GAS, CORTEX_HU = -105.0, 30.0, 10.0, -960.0, 1050.0

OUTLINE: Table = (
    (0, 0, 5, 0, 0), (12, 0, 4, 45, 56), (40, 0, 2, 68, 86), (75, 0, 1, 76, 96),
    (110, 0, 1, 77, 97), (140, 0, 2, 72, 94), (170, 0, 2, 66, 84), (200, 0, 12, 58, 70),
    (225, 0, 22, 57, 60), (250, 0, 27, 58, 57), (275, 0, 30, 72, 59), (298, 0, 28, 105, 66),
    (325, 0, 24, 143, 80), (350, 0, 17, 160, 93), (385, 0, 11, 165, 103), (430, 0, 7, 161, 108),
    (480, 0, 5, 158, 110), (550, 0, 3, 152, 108), (620, 0, 3, 144, 104), (680, 0, 4, 142, 101),
    (725, 0, 6, 150, 101), (775, 0, 9, 163, 103), (825, 0, 10, 170, 105), (870, 0, 11, 172, 105),
    (900, 0, 14, 160, 98), (922, 0, 20, 122, 84), (942, 0, 30, 0, 0),
)  # fmt: skip
"""Skin of a person without fat: the outer border of muscle."""
THIGH: Table = (
    (850, 95, 10, 0, 0),
    (880, 92, 10, 72, 86),
    (940, 88, 10, 80, 88),
    (1000, 85, 10, 76, 82),
    (1112, 80, 10, 68, 72),
)
SHOULDER: Table = (
    (264, 66, 30, 0, 0),
    (286, 100, 30, 42, 32),
    (320, 140, 28, 48, 40),
    (352, 145, 24, 0, 0),
)
CAVITY: Table = (
    (277, 0, 40, 0, 0), (290, 0, 38, 52, 26), (310, 0, 32, 80, 46), (340, 0, 22, 104, 66),
    (400, 0, 8, 126, 88), (470, 0, 1, 137, 96), (540, 0, -3, 137, 97), (600, 0, -8, 129, 90),
    (660, 0, -14, 122, 80), (720, 0, -16, 118, 74), (770, 0, -10, 104, 74), (820, 0, 4, 78, 74),
    (860, 0, 14, 62, 70), (900, 0, 24, 42, 48), (925, 0, 30, 0, 0),
)  # fmt: skip
"""Inside of the rib cage, the abdominal wall and the small pelvis."""
ARMS: Mapping[Arms, Table] = {
    "down": (
        (292, 170, 28, 0, 0), (305, 172, 28, 34, 36), (335, 180, 26, 46, 46),
        (400, 198, 24, 44, 46), (500, 214, 22, 38, 42), (600, 224, 16, 36, 38),
        (650, 226, 12, 38, 36), (740, 220, -5, 33, 32), (840, 208, -20, 24, 24),
        (885, 200, -24, 26, 18), (930, 196, -26, 36, 14), (985, 192, -28, 0, 0),
    ),
    "up": (
        (-128, 30, -30, 0, 0), (-105, 60, -28, 34, 24), (-60, 118, -20, 34, 30),
        (-15, 165, -10, 34, 32), (20, 184, -4, 38, 36), (90, 190, 4, 40, 40),
        (180, 188, 12, 42, 44), (260, 178, 20, 46, 48), (320, 168, 25, 44, 48),
        (375, 150, 25, 0, 0),
    ),
    "beside": (
        (28, 96, -80, 0, 0), (50, 105, -66, 24, 26), (110, 130, -30, 36, 38), (170, 150, 0, 40, 44),
        (250, 166, 18, 45, 48), (320, 166, 25, 44, 48), (375, 150, 25, 0, 0),
    ),
}  # fmt: skip


def _bump(u: Floats, low: float, high: float) -> Floats:
    """0 outside low..high, smooth, 1 in the middle."""
    return np.asarray(np.sin(np.pi * ramp(u, low, high)) ** 2)


def ramp(u: Floats, low: float, high: float) -> Floats:
    """0 above low, 1 below high, straight between."""
    return np.asarray(np.clip((u - low) / (high - low), 0, 1))


def _fat_mm(u: Floats, patient: Patient) -> Floats:
    """Between muscle and skin at levels u.

    The trunk has 0.75 of it behind and beside, 1.25 in front.
    """
    return 2 + patient.obesity * (
        4 + 8 * ramp(u, 215, 330) + 22 * _bump(u, 430, 1000) + 8 * ramp(u, 760, 860)
    )


def back_mm(patient: Patient) -> float:
    """y of the table's top, in the reference body: the rearmost point of the trunk's skin."""
    rows = np.array([(u, y + ry) for u, _, y, _, ry in OUTLINE], np.float32)
    return float((rows[:, 1] + 0.75 * _fat_mm(rows[:, 0], patient)).max())


class Body:
    """What the painters share.

    Canvas `c`, patient `p`, HU of the phase, and ways of painting that more than one of them needs.
    """

    def __init__(self, canvas: Canvas, patient: Patient, phase: Phase) -> None:
        self.c, self.p, self.hu = canvas, patient, ENHANCEMENT[phase]
        self.dome = patient.landmarks()["liver_dome"]
        u = canvas.u
        self.fat = _fat_mm(u, patient)
        self.bulge = 26 * patient.obesity * _bump(u, 470, 850) + 40 * patient.ascites * _bump(
            u, self.dome + 12, LEVELS["femoral_head"]
        )
        """`[z]` mm by which visceral fat and ascites push the abdominal wall forward."""
        self.rng = np.random.default_rng([patient.seed, 2])

    def bone(
        self,
        table: Table,
        *,
        wall: float = 2.5,
        side: int = 1,
        power: float = 2.0,
        marrow: float | None = None,
    ) -> None:
        """A compact wall of `wall` mm around spongy bone (or `marrow` HU)."""
        self.c.paint(self.c.tube(table, side=side, power=power), CORTEX_HU)
        self.spongy(self.c.tube(table, side=side, power=power, grow=-wall), marrow)

    def ball_bone(
        self, u: float, x: float, y: float, r: float, *, side: int = 1, wall: float = 2.0
    ) -> None:
        self.c.paint(self.c.ball(u, x, y, r, r, r, side=side), 800)
        self.spongy(
            self.c.ball(u, x, y, r - wall, r - wall, r - wall, side=side), 1.4 * self.p.spongy_hu
        )

    def spongy(self, shape: Shape, hu: float | None = None) -> None:
        if hu is None:
            self.c.paint(shape, self.p.spongy_hu + 40 * self.c.noise(4.5, self.p.seed, shape))
        else:
            self.c.paint(shape, hu)

    def outline(self) -> Floats:
        """Skin, fat, muscle and the fat of the body's cavity.

        Returns the share of each voxel that lies in the cavity.
        """
        c, p, fat, bulge = self.c, self.p, self.fat, self.bulge
        limbs: list[tuple[Table, int, float]] = [(self.beside(ARMS[p.arms]), s, 2.0) for s in SIDES]
        limbs += [(table, s, 2.2) for table in (SHOULDER, THIGH) for s in SIDES]
        for hu, inset in ((SKIN, 0.0), (FAT, -2.0)):
            for table, side, power in limbs:
                c.paint(
                    c.tube(
                        table, side=side, power=power, grow=(0.4 if power == 2 else 1) * fat + inset
                    ),
                    hu,
                )
            c.paint(
                c.tube(OUTLINE, power=2.25, grow=0.75 * fat + inset, bulge=bulge + 0.5 * fat), hu
            )
            self._breasts(hu, inset)
        for table, side, power in limbs:
            self._muscle(c.tube(table, side=side, power=power), 0.75)
        self._muscle(c.tube(OUTLINE, power=2.25, bulge=bulge), 0.4)
        cavity = c.tube(CAVITY, power=2.3, bulge=bulge)
        inside = np.zeros(c.hu.shape, np.float32)
        inside[cavity.box] = cavity.share
        c.paint(cavity, FAT)
        if p.ascites:
            u, y, x = c.grid(cavity)
            peritoneum = (
                np.clip((u - self.dome - 4) / 8, 0, 1)
                * np.clip((LEVELS["femoral_head"] + 15 - u) / 12, 0, 1)
                * (y < 45 + 0 * x)
            )
            c.paint(cavity * peritoneum.astype(np.float32), FLUID)
        return inside

    def beside(self, table: Table) -> Table:
        """Arms that lie beside a fat trunk lie farther out."""
        if table is not ARMS["down"]:
            return table
        far = 22 * self.p.obesity
        return [(u, x + far * min(max((u - 330) / 120, 0), 1), *rest) for u, x, *rest in table]

    def _muscle(self, shape: Shape, septa_share: float) -> None:
        """Muscle with thin sheets of fat, where a smooth random field is zero."""
        septa = np.clip(1.3 - 9 * np.abs(self.c.noise(26, self.p.seed, shape)), 0, 1) * septa_share
        self.c.paint(
            shape,
            self.hu["muscle"]
            + septa * (FAT - self.hu["muscle"]) * min(0.5 + 0.4 * self.p.obesity, 1),
        )

    def _breasts(self, hu: float, inset: float) -> None:
        if self.p.sex == "male":
            return
        size = 44 + 12 * self.p.obesity
        for side in SIDES:
            self.c.paint(
                self.c.ball(
                    420,
                    82,
                    -88,
                    size + 12 + inset,
                    size + 6 + inset,
                    0.75 * size + inset,
                    side=side,
                ),
                hu,
            )
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

    def vessels(self, shape: Shape, size_mm: float, thin: float = 0.22) -> Floats:
        """1 on a network of curves: where two smooth random fields are both zero."""
        f, g = (self.c.noise(size_mm, self.p.seed + k, shape) for k in (3, 4))
        return np.exp(-(f * f + g * g) / (2 * thin**2))
