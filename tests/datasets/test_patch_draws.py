"""Batches are balanced, the same again for the same numbers, and every patch has its turn."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.patch_draws import BalancedDraws, Pool, permuted

pools = st.lists(st.integers(1, 40), min_size=1, max_size=3)


@st.composite
def draws(draw: st.DrawFn) -> BalancedDraws:
    sizes = draw(st.lists(pools, min_size=1, max_size=4))
    numbers = iter(range(100))
    groups = tuple(tuple(Pool(next(numbers), size) for size in group) for group in sizes)
    return BalancedDraws(groups, draw(st.integers(0, 2**32 - 1)))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**32), st.integers(0, 5))
def test_a_permutation_takes_every_number_to_another(size: int, seed: int, epoch: int) -> None:
    found = permuted(np.arange(size), size, (seed, epoch))
    assert sorted(found.tolist()) == list(range(size))


def test_permutations_of_few_numbers_are_all_about_as_frequent() -> None:
    found = Counter(tuple(permuted(np.arange(4), 4, (seed,)).tolist()) for seed in range(4800))
    assert len(found) == 24
    assert min(found.values()) > 120 and max(found.values()) < 280  # 200 +- 14 expected


def test_neighbours_of_a_large_permutation_are_not_neighbours() -> None:
    found = permuted(np.arange(10_000), 1_000_003, (7,)) / 1_000_003
    assert abs(found.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.04


@settings(max_examples=100, deadline=None)
@given(draws(), st.integers(1, 50), st.integers(0, 3), st.integers(0, 20))
def test_every_batch_is_balanced_to_within_one(plan: BalancedDraws, size: int, epoch: int, step: int) -> None:
    batch = plan.draw(size, epoch, step)
    counts = np.bincount(batch.groups, minlength=len(plan.groups))
    assert counts.sum() == size and counts.max() - counts.min() <= 1
    for group, stratum, place in zip(batch.groups, batch.strata, batch.places, strict=True):
        pool = next(pool for pool in plan.groups[group] if pool.stratum == stratum)
        assert 0 <= place < pool.patches


@settings(max_examples=60, deadline=None)
@given(draws(), st.integers(1, 50), st.integers(0, 3))
def test_no_patch_comes_again_before_all_of_its_group_came(
    plan: BalancedDraws, size: int, epoch: int
) -> None:
    drawn = [plan.draw(size, epoch, step) for step in range(-(-400 // size))]
    for number, group in enumerate(plan.groups):
        came = [
            (int(stratum), int(place))
            for batch in drawn
            for which, stratum, place in zip(batch.groups, batch.strata, batch.places, strict=True)
            if which == number
        ]
        patches = sum(pool.patches for pool in group)
        for start in range(0, len(came) - patches, patches):
            assert len(set(came[start : start + patches])) == patches


@settings(max_examples=60, deadline=None)
@given(draws(), st.integers(0, 3), st.integers(0, 9))
def test_processes_that_share_a_batch_draw_what_one_would(plan: BalancedDraws, epoch: int, step: int) -> None:
    whole = plan.draw(12, epoch, step)
    shared = [plan.at(np.arange(step * 12 + rank, (step + 1) * 12, 3), epoch) for rank in range(3)]
    for rank, part in enumerate(shared):
        np.testing.assert_array_equal(part.places, whole.places[rank::3])
        np.testing.assert_array_equal(part.strata, whole.strata[rank::3])


def test_another_epoch_or_seed_has_another_order() -> None:
    plan = BalancedDraws(((Pool(1, 1000),),), 0)
    first = plan.draw(64, 0, 0).places
    np.testing.assert_array_equal(first, BalancedDraws(((Pool(1, 1000),),), 0).draw(64, 0, 0).places)
    assert (first != plan.draw(64, 1, 0).places).mean() > 0.9
    assert (first != BalancedDraws(((Pool(1, 1000),),), 1).draw(64, 0, 0).places).mean() > 0.9
