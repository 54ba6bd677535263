"""Fuzz test: damage every kind of file that a verb reads, and judge how the verb reacts.

    python -m benchmarks.fuzz --work /scratch/fuzz [--each 40] [--doors store] [--jobs 2]
    python -m benchmarks.fuzz --work /scratch/fuzz --case "store rows/wild/17"
    python -m benchmarks.fuzz --work /scratch/fuzz --without each

A case is one mutation of one file from a small set of valid files, and the command that reads it.
A case can be repeated from the seed and its name. Rows go to results/fuzz.csv, one per door (a kind
of file and a command that reads it). A case ends in one of:

same       the command succeeded, and all that it made equals what it makes of the sound file
said       it succeeded, made something else, and said that something is wrong, which it does
           not say of the sound file
refused    exit status 2 and one line
plausible  it succeeded, silently made something else, and nothing could have told: a sound file may
           hold such a value (`plausible`); or the format has no checksum, and the mutation kept
           its size or left text that can be read

Everything else is found: a traceback, a hang, a crash, an answer of several lines, control
characters on the terminal, code that ran, a name outside the folder, and whatever is silently
different although a checksum or a rule could have told. What is found is printed with the case, and
the exit status is 1.

With --without one of `rules.RULES` is taken away, or with "each" one after the other, and the cases
that it concerns are run until something is found. The exit status is 1 if nothing is. Rows go to
results/fuzz_rules.csv.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common import forked, small_world, wild
from benchmarks.common.commandline import new_parser
from benchmarks.common.doors import DOORS, Door
from benchmarks.common.machine import provenance
from benchmarks.common.mutations import AS_TEXT, BLIND
from benchmarks.common.plausible import is_plausible
from benchmarks.common.rows import append
from benchmarks.common.rules import RULES
from benchmarks.common.wild import WILD, payload

ENDS = ("same", "said", "refused", "plausible")
LONGEST_LINE = 2048
TROUBLED = re.compile(
    "damaged|missing|cannot|could not|unread|warning|note:|skipped|too few|"
    "(fits?|match(es)?) no|(is|are) not"
)
"""Words of a line that tells of trouble."""
SAME_SIZE = ("bit", "bits", "bits of the head", "swapped", "zeroed")
"""Mutations that keep the size of a file."""


@dataclass(frozen=True)
class Case:
    """A door, a mutation, and a number that makes the rest."""

    door: Door
    mutation: str
    number: int

    def __str__(self) -> str:
        return f"{self.door.name}/{self.mutation}/{self.number}"


@dataclass(frozen=True)
class Sound:
    """What a door's command does with sound files."""

    answer: dict[str, str]
    ran: forked.Ran


def main(argv: Sequence[str] | None = None) -> None:
    """Damage, run, judge, append rows."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--each", type=int, default=40, help="cases for each door")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--doors", default="", help="only those whose name has this part")
    parser.add_argument("--case", help="only this one; its folder stays in WORK")
    parser.add_argument("--without", choices=["each", *RULES], help="take a rule away")
    parser.add_argument("--show", choices=ENDS, help="print the cases that ended so, too")
    parser.add_argument("--jobs", type=int, default=1, help="commands at a time")
    options = parser.parse_args(argv)
    forked.load_everything()
    if options.without:
        names = list(RULES) if options.without == "each" else [options.without]
        return take_away(names, options.work.absolute(), options.each, options.seed, options.jobs)
    if options.case:
        name, mutation, number = options.case.rsplit("/", 2)
        doors = [DOORS[name]]
    else:
        doors = [door for name, door in DOORS.items() if options.doors in name]
    fuzz = Fuzz(options.work.absolute(), doors, options.seed)
    if options.case:
        print(*fuzz.judged([Case(doors[0], mutation, int(number))], 1).values())
        return
    rows, found = [], 0
    for door in doors:
        ends = fuzz.judged(cases_of(door, options.each), options.jobs)
        counts = Counter(ends.values())
        others = sum(count for end, count in counts.items() if end not in ENDS)
        found += others
        columns = {**{end: counts[end] for end in ENDS}, "found": others}
        print(f"{door.name:28}", *(f"{k} {v:3}" for k, v in columns.items()), flush=True)
        for case, end in ends.items():
            if end not in ENDS or end == options.show:
                print(f"    {case}: {end}", flush=True)
        about = {"door": door.name, "cases": len(ends)}
        rows.append({**provenance("", options.seed), **about, **columns})
    print(f"{sum(len(cases_of(door, options.each)) for door in doors)} cases, {found} found")
    print(f"rows in {append('fuzz', rows)}")
    sys.exit(int(found > 0))


def take_away(names: Sequence[str], work: Path, each: int, seed: int, jobs: int) -> None:
    """Run the cases of each rule without it, until one is found. Exits with 1 if none is."""
    rows, green = [], []
    for name in names:
        rule = RULES[name]
        doors = [DOORS[door] for door in rule.doors]
        fuzz = Fuzz(work, doors, seed, rule.take_away)
        ends: dict[Case, str] = {}
        for n in range(each):
            mutation = rule.mutations[n % len(rule.mutations)]
            ends |= fuzz.judged([Case(door, mutation, n) for door in doors], jobs)
            if any(end not in ENDS for end in ends.values()):
                break
        others = {case: end for case, end in ends.items() if end not in ENDS}
        green += [] if others else [name]
        said = [f"{case}: {end}" for case, end in others.items()] or ["NOTHING FOUND"]
        print(f"{name:32} {len(ends):3} cases; {said[0]}", flush=True)
        about = {"rule": name, "cases": len(ends), "found": len(others)}
        rows.append({**provenance("", seed), **about})
    print(f"rows in {append('fuzz_rules', rows)}")
    sys.exit(int(bool(green)))


def cases_of(door: Door, count: int) -> list[Case]:
    """Cases of a door: its mutations in turn."""
    names = mutations_of(door)
    return [Case(door, names[n % len(names)], n) for n in range(count)]


def mutations_of(door: Door) -> list[str]:
    """The names of the mutations for a door; those that know its format come more often."""
    names = [*BLIND, "another"]
    if door.form:
        names = [one for pair in zip(names, ["wild"] * len(names), strict=True) for one in pair]
    return [*names, *(AS_TEXT if door.text else ()), *(["payload"] * 2 if door.pickled else ())]


class Fuzz:
    """The sound world, and the judging of cases against it.

    Args:
        work: a folder to work in.
        doors: those of the cases to come.
        seed: of all cases.
        before: called in the process of each command before it begins.
    """

    def __init__(
        self, work: Path, doors: Iterable[Door], seed: int, before: Callable[[], None] | None = None
    ) -> None:
        self.work, self.seed, self._before = work, seed, before
        self.sound = work / "sound"
        small_world.make(self.sound, ["nii", *(name for door in doors for name in door.inputs)])
        self._sound: dict[str, Sound] = {}
        self._plausible: dict[Case, bool] = {}

    def judged(self, cases: Sequence[Case], jobs: int) -> dict[Case, str]:
        """How each case ended."""
        ends: dict[Case, str] = {}
        free = deque(self.work / f"job-{n}" / "case" for n in range(jobs))
        running: deque[tuple[Case, Path, forked.Running]] = deque()

        def finish() -> None:
            ended = running.popleft()
            ends[ended[0]] = self._judge(*ended)
            free.append(ended[1])

        for case in cases:
            self._sound_of(case.door)
            if not free:
                finish()
            if started := self._start(case, free[0]):
                running.append((case, free.popleft(), started))
            else:
                ends[case] = "same"
        while running:
            finish()
        return ends

    def _sound_of(self, door: Door) -> Sound:
        if door.name not in self._sound:
            folder = self.work / "sound-job" / "case"
            door.furnish(self.sound, folder)
            ran = forked.run(door.words.split(), folder, before=self._before)
            if ran.status:
                raise RuntimeError(f"{door.name}, nothing damaged: {ran}")
            self._sound[door.name] = Sound(door.answered(folder), ran)
        return self._sound[door.name]

    def _start(self, case: Case, folder: Path) -> forked.Running | None:
        """Damage a file and start the command. None if the mutation changes nothing."""
        rng = np.random.default_rng([self.seed, zlib.crc32(str(case).encode())])
        targets = case.door.furnish(self.sound, folder)
        target = targets[int(rng.integers(len(targets)))]
        data = target.read_bytes()
        if case.mutation == "another":
            damaged = self._other(case.door, target, rng)
        else:
            named = {**BLIND, **AS_TEXT, "payload": payload, "wild": WILD.get(case.door.form)}
            change = named[case.mutation]
            assert change is not None
            wild.CHANGED.clear()
            damaged = change(data, rng)
            self._plausible[case] = all(is_plausible(*one) for one in wild.CHANGED)
        if damaged == data:
            return None
        target.write_bytes(damaged)
        return forked.start(case.door.words.split(), folder, before=self._before)

    def _other(self, door: Door, target: Path, rng: np.random.Generator) -> bytes:
        """A sound file of another kind; or one that knows its place, as the files of a store do."""
        names = [*door.inputs, *small_world.SCANS]
        files = [path for name in names for path in sorted((self.sound / name).rglob("*.*"))]
        others = [
            path
            for path in files
            if path.is_file()
            and (path.suffix != target.suffix or path.parent.name in ("series", "working"))
        ]
        return others[int(rng.integers(len(others)))].read_bytes()

    def _may_be_silent(self, case: Case) -> bool:
        """Whether nothing could have told the damage: see the program's text."""
        if case.mutation == "wild":
            return self._plausible[case]
        return not case.door.checked and (case.door.text or case.mutation in SAME_SIZE)

    def _judge(self, case: Case, folder: Path, running: forked.Running) -> str:
        ran, sound = running.wait(), self._sound_of(case.door)
        if trouble := trouble_of(ran, folder):
            return trouble
        if ran.status:
            return "refused"
        answer = case.door.answered(folder)
        is_same = answer == sound.answer and (answer or ran.out == sound.ran.out)
        if is_same:
            return "same"
        if not case.door.spoken and is_said(sound.ran, ran):
            return "said"
        if self._may_be_silent(case):
            return "plausible"
        return f"SILENT: {sorted(set(answer.items()) ^ set(sound.answer.items()))[:2]}"


def trouble_of(ran: forked.Ran, folder: Path) -> str:
    """What is wrong with how a command ended, whatever was given to it."""
    lines = [line for line in ran.err.splitlines() if line.strip() and ": note: " not in line]
    last = lines[-1][:200] if lines else ""
    if ran.hung:
        return "HANG"
    if (folder / "executed").exists():
        return "CODE RAN"
    if ran.status < 0:
        return f"DIED by signal {-ran.status}"
    if "Traceback (most recent call last)" in ran.err or ran.status not in (0, 2):
        return f"TRACEBACK, status {ran.status}: {last}"
    if ran.status == 2 and len(lines) != 1:
        return f"{len(lines)} LINES: {lines[:1]} ... {last}"
    if ran.status == 2 and len(lines[0]) > LONGEST_LINE:
        return f"A LINE OF {len(lines[0])} characters"
    if control := re.search(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e]", ran.out + ran.err):
        return f"CONTROL CHARACTER {control[0]!r} on the terminal"
    outside = [path.name for path in folder.parent.iterdir()]
    if set(outside) - {"case", "case.said"}:
        return f"OUTSIDE: {outside}"
    return ""


def is_said(sound: forked.Ran, ran: forked.Ran) -> bool:
    """Whether a command says that something is wrong with a file which it does not say of sound
    files: a series more is left out, or a line of other words speaks of damage.
    """
    known = set(_words(sound.out + sound.err))
    new = [line for line in _words(ran.out + ran.err) if line not in known]
    return _left_out(ran) != _left_out(sound) or any(TROUBLED.search(line) for line in new)


def _left_out(ran: forked.Ran) -> list[str]:
    return re.findall(r"left out +(\d+)", ran.out)


def _words(text: str) -> Iterator[str]:
    yield from (re.sub(r"[\d.,]+", "#", line).strip() for line in text.splitlines())


if __name__ == "__main__":
    main()
