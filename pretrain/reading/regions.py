"""Regions: where body parts and landmarks lie on the scores of one weights file, or on the body
axis that they give.

`calibrate` learns them from labelled volumes, and `score` reads them. They belong to the weights
that made the scores.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...weights.common import doors
from ...weights.common.disk import write_text
from ...weights.common.stored import values_sha256
from ...weights.released import REGIONS, check_there, resolve
from .classifier import Classifier
from .context import Axis
from .curve import passage
from .parts import check_name, classify

FORMAT = 1
"""Version of the file format. A later one is refused."""

COVERED_MM = 30.0
"""Length from which on a series covers a part.

Less is a stray slice, or the margin that technicians add.
"""

BODY_PART_EXAMINED = {
    ("head",): "HEAD",
    ("neck",): "NECK",
    ("chest",): "CHEST",
    ("abdomen",): "ABDOMEN",
    ("pelvis",): "PELVIS",
    ("thigh",): "THIGH",
    ("head", "neck"): "HEADNECK",
    ("neck", "chest"): "NECKCHEST",
    ("neck", "chest", "abdomen"): "NECKCHESTABDOMEN",
    ("neck", "chest", "abdomen", "pelvis"): "NECKCHESTABDPELV",  # a code string has 16 characters
    ("chest", "abdomen"): "CHESTABDOMEN",
    ("chest", "abdomen", "pelvis"): "CHESTABDPELVIS",
    ("abdomen", "pelvis"): "ABDOMENPELVIS",
    ("head", "neck", "chest", "abdomen", "pelvis"): "WHOLEBODY",
    ("head", "neck", "chest", "abdomen", "pelvis", "thigh"): "WHOLEBODY",
}
"""Parts, superior to inferior -> the defined term of Body Part Examined (0018,0015), from DICOM
PS3.16, Annex L.
"""


@dataclass(frozen=True)
class Level:
    """A level of the body as scores know it: a landmark, or the border between two parts.

    score: where a curve passes it; a landmark's mean score, a border's threshold. std: standard
    deviation of the volumes' scores there, none of a single volume. volumes: how many labelled
    volumes show it. without: for each of them the score that the others alone give; empty where
    they give none. residuals_mm: in each, the distance from the label to where its curve passes
    that score.
    """

    score: float
    std: float | None
    volumes: int
    without: tuple[float, ...]
    residuals_mm: tuple[float, ...]


@dataclass(frozen=True)
class Regions:
    """Where body parts and landmarks lie on the scores of one weights file.

    weights_sha256: digest of those weights. parts: superior to inferior. borders: between them.
    landmarks: by name. scale: the landmarks that become positions 0 and 100. classifier: classifies
    slices by their features, in place of the borders. pairs_mm: for every ordered pair of labelled
    volumes and each landmark that both show, how far from the second volume's label its curve
    passes the score that the first has at its own label; increasing. axis: where the levels
    lie, on scores or on positions; those are in units of the score, and "score" stands for both in
    what follows.
    """

    weights_sha256: str
    parts: tuple[str, ...]
    borders: tuple[Level, ...]
    landmarks: Mapping[str, Level]
    scale: tuple[str, str] | None = None
    classifier: Classifier | None = None
    pairs_mm: tuple[float, ...] = ()
    axis: Axis = "score"

    def __post_init__(self) -> None:
        levels = [*self.borders, *self.landmarks.values()]
        if not levels:
            raise ValueError("regions need at least two parts or one landmark")
        for name in (*self.parts, *self.landmarks):
            check_name(name)
        if len(self.borders) != max(0, len(self.parts) - 1) or len(set(self.parts)) != len(
            self.parts
        ):
            raise ValueError(f"{len(self.borders)} borders between the parts {list(self.parts)}")
        if both := sorted(
            set(self.landmarks) & {*self.parts, *(f"{a}/{b}" for a, b in pairwise(self.parts))}
        ):
            raise ValueError(
                f"{both[0]!r} is the name of a landmark and of a part or border; give the "
                "landmark another one"
            )
        if (
            not all(math.isfinite(level.score) for level in levels)
            or (np.diff(self.thresholds) <= 0).any()
        ):
            raise ValueError(
                "scores of borders and landmarks must be finite, and those of borders increase"
            )
        if any(
            len(level.without) != len(level.residuals_mm)
            or not min(level.residuals_mm, default=0) >= 0
            for level in levels
        ):
            raise ValueError("each volume needs a score without it and a residual of at least 0 mm")
        if self.classifier is not None and len(self.classifier.offsets) != len(self.parts):
            raise ValueError(
                f"a classifier of {len(self.classifier.offsets)} parts for {len(self.parts)}"
            )
        if self.scale is not None:
            if absent := [name for name in self.scale if name not in self.landmarks]:
                raise ValueError(
                    f"the scale needs two landmarks, {absent[0]!r} is none; there are: "
                    f"{', '.join(self.landmarks) or 'none'}"
                )
            zero, hundred = (self.landmarks[name].score for name in self.scale)
            if zero >= hundred:
                have = (
                    f"have the same score {zero:.4f}"
                    if zero == hundred
                    else f"have scores {zero:.4f} and {hundred:.4f}, which fall"
                )
                raise ValueError(
                    f"the scale's landmarks {' and '.join(self.scale)} {have}; give two others, "
                    "from superior to inferior"
                )

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Scores of the borders, increasing."""
        return np.array([border.score for border in self.borders])

    def levels(self) -> dict[str, Level]:
        """Landmarks and borders by name, from superior to inferior; a border is called
        `chest/abdomen`.
        """
        borders = {
            f"{a}/{b}": level
            for (a, b), level in zip(pairwise(self.parts), self.borders, strict=True)
        }
        return dict(sorted({**self.landmarks, **borders}.items(), key=lambda item: item[1].score))

    def columns(
        self, scores: NDArray[np.floating], features: NDArray[np.float32] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Columns of slices.parquet: `part`, each slice by itself, and `position` if there is a
        scale.

        scores: `[n]`. features: `[n, 512]`, which a classifier needs.
        """
        found: dict[str, NDArray[Any]] = {}
        if self.classifier:
            assert features is not None
            found["part"] = self.classifier.classify(features, self.parts)
        elif self.parts:
            found["part"] = classify(scores, self.thresholds, self.parts)
        if self.scale:
            zero, hundred = (self.landmarks[name].score for name in self.scale)
            found["position"] = 100 * (np.asarray(scores, np.float64) - zero) / (hundred - zero)
        return found

    def covered(self, scores: NDArray[np.floating], z_mm: NDArray[np.floating]) -> tuple[str, ...]:
        """The parts that a series covers: those with at least `COVERED_MM` between the passages of
        their borders.

        Passages, not counts of slices, since a few wrong slices elsewhere must not make a part.
        Where no part is as long (a short series), it is the one of most slices.
        """
        ends = [
            z_mm[0],
            *(passage(scores, z_mm, level).z_mm for level in self.thresholds),
            z_mm[-1],
        ]
        found = tuple(
            part
            for part, length in zip(self.parts, np.diff(ends), strict=True)
            if length >= COVERED_MM
        )
        slices = classify(scores, self.thresholds, self.parts).tolist()
        return found or (max(self.parts, key=slices.count),)

    def summary(self, scores: NDArray[np.floating], z_mm: NDArray[np.floating]) -> dict[str, str]:
        """Columns of series.csv: the parts that are covered, and their term in DICOM, empty where
        it has none.
        """
        if not self.parts:
            return {}
        parts = self.covered(scores, z_mm)
        term = BODY_PART_EXAMINED.get(tuple(part.lower() for part in parts), "")
        return {"parts": "; ".join(parts), "body_part_examined": term}

    def check(self, weights_sha256: str) -> None:
        """Raise `ValueError` where scores come from other weights than the regions."""
        if weights_sha256 != self.weights_sha256:
            raise ValueError(
                f"the regions were made with weights {self.weights_sha256[:12]}, these are "
                f"{weights_sha256[:12]}, which score differently; run calibrate on scores of these "
                "weights"
            )

    def level(self, name: str, *, upper: bool) -> Level | None:
        """The landmark or border of a name; of a part, its upper or lower border.

        None for an outer border of the outermost parts, and for other names.
        """
        if name in self.parts:
            at = self.parts.index(name) + (not upper)
            return self.borders[at - 1] if 0 < at < len(self.parts) else None
        return self.levels().get(name)

    def level_score(self, name: str, *, upper: bool) -> float:
        """The score of a landmark, a border, the upper or lower border of a part, or a number.

        The outer borders of the outermost parts are infinite. Raises `ValueError` for other names,
        with those that are known.
        """
        if level := self.level(name, upper=upper):
            return level.score
        if name in self.parts:
            return -math.inf if upper else math.inf
        if (score := number(name)) is None:
            allowed = ", ".join([*self.levels(), *self.parts])
            raise ValueError(f"unknown level {name!r}; allowed: {allowed}; or a number")
        return score

    def described(self) -> dict[str, Any]:
        """Plain values under the keys that files hold.

        The axis is left out where it is the score, so that files and digests stay what they were.
        """
        values = asdict(self)
        if self.axis == "score":
            del values["axis"]
        return values

    def sha256(self) -> str:
        """Digest of what the regions say, not of their file."""
        return values_sha256(self.described())

    def save(self, path: str | Path) -> Path:
        """Write the file, whole or not at all. Raises `ValueError` where it exists."""
        path = Path(path).absolute()
        if path.exists():
            raise ValueError(f"{path} exists; give a new `out`")
        text = json.dumps({"format": FORMAT, **self.described()}, indent=1, allow_nan=False)
        write_text(path, text + "\n")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Regions:
        """Read the file, or that of the package (`released`).

        Raises `ValueError` where there is none, it is damaged, or a newer version wrote it.
        """
        from ...weights.common.shapes import difference
        from .stored import Stored  # here, because pydantic takes a while to import

        path = resolve(path, REGIONS)
        check_there(path)
        try:
            found = doors.read_json(path, dict[str, Any], "calibrate writes one")
            version = found["format"]
        except (ValueError, KeyError):
            raise ValueError(f"{path}: not a regions file; calibrate writes one") from None
        if version != FORMAT:
            raise ValueError(
                f"{path}: regions format {version!r}, this version reads {FORMAT}; upgrade "
                "ubr-pretrain"
            )
        damaged = f"{path}: damaged regions file ({{}}); run calibrate again"
        if differs := difference(found, Stored):
            raise ValueError(damaged.format(differs))
        scale, classifier = found["scale"], found.get("classifier")
        try:
            return cls(
                found["weights_sha256"],
                tuple(found["parts"]),
                tuple(map(_level, found["borders"])),
                {name: _level(level) for name, level in found["landmarks"].items()},
                None if scale is None else (scale[0], scale[1]),
                None if classifier is None else _classifier(classifier),
                tuple(map(float, found.get("pairs_mm", ()))),
                found.get("axis", "score"),
            )
        except ValueError as error:
            raise ValueError(damaged.format(error)) from None


def number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _level(found: Mapping[str, Any]) -> Level:
    return Level(
        float(found["score"]),
        None if found["std"] is None else float(found["std"]),
        found["volumes"],
        tuple(map(float, found["without"])),
        tuple(map(float, found["residuals_mm"])),
    )


def _classifier(found: Mapping[str, Any]) -> Classifier:
    return Classifier(
        tuple(tuple(map(float, row)) for row in found["weights"]),
        tuple(map(float, found["offsets"])),
    )
