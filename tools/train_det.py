"""mammodet train-det: train a Faster R-CNN lesion detector at full resolution.

    mammodet train-det --train train.json --val val.json --out runs/first --weights coco
    mammodet train-det --config configs/demo.yaml --train train.json --val val.json --out runs/demo
    mammodet train-det --config runs/first/config.yaml --resume

OUT gets config.yaml (the full configuration), model.safetensors (the best validation so far), checkpoints/,
logs/ (TensorBoard) and csv/ (the same curves as tables).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import mammodet.detection  # noqa: F401  # isort: skip  # names a torch that does not fit torchvision

from mammodet.datasets.coco import Coco, counts
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.detection.data import ImageStatistics, measure_images
from mammodet.detection.model import DetectorConfig
from mammodet.detection.model_file import ModelHeader, fingerprint, is_model_file, read_header, write_model
from mammodet.detection.training import DetectorModule
from mammodet.detection.weights import copy_weights, is_pretrained, start_weights
from mammodet.tools.detector_arguments import Arguments, require_norm
from mammodet.tools.detector_memory import require_memory
from mammodet.tools.detector_training import Validation, build_data, hard_negatives
from mammodet.tools.training_loop import Monitor
from mammodet.tools.training_output import say
from mammodet.tools.training_run import begin, choose_arithmetic, model_writer, run_training, train_to_end
from mammodet.tools.training_set import read_images, shared_recipe, warn_of_leaks
from mammodet.tools.training_stop import checkpoint_to_resume

_PROG = "mammodet train-det"
_LESS_MEMORY = (
    "try, in this order: --checkpointing, --precision bf16, --batch-size 1 (with --accumulate), "
    "--model.trainable-layers 3, --input crop:1024; --memory-budget says beforehand what fits"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet train-det`` and return its exit code."""
    return run_training(Arguments, train, argv, prog=_PROG)


def train(arguments: Arguments, given_recipe: Collection[str]) -> int:
    """Train; the model file of the best validation is written on the way.

    ``given_recipe`` names the fields of the recipe that were asked for; the others follow prepared images.
    """
    out = Path(arguments.out)
    checkpoint = checkpoint_to_resume(arguments)
    train_coco = read_images(arguments.train)
    val_coco = None if arguments.val is None else read_images(arguments.val)
    warn_of_leaks(_PROG, train_coco, val_coco)
    arguments = replace(arguments, recipe=shared_recipe(arguments.recipe, given_recipe, train_coco, val_coco))
    known_errors = hard_negatives(arguments, train_coco)
    # A resumed run has its own weights. They are read before the images are measured, which takes minutes.
    state = None if checkpoint else start_weights(arguments.weights, arguments.model.backbone)
    measured = _measure(train_coco, arguments.recipe)
    arguments = replace(arguments, model=_resolve(arguments, measured))
    arguments, device = choose_arithmetic(arguments)
    require_norm(arguments.trainer, arguments.model.norm, device)
    most = max(map(len, train_coco.annotations_of.values()))
    require_memory(arguments, measured.largest, most, device)
    data = build_data(arguments, train_coco, val_coco, known_errors)
    begin(arguments, checkpoint, data)
    module = DetectorModule(
        arguments.model,
        arguments.optim,
        loss=arguments.loss,
        evaluate=None if val_coco is None else Validation(val_coco),
        checkpointing=arguments.checkpointing,
        seed=arguments.seed,
        faults=out,
    )
    if state is not None:
        copy_weights(module.model, state, arguments.weights)
    if arguments.compile:
        module.model.backbone.compile(dynamic=True)
    return train_to_end(
        arguments,
        module,
        data,
        model_writer(out, _header(arguments, train_coco), write_model, read_header),
        network=f"{arguments.model.backbone} Faster R-CNN",
        device=device,
        checkpoint=checkpoint,
        monitor=None if val_coco is None else Monitor(f"val/{arguments.monitor}"),
        shown=("train/loss", "val/AP", "val/AP50"),
        less_memory=_LESS_MEMORY,
        prog=_PROG,
        sync_batchnorm=arguments.model.norm == "sync",
    )


def _header(arguments: Arguments, coco: Coco) -> ModelHeader:
    training = {"seed": arguments.seed, "start_weights": arguments.weights, "optim": asdict(arguments.optim)}
    return ModelHeader(arguments.model, arguments.recipe, fingerprint(coco), training)


def _measure(coco: Coco, recipe: Recipe) -> ImageStatistics:
    """Measure the training images and say at which resolution training runs."""
    if not any(map(counts, coco.annotations)):
        raise InputError(
            "has no lesion to learn",
            file=coco.path,
            field="annotations",
            remedy="give a file with boxes; those with ignore or iscrowd do not count",
        )
    measured = measure_images(coco, recipe)
    say(_resolution_line(measured, recipe))
    if measured.boxes and measured.lost_boxes == measured.boxes:
        raise InputError(
            f"has no lesion to learn: all {measured.boxes} of {measured.images} images lie outside the crop",
            file=coco.path,
            field="annotations",
            remedy="look at them with mammodet audit; boxes must be in the frame of the file",
        )
    if measured.lost_boxes:
        say(f"{measured.lost_boxes} of their {measured.boxes} lesions lie outside the crop: not learned")
    return measured


def _resolve(arguments: Arguments, measured: ImageStatistics) -> DetectorConfig:
    """Fill in what depends on data and weights."""
    model = arguments.model
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


def _resolution_line(measured: ImageStatistics, recipe: Recipe) -> str:
    width, height = measured.largest
    how = "without resizing"
    if recipe.resize_px is not None:
        how = f"resized to a shorter side of {recipe.resize_px[0]} px (what is small may vanish)"
    line = f"images reach the detector {how}, the largest as {width} x {height} px"
    if not measured.spacing_mm:
        return f"{line}; mm per pixel unknown (the files do not say)"
    sides = [side for spacing in measured.spacing_mm for side in spacing]
    return f"{line}, at {min(sides):.4g} to {max(sides):.4g} mm per pixel ({measured.images} images measured)"


if __name__ == "__main__":
    raise SystemExit(main())
