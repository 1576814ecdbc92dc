"""Disputed images side by side: the same crop once per model, with the boxes of that model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import MALIGNANT, counts, to_xyxy
from mammodet.evaluation.error_gallery import crop_picture, crop_window
from mammodet.evaluation.error_pixels import read_image
from mammodet.evaluation.model_disagreements import IMAGE, DisputedImage
from mammodet.evaluation.model_set import Model, ModelSet

MOST_CASES = 20
CONTEXT = 1.6  # the crop is so many times as long as what it is about
LEAST_PX, MOST_PX = 448, 640  # longer side of a picture: between them the pixels are those of the file
_QUALITY = 88

Progress = Callable[[Sequence[DisputedImage]], Iterable[DisputedImage]]


@dataclass(frozen=True)
class DisputedPicture:
    """What the page shows of one disputed image.

    ``jpegs`` are of one size, [height, width] px, one per model in their order, empty when ``reason`` says
    why the image could not be read. ``scale`` is pixels of the picture per pixel of the file.
    """

    image: DisputedImage
    jpegs: tuple[bytes, ...] = ()
    width: int = 0
    height: int = 0
    scale: float = 1.0
    whole: bool = False
    reason: str | None = None


def disputed_pictures(
    models: ModelSet, most: int = MOST_CASES, progress: Progress = iter
) -> list[DisputedPicture]:
    """Read the ``most`` most disputed images and draw them once per model.

    The crop is about the lesions and, for a verdict, the surest malignant box of each model; about the whole
    image when there is neither.
    """
    chosen = models.disputed()[:most]
    return [_pictures(models, image) for image in progress(chosen)]


def _pictures(models: ModelSet, image: DisputedImage) -> DisputedPicture:
    pixels, reason = read_image(models.coco, image.image_id)
    if pixels is None:
        return DisputedPicture(image, reason=reason)
    height, width = pixels.shape
    bbox = _about(models, image) or (0.0, 0.0, float(width), float(height))
    left, top, right, bottom = crop_window(bbox, width, height, context=CONTEXT)
    longer = max(right - left, bottom - top)
    side = int(np.clip(longer, LEAST_PX, MOST_PX))
    truth = models.coco.annotations_of[image.image_id]
    drawn = [
        crop_picture(pixels, bbox, truth, boxes_of(one, image.image_id), side=side, context=CONTEXT)
        for one in models.models
    ]
    return DisputedPicture(
        image,
        tuple(map(_jpeg, drawn)),
        width=drawn[0].shape[1],
        height=drawn[0].shape[0],
        scale=side / longer,
        whole=(right - left, bottom - top) == (width, height),
    )


def boxes_of(model: Model, image_id: int) -> Sequence[Mapping[str, Any]]:
    """Return the boxes of an image on which the model's answers rest; none of a model without boxes."""
    cases = model.evaluation.cases
    return () if cases is None else cases.fusion.detections.get(image_id, ())


def _about(models: ModelSet, image: DisputedImage) -> tuple[float, float, float, float] | None:
    """Return ``[x, y, width, height]`` around what the disagreement is about."""
    verdict = any(row.kind == IMAGE for row in image.disagreements)
    named = {row.annotation_id for row in image.disagreements}
    annotations = models.coco.annotations_of[image.image_id]
    boxes = [one["bbox"] for one in annotations if one["id"] in named or (verdict and counts(one))]
    for model in models.models if verdict else ():
        malignant = [one for one in boxes_of(model, image.image_id) if one["category_id"] == MALIGNANT]
        if malignant:
            boxes.append(max(malignant, key=lambda one: one["score"])["bbox"])
    if not boxes:
        return None
    corners = to_xyxy(boxes)
    (x1, y1), (x2, y2) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    return float(x1), float(y1), float(x2 - x1), float(y2 - y1)


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    # Without subsampling, which would smear the thin coloured lines.
    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, _QUALITY),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]
    return bytes(cv2.imencode(".jpg", picture[:, :, ::-1], options)[1].tobytes())
