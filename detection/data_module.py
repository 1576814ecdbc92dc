"""The loaders of a training, for one process or for each of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning
from torch.utils.data import DataLoader, Dataset

from mammodet.datasets.coco import Coco, counts
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.detection.crops import Boxes, TrainingInput
from mammodet.detection.data import Batch, LesionDataset, collate
from mammodet.detection.model_file import fingerprint
from mammodet.detection.sampling import LesionSampler
from mammodet.networks.augment import AugmentConfig
from mammodet.networks.loading import EqualShares, ResumableLoader, end_readers_at_exit, leave_signals


class LesionData(lightning.LightningDataModule):
    """Training and validation images; every process of a training gets its share of both.

    Parameters
    ----------
    validation:
        None trains without validation.
    lesion_share, seed:
        See ``LesionSampler``.
    window, hard_negatives:
        See ``LesionDataset``; validation always sees whole images.
    """

    def __init__(
        self,
        training: Coco,
        validation: Coco | None,
        recipe: Recipe,
        *,
        augment: AugmentConfig,
        window: TrainingInput,
        hard_negatives: Mapping[int, Boxes],
        lesion_share: float | None,
        batch_size: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.training = LesionDataset(training, recipe, augment, window=window, hard_negatives=hard_negatives)
        self.validation = None if validation is None else LesionDataset(validation, recipe)
        self.lesion_share = lesion_share
        self.batch_size = batch_size
        self.workers = workers
        self.seed = seed
        if workers:
            end_readers_at_exit()
        self._loader: ResumableLoader | None = None
        self._place: dict[str, int] | None = None  # where a resumed run goes on

    def train_dataloader(self) -> ResumableLoader:
        """Return this process' part of the training images, in an order of its own every epoch."""
        coco = self.training.coco
        sampler = LesionSampler(
            [any(map(counts, coco.annotations_of[image["id"]])) for image in coco.images],
            seed=self.seed,
            lesion_share=self.lesion_share,
            rank=self.rank,
            world_size=self.world_size,
        )
        self._loader = ResumableLoader(
            self.training,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            collate_fn=collate,
            worker_init_fn=leave_signals,
        )
        if self._place is not None:
            self._loader.load_state_dict(self._place)
        return self._loader

    def state_dict(self) -> dict[str, Any]:
        """Return which images these are, and the place in the epoch.

        Lightning keeps the states of loaders, too, but loses them when the number of steps is asked for
        before its loops are restored, which the schedule of the learning rate does.
        """
        place = {} if self._loader is None else self._loader.state_dict()
        return {"images": fingerprint(self.training.coco), "place": place}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from that place; raises InputError when these are other training images."""
        coco = self.training.coco
        if state_dict["images"] != fingerprint(coco):
            raise InputError(
                "holds other images or boxes than the training to go on with",
                file=coco.path,
                field="--train",
                remedy="give the same file, or start again with another --out",
            )
        self._place = state_dict["place"] or None

    def val_dataloader(self) -> DataLoader[Batch] | Sequence[DataLoader[Batch]]:
        """Return this process' part of the validation images."""
        if self.validation is None:
            return []
        dataset: Dataset[Any] = self.validation
        return DataLoader(
            dataset,
            batch_size=1 if self.world_size > 1 else self.batch_size,
            sampler=EqualShares(len(self.validation), self.rank, self.world_size),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            collate_fn=collate,
            worker_init_fn=leave_signals,
        )

    @property
    def rank(self) -> int:
        """This process among all of the training."""
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        return 1 if self.trainer is None else self.trainer.world_size
