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

    Raises InputError when it is none, or an RLE of another size than ``width`` x ``height``.
    """
    if problem := segmentation_problem(segmentation, (width, height)):
        raise InputError(problem, field="segmentation", value=segmentation)
    if isinstance(segmentation, dict):
        runs = _runs(segmentation["counts"])
        flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        # cv2 transposes in blocks, many times faster than a copy of the strided view
        return cv2.transpose(flat.reshape(width, height).view(np.uint8)).view(np.bool_)
    # pycocotools takes a list of four numbers for a box; a polygon has six or more, which was checked
    coded = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    return np.asarray(coco_mask.decode(coded), dtype=bool)


def segmentation_problem(segmentation: Any, size: tuple[int, int] | None) -> str | None:
    """Tell what is wrong with a COCO segmentation of an image of ``size`` (width, height); None if nothing.

    Any value may be given. With ``size`` None only what does not need it is checked. pycocotools decodes an
    RLE that is too short into whatever the memory held, so the sum of its runs is checked here.
    """
    if isinstance(segmentation, dict):
        return _rle_problem(segmentation, size)
    if isinstance(segmentation, list) and segmentation and all(map(_is_polygon, segmentation)):
        return None
    return "must be an RLE {size, counts} or a list of polygons [x1, y1, x2, y2, x3, y3, ...]"


def _rle_problem(segmentation: dict[str, Any], size: tuple[int, int] | None) -> str | None:
    try:
        runs = _runs(segmentation.get("counts"))
    except ValueError as error:
        return str(error)
    if size is None:
        return None
    if segmentation.get("size") != [size[1], size[0]]:
        return f"size must be that of the image, [height, width] = {[size[1], size[0]]}"
    if int(runs.sum()) != size[0] * size[1]:
        return f"the runs cover {int(runs.sum())} pixels, the image has {size[0] * size[1]}"
    return None


def _is_polygon(polygon: Any) -> bool:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return False
    return all(isinstance(one, int | float) and abs(one) < 1e9 for one in polygon)  # false for NaN


def _runs(counts: Any) -> NDArray[np.int64]:
    """Return the lengths of the runs of an RLE, the first of zeros; raises ValueError when it is none."""
    if isinstance(counts, str):
        runs = _decompressed(counts)
    elif isinstance(counts, list) and all(type(one) is int and abs(one) < 2**40 for one in counts):
        runs = np.asarray(counts, dtype=np.int64)
    else:
        raise ValueError("counts of an RLE must be a string or a list of integers")
    if (runs < 0).any() or (runs >= 2**40).any():
        raise ValueError("a run of an RLE must not be negative or beyond any image")
    return runs


def _decompressed(counts: str) -> NDArray[np.int64]:
    """Undo COCO's compression (pycocotools, maskApi.c, rleFrString).

    5 bits per character from 48 on, bit 5 = more follows, bit 4 of the last one = sign; from the fourth run
    on, the difference to the run before last is stored.
    """
    codes = np.frombuffer(counts.encode("utf-8", "replace"), dtype=np.uint8).astype(np.int64) - 48
    if not codes.size:
        return np.zeros(0, dtype=np.int64)
    more = codes & 32 != 0
    if codes.min() < 0 or codes.max() > 63 or more[-1]:
        raise ValueError("counts of an RLE are no compressed runs")
    ends = np.flatnonzero(~more)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 8:
        raise ValueError("a run of an RLE must not be negative or beyond any image")
    shift = 5 * (np.arange(codes.size) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes & 31) << shift, starts)
    runs -= np.where(codes[ends] & 16 != 0, np.int64(1) << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


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
