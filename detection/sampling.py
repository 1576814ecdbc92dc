"""Which image comes next in training: a pure function of seed, epoch and position; a run can go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.errors import InputError
from mammodet.networks.loading import Draw, EpochSampler, cycled


@dataclass(frozen=True)
class SamplingConfig:
    """Which images are drawn, and which false positives are learned as such.

    Args:
        lesion_share: share of the drawn images that have a lesion (0 to 1); an epoch is as long as before,
            and the rarer kind comes more than once. null draws every image once.
        hard_negatives: COCO results file of a previous model on the training images; its false positives
            become negative regions of the box head, and crops are centred on them.
        hard_score: false positives below this score are left out.
        hard_per_image: most false positives of an image, the strongest first.
    """

    lesion_share: float | None = None
    hard_negatives: str | None = None
    hard_score: float = 0.3
    hard_per_image: int = 20

    def __post_init__(self) -> None:
        for name in ("lesion_share", "hard_score"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError("must be 0 to 1", field=f"sampling.{name}", value=value)
        if self.hard_per_image < 1:
            raise InputError("must be 1 or more", field="sampling.hard_per_image", value=self.hard_per_image)


class LesionSampler(EpochSampler):
    """Draws images at random, a chosen share of them with lesions, divided among the processes of a training.

    Parameters
    ----------
    has_lesion:
        For every image of the data set whether it has a lesion to learn.
    lesion_share:
        See ``SamplingConfig``.
    rank, world_size:
        See ``EpochSampler``.

    Raises
    ------
    InputError
        When images of one kind are asked for and there are none.
    """

    def __init__(
        self,
        has_lesion: Sequence[bool],
        *,
        seed: int,
        lesion_share: float | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(len(has_lesion), seed=seed, rank=rank, world_size=world_size)
        kinds = np.asarray(has_lesion, dtype=bool)
        self._with, self._without = np.flatnonzero(kinds), np.flatnonzero(~kinds)
        for kind, share, pool in (
            ("with", lesion_share, self._with),
            ("without", None if lesion_share is None else 1 - lesion_share, self._without),
        ):
            if share and not len(pool):
                raise InputError(
                    f"there are no images {kind} lesions",
                    field="sampling.lesion_share",
                    value=lesion_share,
                    remedy="give null, or add such images",
                )
        self.lesion_share = lesion_share

    def __iter__(self) -> Iterator[Draw]:
        return self.drawn(self.order())

    def order(self) -> NDArray[np.int64]:
        """Return the indices of the images of this epoch, int64 [N], the same in every process."""
        random = np.random.default_rng([self.seed, self.epoch])
        count = self.count
        if self.lesion_share is None:
            return random.permutation(count)
        lesions = round(self.lesion_share * count)
        drawn = [
            cycled(pool, wanted, random)
            for pool, wanted in ((self._with, lesions), (self._without, count - lesions))
        ]
        return random.permutation(np.concatenate(drawn))
