"""Outlines: boxes, areas and segmentations computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammodet.datasets.converters.shapes import (
    circle,
    corners,
    ellipse,
    fit_mask,
    mask_shapes,
    point,
    polygon,
    same_shape,
    whole_mask,
)
from mammodet.datasets.masks import segmentation_to_mask

_numbers = st.floats(-1e4, 1e4)


def test_corners_come_in_any_order() -> None:
    expected = (2, 3, 4, 5)
    for given_corners in ((2, 3, 6, 8), (6, 8, 2, 3), (2, 8, 6, 3), (6, 3, 2, 8)):
        assert corners(*given_corners).bbox == expected


def test_a_polygon_has_the_area_of_the_shoelace_formula() -> None:
    triangle = polygon([(1, 1), (5, 1), (1, 4)])
    assert (triangle.bbox, triangle.area) == ((1, 1, 4, 3), 6)
    assert triangle.segmentation == [[1, 1, 5, 1, 1, 4]]
    assert triangle.geometry_source == "polygon"


@given(x=_numbers, y=_numbers, across=st.floats(1, 500), down=st.floats(1, 500), theta=st.floats(-7, 7))
def test_the_box_of_an_ellipse_touches_it_on_four_sides(
    x: float, y: float, across: float, down: float, theta: float
) -> None:
    shape = ellipse(x, y, across, down, theta)
    angles = np.linspace(0, 2 * np.pi, 20_000)
    along, aside = across * np.cos(angles), down * np.sin(angles)
    xs = x + along * math.cos(theta) - aside * math.sin(theta)
    ys = y + along * math.sin(theta) + aside * math.cos(theta)
    expected = (xs.min(), ys.min(), np.ptp(xs), np.ptp(ys))
    assert shape.bbox == pytest.approx(expected, abs=1e-3)
    assert shape.area == pytest.approx(math.pi * across * down)


def test_theta_turns_from_x_towards_y_which_is_clockwise_on_the_screen() -> None:
    drawn = segmentation_to_mask(ellipse(50, 50, 40, 5, math.pi / 4).segmentation, 100, 100)
    assert drawn[75, 75]  # right of and below the centre
    assert drawn[25, 25]
    assert not drawn[25, 75]


def test_a_point_is_the_pixel_it_lies_in_and_a_circle_its_square() -> None:
    assert point(3.7, 9.2).bbox == (3, 9, 1, 1)
    assert circle(10, 20, 5).bbox == (5, 15, 10, 10)


def test_scaling_moves_everything_and_keeps_what_was_drawn() -> None:
    shape = circle(10, 20, 4).scaled(0.5, 2)
    assert shape.bbox == (3, 32, 4, 16)
    assert shape.provenance == {"bbox_before_scaling": [6, 16, 8, 8], "circle_before_scaling": [10, 20, 4]}


def test_masks_of_another_size_are_rescaled_unless_their_shape_differs() -> None:
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:5] = True
    fitted = fit_mask(mask, (12, 8))
    assert fitted is not None
    assert fitted.shape == (8, 12)
    assert np.argwhere(fitted).min(axis=0).tolist() == [2, 4]
    assert np.argwhere(fitted).max(axis=0).tolist() == [5, 9]
    assert fit_mask(mask, (6, 4)) is mask
    assert fit_mask(mask, (12, 9)) is None
    assert same_shape((3000, 4000), (1500, 2015))
    assert not same_shape((3000, 4000), (1500, 2025))
    assert not same_shape((3000, 4000), (4000, 3000))


def test_a_mask_is_one_lesion_or_one_per_component() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[1:3, 1:4] = True
    mask[6:9, 5:7] = True
    whole = whole_mask(mask, "m.png")
    assert whole is not None
    assert (whole.bbox, whole.area) == ((1, 1, 6, 8), 12)
    assert np.array_equal(segmentation_to_mask(whole.segmentation, 12, 10), mask)
    assert [shape.bbox for shape in mask_shapes(mask, "m.png")] == [(1, 1, 3, 2), (5, 6, 2, 3)]
    assert whole_mask(np.zeros((3, 3), dtype=bool), "m.png") is None
