"""mammodet train-det: train a Faster R-CNN lesion detector at full resolution.

    mammodet train-det --train train.json --val val.json --out runs/first --weights coco
    mammodet train-det --config configs/demo.yaml --train train.json --val val.json --out runs/demo
    mammodet train-det --config runs/first/config.yaml --resume

OUT gets config.yaml (the full configuration), model.safetensors (the best validation so far), checkpoints/,
logs/ (TensorBoard) and csv/ (the same curves as tables).
"""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import mammodet.detection  # noqa: F401  # isort: skip  # names a torch that does not fit torchvision
import lightning
import torch
import yaml
from torch.utils.data import DataLoader

from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.prepared import prepared_recipe, require_recipe
from mammodet.datasets.standardise import Recipe
from mammodet.detection.data import Batch, ImageStatistics, measure_images
from mammodet.detection.model import DetectorConfig, parameter_count
from mammodet.detection.model_file import ModelHeader, fingerprint, is_model_file, read_header
from mammodet.detection.training import DetectorModule
from mammodet.detection.weights import copy_weights, is_pretrained, start_weights
from mammodet.evaluation.detection_metrics import coco_metrics
from mammodet.tools.command import INTERRUPTED, config_text, given_options, run, write_config
from mammodet.tools.training_arguments import Arguments
from mammodet.tools.training_loop import (
    LAST_CHECKPOINT,
    MODEL_NAME,
    build_loader,
    build_trainer,
    silence_advice,
)

_PROG = "mammodet train-det"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet train-det`` and return its exit code."""

    def work(arguments: Arguments) -> int:
        given = given_options(Arguments, argv, prog=_PROG).get("recipe")
        return train(arguments, () if given is None else vars(given).keys())

    return run(Arguments, work, argv, prog=_PROG)


def train(arguments: Arguments, given_recipe: Collection[str]) -> int:
    """Train; the model file of the best validation is written on the way.

    ``given_recipe`` names the fields of the recipe that were asked for; the others follow prepared images.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    out = Path(arguments.out)
    checkpoint = _checkpoint_to_resume(out, arguments.resume)
    train_coco = _read_images(arguments.train)
    val_coco = None if arguments.val is None else _read_images(arguments.val)
    _warn_of_leaks(train_coco, val_coco)
    arguments = replace(arguments, recipe=_recipe(arguments.recipe, given_recipe, train_coco, val_coco))
    # A resumed run has its own weights. They are read before the images are measured, which takes minutes.
    state = None if checkpoint else start_weights(arguments.weights, arguments.model.backbone)
    arguments = replace(arguments, model=_resolve(arguments, train_coco))
    if checkpoint:
        _check_resumable(checkpoint, out / "config.yaml", arguments)
    write_config(arguments, out / "config.yaml")

    lightning.seed_everything(arguments.seed, workers=True, verbose=False)
    evaluate = None if val_coco is None else partial(_validation_metrics, val_coco)
    module = DetectorModule(arguments.model, arguments.optim, evaluate=evaluate)
    if state is not None:
        copy_weights(module.model, state, arguments.weights)
    size = parameter_count(module.model) / 1e6
    print(f"{arguments.model.backbone} Faster R-CNN, {size:.1f} million parameters trained")
    silence_advice()
    trainer = build_trainer(arguments, out, _header(arguments, train_coco), validates=val_coco is not None)
    validation = build_loader(val_coco, arguments)
    if not _fit(trainer, module, build_loader(train_coco, arguments, training=True), validation, checkpoint):
        print(f"\ninterrupted; {_how_to_go_on(out)}", file=sys.stderr)
        return INTERRUPTED
    if validation is not None and module.validated_step != trainer.global_step:
        # A limit of time or steps came between two validations.
        trainer.validate(module, validation, verbose=False)
    _tell(out / MODEL_NAME)
    return 0


def _header(arguments: Arguments, coco: Coco) -> ModelHeader:
    training = {"seed": arguments.seed, "start_weights": arguments.weights, "optim": asdict(arguments.optim)}
    return ModelHeader(arguments.model, arguments.recipe, fingerprint(coco), training)


def _fit(
    trainer: lightning.Trainer,
    module: DetectorModule,
    training: DataLoader[Batch] | None,
    validation: DataLoader[Batch] | None,
    checkpoint: str | None,
) -> bool:
    """Train; False when the user stopped it."""
    try:
        trainer.fit(module, training, validation, ckpt_path=checkpoint, weights_only=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # Lightning names its temporary file
            raise OSError(error.errno, error.strerror, str(trainer.default_root_dir)) from error
        raise
    except SystemExit:  # how Lightning ends after Ctrl-C
        if not trainer.interrupted:
            raise
        return False
    return True


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


def _read_images(path: str) -> Coco:
    """Read a COCO file and make sure that all its images are there, before hours of training."""
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


def _recipe(asked: Recipe, given: Collection[str], *files: Coco | None) -> Recipe:
    """Return the recipe of prepared images, which the model file must record; else the one asked for."""
    recipes = [recipe for coco in files if coco is not None and (recipe := prepared_recipe(coco)) is not None]
    if not recipes:
        return asked
    wanted = replace(recipes[0], **{name: getattr(asked, name) for name in given})
    for coco in files:
        if coco is not None:
            require_recipe(coco, wanted)
    print("images are prepared: their recipe becomes that of the model")
    return wanted


def _warn_of_leaks(train: Coco, val: Coco | None) -> None:
    if val is not None:
        patients = {image.get("patient_id") for image in train.images} - {None}
        both = patients & {image.get("patient_id") for image in val.images}
        if both:
            line = f"{len(both)} patients are in --train and in --val; split by patient with mammodet split"
            print(f"mammodet train-det: warning: {line}", file=sys.stderr)


def _resolve(arguments: Arguments, coco: Coco) -> DetectorConfig:
    """Fill in what depends on data and weights, and say at which resolution training runs."""
    model = arguments.model
    measured = measure_images(coco, arguments.recipe)
    print(_resolution_line(measured))
    if measured.lost_boxes:
        print(f"{measured.lost_boxes} of their {measured.boxes} lesions lie outside the crop: not learned")
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
        frozen_eps=_frozen_eps(arguments) if model.frozen_eps is None else model.frozen_eps,
        trainable_layers=layers if layers is not None else (3 if pretrained else 5),
        image_mean=measured.mean if model.image_mean is None else model.image_mean,
        image_std=measured.std if model.image_std is None else model.image_std,
    )


def _frozen_eps(arguments: Arguments) -> float:
    if is_model_file(Path(arguments.weights)):
        own = read_header(Path(arguments.weights)).config.frozen_eps
        return 1e-5 if own is None else own
    return 0.0 if arguments.weights == "coco" else 1e-5


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


def _tell(path: Path) -> None:
    training = read_header(path).training
    scores = {name.removeprefix("val_"): training[name] for name in training if name.startswith("val_")}
    told = "".join(f", validation {name} {value:.3f}" for name, value in scores.items())
    print(f"model of step {training['step']}{told}: {path}")


if __name__ == "__main__":
    raise SystemExit(main())
