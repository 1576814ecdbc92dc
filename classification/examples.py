"""What a classifier learns from in a COCO file: whole mammograms, or lesions cut out of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mammodet.classification.lesions import cut_out, malignant_lesions
from mammodet.classification.task import Task
from mammodet.classification.variation import VariationConfig, build_variation
from mammodet.datasets.coco import Coco, ImageRecord
from mammodet.datasets.errors import InputError
from mammodet.datasets.prepared import load_standardised, require_recipe
from mammodet.datasets.standardise import Recipe
from mammodet.datasets.truth import image_truth
from mammodet.networks.loading import Draw

Item = tuple[Tensor, int, int]  # pixels float32 [1, h, w], output index, id


@dataclass(frozen=True)
class Example:
    """One case of known class.

    ``id`` is that of the image or annotation, ``target`` the output, ``bbox`` ``[x, y, width, height]`` of a
    lesion in the frame of the file, None for a whole image.
    """

    id: int
    image: ImageRecord
    target: int
    bbox: tuple[float, float, float, float] | None = None

    @property
    def size(self) -> tuple[float, float]:
        """(height, width) in pixels of the file: what cases of one batch should share."""
        if self.bbox is None:
            return float(self.image["height"]), float(self.image["width"])
        return self.bbox[3], self.bbox[2]


def find_examples(coco: Coco, task: Task) -> list[Example]:
    """Return the images or lesions whose label belongs to an output of the task.

    Raises
    ------
    InputError
        When no case has a label, or an output has none.
    """
    if task.source == "images":
        labels = [image_truth(image, coco.annotations_of[image["id"]]) for image in coco.images]
        examples = [
            Example(image["id"], image, target)
            for image, label in zip(coco.images, labels, strict=True)
            if (target := task.index(label)) is not None
        ]
        field = "images[].label"
    else:
        lesions = list(malignant_lesions(coco, task))
        labels = [one.label for one in lesions]
        examples = [
            Example(one.annotation, one.image, target, one.bbox)
            for one in lesions
            if (target := task.index(one.label)) is not None
        ]
        field = f"annotations[].subtype.{task.subtype}"
    counts = Counter(label for label in labels if label is not None)
    require_classes([one.target for one in examples], task, counts, Path(coco.path), field)
    return examples


def require_classes(targets: Sequence[int], task: Task, labels: Counter[str], path: Path, field: str) -> None:
    """Raise InputError, naming the labels that there are, unless every output has a case."""
    there = ", ".join(f"{count} {label!r}" for label, count in labels.most_common()) or "none at all"
    if not targets:
        raise InputError(
            "no case has a label that the task knows",
            file=path,
            field=field,
            value=there,
            remedy=f"its classes are {_classes(task)}; give --task.classes to fit the labels",
        )
    empty = [name for index, name in enumerate(task.names) if index not in set(targets)]
    if empty:
        raise InputError(
            f"there is no case of class {empty[0]!r}",
            file=path,
            field=field,
            value=there,
            remedy=f"its labels are {list(task.classes[empty[0]])}; a classifier needs cases of every class",
        )


def _classes(task: Task) -> str:
    return "; ".join(f"{name}: {', '.join(labels)}" for name, labels in task.classes.items())


class ImageExamples(Dataset[Item]):
    """Examples of a COCO file as a network takes them: pixels float32 [1, h, w], 0 to 1, output, id.

    Raises InputError when the images were prepared with another recipe.

    Parameters
    ----------
    variation:
        How training examples are varied, for those drawn as a ``Draw``; None leaves them as they are.
    """

    def __init__(
        self,
        coco: Coco,
        examples: Sequence[Example],
        task: Task,
        recipe: Recipe,
        variation: VariationConfig | None = None,
    ) -> None:
        require_recipe(coco, recipe)
        self.coco = coco
        self.examples = list(examples)
        self.task = task
        self.recipe = recipe
        self.variation = None if variation is None else build_variation(variation)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, drawn: int | Draw) -> Item:
        """Return an example as it is (by its place), or varied as a ``Draw`` says, the same every time."""
        example = self.examples[drawn if isinstance(drawn, int) else drawn.image]
        pixels = torch.from_numpy(self.pixels(example))[None]
        if not isinstance(drawn, int) and self.variation is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(drawn.seed)
                pixels = self.variation(pixels)
        return pixels, example.target, example.id

    def pixels(self, example: Example) -> NDArray[np.float32]:
        """Return the pixels of an example as they are, float32 [h, w]; InputError names its file."""
        prepared = load_standardised(self.coco, example.image, self.recipe)
        if example.bbox is None:
            return prepared.pixels
        try:
            return cut_out(prepared.pixels, prepared.geometry, example.bbox, self.task)
        except InputError as error:
            raise InputError(
                error.problem,
                file=self.coco.image_path(example.image),
                field=f"annotations[id={example.id}].bbox",
                value=error.value,
                remedy=error.remedy,
            ) from None

    @property
    def class_counts(self) -> list[int]:
        """Examples of every output."""
        return [self.targets.count(index) for index in range(len(self.task.names))]

    @property
    def left_out(self) -> int:
        """Images, or malignant lesions, that have another label or none."""
        if self.task.source == "images":
            return len(self.coco.images) - len(self.examples)
        return sum(1 for _ in malignant_lesions(self.coco, self.task)) - len(self.examples)

    @property
    def targets(self) -> list[int]:
        """The output of every example."""
        return [one.target for one in self.examples]

    def fingerprint(self) -> str:
        """Return the SHA-256 of outputs, names, sizes, boxes and classes, wherever the images lie."""
        digest = hashlib.sha256(json.dumps(list(self.task.classes.items())).encode())
        for one in sorted(self.examples, key=lambda example: example.id):
            name = one.image.get("sop_instance_uid") or Path(one.image["file_name"]).name
            told = [one.id, name, one.image["width"], one.image["height"], one.target, one.bbox]
            digest.update(json.dumps(told).encode())
        return digest.hexdigest()
