"""Anchors of a feature pyramid, and how well they cover boxes where the grid lets them stand.

The arithmetic is that of torchvision's ``AnchorGenerator`` on the five levels of its ResNet-FPN, without
torch: anchors have whole half sides, and their centres are at multiples of a level's stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.datasets.errors import InputError

Array = NDArray[np.float64]

STRIDES = (4, 8, 16, 32, 64)  # of the levels; that of the last one is nominal, see level_grids
IMAGE_MULTIPLE = 32  # torchvision pads images to it
# Positions of a box's centre on one axis, as distances from an anchor of the coarsest level. An odd number of
# them is spread evenly over the period of every finer level too.
_POSITIONS = 7
OFFSETS = STRIDES[-1] / 2 * (np.arange(_POSITIONS) + 0.5) / _POSITIONS


@dataclass(frozen=True)
class Layout:
    """The anchors of a detector: one size for each of five levels, and ratios that all levels share.

    Parameters
    ----------
    sizes:
        Square root of the area in pixels of the model frame, for strides 4 to 64.
    ratios:
        Height over width.
    """

    sizes: tuple[int, ...]
    ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) != len(STRIDES) or not self.ratios or min(*self.sizes, *self.ratios) <= 0:
            problem = f"must be {len(STRIDES)} sizes and at least one ratio, all above 0"
            raise InputError(problem, field="anchors", value=(self.sizes, self.ratios))

    @property
    def count(self) -> int:
        """How many different anchors there are: levels times ratios."""
        return len(self.sizes) * len(self.ratios)

    def shapes(self) -> Array:
        """Return the anchors' (width, height) [5, ratios, 2] in pixels, as torchvision rounds them."""
        return cell_shapes(self.sizes, self.ratios)


DEFAULT = Layout((32, 64, 128, 256, 512), (0.5, 1.0, 2.0))  # of mammodet's and torchvision's detector


def cell_shapes(sizes: ArrayLike, ratios: ArrayLike) -> Array:
    """Return (width, height) [sizes, ratios, 2] of anchors.

    torchvision rounds the corners of anchors around the origin, so that sides are even numbers; in float32,
    which decides what is rounded up.
    """
    root = np.sqrt(np.asarray(ratios, dtype=np.float32))
    side = np.asarray(sizes, dtype=np.float32)[:, None]
    shapes = np.stack([np.float32(1) / root * side, root * side], axis=-1)
    return 2 * np.round(shapes / 2).astype(np.float64)


def shape_iou(boxes: Array, anchors: Array) -> Array:
    """Return the IoU [N, K] of shapes (width, height) [N, 2] and [K, 2] that share their centre."""
    inner = np.minimum(boxes[:, None], anchors[None]).prod(axis=-1)
    return _over_union(inner, boxes.prod(axis=-1)[:, None] + anchors.prod(axis=-1)[None])


def spread_iou(boxes: Array, anchor: ArrayLike, stride: int) -> Array:
    """Return the IoU [N, P, P] of shapes (width, height) [N, 2] with the nearest copy of one anchor.

    The boxes stand at all P x P positions of ``OFFSETS``, the copies on a boundless grid of ``stride``. On
    either axis a nearer anchor never overlaps less, so the nearest copy is the best.
    """
    shape = np.asarray(anchor, dtype=np.float64)
    distance = np.abs(OFFSETS - stride * np.round(OFFSETS / stride))
    across = _overlap(boxes[:, :1], shape[0], distance)  # [N, P]
    down = _overlap(boxes[:, 1:], shape[1], distance)
    inner = across[:, None, :] * down[:, :, None]
    return _over_union(inner, (boxes.prod(axis=1) + shape.prod())[:, None, None])


def best_spread_iou(boxes: Array, layout: Layout) -> Array:
    """Return the IoU [N, P, P] of each shape with the best anchor of a layout at each position."""
    best = np.zeros((len(boxes), _POSITIONS, _POSITIONS))
    for shapes, stride in zip(layout.shapes(), STRIDES, strict=True):
        for shape in shapes:
            np.maximum(best, spread_iou(boxes, shape, stride), out=best)
    return best


def level_grids(frames: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return strides [N, 5, 2] and numbers of cells [N, 5, 2], x before y, of frames (width, height) [N, 2].

    A frame is padded to a multiple of 32 first. torchvision's last level is every second cell of the one
    below: where that has an odd number of cells, the stride is not 64 but what divides the padded frame.
    """
    padded = -(-np.asarray(frames, dtype=np.int64).reshape(-1, 2) // IMAGE_MULTIPLE) * IMAGE_MULTIPLE
    cells = [padded // stride for stride in STRIDES[:-1]]
    cells.append((cells[-1] + 1) // 2)
    numbers = np.stack(cells, axis=1)
    return padded[:, None] // numbers, numbers


def placed_iou(boxes: ArrayLike, frames: ArrayLike, shapes: Sequence[ArrayLike] | Array) -> Array:
    """Return the IoU [N, 5] of boxes with each level's best anchor, where the anchors of their image stand.

    Parameters
    ----------
    boxes:
        ``[x1, y1, x2, y2]`` [N, 4] in the frame of the model.
    frames:
        (width, height) [N, 2] of each box's image in that frame, alone in its batch.
    shapes:
        (width, height) of the anchors by level, [5, ratios, 2].
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    sides, centres = corners[:, 2:] - corners[:, :2], (corners[:, 2:] + corners[:, :2]) / 2
    strides, cells = level_grids(frames)
    best = np.zeros((len(corners), len(STRIDES)))
    for level, anchors in enumerate(shapes):
        stride = strides[:, level]
        nearest = np.clip(np.round(centres / stride), 0, cells[:, level] - 1) * stride
        distance = np.abs(centres - nearest)
        for width, height in np.asarray(anchors, dtype=np.float64):
            inner = _overlap(sides[:, 0], width, distance[:, 0]) * _overlap(
                sides[:, 1], height, distance[:, 1]
            )
            iou = _over_union(inner, sides.prod(axis=1) + width * height)
            np.maximum(best[:, level], iou, out=best[:, level])
    return best


def _overlap(box: Array, anchor: float, distance: Array) -> Array:
    """Return how far two intervals overlap whose centres are ``distance`` apart."""
    return np.clip((box + anchor) / 2 - distance, 0, np.minimum(box, anchor))


def _over_union(inner: Array, areas: Array) -> Array:
    union = areas - inner
    return np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
