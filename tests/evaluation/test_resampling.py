"""Bootstrap by patient, and intervals of proportions."""

import numpy as np
import pytest

from mammodet.datasets.errors import InputError
from mammodet.evaluation.auc import WeightedAuc
from mammodet.evaluation.proportions import wald_interval, wilson_interval
from mammodet.evaluation.resampling import Bootstrap, PatientResamples, percentile_interval


def test_images_of_a_patient_are_drawn_together_and_those_of_none_alone():
    resamples = PatientResamples(["a", "b", "a", None, None], 200, seed=3)
    assert (resamples.patients, resamples.unknown) == (4, 2)
    weights = np.concatenate(list(resamples.weights()))
    assert weights.shape == (200, 5)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    assert (weights[:, 3] != weights[:, 4]).any()
    np.testing.assert_array_equal(weights[:, [0, 1, 3, 4]].sum(axis=1), 4)


def test_the_same_draws_for_items_of_other_kinds_and_in_other_chunks():
    resamples = PatientResamples(["a", "b", "c", "a"], 50, seed=1)
    one = np.concatenate(list(resamples.weights()))
    codes = resamples.codes_of(["c", "c", "a"])
    np.testing.assert_array_equal(np.concatenate(list(resamples.weights(codes))), one[:, [2, 2, 0]])
    small = np.concatenate(list(resamples.chunks(items=2**22)))  # a few rows at a time
    np.testing.assert_array_equal(small, np.concatenate(list(resamples.chunks())))
    other = np.concatenate(list(PatientResamples(["a", "b", "c", "a"], 50, seed=2).weights()))
    assert (other != one).any()


def test_the_order_of_the_items_changes_no_draw():
    patients = ["b", "a", "c", "a", "d"]
    one, other = (
        np.concatenate(list(PatientResamples(names, 50, seed=1).weights()))
        for names in (patients, patients[::-1])
    )
    np.testing.assert_array_equal(one, other[:, ::-1])


def test_the_standard_error_of_a_mean_is_that_of_the_patients():
    """Each patient has ten equal images: the interval is that of the patients, not of ten times as many."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=60)
    resamples = PatientResamples(np.repeat(np.arange(60), 10).tolist(), 4000)
    images = np.repeat(values, 10)
    means = resamples.values(lambda weights: weights @ images / weights.sum(axis=1))
    assert means.std() == pytest.approx(values.std() / np.sqrt(60), rel=0.05)


def test_resamples_without_a_value_are_left_out_and_counted():
    truth, scores = [True, False, False, False], [0.9, 0.1, 0.2, 0.95]
    resamples = PatientResamples([1, 2, 3, 4], 1000)
    values = resamples.values(WeightedAuc(truth, scores))
    interval = resamples.interval(values)
    # No positive with probability (3/4)^4 = 0.316, no negative with 1/256.
    assert interval.undefined == pytest.approx(320, abs=60)
    assert interval.resamples == 1000
    assert 0 <= interval.low <= interval.high <= 1


@pytest.mark.parametrize(
    ("values", "patients", "reason"),
    [([], 5, "no resamples"), ([0.5] * 9, 1, "there is one"), ([np.nan] * 9, 5, "undefined in every")],
)
def test_no_interval_has_a_reason(values, patients, reason):
    interval = percentile_interval(values, patients=patients)
    assert interval.low is None and interval.high is None
    assert reason in interval.reason


def test_percentiles_follow_the_confidence():
    interval = percentile_interval(np.arange(101.0), 0.9, patients=7)
    assert (interval.low, interval.high) == (pytest.approx(5), pytest.approx(95))


def test_wilson_and_wald_give_the_published_numbers():
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263 and 15 of 148, 0 of 20.
    assert_interval(wilson_interval(81, 263), 0.2553, 0.3662)
    assert_interval(wilson_interval(15, 148), 0.0624, 0.1605)
    assert_interval(wilson_interval(0, 20), 0.0, 0.1611)
    assert_interval(wald_interval(81, 263), 0.2522, 0.3638)
    assert_interval(wald_interval(15, 148), 0.0527, 0.1500)
    assert_interval(wald_interval(0, 20), 0.0, 0.0)


def assert_interval(interval, low, high):
    assert (interval.low, interval.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


def test_no_cases_have_a_reason_and_impossible_counts_are_refused():
    assert wilson_interval(0, 0).reason == "there are no such cases"
    with pytest.raises(ValueError, match="3 of 2"):
        wald_interval(3, 2)


@pytest.mark.parametrize("field", [{"resamples": -1}, {"confidence": 1.0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(field):
    with pytest.raises(InputError, match=next(iter(field))):
        Bootstrap(**field)
