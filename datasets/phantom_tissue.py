"""The pixels of a phantom's normal tissue: fat, parenchyma, ligaments, vessels, skin and muscle.

Signals are linear in the displayed brightness, 0 = air and 1 = white, in the frame of a left breast.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.phantom_anatomy import Breast, ViewShape
from mammodet.datasets.phantom_texture import Field, Spectrum, power_law_field, radial_field, strands

FAT_SIGNAL = 0.22
# Where the field of the parenchyma counts as gland, and how bright gland shows above fat.
GLAND_BIAS = {"A": -1.9, "B": -0.95, "C": -0.05, "D": 0.9}
GLAND_SIGNAL = {"A": 0.22, "B": 0.26, "C": 0.30, "D": 0.33}
# Nets of ligaments and ducts: mesh in mm, width of a strand in mm, signal, elongation towards the nipple.
NETS = ((12.0, 0.8, 0.14, 2.4), (6.0, 0.6, 0.12, 2.0), (3.2, 0.4, 0.09, 1.5))
SUBPIXEL = 4  # bits of fraction in cv2's drawing


@dataclass(frozen=True)
class Site:
    """One view on its pixels: where each pixel [H, W] lies in the breast, in mm and radians.

    ``depth`` is below the skin, 0 outside; ``distance`` and ``angle`` are from just outside the nipple and
    waver smoothly, so that what follows them bends as tissue does. ``x`` is [1, W], ``y`` [H, 1].
    """

    view: ViewShape
    spacing_mm: float
    depth: Field
    distance: Field
    angle: Field
    x: Field
    y: Field

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.depth.shape[0], self.depth.shape[1]

    def field(self, rng: np.random.Generator, spectrum: Spectrum) -> Field:
        """Draw a random field [H, W] on the pixels."""
        return power_law_field(rng, self.shape, self.spacing_mm, spectrum)


def survey(rng: np.random.Generator, view: ViewShape, shape: tuple[int, int], spacing_mm: float) -> Site:
    """Return where each pixel of an image of ``shape`` [H, W] lies in the breast."""
    inside = fill(view.outline, shape, spacing_mm)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5) * np.float32(spacing_mm)
    x = ((np.arange(shape[1], dtype=np.float32) + np.float32(0.5)) * np.float32(spacing_mm))[None, :]
    y = ((np.arange(shape[0], dtype=np.float32) + np.float32(0.5)) * np.float32(spacing_mm))[:, None]
    bends = Spectrum(18.0, 80.0)
    dx = np.float32(view.nipple[0] + 25) - x + 3 * power_law_field(rng, shape, spacing_mm, bends)
    dy = y - np.float32(view.nipple[1]) + 3 * power_law_field(rng, shape, spacing_mm, bends)
    distance = np.asarray(cv2.magnitude(dx, dy), np.float32)
    return Site(view, spacing_mm, np.asarray(depth, np.float32), distance, np.arctan2(dy, dx), x, y)


def tissue(rng: np.random.Generator, breast: Breast, site: Site) -> Field:
    """Return the signal [H, W] of a breast without lesions, before blur and noise."""
    rim_mm = breast.thickness_mm * 0.45
    # The rounded edge of the compressed breast.
    roll_off = np.sqrt(1 - (1 - np.clip(site.depth / np.float32(rim_mm), 0, 1)) ** 2)
    gland = _gland(rng, breast, site)
    texture = site.field(rng, Spectrum(0.25, 15.0, beta=2.8))
    signal = FAT_SIGNAL * (0.55 + 0.45 * roll_off) + 0.022 * texture * roll_off
    signal += roll_off * gland * (GLAND_SIGNAL[breast.density] + 0.035 * texture)
    signal += _strands(rng, gland, site)
    signal += 0.10 * _vessels(rng, site) * np.clip(site.depth / 6, 0, 1)
    signal += _skin(rng, site)
    if site.view.pectoral is not None:
        signal += _muscle(rng, site.view.pectoral, site)
    return np.asarray(signal, np.float32)


def fill(polygon_mm: NDArray[np.float32], shape: tuple[int, int], spacing_mm: float) -> NDArray[np.uint8]:
    """Rasterise a polygon [N, 2] in mm to uint8 [H, W], 1 inside."""
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [_fixed_point(polygon_mm, spacing_mm)], 1, shift=SUBPIXEL)
    return canvas


def vessel_path(rng: np.random.Generator, view: ViewShape) -> NDArray[np.float64]:
    """Draw the course [N, 2] in mm of a vessel that winds from the chest wall towards the nipple."""
    height = view.field_mm[0]
    nipple = np.array(view.nipple)
    start = np.array([-3.0, nipple[1] + rng.uniform(-0.33, 0.22) * height])
    end = nipple * (rng.uniform(0.7, 0.9), 1) + (0, rng.uniform(-0.12, 0.12) * height)
    t = np.linspace(0, 1, 120)
    path = start + (end - start) * t[:, None]
    for turns, amplitude_mm in ((1, 9.0), (3, 2.5), (7, 1.0), (13, 0.5)):
        path[:, 1] += rng.normal() * amplitude_mm * np.sin(np.pi * turns * t + rng.uniform(0, np.pi))
    return path


def _vessels(rng: np.random.Generator, site: Site) -> Field:
    """Return two to five vessels [H, W], 0 to 1."""
    canvas = np.zeros(site.shape, np.uint8)
    for _ in range(int(rng.integers(2, 6))):
        path = _fixed_point(vessel_path(rng, site.view), site.spacing_mm)
        thickness = max(1, round(float(rng.uniform(0.9, 2.0)) / site.spacing_mm))
        cv2.polylines(canvas, [path], False, int(rng.uniform(110, 255)), thickness, cv2.LINE_AA, SUBPIXEL)
    blurred = cv2.GaussianBlur(canvas, (0, 0), max(0.35 / site.spacing_mm, 0.4))
    return np.asarray(blurred, np.float32) / np.float32(255)


def _skin(rng: np.random.Generator, site: Site) -> Field:
    """Return the skin [H, W], 1 to 2 mm thick and here and there seen more edge-on, and the nipple."""
    waver = site.field(rng, Spectrum(15.0, 80.0))
    line = (0.12 + 0.04 * waver) * np.exp(-((site.depth / np.clip(1.4 + 0.25 * waver, 0.7, 2.2)) ** 2))
    x, y = site.x - np.float32(site.view.nipple[0]), site.y - np.float32(site.view.nipple[1])
    apart = (x / np.float32(5)) ** 2 + (y / np.float32(5.5)) ** 2
    return np.asarray(line + 0.16 * np.exp(-(apart**2)), np.float32)


def _gland(rng: np.random.Generator, breast: Breast, site: Site) -> Field:
    """Return how glandular each pixel is [H, W], 0 to 1: a cone behind the nipple, broken up at random."""
    nipple = site.view.nipple
    reach, spread = np.float32(0.52 * nipple[0]), np.float32(0.25 * site.view.field_mm[0])
    across = (site.y - np.float32(nipple[1]) - np.float32(breast.gland_offset) * spread) / spread
    cone = ((site.x - np.float32(0.62 * nipple[0])) / reach) ** 2 + across**2
    field = radial_field(rng, site.distance, site.angle, Spectrum(1.2, 40.0, stretch=1.5))
    score = field + np.float32(1.1) * (1 - cone) + np.float32(GLAND_BIAS[breast.density])
    border = (site.depth - np.float32(breast.subcutaneous_mm) - np.float32(2.5) * field) / np.float32(2.5)
    return np.asarray(_sigmoid(score / np.float32(0.55)) * _sigmoid(border), np.float32)


def _strands(rng: np.random.Generator, gland: Field, site: Site) -> Field:
    """Return Cooper's ligaments and ducts [H, W]: nets that fade in and out, brighter in the gland."""
    total = np.zeros(site.shape, np.float32)
    for mesh_mm, width_mm, weight, stretch in NETS:
        spectrum = Spectrum(mesh_mm, 6 * mesh_mm, beta=2.0, stretch=stretch)
        net = strands(radial_field(rng, site.distance, site.angle, spectrum), site.spacing_mm, width_mm)
        fading = site.field(rng, Spectrum(1.6 * mesh_mm, 40.0, beta=2.0))
        total += np.float32(weight) * net * np.clip(np.float32(0.35) + np.float32(0.55) * fading, 0, 1.4)
    return np.asarray(total * (0.45 + 0.65 * gland) * np.clip(site.depth / 4, 0, 1), np.float32)


def _muscle(rng: np.random.Generator, polygon: NDArray[np.float32], site: Site) -> Field:
    """Return the pectoral muscle [H, W], thicker and so brighter towards the armpit."""
    inside = cv2.distanceTransform(fill(polygon, site.shape, site.spacing_mm), cv2.DIST_L2, 5)
    edge_mm = rng.uniform(2.0, 4.5)
    edge = 1 - np.exp(-((inside * np.float32(site.spacing_mm / edge_mm)) ** np.float32(1.2)))
    upwards = np.float32(1.08) - np.float32(0.35) * (site.y / site.y[-1])
    fibres = site.field(rng, Spectrum(0.3, 20.0, beta=2.6, stretch=1.6))
    return np.asarray(np.float32(rng.uniform(0.34, 0.48)) * edge * upwards * (1 + 0.06 * fibres), np.float32)


def _sigmoid(value: NDArray[np.floating]) -> Field:
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -20, 20))), np.float32)


def _fixed_point(path_mm: NDArray[np.floating], spacing_mm: float) -> NDArray[np.int32]:
    return np.round((path_mm / spacing_mm - 0.5) * (1 << SUBPIXEL)).astype(np.int32)
