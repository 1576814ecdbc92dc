"""The Lightning trainer of every training: checkpoints, the best model, progress and curves."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from mammodet.networks.averaging import MovingAverage, trained_weights
from mammodet.networks.resume import ResumePoint
from mammodet.networks.training import TrainedModule
from mammodet.tools.training_errors import one_line_errors
from mammodet.tools.training_options import TrainingOptions

LAST_CHECKPOINT = Path("checkpoints", "last.ckpt")
MODEL_NAME = "model.safetensors"
STOPPED_NAME = "stopped.json"  # there while a training waits to be gone on with


@dataclass(frozen=True)
class ModelWriter:
    """The model file of a training.

    Parameters
    ----------
    write:
        Takes the tensors by name, and notes on the training (step, validation metric) for the header.
    notes:
        Returns the notes of the file that is there already.
    """

    path: Path
    write: Callable[[Mapping[str, Tensor], Mapping[str, Any]], None]
    notes: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class Monitor:
    """The validation metric that chooses the best epoch, such as ``val/AUC``."""

    name: str
    mode: Literal["max", "min"] = "max"

    def is_as_good(self, value: float, best: float | None) -> bool:
        """Tell whether ``value`` is at least as good as the best one so far; None is none so far."""
        return best is None or (value >= best if self.mode == "max" else value <= best)


def build_trainer(
    arguments: TrainingOptions,
    model: ModelWriter,
    *,
    device: torch.device,
    monitor: Monitor | None,
    shown: Sequence[str],
    resumes: bool,
    sync_batchnorm: bool = False,
) -> lightning.Trainer:
    """Return the trainer, with checkpoints, progress bar and curves below ``arguments.out``.

    Parameters
    ----------
    arguments:
        With a precision that is chosen, not "auto".
    monitor:
        None when nothing is validated: the model is written after every epoch.
    shown:
        Names of the metrics in the line of an epoch.
    """
    out = Path(arguments.out)
    processes = arguments.trainer
    many = processes.devices != 1 or processes.num_nodes > 1
    return lightning.Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=processes.devices if device.index is None else [device.index],
        num_nodes=processes.num_nodes,
        strategy=_strategy(device) if many else "auto",
        # Every process draws its own share, see the samplers.
        use_distributed_sampler=False,
        sync_batchnorm=many and sync_batchnorm,
        deterministic=arguments.deterministic,
        precision="bf16-mixed" if arguments.precision == "bf16" else "32-true",
        max_epochs=arguments.epochs,
        max_steps=-1 if arguments.max_steps is None else arguments.max_steps,
        max_time=None if arguments.max_minutes is None else timedelta(minutes=arguments.max_minutes),
        accumulate_grad_batches=arguments.accumulate,
        gradient_clip_val=arguments.optim.clip_norm or None,
        check_val_every_n_epoch=arguments.val_every,
        limit_val_batches=0 if monitor is None else 1.0,
        num_sanity_val_steps=0,
        log_every_n_steps=5,
        callbacks=_callbacks(arguments, model, monitor, shown, resumes=resumes),
        # Versions are counted up, so that a resumed run does not delete the curves of the one before.
        logger=[TensorBoardLogger(out, name="logs"), CSVLogger(out, name="csv")],
        default_root_dir=out,
        enable_model_summary=False,
    )


def fit(
    trainer: lightning.Trainer,
    module: TrainedModule,
    data: lightning.LightningDataModule,
    checkpoint: str | None,
    less_memory: str,
) -> None:
    """Train, and validate the end when it came between two validations, by a limit of time or steps.

    Raises what ``one_line_errors`` raises.
    """
    with one_line_errors(trainer, less_memory):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        validates = trainer.enable_validation
        if validates and module.validated_step != trainer.global_step:
            trainer.validate(module, datamodule=data, verbose=False)


def tell_model(model: ModelWriter) -> None:
    """Print which step the model file is of, and how well it did."""
    notes = model.notes()
    scores = {name.removeprefix("val_"): notes[name] for name in notes if name.startswith("val_")}
    told = "".join(f", validation {name} {value:.3f}" for name, value in scores.items())
    print(f"model of step {notes['step']}{told}: {model.path}")


def _callbacks(
    arguments: TrainingOptions,
    model: ModelWriter,
    monitor: Monitor | None,
    shown: Sequence[str],
    *,
    resumes: bool,
) -> list[Callback]:
    callbacks: list[Callback] = [] if arguments.ema is None else [MovingAverage(arguments.ema)]
    callbacks += [
        BestModel(model, monitor, resumes=resumes),
        TQDMProgressBar(),
        LearningRateMonitor("step"),
        EpochLine(shown),
    ]
    if arguments.patience is not None and monitor is not None:
        callbacks.append(
            Patience(
                monitor.name, mode=monitor.mode, patience=arguments.patience, check_on_train_epoch_end=False
            )
        )
    point = ResumePoint(
        Path(arguments.out) / LAST_CHECKPOINT,
        minutes=arguments.checkpoint_minutes,
        steps=arguments.checkpoint_steps,
    )
    return [*callbacks, point]


def _strategy(device: torch.device) -> DDPStrategy:
    return DDPStrategy(process_group_backend="nccl" if device.type == "cuda" else "gloo")


class Patience(EarlyStopping):
    """Stops when a metric no longer rises, and does not start again when a stopped run is gone on with."""

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop at once when the run before had run out of patience."""
        if self.wait_count >= self.patience > 0:
            trainer.should_stop = True


class BestModel(Callback):
    """Writes the model file of the best validation so far, so that it can be used while training goes on.

    Without a ``monitor`` it is written after every epoch. The file itself says how good it is, so that a
    resumed run does not put a worse one in its place.
    """

    def __init__(self, model: ModelWriter, monitor: Monitor | None, *, resumes: bool) -> None:
        self.model = model
        self.monitor = monitor
        self.resumes = resumes
        self.best: float | None = None

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take over what the run before has reached."""
        if self.resumes and self.monitor is not None and self.model.path.is_file():
            self.best = self.model.notes().get(_note(self.monitor))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the model when it is as good as the best one."""
        if self.monitor is not None and self.monitor.name in trainer.callback_metrics:
            score = float(trainer.callback_metrics[self.monitor.name])
            if self.monitor.is_as_good(score, self.best):
                self.best = score
                self._write(trainer, {_note(self.monitor): score})

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the model when nothing is validated."""
        if self.monitor is None:
            self._write(trainer, {})

    def _write(self, trainer: lightning.Trainer, scores: dict[str, float]) -> None:
        if trainer.is_global_zero:
            tensors = trained_weights(trainer, trainer.lightning_module)
            self.model.write(tensors, {"step": trainer.global_step, **scores})


def _note(monitor: Monitor) -> str:
    """Return the name of a metric in the notes of a model file."""
    return monitor.name.replace("/", "_")


class EpochLine(Callback):
    """Prints one line per validation, which stays in a log file when the progress bar does not."""

    def __init__(self, shown: Sequence[str]) -> None:
        self.shown = tuple(shown)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Print epoch, step, loss and validation metrics."""
        if not trainer.is_global_zero:
            return
        shown = {name: trainer.callback_metrics.get(name) for name in self.shown}
        parts = [f"{name} {float(value):.3f}" for name, value in shown.items() if value is not None]
        # Lightning counts epochs from 0, and the one that is over when validation comes after the training.
        epoch = trainer.current_epoch + (trainer.state.fn == TrainerFn.FITTING)
        print(f"\nepoch {epoch}, step {trainer.global_step}: {', '.join(parts)}", flush=True)


def silence_advice() -> None:
    """Drop Lightning's advice that does not apply: loaders with few workers, no validation data, tips."""
    for message in (
        "does not have many workers",
        "defined a `validation_step`",
        "log_every_n_steps",
        "LeafSpec",
        "exists and is not empty",
        "sync_dist=True",
        "You have overridden `transfer_batch_to_device`",
    ):
        warnings.filterwarnings("ignore", f".*{message}.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
