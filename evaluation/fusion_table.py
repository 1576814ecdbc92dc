"""The AUC of breasts and patients under every rule that fuses boxes into one score, side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mammodet.datasets.coco import Coco
from mammodet.evaluation.auc import WeightedAuc
from mammodet.evaluation.cases import Cases
from mammodet.evaluation.fusion_rules import (
    RULES,
    LogisticRule,
    ViewScores,
    fit_logistic,
    view_scores,
    views_of_breasts,
)
from mammodet.evaluation.image_scores import ImageScores
from mammodet.evaluation.levels import auc_intervals
from mammodet.evaluation.resampling import Interval, PatientResamples
from mammodet.evaluation.roc import roc


@dataclass(frozen=True)
class FusionRow:
    """One rule at one level; ``auc`` is None without both classes or a fitted rule, and ``note`` says so."""

    level: str  # image, breast, patient
    rule: str  # published, max, mean, noisy-or, logistic
    cases: int
    positives: int
    auc: float | None
    note: str | None
    intervals: Mapping[str, Interval]


def fusion_table(
    coco: Coco,
    results: Sequence[Mapping[str, Any]] | ImageScores,
    cases: Cases,
    fitted: LogisticRule | None,
    resamples: PatientResamples,
) -> list[FusionRow]:
    """Return the rows of breasts under every rule, then those of patients, then images (published and max).

    ``fitted`` None leaves the logistic rule without numbers, with a note. Scores of images stand for the
    highest malignant box of each view; the logistic rule, which needs benign boxes too, has no row then, and
    images, on which all rules are the same, have one.
    """
    views = view_scores(coco, results)
    by_breast = views_of_breasts(coco, views)
    rules: dict[str, Callable[[Sequence[ViewScores]], float] | None] = dict(RULES)
    if not isinstance(results, ImageScores):
        rules["logistic"] = fitted
    scores: dict[str, Mapping[str, float] | None] = {
        "published": {case.breast: case.score for case in cases.breasts}
    }
    for name, rule in rules.items():
        scores[name] = rule and {breast: rule(seen) for breast, seen in by_breast.items()}
    breasts: dict[str, str | None] = {case.breast: case.truth for case in cases.breasts}
    patients: dict[str, str | None] = {case.patient: case.truth for case in cases.patients}
    images = {str(case.image_id): case.truth for case in cases.images}
    patient_of_image = {str(number): patient for number, patient in cases.patient_of_image.items()}
    image_scores = {"published": {str(case.image_id): case.score for case in cases.images}}
    if not isinstance(results, ImageScores):
        image_scores["max"] = {str(number): one.malignant for number, one in views.items()}

    def row(
        level: str,
        rule: str,
        truth: Mapping[str, str | None],
        found: Mapping[str, float] | None,
        patient_of: Mapping[str, str],
    ) -> FusionRow:
        known = [name for name, one in truth.items() if one is not None]
        positive = np.array([truth[name] == "malignant" for name in known], dtype=bool)
        if found is None:
            note = "not fitted: mammodet evaluate --fit-fusion on validation data, then --fusion here"
            return FusionRow(level, rule, len(known), int(positive.sum()), None, note, {})
        values = np.array([found[name] for name in known])
        curve = roc(positive.tolist(), values.tolist())
        owners = [patient_of[name] for name in known]
        drawn = resamples.values(WeightedAuc(positive, values), resamples.codes_of(owners))
        boot = resamples.interval(drawn, len(set(owners))) if len(drawn) else None
        intervals = auc_intervals(boot, positive, values, owners, confidence=resamples.confidence)
        return FusionRow(level, rule, len(known), curve.positives, curve.auc, curve.note, intervals)

    rows = [row("breast", name, breasts, found, cases.patient_of_breast) for name, found in scores.items()]
    own = {patient: patient for patient in patients}
    for name, found in scores.items():
        worst = found and _worst_breast(found, cases.patient_of_breast)
        rows.append(row("patient", name, patients, worst, own))
    rows += [row("image", name, images, found, patient_of_image) for name, found in image_scores.items()]
    return rows


def fit_on(coco: Coco, results: Sequence[Mapping[str, Any]], cases: Cases, source: str) -> LogisticRule:
    """Fit the logistic rule on the breasts of known truth; raises InputError without both classes."""
    truth = {case.breast: case.truth == "malignant" for case in cases.breasts if case.truth is not None}
    return fit_logistic(views_of_breasts(coco, view_scores(coco, results)), truth, source)


def _worst_breast(scores: Mapping[str, float], patient_of: Mapping[str, str]) -> dict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for breast, score in scores.items():
        found[patient_of[breast]] = max(found[patient_of[breast]], score)
    return dict(found)
