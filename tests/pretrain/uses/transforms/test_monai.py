"""A MONAI pipeline: the slices of `ubr-pretrain crop`, back by its inverse, in any orientation."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from ubr.pretrain.scores.alone import Scorer
from ubr.pretrain.uses.cropping import crop
from ubr.weights.common.notes import Note, note

from ....made.scans import CANONICAL, grid, save_nifti, turned
from .conftest import LEVELS, TURNS, of_page

ours: Any = pytest.importorskip(
    "ubr.pretrain.uses.transforms.monai", reason="the extra monai", exc_type=ImportError
)
data: Any = pytest.importorskip("monai.data")
mt: Any = pytest.importorskip("monai.transforms")


def load(path: Path) -> Any:
    return mt.Compose([mt.LoadImaged("image"), mt.EnsureChannelFirstd("image")])({"image": path})


def image(hu: Any = None, affine: Any = CANONICAL, **meta: str) -> Any:
    """The body as MONAI holds it."""
    hu = grid() if hu is None else hu
    return data.MetaTensor(torch.as_tensor(hu.copy())[None], affine=torch.tensor(affine), meta=meta)


@pytest.mark.parametrize(("axes", "flips"), TURNS)
def test_crop__is_what_the_command_cuts_and_comes_back(axes: Any, flips: Any) -> None:
    hu, affine = turned(grid(), CANONICAL, axes, flips)
    path = save_nifti(Path("ct.nii.gz"), hu, affine)
    cut = crop(path, "released", None, "part.nii.gz", start=LEVELS[0], end=LEVELS[1], margin_mm=7)
    part: Any = nib.load(cut.path)
    assert cut.last - cut.first + 1 == 12
    item = load(path)
    item["label"] = data.MetaTensor(torch.ones(2, *hu.shape), affine=torch.tensor(affine))
    transform = ours.CropToLevelsd(["image", "label"], "image", *LEVELS, margin_mm=7)
    done = transform(item)
    np.testing.assert_array_equal(done["image"][0].numpy(), np.asarray(part.dataobj))
    np.testing.assert_allclose(done["image"].affine, part.affine, atol=1e-4)
    assert done["label"].shape == (2, *part.shape)
    back = transform.inverse(done)
    assert back["image"].shape == (1, *hu.shape) and back["label"].shape == (2, *hu.shape)
    np.testing.assert_allclose(back["image"].affine, affine, atol=1e-4)
    inside = back["label"][0].numpy() == 1
    np.testing.assert_array_equal(back["image"][0].numpy(), np.where(inside, hu, 0))


def test_crop__an_affine_in_lps_is_taken_as_such() -> None:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ CANONICAL
    transform = ours.CropToLevelsd("image", "image", *LEVELS)
    expected = transform({"image": image()})["image"]
    found = transform({"image": image(affine=lps, space="LPS")})["image"]
    assert found.shape == expected.shape == (1, 40, 30, 10)


@pytest.mark.parametrize(("axes", "flips"), TURNS)
def test_coordinate__is_the_position_of_each_slice(axes: Any, flips: Any) -> None:
    hu, affine = turned(grid(), CANONICAL, axes, flips)
    path = save_nifti(Path("ct.nii.gz"), hu, affine)
    added = ours.AddBodyCoordinated("image")(load(path))["image_position_mm"]
    assert added.shape == (1, *hu.shape)
    np.testing.assert_allclose(added.affine, affine, atol=1e-4)
    axis = axes.index(2)
    slices = np.moveaxis(added[0].numpy(), axis, 0).reshape(20, -1)
    assert (np.ptp(slices, axis=1) == 0).all()
    from_head = slices[::-1, 0] if affine[2, axis] > 0 else slices[:, 0]
    of_scorer = Scorer().read(path).series.position_mm
    np.testing.assert_allclose(from_head, of_scorer, rtol=1e-5)
    assert (np.diff(from_head) > 0).all()


def oblique() -> Any:
    turn = np.radians(10)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    return turned @ CANONICAL


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (lambda: torch.zeros(1, 4, 4, 4), "image is a Tensor, and only a MetaTensor"),
        (lambda: image()[:, :, :, 0], r"image has shape \(1, 40, 30\); a CT is \[1, x, y, z\]"),
        (lambda: torch.cat([image(), image()]), r"image has shape \(2, 40, 30, 20\)"),
        (lambda: image(grid() / 1000 + 1), "are not HU"),
        (lambda: image(affine=oblique()), r"image is not sliced along .*oblique: 10.0"),
        (lambda: image(grid()[:, :, ::-1]), "the scores of image fall towards the feet"),
        (lambda: image(grid()[:, :, :9]), "image does not show iliac_crest: .*liver_dome at 22"),
        (lambda: image(grid()[:, :, :2]), "image has 2 slices"),
    ],
)
def test_refused__in_one_line(given: Any, reason: str) -> None:
    transform = ours.CropToLevelsd("image", "image", *LEVELS)
    with pytest.raises(ValueError, match=reason) as caught:
        transform({"image": given()})
    assert "\n" not in str(caught.value)


def test_refused__another_grid_levels_and_weights() -> None:
    transform = ours.CropToLevelsd(["image", "label"], "image", *LEVELS)
    label = image(grid()[:, :, 1:])
    with pytest.raises(ValueError, match=r"label is \(40, 30, 19\) and image \(40, 30, 20\)"):
        transform({"image": image(), "label": label})
    with pytest.raises(KeyError, match="label"):
        transform({"image": image()})
    ours.CropToLevelsd(["image", "label"], "image", *LEVELS, allow_missing_keys=True)(
        {"image": image()}
    )
    with pytest.raises(ValueError, match="unknown level 'spleen'"):
        ours.CropToLevelsd("image", "image", "spleen", "iliac_crest")
    with pytest.raises(ValueError, match="swap the two"):
        ours.ShowsLevelsd("image", *LEVELS[::-1])
    with pytest.raises(ValueError, match=r"without_mm.safetensors give no positions in mm"):
        ours.AddBodyCoordinated("image", weights="without_mm.safetensors")


def test_weights_and_regions__may_be_given() -> None:
    own = {"weights": "mine.safetensors", "regions": "own/released-1.regions.json"}
    done = ours.CropToLevelsd("image", "image", *LEVELS, **own)({"image": image()})
    assert done["image"].shape == (1, 40, 30, 10)
    ends = ours.ShowsLevelsd("image", "-1e7", "1e7", weights="mine.safetensors")
    assert not ends({"image": image()})


def test_shows__drops_what_is_outside_and_what_cannot_be_read() -> None:
    note.cache_clear()
    files = [{"image": path} for path in sorted(Path("scans").iterdir())]
    with pytest.warns(Note, match=r"dropped: .*are not HU"):
        kept = list(filter(ours.ShowsLevelsd("image", *LEVELS), files))
    assert [item["image"].name for item in kept] == ["a.nii.gz", "b.nii.gz"]
    shows = ours.ShowsLevelsd("image", *LEVELS)
    assert shows({"image": str(files[0]["image"])}) and shows({"image": image()})
    assert not shows({"image": image(grid()[:, :, :9])})


def test_pickled__for_workers_that_are_not_forked() -> None:
    transform = pickle.loads(pickle.dumps(ours.CropToLevelsd("image", "image", *LEVELS)))
    assert transform({"image": image()})["image"].shape == (1, 40, 30, 10)


def test_page__its_pipeline_runs() -> None:
    note.cache_clear()
    with pytest.warns(Note, match="dropped"):
        found = of_page("MONAI")
    assert len(found["files"]) == 2
    assert found["batch"]["image"].shape == (2, 2, 40, 30, 14)
    meta = found["item"]["image"].meta["body"]
    assert meta["parts"] == "abdomen" and meta["from_mm"] < meta["to_mm"]
    assert found["whole"].shape == (2, 40, 30, 20)
    np.testing.assert_allclose(found["whole"].affine, CANONICAL, atol=1e-4)
    mm = found["whole"][1].numpy()
    assert (mm[:, :, [0, 1, -2, -1]] == 0).all() and (np.diff(mm[0, 0, 3:17]) > 0).all()
