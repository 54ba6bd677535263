"""Planted lesions: what they do to a volume, and the data set that they are written as."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blosc2
import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ubr.downstream.planting.lesions import Lesion, plant_lesions
from ubr.downstream.planting.places import KINDS, find_places
from ubr.downstream.planting.write import COLUMNS, Scan, measure, plant, scans_of_folder

SPACING = (3.0, 1.6, 1.6)
NOISE = 12.0


def trunk(seed: int = 0, noise: float = NOISE, slices: int = 56) -> NDArray[np.int16]:
    """Lungs above, liver and kidneys in fat below, within muscle and skin fat; flat tissues with
    white noise.
    """
    size = (slices, 180, 230)
    z, y, x = np.ogrid[: size[0], : size[1], : size[2]]

    def ball(cz: float, cy: float, cx: float, rz: float, ry: float, rx: float) -> NDArray[np.bool_]:
        return np.asarray(((z - cz) / rz) ** 2 + ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1)

    hu = np.full(size, -1000.0)
    hu[np.broadcast_to(ball(0, 90, 115, 1e9, 80, 105), size)] = -105  # skin fat
    hu[np.broadcast_to(ball(0, 90, 115, 1e9, 72, 96), size)] = 55  # wall
    hu[np.broadcast_to(ball(0, 90, 115, 1e9, 64, 88), size)] = -105  # fat inside
    hu[np.broadcast_to(ball(0, 135, 115, 1e9, 16, 16), size)] = 300  # spine
    half = slices / 2
    for cx in (70, 160):
        hu[ball(half / 2, 85, cx, half / 2 - 1, 50, 32)] = -820
        hu[ball(0.8 * slices, 115, 75 if cx == 70 else 155, 10, 17, 15)] = 35
    hu[ball(0.72 * slices, 65, 75, 14, 30, 45)] = 60
    hu += noise * np.random.default_rng(seed).standard_normal(size)
    return np.rint(hu).astype(np.int16)


@pytest.fixture(scope="module")
def flat() -> NDArray[np.int16]:
    return trunk(noise=0)


@pytest.fixture(scope="module")
def noisy() -> NDArray[np.int16]:
    return trunk()


def planted_with(
    hu: NDArray[np.int16], seed: int, count: int = 8, kinds: tuple[str, ...] = KINDS
) -> tuple[NDArray[np.int16], list[Lesion]]:
    return plant_lesions(
        hu,
        SPACING,
        find_places(hu, SPACING),
        count=count,
        rng=np.random.default_rng(seed),
        kinds=kinds,
    )


def crop(volume: NDArray[Any], lesion: Lesion) -> NDArray[np.float64]:
    """The voxels of the volume that the lesion's mask covers."""
    where = tuple(slice(o, o + n) for o, n in zip(lesion.origin, lesion.mask.shape, strict=True))
    return np.asarray(volume[where], np.float64)


# -----------------------------------------------------------------------------------------------------------------
# the lesions


def test_plant_lesions__every_kind_finds_its_organ(flat: NDArray[np.int16]) -> None:
    tissue = {"nodule": -820, "liver": 60, "kidney": 35, "node": -105}
    planted, lesions = planted_with(flat, 1)
    assert {lesion.kind for lesion in lesions} == set(KINDS)
    assert len(lesions) == 8
    for lesion in lesions:
        assert np.median(crop(flat, lesion)[lesion.mask]) == tissue[lesion.kind]
    assert planted is not flat


def test_plant_lesions__change_is_the_mask_where_it_exceeds_half_the_contrast(
    flat: NDArray[np.int16],
) -> None:
    planted, lesions = planted_with(flat, 2)
    for lesion in lesions:
        changed = (crop(planted, lesion) - crop(flat, lesion)) / lesion.contrast_hu > 0.5
        key = lesion.key - lesion.origin[0]
        want, got = lesion.mask[key], changed[key]
        for axis in (0, 1):
            edges = [np.flatnonzero(m.any(axis))[[0, -1]] for m in (want, got)]
            assert np.abs(edges[0] - edges[1]).max() <= 1, lesion.kind
        assert (want != got).sum() <= max(2, 0.05 * want.sum())


def test_plant_lesions__contrast_is_as_asked_and_edges_are_soft(flat: NDArray[np.int16]) -> None:
    planted, lesions = planted_with(flat, 3)
    for lesion in lesions:
        key = lesion.key - lesion.origin[0]
        share = (crop(planted, lesion) - crop(flat, lesion))[key] / lesion.contrast_hu
        if lesion.areas_px.max() >= 60:
            assert abs(np.median(share[lesion.mask[key] & (share > 0.8)]) - 1) < 0.15
        between = ((share > 0.1) & (share < 0.9)).sum()
        outline = (
            np.count_nonzero(lesion.mask[key] & ~np.pad(lesion.mask[key], 1)[2:, 1:-1]) * np.pi
        )
        assert between > 0.8 * outline, "the rim is a pixel wide or more"


def test_plant_lesions__nothing_else_changes_and_nothing_lies_outside_the_body(
    noisy: NDArray[np.int16],
) -> None:
    planted, lesions = planted_with(noisy, 4)
    mask = np.zeros(noisy.shape, bool)
    for lesion in lesions:
        where = tuple(
            slice(o, o + n) for o, n in zip(lesion.origin, lesion.mask.shape, strict=True)
        )
        mask[where] |= lesion.mask
    near = ndimage.binary_dilation(mask, np.ones((5, 13, 13), bool))
    assert np.array_equal(planted[~near], noisy[~near])
    inside = ndimage.binary_erosion(
        ndimage.binary_fill_holes((trunk(noise=0) > -900).any(0)), iterations=5
    )
    assert inside[mask.any(0)].all()


@pytest.mark.parametrize("kind", KINDS)
def test_plant_lesions__noise_inside_is_that_of_the_surroundings(
    noisy: NDArray[np.int16], kind: str
) -> None:
    differences = []
    for seed in (5, 6):
        planted, lesions = planted_with(noisy, seed, 6, (kind,))
        for lesion in lesions:
            # Differences of neighbours well inside know nothing of texture and edge.
            core = ndimage.binary_erosion(
                lesion.mask,
                np.ones((1, 3, 3), bool),
                iterations=2 if kind in ("liver", "kidney") else 3,
            )
            differences.append(
                np.diff(crop(planted, lesion), axis=2)[core[:, :, 1:] & core[:, :, :-1]]
            )
    assert sum(len(d) for d in differences) > 100
    assert 0.8 < np.concatenate(differences).std() / np.sqrt(2) / NOISE < 1.2


def test_plant_lesions__sizes(flat: NDArray[np.int16]) -> None:
    long_mm = []
    for seed in range(4):
        for lesion in planted_with(flat, seed)[1]:
            mask = lesion.on(lesion.key)
            assert mask is not None
            ends = measure(mask)
            long_mm.append(float(np.linalg.norm(ends[0] - ends[1])) * SPACING[1])
            assert (lesion.areas_px > 0).sum() >= 1
    assert 12 < np.median(long_mm) < 28
    assert max(long_mm) / min(long_mm) > 2.5


def test_plant_lesions__lesions_stay_apart(flat: NDArray[np.int16]) -> None:
    _, lesions = planted_with(flat, 7, 14)
    count = np.zeros(flat.shape, int)
    for lesion in lesions:
        where = tuple(
            slice(o, o + n) for o, n in zip(lesion.origin, lesion.mask.shape, strict=True)
        )
        count[where] += lesion.mask
    assert count.max() == 1


def test_plant_lesions__none_fits_in_air() -> None:
    air = np.full((20, 64, 64), -1000, np.int16)
    planted, lesions = planted_with(air, 0)
    assert lesions == []
    assert np.array_equal(planted, air)


def test_head__brain_takes_no_mass() -> None:
    z, y, x = np.ogrid[:30, :120, :120]
    radius = np.hypot(y - 60, x - 60) + 0 * z
    head = np.select([radius < 45, radius < 50, radius < 55], [35, 900, 20], -1000).astype(np.int16)
    assert planted_with(head, 0, kinds=("liver", "kidney"))[1] == []


def test_places__kidneys_are_large_below_the_lungs_and_not_beside_drunk_contrast(
    flat: NDArray[np.int16],
) -> None:
    step = find_places(flat, SPACING).step
    kidney = find_places(flat, SPACING).room_mm["kidney"] > 0
    high = np.where(
        np.roll(flat == 35, -18, axis=0) & (flat != 300), np.int16(35), flat
    )  # a spleen among lungs
    lowest_lung = np.flatnonzero((flat == -820).any((1, 2)))[-1]
    below = find_places(high, SPACING).room_mm["kidney"] > 0
    assert below.any() and not below[: lowest_lung // step[0] + 1].any()

    thin = flat.copy()
    thin[
        (flat == 35) & (np.arange(len(flat))[:, None, None] % 12 > 1)
    ] = -105  # slabs of two slices, 3 cm apart
    assert not find_places(thin, SPACING).room_mm["kidney"].any()

    bowel = flat.copy()
    bowel[:, :, 160:] = np.where(flat[:, :, 160:] == 35, 400, flat[:, :, 160:])
    beside = find_places(bowel, SPACING).room_mm["kidney"] > 0
    near = slice(160 // step[2] - 1, None)
    assert beside.any() and kidney[:, :, near].any() and not beside[:, :, near].any()


# -----------------------------------------------------------------------------------------------------------------
# the data set


def scans(n: int = 4) -> Iterator[Scan]:
    for i in range(n):
        yield Scan(trunk(seed=i), SPACING, f"patient {i // 2 if n == 4 else i}")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planted") / "set"
    plant(scans(), out, per_scan=4, seed=1, progress=False)
    return out


def table(out: Path) -> list[dict[str, str]]:
    with (out / "DL_info.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(text: str) -> NDArray[np.float64]:
    return np.array([float(v) for v in text.split(",")])


def test_plant__official_columns_and_formats(written: Path) -> None:
    assert (written / "DL_info.csv").read_bytes().splitlines(keepends=True)[0] == ",".join(
        COLUMNS
    ).encode() + b"\r\n"
    rows = table(written)
    assert {row["Patient_index"] for row in rows} == {"1", "2"}
    for row in rows:
        box, ends = (
            numbers(row["Bounding_boxes"]),
            numbers(row["Measurement_coordinates"]).reshape(4, 2),
        )
        margin = 5 / SPACING[1]
        assert np.allclose(box, [*(ends.min(0) - margin), *(ends.max(0) + margin)], atol=2e-3)
        long, short = numbers(row["Lesion_diameters_Pixel_"])
        assert long >= short > 0
        key, (first, last) = int(row["Key_slice_index"]), numbers(row["Slice_range"])
        assert first <= key <= last
        assert last - first >= 2
        folder = "{:06d}_{:02d}_{:02d}".format(*(int(row[c]) for c in COLUMNS[1:4]))
        assert row["File_name"] == f"{folder}_{key:03d}.png"
        assert all(
            (written / "Images_png" / folder / f"{i:03d}.png").is_file()
            for i in range(int(first), int(last) + 1)
        )
        assert row["Spacing_mm_px_"] == "1.6, 1.6, 3"
        assert row["Image_size"] == "230, 180"
        assert row["Coarse_lesion_type"] in {"2", "3", "4", "5", "6"}
        assert (numbers(row["Normalized_lesion_location"]) < 1).all()


def test_plant__box_is_round_what_changed(tmp_path: Path) -> None:
    hu = trunk(noise=0)
    plant([Scan(hu, SPACING, "a")], tmp_path / "set", per_scan=1, kinds=("nodule",), progress=False)
    (row,) = table(tmp_path / "set")
    key = int(row["Key_slice_index"])
    image = (
        np.asarray(
            Image.open(tmp_path / "set" / "Images_png" / "000001_01_01" / f"{key:03d}.png")
        ).astype(int)
        - 32768
    )
    change = np.abs(image - hu[key - 1])
    y, x = np.nonzero(change > change.max() / 2)
    box = numbers(row["Bounding_boxes"]) - 1
    margin = 5 / SPACING[1]
    outline = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
    inner = box + np.array([margin, margin, -margin, -margin])
    # A measurement has four ends; on a slant they reach less far than the lesion does.
    assert np.abs(inner - outline).max() < 0.25 * (outline[2:] - outline[:2]).max() + 1


def test_plant__png_hold_hu(tmp_path: Path) -> None:
    hu = trunk(seed=9)
    plant([Scan(hu, SPACING, "a")], tmp_path / "set", per_scan=1, kinds=("liver",), progress=False)
    for path in (tmp_path / "set" / "Images_png" / "000001_01_01").iterdir():
        with Image.open(path) as image:
            assert image.mode == "I;16"
            stored = np.asarray(image).astype(int) - 32768
        same = stored == hu[int(path.stem) - 1]
        assert same.mean() > 0.9
        assert same[:, 140:].all(), "nothing changes on the side that has no liver"


def test_plant__every_lesion_in_a_key_slice_has_a_row(written: Path) -> None:
    by_file: dict[str, int] = {}
    for row in table(written):
        by_file[row["File_name"]] = by_file.get(row["File_name"], 0) + 1
    hu = trunk(seed=0)
    digest_rng = np.random.default_rng(int(_digest_of(hu, 1), 16))
    _, lesions = plant_lesions(hu, SPACING, find_places(hu, SPACING), count=4, rng=digest_rng)
    for z in {lesion.key for lesion in lesions}:
        assert by_file[f"000001_01_01_{z + 1:03d}.png"] == sum(
            lesion.on(z) is not None for lesion in lesions
        )


def _digest_of(hu: NDArray[np.int16], seed: int) -> str:
    from ubr.downstream.planting.write import _digest

    return _digest(Scan(hu, SPACING, "any"), seed)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_plant__same_seed_same_bytes(written: Path, tmp_path: Path) -> None:
    plant(scans(), tmp_path / "again", per_scan=4, seed=1, progress=False)
    assert contents(tmp_path / "again") == contents(written)
    plant([next(scans())], tmp_path / "other", per_scan=4, seed=2, progress=False)
    assert contents(tmp_path / "other").keys() != contents(written).keys()


def test_plant__a_scan_takes_the_same_lesions_whatever_the_order(
    written: Path, tmp_path: Path
) -> None:
    plant([*scans()][::-1], tmp_path / "back", per_scan=4, seed=1, progress=False)
    there, back = contents(written / "Images_png"), contents(tmp_path / "back" / "Images_png")
    assert sorted(there.values()) == sorted(back.values())


def test_plant__studies_are_the_same_scan_with_other_lesions(tmp_path: Path) -> None:
    plant(scans(2), tmp_path / "one", per_scan=4, progress=False)
    summary = plant(scans(2), tmp_path / "two", per_scan=4, studies=2, progress=False)
    first, second = (
        [row for row in table(tmp_path / "two") if row["Study_index"] == study] for study in "12"
    )
    assert first == table(tmp_path / "one"), "the first study does not depend on how many follow"
    assert (summary.patients, summary.scans) == (2, 4)
    assert {row["Bounding_boxes"] for row in first}.isdisjoint(
        row["Bounding_boxes"] for row in second
    )


def test_plant__split_by_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(hu: NDArray[np.int16], *_: Any, **__: Any) -> tuple[NDArray[np.int16], list[Lesion]]:
        return hu, [Lesion("node", 2, 100.0, (1, 4, 4), np.ones((1, 5, 5), bool))]

    monkeypatch.setattr("ubr.downstream.planting.write.plant_lesions", one)
    many = [
        Scan(np.full((3, 16, 16), i, np.int16), (5.0, 1.0, 1.0), f"p{i // 2}") for i in range(40)
    ]
    summary = plant([*many, many[0]], tmp_path / "set", progress=False)
    part = {row["Patient_index"]: row["Train_Val_Test"] for row in table(tmp_path / "set")}
    assert all(
        part[row["Patient_index"]] == row["Train_Val_Test"] for row in table(tmp_path / "set")
    )
    assert [list(part.values()).count(p) for p in "123"] == [14, 3, 3]
    assert (summary.patients, summary.scans, summary.left_out) == (
        20,
        40,
        ("1 scans: the same pixels as another scan",),
    )


def test_plant__mistakes(tmp_path: Path) -> None:
    scan = Scan(np.full((20, 64, 64), -1000, np.int16), SPACING, "a")
    with pytest.raises(ValueError, match="per_scan must be at least 1, got 0"):
        plant([scan], tmp_path / "set", per_scan=0)
    with pytest.raises(ValueError, match="studies must be at least 1, got 0"):
        plant([scan], tmp_path / "set", studies=0)
    with pytest.raises(
        ValueError, match="kinds must be some of nodule, liver, kidney, node, got spleen"
    ):
        plant([scan], tmp_path / "set", kinds=("spleen",))
    with pytest.raises(ValueError, match="of 1 scans none takes a lesion"):
        plant([scan], tmp_path / "set", progress=False)
    assert list(tmp_path.iterdir()) == [], "nothing half made is left"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="is not an empty folder"):
        plant([scan], tmp_path / "full")
    with pytest.raises(ValueError, match="int16"):
        Scan(np.zeros((3, 3, 3), np.float32), SPACING, "a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="spacing_mm"):
        Scan(np.zeros((3, 3, 3), np.int16), (0.0, 1.0, 1.0), "a")


def test_plant__an_empty_scan_is_counted(tmp_path: Path) -> None:
    air = Scan(np.full((20, 64, 64), -1000, np.int16), SPACING, "air")
    summary = plant([air, next(scans())], tmp_path / "set", per_scan=1, progress=False)
    assert (summary.empty, summary.scans, summary.lesions) == (1, 1, 1)
    assert "1 scans in which no lesion fits" in str(summary)


# ----------------------------------------------------------------------------------------------------------------
# the folders


def save(path: Path, hu: NDArray[Any], flip: tuple[int, int, int] = (-1, -1, -1)) -> None:
    """A NIfTI file of `[z, y, x]` in the project's axes; flip:

    directions in which its own axes run, RAS being (1, 1, 1).
    """
    affine = np.diag([flip[0] * SPACING[2], flip[1] * SPACING[1], flip[2] * SPACING[0], 1])
    data = hu.T[tuple(slice(None, None, -f) for f in flip)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ascontiguousarray(data), affine), path)


def test_scans_of_folder__turns_to_the_projects_axes(tmp_path: Path) -> None:
    hu = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    save(tmp_path / "a.nii.gz", hu)
    save(tmp_path / "b" / "ras.nii", hu, (1, 1, 1))
    found = [*scans_of_folder(tmp_path)]
    assert len({scan.patient for scan in found}) == 2
    for scan in found:
        assert np.array_equal(scan.hu, hu)
        assert np.allclose(scan.spacing_mm, SPACING)


def test_scans_of_folder__patients_from_a_table(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save(tmp_path / "ct" / f"{name}.nii", np.zeros((3, 4, 5), np.int16))
    (tmp_path / "catalog.csv").write_text(
        "file,region,patient\nct/a.nii,chest,X\nct/b.nii,chest,X\n"
    )
    assert [scan.patient == "X" for scan in scans_of_folder(tmp_path / "ct")] == [True, True, False]
    (tmp_path / "list.csv").write_text("file,patient\nb.nii,Y\nc.nii,Y\n")
    assert [
        scan.patient == "Y" for scan in scans_of_folder(tmp_path / "ct", tmp_path / "list.csv")
    ] == [False, True, True]
    (tmp_path / "list.csv").write_text("name,patient\nb.nii,Y\n")
    with pytest.raises(ValueError, match="it needs file, patient"):
        scans_of_folder(tmp_path / "ct", tmp_path / "list.csv")


def test_scans_of_folder__bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.nii.gz").write_bytes(b"not a volume")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)), tmp_path / "four.nii")
    nib.save(nib.Nifti1Image(np.zeros((4, 4), np.int16), np.eye(4)), tmp_path / "two.nii")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), None), tmp_path / "unsaid.nii")
    empty = tmp_path / "empty"
    empty.mkdir()
    source = scans_of_folder(tmp_path)
    assert [*source] == []
    assert [line.split(":")[0] for line in source.left_out] == [
        "broken.nii.gz",
        "four.nii",
        "two.nii",
        "unsaid.nii",
    ]
    assert "4-D [4, 4, 4, 2], not one 3-D volume" in source.left_out[1]
    with pytest.raises(ValueError, match=r"4 left out, first broken\.nii\.gz"):
        plant(source, tmp_path / "set", progress=False)
    with pytest.raises(ValueError, match=r"holds no \.nii"):
        scans_of_folder(empty)
    with pytest.raises(ValueError, match="is not a folder"):
        scans_of_folder(tmp_path / "absent")


def test_scans_of_folder__float_values_become_whole_hu(tmp_path: Path) -> None:
    values = np.full((3, 4, 5), 41.7, np.float32)
    values[0, 0, 0] = np.nan
    save(tmp_path / "a.nii", values)
    (scan,) = scans_of_folder(tmp_path)
    assert scan.hu[0, 0, 0] == -1024
    assert scan.hu[1, 1, 1] == 42


def test_scans_of_folder__store(tmp_path: Path) -> None:
    hu = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    (tmp_path / "series").mkdir()
    (tmp_path / "store.json").write_text('{"format": 1}')
    row = {
        "key": "k",
        "patient": "p",
        "status": "taken",
        "spacing_z_mm": 3.0,
        "spacing_y_mm": 1.6,
        "spacing_x_mm": 1.5,
    }
    (tmp_path / "series" / "k.json").write_text(json.dumps(row))
    (tmp_path / "series" / "l.left.json").write_text(json.dumps({"key": "l", "status": "left out"}))
    (tmp_path / "series" / "m.json").write_text(json.dumps({**row, "key": "m"}))
    blosc2.asarray(hu, urlpath=str(tmp_path / "series" / "k.b2nd"), mode="w", chunks=(1, 4, 5))
    source = scans_of_folder(tmp_path)
    (scan,) = source
    assert np.array_equal(scan.hu, hu)
    assert scan.spacing_mm == (3.0, 1.6, 1.5)
    assert len(source.left_out) == 1
    assert source.left_out[0].startswith("m.json: ")


def test_measure__ellipse_on_a_slant() -> None:
    y, x = np.mgrid[:80, :80] - 40.0
    along, across = (x + y) / np.sqrt(2), (x - y) / np.sqrt(2)
    ends = measure((along / 25) ** 2 + (across / 15) ** 2 <= 1)
    long, short = np.linalg.norm(ends[0] - ends[1]), np.linalg.norm(ends[2] - ends[3])
    assert abs(long - 50) < 2
    assert abs(short - 30) < 2
    assert abs((ends[1] - ends[0]) @ (ends[3] - ends[2])) < 1e-6 * long * short


def test_measure__one_pixel() -> None:
    ends = measure(np.ones((1, 1), bool))
    assert np.isclose(np.linalg.norm(ends[0] - ends[1]), np.sqrt(2))


@pytest.mark.parametrize(
    ("name", "kind", "low", "high"),
    [
        ("okier_C4KC-KiTS_00072_liverdome_18", "nodule", -1000, -600),
        ("totalseg_example_ct_dicom_20", "liver", 20, 160),
    ],
)
def test_real_ct__lesions_lie_in_their_organ(
    shared: Path, tmp_path: Path, name: str, kind: str, low: int, high: int
) -> None:
    (tmp_path / "ct.nii.gz").symlink_to(shared / "ct" / "torso" / f"{name}.nii.gz")
    (scan,) = scans_of_folder(tmp_path)
    places = find_places(scan.hu, scan.spacing_mm)
    planted, lesions = plant_lesions(
        scan.hu, scan.spacing_mm, places, count=3, rng=np.random.default_rng(0), kinds=(kind,)
    )
    assert len(lesions) == 3
    assert all(low < np.median(crop(scan.hu, lesion)[lesion.mask]) < high for lesion in lesions)
    assert 0 < (planted != scan.hu).mean() < 0.05
