"""Masks, boxes and COCO run-length codes into one another, through pycocotools.

A mask is bool or uint8 [H, W], true inside the lesion. Boxes are ``[x, y, width, height]``, half-open, in the
frame of the mask.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mammodet.datasets.errors import InputError


def mask_to_rle(mask: NDArray[Any]) -> dict[str, Any]:
    """Encode a mask [H, W] as compressed COCO RLE ``{"size": [H, W], "counts": str}``, ready for JSON."""
    encoded = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def segmentation_to_mask(segmentation: Any, width: int, height: int) -> NDArray[np.bool_]:
    """Decode an RLE (compressed or not) or a list of polygons to a bool mask [height, width].

    Raises InputError when an RLE is of another size than ``width`` x ``height``.
    """
    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != [height, width]:
            raise InputError(
                f"is of another size than the image, [height, width] = {[height, width]}",
                field="segmentation.size",
                value=segmentation["size"],
            )
        coded = segmentation
        if isinstance(coded["counts"], list):
            coded = coco_mask.frPyObjects(coded, height, width)
    else:
        coded = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    return np.asarray(coco_mask.decode(coded), dtype=bool)


def mask_to_bbox(mask: NDArray[Any]) -> list[float] | None:
    """Return the smallest box around a mask; None when the mask is empty."""
    rows = np.flatnonzero((mask != 0).any(axis=1))
    columns = np.flatnonzero((mask != 0).any(axis=0))
    if not rows.size:
        return None
    x, y = int(columns[0]), int(rows[0])
    return [float(x), float(y), float(int(columns[-1]) + 1 - x), float(int(rows[-1]) + 1 - y)]


def bbox_to_mask(bbox: list[float], width: int, height: int) -> NDArray[np.bool_]:
    """Return the mask [height, width] of the pixels whose centres lie inside a box."""
    x, y, box_width, box_height = bbox
    columns = np.arange(width) + 0.5
    rows = np.arange(height) + 0.5
    inside_x = (columns >= x) & (columns < x + box_width)
    inside_y = (rows >= y) & (rows < y + box_height)
    return inside_y[:, None] & inside_x[None, :]


def components(mask: NDArray[Any]) -> list[NDArray[np.bool_]]:
    """Return the 8-connected components of a mask [H, W], each as a mask of the same size."""
    count, labels = cv2.connectedComponents((mask != 0).astype(np.uint8), connectivity=8)
    return [labels == number for number in range(1, count)]
