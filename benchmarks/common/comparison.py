"""Compare starts from the rows of `benchmarks.starts`: differences of recall with intervals.

Patients and seeds are drawn anew together, the same ones for both starts of a difference. So the
uncertainty is that of other patients and of other trainings of the detector, and of its
pretraining where each seed has one. It does not contain what is drawn once: the scans that were
learned from, and a pretraining that all seeds share.

p is twice the share of draws on the other side of 0, and no smaller than a sign test of as many
patients allows, 2 / 2^patients. Of equal starts with eight patients and five seeds it falls below
0.05 in 5 to 10 %, the more the less patients are alike (`equal_starts.csv`): resampling so few is a
little optimistic. With one seed or one patient there is no interval.

Holm's method corrects p for all differences of an experiment (the same scans and length of
training) that answer one question: which start is better, over shares of the labels and UBR
trainings; or what the positions of slices bring to a detector that starts as "ubr". Other
experiments do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

ORDER = ("random", "ubr", "imagenet", "imagenet+ubr", "ubr, position", "ubr, shuffled position")
"""The project's own starts; files that are compared beside them come after, by name."""
ALIKE = ("data_sha256", "config", "backbone", "intensity")
"""Columns that are the same in all rows of an experiment."""
DRAWS = 5000
LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """Recall of `b` minus that of `a` at a share of the labels, with its 95 % interval.

    `p` is before and `corrected` after correction. `pretraining` names the UBR training of the
    starts; it is empty if neither has one.
    """

    pretraining: str
    share: float
    a: str
    b: str
    seeds: int
    patients: int
    recall_a: float
    recall_b: float
    value: float
    low: float
    high: float
    p: float
    corrected: float


def differences(rows: Iterable[Mapping[str, str]]) -> list[Difference]:
    """Every pair of starts at every share, over the seeds that both have.

    UBR trainings are compared separately, and corrected together for each question.

    Raises:
        ValueError: the rows are of several configurations.
    """
    rows = list(rows)
    check_one_configuration(rows)
    found = [_difference(*pair) for pair in _pairs(rows)]
    return [
        one
        for of_positions in (False, True)
        for one in _holm([d for d in found if has_position(d.b) == of_positions])
    ]


def moments(rows: Iterable[Mapping[str, str]]) -> dict[str, list[Mapping[str, str]]]:
    """Rows of `starts` by the moment of training that they are of: a quarter of the steps, its end.

    A moment without rows is left out.
    """
    found: dict[str, list[Mapping[str, str]]] = {"a quarter of the steps": [], "all steps": []}
    for row in rows:
        found["all steps" if row["step"] == row["steps"] else "a quarter of the steps"].append(row)
    return {when: of_moment for when, of_moment in found.items() if of_moment}


def null_check(rows: Iterable[Mapping[str, str]]) -> tuple[int, int]:
    """How often equal starts are called different.

    The names of two starts are exchanged in some seeds, in every way there is. Returns how many of
    these comparisons give an uncorrected p below 5 %, and how many there were.
    """
    different = tried = 0
    for pretraining, share, a, b, one, other in _pairs(list(rows)):
        for signs in product((False, True), repeat=len(one) - 1):
            if any(signs):  # the first seed keeps its names: all exchanged is none exchanged
                swapped = np.array([False, *signs])[:, None, None]
                mixed = np.where(swapped, other, one), np.where(swapped, one, other)
                drawn = _difference(pretraining, share, a, b, *mixed, draws=500)
                different += drawn.p < LEVEL
                tried += 1
    return different, tried


def as_text(found: Sequence[Difference]) -> str:
    """Differences as a table in plain text."""
    if not found:
        return "no two starts have rows of the same seed"
    lines = [
        f"{'labels':>7}  {'difference':<40}{'seeds':>6}{'recall@5 %':>14}"
        f"{'difference (95 %)':>26}{'p':>9}{'corrected':>11}"
    ]
    for pretraining in sorted({d.pretraining for d in found}):
        lines += [f"UBR of {pretraining}"] if pretraining else []
        for d in (one for one in found if one.pretraining == pretraining):
            interval = f"{100 * d.value:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"
            recalls = f"{100 * d.recall_a:.1f}, {100 * d.recall_b:.1f}"
            of = f"{100 * d.share:>5.0f} %  {d.b + ' - ' + d.a:<40}{d.seeds:>6}"
            lines.append(f"{of}{recalls:>14}{interval:>26}{d.p:>9.4f}{d.corrected:>11.4f}")
    counts = [
        sum(has_position(d.b) == of_positions for d in found) for of_positions in (False, True)
    ]
    together = ", ".join(
        f"{n} of {what}" for n, what in zip(counts, ("starts", "positions"), strict=True) if n
    )
    about = (
        f"{found[0].patients} patients; drawn anew {DRAWS} times; differences of this "
        f"experiment corrected for by Holm: {together}"
    )
    return "\n".join([*lines, about])


def check_one_configuration(rows: Sequence[Mapping[str, str]]) -> None:
    """Check that rows differ in seed, share, start and pretraining, and in nothing else.

    Raises:
        ValueError: they differ in something else.
    """
    for column in ALIKE:
        values = sorted({row[column] for row in rows})
        if len(values) > 1:
            raise ValueError(
                f"rows of different {column} cannot be compared: {', '.join(values)}; choose one"
            )
    weights: dict[tuple[str, ...], str] = {}
    for row in rows:
        seen = weights.setdefault(
            tuple(row[column] for column in ("share", "start", "pretraining", "seed")),
            row["weights"],
        )
        if seen != row["weights"]:
            raise ValueError(
                f"rows of the start {row['start']} are of the weights {seen} and "
                f"{row['weights']}; move one away"
            )


def experiments(rows: Iterable[Mapping[str, str]]) -> dict[str, list[Mapping[str, str]]]:
    """The rows of each experiment, which are compared with each other, by its name."""
    found: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in rows:
        found.setdefault(tuple(row[column] for column in ALIKE), []).append(row)
    names = {key: f"{mine[0]['data']}, {mine[0]['steps']} steps" for key, mine in found.items()}
    twice = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {
        names[key] + (f" ({', '.join(key)})" if names[key] in twice else ""): mine
        for key, mine in found.items()
    }


def by_pretraining(rows: Iterable[Mapping[str, str]]) -> dict[str, list[Mapping[str, str]]]:
    """The rows of each UBR training, each with the rows that have none.

    Without any UBR training, all rows are under an empty name.
    """
    rows = list(rows)
    names = sorted({row["pretraining"] for row in rows} - {""}) or [""]
    return {name: [row for row in rows if row["pretraining"] in ("", name)] for name in names}


def rank(start: str) -> tuple[int, str]:
    """The place of a start among others."""
    return (ORDER.index(start) if start in ORDER else len(ORDER), start)


def has_position(start: str) -> bool:
    """Whether detectors are also given the positions of their slices."""
    return "position" in start


def _pairs(
    rows: Sequence[Mapping[str, str]],
) -> Iterator[tuple[str, float, str, str, NDArray[np.float64], NDArray[np.float64]]]:
    """Every two starts of a question at every share.

    Yields UBR training, share, names, and the counts of the seeds that both have, each
    `[seeds, patients, 2]`.
    """
    for share in sorted({float(row["share"]) for row in rows}):
        of_start: dict[tuple[int, str, str], list[Mapping[str, str]]] = {}
        for row in rows:
            if float(row["share"]) == share:
                key = *rank(row["start"]), row["pretraining"]
                of_start.setdefault(key, []).append(row)
        counts = {start: _counts(mine) for start, mine in sorted(of_start.items())}
        for first, second in combinations(counts, 2):
            (_, a, of_a), (_, b, of_b) = first, second
            seeds = sorted(counts[first].keys() & counts[second].keys())
            comparable = of_a == of_b or not of_a or not of_b  # else of two UBR trainings
            if has_position(a) or has_position(b):
                comparable = of_a == of_b and (a == "ubr" or has_position(a)) and has_position(b)
            if seeds and comparable:
                one, other = (
                    np.stack([counts[start][seed] for seed in seeds]) for start in (first, second)
                )
                yield of_a or of_b, share, a, b, one, other


def _counts(rows: Sequence[Mapping[str, str]]) -> dict[int, NDArray[np.float64]]:
    """By seed, `[patients, 2]`: lesions, and how many were found."""
    found: dict[int, dict[int, tuple[int, int]]] = {}
    for row in rows:
        found.setdefault(int(row["seed"]), {})[int(row["patient"])] = (
            int(row["lesions"]),
            int(row["found"]),
        )
    return {
        seed: np.array([patients[n] for n in sorted(patients)], np.float64)
        for seed, patients in found.items()
    }


def _difference(
    pretraining: str,
    share: float,
    a: str,
    b: str,
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    draws: int = DRAWS,
) -> Difference:
    """one, other: `[seeds, patients, 2]`."""
    seeds, patients = one.shape[:2]
    rng = np.random.default_rng(0)
    drawn_seeds, drawn_patients = (
        rng.integers(0, seeds, (draws, seeds)),
        rng.integers(0, patients, (draws, patients)),
    )

    def recall(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each draw; the last is that of all patients and seeds as they are."""
        chosen_patients = np.concatenate([drawn_patients, [np.arange(patients)]])
        by_seed = counts[:, chosen_patients].sum(2)  # [seeds, draws + 1, 2]
        shares = by_seed[..., 1] / by_seed[..., 0]
        chosen_seeds = np.concatenate([drawn_seeds, [np.arange(seeds)]])
        return np.array(np.take_along_axis(shares.T, chosen_seeds, axis=1).mean(1))

    before, after = recall(one), recall(other)
    drawn, value = (after - before)[:-1], float(after[-1] - before[-1])
    low, high = (float(v) for v in np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2]))
    p = min(
        1.0,
        max(2 / 2**patients, 2 * (1 + min((drawn <= 0).sum(), (drawn >= 0).sum())) / (draws + 1)),
    )
    if min(seeds, patients) == 1:
        low, high, p = float("-inf"), float("inf"), 1.0
    return Difference(
        pretraining,
        share,
        a,
        b,
        seeds,
        patients,
        float(before[-1]),
        float(after[-1]),
        value,
        low,
        high,
        float(p),
        float(p),
    )


def _holm(found: Sequence[Difference]) -> list[Difference]:
    """Multiply the smallest p by the number of differences, the next by one less, and so on.

    No corrected p is below that of a smaller p.
    """
    corrected, highest = dict[int, float](), 0.0
    for rank, i in enumerate(sorted(range(len(found)), key=lambda i: found[i].p)):
        highest = max(highest, min(1.0, found[i].p * (len(found) - rank)))
        corrected[i] = highest
    return [replace(one, corrected=corrected[i]) for i, one in enumerate(found)]
