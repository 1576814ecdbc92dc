"""Receiver operating characteristic of a malignancy score, through scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics


@dataclass(frozen=True)
class Roc:
    """A ROC curve from (0, 0) to (1, 1) and the area under it.

    ``false_positive_rate``, ``true_positive_rate`` and ``thresholds`` are float64 [N]; a case is called
    positive when its score is at least the threshold, and the first threshold is infinite. With one class
    only there is no curve: the arrays are empty, ``auc`` is None and ``note`` says why.
    """

    positives: int
    negatives: int
    auc: float | None
    note: str | None
    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def roc(truth: Sequence[bool], scores: Sequence[float]) -> Roc:
    """Return the ROC of ``scores`` (higher = more likely positive) against ``truth``, both of length N."""
    positive = np.asarray(truth, dtype=bool)
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        none = np.empty(0)
        note = f"needs both classes, there are {positives} positive and {negatives} negative cases"
        return Roc(positives, negatives, None, note, none, none, none)
    fpr, tpr, thresholds = metrics.roc_curve(positive, scores)
    area = float(metrics.roc_auc_score(positive, scores))
    return Roc(positives, negatives, area, None, fpr, tpr, thresholds)
