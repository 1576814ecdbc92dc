"""The lesions of a phantom as three-dimensional objects in mm: calcification clusters and masses.

A lesion is drawn once and projected on both views, so that it keeps its morphology and its distance behind
the nipple. Its parts are strokes (tapered rods: calcifications, spicules) around an optional body (an
ellipsoid with a wavy outline). x points to the nipple, y is the CC view's other axis and z the MLO view's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.phantom_anatomy import Breast

CALCIFICATION = "calcification"
MASS = "mass"
KINDS = (("benign", CALCIFICATION), ("malignant", CALCIFICATION), ("benign", MASS), ("malignant", MASS))

STROKE = 9  # columns of a stroke: start x y z, end x y z, width at start, width at end (mm), opacity 0 to 1
CLUSTER_MM = (9.0, 26.0)  # largest extent of a cluster
BENIGN_MASS_MM = (11.0, 27.0)  # diameter
MALIGNANT_MASS_MM = (8.0, 13.0)  # diameter of the body; with its spicules a mass is about twice as large


@dataclass(frozen=True)
class Body:
    """The body of a mass: semi-axes in mm, harmonics of the outline, how its density falls off outwards."""

    radii: tuple[float, float, float]
    harmonics: NDArray[np.float64]  # [K, 3]: order, relative amplitude, phase
    falloff: float  # exponent of the projected thickness; smaller is a sharper margin


@dataclass(frozen=True)
class Lesion:
    """One lesion of a breast.

    ``centre`` is relative to the nipple: mm towards the chest wall, mm along the other axis of CC and of MLO.
    ``strokes`` [N, 9] are relative to the centre.
    """

    number: int
    finding: str
    pathology: str
    morphology: str
    strokes: NDArray[np.float64]
    body: Body | None
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def extent_mm(self) -> float:
        """Return the distance from the centre to the farthest part."""
        reach = 0.0 if self.body is None else 1.1 * max(self.body.radii)
        if len(self.strokes):
            ends = np.abs(np.r_[self.strokes[:, 0:3], self.strokes[:, 3:6]])
            reach = max(reach, float(np.hypot(ends[:, 0], ends[:, 1:].max(axis=1)).max()))
        return reach


def draw_lesion(rng: np.random.Generator, number: int, pathology: str, finding: str) -> Lesion:
    """Draw the morphology of one lesion, still without a place."""
    if finding == MASS:
        benign = pathology == "benign"
        morphology, body, strokes = _smooth_mass(rng) if benign else _spiculated_mass(rng)
        return Lesion(number, finding, pathology, morphology, strokes, body)
    if pathology == "benign":
        morphology, strokes = "round, scattered", _round_cluster(rng)
    elif rng.random() < 0.5:
        morphology, strokes = "fine linear branching, segmental", _branching_cluster(rng)
    else:
        morphology, strokes = "fine pleomorphic, grouped", _pleomorphic_cluster(rng)
    return Lesion(number, finding, pathology, morphology, strokes, None)


def coarse_calcification(rng: np.random.Generator) -> Lesion:
    """Draw a single coarse calcification, 1.5 to 3.5 mm, which is no lesion."""
    size = rng.uniform(1.5, 3.5)
    lobes = rng.normal(0, 0.22 * size, (4, 3))
    widths = size * rng.uniform(0.5, 0.75, 4)
    strokes = np.column_stack([lobes, lobes, widths, widths, np.full(4, 1.0)])
    return Lesion(0, CALCIFICATION, "benign", "coarse", strokes, None)


def place(rng: np.random.Generator, lesion: Lesion, breast: Breast, taken: list[Lesion]) -> Lesion:
    """Return the lesion at a place that lies in the breast on both views, clear of skin, muscle and others.

    Where no place is clear enough, the one with most room of those tried is taken.
    """
    cc, mlo = breast.views["CC"], breast.views["MLO"]
    height = cc.field_mm[0]
    extent = lesion.extent_mm()
    wanted = extent + 4.0
    best, best_room = (0.4 * cc.nipple[0], 0.0, -0.1 * height), -np.inf
    for _ in range(300):
        behind = rng.uniform(12, 0.85 * cc.nipple[0])
        lateral, vertical = rng.uniform(-0.34, 0.34) * height, rng.uniform(-0.42, 0.22) * height
        room = min(
            cc.clearance(cc.nipple[0] - behind, cc.nipple[1] + lateral),
            mlo.clearance(mlo.nipple[0] - behind, mlo.nipple[1] + vertical),
        )
        for other in taken:
            apart = np.subtract((behind, lateral, vertical), other.centre)
            near = min(float(np.hypot(apart[0], apart[1])), float(np.hypot(apart[0], apart[2])))
            room = min(room, near - other.extent_mm())
        if room > best_room:
            best, best_room = (behind, lateral, vertical), room
        if room >= wanted:
            break
    centre = (float(best[0]), float(best[1]), float(best[2]))
    return replace(lesion, centre=centre)


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))


def _in_ellipsoid(
    rng: np.random.Generator, count: int, semi_axes: NDArray[np.float64], apart: float
) -> NDArray[np.float64]:
    """Draw up to ``count`` points [N, 3] that fill an ellipsoid and keep ``apart`` mm from one another."""
    points: list[NDArray[np.float64]] = []
    for _ in range(40 * count):
        point = rng.uniform(-1, 1, 3)
        if point @ point > 1:
            continue
        point = point * semi_axes
        if all(
            np.hypot(*(point - other)[:2]) > apart and np.hypot(*(point - other)[::2]) > apart
            for other in points
        ):
            points.append(point)
        if len(points) == count:
            break
    return np.array(points)


def _round_cluster(rng: np.random.Generator) -> NDArray[np.float64]:
    """Few round calcifications of one size, scattered evenly."""
    half = 0.5 * _log_uniform(rng, (CLUSTER_MM[0], 0.85 * CLUSTER_MM[1]))
    axes = half * np.array([1.0, rng.uniform(0.75, 1.0), rng.uniform(0.75, 1.0)])
    centres = _in_ellipsoid(rng, int(rng.integers(8, 13)), axes, apart=max(1.5, 0.27 * half))
    widths = rng.uniform(0.6, 0.76) * rng.uniform(0.95, 1.05, len(centres))
    return np.column_stack([centres, centres, widths, widths, np.full(len(centres), 1.0)])


def _pleomorphic_cluster(rng: np.random.Generator) -> NDArray[np.float64]:
    """Many small calcifications of all sizes and shapes, close together."""
    half = 0.5 * _log_uniform(rng, (CLUSTER_MM[0], 0.75 * CLUSTER_MM[1]))
    axes = half * np.array([1.0, rng.uniform(0.6, 0.95), rng.uniform(0.6, 0.95)])
    count = int(np.clip(1.1 * half**2, 30, 90))
    centres = _in_ellipsoid(rng, count, axes, apart=0.5)
    directions = rng.normal(size=centres.shape)
    directions *= np.minimum(rng.exponential(0.22, (len(centres), 1)), 0.8) / np.linalg.norm(
        directions, axis=1, keepdims=True
    )
    start = rng.uniform(0.2, 0.65, len(centres))
    end = start * rng.uniform(0.4, 1.0, len(centres))
    return np.column_stack(
        [centres - directions, centres + directions, start, end, rng.uniform(0.55, 1.0, len(centres))]
    )


def _branching_cluster(rng: np.random.Generator) -> NDArray[np.float64]:
    """Casts of branching ducts: beaded fine lines in a wedge that narrows towards the nipple."""
    length = _log_uniform(rng, (11.0, 0.8 * CLUSTER_MM[1]))
    ducts = int(rng.integers(5, 9))
    rows: list[NDArray[np.float64]] = []
    for duct in range(ducts):
        # Around the wedge, so that the ducts fill it on both views.
        turn = 2 * np.pi * (duct + rng.uniform(0, 0.6)) / ducts
        aside = np.array([np.cos(turn), np.sin(turn)]) * rng.uniform(0.5, 1.0)
        at = np.array([length * rng.uniform(0.38, 0.5), *(0.14 * length * aside + rng.normal(0, 0.5, 2))])
        wobble = np.zeros(2)
        while at[0] > -0.5 * length:
            step = min(rng.exponential(0.55) + 0.2, 2.2)
            wobble = 0.8 * wobble + rng.normal(0, 0.2, 2)  # bends to and fro, never off the wedge
            heading = np.array([-1.0, *(0.22 * aside + np.clip(wobble, -0.5, 0.5))])
            to = at + step * heading / np.linalg.norm(heading)
            rows.append(_cast(rng, at, to))
            if rng.random() < 0.3:
                side = heading + np.array([0, *rng.normal(0, 0.9, 2)])
                rows.append(_cast(rng, to, to + rng.uniform(0.6, 1.8) * side / np.linalg.norm(side)))
            at = to + rng.uniform(0.4, 1.5) * heading / np.linalg.norm(heading)
    strokes = np.array(rows)
    middle = (strokes[:, :3].min(axis=0) + strokes[:, :3].max(axis=0)) / 2
    strokes[:, :3] -= middle
    strokes[:, 3:6] -= middle
    return strokes


def _cast(
    rng: np.random.Generator, start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.r_[start, end, rng.uniform(0.25, 0.5, 2), rng.uniform(0.5, 1.0)]


def _smooth_mass(rng: np.random.Generator) -> tuple[str, Body, NDArray[np.float64]]:
    """A round or oval mass with a sharp, smooth margin."""
    radius = 0.5 * _log_uniform(rng, BENIGN_MASS_MM)
    oval = rng.random() < 0.6
    ratios = rng.uniform(0.62, 0.82, 2) if oval else rng.uniform(0.9, 1.0, 2)
    radii = (
        radius * np.array([1.0, *ratios]) if rng.random() < 0.5 else radius * np.array([ratios[0], 1.0, 1.0])
    )
    harmonics = np.array([(order, rng.uniform(0, 0.025), rng.uniform(0, 2 * np.pi)) for order in (2, 3)])
    body = Body((float(radii[0]), float(radii[1]), float(radii[2])), harmonics, falloff=0.33)
    return f"{'oval' if oval else 'round'}, circumscribed", body, np.zeros((0, STROKE))


def _spiculated_mass(rng: np.random.Generator) -> tuple[str, Body, NDArray[np.float64]]:
    """An irregular mass with spicules all around, all of about the same length so that they bound one box."""
    radius = 0.5 * _log_uniform(rng, MALIGNANT_MASS_MM)
    radii = radius * rng.uniform(0.8, 1.0, 3)
    orders = np.arange(2, 8)
    harmonics = np.column_stack([orders, rng.uniform(0.03, 0.11, 6), rng.uniform(0, 2 * np.pi, 6)])
    strokes = _spicules(rng, radius, int(rng.integers(30, 46)))
    body = Body((float(radii[0]), float(radii[1]), float(radii[2])), harmonics, falloff=0.6)
    return "irregular, spiculated", body, strokes


def _spicules(rng: np.random.Generator, radius: float, count: int) -> NDArray[np.float64]:
    """Bent lines that taper and fade outwards, each in four pieces; the last is too faint for the mask."""
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    sideways = rng.normal(0, 0.13, (count, 3))
    reach = radius * rng.uniform(1.75, 2.1) * rng.uniform(0.75, 1.0, (count, 1))
    width, opacity = rng.uniform(0.6, 1.2, count), rng.uniform(0.5, 0.8, count)
    stops = np.array([0.25, 0.5, 0.75, 1.0, 1.1])
    nodes = [reach * stop * (directions + (stop - 0.25) ** 2 * sideways) for stop in stops]
    pieces = []
    for index, (fading, fresh) in enumerate(((1.0, 1.0), (0.85, 0.8), (0.65, 0.6), (0.3, 0.4))):
        thinner = max(fresh - 0.2, 0.2)
        ends = [nodes[index], nodes[index + 1], width * fresh, width * thinner, opacity * fading]
        pieces.append(np.column_stack(ends))
    return np.concatenate(pieces)
