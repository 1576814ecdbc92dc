"""Two models on the same cases."""

from pathlib import Path

import numpy as np
import pytest

from mammodet.datasets.coco import Coco
from mammodet.evaluation.auc import WeightedAuc, delong
from mammodet.evaluation.comparison import compare_coco, mcnemar, paired_bootstrap, paired_delong
from mammodet.evaluation.resampling import PatientResamples


def cases(seed, better=0.8, size=200):
    rng = np.random.default_rng(seed)
    truth = rng.random(size) < 0.4
    shared = rng.normal(size=size)
    first = shared + rng.normal(size=size) + 0.8 * truth
    return truth, first, shared + rng.normal(size=size) + (0.8 + better) * truth


def test_delong_tells_a_better_model_and_agrees_with_the_bootstrap():
    truth, first, second = cases(0)
    found = paired_delong(truth, first, second)
    assert found.difference == pytest.approx(found.second - found.first)
    assert found.p < 0.01 and found.interval.low > 0
    resamples = PatientResamples(list(range(len(truth))), 2000)
    values = tuple(resamples.values(WeightedAuc(truth, scores)) for scores in (first, second))
    boot = paired_bootstrap(found.first, found.second, values, resamples)
    assert boot.interval.low == pytest.approx(found.interval.low, abs=0.015)
    assert boot.interval.high == pytest.approx(found.interval.high, abs=0.015)
    assert boot.p == pytest.approx(found.p, abs=0.01)


def test_pairing_counts_what_the_models_share():
    truth, first, second = cases(1)
    paired = paired_delong(truth, first, second).interval
    alone = [delong(truth, scores).covariance[0, 0] for scores in (first, second)]
    assert paired.high - paired.low < 2 * 1.96 * np.sqrt(sum(alone))


def test_the_other_way_round_is_the_negative():
    truth, first, second = cases(2)
    one, other = paired_delong(truth, first, second), paired_delong(truth, second, first)
    assert other.difference == pytest.approx(-one.difference)
    assert other.interval.low == pytest.approx(-one.interval.high)
    assert other.p == pytest.approx(one.p)


def test_a_model_against_itself():
    truth, first, _ = cases(3)
    same = paired_delong(truth, first, first)
    assert (same.difference, same.p) == (0, None)
    assert "no variance" in same.reason
    resamples = PatientResamples(list(range(len(truth))), 200)
    values = resamples.values(WeightedAuc(truth, first))
    boot = paired_bootstrap(0.7, 0.7, (values, values), resamples)
    assert (boot.difference, boot.interval.low, boot.interval.high, boot.p) == (0, 0, 0, 1)
    assert mcnemar(truth, truth).p == 1


def test_mcnemar_gives_the_published_number():
    # Agresti, Categorical Data Analysis, table 10.1: 794, 150, 86, 570; without a correction z^2 = 17.36.
    first = np.repeat([True, True, False, False], [794, 150, 86, 570])
    second = np.repeat([True, False, True, False], [794, 150, 86, 570])
    found = mcnemar(first, second)
    assert found.test == "McNemar, chi-square"
    assert found.difference == pytest.approx(-0.04)
    assert (found.interval.low, found.interval.high) == (
        pytest.approx(-0.0587, abs=1e-3),
        pytest.approx(-0.0213, abs=1e-3),
    )
    assert found.p == pytest.approx(4.1e-5, rel=0.05)  # (64 - 1)^2 / 236 = 16.82
    # Exact: 1 against 9 of ten, twice P(X <= 1) of a fair coin.
    few = mcnemar([True] + [False] * 9, [False] + [True] * 9)
    assert (few.test, few.p) == ("McNemar, exact", pytest.approx(2 * 11 / 1024))


def test_what_cannot_be_compared_has_a_reason():
    assert "needs two cases" in paired_delong([True, False], [0.1, 0.2], [0.3, 0.1]).reason
    assert mcnemar([], []).reason == "there are no cases"
    one = PatientResamples(["a", "a"], 10)
    assert "one" in paired_bootstrap(0.5, 0.6, (np.ones(10), np.ones(10)), one).reason
    assert paired_bootstrap(None, 0.6, (np.ones(10), np.ones(10)), PatientResamples([1, 2], 10)).p is None


def test_the_lesion_of_one_patient_proves_nothing():
    images = [
        {"id": number, "file_name": f"{number}.png", "width": 500, "height": 500, "patient_id": str(number)}
        for number in range(1, 31)
    ]
    lesions = [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 10, 80, 80]}]
    boxes = [{"image_id": 1, "category_id": 2, "bbox": [10, 10, 80, 80], "score": 0.9}]
    coco, resamples = Coco(images, lesions, Path("gt.json")), PatientResamples([str(n) for n in range(1, 31)])
    found = compare_coco(coco, [], boxes, resamples)["malignant"]["AR_100"]
    assert (found.first, found.second, found.difference) == (0, 1, 1)
    assert (found.interval.low, found.interval.high, found.p) == (None, None, None)
    assert found.reason == found.interval.reason == "the difference is the same in every resample"


def test_coco_numbers_of_a_model_that_finds_more():
    images = [
        {"id": number, "file_name": f"{number}.png", "width": 500, "height": 500, "patient_id": str(number)}
        for number in range(1, 31)
    ]
    lesions = [
        {"id": one["id"], "image_id": one["id"], "category_id": 2, "bbox": [10, 10, 80, 80]} for one in images
    ]
    boxes = [{**{k: one[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.9} for one in lesions]
    found = compare_coco(
        Coco(images, lesions, Path("gt.json")),
        boxes[:15],
        boxes,
        PatientResamples([str(n) for n in range(1, 31)], 300),
    )
    best = found["malignant"]["AR_100"]
    assert (best.first, best.second, best.difference) == (0.5, 1.0, 0.5)
    assert 0.25 < best.interval.low < 0.5 < best.interval.high < 0.75
    assert best.p < 0.01
    assert found["benign"]["AP"].difference is None and found["benign"]["AP"].reason
