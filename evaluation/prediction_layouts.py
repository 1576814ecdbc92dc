"""What the four numbers of a box are, and files whose boxes are plainly something else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import to_xywh

Boxes = NDArray[np.float64]
Layout = Literal["xywh", "xyxy", "cxcywh", "xywh-relative", "xyxy-relative", "cxcywh-relative"]
LAYOUTS: Sequence[str] = get_args(Layout)
MEANING = {
    "xywh": "[x, y, width, height]",
    "xyxy": "[x1, y1, x2, y2]",
    "cxcywh": "[centre x, centre y, width, height]",
}

_MANY = 0.2  # the share of boxes that no detector gets wrong by chance
_NEARLY_ALL = 0.95  # detectors that do not clip leave the image with a few
_RELATIVE = 1.5  # parts of the image go a little beyond 1 where nothing is clipped
_SMALLEST_SIDE = 8  # of an image; below it pixels and parts of the image look alike


def describe(layout: str) -> str:
    """Return a layout in words, such as ``xyxy [x1, y1, x2, y2] in parts of the image``."""
    return f"{layout.partition('-')[0]} {_words(layout)}"


def _words(layout: str) -> str:
    kind, _, relative = layout.partition("-")
    return f"{MEANING[kind]} in {'parts of the image' if relative else 'pixels'}"


def to_pixels(boxes: Boxes, layout: str, sizes: Boxes) -> Boxes:
    """Return boxes [N, 4] of any layout as ``[x, y, width, height]`` in pixels.

    ``sizes`` [N, 2] are width and height of their images, in pixels.
    """
    kind, _, relative = layout.partition("-")
    with np.errstate(over="ignore", invalid="ignore"):
        if relative:
            boxes = boxes * np.concatenate([sizes, sizes], axis=1)
        if kind == "xyxy":
            return to_xywh(boxes)
        if kind == "cxcywh":
            return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
    return boxes


def fits(pixels: Boxes, sizes: Boxes) -> NDArray[np.bool_]:
    """Tell which boxes [x, y, width, height] have a size and lie in their image, give or take 1 %."""
    return np.asarray(_inside(pixels, sizes) & (pixels[:, 2:] > 0).all(axis=1))


def _inside(pixels: Boxes, sizes: Boxes) -> NDArray[np.bool_]:
    slack = np.maximum(1, 0.01 * sizes)
    with np.errstate(over="ignore", invalid="ignore"):
        inside = (pixels[:, :2] >= -slack) & (pixels[:, :2] + pixels[:, 2:] <= sizes + slack)
    return np.asarray(inside.all(axis=1))


def mistaken_layout(boxes: Boxes, layout: str, sizes: Boxes) -> tuple[NDArray[np.bool_], str, str] | None:
    """Recognise boxes that are of another layout than they are read as, by all boxes of the file.

    Parameters
    ----------
    boxes:
        [N, 4] finite numbers, read as ``layout``.
    sizes:
        [N, 2] width and height of their images, in pixels.

    Returns
    -------
    tuple or None
        Which boxes [N] show it, the problem and the remedy. A fifth of the boxes at least must leave their
        image or have a size below 0, and nearly all of them be boxes of their image in another layout.
    """
    if not len(boxes) or sizes.min() < _SMALLEST_SIDE:
        return None
    in_parts = bool(np.abs(boxes).max() <= _RELATIVE)
    kind, _, relative = layout.partition("-")
    if not relative and in_parts and (boxes % 1 != 0).any():
        problem = f"no number of any box is above {_RELATIVE}: these are parts of the image, not pixels"
        others = [name for name in LAYOUTS if name.endswith("-relative")]
        likely = _fitting(boxes, others, sizes) or [f"{kind}-relative"]
        same = f"{kind}-relative"
        return np.ones(len(boxes), dtype=bool), problem, _remedy([same] if same in likely else likely)
    pixels = to_pixels(boxes, layout, sizes)
    wrong = ~_inside(pixels, sizes) | (pixels[:, 2:] < 0).any(axis=1)  # a box without a size shows nothing
    if wrong.mean() < _MANY:
        return None
    unit = "-relative" if in_parts else ""
    likely = _fitting(boxes, [name + unit for name in MEANING if name + unit != layout], sizes)
    if bool(relative) != in_parts and kind + unit in likely:
        likely = [kind + unit]
    if not likely:
        return None
    told = f"{wrong.sum()} of {len(boxes)} boxes leave their image or have a size below 0"
    problem = f"{told} when read as {describe(layout)}"
    return wrong, problem, _remedy(likely)


def _fitting(boxes: Boxes, layouts: Sequence[str], sizes: Boxes) -> list[str]:
    """Return the layouts in which nearly all boxes are boxes of their image, the best one first."""
    shares = {name: fits(to_pixels(boxes, name, sizes), sizes).mean() for name in layouts}
    return sorted((name for name in layouts if shares[name] >= _NEARLY_ALL), key=lambda name: -shares[name])


def _remedy(likely: Sequence[str]) -> str:
    told = " or ".join(f"--boxes {name} ({_words(name)})" for name in likely)
    return f"they would fit with {told}"
