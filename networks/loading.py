"""Loaders of a training that can go on in the middle of an epoch, and processes that read for it.

Whatever is random about an item (its place in the order, its crop, its augmentation) follows from a number
that the sampler hands out with it. A run that goes on in the middle of an epoch therefore sees what the
uninterrupted one would have seen, with any number of reading processes.
"""

from __future__ import annotations

import atexit
import math
import multiprocessing.util
import signal
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler


class Draw(NamedTuple):
    """One item of an epoch: its place in the data set, and the seed of all that is random about it."""

    image: int
    seed: int


class EpochSampler(Sampler[Any]):
    """An order that follows from the epoch, is divided among processes, and may begin in its middle.

    Parameters
    ----------
    count:
        Items of an epoch, of all processes together; every process gets the same number, the last ones being
        repeated.
    rank, world_size:
        This process among all.
    """

    def __init__(self, count: int, *, seed: int, rank: int, world_size: int) -> None:
        self.count = count
        self.seed = seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.start = 0  # items of this process that the epoch to go on with has had

    def __len__(self) -> int:
        return math.ceil(self.count / self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; another one than the one to go on with starts at its first item."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def drawn(self, order: NDArray[np.int64]) -> Iterator[Draw]:
        """Yield this process' part of an order of all items, int64 [count], from ``start`` on."""
        for place in range(self.start, len(self)):
            position = place * self.world_size + self.rank
            yield Draw(int(order[position % len(order)]), seed_of(self.seed, self.epoch, position))


class ResumableLoader(DataLoader[Any]):
    """A DataLoader of which Lightning's checkpoints know epoch and number of batches handed out."""

    def __init__(
        self, dataset: Dataset[Any], *, sampler: EpochSampler, batch_size: int, **options: Any
    ) -> None:
        super().__init__(dataset, batch_size, sampler=sampler, **options)
        self.images = batch_size
        self.order = sampler
        self._handed_out = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._handed_out = self.order.start // self.images
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return what a resumed run must know."""
        return {"epoch": self.order.epoch, "batches": self._handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that were handed out; after a whole epoch with the next one."""
        whole = state["batches"] >= len(self)
        self.order.epoch = state["epoch"] + whole
        self.order.start = 0 if whole else state["batches"] * self.images


def seed_of(*numbers: int) -> int:
    """Mix numbers into one seed of 63 bits."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class EqualShares(Sampler[int]):
    """Every ``world_size``-th index from ``rank`` on; all processes get equally many.

    Processes that wait for each other must take equally many steps, so the first indices come again at the
    end; whoever collects the results must count an image once.
    """

    def __init__(self, count: int, rank: int, world_size: int) -> None:
        self.count, self.rank, self.world_size = count, rank, world_size

    def __len__(self) -> int:
        return math.ceil(self.count / self.world_size)

    def __iter__(self) -> Iterator[int]:
        for place in range(len(self)):
            yield (place * self.world_size + self.rank) % self.count


def cycled(pool: NDArray[np.int64], wanted: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw so that no item of the pool comes a second time before all have come once, int64 [wanted]."""
    rounds = [random.permutation(pool) for _ in range(-(-wanted // len(pool)))] if wanted else []
    return np.concatenate(rounds)[:wanted] if rounds else pool[:0]


def leave_signals(worker: int) -> None:
    """Leave signals to stop to the training: SLURM and Ctrl-C send them to all processes of a job.

    Reading ends when the training says so, or when it is gone. See ``end_readers_at_exit``.
    """
    for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


@cache
def end_readers_at_exit() -> None:
    """Have readers that are left when this process ends killed.

    multiprocessing would send them SIGTERM, which they leave to the training, and wait for ever. What is
    registered later runs earlier, and multiprocessing is imported by now.
    """
    atexit.register(_kill_readers)


def _kill_readers() -> None:
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would raise for every one of them
    for child in multiprocessing.active_children():
        if child.daemon:  # as readers are; multiprocessing ends all daemons itself, a moment later
            child.kill()
