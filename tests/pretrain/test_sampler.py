"""Properties of the sampler, for any volumes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ubr.pretrain.sampler import SliceSampler, even_sizes


@st.composite
def samplers(draw: st.DrawFn) -> SliceSampler:
    m = draw(st.integers(2, 12))
    lengths = draw(st.lists(st.integers(m, 200), min_size=1, max_size=12))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    uneven = draw(st.booleans())
    z = [
        np.concatenate(
            [[0], np.cumsum(rng.uniform(1, 6, n - 1) if uneven else np.full(n - 1, 2.5))]
        )
        for n in lengths
    ]
    return SliceSampler(
        z,
        g=draw(st.integers(1, len(lengths))),
        m=m,
        unit=draw(st.sampled_from(["index", "mm"])),
        begin=draw(st.sampled_from(["uniform", "ends"])),
        seed=draw(st.integers(0, 2**31 - 1)),
    )


@given(samplers(), st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_groups__are_distinct_volumes_of_increasing_slices_within_them(
    sampler: SliceSampler, step: int
) -> None:
    volumes, slices = sampler.groups(step)
    assert volumes.shape == (sampler.g,) and slices.shape == (sampler.g, sampler.m)
    assert len(set(volumes.tolist())) == sampler.g
    assert (np.diff(slices, axis=1) > 0).all()
    for volume, chosen in zip(volumes, slices, strict=True):
        assert 0 <= chosen[0] and chosen[-1] < len(sampler.z_mm[volume])
        if sampler.unit == "index":
            assert len(set(np.diff(chosen).tolist())) == 1


@given(samplers(), st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_groups__are_a_pure_function_of_seed_and_step(sampler: SliceSampler, step: int) -> None:
    sampler.groups(step + 1)  # what was asked before must not matter
    again = SliceSampler(
        sampler.z_mm,
        g=sampler.g,
        m=sampler.m,
        unit=sampler.unit,
        begin=sampler.begin,
        seed=sampler.seed,
    )
    for a, b in zip(sampler.groups(step), again.groups(step), strict=True):
        assert (a == b).all()


def test_groups__differ_between_steps_and_seeds() -> None:
    z = [np.arange(100.0) for _ in range(20)]
    a, b = SliceSampler(z, seed=0), SliceSampler(z, seed=1)
    assert (a.groups(0)[1] != a.groups(1)[1]).any()
    assert (a.groups(0)[1] != b.groups(0)[1]).any()


def test_groups__index_steps_reach_every_start_and_interval() -> None:
    """n = 15, m = 8: k may be 1 (starts 0..7) or 2 (start 0), as the paper's random j and k."""
    sampler = SliceSampler([np.arange(15.0)], g=1, m=8)
    seen = {
        (int(s[0, 0]), int(s[0, 1] - s[0, 0])) for s in (sampler.groups(t)[1] for t in range(500))
    }
    assert seen == {(j, 1) for j in range(8)} | {(0, 2)}


def test_groups__ends_begin_more_often_near_the_first_and_last_possible_start() -> None:
    """Of the logistic of U(-5, 5) 41 % lies in the outer tenth; of the uniform start, a tenth."""
    shares = {}
    for begin in ("uniform", "ends"):
        sampler = SliceSampler([np.arange(400.0)], g=1, m=8, begin=begin)  # type: ignore[arg-type]
        groups = [sampler.groups(t)[1][0] for t in range(3000)]
        where = np.array([g[0] / (400 - 7 * (g[1] - g[0])) for g in groups])
        shares[begin] = np.mean((where < 0.05) | (where > 0.95))
    assert shares["uniform"] == pytest.approx(0.10, abs=0.03)
    assert shares["ends"] == pytest.approx(0.41, abs=0.05)


def test_groups__millimetre_steps_cross_a_gap_evenly() -> None:
    """Slices of 2 mm with 60 mm missing:

    by index the steps in mm are false at the gap, by mm they are even to half a slice.
    """
    z = np.concatenate([np.arange(0, 120, 2.0), np.arange(180, 300, 2.0)])

    def worst(unit: str) -> float:
        sampler = SliceSampler([z], g=1, m=4, unit=unit)  # type: ignore[arg-type]
        second = [np.abs(np.diff(z[sampler.groups(t)[1][0]], n=2)).max() for t in range(400)]
        return float(np.mean(second))

    assert worst("mm") < worst("index") / 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"g": 3}, r"g \(volumes per step\) must be in 1\.\.2, .* got 3"),
        ({"g": 0}, "got 0"),
        ({"g": 1, "m": 1}, "m .* must be at least 2, got 1"),
        ({"g": 1, "m": 31}, "a volume of 30 slices cannot give m = 31"),
    ],
)
def test_sampler__refuses(options: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SliceSampler([np.arange(30.0), np.arange(40.0)], **options)


def test_even_sizes__kinds_of_volumes_are_drawn_alike_however_many_there_are() -> None:
    rng = np.random.default_rng(0)
    heads, trunks = (
        [size * rng.uniform(0.95, 1.05, 20) for _ in range(n)]
        for size, n in ((30_000, 40), (120_000, 5))
    )
    share = even_sizes([*heads, *trunks, np.zeros(3)])
    assert (share > 0).all() and share[40:45].sum() == pytest.approx(share[:40].sum(), rel=0.1)
    z = [np.arange(10) * 3.0 for _ in range(45)]
    sampler = SliceSampler(z, g=1, m=4, share=share[:45])
    drawn = np.array([sampler.groups(step)[0][0] >= 40 for step in range(2000)])
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)


def test_even_sizes__of_many_volumes_are_counted_in_little_memory() -> None:
    areas = [np.full(3, area) for area in np.random.default_rng(0).uniform(1e4, 9e4, 3000)]
    tracemalloc.start()
    share = even_sizes(areas)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6  # of all pairs at once it is 144 MB
    size = np.log([area[0] for area in areas])
    alike = np.exp(-0.5 * ((size[:, None] - size[None, :]) / 0.3) ** 2).sum(1)
    np.testing.assert_array_equal(share, 1 / alike)
