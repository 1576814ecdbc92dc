"""Heatmaps: the mean of all windows over each pixel, in the frame of the file, and boxes cut out of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.classification.heatmap import (
    HeatmapConfig,
    class_probability,
    mammogram_heat,
    window_scores,
)
from mammodet.classification.heatmap_pictures import write_heatmap
from mammodet.classification.patch_networks import PatchNetworkConfig, build_patch_network
from mammodet.classification.window_heat import average_windows, heat_boxes
from mammodet.classification.windows import search_mask, windows_over
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.standardise import Recipe, Standardised, standardise
from mammodet.tools.bench_machine import forget_peak, peak_gib


def brightness(windows):
    """Stand in for a network: the mean of each window."""
    return windows.mean(dim=(1, 2, 3))


def brute_force(pixels, windows, size):
    """Add up every window pixel by pixel."""
    sums, counts = np.zeros(pixels.shape), np.zeros(pixels.shape)
    for x, y in windows:
        window = pixels[y : y + size, x : x + size].astype(np.float64)
        sums[y : y + size, x : x + size] += window.mean()
        counts[y : y + size, x : x + size] += 1
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def blob(height=120, width=90):
    """Return a bright disc on black, float32 [H, W], which is taken for a breast."""
    y, x = np.mgrid[:height, :width]
    disc = np.exp(-(((y - height / 2) / 30) ** 2 + ((x - 10) / 35) ** 2))
    noise = np.random.default_rng(0).random((height, width))
    return (disc * (0.6 + 0.4 * noise)).astype(np.float32)


@st.composite
def cases(draw):
    size = draw(st.integers(1, 16))
    stride = draw(st.integers(1, size))
    height, width = draw(st.integers(size, 60)), draw(st.integers(size, 60))
    return size, stride, height, width, draw(st.integers(0, 2**31)), draw(st.integers(1, 70))


@given(cases())
@settings(max_examples=60, deadline=None)
def test_it_equals_adding_up_window_by_window(case):
    size, stride, height, width, seed, batch = case
    random = np.random.default_rng(seed)
    pixels = random.random((height, width), dtype=np.float32)
    windows = windows_over(random.random((height, width)) < 0.02, height, width, size, stride)
    if not len(windows):
        return
    scores = window_scores(brightness, pixels, windows, HeatmapConfig(size, stride, batch))
    heat = average_windows(windows, scores, size, Geometry(width, height)).to_source(np.nan)
    assert heat.dtype == np.float32 and heat.shape == (height, width)
    np.testing.assert_allclose(heat, brute_force(pixels, windows, size), atol=1e-5)


GEOMETRIES = {
    "whole": Geometry(90, 120),
    "cropped": Geometry(120, 160).crop(24, 32, 90, 120),
    "cropped and mirrored": Geometry(120, 160).crop(24, 32, 90, 120).flip(),
    "padded": Geometry(80, 110).pad(8, 4, 2, 6).flip(),
    "enlarged source": Geometry(180, 240).scale(90, 120),
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_it_lies_where_the_pixels_lie_in_the_file(geometry):
    pixels = blob()
    heat = mammogram_heat(brightness, Standardised(pixels, geometry, None), HeatmapConfig(16, 8))
    windows = windows_over(search_mask(pixels), *pixels.shape, 16, 8)
    model = brute_force(pixels, windows, 16)
    found = heat.to_source(np.nan)
    assert found.shape == (geometry.source_height, geometry.source_width)
    for y in range(0, geometry.source_height, 7):
        for x in range(0, geometry.source_width, 7):
            ((at_x, at_y),) = geometry.points_to_model([[x + 0.5, y + 0.5]])
            inside = 0 <= at_x < geometry.width and 0 <= at_y < geometry.height
            expected = model[int(at_y), int(at_x)] if inside else np.nan
            np.testing.assert_allclose(found[y, x], expected, atol=1e-5)


def test_outside_is_nothing_unless_another_value_is_asked_for():
    heat = mammogram_heat(brightness, Standardised(blob(), Geometry(90, 120), None), HeatmapConfig(16, 16))
    plain, told = heat.to_source(), heat.to_source(np.nan)
    assert np.isnan(told).any() and (plain[np.isnan(told)] == 0).all()
    np.testing.assert_array_equal(plain[~np.isnan(told)], told[~np.isnan(told)])
    assert heat.windows == len(windows_over(search_mask(blob()), 120, 90, 16, 16))


def test_one_looks_where_a_mask_says():
    mask = np.zeros((12, 9), bool)  # of 10 x 10 px
    mask[3, 4] = True
    prepared = Standardised(blob(), Geometry(90, 120), None)
    heat = mammogram_heat(brightness, prepared, HeatmapConfig(10), mask=mask).to_source(np.nan)
    looked = np.zeros((120, 90), bool)
    looked[30:40, 40:50] = True
    np.testing.assert_array_equal(~np.isnan(heat), looked)
    nowhere = mammogram_heat(brightness, prepared, HeatmapConfig(10), mask=np.zeros_like(mask))
    assert nowhere.windows == 0 and not nowhere.to_source().any() and heat_boxes(nowhere, 1, 1) == []


def test_windows_overlap_and_are_averaged():
    windows = np.array([[0, 0], [2, 0], [2, 2]])
    heat = average_windows(windows, np.array([0.2, 0.4, 0.9]), 4, Geometry(7, 7))
    expected = np.full((7, 7), np.nan)
    expected[0:4, 0:2], expected[0:2, 2:4], expected[2:4, 2:4] = 0.2, 0.3, 0.5
    expected[0:2, 4:6], expected[2:4, 4:6], expected[4:6, 2:6] = 0.4, 0.65, 0.9
    np.testing.assert_allclose(heat.to_source(np.nan), expected, atol=1e-6)


def test_a_constant_stays_constant_however_windows_overlap():
    windows = windows_over(np.ones((70, 50), bool), 70, 50, 13, 3)
    heat = average_windows(windows, np.full(len(windows), 0.7, np.float32), 13, Geometry(50, 70))
    assert np.unique(heat.to_source()).tolist() == [np.float32(0.7)]


def test_it_needs_no_more_cells_than_four_per_window_of_the_grid():
    windows = windows_over(np.ones((64, 64), bool), 4096, 3328, 112, 56)
    heat = average_windows(windows, np.zeros(len(windows)), 112, Geometry(3328, 4096))
    assert heat.values.size < 4 * len(windows)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak")
def test_memory_does_not_grow_with_the_number_of_windows():
    pixels = np.full((1024, 1024), 0.5, np.float32)
    windows = windows_over(np.ones((1, 1), bool), 1024, 1024, 112, 8)
    kept = len(windows) * 112 * 112 * 4 / 2**30  # GiB of all windows at once
    cpu = torch.device("cpu")
    forget_peak(cpu)
    before = peak_gib(cpu)
    window_scores(brightness, pixels, windows, HeatmapConfig(112, 8))
    assert kept > 0.5 and peak_gib(cpu) - before < 0.1


class TestNetwork:
    @pytest.fixture
    def network(self):
        torch.manual_seed(0)
        config = PatchNetworkConfig(
            size=32, classes=("normal", "benign", "malignant"), image_mean=0.2, image_std=0.3
        )
        return build_patch_network(config).eval()

    def test_every_window_gets_what_the_network_says_of_it_alone(self, network):
        pixels = blob()
        windows = windows_over(np.ones((4, 4), bool), *pixels.shape, 32, 20)
        scores = window_scores(
            class_probability(network, ["malignant"]), pixels, windows, HeatmapConfig(32, batch=5)
        )
        for (x, y), score in zip(windows[::5], scores[::5], strict=True):
            with torch.inference_mode():
                logits = network(torch.from_numpy(pixels[None, None, y : y + 32, x : x + 32].copy()))
            assert score == pytest.approx(logits.softmax(1)[0, 2].item(), abs=1e-5)

    def test_probabilities_of_classes_add_up(self, network):
        images = torch.rand(3, 1, 32, 32)
        with torch.inference_mode():
            either = class_probability(network, ["benign", "malignant"])(images)
            torch.testing.assert_close(either, 1 - class_probability(network, ["normal"])(images))

    def test_bf16_is_nearly_the_same(self, network):
        prepared = Standardised(blob(), Geometry(90, 120), None)
        scorer = class_probability(network, ["malignant"])
        exact, fast = (
            mammogram_heat(scorer, prepared, HeatmapConfig(32, 16, precision=precision)).values
            for precision in ("fp32", "bf16")
        )
        assert not np.array_equal(exact, fast, equal_nan=True)
        np.testing.assert_allclose(fast, exact, atol=0.02)

    def test_an_unknown_class_is_named(self, network):
        with pytest.raises(InputError, match=r"suspicious.*normal, benign, malignant"):
            class_probability(network, ["suspicious"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window"),
        ({"stride": 0}, "stride"),
        ({"stride": 113}, "stride"),
        ({"batch": 0}, "batch"),
        ({"precision": "int8"}, "precision"),
    ],
)
def test_a_configuration_that_cannot_be_is_named(options, message):
    with pytest.raises(InputError, match=message):
        HeatmapConfig(**options)


def test_what_is_no_pixel_or_no_score_is_named():
    pixels = blob()
    windows, config = np.array([[0, 0]]), HeatmapConfig(16)
    for score in (torch.nan, torch.inf, 1.1, -0.1):  # such as a logit
        with pytest.raises(InputError, match="scores that are not 0 to 1"):
            window_scores(lambda some, score=score: torch.full((len(some),), score), pixels, windows, config)
    pixels[3, 4] = np.nan
    with pytest.raises(InputError, match="pixels are not finite"):
        window_scores(brightness, pixels, windows, config)


def test_a_window_larger_than_the_image_is_one_line():
    with pytest.raises(InputError, match="window of 112 px is larger than an image side of 90 px"):
        mammogram_heat(brightness, Standardised(blob(), Geometry(90, 120), None), HeatmapConfig(112))


def test_a_real_film_gets_an_overlay_and_a_stored_heatmap_in_its_frame(tmp_path, shared_data):
    import cv2

    mammogram = read_mammogram(shared_data / "mini-mias" / "mdb209.pgm")
    heat = mammogram_heat(brightness, standardise(mammogram, Recipe()), HeatmapConfig(112, 56))
    source = heat.to_source()
    boxes = heat_boxes(heat, 1, 2, threshold=0.8)
    overlay, alone = write_heatmap(tmp_path, "mdb209", mammogram.pixels, source, boxes=boxes)
    stored = cv2.imread(str(alone), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16 and stored.shape == mammogram.pixels.shape
    np.testing.assert_allclose(stored / 65535, source, atol=1e-5)
    drawn = cv2.imread(str(overlay))
    assert drawn.shape == (*mammogram.pixels.shape, 3)
    y, x = np.unravel_index(source.argmax(), source.shape)
    assert drawn[y, x, 2] > drawn[y, x, 0]  # red, in OpenCV's order
