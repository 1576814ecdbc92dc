"""A torch Dataset over a COCO file: mammogram -> standardised pixels and boxes in their frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mammodet.datasets.coco import AnnotationRecord, Coco, counts, to_xyxy
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.prepared import load_standardised, require_recipe
from mammodet.datasets.standardise import Recipe
from mammodet.detection.augment import AugmentConfig, build_augmentation, sample
from mammodet.detection.crops import Boxes, TrainingInput, boxes_in_window, training_window
from mammodet.detection.tiling import Window
from mammodet.networks.loading import Draw
from mammodet.networks.pixel_statistics import PixelStatistics

_NO_BOXES = np.zeros((0, 4), dtype=np.float32)
Batch = tuple[list[Tensor], list[dict[str, Any]]]


class LesionDataset(Dataset[tuple[Tensor, dict[str, Any]]]):
    """Images of a COCO file as the detector takes them.

    An item is ``(image, target)``: image float32 ``[1, h, w]`` in 0 to 1, standardised by the recipe; target
    with ``boxes`` float32 ``[N, 4]`` as ``[x1, y1, x2, y2]`` in the frame of that image, ``labels`` int64
    ``[N]`` (1 benign, 2 malignant), ``hard_negatives`` float32 ``[M, 4]``, ``image_id``, and ``geometry``,
    which leads boxes back to the source frame (of the image before cropping and augmentation). Crowd regions
    and findings with ``ignore: 1`` are no training boxes. Of a COCO file that ``mammodet prepare`` wrote, the
    pixels are read as they are, and its frame is that of the prepared images. Raises InputError when it was
    prepared with another recipe.

    Parameters
    ----------
    augment:
        How images are varied; None leaves them as they are.
    window:
        What part of an image a training step sees; only for draws of a ``LesionSampler``.
    hard_negatives:
        False positives of a previous model by image id, float32 [M, 4] as ``[x1, y1, x2, y2]`` in the source
        frame.
    """

    def __init__(
        self,
        coco: Coco,
        recipe: Recipe,
        augment: AugmentConfig | None = None,
        *,
        window: TrainingInput | None = None,
        hard_negatives: Mapping[int, Boxes] | None = None,
    ) -> None:
        if not coco.images:
            raise InputError("has no images", file=coco.path, field="images")
        require_recipe(coco, recipe)
        self.coco = coco
        self.recipe = recipe
        self.augmentation = None if augment is None else build_augmentation(augment)
        self.window = window or TrainingInput()
        self.hard_negatives = hard_negatives or {}

    def __len__(self) -> int:
        return len(self.coco.images)

    def __getitem__(self, drawn: int | Draw) -> tuple[Tensor, dict[str, Any]]:
        """Return an image as it is (by its index), or as a ``Draw`` says, the same one every time."""
        if isinstance(drawn, int):
            return self._item(drawn, None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(drawn.seed)
            return self._item(drawn.image, np.random.default_rng(drawn.seed))

    def _item(self, index: int, random: np.random.Generator | None) -> tuple[Tensor, dict[str, Any]]:
        image = self.coco.images[index]
        prepared = load_standardised(self.coco, image, self.recipe)
        pixels, geometry = prepared.pixels, prepared.geometry
        boxes, labels = boxes_in_frame(self.coco.annotations_of[image["id"]], geometry)
        hard = _visible(geometry, self.hard_negatives.get(image["id"], _NO_BOXES))[0]
        if random is not None and self.window.kind != "whole":
            window = training_window(self.window, pixels, boxes, hard, random)
            pixels = np.ascontiguousarray(pixels[window.top : window.bottom, window.left : window.right])
            (boxes, labels), (hard, _) = _cut(boxes, window, labels), _cut(hard, window, hard[:, 0])
        # Both kinds of boxes move with the pixels as one; label 0 tells them apart.
        moving = torch.from_numpy(np.concatenate([boxes, hard]))
        kinds = torch.from_numpy(np.concatenate([labels, np.zeros(len(hard), dtype=np.int64)]))
        varied, target = sample(torch.from_numpy(pixels), moving, kinds)
        if self.augmentation is not None:
            varied, target = self.augmentation(varied, target)
        moved, kinds = target["boxes"].as_subclass(Tensor), target["labels"]
        plain = {
            "boxes": moved[kinds > 0],
            "labels": kinds[kinds > 0],
            "hard_negatives": moved[kinds == 0],
            "image_id": image["id"],
            "geometry": geometry,
        }
        return varied.as_subclass(Tensor), plain


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


def boxes_in_frame(
    annotations: Iterable[AnnotationRecord], geometry: Geometry
) -> tuple[Boxes, NDArray[np.int64]]:
    """Return training boxes float32 [N, 4] and labels int64 [N] in the model frame, clipped to it."""
    used = [one for one in annotations if counts(one)]
    boxes, visible = _visible(geometry, to_xyxy([one["bbox"] for one in used]))
    return boxes, np.array([one["category_id"] for one in used], dtype=np.int64)[visible]


def _visible(geometry: Geometry, boxes: NDArray[Any]) -> tuple[Boxes, NDArray[np.bool_]]:
    """Bring boxes into the model frame, clipped; those under a pixel there are left out."""
    moved = np.clip(geometry.boxes_to_model(boxes), 0, [geometry.width, geometry.height] * 2)
    visible = (moved[:, 2] - moved[:, 0] >= 1) & (moved[:, 3] - moved[:, 1] >= 1)
    return moved[visible].astype(np.float32), visible


def _cut(boxes: Boxes, window: Window, labels: NDArray[Any]) -> tuple[Boxes, NDArray[Any]]:
    moved, visible = boxes_in_window(boxes, window)
    return moved[visible], labels[visible]


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
    pixels, spacings = PixelStatistics(), []
    width = height = boxes = lost = 0
    for image in chosen:
        prepared = load_standardised(coco, image, recipe)
        own = [one for one in coco.annotations_of[image["id"]] if counts(one)]
        boxes += len(own)
        lost += len(own) - len(boxes_in_frame(own, prepared.geometry)[0])
        pixels.add(prepared.pixels)
        height, width = (max(pair) for pair in zip((height, width), prepared.pixels.shape, strict=True))
        if prepared.spacing_mm is not None:
            spacings.append(prepared.spacing_mm)
    if pixels.std == 0:
        raise InputError("every pixel has the same value", file=coco.path, field="images")
    return ImageStatistics(
        pixels.mean, pixels.std, len(chosen), (width, height), tuple(spacings), boxes, lost
    )
