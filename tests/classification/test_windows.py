"""Windows: a regular grid, no larger than the image, that leaves no pixel of the breast out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.classification.windows import search_mask, window_starts, windows_over
from mammodet.datasets.breast import breast_mask, reduced
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import read_mammogram


@st.composite
def grids(draw):
    size = draw(st.integers(1, 20))
    return draw(st.integers(size, 90)), draw(st.integers(size, 90)), size, draw(st.integers(1, size))


@given(grids())
@settings(max_examples=200, deadline=None)
def test_windows_along_an_axis_cover_it_and_keep_their_stride(grid):
    length, _, size, stride = grid
    starts = window_starts(length, size, stride)
    covered = np.zeros(length, dtype=int)
    for start in starts:
        assert 0 <= start <= length - size
        covered[start : start + size] += 1
    assert covered.min() >= 1
    assert (np.diff(starts)[:-1] == stride).all() and (np.diff(starts) > 0).all()
    if stride == size and length % size == 0:
        assert (covered == 1).all()  # as published: none overlaps


@given(grids(), st.integers(0, 2**31), st.floats(0, 0.1), st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_every_pixel_of_the_mask_is_covered_and_every_window_touches_it(grid, seed, share, coarse):
    height, width, size, stride = grid
    random = np.random.default_rng(seed)
    mask = random.random((-(-height // coarse), -(-width // coarse))) < share
    rows, columns = np.arange(height) * mask.shape[0] // height, np.arange(width) * mask.shape[1] // width
    whole = mask[np.ix_(rows, columns)]
    covered = np.zeros((height, width), dtype=bool)
    windows = windows_over(mask, height, width, size, stride)
    for x, y in windows:
        assert whole[y : y + size, x : x + size].any()
        covered[y : y + size, x : x + size] = True
    assert covered[whole].all()
    assert len(np.unique(windows, axis=0)) == len(windows)


def test_air_is_not_searched_on_a_real_film_and_all_of_the_breast_is(shared_data):
    pixels = read_mammogram(shared_data / "mini-mias" / "mdb209.pgm").pixels
    windows = windows_over(search_mask(pixels), *pixels.shape, 112, 112)
    covered = np.zeros(pixels.shape, dtype=bool)
    for x, y in windows:
        covered[y : y + 112, x : x + 112] = True
    breast = breast_mask(reduced(pixels))
    assert breast is not None
    whole = cv2.resize(breast.astype(np.uint8), pixels.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    assert covered[whole].all()
    assert covered.mean() < 0.75 and whole.mean() > 0.2


def test_an_image_without_a_breast_is_searched_as_a_whole():
    assert search_mask(np.zeros((50, 40), np.float32)).all()


@pytest.mark.parametrize(
    ("length", "size", "stride", "message"),
    [(100, 112, 56, "window of 112 px is larger.*100"), (200, 112, 0, "stride"), (200, 112, 113, "stride")],
)
def test_a_window_or_stride_that_cannot_be_is_named(length, size, stride, message):
    with pytest.raises(InputError, match=message):
        window_starts(length, size, stride)
