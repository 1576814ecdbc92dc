"""Tiles and mirror images: nothing vanishes, nothing is found twice, and boxes come back where they were."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.errors import InputError
from mammodet.detection.composed import ComposedDetector
from mammodet.detection.flips import FLIPS, fuse_runs
from mammodet.detection.inference import Detector
from mammodet.detection.tiling import Tiles, merge_tiles, tile_windows

VISIBLE_SHARE = 0.3  # of a lesion's area in a tile, for the ideal detector to find it


@st.composite
def layouts(draw):
    """(height, width, size, overlap), with everything from one tile to a few dozen."""
    tiles = Tiles(32 * draw(st.integers(2, 6)), 32)
    tiles = Tiles(tiles.size, 32 * draw(st.integers(1, tiles.size // 32 - 1)))
    return draw(st.integers(1, 500)), draw(st.integers(1, 500)), tiles.size, tiles.overlap


def output(boxes, labels=None, scores=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.ones(len(boxes)) if labels is None else torch.tensor(labels)
    scores = torch.full((len(boxes),), 0.9) if scores is None else torch.tensor(scores, dtype=torch.float32)
    return {"boxes": boxes, "labels": labels.long(), "scores": scores}


def ideal(window, lesions):
    """What a detector finds that misses nothing it sees 30 % of, in the frame of the tile."""
    boxes, labels = [], []
    for *box, label in lesions:
        x1, y1 = max(box[0], window.left), max(box[1], window.top)
        x2, y2 = min(box[2], window.right), min(box[3], window.bottom)
        seen = max(0, x2 - x1) * max(0, y2 - y1)
        if seen >= VISIBLE_SHARE * (box[2] - box[0]) * (box[3] - box[1]):
            boxes.append([x1 - window.left, y1 - window.top, x2 - window.left, y2 - window.top])
            labels.append(label)
    return output(boxes, labels)


def merged(lesions, layout):
    height, width, size, overlap = layout
    windows = tile_windows(height, width, size, overlap)
    outputs = [ideal(window, lesions) for window in windows]
    return merge_tiles(outputs, windows, height, width, nms_threshold=0.3, max_detections=250)


def rows(result):
    return sorted(
        (*box, label) for box, label in zip(result["boxes"].tolist(), result["labels"].tolist(), strict=True)
    )


@settings(deadline=None)
@given(layouts())
def test_tiles_cover_every_pixel_and_neighbours_share_the_overlap(layout):
    height, width, size, overlap = layout
    windows = tile_windows(height, width, size, overlap)
    covered = np.zeros((height, width), bool)
    for one in windows:
        assert one.top >= 0 and one.bottom <= height and one.left >= 0 and one.right <= width
        assert one.bottom - one.top == min(size, height) and one.right - one.left == min(size, width)
        covered[one.top : one.bottom, one.left : one.right] = True
    assert covered.all() and len(set(windows)) == len(windows)
    for spans in ({(one.top, one.bottom) for one in windows}, {(one.left, one.right) for one in windows}):
        ordered = sorted(spans)
        assert all(a[1] - b[0] >= overlap for a, b in pairwise(ordered))


@settings(deadline=None)
@given(layouts(), st.data())
def test_a_lesion_that_is_not_larger_than_the_overlap_lies_whole_in_a_tile(layout, data):
    height, width, size, overlap = layout
    w, h = (data.draw(st.integers(1, min(overlap, side))) for side in (width, height))
    x, y = data.draw(st.integers(0, width - w)), data.draw(st.integers(0, height - h))
    assert any(
        one.left <= x and x + w <= one.right and one.top <= y and y + h <= one.bottom
        for one in tile_windows(height, width, size, overlap)
    )


@settings(deadline=None)
@given(layouts(), st.data())
def test_with_an_ideal_detector_tiles_give_the_truth_once(layout, data):
    height, width, _, overlap = layout
    lesions: list[tuple[int, ...]] = []
    for _ in range(data.draw(st.integers(1, 6))):
        w, h = (data.draw(st.integers(1, min(overlap, side))) for side in (width, height))
        x, y = data.draw(st.integers(0, width - w)), data.draw(st.integers(0, height - h))
        apart = all(x + w <= a or c <= x or y + h <= b or d <= y for a, b, c, d, _ in lesions)
        if apart:
            lesions.append((x, y, x + w, y + h, data.draw(st.integers(1, 2))))
    assert rows(merged(lesions, layout)) == sorted(lesions)


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(65, 200), st.integers(0, 250))
def test_a_lesion_that_is_larger_than_the_overlap_does_not_vanish(x, width, y):
    lesion = (x, y, x + width, y + 40, 2)
    found = rows(merged([lesion], (320, 500, 128, 64)))
    assert found and all(lesion[0] <= box[0] and box[2] <= lesion[2] for box in found)


TWO_TILES = tile_windows(128, 192, 128, 64)  # columns 0 to 128 and 64 to 192; the middle is at 96


def two(left, right):
    return merge_tiles([left, right], TWO_TILES, 128, 192, nms_threshold=0.3, max_detections=250)


def test_a_piece_near_the_middle_falls_to_the_whole_lesion():
    piece, whole = [66, 20, 128, 60], [2, 20, 78, 60]  # of 66 to 142; centres at 97 and 104
    assert rows(two(output([piece]), output([whole]))) == [(66, 20, 142, 60, 1)]
    # ... of its own class, and of some weight:
    assert len(rows(two(output([piece], [2]), output([whole])))) == 2
    assert two(output([piece]), output([whole], scores=[0.02]))["boxes"].tolist()[0] == piece


def test_a_lesion_in_the_middle_is_not_lost_when_each_tile_puts_it_into_the_part_of_the_other():
    left, right = output([[90, 20, 104, 40]]), output([[24, 20, 38, 40]])  # centres at 97 and 95
    assert len(rows(two(left, right))) == 1


def test_what_only_the_tile_sees_that_sees_less_of_the_place_does_not_count():
    assert rows(two(output([[100, 20, 126, 40]]), output([]))) == []


def test_the_thresholds_of_the_model_hold_for_the_whole_image():
    left = output([[0, 0, 10, 10], [30, 0, 40, 10]], scores=[0.5, 0.8])
    right = output([[60, 0, 70, 10]], scores=[0.6])
    result = merge_tiles([left, right], TWO_TILES, 128, 192, nms_threshold=0.3, max_detections=2)
    assert result["scores"].tolist() == pytest.approx([0.8, 0.6])
    assert result["boxes"].tolist() == [[30, 0, 40, 10], [124, 0, 134, 10]]


@pytest.mark.parametrize(
    "text", ["", "1024", "1024,", "a,b", "1024,256,1", "-64,32", "64,64", "0,0", "100,32", "64,10", "1e3,2"]
)
def test_tiles_that_cannot_be_are_named(text):
    with pytest.raises(InputError, match="tiles"):
        Tiles.parse(text)


def test_tiles_are_read():
    assert Tiles.parse("1024, 256") == Tiles(1024, 256)


@pytest.mark.parametrize("flip", FLIPS["all"])
def test_a_box_is_mirrored_with_its_pixels_and_back(flip):
    pixels = np.zeros((50, 80), np.float32)
    pixels[10:20, 5:30] = 1
    box = torch.tensor([[5.0, 10.0, 30.0, 20.0]])
    there = flip.boxes(box, 50, 80)
    x1, y1, x2, y2 = there[0].int().tolist()
    mirrored = flip.pixels(pixels)
    assert mirrored[y1:y2, x1:x2].all() and mirrored.sum() == 250
    assert torch.equal(flip.boxes(there, 50, 80), box)


def test_runs_are_fused_by_score():
    # Three runs see one lesion, two of them another class too; the edges are means weighted by score.
    runs = [
        output([[0, 0, 10, 10], [50, 50, 60, 60]], [1, 2], [0.9, 0.4]),
        output([[2, 0, 12, 10]], [1], [0.3]),
        output([[50, 50, 60, 60]], [1], [0.6]),
        output([]),
    ]
    fused = fuse_runs(runs, 0.3)
    assert fused["scores"].tolist() == pytest.approx([1.2 / 4, 0.6 / 4, 0.4 / 4])
    assert fused["labels"].tolist() == [1, 1, 2]
    assert fused["boxes"][0].tolist() == pytest.approx([0.5, 0, 10.5, 10])


def test_two_boxes_of_one_run_are_two_lesions():
    fused = fuse_runs([output([[0, 0, 10, 10], [4, 0, 14, 10]]), output([[0, 0, 10, 10]])], 0.3)
    assert fused["scores"].tolist() == pytest.approx([0.9, 0.45])


def test_no_boxes_are_fused_to_none():
    assert fuse_runs([output([])] * 4, 0.3)["boxes"].shape == (0, 4)


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), max_size=5), min_size=1, max_size=4))
def test_fused_scores_stay_between_0_and_1_and_their_sum_is_kept(runs):
    outputs = [
        output([[x, 0, x + 10, 10] for x, _ in run], scores=[score for _, score in run]) for run in runs
    ]
    scores = fuse_runs(outputs, 0.3)["scores"]
    assert ((scores >= 0) & (scores <= 1)).all()
    assert float(scores.sum()) == pytest.approx(sum(s for run in runs for _, s in run) / len(runs), abs=1e-5)


@pytest.fixture
def pixels():
    return np.random.default_rng(1).random((150, 170), np.float32)


def test_one_tile_without_mirror_images_gives_what_the_detector_gives(model_path, pixels):
    detector = Detector.load(model_path, device="cpu", precision="fp32", score_threshold=0.0)
    plain = detector.predict_pixels(pixels)
    one = ComposedDetector(detector, Tiles(192, 64)).predict_pixels(pixels)
    assert len(plain["boxes"]) and all(torch.equal(plain[name], one[name]) for name in plain)


def test_tiles_of_nothing_but_air_are_left_out(model_path, pixels):
    detector = Detector.load(model_path, device="cpu", precision="fp32", score_threshold=0.0)
    assert len(detector.predict_pixels(np.zeros((150, 170), np.float32))["boxes"])
    tiled = ComposedDetector(detector, Tiles(64, 32))
    assert len(tiled.predict_pixels(np.zeros((150, 170), np.float32))["boxes"]) == 0
    assert len(tiled.predict_pixels(pixels)["boxes"])


def test_a_mirrored_mammogram_gives_mirrored_boxes_with_mirror_images(model_path, pixels):
    detector = Detector.load(model_path, device="cpu", precision="fp32", score_threshold=0.0)
    composed = ComposedDetector(detector, Tiles(96, 32), "all")
    here, there = composed.predict_pixels(pixels), composed.predict_pixels(pixels[:, ::-1])
    torch.testing.assert_close(here["scores"], there["scores"], atol=1e-4, rtol=0)
    assert detector.model.roi_heads.score_thresh == 0.0


def test_the_score_threshold_holds_for_the_mean(model_path, pixels):
    detector = Detector.load(model_path, device="cpu", precision="fp32", score_threshold=0.0)
    scores = ComposedDetector(detector, flips="horizontal").predict_pixels(pixels)["scores"]
    middle = float(scores.median())
    detector.model.roi_heads.score_thresh = middle
    kept = ComposedDetector(detector, flips="horizontal").predict_pixels(pixels)["scores"]
    assert 0 < len(kept) < len(scores) and (kept > middle).all()
    assert detector.model.roi_heads.score_thresh == middle
