"""Overlap of boxes, and which predicted box speaks for which true lesion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mammodet.datasets.coco import to_xyxy
from mammodet.evaluation.matching import UNMATCHED, iou_matrix, malignancy, match_lesions

boxes_xywh = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40)), max_size=6
)


def box(category, score, *bbox):
    return {"image_id": 1, "category_id": category, "bbox": list(bbox), "score": score}


@settings(max_examples=60, deadline=None)
@given(boxes_xywh, boxes_xywh)
def test_iou_is_symmetric_from_0_to_1_and_that_of_pycocotools(first, second):
    iou = iou_matrix(to_xyxy(first), to_xyxy(second))
    assert iou.shape == (len(first), len(second))
    assert ((iou >= 0) & (iou <= 1)).all()
    np.testing.assert_array_equal(iou, iou_matrix(to_xyxy(second), to_xyxy(first)).T)
    np.testing.assert_array_equal(np.diag(iou_matrix(to_xyxy(first), to_xyxy(first))), 1.0)
    if first and second:
        reference = coco_mask.iou(
            np.array(first, dtype=float), np.array(second, dtype=float), [0] * len(second)
        )
        np.testing.assert_allclose(iou, reference, rtol=1e-12, atol=1e-12)


def test_iou_worked_by_hand():
    # common 5 x 10 = 50, union 100 + 100 - 50 = 150; the third touches without overlap
    iou = iou_matrix([[0, 0, 10, 10]], [[5, 0, 15, 10], [0, 0, 10, 10], [10, 0, 20, 10], [3, 3, 3, 8]])
    np.testing.assert_allclose(iou, [[1 / 3, 1.0, 0.0, 0.0]])


def test_a_benign_box_speaks_with_one_minus_its_score():
    assert malignancy(box(2, 0.7, 0, 0, 1, 1)) == 0.7
    assert malignancy(box(1, 0.75, 0, 0, 1, 1)) == 0.25


def test_the_box_with_the_highest_iou_decides_whatever_its_class_and_score():
    lesions = [{"bbox": [0, 0, 10, 10]}, {"bbox": [100, 0, 10, 10]}, {"bbox": [200, 0, 10, 10]}]
    detections = [
        box(2, 0.99, 6, 0, 10, 10),  # IoU 40 / 160 with the first
        box(1, 0.6, 2, 0, 10, 10),  # IoU 80 / 120 with the first
        box(2, 0.4, 109, 9, 10, 10),  # IoU 1 / 199 with the second
    ]
    first, second, third = match_lesions(lesions, detections)
    assert (first.detection, first.malignant, first.score) == (1, False, pytest.approx(0.4))
    assert first.iou == pytest.approx(80 / 120)
    assert (second.detection, second.malignant, second.score) == (2, True, 0.4)
    assert third == UNMATCHED
    assert match_lesions(lesions, detections, min_iou=0.1)[1] == UNMATCHED


def test_one_box_may_speak_for_two_lesions():
    lesions = [{"bbox": [0, 0, 10, 10]}, {"bbox": [10, 0, 10, 10]}]
    assert [match.detection for match in match_lesions(lesions, [box(2, 0.8, 0, 0, 20, 10)])] == [0, 0]


def test_without_boxes_or_lesions():
    assert match_lesions([{"bbox": [0, 0, 10, 10]}], []) == [UNMATCHED]
    assert match_lesions([], [box(2, 0.8, 0, 0, 20, 10)]) == []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2]), st.sampled_from([0.4, 0.5, 0.6]), st.integers(0, 3)), max_size=5
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_predictions_does_not_matter(drawn, random):
    detections = [box(category, score, shift, 0, 10, 10) for category, score, shift in drawn]
    shuffled = random.sample(detections, len(detections))
    lesions = [{"bbox": [1, 0, 10, 10]}]
    one, other = match_lesions(lesions, detections)[0], match_lesions(lesions, shuffled)[0]
    assert (one.malignant, one.score, one.iou) == (other.malignant, other.score, other.iou)
