"""AP by weights: pycocotools' numbers with weights of 1, those of repeated images with whole weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco, read_coco, read_results
from mammodet.evaluation import fast_coco
from mammodet.evaluation.detection_metrics import NUMBER_NAMES, coco_metrics, match_boxes

needs_hotcoco = pytest.mark.skipif(not fast_coco.available(), reason="hotcoco is not installed")


def study(seed, images=12, ignoring=True):
    """Random lesions and boxes of two classes, with crowds and ignored lesions, all sizes, no equal scores."""
    rng = np.random.default_rng(seed)
    lesions, results = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 4)):
            side = float(rng.choice([20, 60, 150]))
            lesion = {
                "id": len(lesions) + 1,
                "image_id": image,
                "category_id": int(rng.integers(1, 3)),
                "bbox": [*rng.uniform(0, 800, 2).round().tolist(), side, side],
                "iscrowd": int(rng.random() < 0.1),
            }
            if ignoring and rng.random() < 0.15:
                lesion["ignore"] = 1
            lesions.append(lesion)
            for _ in range(rng.integers(0, 4)):
                x, y, width, height = lesion["bbox"]
                moved = [x + rng.normal(0, width / 8), y, width * rng.uniform(0.7, 1.4), height]
                category = lesion["category_id"] if rng.random() < 0.8 else 3 - lesion["category_id"]
                results.append({"image_id": image, "category_id": category, "bbox": moved})
        for _ in range(rng.integers(0, 5)):
            bbox = [*rng.uniform(0, 800, 2), *rng.uniform(15, 160, 2)]
            results.append({"image_id": image, "category_id": int(rng.integers(1, 3)), "bbox": bbox})
    for one, score in zip(results, rng.permutation(len(results)) + 1, strict=True):
        one["score"] = float(score) / (len(results) + 1)
    records = [
        {"id": number, "file_name": f"{number}.png", "width": 1000, "height": 1000}
        for number in range(1, images + 1)
    ]
    return Coco(records, lesions, Path("gt.json")), results


def repeated(coco, results, weights):
    """Return the data set with each image there as often as its weight says."""
    images, lesions, boxes = [], [], []
    for image, weight in zip(coco.images, weights, strict=True):
        for _ in range(weight):
            number = len(images) + 1
            images.append({**image, "id": number})
            for lesion in coco.annotations_of[image["id"]]:
                lesions.append({**lesion, "image_id": number, "id": len(lesions) + 1})
            boxes += [{**one, "image_id": number} for one in results if one["image_id"] == image["id"]]
    return replace(coco, images=images, annotations=lesions), boxes


def weighted(coco, results, *weights, engine="pycocotools"):
    return match_boxes(coco, results, engine).weighted()(np.array(weights, dtype=np.int32))


def difference(numbers, place, reference):
    """Return the largest difference to a reference; the same numbers must be undefined."""
    worst = 0.0
    for name, values in reference.items():
        for key in NUMBER_NAMES:
            value = numbers[name][key][place]
            assert np.isnan(value) == (values[key] is None), (name, key)
            worst = max(worst, 0.0 if values[key] is None else abs(value - values[key]))
    return worst


@pytest.mark.parametrize("seed", range(4))
def test_weights_of_one_give_the_numbers_of_pycocotools(seed):
    coco, results = study(seed)
    assert difference(weighted(coco, results, [1] * 12), 0, coco_metrics(coco, results)) < 1e-12


def test_the_published_coco_files_give_the_numbers_of_pycocotools(shared_data):
    coco = read_coco(shared_data / "coco" / "instances_val2014_100.json", profile=False)
    results = read_results(shared_data / "coco" / "instances_val2014_fakebbox100_results.json", coco)
    matched = match_boxes(coco, results, "pycocotools")
    reference = matched.numbers()
    assert reference["all"]["AP"] == pytest.approx(0.505, abs=5e-4)  # what pycocotools' authors print
    ones = np.ones((1, len(coco.images)), dtype=np.int32)
    assert difference(matched.weighted()(ones), 0, reference) < 1e-12


@needs_hotcoco
def test_hotcoco_gives_the_numbers_of_pycocotools_on_the_published_files(shared_data):
    coco = read_coco(shared_data / "coco" / "instances_val2014_100.json", profile=False)
    results = read_results(shared_data / "coco" / "instances_val2014_fakebbox100_results.json", coco)
    assert_same_engines(coco, results)


@needs_hotcoco
@pytest.mark.parametrize("seed", range(4))
def test_hotcoco_gives_the_numbers_of_pycocotools(seed):
    assert_same_engines(*study(seed, ignoring=False))


@needs_hotcoco
def test_hotcoco_takes_no_predictions_and_no_lesions():
    coco, results = study(0, ignoring=False)
    assert_same_engines(coco, [])
    assert_same_engines(replace(coco, annotations=[]), results)
    with pytest.raises(ValueError, match="ignore"):
        match_boxes(study(0)[0], [], "hotcoco")


def assert_same_engines(coco, results):
    one, other = (match_boxes(coco, results, engine) for engine in ("pycocotools", "hotcoco"))
    assert one.image_ids == other.image_ids
    reference, found = one.numbers(), other.numbers()
    for name, values in reference.items():
        assert found[name] == pytest.approx(values, abs=1e-12)
    ones = np.ones((1, len(coco.images)), dtype=np.int32)
    assert difference(other.weighted()(ones), 0, reference) < 1e-12


@given(seed=st.integers(0, 1000), weights=st.lists(st.integers(0, 3), min_size=12, max_size=12))
@settings(max_examples=25, deadline=None)
def test_whole_weights_are_repeated_images(seed, weights):
    coco, results = study(seed)
    numbers = weighted(coco, results, [1] * 12, weights)
    assert difference(numbers, 1, coco_metrics(*repeated(coco, results, weights))) < 1e-12


def test_every_resample_stands_for_itself():
    coco, results = study(3)
    weights = np.random.default_rng(0).integers(0, 4, (5, 12))
    together = weighted(coco, results, *weights)
    for place, one in enumerate(weights):
        alone = weighted(coco, results, one)
        for name in together:
            for key in NUMBER_NAMES:
                np.testing.assert_array_equal(together[name][key][place], alone[name][key][0])


def test_no_predictions_is_zero_and_no_lesions_is_undefined():
    coco, results = study(1)
    assert weighted(coco, [], [1] * 12)["all"]["AP"][0] == 0
    assert weighted(coco, [], [1] * 12)["all"]["AR_100"][0] == 0
    assert np.isnan(weighted(coco, results, [0] * 12)["all"]["AP"][0])
