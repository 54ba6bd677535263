"""Rules of the product that can be taken away, to see that a fuzz finds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A rule.

    take_away: changes the modules of this process. doors: those that it guards. mutations: what it
    guards against.
    """

    take_away: Callable[[], None]
    doors: tuple[str, ...]
    mutations: tuple[str, ...] = ()


RULES: dict[str, Rule] = {}
