"""COCO's matching on arrays against pycocotools itself: ties, ignored lesions, crowds, thresholds, maxDets."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco, read_coco, read_results
from mammodet.evaluation.box_matching import Selection, class_boxes, match_class
from mammodet.evaluation.detection_metrics import match_boxes
from mammodet.evaluation.weighted_ap import averages, sharing

THRESHOLDS = np.array([0.1, 0.3, 0.5, 0.75, 1.0])
MOST = [1, 3, 20]
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}

# Coarse numbers, so that boxes, overlaps and scores are often equal.
place, side = (st.sampled_from(some).map(float) for some in ([0, 10, 20, 30], [0, 30, 60, 70, 80, 100, 120]))
box = st.tuples(place, place, side, side).map(list)
lesion = st.fixed_dictionaries(
    {
        "image_id": st.sampled_from([1, 1, 1, 2, 3]),
        "category_id": st.sampled_from([1, 1, 1, 2]),
        "bbox": box,
        "iscrowd": st.sampled_from([0, 0, 0, 1]),
        "ignore": st.sampled_from([0, 0, 0, 1]),
        "counted": st.booleans(),
    }
)
prediction = st.fixed_dictionaries(
    {
        "image_id": st.sampled_from([1, 1, 1, 2, 3]),
        "category_id": st.sampled_from([1, 1, 1, 2]),
        "bbox": box,
        "score": st.sampled_from([0.2, 0.5, 0.9]),
    }
)


def data_set(lesions):
    lesions = [{**one, "id": number} for number, one in enumerate(lesions, start=1)]
    images = [
        {"id": number, "file_name": f"{number}.png", "width": 200, "height": 200} for number in (1, 2, 3)
    ]
    return Coco(images, lesions, Path("gt.json"))


def by_pycocotools(coco, results, thresholds, most, ignored=(), images=None):
    """Return the precision and recall arrays of COCOeval, its own annotations with ``ignored`` ids left out."""
    evaluator = match_boxes(coco, results, "pycocotools").evaluator
    evaluator.params.iouThrs, evaluator.params.maxDets = thresholds, list(most)
    if images is not None:
        evaluator.params.imgIds = list(images)
    for number in ignored:
        evaluator.cocoGt.anns[number]["left_out"] = True
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator.eval["precision"].mean(axis=1), evaluator.eval["recall"]  # [T, K, A, M]


def assert_same(coco, results, thresholds, most, expected, *, lesions=None, images=None):
    precision, recall = expected
    ones = np.ones((1, len(coco.images)), dtype=np.int32)
    for place, boxes in enumerate(class_boxes(coco, results, max(most))):
        for column, area in enumerate(AREAS.values()):
            selection = Selection(lesions, images, area)
            tables = [match_class(boxes, thresholds, selection=selection, most=one) for one in most]
            for row, (table, found) in enumerate(zip(tables, averages(tables, ones), strict=True)):
                for values, reference in ((found.precision, precision), (found.recall, recall)):
                    there = reference[:, place, column, row]
                    there = np.where(there < 0, np.nan, there)
                    np.testing.assert_allclose(values[0], there, rtol=0, atol=1e-12)
                np.testing.assert_array_equal(table.recall(ones), found.recall)


@given(st.lists(lesion, max_size=9), st.lists(prediction, max_size=25))
@settings(max_examples=150, deadline=None)
def test_every_threshold_size_and_number_of_boxes_is_that_of_pycocotools(lesions, results):
    coco = data_set(lesions)
    assert_same(coco, results, THRESHOLDS, MOST, by_pycocotools(coco, results, THRESHOLDS, MOST))


@given(st.lists(lesion, max_size=9), st.lists(prediction, max_size=25), st.sets(st.integers(1, 3)))
@settings(max_examples=75, deadline=None)
def test_lesions_that_are_not_chosen_are_ignored_and_images_that_are_not_are_left_out(
    lesions, results, images
):
    coco = data_set(lesions)
    chosen = np.array([one["counted"] for one in coco.annotations], dtype=bool)
    ignored = [one["id"] for one in coco.annotations if not one["counted"]]
    expected = by_pycocotools(coco, results, THRESHOLDS, MOST, ignored)
    assert_same(coco, results, THRESHOLDS, MOST, expected, lesions=chosen)
    if images:  # COCOeval takes an empty list of images for all of them
        expected = by_pycocotools(coco, results, THRESHOLDS, MOST, images=sorted(images))
        shown = np.array([number in images for number in (1, 2, 3)])
        assert_same(coco, results, THRESHOLDS, MOST, expected, images=shown)


def on(bbox, **more):
    return {"image_id": 1, "category_id": 1, "bbox": bbox, **more}


@pytest.mark.parametrize("last, found", [(0.0, 0.5), (20.0, 1.0)])
def test_of_equally_near_lesions_the_later_one_is_taken(last, found):
    # The first box lies between both lesions and takes the later one. The second box is near that at 0 only.
    lesions = [on([20.0 - last, 0.0, 100.0, 100.0]), on([last, 0.0, 100.0, 100.0])]
    results = [on([10.0, 0.0, 100.0, 100.0], score=0.9), on([0.0, 0.0, 100.0, 100.0], score=0.5)]
    coco = data_set(lesions)
    expected = by_pycocotools(coco, results, THRESHOLDS, MOST)
    assert expected[1][3, 0, 0, 2] == found  # recall at IoU 0.75
    assert_same(coco, results, THRESHOLDS, MOST, expected)


def test_a_crowd_takes_any_number_of_boxes_that_lie_in_it_and_an_ignored_lesion_one():
    seen = on([0.0, 0.0, 50.0, 50.0])
    results = [on([100.0 + n, 100.0, 50.0, 50.0], score=0.9 - n / 10) for n in range(3)]
    results.append(on([0.0, 0.0, 50.0, 50.0], score=0.1))
    for mark, precision in (({"iscrowd": 1}, 1), ({"ignore": 1}, 1 / 3)):
        coco = data_set([seen, on([90.0, 90.0, 70.0, 70.0], **mark)])
        expected = by_pycocotools(coco, results, THRESHOLDS, MOST)
        assert expected[0][1, 0, 0, 2] == pytest.approx(precision)
        assert_same(coco, results, THRESHOLDS, MOST, expected)


@pytest.fixture(scope="module")
def val2014(shared_data):
    coco = read_coco(shared_data / "coco" / "instances_val2014_100.json", profile=False)
    return coco, read_results(shared_data / "coco" / "instances_val2014_fakebbox100_results.json", coco)


def test_the_published_coco_files_at_other_thresholds_and_numbers_of_boxes(val2014):
    thresholds, most = np.array([0.1, 0.25, 0.5, 0.9]), [1, 5, 300]
    assert_same(*val2014, thresholds, most, by_pycocotools(*val2014, thresholds, most))


def test_a_box_that_lost_its_lesion_pushes_the_next_one_on():
    # Each box but the first prefers the lesion of the one before: every one is pushed one lesion further.
    lesions = [
        {
            "image_id": 1,
            "category_id": 1,
            "bbox": (10.0 * n, 0.0, 100.0, 100.0),
            "iscrowd": 0,
            "counted": True,
        }
        for n in range(8)
    ]
    results = [
        {
            "image_id": 1,
            "category_id": 1,
            "bbox": [max(0, 10.0 * n - 9), 0.0, 100.0, 100.0],
            "score": 1 - n / 10,
        }
        for n in range(8)
    ]
    coco = data_set(lesions)
    expected = by_pycocotools(coco, results, THRESHOLDS, MOST)
    assert expected[1][1, 0, 0, 2] == 1  # at IoU 0.3 all are found
    assert_same(coco, results, THRESHOLDS, MOST, expected)


@given(st.lists(lesion, max_size=9), st.lists(prediction, max_size=25), st.integers(0, 2**20))
@settings(max_examples=50, deadline=None)
def test_tables_that_share_a_running_sum_keep_their_numbers(lesions, results, seed):
    coco = data_set(lesions)
    weights = np.random.default_rng(seed).integers(0, 4, (70, 3)).astype(np.int32)
    chosen = np.array([one["counted"] for one in coco.annotations], dtype=bool)
    for boxes in class_boxes(coco, results):
        tables = [match_class(boxes, selection=Selection(some)) for some in (None, chosen, ~chosen)]
        for alone, together in zip(
            averages(tables, weights), averages(sharing(tables), weights), strict=True
        ):
            np.testing.assert_array_equal(alone.precision, together.precision)
            np.testing.assert_array_equal(alone.recall, together.recall)


def test_only_tables_of_the_same_boxes_share_a_running_sum(val2014):
    tables = [match_class(one) for one in class_boxes(*val2014)[:2]]
    with pytest.raises(ValueError, match="same boxes"):
        sharing(tables)
