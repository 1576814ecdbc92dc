"""What a cross-validation trains: detectors, or classifiers of whole images."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import Coco, read_coco, read_json, write_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.truth import image_truth
from mammodet.detection.model_file import FORMAT as DETECTOR_FORMAT
from mammodet.detection.model_file import fingerprint, read_header
from mammodet.evaluation.fusion import IMAGE_THRESHOLD
from mammodet.evaluation.protocol import Protocol
from mammodet.networks.tensor_file import stated_format
from mammodet.tools.classifier_arguments import Arguments as ClassifierArguments
from mammodet.tools.classify_output import SCORES
from mammodet.tools.command import PassedOn
from mammodet.tools.cross_validation_folds import Fold
from mammodet.tools.detector_arguments import Arguments as DetectorArguments
from mammodet.tools.score_tables import write_csv

PLACE = "{fold}"  # stands for the number of a fold in --weights
_MODELS = "give models that mammodet train-det wrote"


class Method(ABC):
    """Two commands of ``mammodet``: one that trains, and one that scores images with its model.

    This is the only place that knows one kind of model from another.

    Parameters
    ----------
    train, score:
        The commands; ``train`` takes ``--train``, ``--val``, ``--out`` and ``--resume``.
    options:
        The options of ``train`` that a cross-validation takes among its own.
    results:
        The file that ``score`` writes and ``evaluate`` reads.
    score_threshold:
        Of boxes or of images, unless another is given.
    unread:
        How images count that could not be read.
    for_score:
        Options of the training that ``score`` gets as well.
    changeable:
        Options that may change when an interrupted cross-validation goes on.
    """

    train: str
    score: str
    options: PassedOn
    results: str
    score_threshold: float
    unread: str
    for_score = ("device", "precision")
    changeable = ("device", "workers")

    def check(self, training: Any, protocol: Protocol) -> None:
        """Raise InputError for options that a cross-validation must not have, or that would do nothing."""
        if training.trainer.devices != 1 or training.trainer.num_nodes != 1:
            raise InputError(
                "a cross-validation trains on one device",
                field="--trainer.devices, --trainer.num_nodes",
                value=(training.trainer.devices, training.trainer.num_nodes),
                remedy=f"split --folds and mammodet {self.train} train the folds on many",
            )

    @abstractmethod
    def score_options(self, protocol: Protocol) -> Mapping[str, str]:
        """Return further options of ``score``."""

    @abstractmethod
    def judged(self, coco: Coco, folder: Path) -> tuple[Path, Path]:
        """Return the COCO file and the results that are evaluated, of the images of ``coco``."""

    @abstractmethod
    def scored(self, folder: Path) -> int:
        """Return of how many images ``folder`` holds results."""

    @abstractmethod
    def pool(self, folders: Sequence[Path], out: Path) -> None:
        """Write the results of all folds, each image by the model that has not seen it, into ``out``."""


class DetectorMethod(Method):
    """``train-det`` and ``score``."""

    train = "train-det"
    score = "score"
    options = PassedOn(
        "training",
        DetectorArguments,
        {"train": "", "val": None, "out": "", "resume": False, "requeue": False},
    )
    results = "predictions.json"
    score_threshold = Protocol().score_threshold
    unread = "count as images in which nothing was found"

    def check(self, training: DetectorArguments, protocol: Protocol) -> None:
        """Raise InputError for options that a cross-validation must not have."""
        super().check(training, protocol)
        if training.sampling.hard_negatives is not None:
            raise InputError(
                "the model that found them may have seen the patients of a test fold",
                field="--sampling.hard_negatives",
                value=training.sampling.hard_negatives,
                remedy="leave it out, or train the folds one by one with mammodet train-det",
            )

    def score_options(self, protocol: Protocol) -> Mapping[str, str]:
        """Return that no pictures are wanted, and what counts."""
        return {"overlays": "none", "score-threshold": str(protocol.score_threshold)}

    def judged(self, coco: Coco, folder: Path) -> tuple[Path, Path]:
        """Return whole files: an image that could not be read is one without boxes."""
        return coco.path, folder / self.results

    def scored(self, folder: Path) -> int:
        """Return how many images were read."""
        return len(read_coco(folder / "images.json").images)

    def pool(self, folders: Sequence[Path], out: Path) -> None:
        """Write the boxes of all folds."""
        pooled = [one for folder in folders for one in read_json(folder / self.results)]
        write_json(out / self.results, pooled, indent=None)


class ClassifierMethod(Method):
    """``train-cls`` and ``classify``, of whole images."""

    train = "train-cls"
    score = "classify"
    options = PassedOn(
        "training",
        ClassifierArguments,
        {"train": "", "val": None, "out": "", "resume": False, "requeue": False}
        | {"train_split": "train", "val_split": "val"},
    )
    results = SCORES
    score_threshold = IMAGE_THRESHOLD
    unread = "are left out"

    def check(self, training: ClassifierArguments, protocol: Protocol) -> None:
        """Raise InputError for options that a cross-validation must not have, or that are of boxes."""
        super().check(training, protocol)
        for name in ("suppression_iou", "lesion_iou"):
            if getattr(protocol, name) != getattr(Protocol(), name):
                field, value = f"--{name.replace('_', '-')}", getattr(protocol, name)
                raise InputError("is of boxes", field=field, value=value, remedy="leave it out")
        task = training.task
        if task.source != "images":
            raise InputError(
                "a cross-validation takes detectors and classifiers of whole images",
                field="--task.source",
                value=task.source,
                remedy="give images, or run mammodet split --folds, train-cls and classify fold by fold",
            )
        if task.classes[task.score_class] != ("malignant",):
            raise InputError(
                "is not the probability of malignant, which images and breasts are judged by",
                field="--task.positive",
                value=task.score_class,
                remedy="give a class that holds malignant alone",
            )

    def score_options(self, protocol: Protocol) -> Mapping[str, str]:
        """Return that intervals are those of the evaluation."""
        return {"resamples": "0"}

    def judged(self, coco: Coco, folder: Path) -> tuple[Path, Path]:
        """Return those of the images that have a score and no class that the task does not know."""
        rows = _rows(folder / SCORES)
        known = {int(row["image_id"]): row["truth"] for row in rows}
        kept = {
            image["id"]
            for image in coco.images
            if known.get(image["id"])  # unlabelled images stay: they are views of a breast
            or (image["id"] in known and image_truth(image, coco.annotations_of[image["id"]]) is None)
        }
        if kept == set(coco.image_by_id):
            return coco.path, folder / SCORES
        images, scores = folder / "images.json", folder / "judged.csv"
        write_coco(coco.subset(kept, images))
        write_csv(scores, list(rows[0]), [row for row in rows if int(row["image_id"]) in kept])
        return images, scores

    def scored(self, folder: Path) -> int:
        """Return how many images have a score."""
        return len(_rows(folder / SCORES))

    def pool(self, folders: Sequence[Path], out: Path) -> None:
        """Write the scores of all folds."""
        rows = [row for folder in folders for row in _rows(folder / SCORES)]
        write_csv(out / SCORES, list(rows[0]), rows)


METHODS: Mapping[str, Method] = {one.train: one for one in (DetectorMethod(), ClassifierMethod())}


def weights_of_fold(weights: str, fold: Fold) -> str:
    """Return the start weights of a fold, ``{fold}`` being its number."""
    return weights.replace(PLACE, str(fold.number))


def check_weight_files(weights: str, folds: Sequence[Fold]) -> None:
    """Raise InputError unless weights with a model for each fold are files of detectors."""
    for fold in folds if PLACE in weights else ():
        path = Path(weights_of_fold(weights, fold))
        if not path.is_file():
            remedy = "cross-validate a detector first, with as many --folds"
            raise InputError("no such file", file=path, field="--weights", remedy=remedy)
        if stated_format(path, _MODELS) != DETECTOR_FORMAT:
            raise InputError("is no detector", file=path, field="--weights", remedy=_MODELS)


def check_weights(weights: str, folds: Sequence[Fold]) -> str | None:
    """Return a warning when start weights are a model that may have seen patients of a test fold.

    ``folds`` are those to be trained yet. Weights of a model for each fold, such as
    ``det/fold_{fold}/train/model.safetensors``, must be of a detector that was trained on the images of that
    fold.

    Raises
    ------
    InputError
        For a model of a fold that was trained on other images.
    """
    if PLACE not in weights:
        if not folds or Path(weights).suffix not in (".safetensors", ".ckpt"):
            return None
        return (
            f"--weights: {weights}: if it was trained on patients of these folds, the numbers are too good; "
            f"a model for each fold can be given as det/fold_{PLACE}/train/model.safetensors"
        )
    for fold in folds:
        path = Path(weights_of_fold(weights, fold))
        if read_header(path).fingerprint != fingerprint(read_coco(fold.train)):
            raise InputError(
                f"was trained on other images than those of fold {fold.number}",
                file=path,
                field="--weights",
                remedy="cross-validate both with the same COCO file, --folds, --val-share and --split-seed",
            )
    return None


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
