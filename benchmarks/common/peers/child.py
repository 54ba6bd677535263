"""One run: `python -m benchmarks.common.peers.child PIPELINE WEIGHTS FOLDER OUT`, seconds out."""

from __future__ import annotations

import json
import resource
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.common.peers.pipelines import PIPELINES


def main() -> None:
    """Import, score, print what it took."""
    began = time.perf_counter()
    pipeline = PIPELINES[sys.argv[1]]
    run = pipeline.prepare()
    # All of them need these, and import them sooner or later: that is no part of scoring.
    import timm  # noqa: F401
    import torch  # noqa: F401

    import_s, then, cores_s = time.perf_counter() - began, time.perf_counter(), used()
    slices = run(*map(Path, sys.argv[2:5]))
    seconds = time.perf_counter() - then
    try:
        number = version(pipeline.distribution)
    except PackageNotFoundError:
        number = ""
    took = {"slices": slices, "seconds": seconds, "cores_s": used() - cores_s}
    named = f"{pipeline.distribution} {number}".strip()
    print(json.dumps({**took, "import_s": import_s, "version": named}))


def used() -> float:
    """Seconds of all cores, of this process and those that it started."""
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


if __name__ == "__main__":
    main()
