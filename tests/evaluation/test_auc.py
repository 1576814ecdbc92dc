"""AUC: scikit-learn's with weights, DeLong's variance from its definition, and intervals that have a width."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mammodet.evaluation.auc import WeightedAuc, delong, delong_interval, newcombe_limits


def sample(seed, size=80, levels=12):
    """Return truth and two scores with ties."""
    rng = np.random.default_rng(seed)
    truth = rng.random(size) < 0.4
    truth[:4] = [True, True, False, False]
    scores = np.round((rng.normal(size=(2, size)) + truth) * levels / 4) / levels
    return truth, scores


def by_pairs(truth, scores):
    """DeLong et al. 1988 as it is defined, by every pair of a positive and a negative case."""
    shares = []
    for row in scores:
        kernel = (row[truth][:, None] > row[~truth][None, :]) + 0.5 * (
            row[truth][:, None] == row[~truth][None, :]
        )
        shares.append((kernel.mean(axis=1), kernel.mean(axis=0), kernel.mean()))
    auc = np.array([one[2] for one in shares])
    covariance = np.zeros((len(scores), len(scores)))
    for i, one in enumerate(shares):
        for j, other in enumerate(shares):
            for part in (0, 1):
                deviations = (one[part] - auc[i]) * (other[part] - auc[j])
                covariance[i, j] += deviations.sum() / (len(deviations) - 1) / len(deviations)
    return auc, covariance


@pytest.mark.parametrize("seed", range(6))
def test_delong_is_what_its_definition_says(seed):
    truth, scores = sample(seed)
    auc, covariance = by_pairs(truth, scores)
    found = delong(truth, scores)
    np.testing.assert_allclose(found.auc, auc, atol=1e-12, rtol=0)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-10, rtol=0)


def test_delong_by_hand():
    # Positives 0.9, 0.4 against negatives 0.5, 0.1: three of four pairs are won.
    # Shares of the positives 1 and 0.5, of the negatives 0.5 and 1: variance 0.125 / 2 from each class.
    found = delong([True, True, False, False], [0.9, 0.4, 0.5, 0.1])
    assert found.auc[0] == pytest.approx(0.75)
    assert found.covariance[0, 0] == pytest.approx(0.125)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_weighted_auc_is_that_of_scikit_learn(seed):
    truth, (scores, _) = sample(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(truth)))
    weights[:, :4] += 1
    found = WeightedAuc(truth, scores)(weights)
    expected = [roc_auc_score(truth, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_weights_are_repeated_cases_and_the_order_does_not_matter():
    truth, (scores, _) = sample(1)
    weights = np.random.default_rng(0).integers(0, 4, len(truth))
    again = np.repeat(np.arange(len(truth)), weights)
    order = np.random.default_rng(1).permutation(len(truth))
    value = WeightedAuc(truth, scores)(weights[None])[0]
    assert value == pytest.approx(roc_auc_score(truth[again], scores[again]), abs=1e-12)
    assert WeightedAuc(truth[order], scores[order])(weights[order][None])[0] == pytest.approx(
        value, abs=1e-14
    )


def test_one_class_is_undefined_and_equal_scores_are_one_half():
    assert np.isnan(WeightedAuc([True, True], [0.1, 0.2])([[1, 1]])[0])
    assert np.isnan(WeightedAuc([True, False], [0.1, 0.2])([[1, 0]])[0])
    assert np.isnan(WeightedAuc([], [])(np.ones((1, 0)))[0])
    assert WeightedAuc([True, False, False], [0.3] * 3)([[1, 1, 2]])[0] == 0.5


def test_clusters_of_one_give_delong_and_copies_do_not_narrow_the_interval():
    truth, scores = sample(2)
    plain = delong(truth, scores)
    # Of clusters of one class each, the factors are those of DeLong; nothing covaries between classes.
    alone = delong(truth, scores, list(range(len(truth))))
    np.testing.assert_allclose(alone.covariance, plain.covariance, atol=1e-14)
    twice = delong(np.tile(truth, 2), np.tile(scores, 2), [*range(len(truth))] * 2)
    np.testing.assert_allclose(twice.covariance, plain.covariance, atol=1e-14)
    naive = delong(np.tile(truth, 2), np.tile(scores, 2))
    assert naive.covariance[0, 0] < 0.6 * plain.covariance[0, 0]


def test_intervals_stay_inside_and_perfect_separation_has_a_width():
    truth, scores = sample(3)
    for logit_scale in (True, False):
        found = delong_interval(delong(truth, scores), logit_scale=logit_scale)
        assert 0 <= found.low < delong(truth, scores).auc[0] < found.high <= 1
        assert found.method.startswith("DeLong")
    perfect = delong_interval(delong([True] * 10 + [False] * 10, [1.0] * 10 + [0.0] * 10))
    assert (perfect.method, perfect.high) == ("Newcombe", 1.0)
    assert 0.7 < perfect.low < 0.95
    reverse = delong_interval(delong([False] * 10 + [True] * 10, [1.0] * 10 + [0.0] * 10))
    assert (reverse.low, reverse.high) == (0.0, pytest.approx(1 - perfect.low))


def test_newcombe_solves_its_equation():
    low, high = newcombe_limits(0.8, 30, 50)
    for theta in (low, high):
        q1, q2 = theta / (2 - theta), 2 * theta**2 / (1 + theta)
        spread = theta * (1 - theta) + 39 * (q1 - theta**2) + 39 * (q2 - theta**2)
        assert (0.8 - theta) ** 2 == pytest.approx(1.959964**2 * spread / (30 * 50), rel=1e-5)
    assert low < 0.8 < high


def test_too_few_cases_are_named():
    with pytest.raises(ValueError, match="there are 1 and 2"):
        delong([True, False, False], [0.1, 0.2, 0.3])


def test_the_plain_interval_is_that_of_another_program():
    # The example in the README of pauc (github.com/srijitseal/pauc): AUC 0.708, 95 % interval 0.378 to 1.000.
    truth = [0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1]
    scores = [0.1, 0.35, 0.24, 0.8, 0.2, 0.85, 0.13, 0.85, 0.74, 0.58, 0.71, 0.25]
    found = delong(truth, scores)
    interval = delong_interval(found, logit_scale=False)
    assert found.auc[0] == pytest.approx(0.708, abs=5e-4)
    assert (interval.low, interval.high) == (pytest.approx(0.378, abs=5e-4), 1.0)
