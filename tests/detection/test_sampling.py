"""The order of training images: a chosen share of lesions, shared among processes, and able to go on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.detection.augment import AugmentConfig
from mammodet.detection.data import LesionDataset, collate
from mammodet.detection.sampling import LesionSampler, SamplingConfig
from mammodet.networks.loading import ResumableLoader

kinds = st.lists(st.booleans(), min_size=2, max_size=40).filter(lambda one: 0 < sum(one) < len(one))


@given(kinds, st.integers(0, 5))
def test_without_a_share_every_image_comes_once_in_another_order_every_epoch(has_lesion, epoch):
    sampler = LesionSampler(has_lesion, seed=7)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert sorted(one.image for one in drawn) == list(range(len(has_lesion)))
    assert len({one.seed for one in drawn}) == len(drawn)
    assert drawn == list(sampler)


@given(kinds, st.floats(0, 1))
def test_the_share_holds_and_no_image_comes_twice_before_all_have_come(has_lesion, share):
    sampler = LesionSampler(has_lesion, seed=1, lesion_share=share)
    indices = [one.image for one in sampler]
    lesions = [index for index in indices if has_lesion[index]]
    assert len(indices) == len(has_lesion) and len(lesions) == round(share * len(has_lesion))
    for pool in (lesions, [index for index in indices if not has_lesion[index]]):
        counts = np.bincount(pool, minlength=len(has_lesion))[np.unique(pool)] if pool else [1]
        assert max(counts) - min(counts) <= 1


@given(kinds, st.integers(1, 4), st.integers(0, 3))
def test_processes_divide_an_epoch_among_them(has_lesion, world_size, epoch):
    whole = LesionSampler(has_lesion, seed=3)
    whole.set_epoch(epoch)
    shares = []
    for rank in range(world_size):
        one = LesionSampler(has_lesion, seed=3, rank=rank, world_size=world_size)
        one.set_epoch(epoch)
        shares.append(list(one))
        assert len(shares[-1]) == len(one) == len(shares[0])
    merged = [draw for step in zip(*shares, strict=True) for draw in step]
    assert merged[: len(has_lesion)] == list(whole)


def test_a_kind_that_is_not_there_is_named():
    with pytest.raises(InputError, match="no images with lesions"):
        LesionSampler([False, False], seed=0, lesion_share=0.5)
    with pytest.raises(InputError, match="no images without lesions"):
        LesionSampler([True, True], seed=0, lesion_share=0.5)
    assert len(list(LesionSampler([True, True], seed=0, lesion_share=1))) == 2


@pytest.mark.parametrize("options", [{"lesion_share": 1.5}, {"hard_score": -1}, {"hard_per_image": 0}])
def test_impossible_options_are_named(options):
    with pytest.raises(InputError, match=f"sampling.{next(iter(options))}"):
        SamplingConfig(**options)


def _loader(coco, workers: int) -> ResumableLoader:
    dataset = LesionDataset(coco, Recipe(crop_margin_px=4), AugmentConfig(noise=0.1))
    sampler = LesionSampler([True, True, False], seed=5)
    return ResumableLoader(dataset, sampler=sampler, batch_size=1, num_workers=workers, collate_fn=collate)


def _pixels(batches) -> list[torch.Tensor]:
    return [images[0] for images, _ in batches]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("seen", [0, 1, 2, 3])
def test_a_loader_goes_on_with_the_very_pixels_it_would_have_given(coco, seen, workers):
    whole = _loader(coco, 0)
    expected = []
    for epoch in (1, 2):
        whole.order.set_epoch(epoch)
        expected += _pixels(whole)
    first = _loader(coco, workers)
    first.order.set_epoch(1)
    given_out = iter(first)
    for _ in range(seen):
        next(given_out)
    second = _loader(coco, workers)
    second.load_state_dict(first.state_dict())
    rest = []
    for epoch in (1, 2) if seen < 3 else (2,):
        second.order.set_epoch(epoch)
        rest += _pixels(second)
    assert len(rest) == 6 - seen
    for one, other in zip(rest, expected[seen:], strict=True):
        assert torch.equal(one, other)
