"""What mammodet train-det can be told, on the command line or in a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.detection.augment import AugmentConfig
from mammodet.detection.crops import TrainingInput
from mammodet.detection.losses import LossConfig
from mammodet.detection.model import DetectorConfig
from mammodet.detection.sampling import SamplingConfig
from mammodet.tools.training_options import TrainerConfig, TrainingOptions


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


@dataclass(frozen=True, kw_only=True)
class Arguments(TrainingOptions):
    """Train a Faster R-CNN lesion detector at full resolution.

    Args:
        train: COCO file with the training images.
        val: COCO file with validation images; COCO mAP is measured on it every val_every epochs.
        weights: where training starts: coco, imagenet, none, or a file (model, checkpoint or state dict).
        input: what a training step sees of an image: whole, crop:SIZE (around a lesion), or
            tiles:SIZE,OVERLAP; in pixels.
        checkpointing: keep less of the backbone for the backward pass and compute it again: some more time,
            far less memory.
        compile: compile the backbone with torch.compile; needs a C++ compiler on a CPU.
        memory_budget: such as 11GB: say before training what a step needs, and refuse one that needs more.
        monitor: validation metric that chooses the best epoch.
        sampling: which images are drawn.
        model: architecture and thresholds.
        recipe: how mammograms become pixels.
        augment: how training images are varied.
        loss: class imbalance: focal loss, weights of classes and of losses.
    """

    train: str
    val: str | None = None
    weights: str = "coco"
    input: str = "whole"
    checkpointing: bool = False
    compile: bool = False
    memory_budget: str | None = None
    monitor: Literal["AP", "AP50"] = "AP50"
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    model: DetectorConfig = field(default_factory=DetectorConfig)
    recipe: Recipe = field(default_factory=Recipe)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compile and self.checkpointing:
            raise InputError(
                "excludes --checkpointing, which torch.compile cannot follow",
                field="--compile",
                remedy="give one of them; checkpointing saves memory, compiling saves time on some GPUs",
            )
        TrainingInput.parse(self.input)
