"""Two models on the same cases: is the difference more than chance?

All tests are paired: both models see the same patients. The bootstrap by patient is for any metric; DeLong's
test is for AUCs, McNemar's for answers that are right or wrong. The last two take cases as independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, chi2, norm

from mammodet.datasets.coco import Coco
from mammodet.evaluation.auc import delong
from mammodet.evaluation.coco_intervals import coco_values
from mammodet.evaluation.detection_metrics import match_boxes
from mammodet.evaluation.fusion import patients_of_images
from mammodet.evaluation.resampling import Interval, PatientResamples

_EXACT_UP_TO = 25  # discordant cases: below, the chi-square of McNemar is not to be trusted
_SAME = 1e-12  # differences that rounding alone sets apart


@dataclass(frozen=True)
class Difference:
    """The second model less the first: ``difference``, its interval, and a two-sided ``p``.

    Interval and ``p``, or all three, are None with a ``reason`` where they cannot be had.
    """

    test: str
    first: float | None
    second: float | None
    difference: float | None
    interval: Interval
    p: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Drawn:
    """A number of one model, None where it does not exist, and its ``values`` [R] in every resample."""

    value: float | None
    values: NDArray[np.float64]


def paired_delong(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    clusters: Sequence[object] | None = None,
    *,
    confidence: float = 0.95,
) -> Difference:
    """Compare the AUCs of two scores [N] of the same cases (DeLong et al. 1988).

    With ``clusters`` [N], such as patients, the test allows for dependence within them (Obuchowski 1997).
    """
    test = "DeLong" if clusters is None else "Obuchowski"
    try:
        found = delong(truth, np.stack([np.asarray(first), np.asarray(second)]), clusters)
    except ValueError as error:
        return _none(test, str(error))
    one, other = (float(value) for value in found.auc)
    variance = float(found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1])
    if variance <= 1e-15:
        reason = "the difference has no variance: the scores order the cases alike, or perfectly"
        return Difference(
            test, one, other, other - one, Interval(None, None, test, reason=reason), None, reason
        )
    spread = math.sqrt(variance)
    half = float(norm.ppf((1 + confidence) / 2)) * spread
    difference = other - one
    p = 2 * float(norm.sf(abs(difference) / spread))
    return Difference(test, one, other, difference, Interval(difference - half, difference + half, test), p)


def paired_bootstrap(
    first: float | None,
    second: float | None,
    values: tuple[ArrayLike, ArrayLike],
    resamples: PatientResamples,
) -> Difference:
    """Compare any metric, given its value and its resampled values [R] for both models, of the same draws.

    ``p`` inverts the percentile interval: twice the smaller share of resamples at or beyond no difference,
    with 1 added to both counts, so that it is never 0. A difference that is the same in every resample, as
    that of one patient with lesions, has neither interval nor ``p``: nothing tells how it may vary.
    """
    test = "bootstrap by patient"
    differences = np.asarray(values[1], dtype=np.float64) - np.asarray(values[0], dtype=np.float64)
    interval = resamples.interval(differences)
    if first is None or second is None or interval.low is None:
        return Difference(
            test, first, second, None, interval, None, interval.reason or "undefined for a model"
        )
    known = differences[np.isfinite(differences)]
    if np.ptp(known) <= _SAME and abs(second - first) > _SAME:
        reason = "the difference is the same in every resample"
        nothing = replace(interval, low=None, high=None, reason=reason)
        return Difference(test, first, second, second - first, nothing, None, reason)
    smaller = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))
    p = float(min(1.0, 2 * (smaller + 1) / (len(known) + 1)))
    return Difference(test, first, second, second - first, interval, p)


def mcnemar(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> Difference:
    """Compare which answers of two models are right, bool [N] each, on the same cases (McNemar 1947).

    Exact (binomial) up to 25 cases in which only one is right, above chi-square with Edwards' correction.
    The difference is that of the shares of right answers, with Wald's interval for paired proportions.
    """
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if not len(one):
        return _none("McNemar", "there are no cases")
    gained, lost = int((~one & other).sum()), int((one & ~other).sum())
    discordant, cases = gained + lost, len(one)
    if discordant <= _EXACT_UP_TO:
        test = "McNemar, exact"
        p = float(binomtest(gained, discordant).pvalue) if discordant else 1.0
    else:
        test = "McNemar, chi-square"
        p = float(chi2.sf(max(0, abs(gained - lost) - 1) ** 2 / discordant, 1))
    difference = (gained - lost) / cases
    spread = math.sqrt(max(0.0, discordant - (gained - lost) ** 2 / cases)) / cases
    half = float(norm.ppf((1 + confidence) / 2)) * spread
    interval = Interval(difference - half, difference + half, "Wald, paired")
    return Difference(test, float(one.mean()), float(other.mean()), difference, interval, p)


def compare_coco(
    coco: Coco,
    first: Sequence[Mapping[str, Any]],
    second: Sequence[Mapping[str, Any]],
    resamples: PatientResamples,
) -> dict[str, dict[str, Difference]]:
    """Compare the twelve COCO numbers of two checked results lists, by class name and number.

    ``resamples`` must be those of ``fusion.patients_of_images(coco)``.
    """
    one, other = (draw_coco(coco, results, resamples) for results in (first, second))
    found: dict[str, dict[str, Difference]] = {}
    for (name, number), drawn in one.items():
        found.setdefault(name, {})[number] = compare_drawn(drawn, other[name, number], resamples)
    return found


def draw_coco(
    coco: Coco, results: Sequence[Mapping[str, Any]], resamples: PatientResamples
) -> dict[tuple[str, str], Drawn]:
    """Return the twelve COCO numbers of checked results in every resample, by class name and number."""
    matched = match_boxes(coco, results)
    numbers = matched.numbers()
    names, values = coco_values(matched, patients_of_images(coco), resamples)
    columns = zip(names, values.T, strict=True)
    return {(name, number): Drawn(numbers[name][number], column) for (name, number), column in columns}


def compare_drawn(first: Drawn, second: Drawn, resamples: PatientResamples) -> Difference:
    """Compare a number of two models by the paired bootstrap; both must come of these resamples."""
    return paired_bootstrap(first.value, second.value, (first.values, second.values), resamples)


def _none(test: str, reason: str) -> Difference:
    return Difference(test, None, None, None, Interval(None, None, test, reason=reason), None, reason)
