"""The pass that keeps feature maps finds what the detector finds, and every cell lies at its pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models.detection import FasterRCNN

from mammodet.detection.feature_maps import STRIDES, look, summed_map
from mammodet.detection.model import DetectorConfig, build_detector, set_thresholds


@pytest.fixture
def model(small_config: DetectorConfig) -> FasterRCNN:
    torch.manual_seed(0)
    built = build_detector(small_config).eval()
    set_thresholds(built, score=0.0)
    return built


def test_boxes_are_those_of_the_detector(model: FasterRCNN):
    pixels = np.random.default_rng(0).random((150, 117), dtype=np.float32)
    seen = look(model, pixels)
    with torch.inference_mode():
        (output,) = model([torch.from_numpy(pixels)[None]])
    assert len(seen.boxes)
    for name in ("boxes", "labels", "scores"):
        torch.testing.assert_close(getattr(seen, name), output[name])


def test_every_box_comes_with_the_proposal_that_it_was_refined_from(model: FasterRCNN):
    seen = look(model, np.random.default_rng(0).random((150, 117), dtype=np.float32))
    for index in range(0, len(seen.boxes), 10):
        with torch.no_grad():
            (alone,), _ = model.roi_heads(seen.levels, [seen.proposals[index : index + 1]], [seen.image_size])
        same = alone["labels"] == seen.labels[index]
        torch.testing.assert_close(alone["boxes"][same][0], seen.boxes[index], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(alone["scores"][same][0], seen.scores[index], atol=1e-4, rtol=1e-3)


def test_an_image_without_boxes_has_feature_maps_all_the_same(model: FasterRCNN):
    set_thresholds(model, score=1.0)
    seen = look(model, np.zeros((64, 64), np.float32))
    assert len(seen.boxes) == len(seen.proposals) == 0 and set(seen.maps) == set(STRIDES)


def test_hooks_and_gradients_are_left_behind_nowhere(model: FasterRCNN):
    places = (model.backbone.body, model.roi_heads.box_predictor)
    before = [len(place._forward_hooks) for place in places]
    seen = look(model, np.zeros((64, 96), np.float32))
    assert [len(place._forward_hooks) for place in places] == before
    assert not any(level.requires_grad for level in seen.levels.values())


@pytest.mark.parametrize("name", ["C2", "C3", "C4"])
def test_a_cell_lies_at_the_pixel_that_its_stride_says(model: FasterRCNN, name: str):
    row, column = 128, 192
    heard = []
    stage = str(int(name[1]) - 2)
    model.backbone.body.register_forward_hook(lambda _module, _inputs, out: heard.append(out[stage]))
    pixels = np.zeros((256, 320), np.float32)
    look(model, pixels)
    pixels[row, column] = 1
    look(model, pixels)
    change = (heard[1] - heard[0])[0].abs().sum(0)
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in change.shape)
    centre = (change.sum(1) @ rows / change.sum(), change.sum(0) @ columns / change.sum())
    # Half a cell is what a naive stretching of the map to the image would be off by.
    assert float(centre[0]) == pytest.approx(row / STRIDES[name], abs=0.35)
    assert float(centre[1]) == pytest.approx(column / STRIDES[name], abs=0.35)


def test_every_channel_counts_alike_in_the_sum_and_dead_ones_not_at_all():
    features = torch.zeros(1, 4, 3, 5)
    features[0, 0, 0, 0], features[0, 1, 1, 1], features[0, 2, 2, 2] = 1000.0, 0.001, -5.0
    features[0, 3] = 7.0
    summed = summed_map(features)
    assert summed.dtype == np.float32 and summed.min() == 0 and summed.max() == 1
    # The third channel is 1 everywhere but in one cell.
    expected = np.full((3, 5), 0.5)
    expected[0, 0] = expected[1, 1] = 1
    expected[2, 2] = 0
    np.testing.assert_allclose(summed, expected, atol=1e-6)
    assert not summed_map(torch.full((1, 2, 3, 3), 4.0)).any()
