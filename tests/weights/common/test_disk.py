"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ubr.weights.common import disk


def test_whole__a_file_appears_at_the_end_and_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "new" / "scores.csv"
    disk.write_text(target, "old")
    with disk.whole(target) as part:
        part.write_text("new")
        assert part.name == target.name and target.read_text() == "old"
    assert target.read_text() == "new" and list(target.parent.iterdir()) == [target]


def test_whole__an_error_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "scores.csv"
    target.write_text("old")
    with pytest.raises(KeyError), disk.whole(target) as part:
        part.write_text("half")
        raise KeyError("cut")
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_whole__a_folder_appears_in_an_empty_ones_place_only(tmp_path: Path) -> None:
    target = tmp_path / "planted"
    target.mkdir()
    with disk.whole(target) as part:
        part.mkdir()
        (part / "a").write_text("1")
        assert not list(target.iterdir())
    assert (target / "a").read_text() == "1"
    with pytest.raises(OSError), disk.whole(target) as part:
        part.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["planted"]


def test_whole__permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    disk.write_text(tmp_path / "whole", "")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_whole__a_link_at_the_target_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "target").symlink_to(other)
    disk.write_text(tmp_path / "target", "new")
    assert other.read_text() == "mine" and not (tmp_path / "target").is_symlink()


def test_whole__data_is_on_disk_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (seen.append("rename"), replace(a, b))[1])
    disk.write_text(tmp_path / "a", "1")
    assert seen == ["fsync", "rename", "fsync"]


def test_sweep__removes_what_a_killed_process_left(tmp_path: Path) -> None:
    code = (
        "import os, sys; from ubr.weights.common import disk\n"
        "with disk.whole(sys.argv[1]) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False)
    left = list(tmp_path.iterdir())
    assert len(left) == 1 and disk.is_part(left[0])
    with disk.whole(tmp_path / "b") as part:
        part.write_text("whole")
        disk.sweep(tmp_path)  # this process runs: its part stays
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_sweep__removes_what_earlier_versions_left(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    host = disk._host()
    living = tmp_path / f"a.json.{host}-{os.getpid()}.tmp"
    dead = tmp_path / f"b.json.{host}-{process.pid}.tmp"
    elsewhere = tmp_path / f"c.json.ffffffff-{process.pid}.tmp"
    old = tmp_path / "d.json.ffffffff-1.tmp"
    others = tmp_path / "notes.tmp"
    for path in (living, dead, elsewhere, old, others):
        path.write_text("half")
    os.utime(old, (0, 0))
    os.utime(others, (0, 0))
    disk.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        living.name,
        elsewhere.name,
        others.name,
    }
    assert disk.is_part(living) and not disk.is_part(others)


def test_make_folder__takes_no_link_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "dangling"):
        with pytest.raises(ValueError, match=f"{name} is a link, which is not followed"):
            disk.make_folder(tmp_path / name)
    disk.make_folder(tmp_path / "new")
    disk.make_folder(tmp_path / "new")
    assert (tmp_path / "new").is_dir() and not (tmp_path / "nowhere").exists()


def test_append_text__makes_and_appends_and_follows_no_link(tmp_path: Path) -> None:
    disk.append_text(tmp_path / "lines", "1\n")
    disk.append_text(tmp_path / "lines", "2\n")
    assert (tmp_path / "lines").read_text() == "1\n2\n"
    (tmp_path / "link").symlink_to(tmp_path / "lines")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "dangling"):
        with pytest.raises(OSError, match=name):
            disk.append_text(tmp_path / name, "3\n")
    assert (tmp_path / "lines").read_text() == "1\n2\n" and not (tmp_path / "nowhere").exists()


def test_sweep__knows_claims_and_leaves_them(tmp_path: Path) -> None:
    for name, ours in ((".claim", True), (".page.html.claim", True), ("claim", False)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
        assert disk.is_part(tmp_path / name) == ours
    disk.sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_sweep__of_a_claimed_name_removes_all_that_was_begun(tmp_path: Path) -> None:
    names = [f".{name}.ffffffff-1.{x}.part" for name in ("a.csv", "b.csv") for x in "xy"]
    for name in names:
        (tmp_path / name).mkdir()
    disk.sweep(tmp_path, claimed="a.csv")
    assert {path.name for path in tmp_path.iterdir()} == set(names[2:])
    disk.sweep(tmp_path, claimed="*")
    assert list(tmp_path.iterdir()) == []
