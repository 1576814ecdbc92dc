"""Masks, boxes and run-length codes: exact round trips, and broken codes refused instead of decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mammodet.datasets.errors import InputError
from mammodet.datasets.masks import (
    bbox_to_mask,
    components,
    mask_to_bbox,
    mask_to_rle,
    segmentation_problem,
    segmentation_to_mask,
)

_masks = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@settings(max_examples=150, deadline=None)
@given(mask=_masks)
def test_run_length_round_trip(mask: NDArray[np.bool_]) -> None:
    height, width = mask.shape
    rle = mask_to_rle(mask)
    assert segmentation_problem(rle, (width, height)) is None
    np.testing.assert_array_equal(segmentation_to_mask(rle, width, height), mask)
    np.testing.assert_array_equal(coco_mask.decode(rle), mask)  # any COCO reader decodes it


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_long_runs_are_decoded_as_pycocotools_does(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = np.zeros((700, 300), dtype=bool)
    for _ in range(4):
        y, x = random.integers(0, 700), random.integers(0, 300)
        mask[y : y + random.integers(1, 400), x : x + random.integers(1, 200)] ^= True
    rle = mask_to_rle(mask)
    np.testing.assert_array_equal(segmentation_to_mask(rle, 300, 700), coco_mask.decode(rle))


def test_uncompressed_codes_run_down_the_columns() -> None:
    mask = segmentation_to_mask({"size": [2, 3], "counts": [1, 2, 3]}, 3, 2)
    np.testing.assert_array_equal(mask, [[False, True, False], [True, False, False]])


def test_polygons_are_filled() -> None:
    mask = segmentation_to_mask([[2, 1, 6, 1, 6, 4, 2, 4]], 10, 8)
    assert mask.shape == (8, 10)
    assert mask_to_bbox(mask) == [2, 1, 4, 3]


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        "abc",
        [],
        [[]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[1, 2, 3, 4, 5, 1e300]],
        {"size": [4, 4]},
        {"size": [4, 4], "counts": ""},
        {"size": [4, 4], "counts": "0"},
        {"size": [4, 4], "counts": "zzzz"},
        {"size": [4, 4], "counts": "oooooooooooo"},
        {"size": [4, 4], "counts": "\x00"},
        {"size": [4, 4], "counts": [15]},
        {"size": [4, 4], "counts": [17, -1]},
        {"size": [4, 4], "counts": [2**80]},
        {"size": [4, 5], "counts": [16]},
        {"size": "ab", "counts": [16]},
    ],
)
def test_broken_segmentations_are_refused(segmentation: Any) -> None:
    assert segmentation_problem(segmentation, (4, 4))
    with pytest.raises(InputError, match="segmentation"):
        segmentation_to_mask(segmentation, 4, 4)


@settings(max_examples=200, deadline=None)
@given(counts=st.text(max_size=12) | st.lists(st.integers() | st.floats() | st.none(), max_size=6))
def test_any_counts_are_decoded_to_the_image_or_refused(counts: Any) -> None:
    segmentation = {"size": [3, 5], "counts": counts}
    if segmentation_problem(segmentation, (5, 3)) is None:
        assert segmentation_to_mask(segmentation, 5, 3).shape == (3, 5)


@given(mask=_masks)
def test_the_box_is_the_smallest_around_the_mask(mask: NDArray[np.bool_]) -> None:
    bbox = mask_to_bbox(mask)
    if bbox is None:
        assert not mask.any()
        return
    x, y, width, height = map(int, bbox)
    inside = mask[y : y + height, x : x + width]
    assert inside.sum() == mask.sum()
    assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


@given(x=st.integers(0, 8), y=st.integers(0, 6), width=st.integers(1, 5), height=st.integers(1, 5))
def test_a_box_of_whole_pixels_is_its_masks_box(x: int, y: int, width: int, height: int) -> None:
    assert mask_to_bbox(bbox_to_mask([x, y, width, height], 15, 12)) == [x, y, width, height]


def test_components_join_diagonally_and_cover_the_mask() -> None:
    mask = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0]], dtype=bool)
    found = components(mask)
    assert sorted(int(one.sum()) for one in found) == [2, 2, 2]
    np.testing.assert_array_equal(sum(one.astype(int) for one in found), mask)
    assert components(np.zeros((3, 3))) == []
