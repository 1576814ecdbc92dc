"""A proportion, such as a sensitivity, and its intervals: Wald's, as papers print it, and Wilson's.

Both intervals take the cases as independent. Images and lesions of one patient are not; for them the
bootstrap by patient (``resampling``) is the interval to report.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from mammodet.evaluation.resampling import Interval

WALD = "Wald"
WILSON = "Wilson"


def wald_interval(part: int, whole: int, confidence: float = 0.95) -> Interval:
    """Return ``p ± z * sqrt(p (1 - p) / n)``, cut at 0 and 1, as Pesapane et al. 2023 report it.

    Its width is 0 at 0 and at 1, and it covers too little in small samples: for comparison with that paper.
    """
    if reason := _problem(part, whole):
        return Interval(None, None, WALD, reason=reason)
    share = part / whole
    half = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(share * (1 - share) / whole)
    return Interval(max(0.0, share - half), min(1.0, share + half), WALD)


def wilson_interval(part: int, whole: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval (1927), through scipy; it has a width at 0 and 1 too."""
    if reason := _problem(part, whole):
        return Interval(None, None, WILSON, reason=reason)
    found = binomtest(part, whole).proportion_ci(confidence, method="wilson")
    return Interval(float(found.low), float(found.high), WILSON)


def _problem(part: int, whole: int) -> str | None:
    if not 0 <= part <= whole:
        raise ValueError(f"{part} of {whole} is no proportion")
    return None if whole else "there are no such cases"


def ratios(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``part / whole`` place by place; NaN where there is no whole."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
