"""Which patches make up a batch: a pure function of seed, epoch and step, without a list of all patches.

Patch number p of an epoch belongs to group p mod G of the G groups, so every batch is balanced to within one.
The patches of a group come in an order that is a random permutation, computed place by place: a Feistel
network over the next power of four, walked until the place is one of the group (Black and Rogaway 2002,
*Ciphers with Arbitrary Finite Domains*). No patch comes a second time before all of its group have come once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8


@dataclass(frozen=True)
class Pool:
    """Patches of one stratum of a store: its number, and how many can be drawn."""

    stratum: int
    patches: int


@dataclass(frozen=True)
class Drawn:
    """Places of patches: for each the index of its group, its stratum and its place in that; int64 [N]."""

    groups: NDArray[np.int64]
    strata: NDArray[np.int64]
    places: NDArray[np.int64]


@dataclass(frozen=True)
class BalancedDraws:
    """Draws batches with as many patches of one group as of any other, to within one.

    Parameters
    ----------
    groups:
        Strata of each group, such as one of normal patches and one of benign and malignant ones; a single
        group draws all its patches in random order, each once per epoch. No group is empty.
    seed:
        Another seed gives another order.
    """

    groups: tuple[tuple[Pool, ...], ...]
    seed: int

    @property
    def patches(self) -> int:
        """Number of patches of all groups, the natural length of an epoch."""
        return sum(pool.patches for group in self.groups for pool in group)

    def draw(self, size: int, epoch: int, step: int) -> Drawn:
        """Return batch number ``step`` (from 0) of ``size`` patches of an epoch (from 0)."""
        return self.at(np.arange(step * size, (step + 1) * size, dtype=np.int64), epoch)

    def at(self, positions: NDArray[np.int64], epoch: int) -> Drawn:
        """Return the patches at these positions of an epoch, int64 [N], such as every second one."""
        count = len(self.groups)
        groups, indices = positions % count, positions // count
        strata, places = np.zeros_like(positions), np.zeros_like(positions)
        for number, pools in enumerate(self.groups):
            mine = groups == number
            ranks = self._ranks(indices[mine], number, epoch)
            ends = np.cumsum([pool.patches for pool in pools])
            which = np.searchsorted(ends, ranks, side="right")
            strata[mine] = np.array([pool.stratum for pool in pools], dtype=np.int64)[which]
            places[mine] = ranks - np.concatenate([[0], ends])[which]
        return Drawn(groups, strata, places)

    def _ranks(self, indices: NDArray[np.int64], group: int, epoch: int) -> NDArray[np.int64]:
        """Return which of its patches a group gives at these indices of its sequence."""
        patches = sum(pool.patches for pool in self.groups[group])
        cycles, within = indices // patches, indices % patches
        ranks = np.zeros_like(indices)
        for cycle in np.unique(cycles):
            mine = cycles == cycle
            ranks[mine] = permuted(within[mine], patches, (self.seed, epoch, group, int(cycle)))
        return ranks


def permuted(indices: NDArray[np.int64], size: int, key: Sequence[int]) -> NDArray[np.int64]:
    """Return where a random permutation of ``size`` numbers takes these indices, int64 [N].

    The numbers of ``key``, from 0, choose the permutation.
    """
    half = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))  # bits of each half
    keys = np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64).astype(np.uint64)
    found = _feistel(indices.astype(np.uint64), half, keys)
    while (outside := found >= size).any():
        found[outside] = _feistel(found[outside], half, keys)
    return found.astype(np.int64)


def _feistel(numbers: NDArray[np.uint64], half: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = numbers >> half, numbers & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << half) | right


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return 64 well mixed bits for each number: the finaliser of SplitMix64 (Steele et al. 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
