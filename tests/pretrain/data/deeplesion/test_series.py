"""DeepLesion's folders of 16-bit PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ubr.pretrain.data import find
from ubr.pretrain.data.deeplesion.table import read_table
from ubr.pretrain.data.volume import UnusableError, Volume

from ....made.dicom import expected
from ....made.odd import lost

NAME = "000001_02_01"
UNGEOMETRIC = "ungeometric: order from slice numbers, spacing from DL_info.csv"


def write(
    root: Path,
    numbers: Sequence[int],
    hu: NDArray[np.int16] | None = None,
    *,
    spacing: str = "0.5, 0.5, 2.5",
    name: str = NAME,
) -> Path:
    folder = root / "Images_png" / name
    folder.mkdir(parents=True)
    slices = expected()[: len(numbers)] if hu is None else hu
    for number, image in zip(numbers, slices, strict=True):
        Image.fromarray((image.astype(np.int32) + 32768).astype(np.uint16)).save(
            folder / f"{number:03d}.png"
        )
    (root / "DL_info.csv").write_text(
        "File_name,Key_slice_index,Spacing_mm_px_\n"
        f'{name}_{numbers[0]:03d}.png,{numbers[0]},"{spacing}"\n'
    )
    return folder


def only(root: Path) -> Volume:
    (series,), _ = find.find_series([root / "Images_png"])
    return find.read_volume(series)


def test_order_and_positions_follow_the_numbers(tmp_path: Path) -> None:
    """Also over 999 | 1000, where names sort otherwise, and over a jump."""
    write(tmp_path, [998, 999, 1000, 1001, 1011])
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected()[:5])
    assert volume.z_mm.tolist() == [0, 2.5, 5, 7.5, 32.5]
    assert volume.spacing_mm == (2.5, 0.5, 0.5)
    assert volume.warnings == (
        UNGEOMETRIC,
        "gap: 1 of up to 25.0 mm, the first after slice 3, usual 2.5 mm",
    )


def test_all_16_bits_arrive(tmp_path: Path) -> None:
    hu = np.array([[-32768, -1025, -1024, -1, 0, 1, 255, 256, 3071, 3072]], np.int16).repeat(
        30, axis=0
    )
    hu[1:, -1] = 0
    write(tmp_path, [7], hu[None])
    volume = only(tmp_path)
    assert volume.hu[0, 0].tolist() == [-1024, -1024, -1024, -1, 0, 1, 255, 256, 3071, 3071]
    assert volume.warnings == (UNGEOMETRIC, "clipped: 1 voxels above 3071 HU, up to 3072")


def test_a_file_lost_since_the_search_costs_its_folder_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost(monkeypatch, write(tmp_path / "a", [1, 2, 3]) / "002.png")
    write(tmp_path / "b", [1, 2])
    (series,), left = find.find_series([tmp_path])
    assert series.files[0].startswith(str(tmp_path / "b"))
    assert [Path(o.path).name for o in left if o.path.endswith("png")] == ["002.png"]


def test_patient_is_the_first_field(tmp_path: Path) -> None:
    write(tmp_path / "a", [1, 2])
    write(tmp_path / "b", [1, 2, 3], name="other")
    series, _ = find.find_series([tmp_path])
    assert [s.patient for s in series] == ["deeplesion-000001", ""]


def test_negative_spacing_is_a_size(tmp_path: Path) -> None:
    write(tmp_path, [1, 2, 3], spacing="0.5, 0.5, -2")
    assert only(tmp_path).spacing_mm == (2.0, 0.5, 0.5)


def test_eight_bit_and_unnumbered_files_are_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path, [1, 2])
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "003.png")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "004.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "screenshot.png")
    series, left = find.find_series([tmp_path / "Images_png"])
    assert [len(s.files) for s in series] == [2]
    assert [(o.path, o.reason) for o in left] == [
        (str(folder), "PNG that are not 16-bit grey: HU are lost (2 files)"),
        (str(folder), "PNG that are not named by a slice number (1 files)"),
    ]


def test_the_table_is_needed_and_must_know_the_folder(tmp_path: Path) -> None:
    write(tmp_path, [1, 2])
    table = tmp_path / "DL_info.csv"
    text = table.read_text()
    table.write_text(text.replace(NAME, "000009_01_01"))
    with pytest.raises(UnusableError, match=r"DL_info.csv has no row for this folder"):
        only(tmp_path)
    table.write_text("a,b\n1,2\n")
    with pytest.raises(UnusableError, match="not DeepLesion's table"):
        only(tmp_path)
    table.unlink()
    with pytest.raises(
        UnusableError,
        match=r"no DL_info.csv beside Images_png: PNG hold no spacing, put DeepLesion's table "
        r"there",
    ):
        only(tmp_path)
    (tmp_path / "Images_png" / "DL_info.csv").write_text(text)
    assert only(tmp_path).spacing_mm == (2.5, 0.5, 0.5)


def test_damaged_and_contradicting_slices(tmp_path: Path) -> None:
    folder = write(tmp_path, range(1, 21))
    damaged = folder / "004.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, np.delete(expected(), 3, axis=0))
    assert volume.warnings[1:] == (
        "unreadable: 1 of 20 files",
        "gap: 1 of up to 5.0 mm, the first after slice 2, usual 2.5 mm",
    )
    for name in ("005.png", "006.png"):
        (folder / name).write_bytes(damaged.read_bytes())
    with pytest.raises(UnusableError, match="3 of 20 PNG are damaged"):
        only(tmp_path)


def test_sizes_and_numbers_must_be_unambiguous(tmp_path: Path) -> None:
    folder = write(tmp_path, [1, 2])
    (folder / "0002.png").write_bytes((folder / "002.png").read_bytes())
    with pytest.raises(UnusableError, match="two files have the same slice number"):
        only(tmp_path)
    (folder / "0002.png").unlink()
    Image.fromarray(np.full((5, 5), 32768, np.uint16)).save(folder / "003.png")
    with pytest.raises(UnusableError, match="slices differ in size"):
        only(tmp_path)


def test_real_deeplesion(lesions: Path) -> None:
    images = lesions / "Images_png"
    series, left = find.find_series([images])
    assert left == []
    assert sum(len(s.files) for s in series) == sum(1 for _ in images.glob("*/*.png"))
    known = {key.folder for key in read_table(lesions, keep_noisy=True)}
    for one in series:
        if Path(one.files[0]).parent.name not in known:
            with pytest.raises(UnusableError, match=r"DL_info.csv has no row for this folder"):
                find.read_volume(one)
            continue
        volume = find.read_volume(one)
        assert volume.hu.shape == (len(one.files), 512, 512)
        assert volume.warnings[0] == UNGEOMETRIC
        assert (
            (volume.hu > 0) & (volume.hu < 100)
        ).mean() > 0.05  # soft tissue where HU say it should be
