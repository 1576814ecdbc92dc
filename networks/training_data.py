"""The loaders of a training that can go on in the middle of an epoch, for one process or for each of many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import lightning
from torch.utils.data import DataLoader, Dataset

from mammodet.datasets.errors import InputError
from mammodet.networks.loading import (
    EpochSampler,
    EqualShares,
    ResumableLoader,
    end_readers_at_exit,
    leave_signals,
)


class TrainingData(ABC, lightning.LightningDataModule):
    """Training and validation data; every process of a training gets its share of both.

    A kind of data says by ``sampler`` in which order it is learned, and by ``fingerprint`` which it is.

    Parameters
    ----------
    validation:
        None trains without validation.
    collate:
        Makes a batch of items.
    source:
        The file of the training items, for errors.
    """

    what = "data"  # what a training that goes on must find the same

    def __init__(
        self,
        training: Dataset[Any],
        validation: Dataset[Any] | None,
        *,
        collate: Callable[[Any], Any],
        batch_size: int,
        workers: int,
        seed: int,
        source: Any = None,
    ) -> None:
        super().__init__()
        self.training = training
        self.validation = validation
        self.batch_size = batch_size
        self.workers = workers
        self.seed = seed
        self._collate, self._source = collate, source
        if workers:
            end_readers_at_exit()
        self._loader: ResumableLoader | None = None
        self._place: dict[str, int] | None = None  # where a resumed run goes on

    @abstractmethod
    def sampler(self) -> EpochSampler:
        """Return the order of this process' part of the training items."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what tells the training items from others."""

    def validation_batch(self) -> int:
        """Return how many validation items are done at once."""
        return self.batch_size

    def train_dataloader(self) -> ResumableLoader:
        """Return this process' part of the training items, in an order of its own every epoch."""
        self._loader = ResumableLoader(
            self.training, batch_size=self.batch_size, sampler=self.sampler(), **self._options()
        )
        if self._place is not None:
            self._loader.load_state_dict(self._place)
        return self._loader

    def val_dataloader(self) -> DataLoader[Any] | Sequence[DataLoader[Any]]:
        """Return this process' part of the validation items."""
        if self.validation is None:
            return []
        data: Any = self.validation
        share = EqualShares(len(data), self.rank, self.world_size)
        return DataLoader(data, batch_size=self.validation_batch(), sampler=share, **self._options())

    def state_dict(self) -> dict[str, Any]:
        """Return which items these are, and the place in the epoch.

        Lightning keeps the states of loaders, too, but loses them when the number of steps is asked for
        before its loops are restored, which the schedule of the learning rate does.
        """
        place = {} if self._loader is None else self._loader.state_dict()
        return {"images": self.fingerprint(), "place": place}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from that place; raises InputError when these are other training items."""
        before = state_dict.get("images", state_dict.get("examples"))  # the name that train-cls once had
        if before != self.fingerprint():
            raise InputError(
                f"holds other {self.what} than the training to go on with",
                file=self._source,
                field="--train",
                remedy="give the same file, or start again with another --out",
            )
        self._place = state_dict["place"] or None

    def _options(self) -> dict[str, Any]:
        return {
            "num_workers": self.workers,
            "persistent_workers": self.workers > 0,
            "collate_fn": self._collate,
            "worker_init_fn": leave_signals,
        }

    @property
    def rank(self) -> int:
        """This process among all of the training."""
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        return 1 if self.trainer is None else self.trainer.world_size
