"""Bands: everything that is not air is computed, whatever its shape."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.detection.bands import (
    AIR_LEVEL,
    AIR_SPREAD,
    CELL,
    MARGIN_CELLS,
    MAX_BANDS,
    occupied_bands,
    whole_frame,
)


def _computed(bands, shape):
    covered = np.zeros([-(-side // CELL) * CELL for side in shape], dtype=int)
    for band in bands:
        top, bottom, left, right = band.at(1)
        covered[top:bottom, left:right] += 1
    return covered


spots = st.lists(
    st.tuples(st.integers(0, 699), st.integers(0, 499), st.integers(1, 200), st.integers(1, 200)), max_size=6
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 500), spots)
def test_every_bright_pixel_and_a_margin_around_it_is_computed_once(height, width, places):
    pixels = np.zeros((height, width), np.float32)
    for y, x, h, w in places:
        pixels[y : y + h, x : x + w] = 0.5
    bands, _ = occupied_bands(pixels)
    covered = _computed(bands, pixels.shape)
    assert 1 <= len(bands) <= MAX_BANDS and covered.max() == 1
    assert all(one.bottom <= other.top for one, other in pairwise(bands))
    reach = MARGIN_CELLS * CELL
    for y, x in np.argwhere(pixels > AIR_LEVEL)[:: max(1, pixels.size // 500)]:
        assert covered[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].all()


def test_an_image_without_air_or_without_anything_is_one_band():
    assert occupied_bands(np.ones((100, 70), np.float32)) == (whole_frame(100, 70), 0)
    assert occupied_bands(np.zeros((100, 70), np.float32)) == (whole_frame(100, 70), 0)
    assert whole_frame(100, 70)[0].at(4) == (0, 32, 0, 24)


def test_air_beside_a_breast_is_left_out():
    rows, columns = np.mgrid[:1600, :1000]
    pixels = ((rows - 800) ** 2 / 700**2 + columns**2 / 450**2 < 1).astype(np.float32)
    bands, _ = occupied_bands(pixels)
    assert len(bands) > 2
    assert sum(band.cells for band in bands) < 0.6 * whole_frame(1600, 1000)[0].cells


def test_faint_noise_is_air_and_a_label_is_not():
    pixels = AIR_LEVEL / 2 + np.random.default_rng(0).random((960, 640), dtype=np.float32) * AIR_SPREAD * 0.9
    pixels[:, :200] = 0.4
    bands, _ = occupied_bands(pixels)
    assert max(band.right for band in bands) == -(-200 // CELL) + MARGIN_CELLS
    pixels[500:520, 600:630] = 1
    assert _computed(occupied_bands(pixels)[0], pixels.shape)[500:520, 600:630].all()


def test_the_grey_of_air_is_the_median_of_what_is_left_out():
    pixels = np.full((1600, 1000), 0.015, np.float32)
    pixels[::7, ::5] += 0.002
    pixels[:, :400] = 0.5
    bands, air = occupied_bands(pixels)
    assert len(bands) == 1 and bands != whole_frame(1600, 1000)
    assert air == np.float32(0.015)
    pixels[:, 400:] = 0
    assert occupied_bands(pixels)[1] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_computed(value):
    pixels = np.zeros((1600, 1000), np.float32)
    pixels[:500, :300] = 0.5
    pixels[1500, 900] = value
    bands, air = occupied_bands(pixels)
    assert _computed(bands, pixels.shape)[1500, 900] == 1 and air == 0


def test_a_breast_that_a_label_made_dark_is_computed():
    pixels = np.zeros((1600, 1000), np.float32)
    pixels[300:1300, :400] = np.random.default_rng(0).uniform(0, AIR_LEVEL * 0.9, (1000, 400))
    pixels[20:60, 900:980] = 1
    assert _computed(occupied_bands(pixels)[0], pixels.shape)[300:1300, :400].all()
