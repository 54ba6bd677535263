"""Computed CT of made-up patients from head to thigh, with the truth known for every slice.

Reading order: `scan` (what is drawn and how it is imaged), `patient` (how people differ), `shapes`
(what is painted with), `anatomy`, `organs`, `skeleton` (what is painted).
"""

from .patient import LEVELS, Patient
from .scan import REGIONS, Case, Phantom, Scan, draw, image, make

__all__ = ["LEVELS", "REGIONS", "Case", "Patient", "Phantom", "Scan", "draw", "image", "make"]
