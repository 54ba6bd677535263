"""How time and memory of the verbs grow with the number of series.

    python -m benchmarks.growth --work /scratch/growth --rows 100 1000 10000 100000

Rows go to results/growth.csv. Series are computed: rows of a store without pixels, headers without
files, and scores without a network. So what is measured is what a verb does besides: the search and
the end of ingest, the start of fit and score, the tables at the end of score, and what reads them.
crop and annotate read one scan, whatever there is beside it. Each measurement is a process of its
own; its imports do not count, and seconds are those of the processor. An exponent is that between
two numbers of series: 1 is linear. Linux only.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from ubr.pretrain.data.dicom import Header, Slice, group_series
from ubr.pretrain.data.index import Index
from ubr.pretrain.data.scans import FoundScans, scans_in_store
from ubr.pretrain.data.store import Store
from ubr.pretrain.data.store.description import describe
from ubr.pretrain.data.volume import Series
from ubr.pretrain.planning import plan
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.recipes import default
from ubr.pretrain.scores.series import SeriesScores
from ubr.pretrain.scores.write import TableOptions, write_tables
from ubr.pretrain.uses.audit.audit import known_by_headers, write_audit
from ubr.pretrain.uses.calibration import calibrate
from ubr.pretrain.uses.levels import same_level
from ubr.pretrain.uses.report.page import report
from ubr.weights.common.disk import whole

SLICES, FILES, LABELLED = 60, 20, 5
"""Slices of a row, files of a series in the search, series with labels."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, append rows."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--verbs", nargs="+", default=list(VERBS), choices=VERBS, metavar="VERB")
    parser.add_argument(
        "--seconds", type=float, default=600, help="a verb that would take longer is left out"
    )
    options = parser.parse_args(argv)
    before: dict[str, tuple[int, float, float]] = {}
    for count in sorted(options.rows):
        folder = options.work / str(count)
        shutil.rmtree(folder, ignore_errors=True)
        rows = []
        for verb in options.verbs:
            if verb in before and before[verb][1] * count / before[verb][0] > options.seconds:
                continue
            seconds, mib = measured(verb, folder, count)
            then = before.get(verb, (0, 0.0, 0.0))
            rows.append(
                {
                    **provenance("", 0),
                    "verb": verb,
                    "rows": count,
                    "seconds": round(seconds, 3),
                    "memory_mib": round(mib, 1),
                    "exponent_seconds": _exponent(then[0], count, then[1], seconds),
                    "exponent_memory": _exponent(then[0], count, then[2], mib),
                }
            )
            before[verb] = count, seconds, mib
            print({name: rows[-1][name] for name in list(rows[-1])[6:]}, flush=True)
        print(f"rows in {append('growth', rows)}")
        shutil.rmtree(folder, ignore_errors=True)


def measured(verb: str, folder: Path, count: int) -> tuple[float, float]:
    """Seconds of the processor, and MiB at most above those at the beginning, of one verb.

    It has a process of its own.
    """
    with get_context("spawn").Pool(1) as pool:
        if verb not in SEARCHES and not (folder / "store").exists():
            pool.apply(make, (folder, count))
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (verb, folder, count))


def _run(verb: str, folder: Path, count: int) -> tuple[float, float]:
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401, what they take is the same for any number of series

    # From here on. The peak that getrusage gives is, in a new process, that of its parent at least.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_mib()
    began = time.process_time()
    VERBS[verb](folder, count)
    return time.process_time() - began, max(_peak_mib() - before, 0.1)


def _peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _exponent(rows: int, more: int, before: float, after: float) -> str:
    return f"{math.log(after / before) / math.log(more / rows):.2f}" if rows else ""


def make(folder: Path, count: int) -> None:
    """A store of rows, and a folder of scores of the same series."""
    store = Store.create(folder / "store")
    z_mm = [5.0 * z for z in range(SLICES)]
    for number in range(count):
        row = {
            "key": _key(number),
            "patient": f"{number // 2:016x}",
            "status": "taken",
            "reason": "",
            "kind": "dicom",
            "slices": SLICES,
            "rows": 512,
            "columns": 512,
            **{f"spacing_{axis}_mm": mm for axis, mm in zip("zyx", (5.0, 0.7, 0.7), strict=True)},
            "z_mm": z_mm,
            "body": [100, 400, 50, 450] * SLICES,
            "hu_min": -1024,
            "hu_max": 1500,
            "warnings": [],
            "digest": f"{number:032x}",
        }
        # As the store writes them, but for bringing each to disk, which is not measured here.
        (store.path / "series" / f"{_key(number)}.json").write_text(json.dumps(row))


def _key(number: int) -> str:
    return f"{number:016x}"


def _scored(count: int) -> Iterator[SeriesScores]:
    rng = np.random.default_rng(0)
    z_mm = 5.0 * np.arange(SLICES, dtype=np.float64)
    for number in range(count):
        scores = (0.1 * z_mm + rng.normal(0, 1, SLICES)).astype(np.float32)
        overview = rng.integers(-900, 100, (SLICES, 100), np.int16)
        yield SeriesScores(_key(number), scores, z_mm, (), "", overview=overview)


# Verbs


def search(folder: Path, count: int) -> None:
    """Ingest: headers of series in the order that a disk might give them, to series."""
    del folder
    index = _searched(count)
    assert sum(len(series.files) for series in index) == count * FILES
    index.close()


def audit_search(folder: Path, count: int) -> None:
    """Audit: the same, and what headers say of each series."""
    del folder
    index = _searched(count)
    assert len(known_by_headers(FoundScans(index))) == count
    index.close()


def _searched(count: int) -> Index:
    index = Index()
    for number in range(count * FILES):
        series, place = number % count, number // count
        path = f"/archive/{series % 1000}/{series}/{place}.dcm"
        if index.is_new(path, (1, 1)):
            index.add(path, _header(path, f"1.2.3.{series}", f"P{series // 2}", place))
    index.end_search()
    for found in group_series(index):
        assert isinstance(found, Series)
        index.found(found)
    index.drop_copies()
    return index


def _header(path: str, series: str, patient: str, place: int) -> Header:
    corner = (-180.0, -180.0, -5.0 * place)
    one = Slice(
        (512, 512), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.7, 0.7), corner, (1, 0), place, 5.0,
        (1.0, -1024.0), "1.2.3", "", ("1",) * 12,
    )  # fmt: skip
    return Header(path, series, patient, (patient,), "1", slices=(one,))


def catalog(folder: Path, count: int) -> None:
    """Ingest: the catalog from the rows."""
    assert len(Store.open(folder / "store").rebuild()) == count


def inspect(folder: Path, count: int) -> None:
    """What is in the store."""
    assert describe(Store.open(folder / "store"))["series"] == count


def fit_start(folder: Path, count: int) -> None:
    """Fit: what is trained on and what is held out, and the fingerprint of it."""
    store = Store.open(folder / "store")
    planned = plan(store, default())
    assert len(planned.train) + len(planned.held_out) == count
    store.fingerprint(row.key for row in planned.train)


def score_start(folder: Path, count: int) -> None:
    """Score: the series of the store."""
    assert len(scans_in_store(folder / "store")[0]) == count


def score_end(folder: Path, count: int) -> None:
    """Score: the tables."""
    with whole(folder / "scores") as part:
        part.mkdir()
        settings = {"weights_sha256": "0" * 64}
        write_tables(part, lambda: _scored(count), [], TableOptions(), settings)


def audit_end(folder: Path, count: int) -> None:
    """Audit: the tables and the page from scores."""
    with whole(folder / "audit" / "scores") as part:
        part.mkdir()
        options = TableOptions(overviews=True)
        write_tables(part, lambda: _scored(count), [], options, {"weights_sha256": "0" * 64})
    levels = tuple(Level(score, 0.5, 2, (score,) * 2, (10.0,) * 2) for score in (9.0, 19.0))
    regions = Regions("0" * 64, ("chest", "abdomen", "pelvis"), levels, {})
    write_audit(folder / "audit", FoundScans([]), {}, regions, with_paths=False)


def report_page(folder: Path, count: int) -> None:
    """The page of the scores."""
    report(folder / "scores", folder / "report.html")


def calibration(folder: Path, count: int) -> None:
    """Calibrate on five of the series."""
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["series", "index", "part"])
        for number in range(LABELLED):
            table.writerows([[_key(number), "0-29", "chest"], [_key(number), "30-59", "abdomen"]])
    calibrate(folder / "scores", folder / "labels.csv", folder / "regions.json")


def level(folder: Path, count: int) -> None:
    """The level of one slice in the other series."""
    assert len(same_level(folder / "scores", _key(0), 30)) == count - 1


VERBS: dict[str, Callable[[Path, int], None]] = {
    "ingest: search": search,
    "audit: search": audit_search,
    "ingest: catalog": catalog,
    "inspect": inspect,
    "fit: start": fit_start,
    "score, montage: start": score_start,
    "score: tables": score_end,
    "audit: tables": audit_end,
    "report": report_page,
    "calibrate": calibration,
    "level": level,
}
SEARCHES = ("ingest: search", "audit: search", "audit: tables")


if __name__ == "__main__":
    main()
