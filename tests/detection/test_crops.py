"""Crops and tiles: the lesion they are drawn for is in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.detection.crops import TrainingInput, boxes_in_window, crop_window, training_window
from mammodet.detection.data import LesionDataset
from mammodet.networks.loading import Draw


def test_inputs_are_read():
    assert TrainingInput.parse("whole") == TrainingInput()
    assert TrainingInput.parse("crop:1024") == TrainingInput("crop", 1024)
    assert TrainingInput.parse("tiles:1024,256") == TrainingInput("tiles", 1024, 256)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "crop",
        "crop:",
        "crop:x",
        "crop:8",
        "crop:512,64",
        "tiles:512",
        "tiles:512,512",
        "tiles:512,-1",
        "half",
    ],
)
def test_other_inputs_are_refused_with_the_choices(text):
    with pytest.raises(InputError, match=r"tile|crop:SIZE"):
        TrainingInput.parse(text)


boxes = st.builds(
    lambda x, y, w, h: np.array([[x, y, x + w, y + h]], dtype=np.float32),
    st.floats(0, 180),
    st.floats(0, 280),
    st.floats(1, 120),
    st.floats(1, 120),
)


@given(boxes, st.integers(64, 400), st.integers(0, 1000))
def test_a_crop_holds_its_lesion_whole_or_its_middle(box, size, seed):
    pixels = np.ones((300, 200), dtype=np.float32)
    box = np.clip(box, 0, [200, 300, 200, 300])
    window = crop_window(pixels, box, size, np.random.default_rng(seed))
    for low, high, limit, x1, x2 in (
        (window.left, window.right, 200, box[0, 0], box[0, 2]),
        (window.top, window.bottom, 300, box[0, 1], box[0, 3]),
    ):
        assert low >= 0 and high <= limit and high - low == min(size, limit)
        if x2 - x1 <= high - low - 1:
            assert low <= x1 and x2 <= high
        else:
            assert low <= (x1 + x2) / 2 <= high


def test_fragments_of_lesions_are_not_taught():
    window = crop_window(
        np.ones((64, 64), np.float32), np.zeros((0, 4), np.float32), 64, np.random.default_rng(0)
    )
    lesions = np.array([[0, 0, 20, 20], [60, 0, 84, 20], [54, 0, 74, 20], [70, 0, 90, 9]], dtype=np.float32)
    moved, visible = boxes_in_window(lesions, window)
    assert visible.tolist() == [True, False, True, False]  # all, a sixth, half, nothing of it
    assert moved[2].tolist() == [54, 0, 64, 20]


def test_a_lesion_that_is_larger_than_its_crop_is_taught():
    pixels = np.ones((1000, 1000), np.float32)
    lesion = np.array([[100, 100, 900, 900]], dtype=np.float32)
    for seed in range(20):
        window = crop_window(pixels, lesion, 256, np.random.default_rng(seed))
        moved, visible = boxes_in_window(lesion, window)
        assert visible.all() and moved[0].tolist() == [0, 0, 256, 256]


def test_a_crop_without_lesions_prefers_tissue():
    pixels = np.zeros((400, 400), dtype=np.float32)
    pixels[:, :150] = 0.5
    none = np.zeros((0, 4), dtype=np.float32)
    shares = [
        (pixels[one.top : one.bottom, one.left : one.right] > 0).mean() >= 0.1
        for one in (crop_window(pixels, none, 100, np.random.default_rng(seed)) for seed in range(50))
    ]
    assert np.mean(shares) > 0.95


def test_tiles_show_lesions_half_of_the_time_and_every_other_tile_too():
    pixels = np.ones((256, 256), dtype=np.float32)
    lesion = np.array([[10, 10, 20, 20]], dtype=np.float32)
    none = np.zeros((0, 4), dtype=np.float32)
    part = TrainingInput("tiles", 128, 32)
    windows = [
        training_window(part, pixels, lesion, none, np.random.default_rng(seed)) for seed in range(300)
    ]
    seen = np.mean([boxes_in_window(lesion, one)[1].any() for one in windows])
    assert 0.45 < seen < 0.65  # a half, and one of nine tiles in the other half
    assert len({(one.left, one.top) for one in windows}) == 9


def test_a_drawn_item_is_cropped_with_its_boxes_and_hard_negatives(coco):
    hard = {coco.images[0]["id"]: np.array([[2, 2, 30, 30]], dtype=np.float32)}
    dataset = LesionDataset(coco, Recipe(crop=False), window=TrainingInput("crop", 64), hard_negatives=hard)
    both = [dataset[Draw(0, seed)][1] for seed in range(30)]
    assert any(len(one["hard_negatives"]) for one in both) and any(len(one["boxes"]) for one in both)
    for seed in range(10):
        pixels, target = dataset[Draw(0, seed)]
        assert pixels.shape == (1, 64, 64)
        for box in target["boxes"].round().int().tolist():
            assert (
                pixels[0, box[1] + 2 : box[3] - 2, box[0] + 2 : box[2] - 2].min() > 0.95
            )  # the bright lesion
        assert len(target["boxes"]) == len(target["labels"]) and (target["labels"] > 0).all()
    whole, _ = dataset[0]
    assert whole.shape == (1, 160, 120)  # by index it is the image as it is
