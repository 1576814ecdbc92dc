"""What every training can be told: how long, how often it saves, on how many devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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


class TrainingOptions(Protocol):
    """The options of a training that do not depend on what is trained; see ``mammodet train-det --help``."""

    @property
    def out(self) -> str: ...
    @property
    def resume(self) -> bool: ...
    @property
    def requeue(self) -> bool: ...
    @property
    def epochs(self) -> int: ...
    @property
    def max_steps(self) -> int | None: ...
    @property
    def max_minutes(self) -> float | None: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def accumulate(self) -> int: ...
    @property
    def ema(self) -> float | None: ...
    @property
    def deterministic(self) -> bool: ...
    @property
    def checkpoint_minutes(self) -> float: ...
    @property
    def checkpoint_steps(self) -> int | None: ...
    @property
    def workers(self) -> int: ...
    @property
    def val_every(self) -> int: ...
    @property
    def patience(self) -> int | None: ...
    @property
    def monitor(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def trainer(self) -> TrainerConfig: ...
    @property
    def optim(self) -> OptimConfig: ...


def check_options(options: TrainingOptions) -> None:
    """Refuse numbers that no training can have; raises InputError."""
    for name in ("epochs", "batch_size", "accumulate", "val_every"):
        if getattr(options, name) < 1:
            raise InputError("must be 1 or more", field=f"--{name}", value=getattr(options, name))
    for name in ("workers", "seed", "checkpoint_minutes"):
        if getattr(options, name) < 0:
            raise InputError("must not be negative", field=f"--{name}", value=getattr(options, name))
    for name in ("checkpoint_steps", "max_steps", "patience"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise InputError("must be 1 or more, or null", field=f"--{name}", value=value)
    if options.max_minutes is not None and options.max_minutes <= 0:
        raise InputError("must be above 0, or null", field="--max_minutes", value=options.max_minutes)
    if options.seed >= 2**32:
        raise InputError("must be below 2^32", field="--seed", value=options.seed)
    if options.ema is not None and not 0 < options.ema < 1:
        raise InputError("must be between 0 and 1, such as 0.999, or null", field="--ema", value=options.ema)
