"""One process at a time writes a folder or a file."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ubr.weights.common import claims, disk
from ubr.weights.common.claims import Claimed, claim, claim_folder, claiming

HOLD = """
import os, sys
from pathlib import Path
from ubr.weights.common import claims, disk
with claims.claim(sys.argv[1]), disk.whole(sys.argv[1]) as part:
    part.write_text("half")
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has claimed a file and is writing it."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLD, path]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    with process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        yield process
        process.kill()


def test_claim__the_second_is_refused_in_one_line(tmp_path: Path) -> None:
    with held(tmp_path / "page.html") as process:
        expected = f"page.html is being written by process {process.pid}; wait until it has ended"
        with pytest.raises(Claimed, match=expected) as found, claim(tmp_path / "page.html"):
            pass
        assert "\n" not in str(found.value)
        with claim(tmp_path / "other.html"):  # beside it anything may be written
            pass


def test_claim__of_a_killed_process_is_taken_over_at_once_with_what_it_left(
    tmp_path: Path,
) -> None:
    target = tmp_path / "page.html"
    with held(target) as process:
        process.kill()
        process.wait()
        names = {path.name for path in tmp_path.iterdir()}
        assert ".page.html.claim" in names and len(names) == 2
        began = time.monotonic()
        # a new process may have got the dead one's number, so the number says nothing
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(disk, "_runs", lambda process: True)
            with claim(target):
                assert [path.name for path in tmp_path.iterdir()] == [".page.html.claim"]
        assert time.monotonic() - began < claims.WATCH_S / 10
    assert list(tmp_path.iterdir()) == []


def test_claim__is_of_the_thing_under_any_of_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    with claim_folder(tmp_path / "run"):
        for name in (".", "../run/", "../alias", tmp_path / "alias" / ".." / "run"):
            with pytest.raises(Claimed), claim_folder(name):
                pass


def test_claim__leaves_nothing_also_of_the_folders_above(tmp_path: Path) -> None:
    with pytest.raises(KeyError), claim_folder(tmp_path / "a" / "b"):
        assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == [".claim"]
        raise KeyError
    with claim(tmp_path / "a" / "b" / "page.html"):
        pass
    assert list(tmp_path.iterdir()) == []
    with claim_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "kept").write_text("")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["kept"]


def test_claim__spares_what_others_write_in_a_claimed_folder(tmp_path: Path) -> None:
    with held(tmp_path / "page.html"), claim_folder(tmp_path):
        assert len(list(tmp_path.glob(".page.html.*.part"))) == 1


def test_claim__a_file_where_a_folder_is_to_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file is a file; give a new folder"):
        with claim_folder(tmp_path / "file"):
            pass
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("there", [True, False])
def test_claim__a_link_at_its_name_is_replaced_and_not_followed(
    there: bool, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    if there:
        other.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".claim").symlink_to(other)
    with claim_folder(tmp_path / "run"):
        assert not (tmp_path / "run" / ".claim").is_symlink()
    assert (other.read_text() == "mine") if there else not other.exists()


def test_claim__is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "RENEW_S", 0.01)
    with claim_folder(tmp_path):
        first = (tmp_path / ".claim").stat().st_mtime_ns
        deadline = time.monotonic() + 20
        while (tmp_path / ".claim").stat().st_mtime_ns == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / ".claim").stat().st_mtime_ns > first


def test_claim__of_another_machine_is_respected_while_it_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claims, "WATCH_S", 10.0)
    (tmp_path / ".claim").write_text("0123456789abcdef 17")
    renewal = threading.Timer(0.2, os.utime, [tmp_path / ".claim"])
    renewal.start()
    with pytest.raises(Claimed, match="is being written by another machine"):
        with claim_folder(tmp_path):
            pass
    assert "claimed by a process of another machine; watching for 10 s" in capsys.readouterr().err
    assert (tmp_path / ".claim").read_text() == "0123456789abcdef 17"


def test_claim__of_a_dead_machine_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "WATCH_S", 0.3)
    (tmp_path / ".claim").write_text("0123456789abcdef 17, and more than the new one writes")
    began = time.monotonic()
    with claim_folder(tmp_path):
        assert time.monotonic() - began >= 0.3
        assert (tmp_path / ".claim").read_text() == f"{claims._machine()} {os.getpid()}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_claim__without_locks_counts_while_it_is_renewed(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(claims, "RENEW_S", 0.02)
    monkeypatch.setattr(claims, "WATCH_S", 5.0)
    with claim_folder(tmp_path):
        with pytest.raises(Claimed, match="another machine"), claim_folder(tmp_path):
            pass
    monkeypatch.setattr(claims, "WATCH_S", 0.2)
    (tmp_path / ".claim").write_text(f"{claims._machine()} {os.getpid()}")  # of a dead process
    with claim_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_claim__of_a_process_that_ends_just_now_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, ended = fcntl.flock, []

    def and_it_ends(descriptor: int, how: int) -> None:
        """Lock a file whose process removed it after it was opened here."""
        if not ended:
            ended.append(descriptor)
            (tmp_path / ".claim").unlink()
        flock(descriptor, how)

    (tmp_path / ".claim").touch()
    monkeypatch.setattr(fcntl, "flock", and_it_ends)
    with claim_folder(tmp_path), pytest.raises(Claimed), claim_folder(tmp_path):
        pass  # a lock on the removed file would keep nobody out
    assert ended and list(tmp_path.iterdir()) == []


RACE = """
import os, sys, time
from pathlib import Path
from ubr.weights.common.claims import Claimed, claim
folder, had = Path(sys.argv[1]), 0
while had < 25:
    try:
        with claim(folder / "target"):
            (folder / "inside").mkdir()  # raises where another process is inside, too
            (folder / "inside").rmdir()
            had += 1
    except Claimed:
        pass
"""


def test_claim__of_many_processes_one_has_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, tmp_path]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert list(tmp_path.iterdir()) == []


def test_claiming__claims_the_named_argument_however_it_is_given(tmp_path: Path) -> None:
    @claiming("out")
    def write(text: str, out: Path | None = tmp_path / "default") -> list[str]:
        """Write."""
        return sorted(path.name for path in tmp_path.iterdir())

    assert write("", tmp_path / "a") == write(text="", out=tmp_path / "a") == [".a.claim"]
    assert write("") == [".default.claim"] and write("", None) == []
    assert (write.__name__, write.__doc__) == ("write", "Write.")
