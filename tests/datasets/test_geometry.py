"""What users rely on: boxes come back, and they move with the pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry


@st.composite
def chains(draw: st.DrawFn, most: int = 6, largest: int = 4000, scales: bool = True) -> Geometry:
    geometry = Geometry(draw(st.integers(8, largest)), draw(st.integers(8, largest)))
    for _ in range(draw(st.integers(0, most))):
        exact = ["crop", "flip", "pad", "turn"]
        kind = draw(st.sampled_from([*exact, "scale"] if scales else exact))
        if kind == "crop":
            x, y = draw(st.integers(0, geometry.width - 1)), draw(st.integers(0, geometry.height - 1))
            width = draw(st.integers(1, geometry.width - x))
            geometry = geometry.crop(x, y, width, draw(st.integers(1, geometry.height - y)))
        elif kind == "pad":
            geometry = geometry.pad(*(draw(st.integers(0, 40)) for _ in range(4)))
        elif kind == "scale":
            geometry = geometry.scale(draw(st.integers(1, largest)), draw(st.integers(1, largest)))
        elif kind == "turn":
            geometry = geometry.turn(draw(st.integers(0, 3)))
        else:
            geometry = geometry.flip()
    return geometry


corner = st.floats(-5000, 5000, allow_nan=False)
boxes = st.lists(st.tuples(corner, corner, st.floats(0, 3000), st.floats(0, 3000)), max_size=5).map(
    lambda rows: np.array([[x, y, x + w, y + h] for x, y, w, h in rows]).reshape(-1, 4)
)


@settings(max_examples=150, deadline=None)
@given(chains(), boxes)
def test_boxes_come_back(geometry: Geometry, source: np.ndarray) -> None:
    there = geometry.boxes_to_model(source)
    np.testing.assert_allclose(geometry.boxes_to_source(there), source, atol=1e-3)
    assert there.shape == source.shape
    assert (there[:, 2:] >= there[:, :2]).all()


@settings(max_examples=100, deadline=None)
@given(chains(most=4, largest=60, scales=False), st.data())
def test_boxes_move_with_pixels(geometry: Geometry, data: st.DataObject) -> None:
    x1 = data.draw(st.integers(0, geometry.source_width - 1))
    y1 = data.draw(st.integers(0, geometry.source_height - 1))
    x2 = data.draw(st.integers(x1 + 1, geometry.source_width))
    y2 = data.draw(st.integers(y1 + 1, geometry.source_height))
    pixels = np.zeros((geometry.source_height, geometry.source_width), dtype=np.float32)
    pixels[y1:y2, x1:x2] = 1
    moved = geometry.pixels_to_model(pixels)
    box = geometry.boxes_to_model([[x1, y1, x2, y2]])[0].astype(int)
    expected = np.zeros_like(moved)
    left, top, right, bottom = np.maximum(box, 0)
    expected[top:bottom, left:right] = 1
    # Boxes are not clipped, so one that was cropped may reach over padding, where there is no source.
    expected *= geometry.pixels_to_model(np.ones_like(pixels))
    assert moved.shape == (geometry.height, geometry.width)
    np.testing.assert_array_equal(moved, expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(30, 90), st.integers(30, 90), st.booleans(), st.booleans())
def test_boxes_move_with_resized_pixels(width: int, height: int, flipped: bool, padded: bool) -> None:
    geometry = Geometry(60, 50).crop(4, 6, 50, 40).scale(width, height)
    geometry = geometry.flip() if flipped else geometry
    geometry = geometry.pad(3, 1, 0, 2) if padded else geometry
    pixels = np.zeros((50, 60), dtype=np.float32)
    pixels[20:35, 15:45] = 1
    moved = geometry.pixels_to_model(pixels)
    # The mass and its centre are kept by linear and by area resampling, whatever the edges look like.
    x1, y1, x2, y2 = geometry.boxes_to_model([[15, 20, 45, 35]])[0]
    rows, columns = np.mgrid[: geometry.height, : geometry.width] + 0.5
    assert moved.sum() == pytest.approx((x2 - x1) * (y2 - y1), rel=0.06)
    assert (moved * columns).sum() / moved.sum() == pytest.approx((x1 + x2) / 2, abs=0.3)
    assert (moved * rows).sum() / moved.sum() == pytest.approx((y1 + y2) / 2, abs=0.3)


@settings(max_examples=50, deadline=None)
@given(chains())
def test_a_record_survives_json(geometry: Geometry) -> None:
    assert Geometry.from_dict(json.loads(json.dumps(geometry.to_dict()))) == geometry


def test_no_boxes_stay_no_boxes() -> None:
    geometry = Geometry(10, 10).flip().scale(20, 30)
    assert geometry.boxes_to_model([]).shape == (0, 4)
    assert geometry.boxes_to_source(np.zeros((0, 4))).shape == (0, 4)


def test_boxes_are_not_clipped_and_not_changed_in_place() -> None:
    source = np.array([[0.0, 0.0, 10.0, 10.0]])
    moved = Geometry(10, 10).crop(4, 4, 2, 2).boxes_to_model(source)
    np.testing.assert_array_equal(moved, [[-4, -4, 6, 6]])
    Geometry(10, 10).boxes_to_model(source)[:] = 7
    np.testing.assert_array_equal(source, [[0, 0, 10, 10]])


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 3)])
def test_channels_and_types_are_kept(shape: tuple[int, ...]) -> None:
    geometry = Geometry(8, 6).flip().scale(4, 12).pad(1, 0, 0, 0)
    for kind in (np.uint8, np.uint16, np.float32, np.bool_):
        moved = geometry.pixels_to_model(np.ones(shape, dtype=kind))
        assert moved.shape == (12, 5, *shape[2:])
        assert moved.dtype == kind
        assert (moved[:, 1:] == 1).all()
        assert (moved[:, 0] == 0).all()


@pytest.mark.parametrize("crop", [(-1, 0, 2, 2), (0, 0, 11, 2), (9, 9, 2, 1), (0, 0, 0, 1)])
def test_crops_outside_the_frame_are_refused(crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(InputError, match="10 x 10"):
        Geometry(10, 10).crop(*crop)


def test_broken_use_is_refused() -> None:
    with pytest.raises(InputError, match="scale"):
        Geometry(10, 10).scale(0, 3)
    with pytest.raises(InputError, match="pad"):
        Geometry(10, 10).pad(-1, 0, 0, 0)
    with pytest.raises(InputError, match="positive"):
        Geometry(0, 10)
    with pytest.raises(InputError, match="source size"):
        Geometry(10, 10).pixels_to_model(np.zeros((10, 11)))
    with pytest.raises(InputError, match="record"):
        Geometry.from_dict({"source_width": 3, "source_height": 3, "steps": [{"step": "rotate"}]})
