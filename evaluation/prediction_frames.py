"""Predictions in the frame of other images than the ground truth's, such as resized ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import Coco, counts, to_xyxy

Array = NDArray[np.float64]

_FEWEST = 5  # lesions; fewer meet by chance
_MEET = 0.1  # IoU above which a prediction is in the right frame
_ALIGNED = 0.3  # IoU that no wrong frame reaches often


def frame_hint(
    coco: Coco, images: NDArray[np.int64], boxes: Array, scores: Array, sizes: Array
) -> str | None:
    """Return how boxes that miss all lesions would meet them, if one scale for all images does it.

    The surest box of each image with a lesion is compared with the lesion: as it is; multiplied by one
    number; and as a box of images that were resized to one size, one longest side, one width or one height.

    Parameters
    ----------
    images:
        [N] positions of the predictions' images in ``coco.images``.
    boxes:
        [N, 4] as ``[x, y, width, height]`` in pixels.
    scores:
        [N].
    sizes:
        [M, 2] width and height of ``coco.images``.
    """
    with np.errstate(all="ignore"):  # a box may touch 0, or be far out of any image
        return _best_scale(*_pairs(coco, images, boxes, scores, sizes))


def _best_scale(true: Array, surest: Array, size: Array) -> str | None:
    if len(true) < _FEWEST or (_iou(true, surest) > _MEET).mean() > 0.2:
        return None
    centre = (true[:, :2] + true[:, 2:]) / (surest[:, :2] + surest[:, 2:])  # [M, 2]
    longest = size.max(axis=1, keepdims=True).repeat(2, axis=1)
    found: dict[str, float] = {}
    for name, unit in (
        ("", np.ones_like(size)),
        ("a longest side of {0}", longest),
        ("{0} x {1}", size),
        ("a width of {0}", size[:, :1].repeat(2, axis=1)),
        ("a height of {0}", size[:, 1:].repeat(2, axis=1)),
    ):
        ratio = np.median(centre / unit, axis=0)
        if name != "{0} x {1}":
            ratio = np.full(2, np.median(centre / unit))
        if not (np.isfinite(ratio).all() and (ratio > 0).all()):
            continue
        scaled = surest * np.tile(unit * ratio, 2)
        share = float((_iou(true, scaled) > _ALIGNED).mean())
        if name:
            told = name.format(*(round(float(one)) for one in 1 / ratio))
            line = f"as boxes of images resized to {told} pixels"
        else:
            line = f"multiplied by {ratio[0]:.4g}"
        found[line] = share
    line = max(found, key=lambda one: found[one], default="")
    if not line or found[line] < 0.5:
        return None
    return f"{line} they would meet {found[line]:.0%} of the lesions"


def _pairs(
    coco: Coco, images: NDArray[np.int64], boxes: Array, scores: Array, sizes: Array
) -> tuple[Array, Array, Array]:
    """Return lesions [M, 4] and the surest box of their image [M, 4], as corners, and its size [M, 2]."""
    order = np.argsort(scores, kind="stable")
    surest = dict(zip(images[order].tolist(), order.tolist(), strict=True))  # the last one stays
    position = {image["id"]: index for index, image in enumerate(coco.images)}
    lesions = [
        (one["bbox"], surest[position[one["image_id"]]], position[one["image_id"]])
        for one in coco.annotations
        if counts(one) and position[one["image_id"]] in surest
    ]
    return (
        to_xyxy([one[0] for one in lesions]),
        to_xyxy(boxes[[one[1] for one in lesions]]),
        sizes[[one[2] for one in lesions]].reshape(-1, 2),
    )


def _iou(first: Array, second: Array) -> Array:
    """Return the IoU [M] of boxes [M, 4] as corners, pair by pair."""
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = [(one[:, 2:] - one[:, :2]).prod(axis=1) for one in (first, second)]
    return np.asarray(common / np.maximum(areas[0] + areas[1] - common, 1e-12))
