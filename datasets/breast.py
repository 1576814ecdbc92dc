"""Where the breast is: the rectangle around the largest bright region that is no label and no film edge."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

BBox = tuple[int, int, int, int]  # x, y, width, height

# The search runs on a copy of about this many pixels along its longer side: fine enough for a margin of one
# pixel to be below 2 mm, coarse enough to take milliseconds.
_SIDE = 256


def breast_bbox(pixels: NDArray[np.float32]) -> BBox:
    """Return ``(x, y, width, height)`` around the breast; the whole image when no breast is found.

    Parameters
    ----------
    pixels:
        float32 [H, W], 0 = air.
    """
    found = find_breast(pixels)
    return (0, 0, pixels.shape[1], pixels.shape[0]) if found is None else found


def find_breast(pixels: NDArray[np.float32]) -> BBox | None:
    """Return ``(x, y, width, height)`` around the breast, or None when nothing breast-like is found.

    Labels, markers and the edges of films are left out by opening and by taking the largest component of a
    robust threshold; a component that comes near the border of the image is taken up to the border.
    """
    height, width = pixels.shape
    mask = breast_mask(reduced(pixels))
    return None if mask is None else mask_bbox(mask, width, height)


def reduced(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image [h, w] with at most 256 pixels along its longer side, which the search runs on."""
    height, width = pixels.shape
    step = max(1.0, max(height, width) / _SIDE)
    size = (max(1, round(width / step)), max(1, round(height / step)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def breast_mask(small: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Return the breast, bool [h, w], on an image that ``reduced`` returned; None when nothing is found."""
    smooth = cv2.medianBlur(small, 3)
    low, high = np.percentile(smooth, [1, 99])
    if high - low < 1e-6:
        return None
    grey = np.clip((smooth - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_TRIANGLE)
    mask = _largest_region(grey > threshold)
    if mask is None:
        return None
    fog = _fog_level(grey[mask])
    inner = None if fog is None else _largest_region(mask & (grey > fog))
    return mask if inner is None or inner.sum() < 0.2 * mask.sum() else inner


def _largest_region(bright: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Return the largest component that survives an opening, which cuts off labels and the edges of films.

    The component then grows back by what the opening took from it: the nipple and thin folds.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    opened = cv2.morphologyEx(bright.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return None
    largest = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return np.asarray(bright & (cv2.dilate(largest.astype(np.uint8), kernel) > 0))


def _fog_level(levels: NDArray[np.uint8]) -> int | None:
    """Return the level up to which a region is the fog of a film, not breast; None when it has no fog.

    A digitised film is a little brighter than the black that its frame was filled with, so a first threshold
    takes the whole film. Its fog is a narrow peak at the dark end of the region.
    """
    share = np.bincount(levels, minlength=256) / max(1, levels.size)
    peak = int(np.argmax(share[:32]))
    plateau = float(np.median(share[peak + 5 : peak + 25]))
    if share[max(0, peak - 3) : peak + 6].sum() - 9 * plateau < 0.04 or share[peak] < 2 * plateau:
        return None
    above = np.flatnonzero(share[peak:] < plateau + 0.25 * (share[peak] - plateau))
    return peak + int(above[0])


def mask_bbox(mask: NDArray[Any], width: int, height: int) -> BBox:
    """Return ``(x, y, width, height)`` around a mask of ``breast_mask``, in the frame of width x height."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x1, x2 = _span(columns, mask.shape[1], width)
    y1, y2 = _span(rows, mask.shape[0], height)
    return x1, y1, x2 - x1, y2 - y1


def _span(hits: NDArray[Any], small: int, full: int) -> tuple[int, int]:
    near = max(1, small // 50)
    first, last = int(hits[0]) - 2, int(hits[-1]) + 3
    first = 0 if first <= near else first
    last = small if last >= small - near else last
    return int(first * full / small), min(full, int(np.ceil(last * full / small)))
