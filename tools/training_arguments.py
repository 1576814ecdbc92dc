"""What mammodet train-det can be told, on the command line or in a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.detection.augment import AugmentConfig
from mammodet.detection.model import DetectorConfig
from mammodet.detection.training import OptimConfig


@dataclass(frozen=True)
class Arguments:
    """Train a Faster R-CNN lesion detector at full resolution.

    Args:
        train: COCO file with the training images.
        out: folder for the model, checkpoints and curves.
        val: COCO file with validation images; COCO mAP is measured on it every val_every epochs.
        weights: where training starts: coco, imagenet, none, or a file (model, checkpoint or state dict).
        resume: go on from the last checkpoint in the folder.
        epochs: passes over the training images.
        max_steps: stop after this many optimiser steps; null means no limit.
        max_minutes: stop after this many minutes; null means no limit.
        batch_size: images per step.
        accumulate: batches whose gradients are added up before a step.
        workers: processes that read images.
        val_every: epochs between validations.
        patience: stop when the monitored metric has not risen for this many validations; null means never.
        monitor: validation metric that chooses the best epoch.
        precision: fp32, bf16, or auto (bf16 where this machine is faster with it).
        device: cpu, cuda, mps, or auto.
        seed: of weights, order and augmentation.
        model: architecture and thresholds.
        recipe: how mammograms become pixels.
        augment: how training images are varied.
        optim: optimiser and learning rate.
    """

    train: str
    out: str
    val: str | None = None
    weights: str = "coco"
    resume: bool = False
    epochs: int = 50
    max_steps: int | None = None
    max_minutes: float | None = None
    batch_size: int = 1
    accumulate: int = 1
    workers: int = 2
    val_every: int = 1
    patience: int | None = None
    monitor: Literal["AP", "AP50"] = "AP50"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    seed: int = 0
    model: DetectorConfig = field(default_factory=DetectorConfig)
    recipe: Recipe = field(default_factory=Recipe)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "val_every"):
            if getattr(self, name) < 1:
                raise InputError("must be 1 or more", field=f"--{name}", value=getattr(self, name))
        for name in ("workers", "seed"):
            if getattr(self, name) < 0:
                raise InputError("must not be negative", field=f"--{name}", value=getattr(self, name))
