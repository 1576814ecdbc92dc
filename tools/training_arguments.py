"""What mammodet train-det can be told, on the command line or in a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.detection.crops import TrainingInput
from mammodet.detection.losses import LossConfig
from mammodet.detection.model import DetectorConfig
from mammodet.detection.sampling import SamplingConfig
from mammodet.networks.augment import AugmentConfig
from mammodet.networks.optim import OptimConfig
from mammodet.tools.training_options import TrainerConfig, check_options


def require_norm(asked: TrainerConfig, norm: str, device: torch.device) -> None:
    """Refuse synchronous normalisation where it does not exist; raises InputError."""
    several = asked.devices != 1 or asked.num_nodes > 1
    if several and device.type != "cuda" and norm == "sync":
        raise InputError(
            "synchronous normalisation needs GPUs",
            field="--model.norm",
            value=norm,
            remedy="give group, frozen or batch",
        )


@dataclass(frozen=True)
class Arguments:
    """Train a Faster R-CNN lesion detector at full resolution.

    Args:
        train: COCO file with the training images.
        out: folder for the model, checkpoints and curves.
        val: COCO file with validation images; COCO mAP is measured on it every val_every epochs.
        weights: where training starts: coco, imagenet, none, or a file (model, checkpoint or state dict).
        resume: go on from the last checkpoint in the folder.
        requeue: start, or go on where the folder holds a checkpoint; on SIGUSR1 save and have SLURM start
            the job again.
        epochs: passes over the training images.
        max_steps: stop after this many optimiser steps; null means no limit.
        max_minutes: stop after this many minutes; null means no limit.
        batch_size: images per step.
        accumulate: batches whose gradients are added up before a step.
        input: what a training step sees of an image: whole, crop:SIZE (around a lesion), or
            tiles:SIZE,OVERLAP; in pixels.
        checkpointing: keep less of the backbone for the backward pass and compute it again: some more time,
            far less memory.
        compile: compile the backbone with torch.compile; needs a C++ compiler on a CPU.
        memory_budget: such as 11GB: say before training what a step needs, and refuse one that needs more.
        ema: decay of the moving average of the weights that is validated and kept; null means no average.
        deterministic: only operations that give the same bits every time.
        checkpoint_minutes: most minutes of training that a kill loses.
        checkpoint_steps: save after every so many optimiser steps, too.
        workers: processes that read images.
        val_every: epochs between validations.
        patience: stop when the monitored metric has not risen for this many validations; null means never.
        monitor: validation metric that chooses the best epoch.
        precision: fp32, bf16, or auto (bf16 where this machine is faster with it).
        device: cpu, cuda, mps, or auto.
        seed: of weights, order and augmentation.
        trainer: several GPUs and machines.
        sampling: which images are drawn.
        model: architecture and thresholds.
        recipe: how mammograms become pixels.
        augment: how training images are varied.
        loss: class imbalance: focal loss, weights of classes and of losses.
        optim: optimiser and learning rate.
    """

    train: str
    out: str
    val: str | None = None
    weights: str = "coco"
    resume: bool = False
    requeue: bool = False
    epochs: int = 50
    max_steps: int | None = None
    max_minutes: float | None = None
    batch_size: int = 1
    accumulate: int = 1
    input: str = "whole"
    checkpointing: bool = False
    compile: bool = False
    memory_budget: str | None = None
    ema: float | None = None
    deterministic: bool = False
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    workers: int = 2
    val_every: int = 1
    patience: int | None = None
    monitor: Literal["AP", "AP50"] = "AP50"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    seed: int = 0
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    model: DetectorConfig = field(default_factory=DetectorConfig)
    recipe: Recipe = field(default_factory=Recipe)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        check_options(self)
        if self.compile and self.checkpointing:
            raise InputError(
                "excludes --checkpointing, which torch.compile cannot follow",
                field="--compile",
                remedy="give one of them; checkpointing saves memory, compiling saves time on some GPUs",
            )
        TrainingInput.parse(self.input)
