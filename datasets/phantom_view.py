"""One patient of a phantom, and the pixels of one view of a breast."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.phantom_anatomy import Breast, ViewShape, draw_breast, draw_density
from mammodet.datasets.phantom_config import SIDES, VIEWS, PhantomConfig
from mammodet.datasets.phantom_lesions import KINDS, Lesion, coarse_calcification, draw_lesion, place
from mammodet.datasets.phantom_projection import Footprint, project
from mammodet.datasets.phantom_texture import Field
from mammodet.datasets.phantom_tissue import survey, tissue, vessel_path

BLOCK = 10  # patients among whom the kinds of lesion are dealt out evenly
BLUR_MM = 0.09  # of focal spot and detector, as the sigma of a Gaussian
NOISE = 0.011  # at a signal of 0.5, for pixels of 0.3 mm


@dataclass(frozen=True)
class Side:
    """One breast of a patient with its lesions, and what is there but no lesion."""

    breast: Breast
    lesions: list[Lesion]
    distractors: list[Lesion]
    calcified_vessel: bool


@dataclass(frozen=True)
class Patient:
    """What there is to know of a patient before a pixel is drawn; ``number`` is counted from 1."""

    number: int
    density: str
    age: int
    sides: dict[str, Side]


@dataclass(frozen=True)
class RenderedLesion:
    """A lesion on one image: ``mask`` bool [H, W] in the frame of the image."""

    lesion: Lesion
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class RenderedView:
    """One image: ``pixels`` float32 [H, W], 0 = air, 1 = white, as it hangs, and its lesions."""

    pixels: NDArray[np.float32]
    lesions: list[RenderedLesion]
    thickness_mm: float


def plan_patient(config: PhantomConfig, number: int) -> Patient:
    """Draw a patient, counted from 1: the same for every number of patients."""
    rng = np.random.default_rng([config.seed, number])
    density = draw_density(rng)
    size = float(rng.beta(2.0, 2.0))
    age = int(np.clip(rng.normal({"A": 64, "B": 61, "C": 57, "D": 53}[density], 6), 40, 79))
    kinds = _kinds(config, number)
    sides = {}
    for side_index, side in enumerate(SIDES):
        side_rng = np.random.default_rng([config.seed, number, side_index])
        sides[side] = _plan_side(side_rng, config, density, size, kinds[side_index])
    return Patient(number, density, age, sides)


def render_view(config: PhantomConfig, patient: Patient, side: str, view: str) -> RenderedView:
    """Render one image.

    Parameters
    ----------
    patient:
        As ``plan_patient`` returns it.
    side, view:
        "L" or "R"; "CC" or "MLO".

    Returns
    -------
    RenderedView
        The chest wall is at the left edge for L, at the right edge for R.
    """
    plan = patient.sides[side]
    shape_mm = plan.breast.views[view]
    shape, spacing = (config.height, config.width), config.spacing_mm
    rng = np.random.default_rng([config.seed, patient.number, SIDES.index(side), 1 + VIEWS.index(view)])
    site = survey(rng, shape_mm, shape, spacing)
    signal = tissue(rng, plan.breast, site)
    lesions = []
    for lesion in (*plan.distractors, *plan.lesions):
        footprint = project(lesion, shape_mm, 1 + VIEWS.index(view), shape, spacing)
        footprint.onto(signal, config.conspicuity)
        if lesion.number:
            lesions.append(RenderedLesion(lesion, _hang(footprint.full_mask(shape), side)))
    if plan.calcified_vessel:
        _calcified_vessel(rng, shape_mm, shape, spacing).onto(signal, 0.6)
    pixels = _expose(rng, signal, site.depth, config)
    return RenderedView(_hang(pixels, side), lesions, plan.breast.thickness_mm)


def _kinds(config: PhantomConfig, number: int) -> list[tuple[str, str] | None]:
    """Return the kind of lesion, or None, of both breasts of a patient; dealt out within blocks of ten."""
    block, place_in_block = divmod(number - 1, BLOCK)
    rng = np.random.default_rng([config.seed, 10_000 + block, 99])
    count = int(config.lesion_rate * 2 * BLOCK + rng.random())
    order = rng.permutation(len(KINDS))
    hand: list[tuple[str, str] | None] = [KINDS[order[index % len(KINDS)]] for index in range(count)]
    hand += [None] * (2 * BLOCK - count)
    dealt = [hand[index] for index in rng.permutation(2 * BLOCK)]
    return dealt[2 * place_in_block : 2 * place_in_block + 2]


def _plan_side(
    rng: np.random.Generator, config: PhantomConfig, density: str, size: float, kind: tuple[str, str] | None
) -> Side:
    breast = draw_breast(rng, density, size, config.field_mm)
    lesions: list[Lesion] = []
    if kind is not None:
        kinds = [kind]
        if rng.random() < config.second_lesion_rate:
            kinds.append((kind[0], KINDS[2 * int(rng.integers(2))][1]))
        for number, (pathology, finding) in enumerate(kinds, start=1):
            lesions.append(place(rng, draw_lesion(rng, number, pathology, finding), breast, lesions))
    distractors = []
    if rng.random() < config.distractor_rate:
        distractors.append(place(rng, coarse_calcification(rng), breast, lesions))
    return Side(breast, lesions, distractors, bool(rng.random() < config.distractor_rate))


def _calcified_vessel(
    rng: np.random.Generator, view: ViewShape, shape: tuple[int, int], spacing_mm: float
) -> Footprint:
    """Return tram tracks: the two calcified walls of a piece of a vessel, interrupted here and there."""
    path = vessel_path(rng, view)
    first = int(rng.integers(5, 30))
    path = path[first : first + int(rng.integers(20, 40))]
    along = np.gradient(path, axis=0)
    across = np.column_stack([-along[:, 1], along[:, 0]]) / np.hypot(*along.T)[:, None]
    rows = []
    for wall in (-1, 1):
        line = path + wall * rng.uniform(0.9, 1.2) * across
        for start, end in pairwise(line):
            if rng.random() < 0.7:
                rows.append([*start, 0, *end, 0, 0.35, 0.35, rng.uniform(0.5, 0.9)])
    strokes = np.array(rows)
    middle = (strokes[:, :3].min(axis=0) + strokes[:, :3].max(axis=0)) / 2
    strokes[:, :3] -= middle
    strokes[:, 3:6] -= middle
    centre = (float(view.nipple[0] - middle[0]), float(middle[1] - view.nipple[1]), 0.0)
    walls = Lesion(0, "calcification", "benign", "vascular", strokes, None, centre)
    return project(walls, view, 1, shape, spacing_mm)


def _expose(rng: np.random.Generator, signal: Field, depth: Field, config: PhantomConfig) -> Field:
    """Blur as the system does, add quantum noise, bend the highlights and blacken the air."""
    sigma = BLUR_MM / config.spacing_mm
    blurred = np.asarray(cv2.GaussianBlur(signal, (0, 0), sigma), np.float32)
    grain = cv2.GaussianBlur(rng.standard_normal(signal.shape, dtype=np.float32), (0, 0), 0.6 * sigma)
    # Fewer photons arrive behind dense tissue, and in smaller pixels.
    per_pixel = NOISE * config.noise * min((0.3 / config.spacing_mm) ** 0.5, 2.0)
    noisy = blurred + np.float32(per_pixel) * grain * np.sqrt(0.5 + np.clip(blurred, 0, 1))
    knee = np.float32(0.7)
    toned = np.where(noisy > knee, knee + (1 - knee) * np.tanh((noisy - knee) / (1 - knee)), noisy)
    edge = np.clip(depth / np.float32(1.5 * config.spacing_mm), 0, 1)  # the outermost pixel is part air
    return np.asarray(np.clip(toned * edge, 0, 1), np.float32)


def _hang(pixels: NDArray[Any], side: str) -> NDArray[Any]:
    """Mirror what was drawn as a left breast when it is a right one."""
    return np.ascontiguousarray(pixels[:, ::-1]) if side == "R" else pixels
