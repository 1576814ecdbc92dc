"""Where windows lie: centred on boxes, or drawn among all places of an image that satisfy a condition.

Places are those of a window's top-left pixel. A condition is an array over all of them, bool
[H - size + 1, W - size + 1], so that places are drawn uniformly and "there is none" is an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Places = NDArray[np.bool_]  # [H - size + 1, W - size + 1]


def centred(box: Sequence[float], size: int, width: int, height: int) -> tuple[int, int]:
    """Return x, y of the window centred on a box, shifted inwards where it would leave the image.

    Parameters
    ----------
    box:
        ``[x1, y1, x2, y2]``.
    size:
        Side of the window in pixels, at most ``width`` and ``height`` of the image.
    """
    x, y = (round((low + high) / 2 - size / 2) for low, high in ((box[0], box[2]), (box[1], box[3])))
    return min(max(x, 0), width - size), min(max(y, 0), height - size)


def window_means(values: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Return the mean of ``values`` [H, W] in every window, float32 [H - size + 1, W - size + 1]."""
    height, width = values.shape
    means = cv2.boxFilter(values.astype(np.float32, copy=False), cv2.CV_32F, (size, size), anchor=(0, 0))
    return np.asarray(means[: height - size + 1, : width - size + 1])


def clear_places(shape: tuple[int, int], size: int, boxes: ArrayLike) -> Places:
    """Return the places where a window touches none of the boxes, not even along an edge.

    Parameters
    ----------
    shape:
        Height and width of the image.
    boxes:
        ``[x1, y1, x2, y2]`` [N, 4] in its frame; they may reach beyond it.
    """
    places = np.ones((shape[0] - size + 1, shape[1] - size + 1), dtype=bool)
    for x1, y1, x2, y2 in np.asarray(boxes, dtype=np.float64).reshape(-1, 4):
        # A window at x covers x to x + size; it touches the box when x <= x2 and x + size >= x1.
        left, top = (max(0, int(np.ceil(low - size))) for low in (x1, y1))
        right, bottom = (max(0, int(np.floor(high)) + 1) for high in (x2, y2))
        places[top:bottom, left:right] = False
    return places


def draw_places(allowed: Places, count: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Return x, y of ``count`` different allowed places, drawn uniformly; all if there are fewer."""
    ends = np.cumsum(allowed.sum(axis=1, dtype=np.int64))
    total = int(ends[-1])
    if not total:
        return []
    places = []
    for rank in random.choice(total, min(count, total), replace=False).tolist():
        row = int(np.searchsorted(ends, rank, side="right"))
        before = int(ends[row - 1]) if row else 0
        places.append((int(np.flatnonzero(allowed[row])[rank - before]), row))
    return places
