"""The Lightning trainer of mammodet train-det: loaders, checkpoints, progress and curves."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from mammodet.datasets.coco import Coco
from mammodet.detection.data import Batch, LesionDataset, collate
from mammodet.detection.model_file import ModelHeader, write_model
from mammodet.detection.precision import choose_device, choose_precision
from mammodet.detection.training import DetectorModule
from mammodet.tools.training_arguments import Arguments

LAST_CHECKPOINT = Path("checkpoints", "last.ckpt")
MODEL_NAME = "model.safetensors"


def build_loader(
    coco: Coco | None, arguments: Arguments, *, training: bool = False
) -> DataLoader[Batch] | None:
    """Return the loader of a data set, shuffled and augmented for training; None without a data set."""
    if coco is None:
        return None
    return DataLoader(
        LesionDataset(coco, arguments.recipe, arguments.augment if training else None),  # type: ignore[arg-type]
        batch_size=arguments.batch_size,
        shuffle=training,
        num_workers=arguments.workers,
        persistent_workers=arguments.workers > 0,
        collate_fn=collate,
    )


def build_trainer(arguments: Arguments, out: Path, header: ModelHeader, validates: bool) -> lightning.Trainer:
    """Return the trainer, with checkpoints, progress bar and curves below ``out``."""
    device = choose_device(arguments.device)
    precision = choose_precision(arguments.precision, device)
    print(f"training on {device.type} in {precision}")
    last = ModelCheckpoint(
        out / LAST_CHECKPOINT.parent,
        filename=LAST_CHECKPOINT.stem,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    best = BestModel(out / MODEL_NAME, header, f"val/{arguments.monitor}" if validates else None)
    callbacks: list[Callback] = [last, best, TQDMProgressBar(), LearningRateMonitor("step"), EpochLine()]
    if arguments.patience is not None and validates:
        monitor, patience = f"val/{arguments.monitor}", arguments.patience
        callbacks.append(
            EarlyStopping(monitor, mode="max", patience=patience, check_on_train_epoch_end=False)
        )
    return lightning.Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=1 if device.index is None else [device.index],
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_epochs=arguments.epochs,
        max_steps=-1 if arguments.max_steps is None else arguments.max_steps,
        max_time=None if arguments.max_minutes is None else timedelta(minutes=arguments.max_minutes),
        accumulate_grad_batches=arguments.accumulate,
        gradient_clip_val=arguments.optim.clip_norm or None,
        check_val_every_n_epoch=arguments.val_every,
        num_sanity_val_steps=0,
        log_every_n_steps=5,
        callbacks=callbacks,
        # Versions are counted up, so that a resumed run does not delete the curves of the one before.
        logger=[TensorBoardLogger(out, name="logs"), CSVLogger(out, name="csv")],
        default_root_dir=out,
        enable_model_summary=False,
    )


class BestModel(Callback):
    """Writes the model file of the best validation so far, so that it can be used while training goes on.

    Without a ``monitor`` it is written after every epoch. What was best is part of the checkpoints, so that a
    resumed run does not write a worse one.
    """

    def __init__(self, path: Path, header: ModelHeader, monitor: str | None) -> None:
        self.path = path
        self.header = header
        self.monitor = monitor
        self.best = -1.0

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the model when it is as good as the best one."""
        if self.monitor is not None and self.monitor in trainer.callback_metrics:
            score = float(trainer.callback_metrics[self.monitor])
            if score >= self.best:
                self.best = score
                self._write(trainer, {self.monitor.replace("/", "_"): score})

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the model when nothing is validated."""
        if self.monitor is None:
            self._write(trainer, {})

    def state_dict(self) -> dict[str, float]:
        """Return what a resumed run must know."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Take over what the run before knew."""
        self.best = state_dict["best"]

    def _write(self, trainer: lightning.Trainer, scores: dict[str, float]) -> None:
        assert isinstance(trainer.lightning_module, DetectorModule)
        training = {**self.header.training, "step": trainer.global_step, **scores}
        write_model(
            self.path, trainer.lightning_module.model.state_dict(), replace(self.header, training=training)
        )


class EpochLine(Callback):
    """Prints one line per validation, which stays in a log file when the progress bar does not."""

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Print epoch, step, loss and validation metrics."""
        shown = {name: trainer.callback_metrics.get(name) for name in ("train/loss", "val/AP", "val/AP50")}
        parts = [f"{name} {float(value):.3f}" for name, value in shown.items() if value is not None]
        print(
            f"\nepoch {trainer.current_epoch + 1}, step {trainer.global_step}: {', '.join(parts)}", flush=True
        )


def silence_advice() -> None:
    """Drop Lightning's advice that does not apply: loaders with few workers, no validation data, tips."""
    for message in (
        "does not have many workers",
        "defined a `validation_step`",
        "log_every_n_steps",
        "LeafSpec",
        "exists and is not empty",
    ):
        warnings.filterwarnings("ignore", f".*{message}.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
