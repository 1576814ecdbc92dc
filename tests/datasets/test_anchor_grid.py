"""IoU of boxes with anchors: torchvision's anchors of the real detector are the judge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import box_iou

from mammodet.datasets.anchor_grid import (
    DEFAULT,
    OFFSETS,
    STRIDES,
    Layout,
    best_spread_iou,
    cell_shapes,
    level_grids,
    placed_iou,
    shape_iou,
    spread_iou,
)
from mammodet.datasets.errors import InputError
from mammodet.detection.model import DetectorConfig, build_detector

SIDES = st.floats(2, 400)


def anchors_of_the_detector(layout: Layout, width: int, height: int) -> list[np.ndarray]:
    """Return the anchors [K, 4] of each level that the detector lays over one image."""
    config = DetectorConfig(
        backbone="resnet18",
        norm="batch",
        fpn_channels=8,
        anchor_sizes=layout.sizes,  # type: ignore[arg-type]
        anchor_ratios=layout.ratios,
        image_mean=0.0,
        image_std=1.0,
    )
    model = build_detector(config).eval()
    images, _ = model.transform([torch.zeros(1, height, width)])
    with torch.no_grad():
        features = list(model.backbone(images.tensors).values())
    (anchors,) = model.rpn.anchor_generator(images, features)
    cells = [one.shape[-2] * one.shape[-1] * len(layout.ratios) for one in features]
    return [one.numpy().astype(np.float64) for one in anchors.split(cells)]


def test_the_default_layout_is_that_of_the_detector() -> None:
    config = DetectorConfig()
    assert (DEFAULT.sizes, DEFAULT.ratios) == (config.anchor_sizes, config.anchor_ratios)


@pytest.mark.parametrize(
    ("width", "height", "layout"),
    [
        (208, 288, DEFAULT),  # padded to 224 x 288: 7 x 9 cells of 32, so the last stride is 56 x 57
        (65, 130, Layout((5, 9, 23, 40, 77), (0.45, 1.3))),
        (256, 192, Layout((4, 8, 16, 32, 64), (1.0,))),
    ],
)
def test_placed_iou_is_torchvisions(width: int, height: int, layout: Layout) -> None:
    random = np.random.default_rng(width)
    corner = random.uniform(0, 1, (60, 2)) * [width - 2, height - 2]
    side = np.minimum(random.uniform(2, 120, (60, 2)), [width, height] - corner)
    boxes = np.concatenate([corner, corner + side], axis=1)
    expected = [
        box_iou(torch.from_numpy(boxes), torch.from_numpy(anchors)).max(dim=1).values.numpy()
        for anchors in anchors_of_the_detector(layout, width, height)
    ]
    found = placed_iou(boxes, [[width, height]] * 60, layout.shapes())
    np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=1e-9)


def test_grids_where_the_last_level_is_no_longer_every_64_px() -> None:
    strides, cells = level_grids([[208, 288], [256, 192]])
    assert cells.tolist() == [
        [[56, 72], [28, 36], [14, 18], [7, 9], [4, 5]],
        [[64, 48], [32, 24], [16, 12], [8, 6], [4, 3]],
    ]
    assert strides[0].tolist() == [[4, 4], [8, 8], [16, 16], [32, 32], [56, 57]]
    assert strides[1, :, 0].tolist() == strides[1, :, 1].tolist() == list(STRIDES)


@given(st.integers(4, 600), st.floats(0.05, 20))
@settings(max_examples=60, deadline=None)
def test_cells_are_rounded_as_torchvision_rounds_them(size: int, ratio: float) -> None:
    x1, y1, x2, y2 = AnchorGenerator(((size,),), ((ratio,),)).cell_anchors[0][0].tolist()
    assert cell_shapes([size], [ratio])[0, 0].tolist() == [x2 - x1, y2 - y1]


@pytest.mark.parametrize("stride", STRIDES)
def test_positions_are_spread_evenly_over_the_period_of_every_level(stride: int) -> None:
    both_sides = np.unique((np.concatenate([OFFSETS, -OFFSETS]) % stride).round(6))
    assert np.diff([*both_sides, both_sides[0] + stride]) == pytest.approx(stride / len(both_sides), abs=1e-5)
    distance = np.abs(OFFSETS - stride * np.round(OFFSETS / stride))
    assert distance.mean() == pytest.approx(stride / 4, rel=0.03)


@given(st.tuples(SIDES, SIDES), st.sampled_from(range(len(STRIDES))))
@settings(max_examples=30, deadline=None)
def test_spread_iou_is_placed_iou_moved_about(shape: tuple[float, float], level: int) -> None:
    width, height = shape
    anchor = DEFAULT.shapes()[level, 2]
    frame = 2048  # a multiple of 64: all strides are the nominal ones
    x, y = np.meshgrid(frame / 2 + OFFSETS, frame / 2 + OFFSETS)
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    half = np.array([width, height]) / 2
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    shapes = [[anchor] if one == level else [] for one in range(len(STRIDES))]
    placed = placed_iou(boxes, [[frame, frame]] * len(boxes), [np.reshape(one, (-1, 2)) for one in shapes])
    spread = spread_iou(np.array([shape]), anchor, STRIDES[level])[0]
    np.testing.assert_allclose(spread.ravel(), placed[:, level], atol=1e-9)


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_nowhere_is_an_anchor_better_than_around_the_same_centre(shapes: list[tuple[float, float]]) -> None:
    boxes = np.array(shapes)
    centred = shape_iou(boxes, DEFAULT.shapes().reshape(-1, 2)).max(axis=1)
    spread = best_spread_iou(boxes, DEFAULT)
    assert (spread >= 0).all()
    assert (spread <= centred[:, None, None] + 1e-12).all()


def test_iou_by_hand() -> None:
    assert shape_iou(np.array([[10.0, 20.0]]), np.array([[20.0, 10.0], [10.0, 20.0]])).tolist() == [
        [100 / 300, 1.0]
    ]
    # 16 x 16 at (8, 8) to (24, 24), its centre on the stride-16 grid: the anchor 32 x 32 around it
    shapes = [np.zeros((0, 2))] * 2 + [np.array([[32.0, 32.0]])] + [np.zeros((0, 2))] * 2
    assert placed_iou([[8, 8, 24, 24]], [[64, 64]], shapes).tolist() == [[0, 0, 0.25, 0, 0]]


@pytest.mark.parametrize(
    ("sizes", "ratios"), [((8, 16), (1.0,)), ((1, 2, 3, 4, 0), (1.0,)), ((1, 2, 3, 4, 5), ())]
)
def test_what_is_no_layout(sizes: tuple[int, ...], ratios: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="anchors"):
        Layout(sizes, ratios)
