"""The area under the ROC curve: weighted for resamples, and with DeLong's variance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from mammodet.evaluation.resampling import Interval

DELONG = "DeLong"
OBUCHOWSKI = "Obuchowski"
NEWCOMBE = "Newcombe"  # where DeLong's variance is 0


class WeightedAuc:
    """The AUC of N cases under many sets of weights; the scores are sorted once.

    Parameters
    ----------
    truth, scores:
        Which cases are positive, bool [N], and their scores [N], higher = more likely positive. A tie of a
        positive with a negative counts 1/2.
    """

    def __init__(self, truth: ArrayLike, scores: ArrayLike) -> None:
        positive = np.asarray(truth, dtype=bool)
        values = np.asarray(scores, dtype=np.float64)
        self._positives = np.flatnonzero(positive)
        negatives = np.flatnonzero(~positive)
        self._negatives = negatives[np.argsort(values[negatives], kind="stable")]
        below = values[self._negatives]
        self._lower = np.searchsorted(below, values[self._positives], side="left")
        self._upper = np.searchsorted(below, values[self._positives], side="right")

    def __call__(self, weights: ArrayLike) -> NDArray[np.float64]:
        """Return the AUC [r] for weights [r, N] of 0 or more; NaN where a class has no weight."""
        table = np.asarray(weights)
        positive = table[:, self._positives].astype(np.float64)
        negative = table[:, self._negatives].astype(np.float64)
        below = np.zeros((len(table), len(self._negatives) + 1))
        np.cumsum(negative, axis=1, out=below[:, 1:])
        wins = np.einsum("rp,rp->r", positive, below[:, self._lower] + below[:, self._upper])
        pairs = 2 * positive.sum(axis=1) * below[:, -1]
        return np.divide(wins, pairs, out=np.full(len(table), np.nan), where=pairs > 0)


@dataclass(frozen=True)
class Delong:
    """AUCs of one or more scores on the same cases, [K], and their covariance [K, K] by ``method``."""

    auc: NDArray[np.float64]
    covariance: NDArray[np.float64]
    positives: int
    negatives: int
    method: str = DELONG


def delong(truth: ArrayLike, scores: ArrayLike, clusters: Sequence[object] | None = None) -> Delong:
    """Return AUC and covariance of scores [N] or [K, N] in O(N log N) by midranks (Sun and Xu 2014).

    The covariance is that of DeLong et al. 1988. With ``clusters``, such as the patient of each case, [N],
    the covariance allows for dependence within them (Obuchowski 1997); with clusters of one it is DeLong's.

    Raises
    ------
    ValueError
        With fewer than two positives or two negatives (with clusters: in fewer than two of them), for which
        there is no variance.
    """
    positive = np.asarray(truth, dtype=bool)
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    counts = int(positive.sum()), int((~positive).sum())
    if min(counts) < 2:
        raise ValueError(f"DeLong needs two cases of each class, there are {counts[0]} and {counts[1]}")
    ranks = rankdata(table, axis=1)
    shares = np.empty_like(table)  # of each case the share of the other class that it beats or is beaten by
    for sign, own, others in ((1, positive, counts[1]), (-1, ~positive, counts[0])):
        within = rankdata(table[:, own], axis=1)
        share = (ranks[:, own] - within) / others
        shares[:, own] = share if sign == 1 else 1 - share
    auc = shares[:, positive].mean(axis=1)
    if clusters is None:
        covariance = sum(np.atleast_2d(np.cov(shares[:, own])) / own.sum() for own in (positive, ~positive))
        return Delong(auc, np.asarray(covariance), *counts)
    return Delong(auc, _clustered(positive, shares, auc, clusters), *counts, OBUCHOWSKI)


def delong_interval(result: Delong, confidence: float = 0.95, *, logit_scale: bool = True) -> Interval:
    """Return DeLong's interval of the first AUC, on the logit scale so that it stays between 0 and 1.

    With ``logit_scale`` False it is the plain one, cut at 0 and 1. Perfect separation, or all scores equal,
    leaves no variance and a width of 0, which says nothing about new cases: then Newcombe's interval (2006,
    method 5) is given, and ``method`` says so.
    """
    auc, variance = float(result.auc[0]), float(result.covariance[0, 0])
    if variance <= 1e-15:  # rounding leaves some 1e-33
        low, high = newcombe_limits(auc, result.positives, result.negatives, confidence)
        return Interval(low, high, NEWCOMBE)
    half = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(variance)
    if not logit_scale or not 0 < auc < 1:
        return Interval(max(0.0, auc - half), min(1.0, auc + half), result.method)
    low, high = expit(logit(auc) + np.array([-1, 1]) * half / (auc * (1 - auc)))
    return Interval(float(low), float(high), f"{result.method}, logit")


def newcombe_interval(truth: ArrayLike, scores: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return Newcombe's interval (2006) of the AUC, which has a width at an AUC of 0 or 1 too."""
    positive = np.asarray(truth, dtype=bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        reason = f"needs both classes, there are {positives} positive and {negatives} negative cases"
        return Interval(None, None, NEWCOMBE, reason=reason)
    area = float(WeightedAuc(positive, scores)(np.ones((1, len(positive))))[0])
    return Interval(*newcombe_limits(area, positives, negatives, confidence), NEWCOMBE)


def newcombe_limits(
    auc: float, positives: int, negatives: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the score-type interval of an AUC, Newcombe 2006, Statistics in Medicine 25:559, method 5.

    It solves ``|auc - theta| = z * se(theta)`` with Hanley and McNeil's standard error at theta, in which
    both class sizes but for the leading factor are their mean.
    """
    z = float(norm.ppf((1 + confidence) / 2))
    mean = (positives + negatives) / 2

    def excess(theta: float) -> float:
        spread = 1 + (mean - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (auc - theta) ** 2 - z**2 * theta * (1 - theta) * spread / (positives * negatives)

    edge = 1e-12
    low = 0.0 if auc <= edge else float(brentq(excess, 0.0, auc - (edge if auc == 1 else 0)))
    high = 1.0 if auc >= 1 - edge else float(brentq(excess, auc + (edge if auc == 0 else 0), 1.0))
    return low, high


def _clustered(
    positive: NDArray[np.bool_],
    shares: NDArray[np.float64],
    auc: NDArray[np.float64],
    clusters: Sequence[object],
) -> NDArray[np.float64]:
    """Return the covariance of Obuchowski 1997, Biometrics 53:567, equations 3 to 5."""
    places: dict[object, int] = {}
    codes = np.array([places.setdefault(cluster, len(places)) for cluster in clusters], dtype=np.intp)
    deviations = shares - auc[:, None]
    sums = [np.zeros((len(shares), len(places))), np.zeros((len(shares), len(places)))]
    for total, own in zip(sums, (positive, ~positive), strict=True):
        for row, values in zip(total, deviations[:, own], strict=True):
            row[:] = np.bincount(codes[own], values, minlength=len(places))
    first, second = sums
    m, n = int(positive.sum()), int((~positive).sum())
    with_first, with_second = (len(np.unique(codes[own])) for own in (positive, ~positive))
    if min(with_first, with_second) < 2:
        raise ValueError("the clustered variance needs two clusters with each class")
    all_clusters = len(places) / (len(places) - 1)
    cross = all_clusters * (first @ second.T) / (m * n)
    return np.asarray(
        with_first / (with_first - 1) * (first @ first.T) / m**2
        + with_second / (with_second - 1) * (second @ second.T) / n**2
        + cross
        + cross.T
    )
