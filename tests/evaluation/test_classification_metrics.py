"""Confusion, ratios and ROC: worked by hand and against scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from mammodet.evaluation.classification_metrics import ClassNumbers, classify
from mammodet.evaluation.roc import roc

NAMES = ("benign", "malignant")


def test_a_confusion_worked_by_hand():
    truth = ["benign"] * 6 + ["malignant"] * 4
    predicted = ["benign"] * 5 + ["malignant"] + ["malignant"] * 3 + ["benign"]
    table = classify(truth, predicted, NAMES)
    assert table.confusion == ((5, 1), (1, 3))
    assert (table.accuracy, table.cases) == (0.8, 10)
    assert table.per_class["malignant"] == ClassNumbers(4, 0.75, 0.75, 0.75)
    assert table.per_class["benign"] == ClassNumbers(6, 5 / 6, 5 / 6, 5 / 6)


def test_a_missed_case_is_wrong_but_nobodys_false_alarm():
    table = classify(
        ["benign", "malignant", "malignant"], ["benign", "malignant", "missed"], NAMES, ("missed",)
    )
    assert table.confusion == ((1, 0, 0), (0, 1, 1))
    assert table.accuracy == pytest.approx(2 / 3)
    assert table.per_class["malignant"] == ClassNumbers(2, 1.0, 0.5, pytest.approx(2 / 3))


def test_a_ratio_without_denominator_is_none():
    table = classify(["benign"], ["benign"], NAMES)
    assert table.per_class["malignant"] == ClassNumbers(0, None, None, None)
    empty = classify([], [], NAMES)
    assert (empty.accuracy, empty.cases, empty.confusion) == (None, 0, ((0, 0), (0, 0)))


def test_an_unknown_class_and_different_lengths_are_refused():
    with pytest.raises(ValueError, match="normal"):
        classify(["normal"], ["benign"], NAMES)
    with pytest.raises(ValueError, match="shorter"):
        classify(["benign"], [], NAMES)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=1, max_size=30))
def test_ratios_are_those_of_scikit_learn(pairs):
    truth, predicted = zip(*pairs, strict=True)
    table = classify(truth, predicted, NAMES)
    np.testing.assert_array_equal(table.confusion, metrics.confusion_matrix(truth, predicted, labels=NAMES))
    expected = metrics.precision_recall_fscore_support(truth, predicted, labels=NAMES, zero_division=np.nan)
    for place, name in enumerate(NAMES):
        numbers = table.per_class[name]
        given_numbers = (numbers.precision, numbers.sensitivity, numbers.f1)
        for value, reference in zip(given_numbers, (column[place] for column in expected[:3]), strict=True):
            assert (value is None and np.isnan(reference)) or value == pytest.approx(reference)


def test_roc_worked_by_hand():
    # 3 of the 4 pairs of one positive and one negative are in the right order
    curve = roc([False, False, True, True], [0.1, 0.4, 0.35, 0.8])
    assert curve.auc == pytest.approx(0.75)
    assert (curve.positives, curve.negatives, curve.note) == (2, 2, None)
    np.testing.assert_allclose(curve.false_positive_rate, [0, 0, 0.5, 0.5, 1])
    np.testing.assert_allclose(curve.true_positive_rate, [0, 0.5, 0.5, 1, 1])


def test_equal_scores_count_half():
    assert roc([True, False, False], [0.5, 0.5, 0.1]).auc == pytest.approx(0.75)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), min_size=2, max_size=25)
)
def test_auc_is_the_share_of_pairs_in_the_right_order(cases):
    positive = [score for truth, score in cases if truth]
    negative = [score for truth, score in cases if not truth]
    curve = roc([truth for truth, _ in cases], [score for _, score in cases])
    if not positive or not negative:
        assert curve.auc is None
        return
    wins = sum((one > two) + 0.5 * (one == two) for one in positive for two in negative)
    assert curve.auc == pytest.approx(wins / (len(positive) * len(negative)))


@pytest.mark.parametrize("truth", [[], [True], [False, False]])
def test_one_class_only_has_no_auc_a_reason_and_no_warning(truth):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = roc(truth, [0.5] * len(truth))
    assert curve.auc is None
    assert f"{sum(truth)} positive" in curve.note
    assert curve.thresholds.size == 0
