"""What mammodet train-cls learns from, the network it trains, and how validation cases are evaluated."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from tqdm import tqdm

from mammodet.classification.data_module import Examples
from mammodet.classification.examples import ImageExamples, find_examples
from mammodet.classification.model_file import NetworkConfig
from mammodet.classification.patch_examples import PatchExamples
from mammodet.classification.patch_networks import PatchNetworkConfig
from mammodet.classification.sppnet import SPPNetConfig
from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.patch_store import PatchStore
from mammodet.datasets.standardise import Recipe
from mammodet.evaluation.auc import WeightedAuc
from mammodet.networks.pixel_statistics import PixelStatistics
from mammodet.tools.classifier_arguments import Arguments
from mammodet.tools.training_output import is_first, say
from mammodet.tools.training_set import read_images, shared_recipe, warn_of_leaks

_MEASURED = 100  # images, or
_MEASURED_PATCHES = 2000


class Validation:
    """Area under the ROC curve, accuracy and cross-entropy of probabilities on the validation cases."""

    def __init__(self, positive: int) -> None:
        self.positive = positive

    def __call__(self, targets: NDArray[np.int64], probabilities: NDArray[np.float64]) -> Mapping[str, float]:
        """Return the metrics by name; AUC is 0.5 where it is not defined, as for one class alone."""
        positive = targets == self.positive
        defined = positive.any() and not positive.all()
        labels = list(range(probabilities.shape[1]))
        return {
            "AUC": _auc(positive, probabilities[:, self.positive]) if defined else 0.5,
            "accuracy": float((probabilities.argmax(axis=1) == targets).mean()),
            "loss": float(log_loss(targets, probabilities, labels=labels)),
        }


def _auc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    return float(WeightedAuc(positive, scores)(np.ones((1, len(scores))))[0])


def read_cases(
    arguments: Arguments, given_recipe: Collection[str], prog: str
) -> tuple[Arguments, Examples, Examples | None]:
    """Return the training and validation cases, and the arguments with the recipe that their pixels have.

    Raises
    ------
    InputError
        When a file cannot be read, has no case of a class, or is of another kind than the task needs.
    """
    if arguments.task.source == "patches":
        return _patches(arguments, given_recipe, prog)
    train = _read_coco(arguments.train, "--train")
    val = None if arguments.val is None else _read_coco(arguments.val, "--val")
    warn_of_leaks(prog, train, val)
    recipe = shared_recipe(arguments.recipe, given_recipe, train, val)
    task = arguments.task
    training = ImageExamples(train, find_examples(train, task), task, recipe, arguments.augment)
    validation = None if val is None else ImageExamples(val, find_examples(val, task), task, recipe)
    return replace(arguments, recipe=recipe), training, validation


def cases_told(examples: Examples, title: str) -> str:
    """Return how many cases of each class there are, in one line."""
    task, counts, left = examples.task, examples.class_counts, examples.left_out
    told = ", ".join(f"{count} {name}" for name, count in zip(task.names, counts, strict=True))
    rest = f"; {left} of other or no label left out" if left else ""
    if title == "validation" and len(examples) < sum(counts):
        rest = f"; {len(examples)} without turned copies are validated{rest}"
    return f"{title}: {sum(counts)} {task.source}: {told}{rest}"


def class_weights(arguments: Arguments, training: Examples) -> list[float] | None:
    """Return the weight of every output in the loss, 1 on average over the cases drawn; None weighs alike."""
    wanted, counts = arguments.loss.class_weights, training.class_counts
    if wanted is None:
        return None
    weights = [1 / count for count in counts] if wanted == "balanced" else [float(one) for one in wanted]
    drawn = [1] * len(counts) if arguments.loss.balanced_batches else counts
    mean = sum(weight * count for weight, count in zip(weights, drawn, strict=True)) / sum(drawn)
    return [weight / mean for weight in weights]


def normalisation(arguments: Arguments, training: Examples) -> tuple[float, float]:
    """Return mean and deviation of pixels: those given, or measured on a hundred images or 2000 patches."""
    mean, std = arguments.network.image_mean, arguments.network.image_std
    if mean is not None and std is not None:
        return mean, std
    statistics = PixelStatistics()
    for pixels in _some_pixels(training):
        statistics.add(pixels)
    if statistics.std == 0:
        raise InputError("every pixel of the training cases has the same value", field="--train")
    return statistics.mean if mean is None else mean, statistics.std if std is None else std


def network_config(arguments: Arguments, training: Examples) -> NetworkConfig:
    """Return the architecture with all that depends on data filled in; InputError for patches too small."""
    options, classes = arguments.network, arguments.task.names
    mean, std = normalisation(arguments, training)
    if isinstance(training, ImageExamples):
        return SPPNetConfig(
            backbone=options.backbone or "resnet18",
            levels=options.levels or (1, 2, 4),
            classes=classes,
            dropout=options.dropout or 0.0,
            channels=options.channels,
            image_mean=mean,
            image_std=std,
        )
    assert arguments.model != "sppnet"
    return PatchNetworkConfig(
        network=arguments.model,
        size=int(training.store.info["size"]),
        classes=classes,
        dropout=options.dropout,
        channels=options.channels,
        image_mean=mean,
        image_std=std,
        blur=options.blur,
        resize=options.resize,
    )


def _patches(
    arguments: Arguments, given_recipe: Collection[str], prog: str
) -> tuple[Arguments, Examples, Examples | None]:
    store = _open_store(arguments.train, "--train")
    other = store if arguments.val is None else _open_store(arguments.val, "--val")
    for key in ("size", "recipe"):
        if store.info[key] != other.info[key]:
            raise InputError(
                f"its patches were cut with {key} {other.info[key]}, those of --train with {store.info[key]}",
                field="--val",
                value=str(other.path),
                remedy="make both stores with the same options",
            )
    recipe = Recipe.from_dict(store.info["recipe"])
    for name in given_recipe:
        if getattr(arguments.recipe, name) != getattr(recipe, name):
            raise InputError(
                f"patches have the recipe of their store, {getattr(recipe, name)!r}",
                field=f"--recipe.{name}",
                value=getattr(arguments.recipe, name),
                remedy="leave it out, or make the store with mammodet patches --recipe",
            )
    if arguments.val is None and arguments.train_split == arguments.val_split:
        raise InputError(
            "is what is learned", field="--val_split", value=arguments.val_split, remedy="name another split"
        )
    training = PatchExamples(store, arguments.train_split, arguments.task, arguments.augment)
    if arguments.val is None and arguments.val_split not in {split for split, _ in store.counts()}:
        validation = None
        say(f"{store.path} has no split {arguments.val_split!r}: nothing is validated")
    else:
        validation = PatchExamples(other, arguments.val_split, arguments.task)
        if other is not store and is_first():
            _warn_of_shared_patients(training, validation, prog)
    return replace(arguments, recipe=recipe), training, validation


def _open_store(path: str, field: str) -> PatchStore:
    if path.endswith(".json"):
        raise InputError(
            "is no patch store", field=field, value=path, remedy="make one of it with mammodet patches"
        )
    return PatchStore(path)


def _read_coco(path: str, field: str) -> Coco:
    if not path.endswith(".json") and Path(path).is_file():
        raise InputError("is no COCO file", field=field, value=path, remedy="give a .json file")
    return read_images(path)


def _warn_of_shared_patients(training: PatchExamples, validation: PatchExamples, prog: str) -> None:
    # One store keeps a patient in one split; two stores know nothing of each other.
    both = {one.patient for one in training.store.patches(training.split)} & {
        one.patient for one in validation.store.patches(validation.split)
    }
    if both:
        line = f"{len(both)} patients are in --train and in --val; validation will flatter"
        print(f"{prog}: warning: {line}", file=sys.stderr)


def _some_pixels(training: Examples) -> Iterator[NDArray[np.float32]]:
    if isinstance(training, ImageExamples):
        step = max(1, -(-len(training) // _MEASURED))
        chosen = training.examples[::step]
        for example in tqdm(chosen, unit="image", desc="measuring", disable=not is_first(), leave=False):
            yield training.pixels(example)
        return
    draws = training.draws(0, balanced=False)
    count = min(_MEASURED_PATCHES, draws.patches)
    for step in range(-(-count // 100)):
        batch: Any = training.store.batch(draws, 100, 0, step)
        yield from batch.pixels[: count - 100 * step]
