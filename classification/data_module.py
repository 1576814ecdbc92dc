"""The loaders of a classifier's training, for one process or for each of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from mammodet.classification.examples import ImageExamples, Item
from mammodet.classification.patch_examples import PatchExamples, PatchSampler
from mammodet.classification.sampling import ClassSampler
from mammodet.datasets.errors import InputError
from mammodet.networks.loading import EqualShares, ResumableLoader, end_readers_at_exit, leave_signals

Batch = dict[str, Tensor]  # pixels float32 [N, 1, H, W], target int64 [N], id int64 [N]
Examples = ImageExamples | PatchExamples


def collate(items: Sequence[Item]) -> Batch:
    """Stack examples; smaller ones are padded with air on the right and below to the size of the largest."""
    height = max(pixels.shape[1] for pixels, _, _ in items)
    width = max(pixels.shape[2] for pixels, _, _ in items)
    padded = [functional.pad(one, (0, width - one.shape[2], 0, height - one.shape[1])) for one, _, _ in items]
    return {
        "pixels": torch.stack(padded),
        "target": torch.tensor([target for _, target, _ in items]),
        "id": torch.tensor([number for _, _, number in items]),
    }


class ClassifierData(lightning.LightningDataModule):
    """Training and validation examples; every process of a training gets its share of both.

    Parameters
    ----------
    validation:
        None trains without validation. Examples are validated one by one where they differ in size, since
        padding changes what a network says of them.
    balanced:
        Whether every class is drawn as often as any other.
    """

    def __init__(
        self,
        training: Examples,
        validation: Examples | None,
        *,
        balanced: bool,
        batch_size: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.training = training
        self.validation = validation
        self.balanced = balanced
        self.batch_size = batch_size
        self.workers = workers
        self.seed = seed
        if workers:
            end_readers_at_exit()
        self._loader: ResumableLoader | None = None
        self._place: dict[str, int] | None = None  # where a resumed run goes on

    def train_dataloader(self) -> ResumableLoader:
        """Return this process' part of the training examples, in an order of its own every epoch."""
        self._loader = ResumableLoader(
            self.training,
            batch_size=self.batch_size,
            sampler=self._sampler(),
            **self._options(),
        )
        if self._place is not None:
            self._loader.load_state_dict(self._place)
        return self._loader

    def val_dataloader(self) -> DataLoader[Any] | Sequence[DataLoader[Any]]:
        """Return this process' part of the validation examples."""
        if self.validation is None:
            return []
        share = EqualShares(len(self.validation), self._rank, self._world_size)
        alike = isinstance(self.validation, PatchExamples)
        return DataLoader(
            self.validation, batch_size=self.batch_size if alike else 1, sampler=share, **self._options()
        )

    def state_dict(self) -> dict[str, Any]:
        """Return which examples these are, and the place in the epoch, which Lightning itself would lose."""
        place = {} if self._loader is None else self._loader.state_dict()
        return {"examples": self.training.fingerprint(), "place": place}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from that place; raises InputError when these are other training examples."""
        if state_dict["examples"] != self.training.fingerprint():
            raise InputError(
                "holds other cases or classes than the training to go on with",
                field="--train",
                remedy="give the same file, or start again with another --out",
            )
        self._place = state_dict["place"] or None

    def _sampler(self) -> ClassSampler | PatchSampler:
        rank, world_size = self._rank, self._world_size
        if isinstance(self.training, PatchExamples):
            draws = self.training.draws(self.seed, balanced=self.balanced)
            return PatchSampler(draws, seed=self.seed, rank=rank, world_size=world_size)
        return ClassSampler(
            self.training.targets,
            [one.size for one in self.training.examples],
            seed=self.seed,
            balanced=self.balanced,
            batch_size=self.batch_size,
            rank=rank,
            world_size=world_size,
        )

    def _options(self) -> dict[str, Any]:
        return {
            "num_workers": self.workers,
            "persistent_workers": self.workers > 0,
            "collate_fn": collate,
            "worker_init_fn": leave_signals,
        }

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def _world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size
