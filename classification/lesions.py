"""Malignant lesions cut out of mammograms, for the heads that tell their subtypes (Lin et al. 2023, 3.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammodet.classification.task import Task
from mammodet.datasets.coco import MALIGNANT, AnnotationRecord, Coco, ImageRecord, counts, to_xyxy
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry

_SMALLEST_PART = 0.5  # of a box that must lie inside the crop of the recipe to be shown


@dataclass(frozen=True)
class Lesion:
    """A malignant lesion of a COCO file.

    ``bbox`` is ``[x, y, width, height]`` in the frame of the file; ``label`` is the subtype as the file says
    it, None where it says nothing.
    """

    annotation: int
    image: ImageRecord
    bbox: tuple[float, float, float, float]
    label: str | None


def malignant_lesions(coco: Coco, task: Task) -> Iterator[Lesion]:
    """Yield the malignant lesions that count, with the subtype that the task is about, image by image."""
    assert task.subtype is not None, "a task of lesions has one"
    for image in coco.images:
        for one in coco.annotations_of[image["id"]]:
            if one["category_id"] == MALIGNANT and counts(one):
                x, y, width, height = one["bbox"]
                yield Lesion(one["id"], image, (x, y, width, height), label_of(one, task.subtype))


def label_of(annotation: AnnotationRecord, subtype: str) -> str | None:
    """Return what an annotation says of one subtype, as text; None for nothing."""
    value = (annotation.get("subtype") or {}).get(subtype)
    return None if value is None or value == "" else str(value)


def cut_out(
    pixels: NDArray[np.float32], geometry: Geometry, bbox: Sequence[float], task: Task
) -> NDArray[np.float32]:
    """Return the pixels of a lesion and what surrounds it, float32 [h, w].

    Parameters
    ----------
    pixels, geometry:
        A standardised mammogram float32 [H, W] and the way to it from the frame of ``bbox``.
    bbox:
        ``[x, y, width, height]`` in the source frame.
    task:
        Its ``margin`` (share of the longer side, on every side) and ``smallest`` side in pixels. What would
        leave the image is shifted inwards; where the image is smaller, all of it is shown.

    Raises
    ------
    InputError
        When less than half of the box lies inside the crop of the recipe.
    """
    height, width = pixels.shape
    (box,) = geometry.boxes_to_model(to_xyxy([list(bbox)]))
    x1, y1, x2, y2 = (float(side) for side in box)
    seen = max(0.0, min(x2, width) - max(x1, 0)) * max(0.0, min(y2, height) - max(y1, 0))
    if seen < _SMALLEST_PART * (x2 - x1) * (y2 - y1) or seen == 0:
        raise InputError(
            "the box of a lesion lies outside the breast crop",
            field="bbox",
            value=list(bbox),
            remedy="give a recipe that crops less, or correct the box",
        )
    margin = task.margin * max(x2 - x1, y2 - y1)
    left, right = _span(x1 - margin, x2 + margin, task.smallest, width)
    top, bottom = _span(y1 - margin, y2 + margin, task.smallest, height)
    return np.ascontiguousarray(pixels[top:bottom, left:right])


def _span(start: float, end: float, smallest: int, length: int) -> tuple[int, int]:
    """Return first and end pixel along an axis, of at least ``smallest`` pixels, inside ``length``."""
    first, last = int(np.floor(start)), int(np.ceil(end))
    missing = max(0, smallest - (last - first))
    first, last = first - missing // 2, last + missing - missing // 2
    size = min(last - first, length)
    first = min(max(first, 0), length - size)
    return first, first + size
