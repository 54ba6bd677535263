"""Which slices of one grid are one stack: phases and acquisitions under one series UID.

Two stacks lie in the same place, or one lies between the other's slices. What tells them apart is
looked for in what the headers say (`Slice.phase`, then the instance number) and at last in the
positions: slices at 0, 1, 4, 5, 8, 9 mm are two stacks 1 mm apart. File names play no part.

Slabs that follow each other (a gantry that steps, a scan in two parts) stay one stack, whatever
their headers say.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .headers import LEAST, Slice

SAME_MM = 0.01
"""Slices closer than this are at the same position."""
SWEEP = 5
"""Fewer slices in a row are no sweep; chance puts three in a row."""
EVEN = 0.05
"""Steps that differ by less than this share are equal."""

Float = NDArray[np.float64]


def split(slices: Sequence[Slice]) -> list[list[int]]:
    """The stacks that slices of one grid make up, as indices. Most often it is one."""
    at = np.array([s.at() for s in slices])
    done: list[list[int]] = []
    todo = [list(range(len(slices)))]
    while todo:
        stack = todo.pop()
        parts = _parts([slices[k] for k in stack], at[stack])
        if len(parts) == 1:
            done.append(stack)
        else:
            todo += [[stack[k] for k in part] for part in parts]
    return done


def rank(one: Slice) -> tuple[Any, ...]:
    """What decides between slices at one position: the lowest stays."""
    return one.acquisition, one.instance, one.phase


def _parts(slices: Sequence[Slice], at: Float) -> list[list[int]]:
    """The slices by the first property that tells stacks apart, or all in one part."""
    instances = [s.instance for s in slices]
    shared = len(np.unique(np.round(at / SAME_MM))) < len(at)
    ways = [list(values) for values in zip(*(s.phase for s in slices), strict=True)]
    if shared:
        ways.append([str(k) for k in instances])
    elif not _is_even(at):
        ways += [_lattice(instances, at), _sweeps(instances, at)]
    for values in ways:
        parts = _told_apart(values, at, shared)
        stacks = [part for part in parts if len(part) >= LEAST]
        if sum(not _repeats(part, stacks, slices, at) for part in stacks) > 1:
            return parts
    return [list(range(len(slices)))]


def _repeats(
    part: list[int], others: Sequence[list[int]], slices: Sequence[Slice], at: Float
) -> bool:
    """Whether some slices were taken again: few of another stack's, at its places, and later.

    They are duplicates, which are dropped, and no phase.
    """
    return any(
        2 * len(part) < len(other)
        and all(np.abs(at[other] - at[k]).min() < SAME_MM for k in part)
        and min(rank(slices[k]) for k in part) > max(rank(slices[k]) for k in other)
        for other in others
    )


def _told_apart(values: Sequence[str], at: Float, shared: bool) -> list[list[int]]:
    """Slices with equal values together, and with classes that do not lie in their place.

    A class of one slice each says nothing unless slices share positions.

    The first class at each place are one stack, the second another: so it is where all stacks have
    as many classes, and where few slices were taken again. Else one phase is shorter, and what is
    first at a place may be any phase. Then passes along the body are the stacks. If they are more
    than lie in one place, only classes that both ways put together stay together.
    """
    by_value: dict[str, list[int]] = defaultdict(list)
    for k, value in enumerate(values):
        by_value[value].append(k)
    if len(by_value) == 1 or (len(by_value) == len(values) and not shared):
        return []
    classes = [by_value[value] for value in sorted(by_value, key=_in_order)]
    places = [np.sort(at[members]) for members in classes]
    stacks = _by_place(places)
    if len({len(stack) for stack in stacks}) > 1 and not _few_again(stacks, places):
        passes = _by_pass(places)
        if 1 < len(passes) <= len(stacks):
            stacks = passes
        else:
            stacks = [sorted({*stack} & {*one}) for stack in stacks for one in passes]
    return [[k for c in stack for k in classes[c]] for stack in stacks if stack]


def _by_place(places: Sequence[Float]) -> list[list[int]]:
    """Classes by how many before them lie in their place. Each is in the first stack free there."""
    stacks: list[list[int]] = []
    for c, here in enumerate(places):
        for stack in stacks:
            if not any(_in_one_place(here, places[other]) for other in stack):
                stack.append(c)
                break
        else:
            stacks.append([c])
    return stacks


def _few_again(stacks: Sequence[list[int]], places: Sequence[Float]) -> bool:
    """Whether the stacks after the first are few slices, and were taken after all of it."""
    first, *others = [sum(len(places[c]) for c in stack) for stack in stacks]
    in_order = [c for stack in stacks for c in stack] == list(range(len(places)))
    return in_order and all(2 * other < first for other in others)


def _by_pass(places: Sequence[Float]) -> list[list[int]]:
    """Classes by the pass along the body, in their order, that they were taken in.

    A pass that goes over few slices of the latest stack again goes on with it: parts of a scan
    overlap by a slice or two.
    """
    stacks: list[list[int]] = []
    for one in _passes(places):
        again = sum(
            len(places[c])
            for c in one
            if stacks and any(_in_one_place(places[c], places[other]) for other in stacks[-1])
        )
        if stacks and again < LEAST:
            stacks[-1] += one
        else:
            stacks.append(one)
    return stacks


def _passes(places: Sequence[Float]) -> list[list[int]]:
    """Runs of classes that go on in one direction along the body.

    Where they turn after a leap, the class between belongs to what is nearer: a pass down to the
    neck may be followed by one up from the pelvis.
    """
    middle = [float(here.mean()) for here in places]
    passes = [[0]]
    for c in range(1, len(places)):
        ongoing = passes[-1]
        step, leap = middle[c] - middle[c - 1], middle[c - 1] - middle[max(c - 2, 0)]
        if _in_one_place(places[c], places[c - 1]):
            passes.append([c])
        elif len(ongoing) < 2 or step * (middle[ongoing[1]] - middle[ongoing[0]]) > 0:
            ongoing.append(c)
        elif len(ongoing) > 2 and abs(leap) > abs(step):
            passes.append([ongoing.pop(), c])
        else:
            passes.append([c])
    return passes


def _in_one_place(a: Float, b: Float) -> bool:
    """Whether most slices of the smaller class lie within the larger one. Both are sorted.

    A stack reaches almost to where its next slice would be.
    """
    small, large = sorted((a, b), key=len)
    beyond = 0.9 * float(np.median(np.diff(large))) if len(large) >= LEAST else SAME_MM
    low, high = large[0] - beyond, large[-1] + beyond
    if small[-1] < low or small[0] > high:
        return False
    return float(((small >= low) & (small <= high)).mean()) > 0.5


def _in_order(text: str) -> tuple[tuple[float, ...], str]:
    """Sorts numbers within texts by their value."""
    return tuple(float(n) for n in re.findall(r"\d+(?:\.\d+)?", text)), text


def _is_even(at: Float) -> bool:
    steps = np.diff(np.sort(at))
    return len(steps) < 2 or float(np.ptp(steps)) <= EVEN * float(np.median(steps))


def _sweeps(instances: Sequence[int], at: Float) -> list[str]:
    """The number of each slice's sweep along the body, in the order of the instance numbers.

    One sweep where the order shows no others that are even stacks.
    """
    order = sorted(range(len(at)), key=lambda k: (instances[k], at[k]))
    sweeps = [[order[0]]]
    for before, k in pairwise(order):
        ongoing = sweeps[-1]
        forth = len(ongoing) < 2 or (at[k] > at[before]) == (at[ongoing[1]] > at[ongoing[0]])
        sweeps[-1].append(k) if forth else sweeps.append([k])
    if any(len(sweep) < SWEEP or not _is_even(at[sweep]) for sweep in sweeps):
        return ["0"] * len(at)
    number = {k: str(n) for n, sweep in enumerate(sweeps) for k in sweep}
    return [number[k] for k in range(len(at))]


def _lattice(instances: Sequence[int], at: Float) -> list[str]:
    """Which of two even stacks each slice belongs to, where positions alternate between them.

    One stack where the instance numbers do not follow the places in both.
    """
    one = ["0"] * len(at)
    positions = np.sort(at)
    period = float(np.median(positions[2:] - positions[:-2])) if len(at) >= 2 * LEAST else 0.0
    if period <= SAME_MM:
        return one
    rest = ((at - positions[0]) / period + EVEN) % 1
    second = rest > 2 * EVEN
    others = rest[second]
    if not len(others) or np.ptp(others) > 2 * EVEN or abs(others.mean() - EVEN - 0.5) < EVEN:
        return one
    for stack in (np.flatnonzero(second), np.flatnonzero(~second)):
        numbers = np.diff([instances[k] for k in stack[np.argsort(at[stack])]])
        if numbers.min(initial=0) < 0 < numbers.max(initial=0):
            return one
    return ["1" if is_second else "0" for is_second in second]
