"""Where lesions fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tests.made.trunk import SPACING, trunk
from ubr.downstream.planting.places import _room, find_places
from ubr.pretrain.data.scans import read_scan
from ubr.pretrain.data.volume import Volume


@pytest.fixture(scope="module")
def flat() -> NDArray[np.int16]:
    return trunk(noise=0)


@pytest.mark.parametrize("mask", [np.s_[2:7, :, 3:9], np.s_[4:4], np.s_[:], np.s_[9, 0, 11]])
def test_room__is_the_distance_to_the_edge_of_mask_or_volume(mask: tuple[slice, ...]) -> None:
    inside = np.zeros((10, 8, 12), bool)
    inside[mask] = np.random.default_rng(0).random(inside[mask].shape) < 0.97
    spacing = (3.0, 2.0, 1.5)
    distance = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing)
    found = _room(inside, spacing)
    assert np.array_equal(found, (distance[1:-1, 1:-1, 1:-1] - 1).clip(0).astype(np.float32))


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


def brain(skull: bool, parted: bool) -> NDArray[np.int16]:
    """A head of 15 x 19 cm, as one mass or as two hemispheres, with a skull or without one."""
    z, y, x = np.ogrid[:40, :120, :120]
    far = np.broadcast_to(((y - 60) / 48) ** 2 + ((x - 60) / 38) ** 2, (40, 120, 120))
    hu = np.where(far < 1, 35, -1000)
    if parted:
        hu[(far < 1) & (abs(x - 60) < 3)] = -50
    if skull:
        hu[(far < 1) & (far > 0.8)] = 900
    return (hu + 0 * z).astype(np.int16)


@pytest.mark.parametrize("parted", [False, True])
@pytest.mark.parametrize("skull", [False, True])
def test_places__a_brain_is_no_liver_with_a_skull_or_without(skull: bool, parted: bool) -> None:
    room = find_places(brain(skull, parted), (3.0, 2.0, 2.0)).room_mm
    assert not room["liver"].any() and not room["kidney"].any()


def test_places__a_liver_stays_one_beside_a_spleen(flat: NDArray[np.int16]) -> None:
    plain = find_places(flat, SPACING).room_mm["liver"]
    z, y, x = np.ogrid[: flat.shape[0], : flat.shape[1], : flat.shape[2]]
    spleen = ((z - 42) / 10) ** 2 + ((y - 85) / 20) ** 2 + ((x - 168) / 18) ** 2 < 1
    beside = np.where(spleen, np.int16(60), flat)
    assert plain.any() and np.array_equal(
        find_places(beside, SPACING).room_mm["liver"] > 0, plain > 0
    )


def without_skull(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    return np.where(ndimage.binary_dilation(hu > 200), -1024, hu).astype(np.int16)


def soft_skull(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    return np.minimum(hu, 80).astype(np.int16)


def flipped(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    return without_skull(hu)[:, :, ::-1].copy()


@pytest.fixture(scope="module")
def heads(shared: Path) -> dict[str, Volume]:
    names = ("train_pt_74", "train_pt_96", "test_pt_263", "test_pt_304", "validation_pt_227")
    folder = shared / "ct" / "headneck"
    return {name: read_scan(folder / f"openkbp_{name}.nii.gz").volume for name in names}


@pytest.mark.parametrize("mask", [np.copy, without_skull, soft_skull, flipped])
def test_places__real_heads_take_no_liver_masses(
    heads: dict[str, Volume], mask: Callable[[NDArray[np.int16]], NDArray[np.int16]]
) -> None:
    """These heads took them: the first two as they are, the others with their skull masked."""
    for name, volume in heads.items():
        room = find_places(mask(volume.hu), volume.spacing_mm).room_mm["liver"]
        assert not room.any(), name


def test_places__real_livers_still_do(shared: Path) -> None:
    for name in ("kits_00064", "lctsc_S1-102", "covidctmd_cap001"):
        volume = read_scan(shared / "ct/torso" / f"{name}.nii.gz").volume
        assert (find_places(volume.hu, volume.spacing_mm).room_mm["liver"] > 5).sum() > 300, name
