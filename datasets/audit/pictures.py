"""Small pictures for the audit's page: thumbnails with boxes, and crops of lesions too small for them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import AnnotationRecord, to_xyxy
from mammodet.datasets.drawing import draw_boxes
from mammodet.datasets.inspection import Inspection

SMALL_PX = 20  # on the thumbnail; smaller boxes are shown as a crop too
_THUMBNAIL = 320  # longer side of the picture
_CROP = 320
_CONTEXT = 4.0  # the crop is so many times as wide as the box
_LEAST_CROP = 96  # px of the file


def thumbnail_uri(inspection: Inspection, annotations: Sequence[AnnotationRecord]) -> str | None:
    """Return the whole image with these boxes as a data URI; None when it could not be read."""
    thumbnail = inspection.thumbnail
    if thumbnail is None or not inspection.width:
        return None
    scale = _THUMBNAIL / max(thumbnail.shape)
    size = round(thumbnail.shape[1] * scale), round(thumbnail.shape[0] * scale)
    grey = cv2.resize(thumbnail, size, interpolation=cv2.INTER_CUBIC)
    across, down = size[0] / inspection.width, size[1] / inspection.height
    boxes = [_moved(one, 0, 0, across, down) for one in annotations]
    return _uri(_drawn(grey / np.float32(255), boxes))


def is_small(inspection: Inspection, annotation: AnnotationRecord) -> bool:
    """Tell whether a box is hardly seen on the thumbnail."""
    if inspection.thumbnail is None or not inspection.width:
        return False
    scale = max(inspection.thumbnail.shape) / max(inspection.width, inspection.height)
    return max(annotation["bbox"][2:]) * scale < SMALL_PX


def crop_uri(
    pixels: NDArray[np.float32],
    annotation: AnnotationRecord,
    others: Sequence[AnnotationRecord] = (),
    *,
    context: float = _CONTEXT,
) -> str:
    """Return the surroundings of a box at full resolution, enlarged or reduced to one size, as a data URI.

    Parameters
    ----------
    pixels:
        float32 [H, W], 0 to 1, in the frame of the boxes.
    others:
        Further boxes to draw.
    context:
        How many times as wide as the box the picture is; at least 96 px of the file are shown.
    """
    height, width = pixels.shape
    x1, y1, x2, y2 = to_xyxy([annotation["bbox"]])[0]
    half = max(_LEAST_CROP, context * max(x2 - x1, y2 - y1)) / 2
    left, top = (max(0, int(centre - half)) for centre in ((x1 + x2) / 2, (y1 + y2) / 2))
    right, bottom = min(width, int(left + 2 * half)), min(height, int(top + 2 * half))
    left, top = max(0, min(left, int(right - 2 * half))), max(0, min(top, int(bottom - 2 * half)))
    window = pixels[top:bottom, left:right]
    scale = _CROP / max(window.shape)
    size = max(1, round(window.shape[1] * scale)), max(1, round(window.shape[0] * scale))
    way = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    low, high = np.percentile(
        window, [0.5, 99.8]
    )  # the contrast of the surroundings, as a reader would set it
    grey = np.clip((cv2.resize(window, size, interpolation=way) - low) / max(high - low, 0.05), 0, 1)
    across, down = size[0] / window.shape[1], size[1] / window.shape[0]
    boxes = [_moved(one, left, top, across, down) for one in (*others, annotation)]
    return _uri(_drawn(grey.astype(np.float32), boxes))


def _drawn(grey: NDArray[np.float32], boxes: Sequence[Mapping[str, Any]]) -> NDArray[np.uint8]:
    """Draw boxes with lines of two pixels, the outer one around the box, so that nothing of it is hidden."""
    around = [
        {**box, "bbox": [*(v - 1 for v in box["bbox"][:2]), *(v + 2 for v in box["bbox"][2:])]}
        for box in boxes
    ]
    return draw_boxes(grey, [*boxes, *around], labels=False)


def _moved(
    annotation: AnnotationRecord, left: float, top: float, across: float, down: float
) -> Mapping[str, Any]:
    """Return what is drawn of an annotation in a window that starts at left, top and is scaled."""
    x, y, width, height = annotation["bbox"]
    moved: dict[str, Any] = {
        "bbox": [(x - left) * across, (y - top) * down, width * across, height * down],
        "category_id": annotation["category_id"],
        "ignore": annotation.get("ignore"),
    }
    return moved


def _uri(picture: NDArray[np.uint8]) -> str:
    coded = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(coded.tobytes()).decode('ascii')}"
