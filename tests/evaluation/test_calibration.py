"""Reliability, its error, and the maps that put scores right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mammodet.datasets.errors import InputError
from mammodet.evaluation.calibration import KINDS, Reliability, fit_calibrator


def overconfident(seed=0, size=4000):
    """Scores whose logit is twice what it should be."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.02, 0.98, size)
    return rng.random(size) < chance, expit(2 * logit(chance)), chance


def screening(seed=0, size=1000, missed=0.15):
    """Published scores: 0 without a box, jumping between benign and malignant boxes; 30 % malignant."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, size, p=[0.5, 0.2, 0.3])  # normal, benign, malignant
    nothing = np.array([0.7, 0.3, missed])[kind]
    benign = nothing + np.array([0.12, 0.45, 0.1])[kind]
    place = rng.random(size)
    sure = 0.3 + 0.7 * rng.beta(np.array([1.2, 1.2, 2.5])[kind], np.array([2.5, 2.0, 1.0])[kind])
    other = 0.7 - 0.7 * rng.beta(np.array([1.2, 2.0, 1.2])[kind], np.array([2.2, 1.5, 2.0])[kind])
    return kind == 2, np.where(place < nothing, 0.0, np.where(place < benign, other, sure))


def error(truth, scores):
    return Reliability(truth, scores).error(np.ones((1, len(truth))))[0]


def log_loss(truth, chances):
    return -np.log(np.where(truth, chances, 1 - chances)).mean()


def test_the_error_by_hand_and_under_weights():
    found = Reliability([True, False, True, False], [0.95, 0.85, 0.85, 1.0])
    # Bin 0.8 to 0.9: mean score 0.85, half malignant, gap 0.35. Bin 0.9 to 1: 0.975 and 0.5, gap 0.475.
    assert found.error([[1, 1, 1, 1]])[0] == pytest.approx((2 * 0.35 + 2 * 0.475) / 4)
    assert found.error([[1, 0, 0, 0]])[0] == pytest.approx(0.05)
    assert np.isnan(found.error([[0, 0, 0, 0]])[0])
    bins = found.bins()
    assert [one.cases for one in bins] == [0] * 8 + [2, 2]
    assert (bins[8].mean_score, bins[8].share_malignant) == (pytest.approx(0.85), 0.5)
    assert bins[0].mean_score is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_fitted_on_some_cases_puts_others_right(kind):
    fitted = fit_calibrator(kind, *overconfident()[:2], "val.json")
    truth, scores, chance = overconfident(1, 20000)
    right = fitted(scores)
    assert error(truth, scores) > 0.09
    assert error(truth, right) < 0.02
    assert np.abs(right - chance).mean() < 0.03


def test_temperature_and_platt_find_the_true_parameters():
    truth, scores, chance = overconfident(2, 20000)
    assert fit_calibrator("temperature", truth, scores, "x").parameters[0] == pytest.approx(2, rel=0.05)
    assert fit_calibrator("temperature", truth, chance, "x").parameters[0] == pytest.approx(1, rel=0.05)
    slope, intercept, _ = fit_calibrator("platt", truth, scores, "x").parameters
    assert (slope, intercept) == (pytest.approx(0.5, rel=0.05), pytest.approx(0, abs=0.05))


def test_platt_equals_two_independent_computations():
    truth, scores, _ = overconfident(3, 300)
    odds = logit(np.clip(scores, 1e-3, 1 - 1e-3))
    slope, intercept, _ = fit_calibrator("platt", truth, scores, "x").parameters
    malignant, others = truth.sum(), (~truth).sum()
    wanted = np.where(truth, (malignant + 1) / (malignant + 2), 1 / (others + 2))

    def loss(line):
        chances = 1 / (1 + np.exp(-line[0] * odds - line[1]))
        return -(wanted * np.log(chances) + (1 - wanted) * np.log(1 - chances)).sum()

    found = minimize(loss, [1, 0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    assert (slope, intercept) == pytest.approx(tuple(found.x), abs=1e-6)

    # scikit-learn's sigmoid on the same logits: a frozen classifier whose decision function is the logit.
    frozen = LogisticRegression()
    frozen.classes_, frozen.coef_, frozen.intercept_ = np.array([0, 1]), np.array([[1.0]]), np.array([0.0])
    frozen.n_features_in_ = 1
    theirs = CalibratedClassifierCV(FrozenEstimator(frozen), method="sigmoid").fit(odds[:, None], truth)
    sigmoid = theirs.calibrated_classifiers_[0].calibrators[0]
    assert slope == pytest.approx(-sigmoid.a_, rel=1e-4)


def test_isotonic_equals_that_of_scikit_learn():
    truth, scores = screening()
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, truth)
    grid = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(
        fit_calibrator("isotonic", truth, scores, "x")(grid), theirs.predict(grid), atol=1e-12
    )


@pytest.mark.parametrize("missed", [0.05, 0.15, 0.3])
def test_scores_of_zero_do_not_bend_the_curve_of_the_others(missed):
    """A logistic regression over all logits, with 0 cut at 1e-6, makes ECE or Brier worse than raw."""
    truth, scores = screening(missed=missed)
    fitted = fit_calibrator("platt", truth, scores, "x")
    others, found = screening(1, 20000, missed)
    before, after = error(others, found), error(others, fitted(found))
    assert before > 0.08 and after < 0.045
    cut = LogisticRegression(C=np.inf).fit(logit(np.clip(scores, 1e-6, 1 - 1e-6))[:, None], truth)
    naive = cut.predict_proba(logit(np.clip(found, 1e-6, 1 - 1e-6))[:, None])[:, 1]
    assert error(others, naive) > after + 0.02
    assert log_loss(others, naive) > log_loss(others, fitted(found)) + 0.05
    # The share of malignant cases among those without a box.
    assert fitted([0.0])[0] == pytest.approx(others[found == 0].mean(), abs=0.05)


def test_the_probability_of_zero_is_the_share_when_that_lies_below_the_curve():
    scores = np.array([0.0] * 9 + [0.4] * 10 + [0.8] * 10)
    truth = np.array([True] + [False] * 8 + [True] * 4 + [False] * 6 + [True] * 8 + [False] * 2)
    assert fit_calibrator("platt", truth, scores, "x")([0.0])[0] == pytest.approx(1.5 / 10)


def test_missed_cases_pool_the_lowest_scores_and_one_alone_does_not():
    scores = np.array([0.0] * 40 + [0.1] * 40 + [0.9] * 40)
    high = np.array([True] * 36 + [False] * 4)
    truth = np.concatenate([np.arange(40) < 20, np.arange(40) < 4, high])
    fitted = fit_calibrator("platt", truth, scores, "x")
    zero, low, top = fitted([0.0, 0.1, 0.9])
    assert zero == low == pytest.approx(24.5 / 81)  # 20 and 4 malignant of 80
    assert top == pytest.approx(0.9, abs=0.03)
    alone = np.concatenate([[0.0], scores[40:]])
    few = fit_calibrator("platt", np.concatenate([[True], truth[40:]]), alone, "x")
    assert few([0.0])[0] < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_perfect_separation_stays_finite(kind):
    truth = np.arange(60) >= 30
    for scores in (np.where(truth, 0.9, 0.2), np.where(truth, 0.52, 0.48), np.where(truth, 1.0, 0.0)):
        chances = fit_calibrator(kind, truth, scores, "x")(scores)
        assert np.isfinite(chances).all()
        assert chances[truth].min() > 0.9 and chances[~truth].max() < 0.1
        if kind != "isotonic":  # no case is certain
            assert chances.min() > 0 and chances.max() < 1


def test_falling_scores_are_refused_and_warned_about():
    truth, scores, _ = overconfident(4, 400)
    with pytest.raises(InputError, match=r"val.json: no calibration: the slope would be -0\.\d+"):
        fit_calibrator("platt", ~truth, scores, "val.json")
    with pytest.raises(InputError, match=r"no temperature fits.*fit platt"):
        fit_calibrator("temperature", ~truth, scores, "val.json")
    flat = fit_calibrator("isotonic", ~truth, scores, "val.json")
    assert flat([0.2])[0] == pytest.approx((~truth).mean(), abs=0.05)


def test_few_cases_and_one_score_for_all_are_warned_about_with_numbers():
    truth, scores, _ = overconfident(5, 30)
    (told,) = fit_calibrator("platt", truth, scores, "x").warnings
    assert f"{truth.sum()} positive of 30 cases" in told and "fewer than 20" in told
    assert not fit_calibrator("platt", *overconfident(5, 400)[:2], "x").warnings
    assert "fewer than 100" in fit_calibrator("isotonic", *overconfident(5, 150)[:2], "x").warnings[0]
    same = fit_calibrator("platt", np.arange(100) < 30, np.full(100, 0.7), "x")
    assert same([0.7])[0] == pytest.approx(0.31, abs=0.02)
    assert "the score tells nothing" in same.warnings[0]


def test_one_class_and_no_score_above_zero_are_named():
    with pytest.raises(InputError, match="needs both classes, there are 2 positive of 2 cases"):
        fit_calibrator("platt", [True, True], [0.1, 0.2], "val.json")
    with pytest.raises(InputError, match="those of all 2 cases are 0"):
        fit_calibrator("platt", [True, False], [0.0, 0.0], "val.json")
    with pytest.raises(ValueError, match="no such calibration"):
        fit_calibrator("beta", [True, False], [0.1, 0.2], "val.json")


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(KINDS))
def test_every_map_is_monotone_and_within_0_to_1(data, kind):
    size = data.draw(st.integers(2, 40))
    score = st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(0, 1))
    scores = data.draw(arrays.arrays(float, size, elements=score))
    truth = data.draw(arrays.arrays(bool, size))
    try:
        fitted = fit_calibrator(kind, truth, scores, "x")
    except InputError:
        return
    chances = fitted(np.concatenate([np.linspace(0, 1, 501), scores]))
    assert np.isfinite(chances).all() and chances.min() >= 0 and chances.max() <= 1
    order = np.argsort(np.concatenate([np.linspace(0, 1, 501), scores]), kind="stable")
    assert (np.diff(chances[order]) >= -1e-12).all()
