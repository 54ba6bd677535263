"""What a search found lies on disk: it goes on after a kill, and memory does not grow with it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from ubr.pretrain.data import dicom, find
from ubr.pretrain.data.dicom import Header
from ubr.pretrain.data.index import Index, told
from ubr.pretrain.data.volume import LeftOut, Series, UnusableError

from ...made.dicom import Made, write
from ...made.scans import save_volume

Found = tuple[list[Series], list[LeftOut]]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two series, a NIfTI pair, a single NIfTI and a letter, all of yesterday."""
    folder = tmp_path / "scans"
    for number in range(2):
        write(
            folder / str(number), Made(series=f"1.2.{number}").datasets(PatientBirthDate="19630704")
        )
    save_volume(folder / "single.nii.gz")
    save_volume(folder / "pair.hdr")
    (folder / "letter").write_text("Dear Jane" * 20)
    for path in folder.rglob("*"):
        yesterday(path)
    return folder


def yesterday(path: Path) -> None:
    then = path.stat().st_mtime - 86400
    os.utime(path, (then, then))


def search(scans: Path, keep: Path | None) -> Found:
    with find.search([scans], keep=keep) as found:
        return list(found), list(found.left_out())


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were opened."""
    names: list[str] = []
    look = find._look

    def counted(path: str) -> Any:
        names.append(Path(path).name)
        return look(path)

    monkeypatch.setattr(find, "_look", counted)
    return names


def test_search__reads_again_only_what_may_have_changed(
    scans: Path, tmp_path: Path, looked_at: list[str]
) -> None:
    first = search(scans, tmp_path / "kept")
    assert first == find.find_series([scans])
    looked_at.clear()
    assert search(scans, tmp_path / "kept") == first
    assert sorted(looked_at) == ["letter", "pair.hdr", "pair.img"]


@pytest.mark.parametrize("change", ["time", "size", "gone", "new", "just now"])
def test_search__sees_every_change(
    scans: Path, tmp_path: Path, looked_at: list[str], change: str
) -> None:
    changed = min((scans / "0").iterdir())
    if change == "just now":  # it may be written to once more within the clock's tick
        os.utime(changed)
    search(scans, tmp_path / "kept")
    if change == "time":
        yesterday(changed)
    elif change == "size":
        status = changed.stat()
        changed.write_bytes(changed.read_bytes() + b"\0\0")
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "gone":
        changed.unlink()
    elif change == "new":
        write(scans / "2", Made(series="1.2.9").datasets()[:3])
    looked_at.clear()
    found = search(scans, tmp_path / "kept")
    read = [name for name in looked_at if name not in ("letter", "pair.hdr", "pair.img")]
    assert len(read) == {"gone": 0, "new": 3}.get(change, 1)
    assert found == find.find_series([scans])


def test_search__killed_goes_on_with_the_same_result(
    scans: Path, tmp_path: Path, looked_at: list[str]
) -> None:
    program = textwrap.dedent(
        f"""
        import os, signal
        from ubr.pretrain.data import find, index

        index._COMMIT_S, find._BATCH = 0.0, 1
        look, seen = find._look, []

        def dying(path):
            seen.append(path)
            if len(seen) == 9:
                os.kill(os.getpid(), signal.SIGKILL)
            return look(path)

        find._look = dying
        with find.search([{str(scans)!r}], keep=index.Path({str(tmp_path / "kept")!r})):
            pass
        """
    )
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    found = search(scans, tmp_path / "kept")
    again = len(looked_at)
    assert found == find.find_series([scans])
    files = sum(path.is_file() for path in scans.rglob("*"))
    assert files - 8 <= again <= files - 8 + 3  # those that are always read again


def test_search__two_at_once_do_not_meet(scans: Path, tmp_path: Path) -> None:
    with find.search([scans], keep=tmp_path / "kept") as found:
        assert search(scans, tmp_path / "kept") == (list(found), list(found.left_out()))


@pytest.mark.parametrize("damage", [b"no database" * 1000, b""])
def test_search__begins_anew_where_what_was_kept_is_damaged(
    scans: Path, tmp_path: Path, looked_at: list[str], damage: bytes
) -> None:
    (tmp_path / "kept").write_bytes(damage)
    found = search(scans, tmp_path / "kept")
    looked_at.clear()
    assert search(scans, tmp_path / "kept") == found
    assert len(looked_at) == 3


def test_search__damage_that_shows_later_is_told_and_removed(scans: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    found = search(scans, kept)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:8192] + bytes([0xFF]) * (len(whole) - 8192))
    with pytest.raises(UnusableError, match="damaged and was removed; repeat the command"):
        search(scans, kept)
    assert not kept.exists() and search(scans, kept) == found


@pytest.mark.parametrize(
    ("code", "says"),
    [(sqlite3.SQLITE_FULL, "No space left"), (sqlite3.SQLITE_IOERR, "cannot be kept on disk")],
)
def test_told__a_disk_at_fault_is_an_error_of_the_system(code: int, says: str) -> None:
    error = sqlite3.OperationalError("odd")
    error.sqlite_errorcode = code
    with pytest.raises(OSError, match=says), told(None):
        raise error


def test_search__goes_on_without_where_it_cannot_be_kept(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert search(scans, tmp_path / "file" / "kept") == find.find_series([scans])


def test_search__keeps_no_name_and_no_birth_date(scans: Path, tmp_path: Path) -> None:
    search(scans, tmp_path / "kept")
    kept = b"".join(p.read_bytes() for p in tmp_path.glob("kept*"))
    for secret in (b"secret^name", b"19630704"):
        assert secret not in kept.lower()
    assert b"secret-id" in kept.lower()  # the patient's key is made of it later


def test_search__memory_does_not_grow_with_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (series,) = find.find_series([write(tmp_path / "one", Made().datasets())[0].parent])[0]
    header = dicom.read_header(series.files[0])

    def computed(path: str) -> Header:
        name = Path(path)
        return Header(path, name.parent.name, "", (name.parent.name,), slices=header.slices * 40)

    monkeypatch.setattr(find, "_look", computed)
    monkeypatch.setattr(dicom, "group_series", lambda index: map(_one, index.by_series()))
    peaks = []
    for turn, folders in enumerate((5, 5, 40)):  # what is loaded once is loaded the first time
        root = tmp_path / str(turn)
        for number in range(folders * 20):
            path = root / str(number // 20) / str(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        tracemalloc.start()
        with find.search([root]) as found:
            assert sum(len(one.files) for one in found) == folders * 20
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 2 * peaks[1]


def _one(members: list[Header]) -> Series:
    return Series("dicom", tuple(h.path for h in members), members[0].series, "")


def test_index__orders_paths_as_python_does(tmp_path: Path) -> None:
    """Also those that are not UTF-8, beside what comes after them."""
    paths = ["/a/\udce4", "/a/ä", "/a/\ue000", "/a/😀", "/a/b", "/a"]
    index = Index()
    for path in paths:
        index.leave_out(LeftOut(path, "odd"))
    assert [left.path for left in index.left_out()] == sorted(paths)
    index.close()
