"""An exponential moving average of the weights, which validation and the model file use."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks.weight_averaging import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """Lightning's averaging of weights with a decay that grows as ``(1 + n) / (10 + n)`` up to ``decay``.

    A fixed decay of 0.999 would carry the random start along for thousands of steps. Statistics of batch
    normalisation are taken over as they are. Checkpoints hold both the average and the current weights.
    """

    def __init__(self, decay: float) -> None:
        def average(averaged: Tensor, current: Tensor, updates: int | Tensor) -> Tensor:
            count = float(updates)
            kept = min(decay, (1 + count) / (10 + count))
            return averaged * kept + current * (1 - kept)

        super().__init__(use_buffers=False, avg_fn=average)

    def weights(self) -> dict[str, Tensor]:
        """Return the averaged tensors of the detector by name."""
        assert self._average_model is not None, "the training has not begun"
        module: Any = self._average_model.module
        state: dict[str, Tensor] = module.model.state_dict()
        return state


def trained_weights(trainer: lightning.Trainer, module: Any) -> dict[str, Tensor]:
    """Return the tensors of a detector in training that a model file gets: averaged ones where there are."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, MovingAverage):
            return callback.weights()
    state: dict[str, Tensor] = module.model.state_dict()
    return state
