"""Boxes drawn on mammograms, for people to look at: ground truth solid, predictions dashed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.coco import BENIGN, CATEGORY_NAMES, MALIGNANT, to_xyxy
from mammodet.datasets.errors import InputError

Colour = tuple[int, int, int]

# After Okabe and Ito's palette: told apart with every kind of colour blindness, and bright on a dark breast.
COLOURS: Mapping[int, Colour] = {BENIGN: (86, 180, 233), MALIGNANT: (255, 120, 30)}
OTHER_COLOUR: Colour = (240, 228, 66)

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_PX = 22  # height of a capital letter at scale 1


def draw_boxes(
    pixels: NDArray[Any],
    truth: Sequence[Mapping[str, Any]] = (),
    predictions: Sequence[Mapping[str, Any]] = (),
    *,
    names: Mapping[int, str] = CATEGORY_NAMES,
    labels: bool = True,
) -> NDArray[np.uint8]:
    """Draw ground truth and predictions on one mammogram.

    Parameters
    ----------
    pixels:
        float [H, W], 0 to 1, in the frame of the boxes; values beyond are clipped. Or a picture that was
        painted already, uint8 [H, W, 3], RGB, which is not changed.
    truth:
        Annotations with ``bbox`` [x, y, width, height] and ``category_id``, drawn solid with the class name
        below; a circle in their ``provenance`` is drawn as a thin circle, ``ignore`` lesions are yellow.
    predictions:
        Results with ``bbox``, ``category_id`` and ``score``, drawn dashed with class name and score above.
    names:
        Class names by category id.
    labels:
        Whether to write class names and scores.

    Returns
    -------
    uint8 [H, W, 3], RGB. Lines are 1/400 of the image's longer side wide (at least 1 px), letters 1/60 high.
    """
    canvas = _canvas(pixels)
    line = max(1, round(max(canvas.shape) / 400))
    surest_last = sorted(predictions, key=lambda one: one.get("score", 0))
    for annotation in truth:
        _circle(canvas, annotation, _colour(annotation), line)
        corners = _corners(annotation)
        cv2.rectangle(canvas, corners[:2], corners[2:], _colour(annotation), line)
    for result in surest_last:
        _dashed(canvas, _corners(result), _colour(result), line)
    for box in (*truth, *surest_last) if labels else ():  # after all lines, so that none crosses a word
        _write(canvas, box, names)
    return canvas


def write_png(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> None:
    """Write uint8 [H, W] or RGB [H, W, 3] as PNG, atomically."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or not image.size:
        found = f"{image.dtype} {image.shape}"
        raise InputError("a picture must be uint8 [H, W] or [H, W, 3]", file=path, value=found)
    coded = cv2.imencode(".png", image if image.ndim == 2 else image[:, :, ::-1])[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(coded.tobytes())


def _canvas(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.size:
        return np.array(pixels, order="C")
    if pixels.ndim != 2 or not pixels.size:
        raise InputError("pixels to draw on must be [H, W]", field="pixels", value=pixels.shape)
    grey = (np.clip(np.nan_to_num(pixels), 0, 1) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))


def _colour(box: Mapping[str, Any]) -> Colour:
    return OTHER_COLOUR if box.get("ignore") else COLOURS.get(box["category_id"], OTHER_COLOUR)


def _corners(box: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Return the first and last pixel of a half-open box, as OpenCV draws them."""
    x1, y1, x2, y2 = to_xyxy([box["bbox"]])[0]
    left, top = int(np.floor(x1)), int(np.floor(y1))
    return left, top, max(left, int(np.ceil(x2)) - 1), max(top, int(np.ceil(y2)) - 1)


def _circle(canvas: NDArray[np.uint8], annotation: Mapping[str, Any], colour: Colour, line: int) -> None:
    circle = (annotation.get("provenance") or {}).get("circle")
    if circle:
        x, y, radius = (round(value) for value in circle)
        cv2.circle(canvas, (x, y), max(radius, 1), colour, max(1, line // 2), cv2.LINE_AA)


def _dashed(canvas: NDArray[np.uint8], corners: tuple[int, ...], colour: Colour, line: int) -> None:
    """Draw a rectangle of dashes four lines long, shorter where a side has no room for three of them."""
    x1, y1, x2, y2 = corners
    points = ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    for start, end in zip(points, (*points[1:], points[0]), strict=True):
        length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
        dashes = max(3, length // (8 * line))
        stops = np.linspace(start, end, 2 * dashes).round().astype(int)
        for first, last in zip(stops[0::2], stops[1::2], strict=True):
            cv2.line(canvas, first.tolist(), last.tolist(), colour, line)


def _write(canvas: NDArray[np.uint8], box: Mapping[str, Any], names: Mapping[int, str]) -> None:
    """Write on a dark plate below the box, above it with a score; moved inside the image if need be."""
    text = names.get(box["category_id"], f"class {box['category_id']}")
    if "score" in box:
        text += f" {box['score']:.2f}"
    height, width = canvas.shape[:2]
    scale = max(0.35, max(height, width) / 60 / _FONT_PX)
    thickness = max(1, round(scale * 1.6))
    (text_width, text_height), descent = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = max(2, thickness)
    plate_height = text_height + descent + 2 * margin
    left, above, _, below = _corners(box)
    top = above - plate_height - thickness if "score" in box else below + 1 + thickness
    top = int(np.clip(top, 0, max(0, height - plate_height)))
    left = int(np.clip(left, 0, max(0, width - text_width - 2 * margin)))
    plate = canvas[top : top + plate_height, left : left + text_width + 2 * margin]
    plate[:] = plate // 4
    origin = (left + margin, top + margin + text_height)
    cv2.putText(canvas, text, origin, _FONT, scale, _colour(box), thickness, cv2.LINE_AA)
