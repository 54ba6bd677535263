"""Planted lesions: what they do to a volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tests.made.trunk import NOISE, SPACING, trunk
from ubr.downstream.planting.lesions import Lesion, plant_lesions
from ubr.downstream.planting.measurement import measure
from ubr.downstream.planting.places import KINDS, find_places
from ubr.pretrain.data.scans import read_scan


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


@pytest.mark.parametrize(
    ("name", "kind", "low", "high"),
    [
        ("okier_C4KC-KiTS_00072_liverdome_18", "nodule", -1000, -600),
        ("totalseg_example_ct_dicom_20", "liver", 20, 160),
    ],
)
def test_real_ct__lesions_lie_in_their_organ(
    shared: Path, name: str, kind: str, low: int, high: int
) -> None:
    volume = read_scan(shared / "ct" / "torso" / f"{name}.nii.gz").volume
    places = find_places(volume.hu, volume.spacing_mm)
    planted, lesions = plant_lesions(
        volume.hu, volume.spacing_mm, places, count=3, rng=np.random.default_rng(0), kinds=(kind,)
    )
    assert len(lesions) == 3
    assert all(low < np.median(crop(volume.hu, lesion)[lesion.mask]) < high for lesion in lesions)
    assert 0 < (planted != volume.hu).mean() < 0.05
