"""A torch Dataset over a COCO file: mammogram -> standardised pixels and boxes in their frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mammodet.datasets.coco import AnnotationRecord, Coco, counts, to_xyxy
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.prepared import load_standardised, require_recipe
from mammodet.datasets.standardise import Recipe
from mammodet.detection.augment import AugmentConfig, build_augmentation, sample

Batch = tuple[list[Tensor], list[dict[str, Any]]]


class LesionDataset(Dataset[tuple[Tensor, dict[str, Any]]]):
    """Images of a COCO file as the detector takes them.

    An item is ``(image, target)``: image float32 ``[1, h, w]`` in 0 to 1, standardised by the recipe; target
    with ``boxes`` float32 ``[N, 4]`` as ``[x1, y1, x2, y2]`` in the frame of that image, ``labels`` int64
    ``[N]`` (1 benign, 2 malignant), ``image_id``, and ``geometry``, which leads boxes back to the source
    frame (of the image before augmentation). Crowd regions and findings with ``ignore: 1`` are no training
    boxes. Of a COCO file that ``mammodet prepare`` wrote, the pixels are read as they are, and its frame is
    that of the prepared images. Raises InputError when it was prepared with another recipe.
    """

    def __init__(self, coco: Coco, recipe: Recipe, augment: AugmentConfig | None = None) -> None:
        if not coco.images:
            raise InputError("has no images", file=coco.path, field="images")
        require_recipe(coco, recipe)
        self.coco = coco
        self.recipe = recipe
        self.augmentation = None if augment is None else build_augmentation(augment)

    def __len__(self) -> int:
        return len(self.coco.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        image = self.coco.images[index]
        prepared = load_standardised(self.coco, image, self.recipe)
        boxes, labels = boxes_in_frame(self.coco.annotations_of[image["id"]], prepared.geometry)
        pixels, target = sample(torch.from_numpy(prepared.pixels), boxes, labels)
        if self.augmentation is not None:
            pixels, target = self.augmentation(pixels, target)
        plain = {
            "boxes": target["boxes"].as_subclass(Tensor),
            "labels": target["labels"],
            "image_id": image["id"],
            "geometry": prepared.geometry,
        }
        return pixels.as_subclass(Tensor), plain


@dataclass(frozen=True)
class ImageStatistics:
    """What the pixels that reach the detector are like, measured on training images.

    ``spacing_mm`` is the effective (row, column) millimetres per pixel of each image whose size is known;
    ``lost_boxes`` of ``boxes`` lie outside the breast crop or are under a pixel there, so that nothing learns
    them.
    """

    mean: float
    std: float
    images: int
    largest: tuple[int, int]  # (width, height)
    spacing_mm: tuple[tuple[float, float], ...]
    boxes: int
    lost_boxes: int


def boxes_in_frame(annotations: Iterable[AnnotationRecord], geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Return training boxes float32 [N, 4] and labels int64 [N] in the model frame, clipped to it."""
    used = [one for one in annotations if counts(one)]
    boxes = geometry.boxes_to_model(to_xyxy([one["bbox"] for one in used]))
    boxes = np.clip(boxes, 0, [geometry.width, geometry.height] * 2)
    labels = np.array([one["category_id"] for one in used], dtype=np.int64)
    visible = (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
    return torch.from_numpy(boxes[visible].astype(np.float32)), torch.from_numpy(labels[visible])


def collate(items: list[tuple[Tensor, dict[str, Any]]]) -> Batch:
    """Keep images of different sizes as lists; the detector pads them."""
    images, targets = zip(*items, strict=True)
    return list(images), list(targets)


def measure_images(coco: Coco, recipe: Recipe, limit: int = 100) -> ImageStatistics:
    """Measure mean and standard deviation over at most ``limit`` evenly spaced images of a data set.

    Every image counts alike, whatever its size.
    """
    step = max(1, -(-len(coco.images) // limit))
    chosen = coco.images[::step]
    means, squares, spacings = [], [], []
    width = height = boxes = lost = 0
    for image in chosen:
        prepared = load_standardised(coco, image, recipe)
        own = [one for one in coco.annotations_of[image["id"]] if counts(one)]
        boxes += len(own)
        lost += len(own) - len(boxes_in_frame(own, prepared.geometry)[0])
        means.append(float(prepared.pixels.mean(dtype=np.float64)))
        squares.append(float(np.square(prepared.pixels, dtype=np.float64).mean()))
        height, width = (max(pair) for pair in zip((height, width), prepared.pixels.shape, strict=True))
        if prepared.spacing_mm is not None:
            spacings.append(prepared.spacing_mm)
    mean = sum(means) / len(means)
    std = max(sum(squares) / len(squares) - mean**2, 0.0) ** 0.5
    if std == 0:
        raise InputError("every pixel has the same value", file=coco.path, field="images")
    return ImageStatistics(mean, std, len(chosen), (width, height), tuple(spacings), boxes, lost)
