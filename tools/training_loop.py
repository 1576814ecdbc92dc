"""The Lightning trainer of mammodet train-det: loaders, checkpoints, progress and curves."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn

from mammodet.datasets.coco import Coco
from mammodet.detection.averaging import MovingAverage, trained_weights
from mammodet.detection.crops import Boxes, TrainingInput
from mammodet.detection.data_module import LesionData
from mammodet.detection.model_file import ModelHeader, read_header, write_model
from mammodet.detection.resume import ResumePoint
from mammodet.tools.training_arguments import Arguments

LAST_CHECKPOINT = Path("checkpoints", "last.ckpt")
MODEL_NAME = "model.safetensors"
STOPPED_NAME = "stopped.json"  # there while a training waits to be gone on with


def build_data(
    arguments: Arguments, training: Coco, validation: Coco | None, hard_negatives: Mapping[int, Boxes]
) -> LesionData:
    """Return the loaders of both sets, the training images drawn and varied as asked."""
    return LesionData(
        training,
        validation,
        arguments.recipe,
        augment=arguments.augment,
        window=TrainingInput.parse(arguments.input),
        hard_negatives=hard_negatives,
        lesion_share=arguments.sampling.lesion_share,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        seed=arguments.seed,
    )


def build_trainer(
    arguments: Arguments,
    out: Path,
    header: ModelHeader,
    *,
    device: torch.device,
    precision: str,
    validates: bool,
    resumes: bool,
) -> lightning.Trainer:
    """Return the trainer, with checkpoints, progress bar and curves below ``out``."""
    processes = arguments.trainer
    many = processes.devices != 1 or processes.num_nodes > 1
    return lightning.Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=processes.devices if device.index is None else [device.index],
        num_nodes=processes.num_nodes,
        strategy=_strategy(device) if many else "auto",
        # Every process draws its own images, see LesionSampler.
        use_distributed_sampler=False,
        sync_batchnorm=many and arguments.model.norm == "sync",
        deterministic=arguments.deterministic,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_epochs=arguments.epochs,
        max_steps=-1 if arguments.max_steps is None else arguments.max_steps,
        max_time=None if arguments.max_minutes is None else timedelta(minutes=arguments.max_minutes),
        accumulate_grad_batches=arguments.accumulate,
        gradient_clip_val=arguments.optim.clip_norm or None,
        check_val_every_n_epoch=arguments.val_every,
        limit_val_batches=1.0 if validates else 0,
        num_sanity_val_steps=0,
        log_every_n_steps=5,
        callbacks=_callbacks(arguments, out, header, validates=validates, resumes=resumes),
        # Versions are counted up, so that a resumed run does not delete the curves of the one before.
        logger=[TensorBoardLogger(out, name="logs"), CSVLogger(out, name="csv")],
        default_root_dir=out,
        enable_model_summary=False,
    )


def _callbacks(
    arguments: Arguments, out: Path, header: ModelHeader, *, validates: bool, resumes: bool
) -> list[Callback]:
    monitor = f"val/{arguments.monitor}" if validates else None
    callbacks: list[Callback] = [] if arguments.ema is None else [MovingAverage(arguments.ema)]
    callbacks += [
        BestModel(out / MODEL_NAME, header, monitor, resumes=resumes),
        TQDMProgressBar(),
        LearningRateMonitor("step"),
        EpochLine(),
    ]
    if arguments.patience is not None and monitor is not None:
        callbacks.append(
            Patience(monitor, mode="max", patience=arguments.patience, check_on_train_epoch_end=False)
        )
    point = ResumePoint(
        out / LAST_CHECKPOINT, minutes=arguments.checkpoint_minutes, steps=arguments.checkpoint_steps
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

    def __init__(self, path: Path, header: ModelHeader, monitor: str | None, *, resumes: bool) -> None:
        self.path = path
        self.header = header
        self.monitor = monitor
        self.resumes = resumes
        self.best = -1.0

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take over what the run before has reached."""
        if self.resumes and self.monitor is not None and self.path.is_file():
            self.best = float(read_header(self.path).training.get(self._key, -1.0))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the model when it is as good as the best one."""
        if self.monitor is not None and self.monitor in trainer.callback_metrics:
            score = float(trainer.callback_metrics[self.monitor])
            if score >= self.best:
                self.best = score
                self._write(trainer, {self._key: score})

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the model when nothing is validated."""
        if self.monitor is None:
            self._write(trainer, {})

    @property
    def _key(self) -> str:
        return (self.monitor or "").replace("/", "_")

    def _write(self, trainer: lightning.Trainer, scores: dict[str, float]) -> None:
        if trainer.is_global_zero:
            tensors = trained_weights(trainer, trainer.lightning_module)
            training = {**self.header.training, "step": trainer.global_step, **scores}
            write_model(self.path, tensors, replace(self.header, training=training))


class EpochLine(Callback):
    """Prints one line per validation, which stays in a log file when the progress bar does not."""

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Print epoch, step, loss and validation metrics."""
        if not trainer.is_global_zero:
            return
        shown = {name: trainer.callback_metrics.get(name) for name in ("train/loss", "val/AP", "val/AP50")}
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
