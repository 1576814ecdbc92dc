"""The order of training: balanced, every example in its turn, the same again, divided among processes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammodet.classification.sampling import ClassSampler


def _sampler(targets, *, sizes=None, balanced=False, batch_size=4, rank=0, world_size=1, seed=0):
    return ClassSampler(
        targets,
        sizes or [(1.0, 1.0)] * len(targets),
        seed=seed,
        balanced=balanced,
        batch_size=batch_size,
        rank=rank,
        world_size=world_size,
    )


TARGETS = st.lists(st.integers(0, 2), min_size=1, max_size=60)


@given(TARGETS, st.integers(0, 5), st.integers(1, 5))
def test_an_epoch_has_every_example_once(targets, epoch, batch_size):
    sampler = _sampler(targets, batch_size=batch_size)
    sampler.set_epoch(epoch)
    assert sorted(one.image for one in sampler) == list(range(len(targets)))


@given(TARGETS, st.integers(0, 5))
def test_a_balanced_epoch_draws_every_class_alike(targets, epoch):
    sampler = _sampler(targets, balanced=True)
    sampler.set_epoch(epoch)
    drawn = [one.image for one in sampler]
    counts = Counter(targets[place] for place in drawn)
    assert len(drawn) == len(targets)
    share = len(targets) / len(set(targets))
    assert all(abs(counts[kind] - share) < 1 for kind in set(targets))
    for kind in set(targets):  # none comes again before all of its class have come
        own = Counter(place for place in drawn if targets[place] == kind)
        assert (
            max(own.values(), default=0)
            - min((own[place] for place, one in enumerate(targets) if one == kind), default=0)
            <= 1
        )


@given(TARGETS, st.booleans(), st.integers(2, 3))
def test_processes_share_one_order(targets, balanced, world_size):
    whole = [
        [
            (one.image, one.seed)
            for one in _sampler(targets, balanced=balanced, rank=rank, world_size=world_size)
        ]
        for rank in range(world_size)
    ]
    assert len({len(own) for own in whole}) == 1
    mixed = [one for together in zip(*whole, strict=True) for one in together][: len(targets)]
    alone = _sampler(targets, balanced=balanced, batch_size=4 * world_size)
    assert [one for one, _ in mixed] == [one.image for one in alone]


@pytest.mark.parametrize("world_size", [1, 2])
def test_balanced_batches_hold_every_class_though_it_can_be_told_by_its_size(world_size):
    targets = [0] * 50 + [1] * 50
    sizes = [(100.0 + place, 100.0) for place in range(100)]
    for rank in range(world_size):
        sampler = _sampler(targets, sizes=sizes, balanced=True, rank=rank, world_size=world_size)
        drawn = [targets[one.image] for one in sampler]
        batches = [Counter(drawn[first : first + 4]) for first in range(0, len(drawn), 4)]
        single = sum(len(one) == 1 for one in batches)
        assert single <= len(batches) // 5  # of random batches of 4 an eighth would


def test_batches_hold_examples_of_like_size():
    random = np.random.default_rng(0)
    sizes = [(float(height), float(width)) for height, width in random.integers(100, 1000, (64, 2))]
    drawn = [one.image for one in _sampler([0] * 64, sizes=sizes, batch_size=8)]

    def padding(order):
        batches = np.array(sizes)[order].reshape(-1, 8, 2)
        return float((batches.max(axis=1).prod(axis=1) * 8 - batches.prod(axis=2).sum(axis=1)).sum())

    assert padding(drawn) < 0.7 * padding(random.permutation(64))


def test_an_epoch_goes_on_in_its_middle():
    sampler, other = _sampler([0, 1] * 10), _sampler([0, 1] * 10)
    for one in (sampler, other):
        one.set_epoch(3)
    other.start = 8
    assert list(sampler)[8:] == list(other)
    other.set_epoch(4)
    assert other.start == 0 and list(other) != list(sampler)
