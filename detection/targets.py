"""What the detector takes as training targets, checked before anything is computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mammodet.datasets.errors import InputError


def check_targets(targets: Sequence[Mapping[str, Any]], classes: int) -> None:
    """Check the targets of a batch.

    A label out of range stops a CUDA device for good, and a NaN in a box makes every weight NaN; neither is
    noticed by torchvision.

    Parameters
    ----------
    targets:
        Of each image ``boxes`` float [N, 4] as ``[x1, y1, x2, y2]`` and ``labels`` int64 [N]; optionally
        ``hard_negatives`` float [M, 4], and ``image_id``, by which errors name the image (otherwise by its
        place in the batch).
    classes:
        How many there are, with background: labels go from 1 to ``classes - 1``.

    Raises
    ------
    InputError
        For a label out of range, as many labels as not boxes, a box without area or with a coordinate that is
        no finite number, and values of another shape or type.
    """
    for place, target in enumerate(targets):
        image = f"image {target['image_id']}" if "image_id" in target else f"targets[{place}]"
        _check_boxes(target["boxes"], f"{image}: boxes")
        if "hard_negatives" in target:
            _check_boxes(target["hard_negatives"], f"{image}: hard_negatives")
        _check_labels(target.get("labels"), len(target["boxes"]), classes, f"{image}: labels")


def _check_boxes(boxes: Any, field: str) -> None:
    if not isinstance(boxes, Tensor) or not boxes.is_floating_point() or boxes.shape[1:] != (4,):
        raise InputError("must be a float tensor [N, 4]", field=field, value=_kind(boxes))
    bad = ~torch.isfinite(boxes).all(dim=1) | (boxes[:, 2:] <= boxes[:, :2]).any(dim=1)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise InputError(
            "a box [x1, y1, x2, y2] needs finite numbers, and a width and a height above 0",
            field=f"{field}[{first}]",
            value=boxes[first].tolist(),
            remedy="leave the box out or correct it",
        )


def _check_labels(labels: Any, boxes: int, classes: int, field: str) -> None:
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != (boxes,):
        raise InputError(f"must be an int64 tensor [{boxes}], one per box", field=field, value=_kind(labels))
    bad = (labels < 1) | (labels >= classes)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise InputError(
            f"a label must be 1 to {classes - 1}",
            field=f"{field}[{first}]",
            value=int(labels[first]),
            remedy="0 is background, which has no boxes; give each lesion its category",
        )


def _kind(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
