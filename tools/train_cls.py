"""mammodet train-cls: train a classifier of whole mammograms, of patches or of lesions.

    mammodet train-cls --config configs/sppnet.yaml --train train.json --val val.json --out runs/sppnet
    mammodet train-cls --config configs/pesapane_task1.yaml --train patches.sqlite --out runs/task1
    mammodet train-cls --config runs/sppnet/config.yaml --resume

OUT gets config.yaml (the full configuration), model.safetensors (the best validation so far), checkpoints/,
logs/ (TensorBoard) and csv/ (the same curves as tables).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mammodet.networks  # noqa: F401  # isort: skip  # names a torch that does not fit torchvision

from mammodet.classification.data_module import ClassifierData
from mammodet.classification.model_file import ClassifierHeader, build_network, read_header, write_model
from mammodet.classification.training import ClassifierModule
from mammodet.tools.classifier_arguments import Arguments
from mammodet.tools.classifier_training import (
    Validation,
    cases_told,
    class_weights,
    network_config,
    read_cases,
)
from mammodet.tools.training_loop import Monitor
from mammodet.tools.training_output import say
from mammodet.tools.training_run import begin, choose_arithmetic, model_writer, run_training, train_to_end
from mammodet.tools.training_stop import checkpoint_to_resume

_PROG = "mammodet train-cls"
_LESS_MEMORY = (
    "try, in this order: --precision bf16, --batch-size 1 (with --accumulate), a smaller network or patch, "
    "--recipe.spacing-mm 0.1"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet train-cls`` and return its exit code."""
    return run_training(Arguments, train, argv, prog=_PROG)


def train(arguments: Arguments, given_recipe: Collection[str]) -> int:
    """Train; the model file of the best validation is written on the way.

    ``given_recipe`` names the fields of the recipe that were asked for; the others follow prepared images.
    """
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
    arguments, device = choose_arithmetic(arguments)
    data = ClassifierData(
        training,
        validation,
        balanced=arguments.loss.balanced_batches,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        seed=arguments.seed,
    )
    begin(arguments, checkpoint, data)
    # A resumed run has its own weights.
    network = build_network(config, "none" if checkpoint else arguments.weights)
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
    return train_to_end(
        arguments,
        module,
        data,
        model_writer(out, header, write_model, read_header),
        network=arguments.model,
        device=device,
        checkpoint=checkpoint,
        monitor=None if validation is None else _monitor(arguments),
        shown=("train/loss", "val/loss", "val/AUC", "val/accuracy"),
        less_memory=_LESS_MEMORY,
        prog=_PROG,
        sync_batchnorm=device.type == "cuda",
    )


def _monitor(arguments: Arguments) -> Monitor:
    return Monitor(f"val/{arguments.monitor}", "min" if arguments.monitor == "loss" else "max")


def _notes(arguments: Arguments) -> dict[str, Any]:
    return {
        "seed": arguments.seed,
        "start_weights": arguments.weights,
        "optim": asdict(arguments.optim),
        "loss": asdict(arguments.loss),
    }


if __name__ == "__main__":
    raise SystemExit(main())
