"""The shape of a phantom's breast in mm: outline, nipple, pectoral muscle.

All shapes are in the frame of a left breast: x in mm from the chest wall at the left image edge towards the
nipple, y in mm down from the top image edge. A right breast is mirrored when its pixels are done.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

DENSITIES = ("A", "B", "C", "D")
DENSITY_SHARES = (0.15, 0.40, 0.33, 0.12)  # about those of screening populations


@dataclass(frozen=True)
class ViewShape:
    """One view of a breast, in mm.

    ``outline`` and ``pectoral`` are closed polygons float32 [N, 2] that run over the image edges where the
    tissue does; ``pectoral`` is None on a CC view. ``nipple`` is the outline's farthest point from the chest.
    """

    outline: NDArray[np.float32]
    nipple: tuple[float, float]
    pectoral: NDArray[np.float32] | None
    field_mm: tuple[float, float]  # height, width

    def clearance(self, x: float, y: float) -> float:
        """Return the distance in mm of a point from skin, muscle and image edge; negative outside."""
        distances = [cv2.pointPolygonTest(self.outline, (x, y), True), x, y, self.field_mm[0] - y]
        if self.pectoral is not None:
            distances.append(-cv2.pointPolygonTest(self.pectoral, (x, y), True))
        return float(min(distances))


@dataclass(frozen=True)
class Breast:
    """One breast: its two views, its compressed thickness, and how its glandular tissue lies."""

    density: str
    thickness_mm: float
    subcutaneous_mm: float
    gland_offset: float  # of the gland's centre from the nipple line, in parts of the half-width
    views: dict[str, ViewShape]


def draw_density(rng: np.random.Generator) -> str:
    """Draw the density of a patient, A to D."""
    return str(rng.choice(DENSITIES, p=DENSITY_SHARES))


def draw_breast(rng: np.random.Generator, density: str, size: float, field_mm: tuple[float, float]) -> Breast:
    """Draw one breast of a patient whose breasts are of ``size`` 0 (small) to 1 (large)."""
    depth = min(0.80 * field_mm[1], 135.0) * (0.62 + 0.32 * size) * rng.uniform(0.97, 1.03)
    cc = _cc_shape(rng, depth, size, field_mm)
    mlo = _mlo_shape(rng, depth * rng.uniform(0.98, 1.06), size, field_mm)
    return Breast(
        density=density,
        thickness_mm=round(float(34 + 30 * size + rng.uniform(-4, 4))),
        subcutaneous_mm=float(rng.uniform(5, 9) + 4 * size),
        gland_offset=float(rng.uniform(-0.25, 0.1)),
        views={"CC": cc, "MLO": mlo},
    )


def _cc_shape(
    rng: np.random.Generator, depth: float, size: float, field_mm: tuple[float, float]
) -> ViewShape:
    height = field_mm[0]
    half = min(0.46 * height, 110.0) * (0.74 + 0.2 * size) * rng.uniform(0.97, 1.03)
    middle = height / 2 + rng.uniform(-0.02, 0.02) * height
    # The front of a superellipse, cut off obliquely by the chest wall; up is lateral and a little fuller.
    cut = np.radians(rng.uniform(66, 86))
    along = np.linspace(-cut, cut, 241)
    sine, cosine = np.sin(along) / np.sin(cut), (np.cos(along) - np.cos(cut)) / (1 - np.cos(cut))
    skew = rng.uniform(-0.06, 0.10)
    x = depth * cosine ** rng.uniform(0.82, 1.0)
    y = middle + half * (np.sign(sine) * np.abs(sine) ** rng.uniform(0.95, 1.1) + skew * cosine**2)
    nipple = (depth, middle + half * skew)
    outline = np.column_stack([np.r_[-20, x, -20], np.r_[y[0], y, y[-1]]])
    return ViewShape(_with_nipple(rng, outline, nipple), nipple, None, field_mm)


def _mlo_shape(
    rng: np.random.Generator, depth: float, size: float, field_mm: tuple[float, float]
) -> ViewShape:
    height, _ = field_mm
    nipple_y = height * rng.uniform(0.58, 0.65)
    bottom = height * (0.86 + 0.05 * size + rng.uniform(-0.015, 0.015))
    top = rng.uniform(0.50, 0.66)
    below = bottom - nipple_y
    points = np.array(
        [
            (top * depth - 6, -0.10 * height),
            (top * depth, 0.0),
            (rng.uniform(0.30, 0.42) * (1 - top) * depth + top * depth, 0.5 * nipple_y),
            (0.93 * depth, 0.82 * nipple_y),
            (depth, nipple_y),
            (0.90 * depth, nipple_y + 0.42 * below),
            (0.60 * depth, nipple_y + 0.80 * below),
            (0.36 * depth, bottom - 0.05 * below),
            *_fold(rng, depth, bottom, below, height),
        ]
    )
    length = np.r_[0, np.cumsum(np.hypot(*np.diff(points, axis=0).T))]
    curve = CubicSpline(length, points)(np.linspace(0, length[-1], 300))
    nipple_at = curve[int(np.argmax(curve[:, 0]))]
    nipple = (float(nipple_at[0]), float(nipple_at[1]))
    outline = np.vstack([(-20, -0.10 * height), curve, (-20, curve[-1, 1])])
    return ViewShape(_with_nipple(rng, outline, nipple), nipple, _pectoral(rng, depth, height), field_mm)


def _fold(
    rng: np.random.Generator, depth: float, bottom: float, below: float, height: float
) -> list[tuple[float, float]]:
    """Return how the lower outline ends: at the chest wall, or in the fold with the abdomen under it."""
    if rng.random() < 0.5:
        return [(0.14 * depth, bottom + 0.02 * below), (-0.10 * depth, bottom + 0.06 * below)]
    fold = rng.uniform(0.13, 0.20)
    return [
        (0.23 * depth, bottom + 0.02 * below),
        (fold * depth, bottom + 0.16 * below),
        (1.3 * fold * depth, bottom + 0.45 * below),
        (2.2 * fold * depth, 1.08 * height),
    ]


def _pectoral(rng: np.random.Generator, depth: float, height: float) -> NDArray[np.float32]:
    """Return the muscle: a triangle at the upper chest wall whose long side is slightly convex."""
    upper = np.array([rng.uniform(0.30, 0.44) * depth, -2.0])
    lower = np.array([-2.0, rng.uniform(0.52, 0.72) * height])
    middle = (upper + lower) / 2 + rng.uniform(0.0, 0.05) * depth
    t = np.linspace(0, 1, 60)[:, None]
    side = (1 - t) ** 2 * upper + 2 * t * (1 - t) * middle + t**2 * lower
    return np.asarray(np.vstack([(-2.0, -2.0), side]), dtype=np.float32)


def _with_nipple(
    rng: np.random.Generator, outline: NDArray[np.float64], nipple: tuple[float, float]
) -> NDArray[np.float32]:
    """Push the outline outwards by some mm around the nipple."""
    reach, half_width = rng.uniform(1.0, 4.5), rng.uniform(3.5, 5.0)
    bump = reach * np.exp(-((np.abs(outline[:, 1] - nipple[1]) / half_width) ** 3))
    raised = outline.copy()
    raised[:, 0] += np.where(outline[:, 0] > 0.8 * nipple[0], bump, 0)
    return np.ascontiguousarray(raised, dtype=np.float32)
