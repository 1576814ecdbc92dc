"""The band around a ROC curve: it holds physical copies' curves, the curve itself, and nothing without data."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from mammodet.evaluation.resampling import PatientResamples
from mammodet.evaluation.roc_band import roc_band


def cases(seed=0, number=60):
    rng = np.random.default_rng(seed)
    positive = np.arange(number) % 2 == 0
    return positive, np.round(rng.normal(positive.astype(float), 1), 1), [f"P{n // 3}" for n in range(number)]


def test_the_band_is_that_of_physical_copies():
    positive, scores, patients = cases()
    resamples = PatientResamples(patients, 200, seed=3)
    band = roc_band(positive, scores, resamples, resamples.codes)
    curves = []
    for weights in resamples.weights():
        for row in weights:
            drawn = np.repeat(np.arange(len(scores)), row)
            fpr, tpr, _ = roc_curve(positive[drawn], scores[drawn], drop_intermediate=False)
            curves.append(np.interp(band.false_positive_rate, fpr, tpr))
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    assert band.low == pytest.approx(low) and band.high == pytest.approx(high)


def test_the_curve_lies_in_the_band():
    positive, scores, patients = cases(1, 300)
    resamples = PatientResamples(patients, 300)
    band = roc_band(positive, scores, resamples, resamples.codes)
    fpr, tpr, _ = roc_curve(positive, scores)
    curve = np.interp(band.false_positive_rate, fpr, tpr)
    inner = slice(1, -1)
    assert (band.low[inner] <= curve[inner]).all() and (curve[inner] <= band.high[inner]).all()
    assert (band.high - band.low).max() > 0.05


@pytest.mark.parametrize(
    ("positive", "patients", "number"),
    [([True, True], "ab", 50), ([True, False], "ab", 0), ([True, False], "aa", 50)],
    ids=["one class", "no resamples", "one patient"],
)
def test_there_is_no_band_without(positive, patients, number):
    resamples = PatientResamples(list(patients), number)
    assert roc_band(positive, [0.2, 0.4], resamples, resamples.codes) is None
