"""Synthetic CT of made-up patients from head to thigh, with the truth known for every slice.

Reading order: `scan` (what is drawn and how it is imaged), `patient` (how people differ), `shapes`
(what is painted with), `anatomy`, `organs` (`abdomen`, `chest`, `head`), `skeleton` (what is
painted), `forms` (one phantom on disk), `files` (many).
"""

from .patient import LEVELS, Patient
from .scan import REGIONS, Acquisition, Case, Phantom, draw, image, make

__all__ = [
    "LEVELS",
    "REGIONS",
    "Acquisition",
    "Case",
    "Patient",
    "Phantom",
    "draw",
    "image",
    "make",
]
