"""Worker processes of loaders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import os, sys, time
from torch.utils.data import DataLoader, Dataset
from ubr.weights.common.processes import loader_options

class Pids(Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, i):
        return os.getpid(), os.nice(0), os.getppid()

{guard}
    for pid, nice, parent in DataLoader(Pids(), batch_size=None, **loader_options(1)):
        print(pid, nice, parent == os.getpid(), flush=True)
        time.sleep(0.05)
"""


def started(folder: Path, guard: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT.format(guard=guard))
    return subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_loader__gives_way_and_ends_with_a_killed_trainer(tmp_path: Path) -> None:
    """It is not the trainer's own child, so the trainer's pages are its own; and it must not
    outlive it for that.
    """
    trainer = started(tmp_path, "if __name__ == '__main__':")
    assert trainer.stdout is not None
    pid, nice, forked = trainer.stdout.readline().split()
    assert (int(nice), forked) == (os.nice(0) + 5, "False") and alive(int(pid))
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    end = time.monotonic() + 20
    while alive(int(pid)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not alive(int(pid))


def test_loader__script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    trainer = started(tmp_path, "if True:")
    _, errors = trainer.communicate(timeout=120)
    assert trainer.returncode == 1 and "under if __name__ == '__main__'" in errors.splitlines()[-1]
