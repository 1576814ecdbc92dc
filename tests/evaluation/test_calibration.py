"""Reliability, its error, and the maps that put scores right."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit

from mammodet.datasets.errors import InputError
from mammodet.evaluation.calibration import KINDS, Calibrator, Reliability, fit_calibrator


def overconfident(seed=0, size=4000):
    """Scores whose logit is twice what it should be."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.02, 0.98, size)
    return rng.random(size) < chance, expit(2 * logit(chance)), chance


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
def test_a_map_fitted_on_some_cases_puts_others_right_and_survives_the_disk(kind, tmp_path):
    truth, scores, _ = overconfident()
    fitted = fit_calibrator(kind, truth.tolist(), scores.tolist(), "val.json")
    fitted.save(tmp_path / "map.json")
    again = Calibrator.load(tmp_path / "map.json")
    assert again == fitted
    truth, scores, chance = overconfident(1)
    right = again(scores)
    ones = np.ones((1, len(truth)))
    assert Reliability(truth, right).error(ones)[0] < 0.5 * Reliability(truth, scores).error(ones)[0]
    assert np.abs(right - chance).mean() < 0.03
    assert (np.diff(again(np.linspace(0, 1, 101))) >= 0).all()
    assert 0 <= again([0.0])[0] <= again([1.0])[0] <= 1


def test_temperature_and_platt_find_the_true_parameters():
    truth, scores, _ = overconfident(2, 20000)
    temperature = fit_calibrator("temperature", truth.tolist(), scores.tolist(), "x").parameters
    assert temperature[0] == pytest.approx(2, rel=0.05)
    slope, intercept = fit_calibrator("platt", truth.tolist(), scores.tolist(), "x").parameters
    assert (slope, intercept) == (pytest.approx(0.5, rel=0.05), pytest.approx(0, abs=0.05))


def test_bad_files_and_one_class_are_named(tmp_path):
    path = tmp_path / "map.json"
    for content in (
        [],
        {"schema": "x", "kind": "platt"},
        {"schema": "mammodet.calibration/1", "kind": "platt"},
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"map.json.*no calibration"):
            Calibrator.load(path)
    with pytest.raises(InputError, match="needs both classes"):
        fit_calibrator("platt", [True, True], [0.1, 0.2], "val.json")
