"""Weights of images, [I] or [R, I], that turn one computation into R bootstrap resamples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Weights = NDArray[np.float64] | NDArray[np.int32]  # whole numbers stay whole: their sums are half the size

_NUMBERS_AT_ONCE = 2_000_000  # 16 MB per array


def weight_rows(image_weights: ArrayLike | None, images: int) -> tuple[Weights, bool]:
    """Return the weights as [R, I], float64 or, as given, int32, and whether they were one row (None: ones).

    Raises
    ------
    ValueError
        For another shape, and for a weight that is negative, infinite or NaN.
    """
    if image_weights is None:
        return np.ones((1, images)), True
    weights: NDArray[Any] = np.asarray(image_weights)
    if weights.dtype != np.int32:
        weights = weights.astype(np.float64)
    if weights.ndim not in (1, 2) or weights.shape[-1] != images:
        raise ValueError(f"image_weights must be [{images}] or [R, {images}], not {list(weights.shape)}")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("image_weights must be finite and at least 0")
    return np.atleast_2d(weights), weights.ndim == 1


def row_chunks(rows: int, width: int) -> list[slice]:
    """Return slices over ``rows`` so that one of them, ``width`` numbers wide, bounds the memory."""
    step = max(1, _NUMBERS_AT_ONCE // max(width, 1))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def divided(numbers: Floats, totals: Floats) -> Floats:
    """Divide every row of ``numbers``, [R, N], by its total, [R]; NaN where that is 0."""
    whole = np.broadcast_to(totals[:, None], numbers.shape)
    return np.divide(numbers, whole, out=np.full(numbers.shape, np.nan), where=whole > 0)


def running_sums(weights: Weights, places: NDArray[np.int64]) -> NDArray[Any]:
    """Return the summed weights of the first 0, 1, ... of the images at ``places``, [R, len(places) + 1]."""
    kind: Any = np.float64
    if weights.dtype == np.int32:
        small = int(weights.max(initial=0)) * len(places) < np.iinfo(np.int32).max // 2  # two sums are added
        kind = np.int32 if small else np.int64
    sums = np.zeros((len(weights), len(places) + 1), dtype=kind)
    np.cumsum(np.take(weights, places, axis=1), axis=1, out=sums[:, 1:])
    return sums


def group_means(weights: Weights, group: NDArray[np.int64]) -> Floats:
    """Return the mean weight of the images of each group, [R, G]; ``group`` [I] counts from 0, none empty.

    Whole weights that are the same within a group stay whole: no rounding moves a point of a curve.
    """
    order = np.argsort(group, kind="stable")
    size = np.bincount(group)
    return np.asarray(np.add.reduceat(weights[:, order], np.cumsum(size) - size, axis=1) / size)
