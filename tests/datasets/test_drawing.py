"""Drawn boxes: where they are, in which colour, and that nothing odd stops the drawing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mammodet.datasets.drawing import COLOURS, OTHER_COLOUR, draw_boxes, write_png
from mammodet.datasets.errors import InputError


def changed(drawn: NDArray[np.uint8], pixels: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((drawn != (pixels * 255).round().astype(np.uint8)[:, :, None]).any(axis=2))


def grey(height: int = 200, width: int = 160) -> NDArray[np.float32]:
    return np.full((height, width), 0.4, dtype=np.float32)


def is_colour(drawn: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.asarray((drawn == colour).all(axis=2))


def test_a_mammogram_without_boxes_is_shown_as_it_is() -> None:
    pixels = np.linspace(-0.5, 1.5, 12, dtype=np.float32).reshape(3, 4)
    pixels[0, 0] = np.nan
    drawn = draw_boxes(pixels)
    assert drawn.shape == (3, 4, 3)
    assert drawn.dtype == np.uint8
    assert drawn[0, 0].tolist() == [0, 0, 0]
    assert drawn[-1, -1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("category", "colour"), [*COLOURS.items(), (7, OTHER_COLOUR)])
def test_truth_is_a_solid_rectangle_on_the_pixels_of_its_box(
    category: int, colour: tuple[int, int, int]
) -> None:
    pixels = grey()
    drawn = draw_boxes(pixels, [{"bbox": [20, 30, 50, 60], "category_id": category}], labels=False)
    rows, columns = np.nonzero(is_colour(drawn, colour))
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (20, 70, 30, 90)
    assert is_colour(drawn, colour)[30, 20:70].all()
    assert not changed(drawn, pixels)[31:89, 21:69].any()


def test_predictions_are_dashed_on_the_same_pixels() -> None:
    pixels = grey()
    drawn = draw_boxes(pixels, (), [{"bbox": [20, 30, 50, 60], "category_id": 2, "score": 0.9}], labels=False)
    top = is_colour(drawn, COLOURS[2])[30, 20:70]
    assert 0.3 < top.mean() < 0.8
    assert np.abs(np.diff(top.astype(int))).sum() >= 6
    assert not changed(drawn, pixels)[31:89, 21:69].any()


def test_circles_of_the_source_are_drawn() -> None:
    lesion = {"bbox": [40, 40, 60, 60], "category_id": 1, "provenance": {"circle": [70, 70, 30]}}
    pixels = grey()
    with_circle = draw_boxes(pixels, [lesion], labels=False)
    without = draw_boxes(pixels, [{**lesion, "provenance": {}}], labels=False)
    rows, columns = np.nonzero((with_circle != without).any(axis=2))
    assert np.abs(np.hypot(rows - 70, columns - 70) - 30).max() < 2


def test_ignored_lesions_have_their_own_colour() -> None:
    drawn = draw_boxes(grey(), [{"bbox": [20, 30, 50, 60], "category_id": 2, "ignore": 1}], labels=False)
    assert is_colour(drawn, OTHER_COLOUR).any()
    assert not is_colour(drawn, COLOURS[2]).any()


def test_lines_and_letters_grow_with_the_image() -> None:
    small, large = grey(400, 300), grey(4000, 3000)
    lesion = {"category_id": 2}
    thin = draw_boxes(small, [{**lesion, "bbox": [100, 100, 50, 50]}], labels=False)
    thick = draw_boxes(large, [{**lesion, "bbox": [1000, 1000, 500, 500]}], labels=False)
    assert changed(thin, small)[125, 90:110].sum() == 1
    assert changed(thick, large)[1250, 900:1100].sum() in range(9, 13)
    plate = changed(draw_boxes(large, [{**lesion, "bbox": [1000, 1000, 500, 500]}]), large)[1530:]
    assert 60 < plate.any(axis=1).sum() < 160


_number = st.floats(-300, 300)


@settings(max_examples=60, deadline=None)
@given(
    bbox=st.tuples(_number, _number, st.floats(0.01, 500), st.floats(0.01, 500)),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
)
def test_boxes_anywhere_and_of_any_size_can_be_drawn(
    bbox: tuple[float, ...], height: int, width: int
) -> None:
    box = {"bbox": list(bbox), "category_id": 1}
    drawn = draw_boxes(grey(height, width), [box], [{**box, "score": 1.0}, box])
    assert drawn.shape == (height, width, 3)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(InputError, match=r"\[H, W\]"):
        draw_boxes(np.zeros((4, 4, 3)))
    with pytest.raises(InputError, match="uint8"):
        write_png("x.png", np.zeros((4, 4)))  # type: ignore[arg-type]


def test_a_png_keeps_its_colours_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_png(tmp_path / "sub" / "x.png", image)
    read = cv2.imread(str(tmp_path / "sub" / "x.png"))
    assert read is not None
    np.testing.assert_array_equal(read[:, :, ::-1], image)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["x.png"]
    write_png(tmp_path / "grey.png", image[:, :, 0])
    np.testing.assert_array_equal(
        cv2.imread(str(tmp_path / "grey.png"), cv2.IMREAD_UNCHANGED), image[:, :, 0]
    )
