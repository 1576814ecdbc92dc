"""What every module in training has: a network, an optimiser with its schedule, results of all processes."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn

from mammodet.networks.optim import OptimConfig, optimizer_and_schedule


class TrainedModule(lightning.LightningModule):
    """A module whose network ``model`` goes into the model file.

    ``validated_step`` is the optimiser step of its last validation, -1 before the first.
    """

    model: nn.Module

    def __init__(self, optim: OptimConfig) -> None:
        super().__init__()
        self.optim = optim
        self.validated_step = -1

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return optimiser and per-step schedule."""
        return optimizer_and_schedule(self, self.optim)


def of_all_processes(own: dict[int, Any], world_size: int) -> dict[int, Any]:
    """Return what every process found by image; an image that two of them saw counts once."""
    if world_size == 1:
        return own
    parts: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(parts, own)
    return {image_id: found for part in reversed(parts) for image_id, found in part.items()}
