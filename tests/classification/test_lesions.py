"""Lesions cut out of mammograms: where, how large, and which."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.classification.lesions import cut_out, malignant_lesions
from mammodet.classification.task import Task
from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry


def _task(margin: float = 0.25, smallest: int = 64) -> Task:
    return Task("lesions", {"a": ("a",), "b": ("b",)}, subtype="pathotype", margin=margin, smallest=smallest)


def _image(height: int, width: int) -> np.ndarray:
    """Return pixels that tell their own place."""
    return np.arange(height * width, dtype=np.float32).reshape(height, width)


def test_a_lesion_is_cut_out_with_its_margin():
    pixels = _image(200, 300)
    cut = cut_out(pixels, Geometry(300, 200), [100, 50, 40, 20], _task(margin=0.25, smallest=1))
    assert np.array_equal(cut, pixels[40:80, 90:150])  # 10 px, a quarter of 40, on every side


def test_a_small_lesion_is_shown_with_what_surrounds_it_and_shifted_inwards():
    pixels = _image(200, 300)
    cut = cut_out(pixels, Geometry(300, 200), [0, 190, 4, 4], _task(margin=0, smallest=64))
    assert np.array_equal(cut, pixels[136:200, 0:64])


def test_an_image_smaller_than_a_cut_out_is_shown_whole():
    pixels = _image(40, 30)
    assert np.array_equal(cut_out(pixels, Geometry(30, 40), [10, 10, 5, 5], _task()), pixels)


@settings(deadline=None)
@given(st.data())
def test_a_cut_out_shows_its_box_in_a_cropped_frame_too(data: st.DataObject):
    height, width = data.draw(st.integers(80, 200)), data.draw(st.integers(80, 200))
    left, top = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 30))
    geometry = Geometry(width + left, height + top).crop(left, top, width, height)
    x, y = data.draw(st.integers(0, width - 10)), data.draw(st.integers(0, height - 10))
    size = data.draw(st.integers(1, 10))
    margin, smallest = data.draw(st.floats(0, 1)), data.draw(st.integers(1, 80))
    pixels = np.zeros((height, width), dtype=np.float32)
    pixels[y : y + size, x : x + size] = 1
    cut = cut_out(pixels, geometry, [x + left, y + top, size, size], _task(margin, smallest))
    assert cut.sum() == size**2  # all of the lesion
    assert min(cut.shape) >= min(smallest, height, width)
    assert max(cut.shape) <= max(smallest, size + 2 * np.ceil(margin * size)) + 2


def test_a_box_outside_the_crop_is_refused():
    geometry = Geometry(300, 200).crop(100, 0, 200, 200)
    with pytest.raises(InputError, match="outside the breast crop"):
        cut_out(_image(200, 200), geometry, [10, 10, 20, 20], _task())


def test_only_malignant_lesions_that_count_are_found_with_their_label():
    image = {"id": 1, "file_name": "a.png", "width": 100, "height": 100}
    common = {"image_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
    annotations = [
        {"id": 1, "category_id": 2, "subtype": {"pathotype": "invasive"}, **common},
        {"id": 2, "category_id": 1, "subtype": {"pathotype": "invasive"}, **common},
        {"id": 3, "category_id": 2, "subtype": {"pathotype": "invasive"}, "ignore": 1, **common},
        {"id": 4, "category_id": 2, "subtype": {"er": "positive"}, **common},
        {"id": 5, "category_id": 2, **common},
        {"id": 6, "category_id": 2, "subtype": {"pathotype": 3}, **common},
    ]
    found = list(malignant_lesions(Coco([image], annotations, "a.json"), _task()))
    assert [(one.annotation, one.label) for one in found] == [(1, "invasive"), (4, None), (5, None), (6, "3")]
