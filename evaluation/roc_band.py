"""A pointwise band around a ROC curve: the bootstrap by patient of the sensitivity at each specificity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.evaluation.operating_points import ScoreTable
from mammodet.evaluation.resampling import PatientResamples

_POINTS = 101


@dataclass(frozen=True)
class RocBand:
    """Limits of the true positive rate at each false positive rate, float64 [P] each, from 0 to 1.

    Pointwise: the confidence holds at each false positive rate by itself, not for the curve as a whole.
    """

    false_positive_rate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def roc_band(
    positive: ArrayLike, scores: ArrayLike, resamples: PatientResamples, codes: NDArray[np.intp]
) -> RocBand | None:
    """Return the percentile band of ``scores`` [N] against ``positive`` [N].

    ``codes`` [N] are the places of the cases' patients in ``resamples``. A resample of one class has no curve
    and is left out. None without resamples, with fewer than two patients, or without a curve in any.
    """
    table = ScoreTable(positive, scores)
    grid = np.linspace(0, 1, _POINTS)
    curves: list[NDArray[np.float64]] = []
    for weights in resamples.weights(codes):
        true, false = table.counts(weights)  # [r, U + 1]
        both = (true[:, -1] > 0) & (false[:, -1] > 0)
        for hits, alarms in zip(true[both], false[both], strict=True):
            curves.append(np.interp(grid, alarms / alarms[-1], hits / hits[-1]))
    if not curves:
        return None
    drawn = np.array(curves)  # [R, P]
    limits = [resamples.interval(column) for column in drawn.T]
    if any(one.low is None for one in limits):
        return None
    low, high = (np.array([getattr(one, end) for one in limits]) for end in ("low", "high"))
    return RocBand(grid, low, high)
