"""Items against the steps they are made of; random views as a function of (seed, epoch, index);
images that cannot be read.
"""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from tests.made.deeplesion import row, write_slice, write_table
from ubr.downstream.augmentation import Augmentation
from ubr.downstream.dataset import DeepLesion, collate
from ubr.downstream.slices import View
from ubr.pretrain.data.deeplesion.images import load_hu, slice_path
from ubr.pretrain.data.deeplesion.table import read_table
from ubr.weights import InputSpec

PLAIN = InputSpec()
SIZE = 64


def write_folder(folder: Path, n: int = 6) -> Path:
    """n key slices (of five slices each, 2 mm apart, noise) of as many patients, each with a lesion
    of 1000 HU in its box.
    """
    rows = []
    for i in range(1, n + 1):
        rng = np.random.default_rng(i)
        x, y = (int(v) for v in rng.integers(10, 40, 2))
        for z in range(8, 13):
            hu = rng.normal(40, 20, (SIZE, SIZE)).astype(int)
            hu[y : y + 12, x : x + 10] = 1000
            write_slice(folder, f"{i:06d}_01_01/{z:03d}", hu)
        rows.append(
            row(
                f"{i:06d}_01_01_010.png",
                Bounding_boxes=f"{x + 1}, {y + 1}, {x + 11}, {y + 13}",
                Spacing_mm_px_="0.8, 0.8, 2",
                Image_size=f"{SIZE}, {SIZE}",
                Slice_range="8, 12",
                Train_Val_Test=1,
            )
        )
    return write_table(folder, rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("deeplesion"))


def damage(folder: Path, patient: int) -> None:
    path = folder / f"Images_png/{patient:06d}_01_01/010.png"
    path.write_bytes(path.read_bytes()[:100])


def test_item__is_the_windowed_slice_and_its_lesions(folder: Path) -> None:
    data = DeepLesion(folder, "train", PLAIN)
    assert len(data) == 6
    for i in range(6):
        image, target = data[i]
        hu = load_hu(slice_path(folder / "Images_png", target["key"].folder, 10))
        expected = ((torch.tensor(hu).float() + 175) / 450).clamp(0, 1)
        torch.testing.assert_close(image, expected.expand(3, -1, -1))
        assert image.is_contiguous() and image.dtype == torch.float32
        assert (target["boxes"].dtype, target["labels"].dtype, target["image_id"].dtype) == (
            torch.float32,
            torch.int64,
            torch.int64,
        )
        assert target["labels"].tolist() == [1] and target["image_id"].item() == i
        x1, y1, x2, y2 = target["boxes"][0].int().tolist()
        lesion = image[0] == 1
        assert lesion[y1:y2, x1:x2].all() and lesion.sum() == 120
        assert target["geometry"].to_slice(target["boxes"]) == pytest.approx(
            np.array([b.edges for b in target["key"].boxes])
        )
    assert len(list(data)) == 6  # an index too large ends an iteration


def test_item__three_slices_are_three_channels_each_windowed_by_itself(folder: Path) -> None:
    image, target = DeepLesion(folder, "train", PLAIN, view=View(channels=3))[2]
    for c, z in enumerate((9, 10, 11)):
        hu = load_hu(slice_path(folder / "Images_png", target["key"].folder, z))
        torch.testing.assert_close(image[c], ((torch.tensor(hu).float() + 175) / 450).clamp(0, 1))


def test_item__folded_weights_get_hu_zeros_ones(folder: Path) -> None:
    image, _ = DeepLesion(folder, "train", InputSpec(channels="folded"))[0]
    assert image[0].max() == 275 and (image[1] == 0).all() and (image[2] == 1).all()


def test_dataset__refuses_what_cannot_be_shown(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^weights with channels 'folded' hold one slice, got view.channels 3"
    ):
        DeepLesion(folder, "train", InputSpec(channels="folded"), view=View(channels=3))
    with pytest.raises(
        ValueError, match=r"^a trunk takes three channels, got view.channels 5; choose 1 or 3"
    ):
        DeepLesion(folder, "train", PLAIN, view=View(channels=5))
    with pytest.raises(ValueError, match="unreadable must be 'stop' or 'skip', got 'ignore'"):
        DeepLesion(folder, "train", PLAIN, unreadable="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no images of split val"):
        DeepLesion(folder, "val", PLAIN)


# ---- random views


def test_share__is_drawn_by_seed_and_nested(folder: Path) -> None:
    def names(share: float, seed: int = 0) -> set[str]:
        return {key.name for key in DeepLesion(folder, "train", PLAIN, share=share, seed=seed).keys}

    assert len(names(0.5)) == 3 and len(names(0.01)) == 1 and len(names(1)) == 6
    assert names(0.2) < names(0.5) < names(1)
    assert len({frozenset(names(0.5, seed)) for seed in range(6)}) > 1
    every = {key.name: i for i, key in enumerate(DeepLesion(folder, "train", PLAIN).keys)}
    half = DeepLesion(folder, "train", PLAIN, share=0.5, unreadable="skip")
    assert all(target["image_id"].item() == every[target["key"].name] for _, target in half)
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match=f"share must be above 0 and at most 1, got {wrong:g}"):
            names(wrong)


def test_augmentation__is_a_function_of_seed_epoch_and_index() -> None:
    augment = Augmentation(hu_shift=20, hu_scale=0.1)
    assert augment.draw(3, 5) == augment.draw(3, 5)
    others = [
        augment.draw(3, 6),
        augment.draw(4, 5),
        Augmentation(hu_shift=20, hu_scale=0.1, seed=1).draw(3, 5),
    ]
    assert len({augment.draw(3, 5), *others}) == 4
    calm = Augmentation(flip=0, scale=(0.8, 1.2)).draw(3, 5)
    assert calm.scale == augment.draw(3, 5).scale and (calm.hu_shift, calm.hu_scale) == (
        0,
        1,
    )  # parts do not depend on each other


def test_augmentation__draws_what_it_says() -> None:
    changes = [
        Augmentation(flip=0.3, scale=(0.5, 2), hu_shift=50, hu_scale=0.2).draw(0, i)
        for i in range(2000)
    ]
    assert np.mean([c.flip for c in changes]) == pytest.approx(0.3, abs=0.04)
    for values, low, high in (
        (np.log2([c.scale for c in changes]), -1, 1),
        (np.array([c.hu_shift for c in changes]), -50, 50),
        (np.array([c.hu_scale for c in changes]), 0.8, 1.2),
    ):
        assert (
            low <= values.min() < low + 0.05 * (high - low)
            and high - 0.05 * (high - low) < values.max() <= high
        )
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.05 * (high - low))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flip": 1.5}, "augment.flip must be in 0..1, got 1.5"),
        ({"scale": (1.2, 0.8)}, "smallest, largest"),
        ({"seed": -1}, "augment.seed"),
    ],
)
def test_augmentation__refuses(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**values)  # type: ignore[arg-type]


def test_augmentation__moves_image_and_boxes_together(folder: Path) -> None:
    """In each of many views the lesion fills its box and nothing else, and the box comes back to
    the annotated one.
    """
    data = DeepLesion(folder, "train", PLAIN, augment=Augmentation(scale=(0.6, 1.6)))
    sizes, flips = set(), set()
    for epoch in range(8):
        for image, target in (data.at(i, epoch) for i in range(6)):
            sizes.add(image.shape[-1])
            flips.add(target["geometry"].flipped)
            box = target["boxes"][0]
            assert target["geometry"].to_slice(target["boxes"]) == pytest.approx(
                np.array([b.edges for b in target["key"].boxes]), abs=1e-3
            )
            inner = (box + torch.tensor([1.5, 1.5, -1.5, -1.5])).round().int().tolist()
            assert (image[0, inner[1] : inner[3], inner[0] : inner[2]] == 1).all()
            outer = (box + torch.tensor([-2.0, -2.0, 2.0, 2.0])).round().int().clamp(min=0).tolist()
            image[0, outer[1] : outer[3], outer[0] : outer[2]] = 0
            assert image[0].max() < 0.8
    assert len(sizes) > 20 and flips == {True, False}


def test_augmentation__a_mirrored_item_is_the_item_mirrored(folder: Path) -> None:
    plain, mirrored = (
        DeepLesion(
            folder,
            "train",
            PLAIN,
            view=View(channels=3),
            augment=Augmentation(flip=p, scale=(1, 1)),
        )[1]
        for p in (0, 1)
    )
    assert torch.equal(plain[0].flip(2), mirrored[0])
    assert (SIZE - plain[1]["boxes"][:, [2, 0]] == mirrored[1]["boxes"][:, [0, 2]]).all()


def test_augmentation__enlarges_an_image_that_is_at_its_limit(folder: Path) -> None:
    view, augment = View(longest_px=40), Augmentation(flip=0, scale=(1.5, 1.5))
    assert DeepLesion(folder, "train", PLAIN, view=view)[0][0].shape == (3, 40, 40)
    assert DeepLesion(folder, "train", PLAIN, view=view, augment=augment)[0][0].shape == (3, 60, 60)


def test_augmentation__changes_hu_but_not_air() -> None:
    change = Augmentation(hu_shift=100, hu_scale=0.2).draw(0, 0)
    hu = np.array([[[-1024, -1005, 0, 500]]], np.float32)
    expected = [[[-1024, -1005, change.hu_shift, 500 * change.hu_scale + change.hu_shift]]]
    assert change.of_hu(hu) == pytest.approx(np.array(expected), rel=1e-5)


# ---- workers


def gathered(data: DeepLesion, workers: int, method: str = "fork") -> list[torch.Tensor]:
    context = multiprocessing.get_context(method) if workers else None
    loader = DataLoader(
        data, batch_size=2, num_workers=workers, collate_fn=collate, multiprocessing_context=context
    )
    return [v for images, targets in loader for v in (*images, *(t["boxes"] for t in targets))]


def test_workers__any_number_gives_the_same_items(folder: Path) -> None:
    """And neither global random numbers nor a copy through pickle matter."""
    data = DeepLesion(folder, "train", PLAIN, augment=Augmentation(hu_shift=30))
    alone = gathered(data, 0)
    torch.manual_seed(99)
    again = pickle.loads(pickle.dumps(data))
    for other in (gathered(data, 2), gathered(again, 0)):
        assert len(alone) == len(other) == 12 and all(map(torch.equal, alone, other))


def test_workers__report_damage(tmp_path: Path) -> None:
    damage(write_folder(tmp_path), 3)
    data = DeepLesion(tmp_path, "train", PLAIN, augment=Augmentation(), unreadable="skip")
    assert len(gathered(data, 1)) == 12
    assert data.unreadable_names == ("000003_01_01/010",)


# ---- images that cannot be read


def test_unreadable__stops_by_default_and_names_the_image(tmp_path: Path) -> None:
    damage(write_folder(tmp_path), 3)
    data = DeepLesion(tmp_path, "train", PLAIN)
    with pytest.raises(
        ValueError, match=r"^000003_01_01/010\.png is damaged, or not a PNG: get it again$"
    ):
        data[2]
    assert data.unreadable_names == ("000003_01_01/010",)


def test_unreadable__the_next_readable_one_stands_in_and_is_itself(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for patient in (3, 4, 6):
        damage(tmp_path, patient)
    data = DeepLesion(tmp_path, "train", PLAIN, unreadable="skip")
    assert [target["image_id"].item() for _, target in data] == [0, 1, 4, 4, 4, 0]
    assert data.unreadable_names == ("000003_01_01/010", "000004_01_01/010", "000006_01_01/010")
    for patient in (1, 2, 5):
        damage(tmp_path, patient)
    with pytest.raises(
        ValueError, match=r"^none of the 6 images can be read, the first is 000002_01_01/010.png"
    ):
        data[1]


def test_unreadable__absent_images_stop_at_once_or_are_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for patient in (1, 4):
        (tmp_path / f"Images_png/{patient:06d}_01_01/010.png").unlink()
    with pytest.raises(
        ValueError,
        match=r"^2 of 6 images of split train are absent from Images_png, the first is "
        r"000001_01_01/010\.png",
    ):
        DeepLesion(tmp_path, "train", PLAIN)
    data = DeepLesion(tmp_path, "train", PLAIN, unreadable="skip")
    assert [target["image_id"].item() for _, target in data] == [
        1,
        2,
        4,
        5,
    ]  # as in the whole table
    assert data.unreadable_names == ("000001_01_01/010", "000004_01_01/010")


def test_boxes__are_cut_at_the_image_and_not_lost(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    values = {
        "Spacing_mm_px_": "0.8, 0.8, 2",
        "Image_size": f"{SIZE}, {SIZE}",
        "Slice_range": "8, 12",
        "Train_Val_Test": 1,
    }
    write_table(tmp_path, [row("000001_01_01_010.png", Bounding_boxes="51, 41, 70, 51", **values)])
    _, target = DeepLesion(tmp_path, "train", PLAIN)[0]
    assert target["boxes"].tolist() == [[50, 40, 64, 50]] and target["key"].boxes[0].x2 == 69
    write_table(
        tmp_path, [row("000001_01_01_010.png", Bounding_boxes="151, 41, 170, 51", **values)]
    )
    with pytest.raises(
        ValueError,
        match=r"^000001_01_01/010\.png has a box outside the image; correct or remove its rows",
    ):
        DeepLesion(tmp_path, "train", PLAIN)[0]


def test_real_images__are_items(lesions: Path) -> None:
    for split in ("val", "test"):
        data = DeepLesion(lesions, split, PLAIN, unreadable="skip", augment=Augmentation())
        there = [
            key
            for key in read_table(lesions, split=split)
            if (lesions / "Images_png" / f"{key.name}.png").is_file()
        ]
        assert data.keys == there != []
        for image, target in data:
            assert image.shape[0] == 3 and 0 <= image.min() and image.max() <= 1
            x1, y1, x2, y2 = target["boxes"][0].int().tolist()
            if target["key"].boxes[0].lesion_type == 4:
                assert 0.3 < image[0, y1:y2, x1:x2].mean() < 0.9  # liver, not air


def test_load_hu__of_another_format_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow hands EPS, whatever it is called, to Ghostscript."""
    started: list[Any] = []
    monkeypatch.setattr("subprocess.Popen", lambda *words, **_: started.append(words))
    monkeypatch.setattr("subprocess.check_call", lambda *words, **_: started.append(words))
    path = tmp_path / "000001_01_01" / "010.png"
    path.parent.mkdir()
    Image.new("RGB", (8, 8)).save(path, "EPS")
    with pytest.raises(
        ValueError, match=r"^000001_01_01/010\.png is damaged, or not a PNG: get it again"
    ):
        load_hu(path)
    for other in ("TIFF", "PPM"):
        Image.fromarray(np.zeros((8, 8), np.uint16)).save(path, other)
        with pytest.raises(ValueError, match="is damaged, or not a PNG"):
            load_hu(path)
    assert not started
