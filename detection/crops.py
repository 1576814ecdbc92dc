"""What part of a mammogram a training step sees: all of it, a crop around a lesion, or a tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.errors import InputError
from mammodet.detection.tiling import Tiles, Window, tile_windows

Boxes = NDArray[np.float32]  # [N, 4] as [x1, y1, x2, y2]

_MINIMUM = 64  # the coarsest pyramid level has one cell per 64 px
_VISIBLE = 0.25  # share of a lesion's area that must be in the window for it to be learned there
_TISSUE = 0.1  # share of a window without lesions that must not be air, where the image has such a window
_AIR = 0.02


@dataclass(frozen=True)
class TrainingInput:
    """``whole`` images, a ``crop`` of ``size`` px, or ``tiles`` of ``size`` px and an ``overlap``."""

    kind: str = "whole"
    size: int = 0
    overlap: int = 0

    @classmethod
    def parse(cls, text: str) -> TrainingInput:
        """Read ``whole``, ``crop:SIZE`` or ``tiles:SIZE,OVERLAP``; raises InputError for anything else."""
        kind, _, numbers = text.partition(":")
        parts = numbers.split(",") if numbers else []
        wanted = {"whole": 0, "crop": 1, "tiles": 2}.get(kind)
        if wanted != len(parts) or not all(part.strip().isdecimal() for part in parts):
            raise _refusal("is none of the choices", text)
        made = cls(kind, *(int(part) for part in parts))
        if parts and made.size < _MINIMUM:
            raise _refusal(f"windows are {_MINIMUM} px or more", text)
        if made.kind == "tiles":
            made.tiles()
        return made

    def tiles(self) -> Tiles:
        """Return how images are cut into tiles."""
        return Tiles(self.size, self.overlap)


def training_window(
    part: TrainingInput,
    pixels: NDArray[np.float32],
    lesions: Boxes,
    hard_negatives: Boxes,
    random: np.random.Generator,
) -> Window:
    """Choose what a training step sees of an image, float32 [H, W], with boxes [N, 4] in its frame.

    A crop is centred on a lesion, or as often on a hard negative where there are both. A tile is any of the
    image's tiles every other time, and one with a lesion or hard negative otherwise.
    """
    kinds = [boxes for boxes in (lesions, hard_negatives) if len(boxes)]
    centres = kinds[random.integers(len(kinds))] if kinds else lesions
    if part.kind == "crop":
        return crop_window(pixels, centres, part.size, random)
    tiles = tile_windows(pixels.shape[0], pixels.shape[1], part.size, part.overlap)
    if len(centres) and random.random() < 0.5:
        tiles = [one for one in tiles if boxes_in_window(centres, one)[1].any()] or tiles
    return tiles[random.integers(len(tiles))]


def crop_window(
    pixels: NDArray[np.float32], centres: Boxes, size: int, random: np.random.Generator
) -> Window:
    """Choose a window of ``size`` px (or less, in a smaller image).

    Parameters
    ----------
    pixels:
        Float32 [H, W], 0 is air.
    centres:
        Float32 [N, 4], boxes of which one is to lie in the window: at a random place of it, whole where it
        fits. With none of them the window is a random one with tissue.
    """
    height, width = pixels.shape
    wide, high = min(size, width), min(size, height)
    if len(centres):
        x1, y1, x2, y2 = centres[random.integers(len(centres))].astype(float)
        left = _place(x1, x2, wide, width, random)
        top = _place(y1, y2, high, height, random)
        return Window(top, top + high, left, left + wide)
    for _ in range(10):
        left, top = int(random.integers(width - wide + 1)), int(random.integers(height - high + 1))
        window = Window(top, top + high, left, left + wide)
        if (pixels[top : top + high, left : left + wide] > _AIR).mean() >= _TISSUE:
            break
    return window


def boxes_in_window(boxes: Boxes, window: Window) -> tuple[Boxes, NDArray[np.bool_]]:
    """Move boxes [N, 4] into the frame of a window, clipped; also tell which of them are visible enough.

    A fragment is not taught as a lesion when it has less than a quarter of the lesion's area, or of the
    window's where the lesion is larger than that.
    """
    corner = np.array([window.left, window.top] * 2, dtype=np.float32)
    limits = np.array([window.right - window.left, window.bottom - window.top] * 2, dtype=np.float32)
    moved = np.clip(boxes - corner, 0, limits).astype(np.float32)
    sides = moved[:, 2:] - moved[:, :2]
    whole = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    # Of a lesion that is larger than the window, what fills a good part of it is seen well enough.
    enough = np.minimum(whole, limits[2] * limits[3]) * _VISIBLE
    visible = (sides.min(axis=1, initial=np.inf) >= 1) & (sides.prod(axis=1) >= enough)
    return moved, visible


def _place(low: float, high: float, side: int, limit: int, random: np.random.Generator) -> int:
    """Return where a window of ``side`` px begins, so that it holds ``low`` to ``high``, or their middle."""
    first, last = np.ceil(high - side), np.floor(low)
    if first > last:
        first = last = round((low + high - side) / 2)
    first, last = (int(np.clip(one, 0, limit - side)) for one in (first, last))
    return int(random.integers(first, last + 1))


def _refusal(problem: str, text: str) -> InputError:
    return InputError(
        problem, field="--input", value=text, remedy="give whole, crop:SIZE or tiles:SIZE,OVERLAP"
    )
