"""`score` of this checkout against another one, in interleaved pairs.

    python -m benchmarks.score_pairs --weights FILE --source STORE_OR_SCANS \\
        --against FOLDER --work /scratch/pairs

FOLDER holds the other checkout (or a link to it) under the name `ubr`. Each run is a process of its
own that scores everything, imports left out of the time. The ratio is taken within each pair,
because machines drift. Rows go to results/score_pairs.csv: seconds of wall and of all cores, and
the largest difference of a score.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import ROOT, provenance
from benchmarks.common.rows import append
from benchmarks.common.timed import Taken, timed
from ubr.weights import load
from ubr.weights.common.pool import cores

IMPORTS = "import torch\nfrom ubr.pretrain.scores.scoring import score"
SCORE = "score(sys.argv[1], [sys.argv[2]], sys.argv[3], progress=False{more})"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, append a row."""
    options = parse(argv)
    options.work.mkdir(parents=True, exist_ok=True)
    here = options.work / "this"
    here.mkdir(exist_ok=True)
    link = here / "ubr"
    if not link.exists():
        link.symlink_to(ROOT)
    pairs = []
    for number in range(options.pairs):
        other = scored(options.against.absolute(), options, "other")
        this = scored(here.absolute(), options, "this", options.runtime)
        pairs.append((other, this))
        print(
            f"pair {number}: {other[0]:.1f} s and {this[0]:.1f} s, {other[0] / this[0]:.2f} times "
            f"as fast; cores {other[1]:.1f} s and {this[1]:.1f} s, {other[1] / this[1]:.2f} times",
            flush=True,
        )
    seconds = np.array(pairs)
    ratio = seconds[:, 0] / seconds[:, 1]
    curves = [curve(options.work / f"scores_{name}") for name in ("other", "this")]
    weights = load(options.weights)
    row = {
        **provenance(weights.sha256(), 0),
        "other_commit": commit(options.against),
        "backbone": weights.backbone,
        "size_px": weights.inputs.size_px,
        "runtime": options.runtime,
        "cores": cores(),
        "slices": len(curves[1]),
        "pairs": options.pairs,
        "other_s": round(float(np.median(seconds[:, 0, 0])), 2),
        "this_s": round(float(np.median(seconds[:, 1, 0])), 2),
        "ratio_median": round(float(np.median(ratio[:, 0])), 2),
        "ratio_min": round(float(ratio[:, 0].min()), 2),
        "ratio_max": round(float(ratio[:, 0].max()), 2),
        "ratio_of_cores_median": round(float(np.median(ratio[:, 1])), 2),
        "largest_difference": f"{np.abs(curves[0] - curves[1]).max():.1e}",
    }
    print(f"median ratio {row['ratio_median']}; rows in {append('score_pairs', [row])}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--source", type=Path, required=True, help="a store, or a folder of scans")
    parser.add_argument("--against", type=Path, required=True, help="holds the other one as ubr")
    parser.add_argument("--work", type=Path, required=True, help="folder for the scores")
    parser.add_argument("--runtime", default="auto", help="of this checkout")
    parser.add_argument("--pairs", type=int, default=5)
    return parser.parse_args(argv)


def scored(root: Path, options: argparse.Namespace, name: str, runtime: str = "") -> Taken:
    """What a checkout takes. runtime: for one that can be told."""
    out = options.work / f"scores_{name}"
    shutil.rmtree(out, ignore_errors=True)
    call = SCORE.format(more=f", runtime={runtime!r}" if runtime else "")
    return timed(IMPORTS, call, options.weights, options.source, out, root=root)


def curve(folder: Path) -> NDArray[np.float32]:
    """All scores, in the order of the table."""
    return np.asarray(pq.read_table(folder / "slices.parquet")["score"], np.float32)


def commit(root: Path) -> str:
    """The other checkout's commit."""
    words = ["git", "-C", str(root / "ubr"), "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
