"""Where the pectoral muscle is on an MLO view: a bright wedge in the corner of chest wall and armpit.

A straight line is fitted to the edge of the muscle, as Karssemeijer did first (Physics in Medicine and
Biology 1998, by a Hough transform), here by trying all lines of a grid. It is no segmentation: the edge is
often a little convex. Where no line stands out, the answer is None, not a guess.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_POINTS = 48  # along a line
_DEPTHS = (1.5, 3.0, 4.5, 6.0)  # px of the reduced image to each side of a line
_LOWEST = 0.8  # of the breast's height: so far down the chest wall a muscle may reach
_LEAST_STEP = 0.11  # of the breast's spread of brightness
_LEAST_AGREEMENT = 0.85  # share of the line's points that are brighter on the muscle's side
_LEAST_INSIDE = 0.25  # the muscle is brighter than the median of the rest by this part of the spread


@dataclass(frozen=True, eq=False)
class Pectoral:
    """The muscle on a reduced image.

    Parameters
    ----------
    mask:
        bool [h, w], in the breast and on the muscle's side of the line.
    line:
        ``(x1, y1, x2, y2)`` from the top of the breast to its chest wall, in pixels of the reduced image.
    step, agreement, inside:
        The mean fall of brightness across the line in parts of the breast's spread, the share of the line's
        points at which it falls, and how much brighter the muscle is than the rest, in the same unit.
    """

    mask: NDArray[np.bool_]
    line: tuple[float, float, float, float]
    step: float
    agreement: float
    inside: float

    @property
    def sure(self) -> bool:
        """Whether the line is an edge along its whole length, and what it cuts off is bright."""
        return (
            self.step >= _LEAST_STEP and self.agreement >= _LEAST_AGREEMENT and self.inside >= _LEAST_INSIDE
        )


def find_pectoral(small: NDArray[np.float32], breast: NDArray[np.bool_]) -> Pectoral | None:
    """Return the pectoral muscle of an MLO view, or None when no line is surely its edge.

    Parameters
    ----------
    small, breast:
        An image [h, w] that ``breast.reduced`` returned and what ``breast.breast_mask`` found on it. The
        chest wall may lie on either side; it is found from the breast's shape.
    """
    found = best_line(small, breast)
    return found if found is not None and found.sure else None


def best_line(small: NDArray[np.float32], breast: NDArray[np.bool_]) -> Pectoral | None:
    """Return the line that looks most like the muscle's edge, sure or not; None for a breast too small."""
    right = chest_wall_is_right(breast)
    image, mask = (small[:, ::-1], breast[:, ::-1]) if right else (small, breast)
    image = np.asarray(cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), 1.2), dtype=np.float32)
    spread = float(np.subtract(*np.percentile(image[mask], [90, 10]))) if mask.any() else 0.0
    frame = _frame(mask)
    if frame is None or spread < 1e-6:
        return None
    x0, y0, width, height = frame
    across, down = _lines(width, height)
    step, agreement, valid = _steps(image / spread, mask, (x0, y0), across, down)
    length = np.hypot(across, down)
    score = np.where(valid >= 0.7, step * agreement * np.sqrt(length), -1.0)
    best = int(np.argmax(score))
    a, b = float(across[best]), float(down[best])
    rows, columns = np.indices(mask.shape)
    muscle = mask & ((columns + 0.5 - x0) / a + (rows + 0.5 - y0) / b < 1)
    rest = mask & ~muscle
    if score[best] <= 0 or not muscle.any() or not rest.any():
        return None
    inside = float(np.median(image[muscle]) - np.median(image[rest])) / spread
    x1, x2 = x0 + a, float(x0)
    if right:
        muscle, x1, x2 = muscle[:, ::-1], mask.shape[1] - x1, mask.shape[1] - x2
    return Pectoral(muscle, (x1, float(y0), x2, y0 + b), float(step[best]), float(agreement[best]), inside)


def possible_muscle(breast: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest wedge that the search would take for muscle, bool [h, w]: beyond it is breast.

    For images on which the muscle is not surely found.
    """
    right = chest_wall_is_right(breast)
    mask = breast[:, ::-1] if right else breast
    frame = _frame(mask)
    if frame is None:
        return breast
    x0, y0, width, height = frame
    rows, columns = np.indices(mask.shape)
    wedge = mask & ((columns + 0.5 - x0) / width + (rows + 0.5 - y0) / (_LOWEST * height) < 1)
    return np.asarray(wedge[:, ::-1] if right else wedge)


def chest_wall_is_right(breast: NDArray[np.bool_]) -> bool:
    """Return whether the breast is taller at the right end of its rectangle than at the left one."""
    columns = np.flatnonzero(breast.any(axis=0))
    if not len(columns):
        return False
    tall = breast.sum(axis=0)[columns[0] : columns[-1] + 1]
    band = max(1, len(tall) // 8)
    return bool(tall[-band:].sum() > tall[:band].sum())


def _frame(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Return the corner of chest wall and armpit, and width and height of the breast, in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) < 32 or len(columns) < 16:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def _lines(width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where lines cut the top (px from the corner) and the chest wall, all pairs that a muscle has."""
    across, down = np.meshgrid(
        np.linspace(0.12, 1.0, 45) * width, np.linspace(0.12, _LOWEST, 36) * height, indexing="ij"
    )
    likely = (down >= 0.7 * across) & (down <= 6 * across)
    return across[likely], down[likely]


def _steps(
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    corner: tuple[int, int],
    across: NDArray[np.float64],
    down: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean fall across each line, the share of points where it falls, and that of valid points.

    A point is valid when both its sides lie in the breast.
    """
    x0, y0 = corner
    along = np.linspace(0.04, 0.96, _POINTS)
    x, y = x0 + across[:, None] * (1 - along), y0 + down[:, None] * along  # [N, P]
    length = np.hypot(across, down)[:, None]
    normal_x, normal_y = down[:, None] / length, across[:, None] / length
    height, width = mask.shape
    sides = []
    valid = np.ones(x.shape, dtype=bool)
    for side in (-1, 1):
        total = np.zeros(x.shape)
        for depth in _DEPTHS:
            columns = np.floor(x + side * depth * normal_x).astype(int)
            rows = np.floor(y + side * depth * normal_y).astype(int)
            inside = (columns >= x0) & (columns < width) & (rows >= y0) & (rows < height)
            columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
            if side > 0 or depth == _DEPTHS[0]:
                valid &= inside & mask[rows, columns]
            total += image[rows, columns]
        sides.append(total / len(_DEPTHS))
    fall = np.clip(sides[0] - sides[1], -1.0, 1.0)
    known = valid.sum(axis=1)
    mean = np.where(valid, fall, 0).sum(axis=1) / np.maximum(known, 1)
    agreement = (valid & (fall > 0.02)).sum(axis=1) / np.maximum(known, 1)
    return mean, agreement, known / _POINTS
