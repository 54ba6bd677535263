"""Contact sheets show the slices whose indices they state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.made.toys import toy_store
from ubr.pretrain.cli import main
from ubr.pretrain.data.store import Store
from ubr.pretrain.uses import montage
from ubr.pretrain.uses.montage import GAP_PX, TEXT_PX, TILE_PX, contact_sheets
from ubr.pretrain.uses.pictures import slice_picture, spread

SLICES = 51


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A NIfTI file whose slices brighten from head to foot by 5 grey levels each."""
    hu = np.linspace(-300, 400, SLICES)[::-1]  # in the file the foot comes first
    voxels = np.broadcast_to(hu, (40, 30, SLICES)).astype(np.int16)
    path = tmp_path / "in" / "scan.nii.gz"
    path.parent.mkdir()
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(voxels), np.diag([2, 2, 5, 1])), path)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toy_store(tmp_path_factory.mktemp("montage") / "store", volumes=3)


def centres(sheet: Path, tiles: int, columns: int, height: int) -> NDArray[np.int64]:
    """Grey levels in the middle of the tiles."""
    pixels = np.asarray(Image.open(sheet)).astype(int)
    top = 2 * (TEXT_PX + GAP_PX) + GAP_PX
    row_px = height + TEXT_PX + 2 * GAP_PX
    places = [divmod(tile, columns) for tile in range(tiles)]
    return np.array(
        [
            pixels[
                top + row * row_px + TEXT_PX + GAP_PX + height // 2,
                GAP_PX + column * (TILE_PX + GAP_PX) + TILE_PX // 2,
            ]
            for row, column in places
        ]
    )


@pytest.mark.parametrize(
    ("options", "expected", "columns"),
    [
        ({"slices": 6}, [0, 10, 20, 30, 40, 50], 3),
        ({"between": "12-17"}, [12, 13, 14, 15, 16, 17], 3),
        ({"between": "20-50", "slices": 4}, [20, 30, 40, 50], 3),
        ({}, spread(0, 50, 40), 8),
    ],
)
def test_sheet__shows_equidistant_slices_from_the_head(
    scan: Path, tmp_path: Path, options: dict[str, int], expected: list[int], columns: int
) -> None:
    made = contact_sheets(scan, tmp_path / "new" / "sheet.png", **options)  # type: ignore[arg-type]
    assert made.sheets == (tmp_path / "new" / "sheet.png",) and made.table() == str(made.sheets[0])
    grey = centres(made.sheets[0], len(expected), columns, TILE_PX * 30 // 40)
    assert np.abs(grey - 255 * np.array(expected) / (SLICES - 1)).max() <= 1


def test_verb__draws_and_refuses_with_its_flags(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["montage", str(scan), "--out", str(tmp_path / "a.png"), "--between", "3-9"]
    assert main(words) == 0 and capsys.readouterr().out == f"{tmp_path / 'a.png'}\n"
    assert main(words) == 2 and "set --overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


def test_spread__first_and_last_are_among_them() -> None:
    assert (
        spread(3, 3, 5) == [3]
        and spread(0, 9, 4) == [0, 3, 6, 9]
        and spread(4, 6, 40)
        == [
            4,
            5,
            6,
        ]
    )
    assert spread(0, 9, 1) == [0]


def test_slice_picture__pixels_are_square() -> None:
    assert slice_picture(np.zeros((50, 100), np.int16), (2.0, 0.5), 80).size == (40, 80)


def test_store__gives_a_sheet_of_each_series_named_by_its_key(store: Store, tmp_path: Path) -> None:
    keys = sorted(row.key for row in store.rows())
    made = contact_sheets(store.path, tmp_path / "sheets")
    assert [sheet.name for sheet in made.sheets] == [f"{key}.png" for key in keys]
    assert made.table() == f"3 sheets in {tmp_path / 'sheets'}"
    one = contact_sheets(store.path, tmp_path / "one.png", series=keys[1][:6])
    assert one.sheets[0].read_bytes() == made.sheets[1].read_bytes()
    with pytest.raises(ValueError, match=r"\.png exists; give another `out`, or set `overwrite`"):
        contact_sheets(store.path, tmp_path / "sheets")
    contact_sheets(store.path, tmp_path / "sheets", overwrite=True)


def test_store__a_damaged_series_is_left_out(tmp_path: Path) -> None:
    store = toy_store(tmp_path / "store", volumes=3)
    keys = sorted(row.key for row in store.rows())
    (store.path / "series" / f"{keys[0]}.b2nd").write_bytes(b"no pixels")
    made = contact_sheets(store.path, tmp_path / "sheets")
    assert len(made.sheets) == 2 and [left.key for left in made.left_out] == [keys[0]]
    assert "left out  1" in made.table() and str(store.path) not in made.table()
    with pytest.raises(ValueError, match="none of the 1 series can be read: "):
        contact_sheets(store.path, tmp_path / "one.png", series=keys[0])


def test_refusals__say_the_value_and_what_to_do(store: Store, scan: Path, tmp_path: Path) -> None:
    def refusal(source: Path, name: str, **options: object) -> str:
        with pytest.raises(ValueError) as found:
            contact_sheets(source, tmp_path / name, **options)  # type: ignore[arg-type]
        return str(found.value)

    assert "there are 3 series; give a folder, or one `series`" in refusal(store.path, "a.png")
    assert "must be a .png file or a folder" in refusal(store.path, "a.jpg")
    assert "'zz', which matches 0 of 3; give one of" in refusal(store.path, "a.png", series="zz")
    assert "got '', which matches 0" in refusal(store.path, "a.png", series="")
    assert "must be at least 1, got 0" in refusal(scan, "a.png", slices=0)
    assert "but 3 match; give `series`" in refusal(store.path, "a", between="0-3")
    for wrong in ("0-51", "9-3", "7", "a-b"):
        assert f"must be FIRST-LAST within 0-50, got {wrong!r}" in refusal(
            scan, "a.png", between=wrong
        )
    assert not list(tmp_path.glob("a*"))


def test_stopped__the_same_call_draws_the_missing_sheets_and_another_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = contact_sheets(store.path, tmp_path / "whole").sheets
    draw, drawn = montage._draw, []

    def stopping(*args: Any) -> Any:
        if len(drawn) == 1:
            raise KeyboardInterrupt
        drawn.append(args)
        return draw(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(montage, "_draw", stopping)
        contact_sheets(store.path, tmp_path / "cut")
    with pytest.raises(ValueError, match=r"\.png exists; give another `out`"):
        contact_sheets(store.path, tmp_path / "cut", slices=3)
    first = next((tmp_path / "cut").glob("*.png"))
    before = first.stat().st_mtime_ns
    made = contact_sheets(store.path, tmp_path / "cut").sheets
    assert first.stat().st_mtime_ns == before
    assert [p.read_bytes() for p in made] == [p.read_bytes() for p in expected]
    assert sorted(p.name for p in (tmp_path / "cut").iterdir()) == sorted(p.name for p in made)
