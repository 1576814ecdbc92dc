"""Fusion rules other than the published one."""

import json

import numpy as np
import pytest

from mammodet.datasets.errors import InputError
from mammodet.evaluation.fusion_rules import RULES, LogisticRule, ViewScores, fit_logistic

PAIR = [ViewScores(0.5, 0.1), ViewScores(0.8, 0.0)]


def test_rules_by_hand():
    assert RULES["max"](PAIR) == 0.8
    assert RULES["mean"](PAIR) == pytest.approx(0.65)
    assert RULES["noisy-or"](PAIR) == pytest.approx(0.9)  # 1 - 0.5 * 0.2
    for rule in RULES.values():
        assert rule([ViewScores(0.3)]) == pytest.approx(0.3)
        assert rule(PAIR[::-1]) == pytest.approx(rule(PAIR))


def breasts(count=200, seed=0):
    rng = np.random.default_rng(seed)
    truth = {f"b{number}": bool(rng.random() < 0.4) for number in range(count)}
    views = {
        breast: [
            ViewScores(float(np.clip(rng.normal(0.3 + 0.3 * malignant, 0.2), 0, 1)), float(rng.random()))
            for _ in range(rng.integers(1, 4))
        ]
        for breast, malignant in truth.items()
    }
    return views, truth


def test_a_logistic_rule_is_fitted_saved_and_read_again(tmp_path):
    views, truth = breasts()
    rule = fit_logistic(views, truth, "val.json")
    rule.save(tmp_path / "fusion.json")
    again = LogisticRule.load(tmp_path / "fusion.json")
    assert again == rule
    assert (rule.breasts, rule.malignant) == (200, sum(truth.values()))
    scores = {breast: again(seen) for breast, seen in views.items()}
    assert all(0 <= score <= 1 for score in scores.values())
    means = [np.mean([scores[b] for b in truth if truth[b] is wanted]) for wanted in (True, False)]
    assert means[0] > means[1] + 0.2
    # The mean prediction of a logistic regression with an intercept is the prevalence.
    assert np.mean(list(scores.values())) == pytest.approx(np.mean(list(truth.values())), abs=1e-3)


def test_bad_rules_and_bad_data_are_named(tmp_path):
    path = tmp_path / "fusion.json"
    for content in ([], {"schema": "other/1"}, {"schema": "mammodet.fusion/1", "features": ["x"]}):
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"fusion.json.*no fitted fusion rule"):
            LogisticRule.load(path)
    views, truth = breasts()
    with pytest.raises(InputError, match="needs malignant and other breasts"):
        fit_logistic(views, dict.fromkeys(truth, True), "val.json")
