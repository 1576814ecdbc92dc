"""What every training can be told: how long, how often it saves, on how many devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from mammodet.datasets.errors import InputError
from mammodet.networks.optim import OptimConfig


@dataclass(frozen=True)
class TrainerConfig:
    """How many processes train together; each takes batches of its own, and their gradients are averaged.

    Args:
        devices: GPUs (or CPU processes) of every machine; -1 takes all GPUs.
        num_nodes: machines.
    """

    devices: int = 1
    num_nodes: int = 1

    def __post_init__(self) -> None:
        if self.devices < 1 and self.devices != -1:
            raise InputError("must be -1, or 1 or more", field="trainer.devices", value=self.devices)
        if self.num_nodes < 1:
            raise InputError("must be 1 or more", field="trainer.num_nodes", value=self.num_nodes)


def require_devices(asked: TrainerConfig, device: torch.device) -> None:
    """Refuse a number of processes that the chosen device cannot have; raises InputError."""
    several = asked.devices != 1 or asked.num_nodes > 1
    if several and device.index is not None:
        raise InputError(
            "names one GPU, but several are asked for",
            field="--device",
            value=str(device),
            remedy="give --device cuda with --trainer.devices",
        )
    if device.type != "cuda" and asked.devices == -1:
        raise InputError(
            f"there is no number of all devices on {device.type}",
            field="--trainer.devices",
            value=-1,
            remedy="give a number",
        )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What every training can be told.

    Args:
        out: folder for the model, checkpoints and curves.
        resume: go on from the last checkpoint in the folder.
        requeue: start, or go on where the folder holds a checkpoint; on SIGUSR1 save and have SLURM start
            the job again.
        epochs: passes over the training data.
        max_steps: stop after this many optimiser steps; null means no limit.
        max_minutes: stop after this many minutes; null means no limit.
        batch_size: images, patches or lesions per step.
        accumulate: batches whose gradients are added up before a step.
        ema: decay of the moving average of the weights that is validated and kept; null means no average.
        deterministic: only operations that give the same bits every time.
        checkpoint_minutes: most minutes of training that a kill loses.
        checkpoint_steps: save after every so many optimiser steps, too.
        workers: processes that read images.
        val_every: epochs between validations.
        patience: stop when the monitored metric has not improved for this many validations; null means never.
        precision: fp32, bf16, or auto (bf16 where this machine is faster with it).
        device: cpu, cuda, mps, or auto.
        seed: of weights, order and augmentation.
        trainer: several GPUs and machines.
        optim: optimiser and learning rate.
    """

    out: str
    resume: bool = False
    requeue: bool = False
    epochs: int = 50
    max_steps: int | None = None
    max_minutes: float | None = None
    batch_size: int = 1
    accumulate: int = 1
    ema: float | None = None
    deterministic: bool = False
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    workers: int = 2
    val_every: int = 1
    patience: int | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    seed: int = 0
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "val_every"):
            if getattr(self, name) < 1:
                raise InputError("must be 1 or more", field=f"--{name}", value=getattr(self, name))
        for name in ("workers", "seed", "checkpoint_minutes"):
            if getattr(self, name) < 0:
                raise InputError("must not be negative", field=f"--{name}", value=getattr(self, name))
        for name in ("checkpoint_steps", "max_steps", "patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError("must be 1 or more, or null", field=f"--{name}", value=value)
        if self.max_minutes is not None and self.max_minutes <= 0:
            raise InputError("must be above 0, or null", field="--max_minutes", value=self.max_minutes)
        if self.seed >= 2**32:
            raise InputError("must be below 2^32", field="--seed", value=self.seed)
        if self.ema is not None and not 0 < self.ema < 1:
            raise InputError("must be between 0 and 1, such as 0.999, or null", field="--ema", value=self.ema)
