"""Overlap of boxes, and which predicted box speaks for which true lesion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.datasets.coco import MALIGNANT, to_xyxy


@dataclass(frozen=True)
class LesionMatch:
    """The predicted box that speaks for one true lesion.

    ``detection`` is the box's place in the list given to ``match_lesions``, None when no box overlaps the
    lesion; then ``malignant`` is None, ``score`` (the malignancy score, 0 to 1) and ``iou`` are 0.
    """

    detection: int | None
    malignant: bool | None
    score: float
    iou: float


UNMATCHED = LesionMatch(detection=None, malignant=None, score=0.0, iou=0.0)


def iou_matrix(boxes: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """Return the intersection over union of every box with every other one.

    Parameters
    ----------
    boxes, others:
        ``[x1, y1, x2, y2]``, [N, 4] and [M, 4], with ``x2 >= x1`` and ``y2 >= y1``, in one frame.

    Returns
    -------
    NDArray[np.float64]
        [N, M], 0 to 1. A box without area overlaps nothing, not even itself.
    """
    first = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    second = np.asarray(others, dtype=np.float64).reshape(-1, 4)
    corner = np.maximum(first[:, None, :2], second[None, :, :2])  # [N, M, 2]
    opposite = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(opposite - corner, 0, None).prod(axis=2)  # [N, M]
    union = _areas(first)[:, None] + _areas(second)[None, :] - common
    # Rounding can lift the quotient of two equal boxes a hair above 1.
    return np.minimum(np.divide(common, union, out=np.zeros_like(common), where=union > 0), 1.0)


def match_lesions(
    lesions: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]], *, min_iou: float = 0.0
) -> list[LesionMatch]:
    """Give each true lesion of one image the class and score of the box that overlaps it most.

    The lesion protocol of Lin et al. 2023, section 2.7: the box with the highest IoU above ``min_iou``
    decides, whatever its class; one box may speak for several lesions. Of boxes with equal IoU a malignant
    one decides, then the higher malignancy score, so the order of the predictions does not matter.

    Parameters
    ----------
    lesions, detections:
        Annotations and COCO results of the same image, ``bbox`` ``[x, y, width, height]``, source frame.

    Returns
    -------
    list[LesionMatch]
        One per lesion, in their order.
    """
    overlaps = iou_matrix(
        to_xyxy([one["bbox"] for one in lesions]), to_xyxy([one["bbox"] for one in detections])
    )
    rank = [(one["category_id"] == MALIGNANT, malignancy(one)) for one in detections]
    return [_best(row, rank, min_iou) for row in overlaps]


def malignancy(detection: Mapping[str, Any]) -> float:
    """Return the malignancy score of one box, 0 to 1: its score, or 1 minus the score of a benign box."""
    score = float(detection["score"])
    return score if detection["category_id"] == MALIGNANT else 1.0 - score


def _best(row: NDArray[np.float64], rank: Sequence[tuple[bool, float]], min_iou: float) -> LesionMatch:
    best = max(range(len(rank)), key=lambda place: (row[place], *rank[place]), default=None)
    if best is None or row[best] <= min_iou:
        return UNMATCHED
    malignant, score = rank[best]
    return LesionMatch(best, malignant, score, float(row[best]))


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
