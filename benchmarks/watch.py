"""Kill a watch of a real Orthanc, and see that each series has one report.

    python -m benchmarks.watch --work /scratch/watch [--series 50] [--kills 10]

Needs Debian's orthanc and orthanc-dicomweb, and the right to make a network (root). Computed series
go into an Orthanc on loopback by STOW-RS, one in ten of them without its last images. They are
fetched and audited. Then they are watched: the process is killed with SIGKILL at random moments,
and once at each of three places (a report is made and not stored; it is stored and not noted; it
is noted), and started again. At the end each series must have one report of all its images, and
nothing may be left of the pixels. Then the missing images follow, and those series alone must have
one report more. Nothing that was printed or written may hold a patient's id or a UID.

The row goes to results/watch.csv. Whatever is not as it must be is printed, and the exit status
is 1.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.common import forked
from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance
from benchmarks.common.moments import until
from benchmarks.common.orthanc import PASSWORD, URL, USER, Orthanc, running
from benchmarks.common.rows import append

THIN, LATE = 3, 2
"""One image of so many is kept; so many images come late."""
PLACES = ("made", "stored", "noted")
WATCH = f"ubr-pretrain watch {URL} --out watched --stable 0 --every 0.2 --once"


def main(argv: Sequence[str] | None = None) -> None:
    """Fill, audit, kill, compare, append a row."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, required=True, help="a new folder")
    parser.add_argument("--series", type=int, default=50)
    parser.add_argument("--kills", type=int, default=10, help="at random moments")
    parser.add_argument("--seed", type=int, default=98000)
    options = parser.parse_args(argv)
    work = options.work.absolute()
    if work.exists():
        parser.error(f"--work {options.work} exists; give a new folder")
    os.environ.update(UBR_DICOMWEB_USER=USER, UBR_DICOMWEB_PASSWORD=PASSWORD)
    for name in ("torch", "highdicom.sr", "dicomweb_client.web", "ubr.pretrain.cli"):
        import_module(name)
    import_module("torch").set_num_threads(1)  # other threads do not come along into a fork
    with running(work / "orthanc") as server:
        bench = Bench(work, server, options.series, options.seed)
        counts = bench.judged(options.kills)
    row = {**provenance("", options.seed), "series": options.series, **counts}
    print(f"row in {append('watch', [row])}")
    sys.exit(int(bool(counts["found"])))


class Bench:
    """A server with computed series, and a folder in which it is watched."""

    def __init__(self, work: Path, server: Orthanc, series: int, seed: int) -> None:
        from ubr.pretrain.phantom.files import phantoms

        self.work, self.server = work, server
        self.random = random.Random(seed)
        self.found: list[str] = []
        self.told = ""
        self.late: dict[str, list[Any]] = {}
        self.images: Counter[str] = Counter()
        self.identities: set[str] = set()
        phantoms(work / "made", n=series, seed=seed, size_px=48, workers=1)
        for number, folder in enumerate(sorted(path for path in (work / "made").iterdir())):
            if folder.is_dir() and not folder.name.startswith("."):
                self._put(folder, late=number % 10 == 0)

    def _put(self, folder: Path, *, late: bool) -> None:
        import pydicom

        images = [pydicom.dcmread(path) for path in sorted(folder.iterdir())][::THIN]
        uid = str(images[0].SeriesInstanceUID)
        self.images[uid] = len(images)
        self.identities |= {uid, str(images[0].StudyInstanceUID), str(images[0].PatientID)}
        self.late[uid] = images[-LATE:] if late else []
        self.server.put(images[: len(images) - len(self.late[uid])])

    def judged(self, kills: int) -> dict[str, object]:
        """The counts of a row."""
        audited = self._audited()
        places = [self._killed_at(place) for place in PLACES]
        moments = [self._killed_after(self.random.randint(0, 3)) for _ in range(kills)]
        print(f"killed while the watch worked: {places} {moments}", flush=True)
        if not all(places + moments):
            self.found.append("a watch ended before it was killed")
        start = time.monotonic()
        before = self.server.count()
        self._run(WATCH)
        once = self._with_reports(late=False)
        seconds = (time.monotonic() - start) / max(1, self.server.count() - before)
        grown = [uid for uid, images in self.late.items() if images]
        for uid in grown:
            self.server.put(self.late[uid])
        self._run(WATCH)
        grown_twice = self._with_reports(late=True)
        if left := sorted(path.name for path in (self.work / "watched").iterdir())[1:]:
            self.found.append(f"left in the folder: {left}")
        said = self.told + (self.work / "watched" / "watched.json").read_text()
        if any(identity in said for identity in self.identities):
            self.found.append("an identity was printed or written")
        print(*self.found, sep="\n", flush=True)
        return {
            "audited": audited,
            "kills": sum(moments),
            "kills_at_places": sum(places),
            "reported_once": once,
            "grown": len(grown),
            "right_after_growth": grown_twice,
            "seconds_per_series": round(seconds, 2),
            "found": len(self.found),
        }

    def _audited(self) -> int:
        """How many of the series that were fetched have a row in an audit."""
        self._run(f"ubr-pretrain fetch {URL} --out fetched")
        self._run("ubr-pretrain audit fetched --out audit --workers 0 --device cpu")
        count = len((self.work / "audit" / "audit.csv").read_text().splitlines()) - 1
        if count != len(self.images):
            self.found.append(f"{count} series audited")
        return count

    def _with_reports(self, *, late: bool) -> int:
        """How many series have the reports that they must have.

        late: the images that came late are there.
        """
        reports: dict[str, list[int]] = {uid: [] for uid in self.images}
        for report in self.server.reports():
            (study,) = report.CurrentRequestedProcedureEvidenceSequence
            (series,) = study.ReferencedSeriesSequence
            uid = str(series.SeriesInstanceUID)
            reports[uid].append(len(series.ReferencedSOPSequence))
        right = 0
        for number, (uid, sizes) in enumerate(sorted(reports.items())):
            first = self.images[uid] - len(self.late[uid])
            wanted = [first, self.images[uid]] if late and self.late[uid] else [first]
            right += sorted(sizes) == wanted
            if sorted(sizes) != wanted:
                self.found.append(f"series {number}: reports of {sizes} images, not {wanted}")
        return right

    def _run(self, words: str) -> None:
        ran = forked.run(words.split(), self.work, seconds=3600)
        self.told += ran.out + ran.err
        if ran.status:
            self.found.append(f"{words.split()[1]}: {ran}")

    def _killed_after(self, lines: int) -> bool:
        """Kill a watch some time after so many series. Returns whether it was at work."""
        running = forked.start(WATCH.split(), self.work, seconds=3600)
        out = running.folder / "out"
        began = time.monotonic()

        def far_enough() -> bool:
            ended = os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return bool(ended) or (out.exists() and out.read_text().count("\n") > lines)

        until(far_enough, 600)
        each = (time.monotonic() - began) / (lines + 1)
        time.sleep(self.random.uniform(0, each))
        os.kill(running.pid, signal.SIGKILL)
        ran = running.wait()
        self.told += ran.out + ran.err
        return ran.status == -signal.SIGKILL

    def _killed_at(self, place: str) -> bool:
        """Kill a watch at its second report."""
        running = forked.start(WATCH.split(), self.work, seconds=3600, before=partial(_at, place))
        ran = running.wait()
        self.told += ran.out + ran.err
        return ran.status == -signal.SIGKILL


def _at(place: str) -> None:
    """Have this process kill itself at a place of its second report."""
    from ubr.pretrain.data.dicomweb.server import Server
    from ubr.pretrain.uses import watching

    owner, name = (watching._Notes, "add") if place == "noted" else (Server, "store")
    original: Callable[..., None] = getattr(owner, name)
    calls = 0

    def step(*given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2 and place == "made":
            os.kill(os.getpid(), signal.SIGKILL)
        original(*given)
        if calls == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, step)


if __name__ == "__main__":
    main()
