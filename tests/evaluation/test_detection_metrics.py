"""The twelve COCO numbers: those the COCO API publishes, and the cases on which it crashes or misleads."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mammodet.datasets.coco import Coco, read_coco, read_results
from mammodet.evaluation.detection_metrics import NUMBER_NAMES, coco_metrics

PUBLISHED = (0.5046, 0.6970, 0.5730, 0.5856, 0.5194, 0.5014, 0.3868, 0.5937, 0.5954, 0.6398, 0.5664, 0.5643)


@pytest.fixture(scope="module")
def val2014(shared_data):
    coco = read_coco(shared_data / "coco" / "instances_val2014_100.json", profile=False)
    return coco, read_results(shared_data / "coco" / "instances_val2014_fakebbox100_results.json", coco)


def lesion(number, category=1, *bbox, **more):
    bbox = list(bbox or (10, 10, 50, 50))
    return {"id": number, "image_id": 1, "category_id": category, "bbox": bbox, **more}


def found(one, score=0.9, category=None):
    return {
        "image_id": one["image_id"],
        "category_id": category or one["category_id"],
        "bbox": one["bbox"],
        "score": score,
    }


def profile(*annotations):
    images = [{"id": 1, "file_name": "a.png", "width": 1000, "height": 1000}]
    return Coco(images, list(annotations), Path("gt.json"))


def test_the_twelve_published_numbers_of_coco_val2014(val2014):
    numbers = coco_metrics(*val2014)["all"]
    assert tuple(numbers) == NUMBER_NAMES
    assert [numbers[name] for name in NUMBER_NAMES] == pytest.approx(PUBLISHED, abs=5.1e-5)


def test_one_class_alone_gives_what_pycocotools_gives_for_it(val2014, capsys):
    coco, results = val2014
    person = coco_metrics(coco, results)["person"]
    truth = COCO()
    truth.dataset = {
        "images": coco.images,
        "annotations": copy.deepcopy(coco.annotations),
        "categories": coco.categories,
    }
    truth.createIndex()
    evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "bbox")
    evaluator.params.catIds = [1]
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    capsys.readouterr()
    expected = [None if value == -1 else value for value in evaluator.stats]
    assert [person[name] for name in NUMBER_NAMES] == [
        None if value is None else pytest.approx(value) for value in expected
    ]


def test_nothing_is_printed_and_nothing_changed(val2014, capsys):
    coco, results = val2014
    before = json.dumps([coco.annotations, coco.images, coco.categories, results])
    coco_metrics(coco, results)
    assert json.dumps([coco.annotations, coco.images, coco.categories, results]) == before
    assert capsys.readouterr().out == ""


def test_no_predictions_give_zeros_where_there_are_lesions():
    numbers = coco_metrics(profile(lesion(1)), [])
    assert numbers["all"]["AP"] == numbers["benign"]["AR_100"] == 0.0
    assert numbers["benign"]["AP_small"] is None  # the one lesion is of medium size
    assert set(numbers["malignant"].values()) == {None}


def test_no_lesions_at_all_give_no_number():
    numbers = coco_metrics(profile(), [found(lesion(1))])
    assert {value for values in numbers.values() for value in values.values()} == {None}


def test_area_may_be_missing_and_is_then_that_of_the_box():
    numbers = coco_metrics(profile(lesion(1, 1, 0, 0, 20, 20)), [found(lesion(1, 1, 0, 0, 20, 20))])
    assert numbers["all"]["AP_small"] == pytest.approx(1.0)
    assert numbers["all"]["AP_medium"] is None


@pytest.mark.parametrize("category", [1, 2])
def test_a_box_of_any_class_on_an_ignored_lesion_is_neither_right_nor_wrong(category):
    seen, without_truth = lesion(1, category, 10, 10, 50, 50), lesion(2, 1, 300, 300, 50, 50, ignore=1)
    results = [found(seen, 0.5), found(without_truth, 0.9, category)]
    assert coco_metrics(profile(seen, without_truth), results)["all"]["AP"] == pytest.approx(1.0)
    # The same box where nothing lies is wrong, and it comes before the right one: precision 1/2.
    assert coco_metrics(profile(seen), results)["all"]["AP"] == pytest.approx(0.5)
    # An ignored lesion that nobody finds does not count as missed.
    assert coco_metrics(profile(seen, without_truth), results[:1])["all"]["AR_100"] == pytest.approx(1.0)


def test_a_half_overlapping_box_counts_for_ap50_only():
    truth = lesion(1, 2, 0, 0, 100, 100)
    shifted = {**found(truth), "bbox": [0, 0, 100, 60]}  # IoU 0.6: right at 0.50, 0.55, 0.60
    numbers = coco_metrics(profile(truth), [shifted])["malignant"]
    assert (numbers["AP50"], numbers["AP75"]) == (pytest.approx(1.0), 0.0)
    assert numbers["AP"] == pytest.approx(0.3)


def test_classes_of_the_same_name_and_a_class_named_all_stay_apart():
    coco = profile()
    coco = Coco(
        coco.images, [], coco.path, [{"id": 1, "name": "all"}, {"id": 2, "name": "x"}, {"id": 3, "name": "x"}]
    )
    assert list(coco_metrics(coco, [])) == ["all", "all (1)", "x", "x (3)"]


def test_at_most_a_hundred_boxes_per_image_count():
    truth = lesion(1, 1, 0, 0, 50, 50)
    results = [{**found(truth, 0.9), "bbox": [500, 500, 10.0, 10.0 + place]} for place in range(100)]
    results.append(found(truth, 0.5))
    assert coco_metrics(profile(truth), results)["all"]["AR_100"] == 0.0
    assert np.isclose(coco_metrics(profile(truth), results[1:])["all"]["AR_100"], 1.0)
