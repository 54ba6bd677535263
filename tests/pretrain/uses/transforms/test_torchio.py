"""A TorchIO pipeline: the slices of `ubr-pretrain crop`, back by its history, however they lie."""

from __future__ import annotations

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
    "ubr.pretrain.uses.transforms.torchio", reason="the extra torchio", exc_type=ImportError
)
tio: Any = pytest.importorskip("torchio")


def subject(hu: Any = None, affine: Any = CANONICAL) -> Any:
    """The body as TorchIO holds it."""
    hu = grid() if hu is None else hu
    return tio.Subject(ct=tio.ScalarImage(tensor=torch.as_tensor(hu.copy())[None], affine=affine))


@pytest.mark.parametrize(("axes", "flips"), TURNS)
def test_crop__is_what_the_command_cuts_and_comes_back(axes: Any, flips: Any) -> None:
    hu, affine = turned(grid(), CANONICAL, axes, flips)
    path = save_nifti(Path("ct.nii.gz"), hu, affine)
    cut = crop(path, "released", None, "part.nii.gz", start=LEVELS[0], end=LEVELS[1], margin_mm=7)
    part: Any = nib.load(cut.path)
    assert cut.last - cut.first + 1 == 12
    given = tio.Subject(
        organ=tio.LabelMap(tensor=torch.ones(1, *hu.shape, dtype=torch.int16), affine=affine),
        ct=tio.ScalarImage(path),
    )
    done = ours.CropToLevels(*LEVELS, margin_mm=7)(given)
    np.testing.assert_array_equal(done["ct"].data[0].numpy(), np.asarray(part.dataobj))
    np.testing.assert_allclose(done["ct"].affine, part.affine, atol=1e-4)
    assert done["organ"].spatial_shape == part.shape
    assert [name for name, _ in done.applied_transforms] == ["Crop"]
    back = done.apply_inverse_transform()
    assert back.spatial_shape == hu.shape == given.spatial_shape
    np.testing.assert_allclose(back["ct"].affine, affine, atol=1e-4)
    inside = back["organ"].data[0].numpy() == 1
    np.testing.assert_array_equal(back["ct"].data[0].numpy(), np.where(inside, hu, 0))


@pytest.mark.parametrize(("axes", "flips"), TURNS)
def test_coordinate__is_the_position_of_each_slice(axes: Any, flips: Any) -> None:
    hu, affine = turned(grid(), CANONICAL, axes, flips)
    path = save_nifti(Path("ct.nii.gz"), hu, affine)
    added = ours.AddBodyCoordinate("mm")(tio.Subject(ct=tio.ScalarImage(path)))["mm"]
    assert added.shape == (1, *hu.shape)
    np.testing.assert_allclose(added.affine, affine, atol=1e-4)
    axis = axes.index(2)
    slices = np.moveaxis(added.data[0].numpy(), axis, 0).reshape(20, -1)
    assert (np.ptp(slices, axis=1) == 0).all()
    from_head = slices[::-1, 0] if affine[2, axis] > 0 else slices[:, 0]
    of_scorer = Scorer().read(path).series.position_mm
    np.testing.assert_allclose(from_head, of_scorer, rtol=1e-5)
    assert (np.diff(from_head) > 0).all()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (subject(grid() / 1000 + 1), "are not HU"),
        (subject(grid()[:, :, ::-1]), "the scores of ct fall towards the feet"),
        (subject(grid()[:, :, :9]), "ct does not show iliac_crest: .*liver_dome at 22"),
        (
            tio.Subject(ct=tio.ScalarImage(tensor=torch.zeros(2, 4, 4, 4))),
            "ct has 2 channels; a CT has one",
        ),
        (
            tio.Subject(organ=tio.LabelMap(tensor=torch.zeros(1, 4, 4, 4))),
            "the subject has no ScalarImage ''; it has: none",
        ),
    ],
)
def test_refused__in_one_line(given: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        ours.CropToLevels(*LEVELS)(given)
    assert "\n" not in str(caught.value)


def test_refused__names_levels_and_weights() -> None:
    with pytest.raises(ValueError, match="no ScalarImage 'mr'; it has: ct"):
        ours.CropToLevels(*LEVELS, image_name="mr")(subject())
    with pytest.raises(ValueError, match="unknown level 'spleen'"):
        ours.ShowsLevels("spleen", "iliac_crest")
    with pytest.raises(ValueError, match="swap the two"):
        ours.CropToLevels(*LEVELS[::-1])
    with pytest.raises(ValueError, match=r"without_mm.safetensors give no positions in mm"):
        ours.AddBodyMetadata(weights="without_mm.safetensors")


def test_history__names_what_was_added_so_that_it_can_be_repeated() -> None:
    own = {"weights": "mine.safetensors", "regions": "own/released-1.regions.json"}
    transform = tio.Compose([ours.CropToLevels(*LEVELS, **own), ours.AddBodyCoordinate("mm")])
    done = transform(subject())
    again = done.get_composed_history()(subject())
    assert again["mm"].shape == done["mm"].shape == (1, 40, 30, 10)
    np.testing.assert_array_equal(again["mm"].data, done["mm"].data)


def test_shows__drops_what_is_outside_and_what_cannot_be_read() -> None:
    note.cache_clear()
    paths = sorted(Path("scans").iterdir())
    with pytest.warns(Note, match=r"dropped: .*are not HU"):
        kept = list(
            filter(
                ours.ShowsLevels(*LEVELS), (tio.Subject(ct=tio.ScalarImage(path)) for path in paths)
            )
        )
    assert [one["ct"].path.name for one in kept] == ["a.nii.gz", "b.nii.gz"]


def test_page__its_pipeline_runs() -> None:
    note.cache_clear()
    with pytest.warns(Note, match="dropped"):
        found = of_page("TorchIO")
    assert len(found["subjects"]) == 2
    done, whole = found["subject"], found["whole"]
    assert done["body"]["parts"] == "abdomen" and done["body"]["from_mm"] < done["body"]["to_mm"]
    assert done["ct"].shape == done["position_mm"].shape == (1, 40, 30, 14)
    assert 0 <= done["ct"].data.min() < done["ct"].data.max() <= 1 < done["position_mm"].data.max()
    assert whole.spatial_shape == (40, 30, 20)
    np.testing.assert_allclose(whole["ct"].affine, CANONICAL, atol=1e-4)
