"""Hard negatives: where an earlier model found lesions on the training images that are none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mammodet.datasets.coco import (
    AnnotationRecord,
    Coco,
    CocoError,
    ImageRecord,
    check_results,
    to_xywh,
    to_xyxy,
)
from mammodet.datasets.errors import InputError

Result = Mapping[str, Any]


def false_positives(
    coco: Coco,
    results: Sequence[Result],
    *,
    min_score: float,
    max_iou: float = 0.1,
    per_image: int,
) -> dict[int, NDArray[np.float32]]:
    """Return the predictions of a model on its training images that no annotation accounts for.

    Findings with ``ignore`` and crowd regions protect a prediction as any lesion does: what lies there is no
    proof of an error. With a crowd region the overlap is COCO's: the share of the prediction that lies in it.

    Parameters
    ----------
    coco:
        The training images and all their annotations.
    results:
        COCO results list ``[{image_id, category_id, bbox, score}]`` in the frame of ``coco``, as
        ``read_results`` reads it.
    min_score:
        Predictions below this score (0 to 1) are left out.
    max_iou:
        A false positive overlaps every annotation of its image by at most this IoU (0 to 1).
    per_image:
        Most boxes of an image (1 or more); the strongest are kept.

    Returns
    -------
    dict[int, NDArray[np.float32]]
        For every image of ``coco``, by id, boxes [M, 4] as ``[x1, y1, x2, y2]`` in its frame, clipped to it,
        strongest first; [0, 4] where there are none.

    Raises
    ------
    InputError
        For an unknown image id or any other fault of the results (``check_results``), and for a limit that is
        out of range.
    """
    for field, value in (("min_score", min_score), ("max_iou", max_iou)):
        if not 0 <= value <= 1:
            raise InputError("must be 0 to 1", field=field, value=value)
    if per_image < 1:
        raise InputError("must be 1 or more", field="per_image", value=per_image)
    faults = check_results(results, coco, "predictions")
    if faults:
        raise CocoError(faults, f"the images and categories must be those of {coco.path}")
    strong: defaultdict[int, list[Result]] = defaultdict(list)
    for one in results:
        if one["score"] >= min_score:
            strong[one["image_id"]].append(one)
    found = {}
    for image in coco.images:
        boxes = _boxes(image, strong.get(image["id"], []))
        alone = _overlap(boxes, coco.annotations_of.get(image["id"], [])) <= max_iou
        found[image["id"]] = boxes[alone][:per_image].astype(np.float32)
    return found


def _boxes(image: ImageRecord, results: Sequence[Result]) -> NDArray[np.float64]:
    """Return the boxes [N, 4] of the results, strongest first, clipped to the image."""
    order = sorted(results, key=lambda one: -one["score"])
    boxes = np.clip(to_xyxy([one["bbox"] for one in order]), 0, [image["width"], image["height"]] * 2)
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]


def _overlap(boxes: NDArray[np.float64], annotations: Sequence[AnnotationRecord]) -> NDArray[np.float64]:
    """Return for each box [x1, y1, x2, y2] its largest IoU [N] with an annotation; 0 without any."""
    if not len(boxes) or not annotations:
        return np.zeros(len(boxes))
    true = np.array([one["bbox"] for one in annotations], dtype=np.float64)
    crowd = [bool(one.get("iscrowd")) for one in annotations]
    return np.asarray(coco_mask.iou(to_xywh(boxes), true, crowd)).max(axis=1)
