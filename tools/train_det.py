"""mammodet train-det: train a Faster R-CNN lesion detector at full resolution.

    mammodet train-det --train train.json --val val.json --out runs/first --weights coco
    mammodet train-det --config configs/demo.yaml --train train.json --val val.json --out runs/demo
    mammodet train-det --config runs/first/config.yaml --resume

OUT gets config.yaml (the full configuration), model.safetensors (the best epoch), checkpoints/, logs/
(TensorBoard) and csv/ (the same curves as tables).
"""

from __future__ import annotations

import errno
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import mammodet.detection  # noqa: F401  # isort: skip  # names a torch that does not fit torchvision
import lightning
import torch
import yaml
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.detection.augment import AugmentConfig
from mammodet.detection.data import Batch, ImageStatistics, LesionDataset, collate, measure_images
from mammodet.detection.model import DetectorConfig, parameter_count
from mammodet.detection.model_file import ModelHeader, fingerprint, write_model
from mammodet.detection.precision import choose_device, choose_precision
from mammodet.detection.training import DetectorModule, OptimConfig
from mammodet.detection.weights import copy_weights, is_pretrained, start_weights
from mammodet.evaluation.detection_metrics import coco_metrics
from mammodet.tools.command import INTERRUPTED, config_text, run, write_config

MODEL_NAME = "model.safetensors"
LAST_CHECKPOINT = Path("checkpoints", "last.ckpt")


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet train-det`` and return its exit code."""
    return run(Arguments, train, argv, prog="mammodet train-det")


def train(arguments: Arguments) -> int:
    """Train, then write the best epoch as a model file."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    out = Path(arguments.out)
    checkpoint = _checkpoint_to_resume(out, arguments.resume)
    train_coco, val_coco = _read_images(arguments.train), _read_images(arguments.val)
    assert train_coco is not None
    # A resumed run has its own weights. They are read before the images are measured, which takes minutes.
    state = None if checkpoint else start_weights(arguments.weights, arguments.model.backbone)
    arguments = replace(arguments, model=_resolve(arguments, train_coco))
    if checkpoint:
        _check_resumable(checkpoint, out / "config.yaml", arguments)
    write_config(arguments, out / "config.yaml")

    lightning.seed_everything(arguments.seed, workers=True, verbose=False)
    module = DetectorModule(
        arguments.model,
        arguments.optim,
        evaluate=None if val_coco is None else partial(_validation_metrics, val_coco),
    )
    if state is not None:
        copy_weights(module.model, state, arguments.weights)
    size = parameter_count(module.model) / 1e6
    print(f"{arguments.model.backbone} Faster R-CNN, {size:.1f} million parameters trained")
    _silence_advice()
    best = _checkpoints(out, arguments, val_coco)
    trainer = _trainer(arguments, out, best, val_coco)
    try:
        trainer.fit(
            module,
            _loader(train_coco, arguments, training=True),
            _loader(val_coco, arguments),
            ckpt_path=checkpoint,
            weights_only=True,
        )
    except OSError as error:
        if error.errno == errno.ENOSPC:  # Lightning names its temporary file
            raise OSError(error.errno, error.strerror, str(best.dirpath)) from error
        raise
    except SystemExit:  # how Lightning ends after Ctrl-C
        if not trainer.interrupted:
            raise
        print(f"\ninterrupted; {_how_to_go_on(out)}", file=sys.stderr)
        return INTERRUPTED
    _write_best(out / MODEL_NAME, best, module, arguments, train_coco)
    return 0


def _how_to_go_on(out: Path) -> str:
    if (out / LAST_CHECKPOINT).is_file():
        return f"--config {out / 'config.yaml'} --resume goes on after the last finished epoch"
    return "the first epoch was not finished, so the same command starts again"


def _checkpoint_to_resume(out: Path, resume: bool) -> str | None:
    last = out / LAST_CHECKPOINT
    if resume and not last.is_file():
        raise InputError(
            "no checkpoint to go on from", file=last, field="--resume", remedy="start without --resume"
        )
    if not resume and last.is_file():
        raise InputError(
            "this folder holds a training already",
            file=out,
            field="--out",
            remedy="give --resume or another --out",
        )
    return str(last) if resume else None


def _check_resumable(checkpoint: str, config: Path, arguments: Arguments) -> None:
    """Refuse to go on from a damaged checkpoint, or with another model than the one it holds."""
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types here, from zipfile's to pickle's
        raise InputError(
            f"is damaged ({type(error).__name__})", file=checkpoint, remedy="start again with another --out"
        ) from None
    before = yaml.safe_load(config.read_text()) if config.is_file() else {}
    now = yaml.safe_load(config_text(arguments))
    for group in ("model", "recipe"):
        if group in before and before[group] != now[group]:
            changed = [key for key in now[group] if before[group].get(key) != now[group][key]]
            raise InputError(
                "differs from the training to go on with",
                file=config,
                field=f"{group}.{changed[0]}" if changed else group,
                value=now[group].get(changed[0]) if changed else None,
                remedy=f"give --config {config} --resume",
            )


def _read_images(path: str | None) -> Coco | None:
    """Read a COCO file and make sure that all its images are there, before hours of training."""
    if path is None:
        return None
    coco = read_coco(path)
    if not coco.images:
        raise InputError("has no images", file=path, field="images", remedy="give a COCO file with images")
    for image in coco.images:
        if not coco.image_path(image).is_file():
            raise InputError(
                "no such image file",
                file=coco.image_path(image),
                field=f"{path} images[id={image['id']}].file_name",
                value=image["file_name"],
                remedy="names are relative to the COCO file's folder, or to info.root",
            )
    return coco


def _resolve(arguments: Arguments, coco: Coco) -> DetectorConfig:
    """Fill in what depends on data and weights, and say at which resolution training runs."""
    model = arguments.model
    measured = measure_images(coco, arguments.recipe)
    print(_resolution_line(measured))
    pretrained = is_pretrained(arguments.weights)
    norm = model.norm if model.norm != "auto" else ("frozen" if pretrained else "batch")
    if norm == "frozen" and not pretrained:
        raise InputError(
            "frozen normalisation needs learned statistics",
            field="--model.norm",
            value=norm,
            remedy="give --model.norm batch, or pretrained --weights",
        )
    layers = model.trainable_layers
    return replace(
        model,
        norm=norm,
        trainable_layers=layers if layers is not None else (3 if pretrained else 5),
        image_mean=measured.mean if model.image_mean is None else model.image_mean,
        image_std=measured.std if model.image_std is None else model.image_std,
    )


def _resolution_line(measured: ImageStatistics) -> str:
    width, height = measured.largest
    line = f"images reach the detector without resizing, the largest as {width} x {height} px"
    if not measured.spacing_mm:
        return f"{line}; mm per pixel unknown (the files do not say)"
    sides = [side for spacing in measured.spacing_mm for side in spacing]
    return f"{line}, at {min(sides):.4g} to {max(sides):.4g} mm per pixel ({measured.images} images measured)"


def _validation_metrics(coco: Coco, results: list[dict[str, Any]]) -> Mapping[str, float]:
    metrics = coco_metrics(coco, results)["all"]
    return {name: metrics[name] or 0.0 for name in ("AP", "AP50")}


def _loader(coco: Coco | None, arguments: Arguments, *, training: bool = False) -> DataLoader[Batch] | None:
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


def _checkpoints(out: Path, arguments: Arguments, val: Coco | None) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=out / "checkpoints",
        filename="best",
        monitor=f"val/{arguments.monitor}" if val else None,
        mode="max",
        enable_version_counter=False,
        save_on_train_epoch_end=val is None,
    )


def _trainer(arguments: Arguments, out: Path, best: ModelCheckpoint, val: Coco | None) -> lightning.Trainer:
    device = choose_device(arguments.device)
    precision = choose_precision(arguments.precision, device)
    print(f"training on {device.type} in {precision}")
    # Apart from the best one, so that a killed run loses one epoch at most, however rarely it validates.
    last = ModelCheckpoint(best.dirpath, save_top_k=0, save_last=True, save_on_train_epoch_end=True)
    callbacks: list[Callback] = [best, last, TQDMProgressBar(), LearningRateMonitor("step"), EpochLine()]
    if arguments.patience is not None and val is not None:
        callbacks.append(EarlyStopping(f"val/{arguments.monitor}", mode="max", patience=arguments.patience))
    return lightning.Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=1,
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


class EpochLine(Callback):
    """Prints one line per validation, which stays in a log file when the progress bar does not."""

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Print epoch, step, loss and validation metrics."""
        shown = {name: trainer.callback_metrics.get(name) for name in ("train/loss", "val/AP", "val/AP50")}
        parts = [f"{name} {float(value):.3f}" for name, value in shown.items() if value is not None]
        print(
            f"\nepoch {trainer.current_epoch + 1}, step {trainer.global_step}: {', '.join(parts)}", flush=True
        )


def _silence_advice() -> None:
    """Drop Lightning's advice that does not apply: loaders with few workers, no validation data, tips."""
    for message in (
        "does not have many workers",
        "defined a `validation_step`",
        "log_every_n_steps",
        "LeafSpec",
    ):
        warnings.filterwarnings("ignore", f".*{message}.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)


def _write_best(
    path: Path, checkpoints: ModelCheckpoint, module: DetectorModule, arguments: Arguments, coco: Coco
) -> None:
    best = checkpoints.best_model_path if checkpoints.monitor else ""
    training: dict[str, Any] = {
        "seed": arguments.seed,
        "start_weights": arguments.weights,
        "optim": asdict(arguments.optim),
    }
    if best:
        state = torch.load(best, map_location="cpu", weights_only=True)
        tensors = {key.removeprefix("model."): value for key, value in state["state_dict"].items()}
        training |= {"epoch": state["epoch"] + 1, "step": state["global_step"]}
        training |= {f"val_{arguments.monitor}": float(checkpoints.best_model_score or 0)}
    else:
        tensors = module.model.state_dict()
        training |= {"epoch": module.current_epoch, "step": module.global_step}
    write_model(path, tensors, ModelHeader(arguments.model, arguments.recipe, fingerprint(coco), training))
    what = f"epoch {training['epoch']}, step {training['step']}"
    score = f", validation {arguments.monitor} {training[f'val_{arguments.monitor}']:.3f}" if best else ""
    print(f"model of {what}{score}: {path}")


if __name__ == "__main__":
    raise SystemExit(main())
