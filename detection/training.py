"""The LightningModule: losses, schedules, and COCO mAP on the validation images of every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.errors import InputError
from mammodet.detection.checkpointing import checkpoint_activations
from mammodet.detection.data import Batch
from mammodet.detection.inference import results_of
from mammodet.detection.losses import LossConfig
from mammodet.detection.model import DetectorConfig, build_detector, move, set_thresholds
from mammodet.detection.sampling import seed_of

# Takes COCO results, returns metrics by name. Given by the caller, since evaluation is another room.
Evaluate = Callable[[list[dict[str, Any]]], Mapping[str, float]]


_LEARNED = ("boxes", "labels", "hard_negatives", "image_id")


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
    What is random in a step follows from ``seed``, the epoch and the batch, so that a run that goes on draws
    what the uninterrupted one would have drawn.

    Parameters
    ----------
    checkpointing:
        Keep only what enters the blocks of the backbone, see ``checkpoint_activations``.
    faults:
        Folder for the batch that gave a loss that is no number; None keeps none.
    """

    def __init__(
        self,
        config: DetectorConfig,
        optim: OptimConfig,
        *,
        loss: LossConfig | None = None,
        evaluate: Evaluate | None = None,
        validation_score: float = 0.01,
        checkpointing: bool = False,
        seed: int = 0,
        faults: Path | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.optim = optim
        self.model = move(build_detector(config, loss), torch.device("cpu"))
        if checkpointing:
            checkpoint_activations(self.model)
        self.evaluate = evaluate
        self.validation_score = validation_score
        self.seed = seed
        self.faults = faults
        self.validated_step = -1  # the optimiser step of the last validation
        self._results: dict[int, list[dict[str, Any]]] = {}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move images, boxes and labels; ids and geometries stay where they are."""
        images, targets = batch
        moved = [
            {key: value.to(device) if isinstance(value, Tensor) else value for key, value in target.items()}
            for target in targets
        ]
        return [image.to(device) for image in images], moved

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Seed the choice of regions that the losses are computed on."""
        torch.manual_seed(seed_of(self.seed, self.current_epoch, batch_index, self.global_rank, 1))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the sum of the four losses."""
        images, targets = batch
        learned = [{key: one[key] for key in _LEARNED if key in one} for one in targets]
        losses = self.model(images, learned)
        loss: Tensor = sum(losses.values(), start=torch.zeros((), device=self.device))
        if not torch.isfinite(loss):
            raise self._not_finite(losses, batch)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(images))
        self.log_dict(
            {f"train/{name}": value.detach() for name, value in losses.items()}, batch_size=len(images)
        )
        return loss

    def _not_finite(self, losses: Mapping[str, Tensor], batch: Batch) -> InputError:
        """Say what became no number, where, and at which rate; keep the batch for whoever looks into it."""
        images, targets = batch
        bad = {name: float(one.detach()) for name, one in losses.items() if not torch.isfinite(one)}
        optimizers = [] if self._trainer is None else self._trainer.optimizers
        rates = [group["lr"] for one in optimizers for group in one.param_groups]
        told = "".join(f", learning rate {rate:.3g}" for rate in rates[:1])
        if self.faults is not None:
            path = self.faults / f"not_finite_step_{self.global_step}.pt"
            with atomic_path(path) as temporary:
                kept = [{key: one.get(key) for key in ("boxes", "labels", "image_id")} for one in targets]
                torch.save({"images": images, "targets": kept, "losses": bad}, temporary)
            told += f", batch kept in {path}"
        named = ", ".join(f"{name} is {value}" for name, value in bad.items()) or "their sum overflows"
        return InputError(
            f"the loss is not finite at step {self.global_step}: {named}{told}",
            field="images",
            value=[one["image_id"] for one in targets],
            remedy="start again with a lower optim.lr, a longer optim.warmup_steps, or --precision fp32",
        )

    def on_validation_epoch_start(self) -> None:
        """Lower the score threshold for the time of the validation."""
        self._results = {}
        set_thresholds(self.model, score=self.validation_score)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Collect the predictions of a batch, in the source frame."""
        images, targets = batch
        for output, target in zip(self.model(images), targets, strict=True):
            self._results[target["image_id"]] = results_of(target["image_id"], output, target["geometry"])

    def on_validation_epoch_end(self) -> None:
        """Evaluate what all processes collected, every image once, and restore the threshold."""
        self.validated_step = self.trainer.global_step
        set_thresholds(self.model, score=self.config.score_threshold)
        if self.evaluate is not None and not self.trainer.sanity_checking:
            collected = _of_all_processes(self._results, self.trainer.world_size)
            results = [one for image_id in sorted(collected) for one in collected[image_id]]
            for name, value in self.evaluate(results).items():
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


def _of_all_processes(
    own: dict[int, list[dict[str, Any]]], world_size: int
) -> dict[int, list[dict[str, Any]]]:
    """Return the results of every process by image; an image that two of them saw counts once."""
    if world_size == 1:
        return own
    parts: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(parts, own)
    return {image_id: found for part in reversed(parts) for image_id, found in part.items()}


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
