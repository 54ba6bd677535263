"""The search: everything is found once, in one order, and nothing stops it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ubr.pretrain.data import find
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.libraries import LibraryError
from ubr.pretrain.data.scans import Scans, UnreadScan
from ubr.pretrain.data.volume import LeftOut, UnusableError
from ubr.pretrain.data.workers import DIED

from ...made.dicom import Made, X, Y, Z, expected, write
from ...made.odd import brighter, latin_folder, odd_entries
from ...made.scans import save_volume


def test_one_search_for_all_kinds(tmp_path: Path) -> None:
    from PIL import Image

    write(tmp_path / "dicom", Made().datasets())
    save_volume(tmp_path / "ct.nii.gz")
    (tmp_path / "x" / "1_1_1").mkdir(parents=True)
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(tmp_path / "x" / "1_1_1" / "1.png")
    (tmp_path / "notes.txt").write_text("no CT" * 100)
    (tmp_path / "none").write_bytes(b"")
    series, left = find.find_series([tmp_path])
    assert [s.kind for s in series] == ["nifti", "dicom", "png"]
    assert [(Path(o.path).name, o.reason) for o in left] == [
        ("none", "the file is empty"),
        ("notes.txt", "not DICOM, NIfTI, NRRD, MetaImage or PNG"),
    ]
    for one in series[:2]:
        np.testing.assert_array_equal(find.read_volume(one).hu, expected())


def test_workers_change_nothing(tmp_path: Path) -> None:
    for k in range(3):
        write(
            tmp_path / "d",
            [Made([(X[0], Y[0], z) for z in Z[: 4 + k]]).dataset(n) for n in range(4 + k)],
            seed=k,
        )
        save_volume(tmp_path / f"{k}.nii", expected() + k)
    (tmp_path / "empty").mkdir()
    assert find.find_series([tmp_path], workers=2) == find.find_series([tmp_path])


def test_the_order_of_sources_and_overlaps_change_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a", Made().datasets())
    save_volume(tmp_path / "b.nii")
    whole = find.find_series([tmp_path])
    assert (
        find.find_series([tmp_path / "b.nii", tmp_path, tmp_path / "a", tmp_path / "a" / "." / "."])
        == whole
    )
    assert len(whole[0]) == 2


def test_what_the_user_mistyped_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        UnusableError, match="scnas does not exist; give an existing file or folder"
    ):
        find.find_series([tmp_path, tmp_path / "scnas"])


def test_empty_and_unreadable_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "locked").mkdir()
    save_volume(tmp_path / "ct.nii")
    normal = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return normal(path)

    monkeypatch.setattr(os, "scandir", scandir)
    series, left = find.find_series([tmp_path])
    assert len(series) == 1
    assert [(Path(o.path).name, o.reason) for o in left] == [
        ("empty", "the folder is empty"),
        ("locked", "the folder cannot be read (Permission denied)"),
    ]


def test_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    save_volume(tmp_path / "ct.nii")
    series, left = find.find_series([tmp_path])
    assert len(series) == 1
    assert [o.reason for o in left] == ["the file cannot be read (No such file or directory)"]


def test_links_to_folders_are_followed_once_and_hidden_ones_skipped(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    save_volume(tmp_path / "data" / "ct.nii")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / ".trash").mkdir()
    save_volume(tmp_path / ".trash" / "old.nii", expected() + 1)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    series, left = find.find_series([tmp_path])
    assert [Path(s.files[0]).name for s in series] == ["ct.nii"]
    assert left == [LeftOut(str(tmp_path / ".trash"), find.HIDDEN)]
    assert len(find.find_series([tmp_path / ".trash"])[0]) == 1


def test_odd_entries__are_one_line_each_and_the_rest_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "scans" / "good", Made().datasets())
    with odd_entries(tmp_path / "scans" / "odd") as expected_reasons:
        write(latin_folder(tmp_path / "scans"), brighter(Made().datasets()))
        for workers in (0, 2):
            series, left = find.find_series([tmp_path / "scans"], workers=workers)
            assert {Path(o.path).name: o.reason for o in left} == expected_reasons
            assert len(left) == len(expected_reasons)
            assert sorted(int(find.read_volume(s).hu.max()) for s in series) == [
                int(expected().max()),
                int(expected().max()) + 24,
            ]


def test_odd_entries__as_sources_stop_nothing(tmp_path: Path) -> None:
    """As a shell gives them for `scans/*`."""
    write(tmp_path / "good", Made().datasets())
    with odd_entries(tmp_path / "odd") as expected_reasons:
        sources = [tmp_path / "good", *(tmp_path / "odd" / name for name in expected_reasons)]
        series, left = find.find_series([s for s in sources if s.name != ".hidden"])
    del expected_reasons[".hidden"]
    assert len(series) == 1
    assert {Path(o.path).name: o.reason for o in left} == expected_reasons


def test_a_link_where_one_may_not_go__is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "good", Made().datasets())
    (tmp_path / "link").symlink_to("/root")
    normal = Path.stat

    def denied(self: Path, **options: Any) -> os.stat_result:
        if self.name == "link":
            raise PermissionError(13, "Permission denied")
        return normal(self, **options)

    monkeypatch.setattr(Path, "stat", denied)
    series, left = find.find_series([tmp_path])
    assert len(series) == 1
    assert [o.reason for o in left] == ["the file cannot be read (Permission denied)"]


@pytest.mark.parametrize("broken", [ImportError, OSError, AttributeError, ValueError])
def test_a_library_that_fails__is_no_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: type[Exception]
) -> None:
    from ubr.pretrain.data import libraries

    write(tmp_path / "ct", Made().datasets())
    (series,), _ = find.find_series([tmp_path])
    normal = libraries.import_module

    def failing(module: str) -> Any:
        if module.startswith("pydicom"):
            raise broken("libexpat.so.1: version mismatch")
        return normal(module)

    monkeypatch.setattr(libraries, "import_module", failing)
    what = rf"pydicom.* cannot be imported \({broken.__name__}: libexpat.so.1: version mismatch\)"
    for fails in (
        lambda: find.find_series([tmp_path]),
        lambda: find.read_volume(series),
        lambda: UnreadScan("", "", "", series).read(),
        lambda: [*Scans([UnreadScan("", "", "", series)])],
        lambda: ingest([tmp_path / "ct"], tmp_path / "store", workers=1),
    ):
        with pytest.raises(LibraryError, match=what):
            fails()


@pytest.mark.parametrize("size", [1, 100, 131, 132, 140, 5000])
@pytest.mark.parametrize(
    "start", [b"", b"\x08\0\x05\0", b"\0" * 128 + b"DICM", b"\x89PNG\r\n\x1a\n"]
)
def test_noise_is_left_out(tmp_path: Path, size: int, start: bytes) -> None:
    """Random bytes, also behind the beginning of a DICOM or PNG file, are one line each and no
    more.
    """
    noise = np.random.default_rng(size).bytes(size)
    (tmp_path / "file").write_bytes((start + noise)[: max(size, len(start))])
    series, left = find.find_series([tmp_path])
    assert series == []
    assert len(left) == 1
    assert "\n" not in left[0].reason


@pytest.mark.parametrize("seed", range(4))
def test_damaged_headers_never_stop_the_search_or_say_who_it_was(tmp_path: Path, seed: int) -> None:
    """A few bytes of the header changed, or the file cut:

    a volume or one clear line, without identity.
    """
    rng = np.random.default_rng(seed)
    files = [
        *write(tmp_path / "d", [Made().dataset(0)]),
        save_volume(tmp_path / "ct.nii"),
        save_volume(tmp_path / "ct.nii.gz"),
    ]
    whole = {path: path.read_bytes() for path in files}
    outcomes = set()
    for trial in range(60):
        path = files[trial % 3]
        damaged = bytearray(whole[path])
        for _ in range(rng.integers(1, 6)):
            damaged[rng.integers(1000 if trial % 3 == 0 else 352)] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, len(damaged))] if trial % 5 == 0 else damaged)
        series, left = find.find_series([path])
        texts = [o.reason for o in left]
        for one in series:
            try:
                texts += find.read_volume(one).warnings
                outcomes.add("taken")
            except UnusableError as error:
                texts.append(str(error))
                outcomes.add("refused")
        assert len(series) + len(left) == 1
        for secret in ("Secret", "SECRET", "1970", str(tmp_path), "\n"):
            assert not [text for text in texts if secret in text]
    assert outcomes == {"taken", "refused"}


def test_a_header_that_kills_its_process_costs_its_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        save_volume(tmp_path / f"{number}.nii.gz", expected() + np.int16(number))
    (tmp_path / "kills").write_bytes(b"kills" * 100)

    def dying(task: Any, items: Any, workers: object, **_: object) -> Any:
        yield from (
            (item, None if any(path.endswith("kills") for path in item) else task(item))
            for item in items
        )

    monkeypatch.setattr(find, "each", dying)
    series, left = find.find_series([tmp_path], workers=2)
    assert len(series) == 5 and [(Path(o.path).name, o.reason) for o in left] == [("kills", DIED)]
