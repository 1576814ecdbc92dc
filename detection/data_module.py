"""The images of a detector's training."""

from __future__ import annotations

from collections.abc import Mapping

from mammodet.datasets.coco import Coco, counts
from mammodet.datasets.standardise import Recipe
from mammodet.detection.augment import AugmentConfig
from mammodet.detection.crops import Boxes, TrainingInput
from mammodet.detection.data import LesionDataset, collate
from mammodet.detection.model_file import fingerprint
from mammodet.detection.sampling import LesionSampler
from mammodet.networks.training_data import TrainingData


class LesionData(TrainingData):
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

    what = "images or boxes"
    training: LesionDataset

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
        super().__init__(
            LesionDataset(training, recipe, augment, window=window, hard_negatives=hard_negatives),
            None if validation is None else LesionDataset(validation, recipe),
            collate=collate,
            batch_size=batch_size,
            workers=workers,
            seed=seed,
            source=training.path,
        )
        self.lesion_share = lesion_share

    def sampler(self) -> LesionSampler:
        """Return a random order, of which a chosen share has lesions."""
        coco = self.training.coco
        return LesionSampler(
            [any(map(counts, coco.annotations_of[image["id"]])) for image in coco.images],
            seed=self.seed,
            lesion_share=self.lesion_share,
            rank=self.rank,
            world_size=self.world_size,
        )

    def fingerprint(self) -> str:
        """Return that of images and boxes."""
        return fingerprint(self.training.coco)

    def validation_batch(self) -> int:
        """Return how many images are validated at once: one where processes must take equally many steps."""
        return 1 if self.world_size > 1 else self.batch_size
