"""The stochastic baseline against simulated draws, and when a classifier is called better than chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.evaluation.chance import chance_sentence, stochastic_baseline
from mammodet.evaluation.class_scores import ClassScores
from mammodet.evaluation.classifier_numbers import classifier_numbers
from mammodet.evaluation.classifier_statistics import ClassifierStatistics
from mammodet.evaluation.resampling import Bootstrap


def simulated(support, positive, draws=1200):
    """Return the mean of every number over classes drawn at random, where it is defined."""
    names = tuple("abcd"[: len(support)])
    truth = np.repeat(np.arange(len(support)), support).tolist()
    random = np.random.default_rng(0)
    shares = np.array(support) / sum(support)
    found = []
    for _ in range(draws):
        given = random.choice(len(support), size=len(truth), p=shares)
        random_scores = random.dirichlet(np.ones(len(support)), len(truth))
        scores = ClassScores(names, truth, random_scores, ["p"] * len(truth), positive)
        statistics = ClassifierStatistics(scores, given)
        found.append(statistics(np.ones((1, len(truth))))[0])
    return dict(zip(statistics.names, np.nanmean(found, axis=0), strict=True))


@pytest.mark.parametrize(("support", "positive"), [((30, 10), 1), ((5, 3), 0), ((4, 16), 1), ((12, 6, 4), 2)])
def test_the_closed_form_is_what_simulation_gives(support, positive):
    names = tuple("abcd"[: len(support)])
    baseline = stochastic_baseline(support, names, positive)
    expected = simulated(support, positive)
    for number, value in baseline.numbers.items():
        assert value == pytest.approx(expected[number], abs=0.03), number
    for name, own in baseline.per_class.items():
        for number, value in own.items():
            assert value == pytest.approx(expected[f"{name} {number}"], abs=0.03), (name, number)


@given(st.integers(1, 60), st.integers(1, 60))
@settings(deadline=None)
def test_known_properties_of_the_baseline(first, second):
    numbers = stochastic_baseline((first, second), ("a", "b"), 1).numbers
    assert numbers["accuracy"] >= 0.5 - 1e-12  # equal classes are the hardest to guess
    assert numbers["sensitivity"] + numbers["specificity"] == pytest.approx(1)
    assert 0 < numbers["f1"] <= numbers["ppv"] + 1e-12  # a ratio of means bounds the mean of ratios here


def test_a_class_without_cases_has_no_numbers():
    baseline = stochastic_baseline((0, 4), ("a", "b"), 1)
    assert baseline.numbers["specificity"] is None and baseline.numbers["auc"] is None
    assert baseline.numbers["accuracy"] == 1 and baseline.numbers["sensitivity"] == 1


def sentence(skill, per_class=40, resamples=200, classes=2):
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(classes), per_class)
    logits = random.normal(size=(len(truth), classes))
    logits[np.arange(len(truth)), truth] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    patients = [str(place) for place in range(len(truth))]
    scores = ClassScores(tuple("abcd"[:classes]), truth.tolist(), probabilities, patients, 1)
    return chance_sentence(classifier_numbers("net", scores, Bootstrap(resamples=resamples)))


def test_the_sentence_says_what_the_interval_says():
    assert sentence(0).startswith("no better than chance: the 95 % interval of the AUC, 0.")
    assert sentence(0).endswith("covers 0.5")
    assert sentence(2).startswith("better than chance") and sentence(2).endswith("lies above 0.5")
    assert sentence(-2).startswith("worse than chance")
    assert sentence(2, resamples=0).startswith("better than chance")  # by a formula
    assert "balanced accuracy" in sentence(2, classes=3) and sentence(2, classes=3).endswith("above 0.333")


def test_too_few_cases_are_named():
    assert sentence(5, per_class=4) == (
        "too few cases to compare with chance: cases of 4 patients only of class a, 5 are needed"
    )
    assert sentence(9, per_class=5).startswith("better than chance")


def test_noise_is_seldom_called_better_than_chance():
    """At the fewest patients that are taken; of 100 studies 2 to 4 are expected."""
    called = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        score = random.random(10)
        scores = ClassScores(
            ("a", "b"),
            [0, 1] * 5,
            np.stack([1 - score, score], axis=1),
            [str(place) for place in range(10)],
            1,
        )
        found = chance_sentence(classifier_numbers("net", scores, Bootstrap(resamples=200)))
        called += found.startswith("better than chance")
    assert called <= 9
