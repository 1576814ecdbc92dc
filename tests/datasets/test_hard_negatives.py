"""False positives of an earlier model: strong predictions that no annotation accounts for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco, to_xyxy
from mammodet.datasets.errors import InputError
from mammodet.datasets.hard_negatives import false_positives


def coco(*boxes, **keys):
    """Return two images of 100 x 80, the first with annotations."""
    images = [{"id": one, "file_name": f"{one}.png", "width": 100, "height": 80} for one in (7, 9)]
    annotations = [
        {"id": number, "image_id": 7, "category_id": 2, "bbox": list(box), "area": 1.0, "iscrowd": 0, **keys}
        for number, box in enumerate(boxes, start=1)
    ]
    return Coco(images, annotations, Path("train.json"))


def result(bbox, score=0.9, image_id=7, category_id=2):
    return {"image_id": image_id, "category_id": category_id, "bbox": list(bbox), "score": score}


def found(coco, results, **limits):
    return false_positives(coco, results, **{"min_score": 0.5, "per_image": 10, **limits})


def test_boxes_away_from_lesions_strongest_first_with_corners():
    results = [
        result((50, 50, 10, 20), 0.6),
        result((11, 11, 20, 20), 0.99),  # the lesion itself
        result((70, 5, 10, 10), 0.8, category_id=1),
        result((0, 0, 5, 5), 0.49),
        result((20, 30, 8, 9), 0.5, image_id=9),
    ]
    boxes = found(coco((10, 10, 20, 20)), results)
    assert boxes[7].dtype == np.float32
    assert boxes[7].tolist() == [[70, 5, 80, 15], [50, 50, 60, 70]]
    assert boxes[9].tolist() == [[20, 30, 28, 39]]


def test_an_image_without_any_has_an_empty_array():
    boxes = found(coco((10, 10, 20, 20)), [])
    assert {key: value.shape for key, value in boxes.items()} == {7: (0, 4), 9: (0, 4)}
    assert all(value.dtype == np.float32 for value in boxes.values())


@pytest.mark.parametrize("keys", [{}, {"ignore": 1}, {"iscrowd": 1}])
def test_every_annotation_protects(keys):
    assert len(found(coco((10, 10, 20, 20), **keys), [result((12, 12, 20, 20))])[7]) == 0


def test_overlap_up_to_the_limit_is_allowed():
    """Two boxes of 10 x 10 that share 20 px have an IoU of 20 / 180."""
    lesion, beside = (10, 10, 10, 10), result((18, 10, 10, 10))
    assert len(found(coco(lesion), [beside], max_iou=0.112)[7]) == 1
    assert len(found(coco(lesion), [beside], max_iou=0.11)[7]) == 0


def test_a_small_box_within_a_crowd_region_is_no_proof():
    region, within = (0, 0, 80, 80), result((5, 5, 6, 6))  # IoU 0.006
    assert len(found(coco(region), [within])[7]) == 1
    assert len(found(coco(region, iscrowd=1), [within])[7]) == 0


def test_the_strongest_are_kept_after_lesions_are_left_out():
    results = [result((30 + 5 * i, 60, 4, 4), 0.5 + i / 100) for i in range(9)] + [
        result((10, 10, 20, 20), 1.0)
    ]
    assert found(coco((10, 10, 20, 20)), results, per_image=2)[7][:, 0].tolist() == [70, 65]


def test_boxes_are_clipped_to_the_image():
    results = [result((-5, -5, 10, 10), 0.9), result((95, 70, 20, 20), 0.8), result((120, 0, 5, 5), 0.7)]
    assert found(coco(), results)[7].tolist() == [[0, 0, 5, 5], [95, 70, 100, 80]]


@given(
    st.lists(st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 40)] * 2), max_size=4),
    st.lists(st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 40)] * 2, st.integers(0, 10)), max_size=8),
    st.integers(1, 4),
)
def test_what_is_returned_overlaps_nothing_and_what_is_not_is_weak_or_overlaps(lesions, predictions, limit):
    results = [result(one[:4], one[4] / 10) for one in predictions]
    boxes = found(coco(*lesions), results, max_iou=0.0, per_image=limit)[7]

    def apart(box, other):
        return box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1]

    corners = to_xyxy(lesions)
    expected = [
        one["score"]
        for one in results
        if one["score"] >= 0.5 and all(apart(to_xyxy([one["bbox"]])[0], other) for other in corners)
    ]
    assert all(apart(box, other) for box in boxes for other in corners)
    scores = {
        tuple(to_xyxy([one["bbox"]])[0]): one["score"] for one in sorted(results, key=lambda r: r["score"])
    }
    assert len(boxes) == min(limit, len(expected))
    assert all(scores[tuple(box)] >= sorted(expected)[-limit:][0] for box in boxes.astype(float))


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (result((1, 1, 2, 2), image_id=77), r"results\[1\]\.image_id: no such image.*77.*train\.json"),
        (result((1, 1, 2, 2), category_id=5), r"results\[1\]\.category_id"),
        (result((1, 1, 0, 2)), r"results\[1\]\.bbox"),
        (result((1, 1, 2, 2), score=float("nan")), r"results\[1\]\.score"),
    ],
)
def test_faults_of_the_results_are_named(broken, named):
    with pytest.raises(InputError, match=named):
        found(coco(), [result((1, 1, 2, 2)), broken])


@pytest.mark.parametrize("limits", [{"min_score": 1.1}, {"max_iou": -0.1}, {"per_image": 0}])
def test_impossible_limits_are_named(limits):
    with pytest.raises(InputError, match=next(iter(limits))):
        found(coco(), [], **limits)
