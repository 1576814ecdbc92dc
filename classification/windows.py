"""Where the windows of a heatmap lie: a regular grid that leaves out air and no pixel of the breast."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.breast import breast_mask, reduced
from mammodet.datasets.errors import InputError

Places = NDArray[np.int64]  # [N, 2], x and y of the first pixel


def window_starts(length: int, size: int, stride: int) -> NDArray[np.int64]:
    """Return where windows start along an axis of ``length`` pixels: 0, stride, 2 stride, ...

    When the last one would leave a rest uncovered, one more is shifted inwards to end at the edge, and
    overlaps its neighbour. No pixel is left out as long as ``stride`` is not above ``size``.

    Raises InputError for a window larger than the axis and for a stride that is not 1 to ``size``.
    """
    if not 1 <= stride <= size:
        remedy = "give the side of a window (no overlap) or less"
        raise InputError(f"must be 1 to {size}", field="stride", value=stride, remedy=remedy)
    if size > length:
        raise InputError(
            f"a window of {size} px is larger than an image side of {length} px",
            field="window",
            value=size,
            remedy="take a smaller window, or a recipe that keeps more of the image",
        )
    starts = np.arange(0, length - size + 1, stride, dtype=np.int64)
    rest = length - size - starts[-1]
    return np.append(starts, length - size) if rest else starts


def windows_over(mask: NDArray[np.bool_], height: int, width: int, size: int, stride: int) -> Places:
    """Return the windows of the grid that touch a mask, int64 [N, 2] of x and y, row by row.

    ``mask`` [h, w] may be coarser than the frame of ``height`` x ``width`` pixels that it covers: pixel
    (row, column) belongs to cell (row h // height, column w // width). Every pixel of the mask lies in at
    least one window.
    """
    touched = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)  # sums above and to the left
    touched[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    y, x = (window_starts(length, size, stride) for length in (height, width))
    top, bottom = _cells(y, size, mask.shape[0], height)
    left, right = _cells(x, size, mask.shape[1], width)
    inside = (
        touched[np.ix_(bottom, right)]
        - touched[np.ix_(top, right)]
        - touched[np.ix_(bottom, left)]
        + touched[np.ix_(top, left)]
    )
    rows, columns = np.nonzero(inside)
    return np.stack([x[columns], y[rows]], axis=1)


def search_mask(pixels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where to look on a mammogram float32 [H, W]: the breast and a little more, bool [h, w], coarse.

    The mask of ``breast_mask`` grows by two of its cells, about 1 % of the longer side, since it may end just
    inside the skin. All of the image is taken when no breast is found.
    """
    small = reduced(pixels)
    mask = breast_mask(small)
    if mask is None:
        return np.ones(small.shape, dtype=bool)
    grown: NDArray[Any] = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    return grown > 0


def _cells(
    starts: NDArray[np.int64], size: int, cells: int, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first cell that each window touches, and the one behind the last."""
    return starts * cells // length, (starts + size - 1) * cells // length + 1
