"""Numbers of classifiers: scikit-learn's on the same cases, intervals that hold patients together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from mammodet.datasets.errors import InputError
from mammodet.evaluation.class_scores import ClassScores
from mammodet.evaluation.classifier_numbers import classifier_numbers
from mammodet.evaluation.resampling import Bootstrap

NO_RESAMPLES = Bootstrap(resamples=0)


def scored(truth, classes=2, seed=0, patients=None, positive=None, skill=0.5):
    """Return scores of a classifier that knows a little."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(len(truth), classes))
    for place, one in enumerate(truth):
        if one is not None:
            logits[place, one] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = tuple("abcdefg"[:classes])
    owners = [str(place) for place in range(len(truth))] if patients is None else patients
    return ClassScores(names, truth, probabilities, owners, classes - 1 if positive is None else positive)


def reference(scores, verdicts):
    """Return what scikit-learn says of two classes."""
    truth = np.array(scores.truth) == scores.positive
    given = verdicts == scores.positive
    return {
        "accuracy": metrics.accuracy_score(truth, given),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, given),
        "sensitivity": metrics.recall_score(truth, given),
        "specificity": metrics.recall_score(~truth, ~given),
        "ppv": metrics.precision_score(truth, given),
        "npv": metrics.precision_score(~truth, ~given),
        "f1": metrics.f1_score(truth, given),
        "mcc": metrics.matthews_corrcoef(truth, given),
        "auc": metrics.roc_auc_score(truth, scores.score),
    }


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("threshold", [None, 0.3])
def test_two_classes_have_the_numbers_of_scikit_learn(positive, threshold):
    truth = np.random.default_rng(3).integers(0, 2, 60).tolist()
    scores = scored(truth, positive=positive)
    found = classifier_numbers("net", scores, NO_RESAMPLES, threshold)
    given = (
        scores.probabilities.argmax(axis=1)
        if threshold is None
        else np.where(scores.score >= threshold, positive, 1 - positive)
    )
    expected = reference(scores, given)
    assert {name: one.value for name, one in found.numbers.items()} == pytest.approx(expected)
    matrix = metrics.confusion_matrix(truth, given, labels=[0, 1])
    np.testing.assert_array_equal(found.table.confusion, matrix)


@given(st.integers(3, 5), st.integers(6, 40), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_several_classes_have_the_numbers_of_scikit_learn(classes, more, seed):
    random = np.random.default_rng(seed)
    truth = [*range(classes), *random.integers(0, classes, more).tolist()]
    scores = scored(truth, classes, seed)
    given = scores.probabilities.argmax(axis=1)
    found = classifier_numbers("net", scores, NO_RESAMPLES)
    expected = {
        "accuracy": metrics.accuracy_score(truth, given),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, given),
        "macro_f1": metrics.f1_score(truth, given, average="macro"),
        "mcc": metrics.matthews_corrcoef(truth, given),
        "macro_auc": metrics.roc_auc_score(truth, scores.probabilities, multi_class="ovr"),
    }
    assert {name: one.value for name, one in found.numbers.items()} == pytest.approx(expected)
    for place, name in enumerate(scores.classes):
        own = np.array(truth) == place
        assert found.per_class[name]["auc"].value == pytest.approx(
            metrics.roc_auc_score(own, scores.probabilities[:, place])
        )
        assert found.per_class[name]["f1"].value == pytest.approx(metrics.f1_score(own, given == place))


def test_a_resample_is_a_physical_copy_of_its_patients():
    """The bootstrap's limits are those of scikit-learn's numbers on data that are copied by hand."""
    truth = np.random.default_rng(1).integers(0, 2, 40).tolist()
    patients = [f"p{place // 4:02d}" for place in range(40)]
    scores = scored(truth, patients=patients)
    bootstrap = Bootstrap(resamples=60, seed=4)
    found = classifier_numbers("net", scores, bootstrap)
    given = scores.probabilities.argmax(axis=1)
    random, drawn = np.random.default_rng(4), {name: [] for name in found.numbers}
    for counts in random.multinomial(10, np.full(10, 0.1), size=60):
        rows = np.repeat(np.arange(40), np.repeat(counts, 4))
        copy = ClassScores(
            scores.classes,
            [truth[row] for row in rows],
            scores.probabilities[rows],
            [patients[row] for row in rows],
            scores.positive,
        )
        for name, value in reference(copy, given[rows]).items():
            drawn[name].append(value)
    for name, values in drawn.items():
        interval = found.numbers[name].intervals["bootstrap"]
        assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_every_number_has_its_kinds_of_intervals():
    truth = np.random.default_rng(2).integers(0, 2, 50).tolist()
    found = classifier_numbers("net", scored(truth), Bootstrap(resamples=50))
    assert set(found.numbers["sensitivity"].intervals) == {"bootstrap", "wilson", "wald"}
    assert set(found.numbers["auc"].intervals) == {"bootstrap", "delong", "obuchowski", "newcombe"}
    assert set(found.numbers["mcc"].intervals) == {"bootstrap"}
    assert found.bands["b"] is not None and list(found.rocs) == ["b"]
    wilson = found.numbers["accuracy"].intervals["wilson"]
    assert wilson.low < found.numbers["accuracy"].value < wilson.high


def test_cases_without_a_class_are_left_out_and_counted():
    truth = [0, 1, None, 1, 0, None, 1]
    all_scores = scored(truth)
    found = classifier_numbers("net", all_scores, NO_RESAMPLES)
    known = [0, 1, 3, 4, 6]
    alone = classifier_numbers(
        "net",
        ClassScores(
            all_scores.classes,
            [truth[place] for place in known],
            all_scores.probabilities[known],
            [all_scores.patients[place] for place in known],
            1,
        ),
        NO_RESAMPLES,
    )
    assert (found.cases, found.unlabelled) == (5, 2)
    assert {name: one.value for name, one in found.numbers.items()} == {
        name: one.value for name, one in alone.numbers.items()
    }


def test_one_class_alone_leaves_undefined_what_needs_the_other():
    found = classifier_numbers("net", scored([1, 1, 1, 1]), Bootstrap(resamples=20))
    assert found.empty_classes == ("a",)
    assert found.numbers["sensitivity"].value is not None
    for name in ("specificity", "balanced_accuracy", "mcc", "auc"):
        assert found.numbers[name].value is None
        assert found.numbers[name].intervals["bootstrap"].low is None
    assert found.rocs["b"].auc is None


def test_scores_are_checked():
    with pytest.raises(InputError, match="not 0 to 1"):
        ClassScores(("a", "b"), [0], np.array([[np.nan, 1.0]]), ["p"], 1)
    with pytest.raises(ValueError, match="do not fit"):
        ClassScores(("a", "b"), [0, 2], np.full((2, 2), 0.5), ["p", "q"], 1)
    with pytest.raises(InputError, match="two classes"):
        scored([0, 1, 2], 3).verdicts(0.5)
    with pytest.raises(InputError, match="0 to 1"):
        scored([0, 1]).verdicts(1.5)
