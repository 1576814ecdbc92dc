"""FROC as CAMELYON16 and, after it, MONAI compute it: to compare with their numbers, not to report.

Two things differ from ``froc``. The lowest of all scores is no threshold: there it is meant to be the 0 that
stands for a lesion that was missed, but a detector that finds everything loses its last operating point, and
one lesion found by one prediction without any false positive gets sensitivity 0. And the sensitivity between
two operating points is interpolated linearly, which no threshold reaches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mammodet.evaluation.froc import FrocCurve

CAMELYON_POINTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def camelyon_curve(
    false_positive_scores: ArrayLike, lesion_scores: ArrayLike, lesions: int, images: int
) -> FrocCurve:
    """Return the operating points at all scores but the lowest (MONAI's ``compute_froc_curve_data``).

    Parameters
    ----------
    false_positive_scores:
        [F], of all images.
    lesion_scores:
        [L], the highest score on each lesion, 0 when it was missed or is left out.
    lesions, images:
        How many there are, without those left out.
    """
    wrong, found = (np.sort(np.asarray(scores, float)) for scores in (false_positive_scores, lesion_scores))
    thresholds = np.append(np.unique(np.concatenate([wrong, found]))[1:], np.inf)[::-1]
    counts = [len(scores) - np.searchsorted(scores, thresholds, "left") for scores in (wrong, found)]
    return FrocCurve(thresholds, counts[0] / images, counts[1] / lesions)


def camelyon_score(curve: FrocCurve, points: Sequence[float] = CAMELYON_POINTS) -> float:
    """Return the mean of the linearly interpolated sensitivities (MONAI's ``compute_froc_score``)."""
    return float(np.interp(points, curve.false_positives, curve.sensitivity).mean())
