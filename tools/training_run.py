"""What every training does before its first step and after its last one."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import lightning
import torch
from torch import Tensor

from mammodet.networks.precision import choose_device, choose_precision
from mammodet.networks.resume import Stopped
from mammodet.networks.training import TrainedModule
from mammodet.networks.training_data import TrainingData
from mammodet.tools.command import given_fields, given_options, run, write_config
from mammodet.tools.training_loop import (
    MODEL_NAME,
    STOPPED_NAME,
    ModelWriter,
    Monitor,
    build_trainer,
    fit,
    silence_advice,
    tell_model,
)
from mammodet.tools.training_options import TrainingOptions, require_devices
from mammodet.tools.training_output import is_first, say
from mammodet.tools.training_stop import require_resumable, require_same_data, tell_stop

Options = TypeVar("Options", bound=TrainingOptions)


def run_training(
    arguments: type[Options],
    train: Callable[[Options, Collection[str]], int],
    argv: Sequence[str] | None,
    *,
    prog: str,
) -> int:
    """Parse the command line, train, and return the exit code.

    ``train`` also gets the names of the fields of the recipe that were asked for; the others follow the data.
    """

    def work(parsed: Options) -> int:
        # The rooms log from the first process alone.
        level = logging.INFO if is_first() else logging.WARNING
        logging.basicConfig(level=level, format="%(message)s", stream=sys.stdout)
        return train(parsed, given_fields(given_options(arguments, argv, prog=prog), "recipe"))

    return run(arguments, work, argv, prog=prog)


def choose_arithmetic(arguments: Options) -> tuple[Options, torch.device]:
    """Return the options with fp32 or bf16, and the device; InputError for one that is not there.

    The precision is kept in config.yaml, since a run that goes on must not choose again.
    """
    device = choose_device(arguments.device)
    require_devices(arguments.trainer, device)
    several = arguments.trainer.devices != 1 or arguments.trainer.num_nodes > 1
    if arguments.precision == "auto" and several and device.type == "cpu":
        chosen = "fp32"  # each process would take its own time, and they must agree
    else:
        chosen = choose_precision(arguments.precision, device)
    return replace(arguments, precision="bf16" if chosen == "bf16" else "fp32"), device


def begin(arguments: TrainingOptions, checkpoint: str | None, data: TrainingData) -> None:
    """Seed what is random, after refusing to go on from a checkpoint of other options or data."""
    if checkpoint is not None:
        require_resumable(checkpoint, Path(arguments.out) / "config.yaml", arguments)
        require_same_data(checkpoint, data)
    lightning.seed_everything(arguments.seed, workers=True, verbose=False)


def model_writer(
    out: Path,
    header: Any,
    write: Callable[[Path, Mapping[str, Tensor], Any], None],
    read: Callable[[Path], Any],
) -> ModelWriter:
    """Return the model file of a training, whose ``header`` takes notes in ``training``."""
    path = out / MODEL_NAME

    def written(tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        write(path, tensors, replace(header, training={**header.training, **notes}))

    return ModelWriter(path, written, lambda: read(path).training)


def train_to_end(
    arguments: TrainingOptions,
    module: TrainedModule,
    data: TrainingData,
    model: ModelWriter,
    *,
    network: str,
    device: torch.device,
    checkpoint: str | None,
    monitor: Monitor | None,
    shown: Sequence[str],
    less_memory: str,
    prog: str,
    sync_batchnorm: bool = False,
) -> int:
    """Make the folder that of this run, train, and return the exit code of the command.

    Parameters
    ----------
    network:
        What is trained, for the line that says so.
    monitor, shown:
        See ``build_trainer``.
    less_memory:
        The remedy when memory is short.
    """
    if is_first():
        write_config(arguments, Path(arguments.out) / "config.yaml")
        Path(arguments.out, STOPPED_NAME).unlink(missing_ok=True)
    size = sum(one.numel() for one in module.model.parameters() if one.requires_grad) / 1e6
    say(f"{network}, {size:.1f} million parameters trained")
    say(f"training on {device.type} in {arguments.precision}{_processes(arguments)}")
    silence_advice()
    trainer = build_trainer(
        arguments,
        model,
        device=device,
        monitor=monitor,
        shown=shown,
        resumes=checkpoint is not None,
        sync_batchnorm=sync_batchnorm,
    )
    try:
        fit(trainer, module, data, checkpoint, less_memory)
    except Stopped as stop:
        return tell_stop(stop, trainer, arguments, prog)
    if trainer.is_global_zero:
        tell_model(model)
    return 0


def _processes(arguments: TrainingOptions) -> str:
    """Return how many processes train, for the line that says on what; nothing for one."""
    asked = arguments.trainer
    if asked.devices == 1 and asked.num_nodes == 1:
        return ""
    devices = "all GPUs" if asked.devices == -1 else f"{asked.devices} processes"
    return f", {devices}" + (f" on each of {asked.num_nodes} machines" if asked.num_nodes > 1 else "")
