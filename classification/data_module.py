"""The cases of a classifier's training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mammodet.classification.examples import ImageExamples, Item
from mammodet.classification.patch_examples import PatchExamples, PatchSampler
from mammodet.classification.sampling import ClassSampler
from mammodet.networks.loading import EpochSampler
from mammodet.networks.training_data import TrainingData

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


class ClassifierData(TrainingData):
    """Training and validation examples; every process of a training gets its share of both.

    Parameters
    ----------
    validation:
        None trains without validation. Examples are validated one by one where they differ in size, since
        padding changes what a network says of them.
    balanced:
        Whether every class is drawn as often as any other.
    """

    what = "cases or classes"
    training: Examples

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
        super().__init__(
            training, validation, collate=collate, batch_size=batch_size, workers=workers, seed=seed
        )
        self.balanced = balanced

    def sampler(self) -> EpochSampler:
        """Return a random order, balanced if wanted."""
        examples = self.training
        if isinstance(examples, PatchExamples):
            draws = examples.draws(self.seed, balanced=self.balanced)
            return PatchSampler(draws, seed=self.seed, rank=self.rank, world_size=self.world_size)
        return ClassSampler(
            examples.targets,
            [one.size for one in examples.examples],
            seed=self.seed,
            balanced=self.balanced,
            batch_size=self.batch_size,
            rank=self.rank,
            world_size=self.world_size,
        )

    def fingerprint(self) -> str:
        """Return that of cases and classes."""
        return self.training.fingerprint()

    def validation_batch(self) -> int:
        """Return how many examples are validated at once: patches, which are of one size, as in training."""
        return self.batch_size if isinstance(self.training, PatchExamples) else 1
