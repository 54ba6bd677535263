"""Kill every verb that writes at 20 points and run it again; run two copies of it at once.

    python -m benchmarks.kills --work /scratch/kills [--verbs fit] [--moments 20]
    python -m benchmarks.kills --work /scratch/kills --pairs [--verbs fit] [--moments 10]

Rows go to results/kills.csv and results/pairs.csv, one for each verb. A moment is a file operation
of the command (`moments`), so the same moments come again in each run.

Killed: the command is killed with SIGKILL, every second time in the middle of a write, and
run again. All files must then be byte for byte those of an unbroken run, and no other name may
lie anywhere, hidden or temporary. A verb that does not replace a file may refuse in one line, if
what it made is there and whole.

Pairs: half of them held, half of them raced. Held: a command waits at a moment, while the same
command runs to its end; then the first goes on. Raced: both are started at once. One must end with
the files of one alone, the other be refused in one line, or find the work finished.

Any other outcome is printed, and the exit status is 1.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import forked, small_world
from benchmarks.common.commandline import new_parser
from benchmarks.common.doors import what_counts
from benchmarks.common.machine import provenance
from benchmarks.common.moments import Moments, spread, until
from benchmarks.common.rows import append
from benchmarks.common.small_world import TINY, TINY_DETECTOR

ENDS = ("equal", "refused")


@dataclass(frozen=True)
class Command:
    """A command that writes `out` or below it, and the parts of the sound world that it reads."""

    words: str
    inputs: tuple[str, ...] = ()


CROP = "crop nii/1.nii --weights run --regions regions.json --from dome --to crest"
USES = ("run", "regions.json")
VERBS = {
    "phantom": Command("ubr-pretrain phantom --out out --n 2 --size-px 32 --workers 1"),
    "phantom png": Command(
        "ubr-pretrain phantom --out out --n 2 --size-px 32 --form png --workers 1"
    ),
    "ingest": Command("ubr-pretrain ingest nii --store out --workers 1", ("nii",)),
    "fit": Command(f"ubr-pretrain fit store --out out {TINY.format(steps=4)}", ("store",)),
    "score": Command(
        "ubr-pretrain score run nii --out out --features --regions regions.json --workers 0 "
        "--device cpu",
        (*USES, "nii"),
    ),
    "audit": Command(
        "ubr-pretrain audit nii --out out --weights run --regions regions.json --workers 0 "
        "--device cpu",
        (*USES, "nii"),
    ),
    "select": Command("ubr-pretrain select audit --want abdomen --out out/a.csv", ("audit",)),
    "calibrate": Command(
        "ubr-pretrain calibrate scores labels.csv --out out/regions.json", ("scores", "labels.csv")
    ),
    "report": Command(
        "ubr-pretrain report scores --store store --out out/a.html", ("scores", "store")
    ),
    "montage": Command("ubr-pretrain montage store --out out", ("store",)),
    "crop": Command(f"ubr-pretrain {CROP} --out out/a.nii.gz", (*USES, "nii")),
    "level": Command(
        "ubr-pretrain level scores --series 5267 --index 7 --out out/a.csv", ("scores",)
    ),
    "annotate": Command(
        "ubr-pretrain annotate dicoms --weights run --regions regions.json --out out --copies",
        (*USES, "dicoms"),
    ),
    **{
        f"export {to}": Command(f"ubr-pretrain export run --to {to} --out out/{name}", ("run",))
        for to, name in {"timm": "hub", "detectron2": "a.pkl", "onnx": "a.onnx"}.items()
    },
    "check": Command(
        "ubr-detect check lesions --manifest out/a.json --coco out/coco --workers 1", ("lesions",)
    ),
    "plant": Command(
        "ubr-detect plant nii --out out --patients patients.csv --per-scan 3",
        ("nii", "patients.csv"),
    ),
    "plant whole": Command(
        "ubr-detect plant nii --out out --patients patients.csv --per-scan 2 --whole",
        ("nii", "patients.csv"),
    ),
    "train": Command(
        f"ubr-detect train lesions --out out {TINY_DETECTOR.format(steps=4)}", ("lesions",)
    ),
    "evaluate": Command(
        "ubr-detect evaluate detector lesions --out out --device cpu --workers 0 --pictures 2",
        ("detector", "lesions"),
    ),
    "predict": Command(
        "ubr-detect predict detector nii --out out --device cpu --workers 0 --min-score 0",
        ("detector", "nii"),
    ),
    "demo": Command("ubr-pretrain demo --out out --train 9 --unseen 3 --steps 2"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Kill or pair, compare, append rows."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--verbs", default="", help="only those whose name has this part")
    parser.add_argument("--moments", type=int, help="of each verb; 20 kills or 10 pairs")
    parser.add_argument("--pairs", action="store_true", help="two at once instead of kills")
    options = parser.parse_args(argv)
    forked.load_everything()
    sound = options.work.absolute() / "sound"
    rows, found = [], 0
    for verb, command in VERBS.items():
        if options.verbs not in verb:
            continue
        bench = Bench(sound, options.work.absolute() / "bench" / "case", command)
        wanted = options.moments or (10 if options.pairs else 20)
        ends = bench.pairs(wanted) if options.pairs else bench.kills(wanted)
        counts = Counter(ends.values())
        others = {moment: end for moment, end in ends.items() if end not in ENDS}
        found += len(others)
        columns = {**{end: counts[end] for end in ENDS}, "found": len(others)}
        print(f"{verb:18} operations {bench.count:5}", columns, flush=True)
        for moment, end in others.items():
            print(f"    {moment}: {end}", flush=True)
        about = {"verb": verb, "operations": bench.count, "tries": len(ends)}
        rows.append({**provenance("", 0), **about, **columns})
    print(f"rows in {append('pairs' if options.pairs else 'kills', rows)}")
    sys.exit(int(found > 0))


class Bench:
    """One command, and the files of an unbroken run of it.

    Args:
        sound: the sound world.
        folder: where it runs.
        command: what is run.
    """

    def __init__(self, sound: Path, folder: Path, command: Command) -> None:
        self.sound, self.folder, self.command = sound, folder, command
        small_world.make(sound, command.inputs)
        self._furnish()
        counted = Moments(folder)
        ran = self._start(counted).wait()
        if ran.status:
            raise RuntimeError(f"{command.words}: {ran}")
        self.count, self.whole = counted.count, self._contents()

    def kills(self, wanted: int) -> dict[str, str]:
        """How a command that was killed at a moment ends when it is run again."""
        ends = {}
        for n, at in enumerate(spread(self.count, wanted)):
            torn = n % 2 == 1
            self._furnish()
            killed = self._start(Moments(self.folder, at, torn=torn)).wait()
            name = f"moment {at}{' torn' if torn else ''}"
            ends[name] = self._judged(self._start().wait())
            if killed.status >= 0:
                ends[name] = f"NOT KILLED: {killed}"
        return ends

    def pairs(self, wanted: int) -> dict[str, str]:
        """How two of the same command end, half of the times held and half raced."""
        held = {f"held at {at}": self._held(at) for at in spread(self.count, wanted // 2)}
        return held | {f"race {n}": self._raced() for n in range(wanted - wanted // 2)}

    def _held(self, at: int) -> str:
        self._furnish()
        moments = Moments(self.folder, at, hold=True)
        first = self._start(moments)
        if not until(moments.is_held):
            return f"NOT HELD: {first.wait()}"
        second = self._start(said="second").wait()
        moments.release()
        return self._of_two(first.wait(), second)

    def _raced(self) -> str:
        self._furnish()
        both = self._start(), self._start(said="second")
        return self._of_two(*(one.wait() for one in both))

    def _of_two(self, *ran: forked.Ran) -> str:
        """Both are done: one has the result, the other was refused or found it finished."""
        statuses = sorted(one.status for one in ran)
        said = [one.err.strip().splitlines()[-1:] for one in ran]
        if statuses not in ([0, 2], [0, 0]):
            return f"STATUSES {statuses}: {said}"
        refused = next((one for one in ran if one.status), None)
        if refused and len(refused.err.strip().splitlines()) != 1:
            return f"{len(refused.err.strip().splitlines())} LINES: {refused.err[-300:]}"
        if others := self._others():
            return f"{'BOTH ENDED WITH 0' if not refused else 'THE OTHER WAS REFUSED'}: {others}"
        return "refused" if refused else "equal"

    def _judged(self, ran: forked.Ran) -> str:
        lines = ran.err.strip().splitlines()
        others = self._others()
        if ran.status == 2 and len(lines) == 1 and not others:
            return "refused"
        if ran.status:
            return f"STATUS {ran.status}: {lines[-1:]} {others}"
        return others or "equal"

    def _others(self) -> str:
        """In what the folder differs from that of an unbroken run."""
        found = self._contents()
        more, less = sorted(found.keys() - self.whole.keys()), sorted(self.whole.keys() - found)
        other = sorted(k for k in found.keys() & self.whole.keys() if found[k] != self.whole[k])
        named = {"LEFT": more, "MISSING": less, "OTHER": other}
        return ", ".join(f"{what} {len(names)}: {names[:3]}" for what, names in named.items()
                         if names)  # fmt: skip

    def _furnish(self) -> None:
        small_world.furnish(self.sound, self.folder, self.command.inputs)

    def _start(self, moments: Moments | None = None, said: str = "first") -> forked.Running:
        return forked.start(
            self.command.words.split(),
            self.folder,
            said_in=self.folder.with_name(f"said {said}"),
            seconds=600,
            before=moments.watch if moments else None,
        )

    def _contents(self) -> dict[str, str]:
        """Digests of all files below the folder and in the temporary folders."""
        found = {}
        for name, path in forked.files_below(self.folder.parent):
            if "tensorboard" in name or path.parent.name.startswith("said "):
                continue
            is_file = path.is_file() and not path.is_symlink()
            found[name] = hashlib.sha256(what_counts(path)).hexdigest() if is_file else ""
        return found


if __name__ == "__main__":
    main()
