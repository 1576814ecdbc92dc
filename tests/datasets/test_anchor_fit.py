"""Fitted anchors: what a fit must find, what must not matter to it, and what it is never worse than."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets import anchor_fit
from mammodet.datasets.anchor_fit import (
    choose,
    fit_layouts,
    free_anchors,
    mean_best_iou,
    score,
    sorted_shapes,
)
from mammodet.datasets.anchor_grid import DEFAULT, STRIDES, Layout, best_spread_iou

SHAPES = st.lists(st.tuples(st.floats(3, 900), st.floats(3, 900)), min_size=5, max_size=15)
few = settings(max_examples=10, deadline=None)


def lesions(count: int, seed: int = 0, side: float = 60) -> np.ndarray:
    """Return (width, height) of lesions whose sides are log-normal around ``side``."""
    random = np.random.default_rng(seed)
    area_root = side * np.exp(random.normal(0, 0.6, count))
    root = np.exp(random.normal(0, 0.2, count))
    return np.stack([area_root / root, area_root * root], axis=1)


def test_k_means_finds_the_clusters_that_are_there() -> None:
    true = np.array([[12.0, 12.0], [40.0, 90.0], [90.0, 40.0], [200.0, 220.0]])
    random = np.random.default_rng(1)
    shapes = np.concatenate([one * random.uniform(0.97, 1.03, (30, 2)) for one in true])
    found = free_anchors(shapes, 4)[-1]
    assert sorted(map(tuple, found.round(-1))) == sorted(map(tuple, true.round(-1)))
    assert mean_best_iou(shapes, found) > 0.95


@given(SHAPES)
@few
def test_more_free_anchors_are_never_worse_and_are_shapes_above_0(shapes: list[tuple[float, float]]) -> None:
    array = np.array(shapes)
    found = free_anchors(array, 6, restarts=3)
    assert [len(one) for one in found] == list(range(1, min(6, len(np.unique(array, axis=0))) + 1))
    quality = [mean_best_iou(array, one) for one in found]
    assert all(after >= before - 1e-12 for before, after in pairwise(quality))
    assert all((one > 0).all() for one in found)


@given(SHAPES, st.integers(1, 4))
@few
def test_free_anchors_are_never_worse_than_a_start(shapes: list[tuple[float, float]], k: int) -> None:
    array, start = np.array(shapes), DEFAULT.shapes().reshape(-1, 2)[:k]
    found = free_anchors(array, k, starts=[start], restarts=1)
    if len(found) == k:
        assert mean_best_iou(array, found[-1]) >= mean_best_iou(array, start) - 1e-12


@given(SHAPES, st.integers(0, 10))
@few
def test_the_order_of_boxes_does_not_matter(shapes: list[tuple[float, float]], seed: int) -> None:
    array = np.array(shapes)
    mixed = np.random.default_rng(seed).permutation(array)
    for one, other in zip(free_anchors(array, 4), free_anchors(mixed, 4), strict=True):
        assert np.array_equal(one, other)


@given(SHAPES, st.sampled_from([0.25, 0.5, 2.0, 8.0]))
@few
def test_free_anchors_grow_with_the_boxes(shapes: list[tuple[float, float]], factor: float) -> None:
    array = np.array(shapes)
    for one, other in zip(free_anchors(array, 5), free_anchors(array * factor, 5), strict=True):
        np.testing.assert_array_equal(one * factor, other)


@given(SHAPES)
@settings(max_examples=5, deadline=None)
def test_fitted_anchors_are_never_worse_than_as_many_default_ones(shapes: list[tuple[float, float]]) -> None:
    array = np.array(shapes)
    fitted = fit_layouts(array, 3)[-1]
    assert fitted.count == DEFAULT.count
    assert best_spread_iou(array, fitted).mean() >= best_spread_iou(array, DEFAULT).mean() - 1e-12
    assert score(array, fitted) >= score(array, DEFAULT) - 1e-12


@given(SHAPES)
@settings(max_examples=6, deadline=None)
def test_fitted_sizes_rise_and_are_no_smaller_than_the_stride(shapes: list[tuple[float, float]]) -> None:
    for layout in fit_layouts(np.array(shapes), 2):
        assert all(isinstance(size, int) for size in layout.sizes)
        assert all(after > before for before, after in pairwise(layout.sizes))
        assert all(size >= stride for size, stride in zip(layout.sizes, STRIDES, strict=True))
        assert list(layout.ratios) == sorted(layout.ratios)


def test_the_order_of_boxes_does_not_matter_to_a_layout() -> None:
    shapes = lesions(30)
    mixed = np.random.default_rng(0).permutation(shapes)
    assert fit_layouts(shapes, 2) == fit_layouts(mixed, 2)


def test_no_change_of_one_size_is_better_than_the_fit() -> None:
    shapes = lesions(60)
    (layout,) = fit_layouts(shapes, 1)
    for level in range(len(STRIDES)):
        for change in (-1, 1):
            sizes = list(layout.sizes)
            sizes[level] += change
            assert score(shapes, Layout(tuple(sizes), layout.ratios)) <= score(shapes, layout) + 1e-9


def test_what_was_planted_comes_back() -> None:
    """Lesions that are the anchors of a layout themselves get these anchors back."""
    true = Layout((12, 26, 60, 130, 300), (0.5, 2.0))
    fitted = fit_layouts(np.repeat(true.shapes().reshape(-1, 2), 3, axis=0), 2)[1]
    assert np.array(fitted.sizes) == pytest.approx(true.sizes, rel=0.12)
    assert np.array(fitted.ratios) == pytest.approx(true.ratios, rel=0.12)


def test_lesions_twice_as_large_get_anchors_about_twice_as_large() -> None:
    shapes = lesions(80, side=90)
    (small,), (large,) = fit_layouts(shapes, 1), fit_layouts(2 * shapes, 1)
    # strides do not grow along, so only about
    assert np.array(large.sizes) / small.sizes == pytest.approx([2] * 5, rel=0.25)


def test_of_many_boxes_the_fit_takes_some_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = lesions(300)
    whole = fit_layouts(shapes, 1)[0]
    monkeypatch.setattr(anchor_fit, "MOST_FITTED", 100)
    taken = sorted_shapes(shapes)
    assert len(taken) == 100
    assert {taken[:, 0].min(), taken[:, 0].max()} == {shapes[:, 0].min(), shapes[:, 0].max()}
    assert score(shapes, fit_layouts(shapes, 1)[0]) == pytest.approx(score(shapes, whole), abs=0.01)


def test_the_fewest_ratios_that_are_nearly_as_good() -> None:
    layouts = [Layout(DEFAULT.sizes, (1.0,) * count) for count in (1, 2, 3)]
    assert choose(layouts, [0.60, 0.695, 0.70]) is layouts[1]
    assert choose(layouts, [0.70, 0.60, 0.60]) is layouts[0]
    assert choose(layouts, [0.5, 0.6, 0.7]) is layouts[2]


def test_one_shape_only() -> None:
    shapes = np.full((9, 2), 40.0)
    assert [one.tolist() for one in free_anchors(shapes, 3)] == [[[40.0, 40.0]]]
    layout = fit_layouts(shapes, 2)[1]
    assert len(layout.ratios) == 2
    assert mean_best_iou(shapes, layout.shapes().reshape(-1, 2)) == 1


def test_levels_that_no_lesion_needs_have_room_for_larger_ones() -> None:
    (layout,) = fit_layouts(np.full((9, 2), 40.0), 1)
    assert layout.sizes[0] == 40
    assert layout.sizes[3] == 2 * layout.sizes[2]
    assert layout.sizes[4] == 2 * layout.sizes[3]
