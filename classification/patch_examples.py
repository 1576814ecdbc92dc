"""What a classifier learns from in a patch store: balanced or natural draws, without a list of patches."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mammodet.classification.examples import Item, require_classes
from mammodet.classification.task import Task
from mammodet.classification.variation import VariationConfig, build_variation
from mammodet.datasets.patch_draws import BalancedDraws, Drawn
from mammodet.datasets.patch_store import PatchStore
from mammodet.networks.loading import EpochSampler, seed_of

_BLOCK = 1024  # positions whose patches are computed at once


class PatchDraw(NamedTuple):
    """One patch of an epoch: its stratum of the store and its place in that, and a seed for its variation."""

    stratum: int
    place: int
    seed: int


class PatchExamples(Dataset[Item]):
    """The patches of one split as a network takes them: pixels float32 [1, s, s], 0 to 1, output, id.

    Patches marked as ambiguous are left out, and so are, where every patch is taken once (by its place),
    turned copies.

    Raises
    ------
    InputError
        When the split has no patch of a class of the task.
    """

    def __init__(
        self, store: PatchStore, split: str, task: Task, variation: VariationConfig | None = None
    ) -> None:
        self.store = store
        self.split = split
        self.task = task
        self.variation = None if variation is None else build_variation(variation)
        self.counts = Counter({label: n for (name, label), n in store.counts().items() if name == split})
        there = [label for label, count in self.counts.items() if count]  # marks may have emptied a class
        targets = [index for label in there if (index := task.index(label)) is not None]
        require_classes(targets, task, self.counts, store.path, f"split {split!r}, class")
        self._outputs = {stratum: task.index(label) for stratum, label in store.labels().items()}
        self._once: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._all()[0])

    def __getitems__(self, drawn: Sequence[int | PatchDraw]) -> list[Item]:
        """Return patches as they are (by their places), or varied as draws say; torch asks batch by batch."""
        if isinstance(drawn[0], int):
            ids, targets = (column[np.asarray(drawn)] for column in self._all())
            return _items(self.store.pixels(ids.tolist()), targets.tolist(), ids)
        draws = [one for one in drawn if not isinstance(one, int)]
        strata, places = (np.array(column, dtype=np.int64) for column in list(zip(*draws, strict=True))[:2])
        batch = self.store.read(Drawn(np.zeros_like(strata), strata, places))
        items = _items(batch.pixels, [self._outputs[stratum] or 0 for stratum in strata.tolist()], batch.ids)
        return [self._varied(item, draw.seed) for item, draw in zip(items, draws, strict=True)]

    def draws(self, seed: int, *, balanced: bool) -> BalancedDraws:
        """Return the draws of an epoch: as many patches of every output, or each patch once."""
        groups = [[label for label in own if self.counts[label]] for own in self.task.classes.values()]
        if not balanced:
            groups = [[label for own in groups for label in own]]
        return self.store.draws(self.split, groups, seed=seed)

    @property
    def class_counts(self) -> list[int]:
        """Patches of every output, turned copies included."""
        return [sum(self.counts[label] for label in own) for own in self.task.classes.values()]

    @property
    def left_out(self) -> int:
        """Patches of other classes."""
        return sum(self.counts.values()) - sum(self.class_counts)

    def fingerprint(self) -> str:
        """Return the SHA-256 of what the store was made by and holds."""
        classes = list(self.task.classes.items())
        told = [self.store.info, self.split, sorted(self.counts.items()), classes]
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

    def _varied(self, item: Item, seed: int) -> Item:
        if self.variation is None:
            return item
        pixels, target, number = item
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            varied: Tensor = self.variation(pixels)
        return varied, target, number

    def _all(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ids and outputs of the patches that are taken once each."""
        if self._once is None:
            patches = self.store.patches(self.split, turned=False, ambiguous=False)
            known = [(one.id, index) for one in patches if (index := self.task.index(one.label)) is not None]
            table = np.array(known, dtype=np.int64).reshape(-1, 2)
            self._once = table[:, 0], table[:, 1]
        return self._once


class PatchSampler(EpochSampler):
    """Draws patches by position of an epoch, divided among the processes of a training.

    Parameters
    ----------
    rank, world_size:
        See ``EpochSampler``.
    """

    def __init__(self, draws: BalancedDraws, *, seed: int, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(draws.patches, seed=seed, rank=rank, world_size=world_size)
        self.draws = draws

    def __iter__(self) -> Iterator[PatchDraw]:
        for first in range(self.start, len(self), _BLOCK):
            own = np.arange(first, min(first + _BLOCK, len(self)), dtype=np.int64)
            # Groups take turns by position: a process that kept its place in every round would get one class.
            positions = own * self.world_size + (self.rank + own) % self.world_size
            drawn = self.draws.at(positions, self.epoch)
            for position, stratum, place in zip(
                positions.tolist(), drawn.strata.tolist(), drawn.places.tolist(), strict=True
            ):
                yield PatchDraw(stratum, place, seed_of(self.seed, self.epoch, position))


def _items(pixels: NDArray[np.float32], targets: Sequence[int], ids: NDArray[np.int64]) -> list[Item]:
    tensors = torch.from_numpy(pixels)[:, None].unbind(0)
    return list(zip(tensors, targets, ids.tolist(), strict=True))
