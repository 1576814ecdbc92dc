"""Do intervals of 95 % hold the truth in 95 % of studies? 500 simulated ones, in which the truth is known."""

import numpy as np
import pytest
from scipy.stats import norm

from mammodet.evaluation.auc import WeightedAuc, delong, delong_interval
from mammodet.evaluation.operating_points import PointRule, operating_points
from mammodet.evaluation.proportions import wilson_interval
from mammodet.evaluation.resampling import PatientResamples

STUDIES, PATIENTS, VIEWS = 500, 150, 4
SEPARATION = 1.3  # of two normal distributions of variance 1
TRUE_AUC = float(norm.cdf(SEPARATION / np.sqrt(2)))
CUT = 0.65
TRUE_SENSITIVITY = float(norm.sf(CUT - SEPARATION))


def study(rng, views, shared):
    """Return truth, scores, patients; images of a patient have the same truth and share part of the score."""
    patients = np.repeat(np.arange(PATIENTS), views)
    truth = (rng.permutation(PATIENTS) < PATIENTS * 0.4)[patients]
    own = rng.normal(size=len(patients)) * np.sqrt(1 - shared)
    scores = SEPARATION * truth + own + np.sqrt(shared) * rng.normal(size=PATIENTS)[patients]
    return truth, scores, patients


def held(interval, truth):
    return interval.low <= truth <= interval.high


@pytest.mark.slow
def test_intervals_of_one_image_per_patient_hold_the_truth():
    rng = np.random.default_rng(1)
    found = {"delong": 0, "bootstrap": 0}
    for number in range(STUDIES):
        truth, scores, patients = study(rng, 1, 0)
        found["delong"] += held(delong_interval(delong(truth, scores)), TRUE_AUC)
        resamples = PatientResamples(patients.tolist(), 1000, number)
        found["bootstrap"] += held(resamples.interval(resamples.values(WeightedAuc(truth, scores))), TRUE_AUC)
    shares = {name: count / STUDIES for name, count in found.items()}
    print(shares)
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares


@pytest.mark.slow
def test_with_four_images_per_patient_only_intervals_by_patient_hold_the_truth():
    rng = np.random.default_rng(2)
    found = {"bootstrap": 0, "obuchowski": 0, "bootstrap sensitivity": 0, "delong": 0, "wilson": 0}
    for number in range(STUDIES):
        truth, scores, patients = study(rng, VIEWS, 0.6)
        resamples = PatientResamples(patients.tolist(), 1000, number)
        found["bootstrap"] += held(resamples.interval(resamples.values(WeightedAuc(truth, scores))), TRUE_AUC)
        found["obuchowski"] += held(delong_interval(delong(truth, scores, patients.tolist())), TRUE_AUC)
        found["delong"] += held(delong_interval(delong(truth, scores)), TRUE_AUC)
        # The rule takes thresholds from 0 to 1: the scores are moved so that 0.5 is the cut.
        squeezed = norm.cdf(scores - CUT)
        point = operating_points(
            truth.tolist(), squeezed.tolist(), [PointRule("threshold", 0.5)], resamples, resamples.codes
        )[0]
        sensitivity = point.numbers["sensitivity"].intervals["bootstrap"]
        found["bootstrap sensitivity"] += held(sensitivity, TRUE_SENSITIVITY)
        hits = int((scores[truth] >= CUT).sum())
        found["wilson"] += held(wilson_interval(hits, int(truth.sum())), TRUE_SENSITIVITY)
    shares = {name: count / STUDIES for name, count in found.items()}
    print(shares)
    by_image = {name: shares.pop(name) for name in ("delong", "wilson")}
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares
    assert max(by_image.values()) < 0.90, by_image  # too narrow: images are not independent
