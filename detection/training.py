"""The LightningModule: losses, schedules, and COCO mAP on the validation images of every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mammodet.datasets.errors import InputError
from mammodet.detection.data import Batch
from mammodet.detection.inference import results_of
from mammodet.detection.model import DetectorConfig, build_detector, move, set_thresholds

# Takes COCO results, returns metrics by name. Given by the caller, since evaluation is another room.
Evaluate = Callable[[list[dict[str, Any]]], Mapping[str, float]]


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser and learning rate.

    Args:
        optimizer: "sgd" (with momentum), "adamw" or "adam".
        lr: learning rate after the warm-up.
        momentum: of SGD.
        weight_decay: L2 penalty (SGD, Adam) or decoupled decay (AdamW).
        warmup_steps: optimiser steps over which the rate rises linearly from a thousandth.
        schedule: after the warm-up "constant"; "step" multiplies by ``gamma`` every ``step_epochs``; "cosine"
            falls to 0 at the end.
        step_epochs: epochs between steps.
        gamma: factor of a step.
        clip_norm: gradients are scaled down to this norm; 0 switches it off.
    """

    optimizer: Literal["sgd", "adamw", "adam"] = "sgd"
    lr: float = 0.005
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_steps: int = 500
    schedule: Literal["constant", "step", "cosine"] = "step"
    step_epochs: int = 10
    gamma: float = 0.3
    clip_norm: float = 10.0

    def __post_init__(self) -> None:
        for name in ("lr", "gamma", "step_epochs"):
            if getattr(self, name) <= 0:
                raise InputError("must be above 0", field=f"optim.{name}", value=getattr(self, name))
        for name in ("momentum", "weight_decay", "warmup_steps", "clip_norm"):
            if getattr(self, name) < 0:
                raise InputError("must not be negative", field=f"optim.{name}", value=getattr(self, name))


class DetectorModule(lightning.LightningModule):
    """Trains a detector; batches are those of ``mammodet.detection.data.collate``.

    Logs ``train/loss`` and its parts per step and, when ``evaluate`` is given, its metrics as ``val/...`` per
    epoch. Validation keeps boxes down to ``validation_score``, since average precision needs the whole curve.
    """

    def __init__(
        self,
        config: DetectorConfig,
        optim: OptimConfig,
        *,
        evaluate: Evaluate | None = None,
        validation_score: float = 0.01,
    ) -> None:
        super().__init__()
        self.config = config
        self.optim = optim
        self.model = move(build_detector(config), torch.device("cpu"))
        self.evaluate = evaluate
        self.validation_score = validation_score
        self.validated_step = -1  # the optimiser step of the last validation
        self._results: list[dict[str, Any]] = []

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move images, boxes and labels; ids and geometries stay where they are."""
        images, targets = batch
        moved = [
            {key: value.to(device) if isinstance(value, Tensor) else value for key, value in target.items()}
            for target in targets
        ]
        return [image.to(device) for image in images], moved

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the sum of the four losses."""
        images, targets = batch
        losses = self.model(images, [{"boxes": one["boxes"], "labels": one["labels"]} for one in targets])
        loss: Tensor = sum(losses.values(), start=torch.zeros((), device=self.device))
        if not torch.isfinite(loss):
            ids = [one["image_id"] for one in targets]
            raise InputError(
                f"the loss is {float(loss.detach())} at step {self.global_step}",
                field="images",
                value=ids,
                remedy="lower optim.lr, lengthen optim.warmup_steps, or train with --precision fp32",
            )
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(images))
        self.log_dict(
            {f"train/{name}": value.detach() for name, value in losses.items()}, batch_size=len(images)
        )
        return loss

    def on_validation_epoch_start(self) -> None:
        """Lower the score threshold for the time of the validation."""
        self._results = []
        set_thresholds(self.model, score=self.validation_score)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Collect the predictions of a batch, in the source frame."""
        images, targets = batch
        for output, target in zip(self.model(images), targets, strict=True):
            self._results += results_of(target["image_id"], output, target["geometry"])

    def on_validation_epoch_end(self) -> None:
        """Evaluate what was collected and restore the threshold."""
        self.validated_step = self.trainer.global_step
        set_thresholds(self.model, score=self.config.score_threshold)
        if self.evaluate is not None and not self.trainer.sanity_checking:
            for name, value in self.evaluate(self._results).items():
                self.log(f"val/{name}", value, prog_bar=name in {"AP", "AP50"})

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return optimiser and per-step schedule."""
        optimizer = self._optimizer()
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        steps_per_epoch = -(-int(self.trainer.num_training_batches) // self.trainer.accumulate_grad_batches)
        factor = learning_rate_factor(self.optim, steps, max(1, steps_per_epoch))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step", "name": "lr"},
        }

    def _optimizer(self) -> Optimizer:
        parameters = [one for one in self.model.parameters() if one.requires_grad]
        lr, decay = self.optim.lr, self.optim.weight_decay
        if self.optim.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr, self.optim.momentum, weight_decay=decay)
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[self.optim.optimizer]
        return kind(parameters, lr, weight_decay=decay)


def learning_rate_factor(optim: OptimConfig, steps: int, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the factor on the learning rate at an optimiser step: warm-up, then the schedule.

    A run shorter than the warm-up still gets it in full shape: the warm-up takes at most half of all steps.
    """
    warmup = min(optim.warmup_steps, steps // 2)

    def factor(step: int) -> float:
        if step < warmup:
            return 1e-3 + (1 - 1e-3) * step / warmup
        if optim.schedule == "cosine":
            progress = (step - warmup) / max(1, steps - warmup)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        if optim.schedule == "step":
            return float(optim.gamma ** (step // (steps_per_epoch * optim.step_epochs)))
        return 1.0

    return factor
