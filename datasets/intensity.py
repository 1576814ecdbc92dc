"""From stored values to 0 = air, 1 = brightest, through one table per image.

A mammogram has 8 or 16 bits per pixel, so everything that is done to values (rescaling, window, padding,
scaling, inversion) is done to at most 65,536 of them, and to the image only once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe

Stored = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Meaning:
    """What the stored values of one image mean.

    Parameters
    ----------
    values:
        float64 [256] or [65536]: the brightness of each stored bit pattern, in any unit.
    valid:
        bool of the same length: False for padding, which is no part of the image.
    full:
        The brightness that full scale would have, (lowest, highest).
    inverted:
        Whether bright values are air.
    """

    values: NDArray[np.float64]
    valid: NDArray[np.bool_]
    full: tuple[float, float]
    inverted: bool = False


def plain_meaning(stored: Stored, highest: int, *, inverted: bool = False) -> Meaning:
    """Return the meaning of values that run from 0 to ``highest`` and mean what they say."""
    values = np.arange(_length(stored), dtype=np.float64)
    return Meaning(values, np.ones(values.size, dtype=bool), (0.0, float(highest)), inverted)


def present_values(stored: Stored) -> NDArray[np.int64]:
    """Return how often each bit pattern occurs, [256] or [65536]."""
    length = _length(stored)
    counts = cv2.calcHist([np.ascontiguousarray(stored)], [0], None, [length], [0, length])
    return counts.ravel().astype(np.int64)


def to_unit(
    stored: Stored, meaning: Meaning, recipe: Recipe, path: Path
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return float32 [H, W] with 0 = air and 1 = brightest, and notes about odd things.

    Raises InputError when all pixels are padding.
    """
    counts = present_values(stored)
    low, high = _ends(counts, meaning, recipe, path)
    notes: list[str] = []
    if high <= low:
        notes.append("all pixels have one value")
        return np.zeros(stored.shape, dtype=np.float32), tuple(notes)
    unit = np.clip((meaning.values - low) / (high - low), 0, 1)
    if _wants_inversion(stored, unit, meaning, recipe, notes):
        unit = 1 - unit
    unit[~meaning.valid] = 0
    return _look_up(stored, unit.astype(np.float32)), tuple(notes)


def air_is_bright(pixels: NDArray[np.floating], valid: NDArray[np.bool_] | None = None) -> bool:
    """Tell whether the air of an image [H, W] in 0 to 1 is its bright end, so that it has to be inverted.

    Air is one level, flat, reaches two corners, and nothing is beyond it. Dense tissue is bright too, but not
    flat, and it has brighter spots. On 118 mini-MIAS films, 4 PNGs and a DICOM file the rule finds no upright
    image, no central part of a breast, and 121 of the 123 inverted images; the two others are films whose
    white digitiser frame is larger than their air.

    Parameters
    ----------
    pixels:
        float [H, W], at least 8 x 8; a few hundred pixels per side are enough.
    valid:
        bool [H, W]: False for padding, which does not count.
    """
    grey = np.ascontiguousarray(pixels, dtype=np.float32)
    counted = np.ones(grey.shape, dtype=bool) if valid is None else valid
    shares = np.histogram(grey[counted], bins=64, range=(0, 1))[0] / grey.size
    level = int(np.argmax(np.convolve(shares, np.ones(3), "same")))
    low, high = (level - 1) / 64, (level + 2) / 64
    band = counted & (grey >= low) & (grey <= high)
    if level < 0.6 * 64 or band.mean() < 0.15 or (counted & (grey > high)).mean() > 0.02:
        return False
    mean = cv2.blur(grey, (3, 3))
    deviation = np.sqrt(np.maximum(cv2.blur(grey * grey, (3, 3)) - mean * mean, 0))
    corners = sum(bool(band[row, column]) for row in (1, -2) for column in (1, -2))
    return corners >= 2 and float(np.median(deviation[band])) < 0.01


def _wants_inversion(
    stored: Stored, unit: NDArray[np.float64], meaning: Meaning, recipe: Recipe, notes: list[str]
) -> bool:
    if recipe.invert in {"always", "never"}:
        return recipe.invert == "always"
    if recipe.invert == "header":
        return meaning.inverted
    sample = stored[:: max(1, stored.shape[0] // 256), :: max(1, stored.shape[1] // 256)]
    seen = 1 - unit[sample] if meaning.inverted else unit[sample]
    if min(sample.shape) < 8 or not air_is_bright(seen, meaning.valid[sample]):
        return meaning.inverted
    told = "the header asks for an inversion, yet air was bright after it: not inverted"
    notes.append(told if meaning.inverted else "air was bright: inverted")
    return not meaning.inverted


def _ends(counts: NDArray[np.int64], meaning: Meaning, recipe: Recipe, path: Path) -> tuple[float, float]:
    used = (counts > 0) & meaning.valid
    if not used.any():
        raise InputError(
            "all pixels are padding",
            file=path,
            field="(0028,0120) Pixel Padding Value",
            remedy="the file holds no image; leave it out",
        )
    if recipe.intensity == "full":
        return meaning.full
    if recipe.intensity == "range":
        return float(meaning.values[used].min()), float(meaning.values[used].max())
    order = np.argsort(meaning.values[used], kind="stable")
    values, weight = meaning.values[used][order], np.cumsum(counts[used][order])
    low, high = np.searchsorted(weight, np.array([0.001, 0.999]) * weight[-1])
    return float(values[low]), float(values[high])


def _look_up(stored: Stored, table: NDArray[np.float32]) -> NDArray[np.float32]:
    # "clip" spares NumPy a check of every index; none can be out of range.
    return np.take(table, stored, mode="clip")


def _length(stored: Stored) -> int:
    return 256 if stored.dtype == np.uint8 else 65536
