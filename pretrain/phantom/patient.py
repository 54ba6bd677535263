"""How one patient differs from the reference body, and where its landmarks lie.

The reference body is a person of 1750 mm. A place in it is a level u, mm below the vertex, and x to
the patient's left and y to the back of the body's axis, both in mm. A patient stretches the levels
(`Patient.z_mm`) and the plane, is fatter or leaner, breathes in more or less, and has organs of
their own size and place. `anatomy`, `organs` and `skeleton` draw them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Sex = Literal["female", "male"]
Arms = Literal["up", "down", "beside"]

LEVELS = {
    "vertex": 0.0,
    "mandible": 215.0,
    "lung_apex": 280.0,
    "carina": 378.0,
    "liver_dome": 470.0,
    "iliac_crest": 715.0,
    "femoral_head": 838.0,
    "ischium": 935.0,
}
"""Where a landmark lies in the reference body, mm below the vertex.

Top of the skull, lower border of the chin, top of the lungs, tracheal bifurcation, upper border of
the liver, of the ilium, of the femoral heads, lower border of the ischium.
"""

TOP, BOTTOM = -150.0, 1110.0
"""The levels that are drawn: raised arms above the vertex to the middle of the thigh."""

_SEGMENTS = (TOP, 0.0, 215.0, 280.0, 567.0, 715.0, 838.0, BOTTOM)
_LIMITS: Mapping[str, tuple[float, float]] = {
    "stature_mm": (1400, 2100),
    "obesity": (0, 2),
    "build": (0.8, 1.25),
    "breath_mm": (-25, 25),
    "liver": (0.7, 1.4),
    "spleen": (0.6, 1.8),
    "heart": (0.8, 1.3),
    "kidney_mm": (-30, 30),
    "gas": (0, 1),
    "spongy_hu": (60, 300),
    "scoliosis_mm": (-25, 25),
}


def check_limits(
    thing: object, limits: Mapping[str, tuple[float, float]], choices: Mapping[str, object]
) -> None:
    """Raise `ValueError` for a field outside its limits, or that is none of its choices."""
    for name, (low, high) in limits.items():
        value = getattr(thing, name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float | np.number)
            or not low <= value <= high
        ):
            raise ValueError(f"{name} must lie in {low:g}..{high:g}, got {value!r}")
    for name, kind in choices.items():
        if getattr(thing, name) not in get_args(kind):
            raise ValueError(
                f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(thing, name)!r}"
            )


@dataclass(frozen=True)
class Patient:
    """The person who is scanned.

    seed: what else differs: bowel loops, vessels, bone texture. stature_mm: body height.
    proportions: relative length of raised arms, head, neck, thorax, lumbar spine, pelvis, thigh.
    build: width and depth of skeleton and organs relative to the reference. obesity: 0 lean, 1
    overweight, 2 obese. breath_mm: how far the diaphragm stands below its usual level. liver,
    spleen, heart: size. kidney_mm: (right, left) below the usual. gas: share of the bowel that
    holds gas. spongy_hu: of trabecular bone. scoliosis_mm: largest bend of the trunk to the left.

    Raises `ValueError` when a value is out of range.
    """

    seed: int = 0
    sex: Sex = "male"
    stature_mm: float = 1750.0
    proportions: tuple[float, ...] = (1.0,) * 7
    build: float = 1.0
    obesity: float = 0.6
    arms: Arms = "up"
    breath_mm: float = 0.0
    liver: float = 1.0
    spleen: float = 1.0
    heart: float = 1.0
    kidney_mm: float = 0.0
    gas: float = 0.3
    spongy_hu: float = 170.0
    scoliosis_mm: float = 0.0
    ascites: bool = False

    def __post_init__(self) -> None:
        check_limits(self, _LIMITS, {"sex": Sex, "arms": Arms})
        if len(self.proportions) != len(_SEGMENTS) - 1 or not all(
            0.7 <= p <= 1.4 for p in self.proportions
        ):
            raise ValueError(
                f"proportions must be {len(_SEGMENTS) - 1} numbers in 0.7..1.4, got "
                f"{self.proportions!r}"
            )

    @classmethod
    def random(cls, seed: int) -> Patient:
        """A patient drawn from an adult population that goes to CT."""
        rng = np.random.default_rng([seed, 1])

        def normal(mean: float, sd: float, name: str) -> float:
            low, high = _LIMITS[name]
            return float(
                np.clip(rng.normal(mean, sd), max(mean - 2.5 * sd, low), min(mean + 2.5 * sd, high))
            )

        female = rng.random() < 0.5
        return cls(
            seed=seed,
            sex="female" if female else "male",
            stature_mm=normal(1630 if female else 1760, 70, "stature_mm"),
            proportions=tuple(np.clip(rng.normal(1, 0.045, 7), 0.88, 1.12).tolist()),
            build=normal(0.95 if female else 1.0, 0.05, "build"),
            obesity=float(min(rng.gamma(2.2, 0.32), 2)),
            arms=("up", "down", "beside")[rng.choice(3, p=(0.6, 0.25, 0.15))],
            breath_mm=normal(0, 8, "breath_mm"),
            liver=normal(1, 0.09, "liver"),
            spleen=normal(1, 0.15, "spleen"),
            heart=normal(1, 0.08, "heart"),
            kidney_mm=normal(0, 10, "kidney_mm"),
            gas=float(rng.beta(2, 4)),
            spongy_hu=normal(170, 45, "spongy_hu"),
            scoliosis_mm=normal(0, 6, "scoliosis_mm"),
        )

    @cached_property
    def _anchors(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(z_mm, u) of the segments' borders."""
        u = np.array(_SEGMENTS)
        z = np.concatenate([[0], np.cumsum(np.diff(u) * self.proportions)]) * self.stature_mm / 1750
        return z - z[1], u

    def level(self, z_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """u of positions z_mm below the patient's vertex."""
        from scipy.interpolate import PchipInterpolator

        z, u = self._anchors
        return np.asarray(PchipInterpolator(z, u)(np.clip(z_mm, z[0], z[-1])))

    def z_mm(self, u: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """mm below the patient's vertex of levels u; the inverse of `level`."""
        z = np.arange(self._anchors[0][0], self._anchors[0][-1], 0.25)
        return np.asarray(np.interp(u, self.level(z), z))

    def landmarks(self) -> dict[str, float]:
        """Level u of each landmark in this patient, from superior to inferior."""
        return {**LEVELS, "liver_dome": LEVELS["liver_dome"] + self.breath_mm}
