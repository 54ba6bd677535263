"""The demo's measures as a row in results/demo.csv.

python -m benchmarks.demo --work /scratch/demo [--seed 1]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from ubr.pretrain.recipes import recipe
from ubr.pretrain.uses.demo import run_demo


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo, append a row."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--work", type=Path, required=True, help="a new folder, or that of a finished demo"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    began = time.monotonic()
    result = run_demo(options.work, seed=options.seed)
    seconds = time.monotonic() - began
    steps = yaml.safe_load((options.work / "run" / "config.yaml").read_text())["recipe"]["steps"]
    row = {
        **provenance(recipe("default").sha256(), options.seed),
        "steps": steps,
        "unseen_mean_r": round(result.mean_r, 4),
        "three_class_accuracy": round(result.accuracy, 4),
        "seconds": round(seconds),
    }
    print(f"{result}\nrow in {append('demo', [row])}")


if __name__ == "__main__":
    main()
