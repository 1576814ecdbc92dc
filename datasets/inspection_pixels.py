"""What the pixels of one mammogram tell: where the breast and the chest wall are, air, labels, clipping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.breast import BBox, breast_mask, mask_bbox, reduced
from mammodet.datasets.intensity import air_is_bright
from mammodet.datasets.problem import Problem, problem

Side = Literal["L", "R"]

_SMALLEST_SIDE = 512  # px; a breast of 20 cm has 400 micron pixels then
_LONGEST_SHAPE = 2.5  # mammograms are 0.7 to 2.1 times as high as wide
_BRIGHT_AIR = 0.3
_MANY_SATURATED = 0.02
_NARROW = 0.1


@dataclass(frozen=True, eq=False)
class PixelFindings:
    """What ``look`` saw, as in ``Inspection``; ``facts`` holds the measurements behind it."""

    breast: BBox | None
    chest_side: Side | None
    facts: Mapping[str, Any]
    problems: tuple[Problem, ...]


def look(pixels: NDArray[np.float32]) -> PixelFindings:
    """Judge the pixels float32 [H, W], 0 to 1, of one mammogram."""
    height, width = pixels.shape
    found = _frame_problems(height, width)
    if float(pixels.max()) - float(pixels.min()) <= 0:
        return PixelFindings(None, None, {}, (*found, problem("constant", "all pixels have one value")))
    small = reduced(pixels)
    mask = breast_mask(small)
    facts: dict[str, Any] = {}
    if mask is None:
        return PixelFindings(None, None, facts, (*found, problem("no-breast", "no breast was found")))
    facts["breast_share"] = round(float(mask.mean()), 3)
    side = chest_side(mask)
    found += _air_problems(small, mask, side, facts)
    found += _tissue_problems(pixels, mask, facts)
    found += _edge_problems(mask, side)
    behind = _behind_the_chest_wall(small, side)
    if behind > 0.02:
        facts["padding_share"] = round(behind, 3)
        found.append(problem("padding", f"{behind:.0%} of the width, behind the chest wall, is of one value"))
    return PixelFindings(mask_bbox(mask, width, height), side, facts, tuple(found))


def chest_side(mask: NDArray[np.bool_]) -> Side | None:
    """Return on which side of the image the chest wall lies, or None when that is not clear.

    The breast is broad at the chest wall and tapers to the nipple: of the rows that it covers, nearly all
    reach its edge at the chest wall, and few the other edge.

    Parameters
    ----------
    mask:
        bool [h, w], the breast.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    region = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    strip = max(1, region.shape[1] // 12)
    left, right = region[:, :strip].any(axis=1).mean(), region[:, -strip:].any(axis=1).mean()
    # Where the breast lies in its own box tells the same, and does not depend on its very edge.
    centre = float((region.sum(axis=0) * (np.arange(region.shape[1]) + 0.5)).sum() / region.sum())
    lean = 0.5 - centre / region.shape[1]  # 0.08 for half an ellipse with the wall on the left
    score = (left - right) + 4 * lean
    if abs(score) < 0.25:
        return None
    return "L" if score > 0 else "R"


def thumbnail(pixels: NDArray[np.float32], side: int = 256) -> NDArray[np.uint8]:
    """Return the whole frame as uint8 [h, w] with at most ``side`` pixels along its longer side."""
    height, width = pixels.shape
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray((np.clip(small, 0, 1) * 255).round(), dtype=np.uint8)


def _frame_problems(height: int, width: int) -> list[Problem]:
    found = []
    if min(height, width) < _SMALLEST_SIDE:
        found.append(problem("small", f"is only {width} x {height} pixels"))
    if height < 0.7 * width or height > _LONGEST_SHAPE * width:
        found.append(problem("unusual-shape", f"is {width} x {height} pixels"))
    return found


def _behind_the_chest_wall(small: NDArray[np.float32], side: Side | None) -> float:
    """Return which share of the width is columns of one value on the side of the chest wall.

    On that side a mammogram ends in tissue, so that such columns were added to fill a frame. A few odd values
    may stand in them, such as those of a line along the upper edge.
    """
    if side is None:
        return 0.0
    flat = np.percentile(small, 98, axis=0) - small.min(axis=0) < 0.01
    filled = np.flatnonzero(~flat)
    if not filled.size:
        return 0.0
    behind = filled[0] if side == "L" else small.shape[1] - 1 - filled[-1]
    return float(behind) / small.shape[1]


def _air_problems(
    small: NDArray[np.float32], mask: NDArray[np.bool_], side: Side | None, facts: dict[str, Any]
) -> list[Problem]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    air = cv2.dilate(mask.astype(np.uint8), kernel) == 0
    if air.mean() < 0.02:
        return []
    # The darker part of what is no breast, since labels and the edges of films are bright.
    level = float(np.percentile(small[air], 25))
    facts["air_level"] = round(level, 3)
    if level > _BRIGHT_AIR or (min(small.shape) >= 8 and air_is_bright(small)):
        return [problem("air-not-dark", f"air is {level:.0%} of the brightest value")]
    found = []
    labels, strips = _bright_things(small, air & ~_beside_the_breast(mask, side), level)
    if labels:
        facts["labels"] = labels
        found.append(problem("labels", f"{labels} bright mark{'s' * (labels > 1)} in the air"))
    if strips:
        found.append(problem("bright-edge", "a bright strip runs along an edge of the image"))
    return found


def _beside_the_breast(mask: NDArray[np.bool_], side: Side | None) -> NDArray[np.bool_]:
    """Return the strip along the chest wall, where tissue of the trunk shows above and below the breast."""
    strip = np.zeros_like(mask)
    columns = np.flatnonzero(mask.any(axis=0))
    width = max(3, mask.shape[1] // 12)
    if side == "L":
        strip[:, : columns[0] + width] = True
    elif side == "R":
        strip[:, max(0, columns[-1] + 1 - width) :] = True
    return strip


def _bright_things(small: NDArray[np.float32], air: NDArray[np.bool_], level: float) -> tuple[int, int]:
    """Count the labels in the air (letters, lead markers) and the strips along the edges of the image."""
    bright = air & (small > level + 0.3)
    joined = cv2.dilate(bright.astype(np.uint8), np.ones((5, 5), np.uint8))  # letters of one label
    count, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    height, width = small.shape
    labels = strips = 0
    for x, y, wide, high, _ in stats[1:count]:
        pixels = int(bright[y : y + high, x : x + wide].sum())
        at_side = x <= 2 or x + wide >= width - 2
        at_end = y <= 2 or y + high >= height - 2
        if (at_side and high > 0.4 * height) or (at_end and wide > 0.4 * width):
            strips += 1
        elif pixels >= 8 and high < 0.4 * height and wide < 0.4 * width:
            labels += 1
    return labels, strips


def _tissue_problems(
    pixels: NDArray[np.float32], mask: NDArray[np.bool_], facts: dict[str, Any]
) -> list[Problem]:
    # Every 4th pixel in both directions, not the averaged image, because averaging hides saturation.
    sample = pixels[::4, ::4]
    inside = cv2.resize(mask.astype(np.uint8), sample.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    tissue = sample[inside]
    found = []
    saturated = float((tissue >= 1).mean())
    facts["saturated_share"] = round(saturated, 4)
    if saturated > _MANY_SATURATED:
        found.append(problem("saturated", f"{saturated:.1%} of the breast have the brightest value"))
    low, high = np.percentile(tissue, [2, 98])
    facts["tissue_levels"] = [round(float(low), 3), round(float(high), 3)]
    if high - low < _NARROW:
        found.append(problem("low-contrast", f"the breast covers {high - low:.0%} of the grey scale"))
    return found


def _edge_problems(mask: NDArray[np.bool_], side: Side | None) -> list[Problem]:
    """Tell when the breast reaches the edge opposite to the chest wall."""
    if side is None:
        return []
    edge = mask[:, -1] if side == "L" else mask[:, 0]
    share = float(edge.mean())
    if share < 0.05:
        return []
    return [problem("cut-off", f"the breast touches {share:.0%} of the edge opposite to the chest wall")]
