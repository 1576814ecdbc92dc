"""Lesions of a phantom as pixels: what each adds to the signal of one view, and its mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.phantom_anatomy import ViewShape
from mammodet.datasets.phantom_lesions import CALCIFICATION, Body, Lesion

SUBPIXEL = 4  # bits of fraction in cv2's drawing
DRAWN_AT_MM = 0.08  # strokes are drawn on a grid at least this fine and averaged down to the pixels
CLUSTER_MARGIN_MM = 1.0  # how far the outline of a cluster runs outside its outermost particles

CALCIFICATION_CONTRAST = 0.50
MASS_CONTRAST = {"benign": 0.27, "malignant": 0.36}
SPICULE_CONTRAST = 0.34
SPICULE_SEEN = 0.3  # opacity from which a piece of a spicule belongs to the mask


@dataclass(frozen=True)
class Footprint:
    """What a lesion adds to one view: ``signal`` float32 and ``mask`` bool, [h, w] at ``top``, ``left``."""

    signal: NDArray[np.float32]
    mask: NDArray[np.bool_]
    top: int
    left: int

    def onto(self, image: NDArray[np.float32], factor: float) -> None:
        """Add the signal to an image [H, W] in place."""
        window = self._window()
        image[window] += np.float32(factor) * self.signal

    def full_mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the mask at the size of the image."""
        mask = np.zeros(shape, bool)
        mask[self._window()] = self.mask
        return mask

    def _window(self) -> tuple[slice, slice]:
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def project(
    lesion: Lesion, view: ViewShape, axis: int, shape: tuple[int, int], spacing_mm: float
) -> Footprint:
    """Project a lesion on a view of ``shape`` [H, W]; ``axis`` is the lesion's axis down it: 1 CC, 2 MLO.

    The contrast of a calcification follows from its size by partial volume: it is drawn on a grid of at most
    0.08 mm and averaged over each pixel. Pixels much larger than the particles, such as the demo's, would
    wash them out; then all particles of a lesion are raised by one factor, so that the brightest reach two
    thirds of the full contrast. Their relative sizes and brightnesses stay, and small pixels raise nothing.

    The mask of a cluster is the convex hull of its particles and 1 mm around it; that of a mass is its body
    with its spicules, without their faint outermost tenth.
    """
    middle = (view.nipple[0] - lesion.centre[0], view.nipple[1] + lesion.centre[axis])
    reach = lesion.extent_mm() + 3.0
    left, right = (_clip(edge / spacing_mm, shape[1]) for edge in (middle[0] - reach, middle[0] + reach))
    top, bottom = (_clip(edge / spacing_mm, shape[0]) for edge in (middle[1] - reach, middle[1] + reach))
    size = (max(bottom - top, 1), max(right - left, 1))
    origin = (middle[0] - left * spacing_mm, middle[1] - top * spacing_mm)
    strokes = _flat(lesion.strokes, axis) + np.array([*origin, *origin, 0, 0, 0])
    drawn = _draw(strokes, size, spacing_mm)
    if lesion.finding == CALCIFICATION:
        brightest = float(np.percentile(drawn[drawn > 0.02], 97)) if (drawn > 0.02).any() else 1.0
        signal = np.float32(CALCIFICATION_CONTRAST * max(1.0, 0.67 / brightest)) * drawn
        mask = _hull(strokes, size, spacing_mm)
    else:
        assert lesion.body is not None
        body, inside = _body(lesion.body, axis, origin, size, spacing_mm)
        signal = np.float32(MASS_CONTRAST[lesion.pathology]) * body
        # Spicules fade into the body rather than brighten it.
        signal += np.float32(SPICULE_CONTRAST) * drawn * (1 - np.float32(0.75) * body)
        visible = strokes[strokes[:, 6] > SPICULE_SEEN]
        visible[:, 6] = 1
        mask = _tidy(inside | (_draw(visible, size, spacing_mm) > 0.3), spacing_mm)
    return Footprint(np.asarray(signal, np.float32), mask, top, left)


def _clip(edge: float, limit: int) -> int:
    return int(np.clip(round(edge), 0, limit))


def _flat(strokes: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return strokes [N, 7] in the plane of a view: start x y, end x y, widths, opacity."""
    return strokes[:, [0, axis, 3, 3 + axis, 6, 7, 8]]


def _draw(strokes: NDArray[np.float64], size: tuple[int, int], spacing_mm: float) -> NDArray[np.float32]:
    """Draw tapered rods [N, 7], in mm from the patch's corner, as opacity [h, w]."""
    factor = max(1, math.ceil(spacing_mm / DRAWN_AT_MM))
    canvas = np.zeros((size[0] * factor, size[1] * factor), np.uint8)
    scale = factor / spacing_mm * (1 << SUBPIXEL)
    for x1, y1, x2, y2, start, end, opacity in strokes[np.argsort(strokes[:, 6], kind="stable")]:
        value = round(255 * opacity)
        a, b = np.array([x1, y1]), np.array([x2, y2])
        length = float(np.hypot(*(b - a)))
        for centre, width in ((a, start), (b, end)):
            spot = np.round(centre * scale - (1 << SUBPIXEL) / 2).astype(int)
            cv2.circle(
                canvas,
                (int(spot[0]), int(spot[1])),
                round(width / 2 * scale),
                value,
                -1,
                cv2.LINE_AA,
                SUBPIXEL,
            )
        if length > 1e-6:
            normal = np.array([a[1] - b[1], b[0] - a[0]]) / length / 2
            corners = np.array([a + normal * start, b + normal * end, b - normal * end, a - normal * start])
            fixed = np.round(corners * scale - (1 << SUBPIXEL) / 2).astype(np.int32)
            cv2.fillConvexPoly(canvas, fixed, value, cv2.LINE_AA, SUBPIXEL)
    averaged = cv2.resize(canvas.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(averaged / np.float32(255), np.float32)


def _body(
    body: Body, axis: int, origin: tuple[float, float], size: tuple[int, int], spacing_mm: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the projected thickness of a body, 0 to 1, and what lies inside its outline, both [h, w]."""
    x = ((np.arange(size[1]) + 0.5) * spacing_mm - origin[0])[None, :] / body.radii[0]
    y = ((np.arange(size[0]) + 0.5) * spacing_mm - origin[1])[:, None] / body.radii[axis]
    angle = np.arctan2(y, x)
    outline = np.ones(size)
    for order, amplitude, phase in body.harmonics:
        outline += amplitude * np.cos(order * angle + phase * axis)
    squared = (x * x + y * y) / outline**2
    thickness = np.clip(1 - squared, 0, 1) ** body.falloff
    return thickness.astype(np.float32), squared < 1


def _hull(strokes: NDArray[np.float64], size: tuple[int, int], spacing_mm: float) -> NDArray[np.bool_]:
    """Return the convex hull of all strokes [N, 7], grown by the margin."""
    points: list[NDArray[np.float64]] = []
    around = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    circle = np.column_stack([np.cos(around), np.sin(around)])
    for ends, width in ((strokes[:, 0:2], strokes[:, 4]), (strokes[:, 2:4], strokes[:, 5])):
        grown = (width / 2 + CLUSTER_MARGIN_MM)[:, None, None] * circle
        points.append((ends[:, None, :] + grown).reshape(-1, 2))
    hull = cv2.convexHull(np.concatenate(points).astype(np.float32))
    mask = np.zeros(size, np.uint8)
    fixed = np.round((hull / spacing_mm - 0.5) * (1 << SUBPIXEL)).astype(np.int32)
    cv2.fillConvexPoly(mask, fixed, 1, cv2.LINE_8, SUBPIXEL)
    return mask.astype(bool)


def _tidy(mask: NDArray[np.bool_], spacing_mm: float) -> NDArray[np.bool_]:
    """Close the gaps between spicules and keep the largest component."""
    side = 2 * round(0.6 / spacing_mm) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    if count < 2:
        return closed.astype(bool)
    return np.asarray(labels == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA])), bool)
