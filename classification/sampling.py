"""Which whole image or lesion comes next in training: a function of seed, epoch and position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mammodet.networks.loading import Draw, EpochSampler, cycled

_BUCKET = 8  # batches that are sorted by size together


class ClassSampler(EpochSampler):
    """Draws examples at random, if wanted as many of every class, those of like size in one batch.

    Images of a batch are padded to the largest of them. So the order, which is random, is sorted by size
    within every few batches, and the batches are shuffled. If balanced, each batch has its share of every
    class, so that no batch tells a class by its size, or normalises one class alone.

    Parameters
    ----------
    targets:
        The class of every example, from 0.
    sizes:
        (height, width) of every example.
    balanced:
        Whether every class is drawn as often as any other; an epoch is as long as before, and the rarer
        class comes more than once.
    batch_size:
        Of one process.
    rank, world_size:
        See ``EpochSampler``.
    """

    def __init__(
        self,
        targets: Sequence[int],
        sizes: Sequence[tuple[float, float]],
        *,
        seed: int,
        balanced: bool,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(len(targets), seed=seed, rank=rank, world_size=world_size)
        kinds = np.asarray(targets, dtype=np.int64)
        self._kinds = kinds
        self._pools = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
        self._sizes = np.asarray(sizes, dtype=np.float64).reshape(len(kinds), 2)
        self.balanced = balanced
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Draw]:
        return self.drawn(self.order())

    def order(self) -> NDArray[np.int64]:
        """Return the places of the examples of this epoch, int64 [N], the same in every process."""
        random = np.random.default_rng([self.seed, self.epoch])
        count = self.count
        drawn = random.permutation(count)
        if self.balanced:
            # The classes take turns, beginning with another one each epoch, so that none has the odd ones.
            turns = np.roll(np.arange(len(self._pools)), self.epoch)
            wanted = [len(range(place, count, len(turns))) for place in range(len(turns))]
            pools = [cycled(self._pools[kind], n, random) for kind, n in zip(turns, wanted, strict=True)]
            drawn = random.permutation(np.concatenate(pools))
        return self._bucketed(drawn, random)

    def _bucketed(self, drawn: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """Order every few batches by size; if balanced, by size within each class, the classes mixed."""
        batch = self.batch_size * self.world_size
        found: list[NDArray[np.int64]] = []
        for first in range(0, len(drawn), batch * _BUCKET):
            chunk = drawn[first : first + batch * _BUCKET]
            ordered = chunk[np.lexsort(self._sizes[chunk].T)]
            if self.balanced:
                ordered = ordered[np.argsort(_shares(self._kinds[ordered]), kind="stable")]
            whole = len(ordered) // batch * batch
            batches = ordered[:whole].reshape(-1, batch)
            found += [random.permutation(one) for one in batches[random.permutation(len(batches))]]
            found.append(random.permutation(ordered[whole:]))
        return np.concatenate(found)


def _shares(kinds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return for each item which share of its kind comes before it, 0 to 1: sorted by it, kinds are mixed."""
    shares = np.empty(len(kinds))
    for kind in np.unique(kinds):
        mine = np.flatnonzero(kinds == kind)
        shares[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return shares
