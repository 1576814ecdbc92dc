"""Patches of a store as a classifier learns them."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.classification.patch_examples import PatchExamples, PatchSampler
from mammodet.classification.task import Task
from mammodet.classification.variation import VariationConfig
from mammodet.datasets.errors import InputError
from mammodet.datasets.patch_draws import BalancedDraws, Pool
from mammodet.datasets.patch_store import PatchStore
from mammodet.tools import cli

TASK = Task("patches", {"normal": ("normal",), "suspicious": ("benign", "malignant")})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    folder = tmp_path_factory.mktemp("store")
    options = "--patients 3 --seed 5 --height 288 --width 208 --spacing-mm 0.5 --lesion-rate 1 --workers 1"
    assert cli.main(["phantom", str(folder / "phantom"), *options.split()]) == 0
    words = ["--kind", "pesapane", "--size", "32", "--split", "train", "--all-findings", "--negatives", "2"]
    path = folder / "patches.sqlite"
    coco = str(folder / "phantom" / "coco.json")
    assert cli.main(["patches", coco, "--out", str(path), *words, "--turns", "--workers", "1"]) == 0
    return PatchStore(path)


def test_every_patch_comes_once_without_its_turned_copies(store: PatchStore):
    examples = PatchExamples(store, "train", TASK)
    items = [item for first in range(0, len(examples), 5) for item in _some(examples, first)]
    expected = {one.id: one for one in store.patches("train", turned=False)}
    assert {number for _, _, number in items} == set(expected) and len(items) == len(expected)
    for pixels, target, number in items:
        assert target == int(expected[number].label != "normal")
        assert torch.equal(pixels[0], torch.from_numpy(store.pixels([number])[0]))


def _some(examples: PatchExamples, first: int) -> list:
    return examples.__getitems__(list(range(first, min(first + 5, len(examples)))))


def test_draws_have_the_class_of_their_patch_and_are_the_same_every_time(store: PatchStore):
    varied = VariationConfig(0.5, 0.5, rotation=20, noise=0.1)
    for balanced in (True, False):
        examples = PatchExamples(store, "train", TASK, varied)
        sampler = PatchSampler(examples.draws(3, balanced=balanced), seed=3)
        drawn = list(sampler)
        items, again = examples.__getitems__(drawn), examples.__getitems__(drawn)
        for item, same in zip(items, again, strict=True):
            assert torch.equal(item[0], same[0]) and item[1:] == same[1:]
            assert item[1] == int(store.patch(item[2]).label != "normal")
        counts = Counter(item[1] for item in items)
        if balanced:
            assert abs(counts[0] - counts[1]) <= 1
        else:
            assert [counts[0], counts[1]] == examples.class_counts


def test_a_split_without_a_class_is_refused(store: PatchStore):
    with pytest.raises(InputError, match="no case"):
        PatchExamples(store, "test", TASK)
    with pytest.raises(InputError, match="no case of class 'mass'"):
        PatchExamples(store, "train", Task("patches", {"normal": ("normal",), "mass": ("mass",)}))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 9),
)
def test_processes_share_one_order_and_an_epoch_goes_on(pools, world_size, epoch, start):
    draws = BalancedDraws(tuple((Pool(number, count),) for number, count in enumerate(pools)), seed=1)
    alone = PatchSampler(draws, seed=1)
    alone.set_epoch(epoch)
    shares = [PatchSampler(draws, seed=1, rank=rank, world_size=world_size) for rank in range(world_size)]
    for one in shares:
        one.set_epoch(epoch)
    # In every round each process gets one position, another one in every round, so that groups mix.
    order = list(alone)
    for number, together in enumerate(zip(*map(list, shares), strict=True)):
        positions = range(number * world_size, (number + 1) * world_size)
        drawn = [order[position] for position in positions if position < len(order)]
        assert set(drawn) <= set(together)
    late = PatchSampler(draws, seed=1)
    late.set_epoch(epoch)
    late.start = start
    assert list(late) == list(alone)[start:]


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_every_process_gets_every_class_in_every_batch(world_size: int):
    draws = BalancedDraws(((Pool(0, 50),), (Pool(1, 7),)), seed=1)
    for rank in range(world_size):
        drawn = list(PatchSampler(draws, seed=1, rank=rank, world_size=world_size))
        for first in range(0, len(drawn) - 7, 8):
            assert Counter(one.stratum for one in drawn[first : first + 8]) == {0: 4, 1: 4}


def test_a_class_that_marks_have_emptied_is_refused(store: PatchStore, monkeypatch: pytest.MonkeyPatch):
    counts = {("train", "normal"): 5, ("train", "benign"): 0, ("train", "malignant"): 0}
    monkeypatch.setattr(store, "counts", lambda: counts)
    with pytest.raises(InputError, match="no case of class 'suspicious'"):
        PatchExamples(store, "train", TASK)


def test_other_classes_have_another_fingerprint(store: PatchStore):
    swapped = Task("patches", dict(reversed(list(TASK.classes.items()))))
    first, second = (PatchExamples(store, "train", task).fingerprint() for task in (TASK, swapped))
    assert first != second
