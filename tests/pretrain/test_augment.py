"""Random views: off by default, a function of (seed, step, group), and true to what they say."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ubr.pretrain.augment import Augment
from ubr.weights.common.hu import AIR_HU

ALL = Augment(
    crop_area=0.5,
    field_of_view=1.3,
    rotation_deg=20,
    flip=0.5,
    hu_shift=20,
    hu_scale=0.1,
    noise_hu=10,
)


def body(g: int = 6, m: int = 4, size: int = 32) -> torch.Tensor:
    """Discs of soft tissue in air, int16."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    disc = (y - size / 2) ** 2 + (x - size / 2) ** 2 < (size / 4) ** 2
    return torch.where(disc, 40, AIR_HU).to(torch.int16).expand(g, m, size, size)


def test_views__change_nothing_by_default() -> None:
    assert torch.equal(Augment().views(body(), 32, g=6, seed=0, step=0), body().float())


def test_views__same_for_one_or_three_processes() -> None:
    whole = ALL.views(body(), 24, g=6, seed=1, step=5)
    for rank in range(3):
        mine = ALL.views(body()[rank::3], 24, g=6, seed=1, step=5, rank=rank, world=3)
        torch.testing.assert_close(mine, whole[rank::3])
    assert not torch.equal(whole, ALL.views(body(), 24, g=6, seed=1, step=6))
    assert not torch.equal(whole, ALL.views(body(), 24, g=6, seed=2, step=5))


def test_views__neighbours_get_the_view_of_their_slice() -> None:
    quiet = dataclasses.replace(ALL, noise_hu=0)
    beside = torch.stack([body(), body(), body().flip(-1) + 100], dim=2)
    views = quiet.views(beside, 24, g=6, seed=1, step=5)
    assert views.shape == (6, 4, 3, 24, 24)
    torch.testing.assert_close(views[:, :, 1], quiet.views(body(), 24, g=6, seed=1, step=5))
    assert torch.equal(views[:, :, 0], views[:, :, 1]) and not torch.equal(
        views[:, :, 2], views[:, :, 1]
    )
    assert not torch.equal(
        *ALL.views(beside, 24, g=6, seed=1, step=5)[:, :, :2].unbind(2)
    )  # each pixel has its own noise


def test_views__crops_enlarge_the_body_and_keep_its_mass() -> None:
    views = Augment(crop_area=0.5, crop_mass=1 / 3).views(body(50), 32, g=50, seed=0, step=0)
    share = (views > -500).float().mean(dim=(2, 3)) / (body(1)[0, 0] > -500).float().mean()
    assert share.max() > 1.3  # an area of one half doubles what it shows
    # A crop of area a shows 1/a of the pixels for each unit of mass it kept; with a <= 1 and a
    # third kept, never less than a third.
    assert share.min() > 1 / 3 - 0.02


def test_views__a_crop_without_the_body_is_replaced_by_the_whole_slice() -> None:
    corner = torch.full((20, 2, 32, 32), AIR_HU, dtype=torch.int16)
    corner[..., :4, :4] = 40
    views = Augment(crop_area=0.3, crop_mass=0.9).views(corner, 32, g=20, seed=0, step=0)
    assert ((views > -500).sum(dim=(2, 3)) >= 9).all()


def test_views__field_of_view_scales_a_volume_as_one() -> None:
    views = Augment(field_of_view=1.5).views(body(40), 64, g=40, seed=0, step=0)
    width = (views > -500).sum(dim=(2, 3)).sqrt()
    assert torch.equal(width.amin(1), width.amax(1))  # one factor a volume
    assert width.max() / width.min() > 1.5
    assert views[..., 0, 0].unique().tolist() == [AIR_HU]  # outside the slice is air


def test_views__turned_and_mirrored_a_volume_as_one() -> None:
    bar = torch.full((30, 2, 33, 33), AIR_HU, dtype=torch.int16)
    bar[..., 4:10, 15:18] = 40  # from the middle upwards
    bar[..., 15:18, 22:30] = 40  # and to the right
    turned = Augment(rotation_deg=90).views(bar, 33, g=30, seed=0, step=0)
    assert torch.equal(turned[:, 0], turned[:, 1])
    mass = (turned[:, 0] - AIR_HU).sum((1, 2)) / (bar[0, 0].float() - AIR_HU).sum()
    assert mass.min() > 0.9 and mass.max() < 1.1
    mirrored = Augment(flip=0.5).views(bar, 33, g=30, seed=0, step=0)[:, 0]
    right = (mirrored[:, 15:18, 22:30] > 0).all((1, 2))
    assert 5 < int(right.sum()) < 25
    torch.testing.assert_close(mirrored[~right][0], bar[0, 0].flip(-1).float(), rtol=0, atol=0.5)
    torch.testing.assert_close(mirrored[right][0], bar[0, 0].float(), rtol=0, atol=0.5)


def test_views__noise_has_the_asked_spread() -> None:
    views = Augment(noise_hu=50).views(body(40), 32, g=40, seed=0, step=0) - body(40).float()
    sigma = views.std((1, 2, 3))
    assert sigma.max() < 52 and sigma.mean() == pytest.approx(25, abs=6)
    assert not torch.equal(views[:, 0], views[:, 1]), "every slice has its own"


def test_views__hu_move_tissue_and_leave_air() -> None:
    views = Augment(hu_shift=30, hu_scale=0.2).views(body(40), 32, g=40, seed=0, step=0)
    tissue, air = views[:, 0, 16, 16], views[:, 0, 0, 0]
    assert (air == AIR_HU).all()
    assert tissue.std() > 5 and (tissue - 40).abs().max() <= 30 + 0.2 * 40 + 1e-3


def test_views__finer_grids_are_brought_to_size() -> None:
    assert Augment(crop_area=0.5).magnifies == pytest.approx(2**0.5)
    assert Augment().views(body(size=48), 32, g=6, seed=0, step=0).shape == (6, 4, 32, 32)


@pytest.mark.parametrize(
    "wrong", [{"crop_area": 0}, {"field_of_view": 0.5}, {"hu_scale": 1}, {"hu_shift": -1}]
)
def test_augment__refuses_values_out_of_range(wrong: dict[str, float]) -> None:
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=rf"augment\.{name} must be in .*, got {wrong[name]}"):
        Augment(**wrong)
