"""Optimiser and learning rate of a training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import lightning
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mammodet.datasets.errors import InputError


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
            falls to 0 at the end, also when a limit of time comes first.
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


def optimizer_and_schedule(
    module: lightning.LightningModule, optim: OptimConfig
) -> OptimizerLRSchedulerConfig:
    """Return what ``configure_optimizers`` of a module must: the optimiser, and its schedule per step."""
    optimizer = _optimizer(module, optim)
    trainer = module.trainer
    steps = max(1, int(trainer.estimated_stepping_batches))
    steps_per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
    factor = learning_rate_factor(optim, steps, max(1, steps_per_epoch), lambda: time_gone(trainer))
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step", "name": "lr"},
    }


def time_gone(trainer: lightning.Trainer) -> float:
    """Return the share of a training's limit of time that is gone, the same in every process; 0 without one.

    A deterministic training is told 0 as well: its rates follow from steps alone.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    timer = next((one for one in callbacks if isinstance(one, Timer)), None)
    left = None if timer is None else timer.time_remaining()
    if timer is None or left is None or torch.are_deterministic_algorithms_enabled():
        return 0.0
    gone = timer.time_elapsed()
    share = gone / (gone + left)
    return float(trainer.strategy.broadcast(share)) if trainer.world_size > 1 else share


def learning_rate_factor(
    optim: OptimConfig,
    steps: int,
    steps_per_epoch: int,
    time_gone: Callable[[], float] = lambda: 0.0,
) -> Callable[[int], float]:
    """Return the factor on the learning rate at an optimiser step: warm-up, then the schedule.

    A run shorter than the warm-up still gets it in full shape: the warm-up takes at most half of all steps.
    ``time_gone`` is the share of a limit of time that is gone. Where it is ahead of the steps, a cosine and
    its warm-up end with the time, as a schedule within a budget should (Li et al. 2020, Budgeted training).
    """

    def factor(step: int) -> float:
        end = float(steps)
        if optim.schedule == "cosine" and (gone := time_gone()) * steps > step:
            end = step / gone  # at the rate so far
        warmup = min(optim.warmup_steps, end // 2)
        if step < warmup:
            return 1e-3 + (1 - 1e-3) * step / warmup
        if optim.schedule == "cosine":
            progress = (step - warmup) / max(1, end - warmup)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        if optim.schedule == "step":
            return float(optim.gamma ** (step // (steps_per_epoch * optim.step_epochs)))
        return 1.0

    return factor


def _optimizer(module: lightning.LightningModule, optim: OptimConfig) -> Optimizer:
    parameters = [one for one in module.parameters() if one.requires_grad]
    if optim.optimizer == "sgd":
        return torch.optim.SGD(parameters, optim.lr, optim.momentum, weight_decay=optim.weight_decay)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optim.optimizer]
    return kind(parameters, optim.lr, weight_decay=optim.weight_decay)
