"""A CT scan of a made-up patient, with the truth known for every slice.

What `anatomy`, `organs` and `skeleton` painted is seen by a scanner.

The phantom exists so that the whole method can be run, tested and shown without a patient's data.
It is fully determined by its seed: a random `Patient`, a random `Acquisition`, and the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.hu import HU_RANGE

from ..data.volume import Volume
from . import anatomy
from .organs import paint_organs
from .patient import BOTTOM, TOP, Patient, check_limits
from .shapes import Canvas, Floats
from .skeleton import paint_skeleton

Kernel = Literal["soft", "standard", "sharp"]
Table = Literal["none", "curved", "flat"]

REGIONS = ("head", "neck", "chest", "abdomen", "pelvis", "thigh")
_BORDERS = ("mandible", "lung_apex", "liver_dome", "iliac_crest", "ischium")
"""The landmark where each region but the first begins.

The abdomen runs from the upper border of the liver to that of the ilium.
"""

_RANGES = {
    "chest-abdomen-pelvis": (0.46, 300, 925),
    "chest": (0.16, 285, 560),
    "abdomen-pelvis": (0.14, 455, 925),
    "chest-abdomen": (0.08, 285, 715),
    "head-neck": (0.1, -5, 380),
    "whole": (0.06, -40, 1090),
}
"""Usual scan ranges: how often, and the levels where they begin and end."""
_STEPS_MM = (1.5, 2.0, 2.5, 3.0, 3.75, 4.0, 5.0, 6.0, 7.5)
_LIMITS = {
    "top": (TOP, BOTTOM - 20),
    "bottom": (TOP + 20, BOTTOM),
    "spacing_mm": (0.5, 20),
    "fov_mm": (120, 700),
    "size_px": (32, 1024),
    "noise_hu": (0, 100),
}


@dataclass(frozen=True)
class Acquisition:
    """How the patient is scanned.

    top, bottom: levels u of the first and last slice, mm of the reference body below the vertex.
    spacing_mm: between slices. fov_mm: side of the square image. size_px: its rows and columns.
    offset_mm: (x, y) of the image's middle from the body's axis. circle: pixels outside the
    inscribed circle are not reconstructed. noise_hu: standard deviation in 350 mm of water, before
    the kernel; it grows with the patient.

    Raises `ValueError` when a value is out of range.
    """

    top: float = 300.0
    bottom: float = 925.0
    spacing_mm: float = 5.0
    fov_mm: float = 420.0
    size_px: int = 128
    offset_mm: tuple[float, float] = (0.0, 0.0)
    table: Table = "curved"
    noise_hu: float = 14.0
    kernel: Kernel = "standard"
    phase: anatomy.Phase = "portal"
    metal: anatomy.Metal = "none"
    circle: bool = False

    def __post_init__(self) -> None:
        check_limits(
            self,
            _LIMITS,
            {"table": Table, "kernel": Kernel, "phase": anatomy.Phase, "metal": anatomy.Metal},
        )
        if self.bottom - self.top < 20:
            raise ValueError(
                f"bottom must lie at least 20 below top, got top {self.top:g}, bottom "
                f"{self.bottom:g}"
            )
        if int(self.size_px) != self.size_px:
            raise ValueError(f"size_px must be a whole number, got {self.size_px!r}")

    @classmethod
    def random(cls, seed: int, patient: Patient | None = None) -> Acquisition:
        """A scan drawn from what a radiology department does, mostly chest to pelvis.

        The field of view fits the patient's width.
        """
        rng = np.random.default_rng([seed, 3])
        patient = patient or Patient.random(seed)
        name = list(_RANGES)[rng.choice(len(_RANGES), p=[r[0] for r in _RANGES.values()])]
        top, bottom = (float(u + rng.uniform(-14, 14)) for u in _RANGES[name][1:])
        if patient.arms != "up":
            top = max(top, -3.0)  # nothing is above the vertex then
        length = float(np.diff(patient.z_mm(np.array([top, bottom])))[0])
        steps = [s for s in _STEPS_MM if 60 <= length / s <= 150] or [length / 80]
        width = 350 * patient.build + 45 * patient.obesity
        fov = rng.uniform(230, 330) if name == "head-neck" else width * rng.uniform(0.98, 1.28)
        if name == "head-neck" and rng.random() < 0.5:
            fov = 500.0
        metal = {"head-neck": "dental", "abdomen-pelvis": "hip", "chest": "port"}.get(
            name
        ) or rng.choice(["hip", "spine", "port"])
        return cls(
            top=top,
            bottom=bottom,
            spacing_mm=float(rng.choice(steps)),
            fov_mm=float(np.clip(fov, 200, 600)),
            offset_mm=tuple(rng.normal(0, 7, 2).tolist()),
            table=("none", "curved", "flat")[rng.choice(3, p=(0.05, 0.7, 0.25))],
            noise_hu=float(rng.uniform(6, 24)),
            kernel=("soft", "standard", "sharp")[rng.choice(3, p=(0.35, 0.4, 0.25))],
            phase=("none", "arterial", "portal", "delayed")[
                rng.choice(4, p=(0.3, 0.15, 0.45, 0.1))
            ],
            metal=str(metal) if rng.random() < 0.15 else "none",  # type: ignore[arg-type]
            circle=bool(rng.random() < 0.2),
        )


@dataclass(frozen=True)
class Case:
    """A patient and a scan, and what follows from them without an image."""

    seed: int
    patient: Patient
    scan: Acquisition

    @cached_property
    def first_mm(self) -> float:
        """Where the first slice lies, mm below the vertex of the patient's head."""
        return float(self.patient.z_mm(self.scan.top))

    @cached_property
    def z_mm(self) -> NDArray[np.float64]:
        """`[z]` mm below the first slice."""
        return np.arange(
            0,
            float(self.patient.z_mm(self.scan.bottom)) - self.first_mm + 1e-6,
            self.scan.spacing_mm,
        )

    @property
    def pixel_mm(self) -> float:
        return self.scan.fov_mm / self.scan.size_px

    @cached_property
    def body_mm(self) -> NDArray[np.float64]:
        """`[z]` level in the reference body."""
        return self.patient.level(self.first_mm + self.z_mm)

    @cached_property
    def region(self) -> NDArray[np.str_]:
        """`[z]` part of the body, one of `REGIONS`."""
        borders = [self.patient.landmarks()[name] for name in _BORDERS]
        return np.array(REGIONS)[np.searchsorted(borders, self.body_mm, side="right")]

    @cached_property
    def landmarks(self) -> dict[str, float]:
        """Name -> slice index (not whole) of the landmarks inside the scan, from superior on."""
        index = {
            k: float(self.patient.z_mm(u) - self.first_mm) / self.scan.spacing_mm
            for k, u in self.patient.landmarks().items()
        }
        return {k: i for k, i in index.items() if 0 <= i <= len(self.z_mm) - 1}


@dataclass(frozen=True)
class Phantom:
    """A scan and its truth.

    volume: the scan. landmarks: name -> slice index (not whole) from the superior end, for those
    inside the scan, superior to inferior. region: `[z]`, one of `REGIONS`. body_mm: `[z]` level in
    the reference body, mm below the vertex of a person of 1750 mm: the same anatomy has the same
    number in every patient (but for what breathing moves). case: the patient and the acquisition.

    Landmarks: vertex (top of the skull), mandible (lower border of the chin), lung_apex, carina,
    liver_dome (upper border), iliac_crest (upper border), femoral_head (upper border), ischium
    (lower border).
    """

    volume: Volume
    landmarks: dict[str, float]
    region: NDArray[np.str_]
    body_mm: NDArray[np.float64]
    case: Case


def draw(seed: int, *, ascites: bool = False, **overrides: Any) -> Case:
    """The patient and the scan of a seed, without the image.

    Arguments and errors are those of `make`.
    """
    given: object = seed
    whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if not whole or seed < 0:
        raise ValueError(f"seed must be a whole number from 0 on, got {seed!r}")
    own, scanned = ({f.name for f in fields(kind)} - {"seed"} for kind in (Patient, Acquisition))
    unknown = sorted(set(overrides) - own - scanned)
    if unknown:
        raise ValueError(
            f"a phantom has no {', '.join(unknown)}; it has {', '.join(sorted(own | scanned))}"
        )
    changes = {"ascites": ascites, **{k: v for k, v in overrides.items() if k in own}}
    patient = replace(Patient.random(int(seed)), **changes)
    scan = replace(
        Acquisition.random(int(seed), patient),
        **{k: v for k, v in overrides.items() if k in scanned},
    )
    return Case(int(seed), patient, scan)


def make(seed: int, *, ascites: bool = False, **overrides: Any) -> Phantom:
    """The phantom of a seed.

    seed: draws the patient, the scan and the noise.
    ascites: fill the peritoneal cavity with fluid; all else stays the same.
    overrides: fields of `Patient` and `Acquisition` to set instead of drawing them.

    Raises `ValueError` when the seed is negative or an override is unknown or out of range.
    """
    return image(draw(seed, ascites=ascites, **overrides))


def image(case: Case) -> Phantom:
    """Scan the patient."""
    patient, scan, u = case.patient, case.scan, case.body_mm
    centred = (np.arange(scan.size_px) - (scan.size_px - 1) / 2) * case.pixel_mm
    bend = patient.scoliosis_mm * np.sin(np.pi * np.clip((u - 280) / 500, 0, 1))
    x = (centred + scan.offset_mm[0] - bend[:, None]) / patient.build
    y = np.broadcast_to((centred + scan.offset_mm[1]) / patient.build, (len(u), scan.size_px))
    canvas = Canvas(u, x, y)
    _table(canvas, patient, scan)
    body = anatomy.Body(canvas, patient, scan.phase)
    paint_organs(body, body.outline())
    metal = paint_skeleton(body, scan.metal)
    hu = _scanner(canvas, scan, metal, case.seed)
    if scan.circle:
        hu[:, np.hypot(centred, centred[:, None]) > scan.fov_mm / 2] = HU_RANGE[0]
    stored = np.clip(np.rint(hu), *HU_RANGE).astype(np.int16)
    volume = Volume(stored, (scan.spacing_mm, case.pixel_mm, case.pixel_mm), case.z_mm)
    return Phantom(volume, case.landmarks, case.region, u, case)


def _table(canvas: Canvas, patient: Patient, scan: Acquisition) -> None:
    """The table under the back: two thin skins with foam between."""
    if scan.table == "none":
        return
    back = anatomy.back_mm(patient)
    y, x = canvas.y[0][:, None], canvas.x.mean(0)[None]
    depth = y - back
    if scan.table == "curved":
        depth = depth + 26 * (x / 200) ** 2
    thick, half = (34, 225) if scan.table == "curved" else (52, 260)
    within = np.clip((half - np.abs(x)) / canvas.pixel + 0.5, 0, 1)

    def slab(a: float, b: float) -> Floats:
        share = np.clip((depth - a) / canvas.pixel + 0.5, 0, 1) * np.clip(
            (b - depth) / canvas.pixel + 0.5, 0, 1
        )
        return np.asarray(share * within, np.float32)

    one = canvas.hu[0]
    for share, hu in ((slab(0, thick), -930.0), (slab(0, 3), 60.0), (slab(thick - 3, thick), 60.0)):
        one += share * (hu - one)
    canvas.hu[:] = one.copy()


def _scanner(
    canvas: Canvas, scan: Acquisition, metal: list[tuple[float, float, float]], seed: int
) -> Floats:
    """Streaks of metal, noise that grows with what the rays cross, and the kernel.

    The kernel shapes edges and noise alike.
    """
    from scipy import ndimage

    hu = canvas.hu
    for k, at in enumerate(metal):
        _streaks(canvas, at, np.random.default_rng([seed, 6, k]))
    noise = np.random.default_rng([seed, 4]).standard_normal(hu.shape, np.float32)
    # The rays along the longest water path are the weakest. Noise would double every 70 mm, but the
    # tube current makes up for most of it.
    water = np.clip(hu / 1000 + 1, 0, 2)
    wide = water.sum(2).max(1) * canvas.step[0]
    level = (scan.noise_hu * np.exp((wide - 350) / 450)).astype(np.float32)
    streaky = ndimage.uniform_filter1d(noise, 9, axis=2) * 3
    share = np.clip((wide - 330) / 200, 0, 0.6).astype(np.float32)[:, None, None]
    noise += share * (streaky - noise)
    blur_px = {"soft": 0.8, "standard": 0.5, "sharp": 0.45}[scan.kernel]
    out = hu + level[:, None, None] * noise
    smooth = ndimage.gaussian_filter(out, blur_px, axes=(1, 2), truncate=3)
    if scan.kernel == "sharp":
        smooth += 0.8 * (smooth - ndimage.gaussian_filter(smooth, 1.0, axes=(1, 2), truncate=3))
    return np.asarray(smooth)


def _streaks(canvas: Canvas, at: tuple[float, float, float], rng: np.random.Generator) -> None:
    """Bright and dark rays around metal.

    They fade over about 60 mm in the plane and 16 mm across it.
    """
    u0, x0, y0 = at
    z0, z1 = np.searchsorted(canvas.u, [u0 - 28, u0 + 28])
    if z0 == z1:
        return
    x, y = canvas.x[z0:z1, None, :] - x0, canvas.y[z0:z1, :, None] - y0
    turn, far = np.arctan2(y, x), np.hypot(x, y)
    rays = sum(np.cos(n * turn + rng.uniform(0, 6)) for n in (2, 6, 10, 16))
    fade = np.exp(-far / 60) * np.exp(-(((canvas.u[z0:z1, None, None] - u0) / 16) ** 2))
    canvas.hu[z0:z1] += (220 * rays * fade).astype(np.float32)
