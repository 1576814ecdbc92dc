"""The pectoral muscle: a wedge that is found where it is, and not found where there is none."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.breast import breast_mask, reduced
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.pectoral import chest_wall_is_right, find_pectoral, possible_muscle
from mammodet.datasets.phantom_config import PhantomConfig
from mammodet.datasets.phantom_view import plan_patient, render_view


def view(across=0.0, down=1.0, seed=0, right=False):
    """A breast of 256 x 160 px, and its muscle: all that is above the line from the top to the chest wall."""
    y, x = np.mgrid[:256, :160].astype(np.float32)
    inside = (x / 140) ** 2 + ((y - 110) / 135) ** 2 < 1
    texture = np.random.default_rng(seed).normal(0, 1, x.shape).astype(np.float32)
    pixels = np.where(inside, 0.4 + 0.4 * cv2.GaussianBlur(texture, (0, 0), 4), 0.02)
    muscle = inside & (x < across * (1 - y / down))
    pixels = np.where(muscle, pixels + 0.3, pixels).clip(0, 1).astype(np.float32)
    return (pixels[:, ::-1], muscle[:, ::-1]) if right else (pixels, muscle)


def found_in(pixels):
    return find_pectoral(pixels, breast_mask(pixels))


@given(across=st.floats(40, 85), slope=st.floats(1.2, 3), seed=st.integers(0, 99), right=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_wedge_is_found_where_it_is(across, slope, seed, right):
    pixels, muscle = view(across, min(across * slope, 190), seed, right)
    found = found_in(np.ascontiguousarray(pixels))
    assert found is not None
    assert (found.mask & muscle).sum() / (found.mask | muscle).sum() > 0.75
    assert found.sure


def test_without_a_muscle_the_answer_is_seldom_a_line():
    # Texture alone, with nothing brighter to measure it by, looks like an edge now and then: 7 of 100.
    assert sum(found_in(view(seed=seed)[0]) is not None for seed in range(40)) <= 4


@pytest.mark.parametrize("number", [1, 4, 7])
def test_phantoms_show_it_on_mlo_and_not_on_cc(number):
    config = PhantomConfig(seed=11, height=512, width=416, spacing_mm=0.4)
    patient = plan_patient(config, number)
    for side in ("L", "R"):
        small = reduced(render_view(config, patient, side, "MLO").pixels)
        found = find_pectoral(small, breast_mask(small))
        polygon = patient.sides[side].breast.views["MLO"].pectoral / config.spacing_mm
        scale = small.shape[1] / config.width
        truth = np.zeros(small.shape, dtype=np.uint8)
        cv2.fillPoly(truth, [(polygon * scale).round().astype(np.int32)], 1)
        truth = truth[:, ::-1] if side == "R" else truth
        assert (found.mask & (truth > 0)).sum() / (found.mask | (truth > 0)).sum() > 0.78
        small = reduced(render_view(config, patient, side, "CC").pixels)
        assert find_pectoral(small, breast_mask(small)) is None


def test_what_is_no_breast_has_no_muscle():
    nothing = np.zeros((256, 160), dtype=bool)
    assert find_pectoral(np.zeros((256, 160), np.float32), nothing) is None
    assert not chest_wall_is_right(nothing)
    speck = nothing.copy()
    speck[5:9, 5:9] = True
    assert find_pectoral(np.ones((256, 160), np.float32), speck) is None
    assert possible_muscle(speck).sum() == speck.sum()


def test_the_possible_wedge_holds_every_muscle_that_is_found():
    pixels, muscle = view(80, 180)
    wedge = possible_muscle(breast_mask(pixels))
    assert (muscle & ~wedge).sum() < 0.02 * muscle.sum()
    assert wedge.sum() < 0.65 * breast_mask(pixels).sum()


def test_real_films_show_the_muscle_at_their_chest_wall(shared_data):
    """mini-MIAS: even films are left here, with the chest wall on the left; the muscle is on most of them."""
    films = sorted((shared_data / "mini-mias").glob("*.pgm"))[:24]
    sure = 0
    for film in films:
        small = reduced(read_mammogram(film).pixels)
        mask = breast_mask(small)
        found = find_pectoral(small, mask)
        if found is None:
            continue
        sure += 1
        even = int(film.stem[3:]) % 2 == 0
        columns, rows = np.nonzero(found.mask.any(axis=0))[0], np.nonzero(found.mask)[0]
        breast = np.nonzero(mask.any(axis=0))[0]
        assert columns[0] == breast[0] if even else columns[-1] == breast[-1]
        assert rows.mean() < np.nonzero(mask)[0].mean()
        assert small[found.mask].mean() > small[mask & ~found.mask].mean()
    assert sure >= 0.5 * len(films)
