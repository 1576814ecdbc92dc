"""mammodet train-cls: train a classifier of whole mammograms, of patches or of lesions.

    mammodet train-cls --config configs/sppnet.yaml --train train.json --val val.json --out runs/sppnet
    mammodet train-cls --config configs/pesapane_task1.yaml --train patches.sqlite --out runs/task1
    mammodet train-cls --config runs/sppnet/config.yaml --resume

OUT gets config.yaml (the full configuration), model.safetensors (the best validation so far), checkpoints/,
logs/ (TensorBoard) and csv/ (the same curves as tables).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mammodet.networks  # noqa: F401  # isort: skip  # names a torch that does not fit torchvision
import lightning
import torch
from torch import Tensor

from mammodet.classification.data_module import ClassifierData
from mammodet.classification.model_file import (
    ClassifierHeader,
    build_network,
    read_header,
    write_model,
)
from mammodet.classification.training import ClassifierModule
from mammodet.networks.precision import choose_device, choose_precision
from mammodet.networks.resume import Stopped
from mammodet.tools.classifier_arguments import Arguments
from mammodet.tools.classifier_training import (
    Validation,
    cases_told,
    class_weights,
    network_config,
    read_cases,
)
from mammodet.tools.command import given_options, run, write_config
from mammodet.tools.training_loop import (
    MODEL_NAME,
    STOPPED_NAME,
    ModelWriter,
    Monitor,
    build_trainer,
    fit,
    processes_told,
    silence_advice,
    tell_model,
)
from mammodet.tools.training_options import require_devices
from mammodet.tools.training_output import is_first, say
from mammodet.tools.training_stop import (
    checkpoint_to_resume,
    require_resumable,
    require_same_data,
    tell_stop,
)

_PROG = "mammodet train-cls"
_LESS_MEMORY = (
    "try, in this order: --precision bf16, --batch-size 1 (with --accumulate), a smaller network or patch, "
    "--recipe.spacing-mm 0.1"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet train-cls`` and return its exit code."""

    def work(arguments: Arguments) -> int:
        given = given_options(Arguments, argv, prog=_PROG).get("recipe")
        return train(arguments, () if given is None else vars(given).keys())

    return run(Arguments, work, argv, prog=_PROG)


def train(arguments: Arguments, given_recipe: Collection[str]) -> int:
    """Train; the model file of the best validation is written on the way.

    ``given_recipe`` names the fields of the recipe that were asked for; the others follow prepared images.
    """
    logging.basicConfig(
        level=logging.INFO if is_first() else logging.WARNING, format="%(message)s", stream=sys.stdout
    )
    out = Path(arguments.out)
    checkpoint = checkpoint_to_resume(arguments)
    arguments, training, validation = read_cases(arguments, given_recipe, _PROG)
    say(cases_told(training, "training"))
    if validation is not None:
        say(cases_told(validation, "validation"))
    config = network_config(arguments, training)
    arguments = replace(
        arguments,
        network=replace(arguments.network, image_mean=config.image_mean, image_std=config.image_std),
    )
    device = choose_device(arguments.device)
    require_devices(arguments.trainer, device)
    # Kept in config.yaml, since a run that goes on must not choose again.
    precision = choose_precision(arguments.precision, device)
    arguments = replace(arguments, precision="bf16" if precision == "bf16" else "fp32")
    data = ClassifierData(
        training,
        validation,
        balanced=arguments.loss.balanced_batches,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        seed=arguments.seed,
    )
    if checkpoint:
        require_resumable(checkpoint, out / "config.yaml", arguments)
        require_same_data(checkpoint, data)
    lightning.seed_everything(arguments.seed, workers=True, verbose=False)
    # A resumed run has its own weights.
    network = build_network(config, "none" if checkpoint else arguments.weights)
    if is_first():
        write_config(arguments, out / "config.yaml")
        (out / STOPPED_NAME).unlink(missing_ok=True)
    task = arguments.task
    module = ClassifierModule(
        network,
        arguments.optim,
        class_weights=class_weights(arguments, training),
        label_smoothing=arguments.loss.label_smoothing,
        evaluate=None if validation is None else Validation(task.names.index(task.score_class)),
        seed=arguments.seed,
    )
    header = ClassifierHeader(config, task, arguments.recipe, training.fingerprint(), _notes(arguments))
    say(_set_up_line(arguments, module, device, precision))
    silence_advice()
    model = _model_writer(out, header)
    trainer = build_trainer(
        arguments,
        model,
        device=device,
        precision=precision,
        monitor=None if validation is None else _monitor(arguments),
        shown=("train/loss", "val/loss", "val/AUC", "val/accuracy"),
        resumes=checkpoint is not None,
        sync_batchnorm=device.type == "cuda",
    )
    try:
        fit(trainer, module, data, checkpoint, _LESS_MEMORY)
    except Stopped as stop:
        return tell_stop(stop, trainer, arguments, _PROG)
    if trainer.is_global_zero:
        tell_model(model)
    return 0


def _monitor(arguments: Arguments) -> Monitor:
    return Monitor(f"val/{arguments.monitor}", "min" if arguments.monitor == "loss" else "max")


def _notes(arguments: Arguments) -> dict[str, Any]:
    return {
        "seed": arguments.seed,
        "start_weights": arguments.weights,
        "optim": asdict(arguments.optim),
        "loss": asdict(arguments.loss),
    }


def _model_writer(out: Path, header: ClassifierHeader) -> ModelWriter:
    path = out / MODEL_NAME

    def write(tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        write_model(path, tensors, replace(header, training={**header.training, **notes}))

    return ModelWriter(path, write, lambda: read_header(path).training)


def _set_up_line(arguments: Arguments, module: ClassifierModule, device: torch.device, precision: str) -> str:
    size = sum(one.numel() for one in module.model.parameters() if one.requires_grad) / 1e6
    line = f"{arguments.model}, {size:.1f} million parameters trained"
    return f"{line}\ntraining on {device.type} in {precision}{processes_told(arguments)}"


if __name__ == "__main__":
    raise SystemExit(main())
