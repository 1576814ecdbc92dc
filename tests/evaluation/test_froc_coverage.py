"""Do FROC intervals of 95 % hold the truth in 95 % of studies? 500 simulated ones, in which it is known.

A patient has four images; two of a diseased patient have one or two lesions. The false positives of an image
are Poisson, all scores are normal and share a part within the patient, and so does whether a lesion is found
at all. So the truth of a large population follows from formulas.
"""

import numpy as np
import pytest
from scipy.stats import norm

from mammodet.evaluation.comparison import paired_bootstrap
from mammodet.evaluation.froc import CPM_POINTS
from mammodet.evaluation.froc_intervals import NUMBERS, froc_values
from mammodet.evaluation.froc_matching import FrocMatches
from mammodet.evaluation.proportions import wilson_interval
from mammodet.evaluation.resampling import PatientResamples

STUDIES, PATIENTS, VIEWS, DISEASED = 500, 150, 4, 0.4
SHARED = 0.5  # of the variance, within a patient
WRONG = 3.0  # false positives per image
MEANS = {1: 1.9, 2: 1.2}  # of the scores of lesions, by how many an image has; false positives have 0
EASE = 1.1  # a lesion has a box when a standard normal variable is below
FOUND = float(norm.cdf(EASE))


def sensitivity(false_positives):
    """Return the share of lesions above the threshold at which so many false positives are left."""
    above = norm.isf(min(false_positives / WRONG, 1))
    lesions = {1: 1 / 3, 2: 2 / 3}  # as many images have one as two
    return FOUND * sum(share * norm.sf(above - MEANS[number]) for number, share in lesions.items())


def weighted_afroc():
    """Return the chance that a lesion of an image beats the worst false positive of a normal image."""
    score, width = np.linspace(-8, 10, 3001, retstep=True)
    shared, step = np.linspace(-6, 6, 601, retstep=True)
    within = (score[:, None] - np.sqrt(SHARED) * shared) / np.sqrt(1 - SHARED)
    all_below = (np.exp(-WRONG * norm.sf(within)) * norm.pdf(shared)).sum(axis=1) * step
    beats = [(all_below * norm.pdf(score - mean)).sum() * width for mean in MEANS.values()]
    none = np.exp(-WRONG)  # without a false positive an image ties with a missed lesion
    return float(FOUND * np.mean(beats) + (1 - FOUND) * none / 2)


TRUTH = {
    "sensitivity at 0.3": sensitivity(0.3),
    "sensitivity at 1": sensitivity(1),
    "cpm": float(np.mean([sensitivity(point) for point in CPM_POINTS])),
    "most_sensitivity": FOUND,
    "wafroc": weighted_afroc(),
}


def correlated(rng, patient, patients):
    own, shared = rng.normal(size=len(patient)), rng.normal(size=patients)
    return np.sqrt(1 - SHARED) * own + np.sqrt(SHARED) * shared[patient]


def study(rng, patients=PATIENTS, models=1):
    """Return what matching gives for each of some equally good models, and the patient of every image."""
    patient = np.repeat(np.arange(patients), VIEWS)
    diseased = (rng.random(patients) < DISEASED)[patient] & (np.arange(len(patient)) % VIEWS < 2)
    lesions = np.where(diseased, rng.integers(1, 3, len(patient)), 0)
    return [model(rng, patient, lesions) for _ in range(models)], patient.tolist()


def model(rng, patient, lesions):
    """Return what matching gives for images of these patients with so many lesions."""
    patients = int(patient[-1]) + 1
    wrong_image = np.repeat(np.arange(len(patient)), rng.poisson(WRONG, len(patient)))
    lesion_image = np.repeat(np.arange(len(patient)), lesions)
    owners = patient[np.concatenate([wrong_image, lesion_image])]
    scores = correlated(rng, owners, patients)
    mean = np.where(lesions[lesion_image] == 1, MEANS[1], MEANS[2])
    found = correlated(rng, patient[lesion_image], patients) < EASE
    lesion_score = np.where(found, scores[len(wrong_image) :] + mean, -np.inf)
    hits = np.flatnonzero(found)
    count = len(wrong_image) + len(hits)
    return FrocMatches(
        rule="made up",
        classes="any",
        prediction_score=np.concatenate([scores[: len(wrong_image)], lesion_score[hits]]),
        prediction_image=np.concatenate([wrong_image, lesion_image[hits]]),
        prediction_lesion=np.concatenate([np.full(len(wrong_image), -1), hits]),
        is_false_positive=np.arange(count) < len(wrong_image),
        is_duplicate=np.zeros(count, dtype=bool),
        lesion_score=lesion_score,
        lesion_image=lesion_image,
        is_positive=lesions > 0,
        is_normal=lesions == 0,
        breast=np.arange(len(patient)),
        patient=patient,
    )


def test_the_truth_by_formula_is_that_of_a_large_study():
    matches, patients = study(np.random.default_rng(0), 20_000)
    once = PatientResamples(patients, 1)
    once.weights = lambda: [np.ones((1, len(patients)), dtype=np.int32)]
    large = dict(zip(NUMBERS, froc_values(matches, once)[0].numbers[0], strict=True))
    assert {name: large[name] for name in TRUTH} == pytest.approx(TRUTH, abs=0.01)


@pytest.mark.slow
def test_with_four_images_per_patient_intervals_by_patient_hold_the_truth():
    rng = np.random.default_rng(3)
    found = dict.fromkeys([*TRUTH, "wilson"], 0)
    for number in range(STUDIES):
        (matches,), patients = study(rng)
        resamples = PatientResamples(patients, 1000, number)
        intervals = froc_values([matches], resamples)[0].intervals(resamples)
        for name, truth in TRUTH.items():
            found[name] += intervals[name].low <= truth <= intervals[name].high
        hits = int(np.isfinite(matches.lesion_score).sum())
        by_lesion = wilson_interval(hits, matches.lesions)
        found["wilson"] += by_lesion.low <= FOUND <= by_lesion.high
    shares = {name: count / STUDIES for name, count in found.items()}
    print(shares)
    by_lesion = shares.pop("wilson")
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares
    assert by_lesion < 0.90, by_lesion  # too narrow: lesions of a patient are not independent


@pytest.mark.slow
def test_two_equally_good_models_seldom_differ():
    rng = np.random.default_rng(4)
    differ = dict.fromkeys(TRUTH, 0)
    for number in range(STUDIES):
        matches, patients = study(rng, models=2)
        resamples = PatientResamples(patients, 1000, number)
        values = [one.numbers.T for one in froc_values(matches, resamples)]
        for name in TRUTH:
            pair = tuple(one[NUMBERS.index(name)] for one in values)
            differ[name] += paired_bootstrap(0.5, 0.5, pair, resamples).p < 0.05
    shares = {name: count / STUDIES for name, count in differ.items()}
    print(shares)
    assert all(0.02 <= share <= 0.08 for share in shares.values()), shares
