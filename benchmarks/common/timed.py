"""What a call takes in an interpreter of its own, imports left out.

Processes that a program starts import its main module anew. In a benchmark that imports torch this
costs each of them seconds that no user of a command pays.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

TEMPLATE = """
import resource, sys, time
{imports}

def used():
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)

began, before = time.perf_counter(), used()
{call}
print(time.perf_counter() - began, used() - before)
"""


class Taken(NamedTuple):
    """Seconds of the clock, and of all cores together."""

    wall_s: float
    cores_s: float


def timed(imports: str, call: str, *arguments: object, root: Path | None = None) -> Taken:
    """Run Python code in a new interpreter.

    Args:
        imports: a statement that is not counted.
        call: what is measured; it finds the arguments in `sys.argv[1:]`.
        arguments: given as text.
        root: the folder in which `ubr` is looked for first.

    Raises:
        RuntimeError: the code failed; with the last line that it wrote.
    """
    path = {} if root is None else {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", TEMPLATE.format(imports=imports, call=call), *map(str, arguments)],
        env={**os.environ, **path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{call} failed: {done.stderr.strip().splitlines()[-1]}")
    wall, used = map(float, done.stdout.split()[-2:])
    return Taken(wall, used)
