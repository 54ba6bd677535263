"""Precision and recall of each verdict of an audit, on a computed archive with known truth.

    python -m benchmarks.audit --weights WORK/run/weights.safetensors --work WORK [--series 60]
        [--every-mm 10] [--seed 70000]

The full measurement is `--series 1000`. Rows go to results/audit.csv. The archive
(`benchmarks/common/archives.py`) holds mislabelled and cut series, missing slices, swapped halves,
copies and what is not CT; its patients are none of those that the weights were trained on, where
these are of phantoms with other seeds. Body parts are learned from LABELLED more computed patients.
Intervals are Wilson's at 95 %. `clear` leaves out agreements that are near ties: something that
they rest on lies within 25 mm of its limit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.common.archives import Truth, archive
from benchmarks.common.computed_regions import LABELLED, computed_parser, learned_regions
from benchmarks.common.intervals import wilson
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from ubr.pretrain.uses.audit.audit import EVERY_MM, audit
from ubr.pretrain.uses.audit.tables import read_rows
from ubr.weights import load

SURE_MM = 25.0
"""An end of a part that lies nearer to the end of the scan is a near tie."""


def main(argv: Sequence[str] | None = None) -> None:
    """Make an archive, audit it, compare, append rows."""
    options = parse(argv)
    weights = load(options.weights)
    options.work.mkdir(parents=True, exist_ok=True)
    regions = learned_regions(options.weights, options.work / "labelled", options.seed - LABELLED)
    name = f"archive-{options.seed}-{options.series}"
    truths = archive(options.work / name, options.series, options.seed)
    began = time.monotonic()
    out = options.work / f"audit-{options.seed}-{options.series}-{options.every_mm:g}"
    audit(
        [options.work / name],
        out,
        weights=weights,
        regions=regions,
        every_mm=options.every_mm,
        with_paths=True,
        progress=False,
    )
    seconds = time.monotonic() - began
    rows = {Path(str(row["path"]).removesuffix("/")): row for row in read_rows(out)}
    by_name = {(p.parent if p.suffix == ".dcm" else p).name: row for p, row in rows.items()}
    about = {
        **provenance(weights.sha256(), options.seed),
        **{"series": len(truths), "every_mm": options.every_mm},
        **{"series_per_s": round(len(truths) / seconds, 2)},
    }
    judged = [(truth, by_name[truth.folder]) for truth in truths]
    found = [{**about, **row} for row in verdicts(judged)]
    for row in found:
        print({name: row[name] for name in [*row][len(about) :]})
    print(f"rows in {append('audit', found)}")


Pair = tuple[Truth, Mapping[str, object]]


def verdicts(judged: Sequence[Pair]) -> list[dict[str, object]]:
    """A row for each verdict: its precision, and its recall."""
    ct = [(truth, row) for truth, row in judged if truth.kind != "not CT"]
    told = [(truth, row) for truth, row in ct if truth.agreement]
    clear = [(truth, row) for truth, row in told if truth.clear]
    rows = []
    for value in ("yes", "partly", "no", "not stated"):
        for cases, pairs in (("all", told), ("clear", clear)):
            rows.append(
                _row(f"agreement {value}", cases, pairs, "agreement", value, _agreement(value))
            )
    for value in ("missing", "complete", "unknown"):
        rows.append(_row(f"slices {value}", "all", ct, "complete", value, _complete(value)))
    rows.append(_row("direction reversed", "all", ct, "direction", "reversed", _is_reversed))
    rows.append(_row("not CT", "all", judged, "ct", "no", lambda truth: truth.kind == "not CT"))
    rows += [_counted(ct), _copies(ct), _faults(ct), *_ends(ct)]
    return rows


def _agreement(value: str) -> Callable[[Truth], bool]:
    return lambda truth: truth.agreement == value


def _complete(value: str) -> Callable[[Truth], bool]:
    return lambda truth: truth.complete == value


def _is_reversed(truth: Truth) -> bool:
    return truth.kind == "reversed"


def _row(
    verdict: str,
    cases: str,
    pairs: Sequence[Pair],
    column: str,
    value: str,
    due: Callable[[Truth], bool],
) -> dict[str, object]:
    return _measured(verdict, cases, [(due(truth), row[column] == value) for truth, row in pairs])


def _measured(verdict: str, cases: str, pairs: Sequence[tuple[bool, bool]]) -> dict[str, object]:
    """pairs: whether a verdict is due, and whether it is given."""
    both = sum(due and given for due, given in pairs)
    due, given = sum(due for due, _ in pairs), sum(given for _, given in pairs)
    return {
        "verdict": verdict,
        "cases": cases,
        "due": due,
        "given": given,
        "right": both,
        **_share("precision", both, given),
        **_share("recall", both, due),
    }


def _share(name: str, hits: int, tests: int) -> dict[str, object]:
    values = [round(one, 3) for one in wilson(hits, tests)] if tests else [""] * 3
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _counted(pairs: Sequence[Pair]) -> dict[str, object]:
    """Whether number and place of missing slices are those taken away."""
    right = [
        (
            truth.complete == "missing",
            row["missing_at"] == f"{truth.missing} after {truth.after}"
            if truth.complete == "missing"
            else bool(row["missing"]),
        )
        for truth, row in pairs
    ]
    return _measured("missing slices counted and placed", "all", right)


def _copies(pairs: Sequence[Pair]) -> dict[str, object]:
    """Copies come in pairs, of which the one names the other."""
    given = {str(row["copy_of"]) for _, row in pairs if row["copy_of"]}
    named = [
        (truth.copy, bool(row["copy_of"]) or str(row["series"]) in given) for truth, row in pairs
    ]
    return _measured("copy of another series", "all", named)


def _faults(pairs: Sequence[Pair]) -> dict[str, object]:
    found = [(truth.faulty, bool(row["findings"])) for truth, row in pairs]
    return _measured("faulty order of slices", "all", found)


def _ends(pairs: Sequence[Pair]) -> list[dict[str, object]]:
    """Whether ends of parts lie inside the scan; those not sure count as not given."""
    ends = [
        (inside, by, str(row[f"{part}_{end}"]))
        for truth, row in pairs
        for (part, end), (inside, by) in truth.ends.items()
    ]
    rows = []
    for value, wanted in (("yes", True), ("no", False)):
        for cases, least in (("all", 0.0), ("clear", SURE_MM)):
            told = [(inside is wanted, said == value) for inside, by, said in ends if by >= least]
            rows.append(_measured(f"end of a part inside: {value}", cases, told))
    return rows


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = computed_parser(__doc__, 70_000)
    parser.add_argument("--series", type=int, default=60)
    parser.add_argument("--every-mm", type=float, default=EVERY_MM, metavar="MM")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
