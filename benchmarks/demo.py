"""The demo's measures as a row in results/demo.csv.

python -m benchmarks.demo --work /scratch/demo [--seed 1]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import yaml

from benchmarks.rows import append, provenance
from ubr.pretrain.recipes import recipe
from ubr.pretrain.uses.demo import demo


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="a new folder, or that of a finished demo"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    result = demo(options.work, seed=options.seed)
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
