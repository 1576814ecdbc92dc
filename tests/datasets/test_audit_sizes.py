"""Sizes of lesions and the share below the smallest anchor, with torchvision's own resize as the judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.audit.figures import anchor_figure, in_millimetres, size_figure, to_svg
from mammodet.datasets.audit.pixels import Pixels
from mammodet.datasets.audit.sizes import Sizes, below_anchor, default_resize, describe, measure, percent
from mammodet.datasets.coco import Coco
from mammodet.datasets.inspection import Inspection

BREAST = (0, 1000, 968, 2468)  # with a margin of 16 px: 984 x 2500


def sizes_of(boxes: list[list[float]], breast: Any = BREAST, **keys: Any) -> Sizes:
    """Return the sizes of these (width, height) on one mammogram of 3328 x 4096 pixels of 0.07 mm."""
    image: Any = {
        "id": 1,
        "file_name": "a.dcm",
        "width": 3328,
        "height": 4096,
        "spacing_mm": [0.07, 0.07],
        **keys,
    }
    lesions: list[Any] = [
        {"id": n, "image_id": 1, "category_id": 1 + n % 2, "bbox": [9, 1009, *box], "finding": "mass"}
        for n, box in enumerate(boxes, 1)
    ]
    pixels = Pixels({1: Inspection(Path("a.dcm"), width=3328, height=4096, breast=breast)}, {})
    return measure(Coco([image], lesions, Path("coco.json")), pixels)


def test_shares_by_hand() -> None:
    # 32 px at 800 / 3328 = 0.2404 are 133 px of the file; on the crop, at 1333 / 2500 = 0.5332, 60.0 px.
    rows = below_anchor(sizes_of([[20, 20], [50, 50], [64, 36], [70, 80], [140, 140]]))
    assert [(row["resize"], row["frame"]) for row in rows] == [
        ("full resolution", "whole image or breast crop"),
        ("resized to 800/1333", "breast crop"),
        ("resized to 800/1333", "whole image"),
    ]
    assert [row["side"] for row in rows] == [0.2, 0.6, 0.8]  # the square root of 64 x 36 is 48
    assert [row["longer_side"] for row in rows] == [0.2, 0.4, 0.8]
    assert rows[2]["median_scale"] == 800 / 3328
    assert rows[1]["median_side_px"] == pytest.approx(50 * 1333 / 2500)


def test_the_sentence_that_shows_why_resolution_matters() -> None:
    described = describe(sizes_of([[20, 20], [50, 50], [60, 60], [150, 150]]))
    assert described["sentence"] == (
        "at full resolution 25 % of the boxes are smaller than the smallest anchor (32 px); "
        "at torchvision's default resize (800/1333) 75 %"
    )
    json.dumps(described, allow_nan=False)


def test_enlarging_is_said() -> None:
    """A small box that grows past the anchor shows no more detail than before."""
    assert describe(sizes_of([[20, 20]]))["enlarging"] is None  # 3328 x 4096 are reduced, and so is the crop
    small = sizes_of([[20, 20], [30, 30]], breast=None, width=400, height=500)
    assert [row["enlarged"] for row in below_anchor(small)] == [0, 2]
    assert describe(small)["enlarging"] == (
        "torchvision's default enlarges these images (median scale 2): boxes grow past the anchor, detail is not"
        " gained"
    )
    narrow = sizes_of([[20, 20]], breast=(0, 1000, 500, 900))  # with its margin 516 x 932: 1333 / 932
    assert describe(narrow)["enlarging"] == (
        "torchvision's default enlarges these breast crops (median scale 1.43): boxes grow past the anchor,"
        " detail is not gained"
    )


def test_enlarging_of_some_images_is_counted() -> None:
    images: list[Any] = [
        {"id": n, "file_name": f"{n}.png", "width": side, "height": side} for n, side in ((1, 400), (2, 1600))
    ]
    lesions: list[Any] = [
        {"id": n, "image_id": 1 + n // 3, "category_id": 1, "bbox": [1, 1, 9, 9]} for n in (1, 2, 3)
    ]
    described = describe(measure(Coco(images, lesions, Path("coco.json")), Pixels()))
    assert described["enlarging"].startswith(
        "torchvision's default enlarges the images of 2 of 3 boxes (median scale 2)"
    )


def test_quantiles_in_px_and_mm() -> None:
    groups = describe(sizes_of([[100, 100], [200, 50], [10, 1000]]))["groups"]
    assert list(groups) == ["all", "benign", "malignant", "mass"]
    assert groups["all"]["side_px"] == dict.fromkeys(("0", "5", "25", "50", "75", "95", "100"), 100.0)
    assert groups["all"]["side_mm"]["50"] == 7
    assert groups["all"]["longer_mm"]["100"] == 70
    assert groups["benign"]["boxes"] == 1  # the second one
    assert groups["benign"]["longer_px"]["50"] == 200


def test_spacing_is_row_and_column() -> None:
    sizes = sizes_of([[100, 10]], spacing_mm=[0.5, 0.1])
    assert sizes.longer_mm.tolist() == [10]  # 100 columns of 0.1 mm, 10 rows of 0.5 mm
    assert sizes.side_mm.tolist() == pytest.approx([np.sqrt(50)])


def test_without_pixel_size_breast_or_boxes() -> None:
    sizes = sizes_of([[100, 100]], breast=None, spacing_mm=None)
    assert [row["frame"] for row in below_anchor(sizes)] == ["whole image or breast crop", "whole image"]
    assert describe(sizes)["groups"]["all"]["side_mm"] is None
    assert not in_millimetres(sizes)
    empty = sizes_of([])
    assert below_anchor(empty) == []
    assert describe(empty)["groups"] == {}
    assert anchor_figure(empty) is None
    assert size_figure(empty) is None


def test_lesions_that_do_not_count_and_points_are_left_out() -> None:
    image: Any = {"id": 1, "file_name": "a.png", "width": 900, "height": 900}
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}
    lesions: list[Any] = [
        {**box, "id": 1},
        {**box, "id": 2, "ignore": 1},
        {**box, "id": 3, "iscrowd": 1},
        {**box, "id": 4, "provenance": {"point": [3, 4]}},
    ]
    sizes = measure(Coco([image], lesions, Path("coco.json")), Pixels())
    assert (len(sizes.width), sizes.left_out) == (1, 3)
    assert describe(sizes)["groups"]["finding unknown"]["boxes"] == 1


def test_the_histogram_counts_every_box() -> None:
    described = describe(sizes_of([[1, 1], [2, 2], [2.9, 2.9], [1024, 1024]]))["histogram"]
    assert described["boxes"]["all"][0] == 1
    assert sum(described["boxes"]["all"]) == 4
    assert described["edges_px"][0] == 1
    assert described["edges_px"][-1] > 1024


@settings(deadline=None, max_examples=30)
@given(width=st.integers(200, 6000), height=st.integers(200, 6000))
def test_the_resize_is_torchvisions(width: int, height: int) -> None:
    torch = pytest.importorskip("torch")
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    stock = GeneralizedRCNNTransform(800, 1333, [0.0], [1.0])
    resized, _ = stock.resize(torch.zeros(1, height, width, device="meta"), None)  # shapes only
    scale = default_resize(width, height)
    assert resized.shape[1] == pytest.approx(height * scale, abs=1.01)
    assert resized.shape[2] == pytest.approx(width * scale, abs=1.01)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.004, "< 1 %"), (0.12, "12 %"), (0.996, "> 99 %"), (0.994, "99 %"), (1, "100 %")],
)
def test_none_and_all_are_never_rounded_to(share: float, text: str) -> None:
    assert percent(share) == text


def test_figures_are_the_same_for_the_same_numbers() -> None:
    sizes = sizes_of([[20, 20], [50, 50], [400, 300]])
    for draw in (anchor_figure, size_figure):
        first, second = draw(sizes), draw(sizes)
        assert first is not None
        assert second is not None
        assert to_svg(first) == to_svg(second)
        assert to_svg(first).startswith(b"<?xml")
