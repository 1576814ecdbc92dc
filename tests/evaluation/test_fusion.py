"""Boxes -> image -> breast as published (Lin et al. 2023): cases worked by hand, and what always holds."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco
from mammodet.evaluation.fusion import (
    BreastVerdict,
    ViewVerdict,
    breast_name,
    breast_verdict,
    fuse,
    image_verdict,
    suppress_benign,
)

BENIGN, MALIGNANT = 1, 2


def box(category, score, *bbox, image_id=1):
    return {
        "image_id": image_id,
        "category_id": category,
        "bbox": list(bbox or (0, 0, 10, 10)),
        "score": score,
    }


def malignant(score):
    return ViewVerdict(True, score, 1)


def other(score):
    return ViewVerdict(False, score, 1)


detections = st.lists(
    st.builds(
        lambda category, score, x, width, image_id: box(category, score, x, 0, width, 10, image_id=image_id),
        st.sampled_from([BENIGN, MALIGNANT]),
        st.floats(0, 1),
        st.integers(0, 15),
        st.integers(5, 20),
        st.sampled_from([1, 2]),
    ),
    max_size=8,
)
views = st.lists(
    st.builds(ViewVerdict, st.booleans(), st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=5
)


def test_the_malignant_box_stays_where_classes_overlap_by_more_than_half():
    benign = box(BENIGN, 0.9, 0, 0, 10, 10)
    overlapping = box(MALIGNANT, 0.3, 0, 0, 10, 9)  # IoU 0.9
    assert suppress_benign([benign, overlapping]) == [overlapping]
    half = box(MALIGNANT, 0.3, 0, 0, 10, 5)  # IoU 0.5 exactly is not above
    assert suppress_benign([benign, half]) == [benign, half]
    assert suppress_benign([benign, half], iou_threshold=0.49) == [half]


def test_boxes_of_other_images_and_of_the_same_class_do_not_suppress():
    apart = [
        box(BENIGN, 0.9),
        box(BENIGN, 0.4),
        box(MALIGNANT, 0.9, image_id=2),
        box(MALIGNANT, 0.5, image_id=2),
    ]
    assert suppress_benign(apart) == apart


@settings(max_examples=60, deadline=None)
@given(detections, st.randoms(use_true_random=False))
def test_suppression_is_idempotent_in_any_order_and_keeps_the_malignant(boxes, random):
    kept = suppress_benign(boxes)
    assert suppress_benign(kept) == kept
    assert [one for one in kept if one["category_id"] == MALIGNANT] == [
        one for one in boxes if one["category_id"] == MALIGNANT
    ]
    shuffled = random.sample(boxes, len(boxes))
    assert {id(one) for one in suppress_benign(shuffled)} == {id(one) for one in kept}


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([], ViewVerdict(False, 0.0, 0)),
        ([box(BENIGN, 0.75)], ViewVerdict(False, 0.25, 1)),
        ([box(BENIGN, 0.5), box(BENIGN, 0.75)], ViewVerdict(False, 0.25, 2)),
        ([box(BENIGN, 0.9), box(MALIGNANT, 0.31)], ViewVerdict(True, 0.31, 2)),
        ([box(MALIGNANT, 0.4), box(MALIGNANT, 0.8), box(BENIGN, 0.99)], ViewVerdict(True, 0.8, 3)),
    ],
)
def test_image_verdict_worked_by_hand(boxes, expected):
    assert image_verdict(boxes) == expected


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ([malignant(0.4), malignant(0.7)], (True, 0.7)),
        ([other(0.3), other(0.1)], (False, 0.1)),
        ([malignant(0.51), other(0.05)], (True, 0.51)),
        ([malignant(0.5), other(0.05)], (False, 0.05)),  # above 0.5, not at it
        ([malignant(0.4), other(0.2)], (False, 0.2)),
        ([malignant(0.35)], (True, 0.35)),  # one view decides alone, however weak
        ([other(0.6)], (False, 0.6)),
        # three views: the two CC are fused first, then CC against MLO
        ([malignant(0.4), malignant(0.6), other(0.1)], (True, 0.6)),
        ([malignant(0.4), other(0.3), other(0.1)], (False, 0.1)),
    ],
)
def test_breast_verdict_worked_by_hand(pair, expected):
    verdict = breast_verdict(pair)
    assert (verdict.malignant, verdict.score) == expected
    assert (verdict.views, verdict.boxes) == (len(pair), len(pair))


@settings(max_examples=80, deadline=None)
@given(views, st.randoms(use_true_random=False))
def test_breast_verdict_ignores_the_order_and_stays_within_its_views(verdicts, random):
    verdict = breast_verdict(verdicts)
    assert breast_verdict(random.sample(verdicts, len(verdicts))) == verdict
    # The score is that of one of the views which have the status of the breast.
    assert verdict.score in [view.score for view in verdicts if view.malignant == verdict.malignant]
    assert verdict.boxes == sum(view.boxes for view in verdicts)


@settings(max_examples=60, deadline=None)
@given(views)
def test_a_view_told_twice_changes_nothing(verdicts):
    once, twice = breast_verdict(verdicts), breast_verdict([*verdicts, verdicts[0]])
    assert (once.malignant, once.score) == (twice.malignant, twice.score)


def test_no_view_is_our_own_mistake():
    with pytest.raises(ValueError, match="at least one view"):
        breast_verdict([])


def test_fuse_needs_images_only_and_tells_the_boxes_that_count():
    images = [
        {"id": 1, "file_name": "cc.png", "breast_id": "p_L"},
        {"id": 2, "file_name": "mlo.png", "breast_id": "p_L"},
        {"id": 3, "file_name": "other.png"},
    ]
    results = [
        box(MALIGNANT, 0.9, image_id=1),
        box(BENIGN, 0.95, image_id=1),  # on the malignant one: suppressed
        box(MALIGNANT, 0.29, image_id=2),  # below the threshold
        box(BENIGN, 0.3, image_id=2),  # at the threshold: counts
    ]
    fusion = fuse(Coco(images, [], Path("images.json")), results, 0.3)
    assert fusion.images == {
        1: ViewVerdict(True, 0.9, 1),
        2: ViewVerdict(False, pytest.approx(0.7), 1),
        3: ViewVerdict(False, 0.0, 0),
    }
    assert fusion.breasts == {
        "p_L": BreastVerdict(True, 0.9, 2, 2),
        "image 3": BreastVerdict(False, 0.0, 0, 1),
    }
    assert fusion.breast_of == {1: "p_L", 2: "p_L", 3: "image 3"}
    assert fusion.detections == {1: [results[0]], 2: [results[3]], 3: []}


def test_a_suppressed_box_below_the_threshold_suppresses_nothing():
    images = [{"id": 1, "file_name": "cc.png"}]
    fusion = fuse(Coco(images, [], Path("images.json")), [box(MALIGNANT, 0.2), box(BENIGN, 0.8)], 0.3)
    assert fusion.images[1] == ViewVerdict(False, pytest.approx(0.2), 1)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ({"id": 7, "breast_id": "x", "patient_id": "p", "laterality": "L"}, "x"),
        ({"id": 7, "patient_id": "p", "laterality": "L"}, "p_L"),
        ({"id": 7, "patient_id": "p", "study_id": "s", "laterality": "L"}, "p_s_L"),
        ({"id": 7, "patient_id": "p", "laterality": None}, "image 7"),
        ({"id": 7, "laterality": "L"}, "image 7"),
    ],
)
def test_breast_name(image, name):
    assert breast_name(image) == name
