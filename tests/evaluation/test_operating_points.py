"""Thresholds by rule and the numbers there, against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from mammodet.datasets.errors import InputError
from mammodet.evaluation.operating_points import (
    DEFAULT_RULES,
    NUMBERS,
    PointRule,
    ScoreTable,
    operating_points,
)
from mammodet.evaluation.resampling import PatientResamples

TRUTH = [True, True, True, True, False, False, False, False, False, False]
SCORES = [0.9, 0.8, 0.6, 0.3, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1]


def points(truth, scores, *rules, resamples=200):
    patients = PatientResamples(list(range(len(truth))), resamples)
    found = operating_points(truth, scores, rules, patients, patients.codes)
    return found if len(rules) > 1 else found[0]


def value(point, name):
    return point.numbers[name].value


def test_points_by_hand():
    sensitivity, specificity, youden = points(
        TRUTH, SCORES, PointRule("sensitivity", 0.75), PointRule("specificity", 0.8), PointRule("youden")
    )
    assert (sensitivity.threshold, value(sensitivity, "specificity")) == (0.6, pytest.approx(5 / 6))
    assert (specificity.threshold, value(specificity, "sensitivity")) == (0.6, pytest.approx(3 / 4))
    assert youden.threshold == 0.6  # 3/4 + 5/6 - 1 = 0.583, more than 1/2 at 0.8
    given = points(TRUTH, SCORES, PointRule("threshold", 0.65))
    assert {name: value(given, name) for name in ("sensitivity", "ppv", "npv")} == {
        "sensitivity": 0.5,
        "ppv": pytest.approx(2 / 3),
        "npv": pytest.approx(5 / 7),
    }


@given(st.integers(0, 10_000), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_numbers_are_those_of_scikit_learn(seed, threshold):
    rng = np.random.default_rng(seed)
    truth = rng.random(30) < 0.5
    scores = rng.integers(0, 11, 30) / 10
    weights = rng.integers(0, 3, (1, 30))
    [(found, _)] = ScoreTable(truth, scores).numbers([PointRule("threshold", threshold)], weights)
    called = scores >= threshold
    options = {"sample_weight": weights[0]}
    expected = {
        "sensitivity": metrics.recall_score(truth, called, zero_division=np.nan, **options),
        "accuracy": metrics.accuracy_score(truth, called, **options),
        "ppv": metrics.precision_score(truth, called, zero_division=np.nan, **options),
        "f1": metrics.f1_score(truth, called, zero_division=np.nan, **options),
    }
    for name, number in expected.items():
        assert found[name][0] == pytest.approx(number, nan_ok=True)
    if np.isfinite(found["mcc"][0]):
        assert found["mcc"][0] == pytest.approx(metrics.matthews_corrcoef(truth, called, **options))


def test_the_threshold_is_chosen_anew_in_every_resample():
    """At a fixed sensitivity that is reached exactly, the interval of the sensitivity stays close to it."""
    rng = np.random.default_rng(0)
    truth = rng.random(400) < 0.5
    scores = np.clip(rng.normal(0.5, 0.1, 400) + 0.1 * truth, 0, 1)
    chosen = points(truth, scores, PointRule("sensitivity", 0.8))
    fixed = points(truth, scores, PointRule("threshold", chosen.threshold))
    width = [
        one.numbers["sensitivity"].intervals["bootstrap"].high
        - one.numbers["sensitivity"].intervals["bootstrap"].low
        for one in (chosen, fixed)
    ]
    assert width[0] < 0.3 * width[1]
    assert chosen.numbers["specificity"].intervals["bootstrap"].low < value(chosen, "specificity")


def test_every_number_has_a_bootstrap_and_every_proportion_wilson():
    point = points(TRUTH, SCORES, PointRule("youden"))
    assert tuple(point.numbers) == NUMBERS
    with_wilson = {name for name, one in point.numbers.items() if "wilson" in one.intervals}
    assert with_wilson == {"sensitivity", "specificity", "accuracy", "ppv", "npv"}
    assert all("bootstrap" in one.intervals for one in point.numbers.values())


def test_one_class_equal_scores_and_no_cases():
    for point in points([True, True], [0.1, 0.2], *DEFAULT_RULES[:3]):
        assert point.numbers == {}
        assert "2 positive and 0 negative" in point.reason
    equal = points([True, False], [0.5, 0.5], PointRule("specificity", 0.9))
    assert equal.threshold is None  # only above every score is the specificity high enough
    assert (value(equal, "sensitivity"), value(equal, "ppv"), value(equal, "mcc")) == (0, None, None)
    assert points([], [], PointRule("youden")).reason
    assert value(points([], [], PointRule("threshold", 0.5)), "sensitivity") is None


def test_rules_are_checked():
    with pytest.raises(InputError, match="sensitivity"):
        PointRule("sensitivity", 1.5)
    with pytest.raises(ValueError, match="no such rule"):
        PointRule("best")
