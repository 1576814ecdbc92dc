"""Does a score of 0.7 mean malignant in 7 of 10? Reliability, its error, and maps that put it right.

A malignancy score orders cases; it is no probability. A map is fitted on validation data; the maps of all
levels are kept together in ``score_calibration``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit

from mammodet.datasets.errors import InputError

BINS = 10
KINDS = ("platt", "isotonic", "temperature")
# Scores of 0 and 1 have no logit; one of 1 that 16 bits rounded up should not outweigh many others.
EDGE = 1e-3
# Cases of the rarer class from which no warning is given. Isotonic regression has no form to lean on.
_ENOUGH = {"platt": 20, "temperature": 20, "isotonic": 100}
_COLDEST, _HOTTEST = 0.01, 100.0


@dataclass(frozen=True)
class ReliabilityBin:
    """Cases with a score from ``low`` to below ``high`` (the last bin holds 1); None where there are none."""

    low: float
    high: float
    cases: int
    mean_score: float | None
    share_malignant: float | None


class Reliability:
    """N cases in ten bins of equal width, under many weights; scores 0 to 1."""

    def __init__(self, truth: ArrayLike, scores: ArrayLike) -> None:
        positive = np.asarray(truth, dtype=np.float64)
        values = np.asarray(scores, dtype=np.float64)
        places = np.minimum((values * BINS).astype(int), BINS - 1)
        member = np.zeros((len(values), BINS))
        member[np.arange(len(values)), places] = 1
        self._member = member
        self._gap = member * (values - positive)[:, None]
        self._scores, self._positive = values, positive

    def error(self, weights: ArrayLike) -> NDArray[np.float64]:
        """Return the expected calibration error [r] for weights [r, N]: the mean gap of the bins by cases.

        It is 0 to 1, and above 0 by chance alone in small samples; in resamples more so, which shifts its
        interval up.
        """
        table = np.asarray(weights)
        total = table.sum(axis=1).astype(np.float64)
        gaps = np.abs(table @ self._gap).sum(axis=1)
        return np.divide(gaps, total, out=np.full(len(total), np.nan), where=total > 0)

    def bins(self) -> list[ReliabilityBin]:
        """Return the reliability table."""
        cases = self._member.sum(axis=0)
        scores, hits = (values @ self._member for values in (self._scores, self._positive))
        return [
            ReliabilityBin(
                place / BINS,
                (place + 1) / BINS,
                int(count),
                float(scores[place] / count) if count else None,
                float(hits[place] / count) if count else None,
            )
            for place, count in enumerate(cases)
        ]


@dataclass(frozen=True)
class Calibrator:
    """A monotone map of scores to probabilities.

    ``kind`` platt: ``parameters`` slope and intercept on the logit of the score, and the probability of a
    score of 0; temperature: the divisor of the logit and the probability of 0; isotonic: scores, then as
    many probabilities, with straight lines between. No case gets less than the probability of 0. ``cases``,
    of them ``positives``, and ``zeros`` with a score of 0 tell what it was fitted on, ``warnings`` what to
    doubt.
    """

    kind: str
    parameters: tuple[float, ...]
    cases: int
    positives: int
    zeros: int
    warnings: tuple[str, ...] = ()

    def __call__(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Return the probabilities [N] of scores [N], 0 to 1."""
        values = np.asarray(scores, dtype=np.float64)
        if self.kind == "isotonic":
            half = len(self.parameters) // 2
            return np.interp(values, self.parameters[:half], self.parameters[half:])
        *curve, floor = self.parameters
        slope, intercept = curve if self.kind == "platt" else (1 / curve[0], 0.0)
        found = np.maximum(expit(slope * _odds(values) + intercept), floor)
        return np.where(values > 0, found, floor)


def fit_calibrator(kind: str, truth: Sequence[bool], scores: Sequence[float], source: str) -> Calibrator:
    """Fit a map on validation cases.

    ``isotonic`` is scikit-learn's. ``platt`` (Platt 1999, on logits) and ``temperature`` (Guo et al. 2017)
    have the least log loss with the targets (N+ + 1) / (N+ + 2) and 1 / (N- + 2) of Platt, which keeps
    them finite where the classes do not overlap. Their curve is fitted on the scores above 0: a case without
    a box has 0 by rule, which is no point on a curve, and at a logit of -7 or -14 a few malignant ones would
    flatten all of it. The probability of 0 is a parameter of its own, chosen for the least log loss as the
    floor of the curve.

    Raises
    ------
    InputError
        Without cases of both classes, without a score above 0, and when malignant cases have the lower
        scores, so that only a falling curve would fit.
    """
    if kind not in KINDS:
        raise ValueError(f"no such calibration: {kind!r}; known are {KINDS}")
    positive, values = np.asarray(truth, dtype=bool), np.asarray(scores, dtype=np.float64)
    malignant = int(positive.sum())
    if len(np.unique(positive)) < 2:
        raise InputError(
            f"a calibration needs both classes, there are {malignant} positive of {len(positive)} cases",
            file=source,
            remedy="fit it on validation data with both",
        )
    if not (values > 0).any():
        raise InputError(
            f"a calibration needs scores above 0, those of all {len(values)} cases are 0",
            file=source,
            remedy="check the predictions and the score threshold",
        )
    parameters = _FITS[kind](positive, values, source)
    zeros = int((values <= 0).sum())
    found = Calibrator(kind, parameters, len(positive), malignant, zeros)
    return Calibrator(kind, parameters, len(positive), malignant, zeros, _doubts(found))


def _odds(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(logit(np.clip(values, EDGE, 1 - EDGE)))


def _targets(positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    high, low = int(positive.sum()), int((~positive).sum())
    return np.where(positive, (high + 1) / (high + 2), 1 / (low + 2))


def _log_loss(odds: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    return float((np.logaddexp(0, odds) - targets * odds).mean())


def _platt(positive: NDArray[np.bool_], values: NDArray[np.float64], source: str) -> tuple[float, ...]:
    above = values > 0
    odds, targets = _odds(values[above]), _targets(positive[above])
    centre, spread = odds.mean(), odds.std()
    if not spread > 1e-9:  # one score only: its share of malignant cases
        slope, intercept = 0.0, float(logit(targets.mean()))
    else:
        scaled = (odds - centre) / spread

        def gradient(line: NDArray[np.float64]) -> NDArray[np.float64]:
            gap = expit(line[0] * scaled + line[1]) - targets
            return np.array([(gap * scaled).mean(), gap.mean()])

        fitted = minimize(
            lambda line: _log_loss(line[0] * scaled + line[1], targets),
            np.array([0.0, logit(targets.mean())]),
            jac=gradient,
            method="BFGS",
            options={"gtol": 1e-9},
        ).x
        slope = float(fitted[0] / spread)
        intercept = float(fitted[1] - slope * centre)
    if slope < -1e-6:
        raise InputError(
            f"no calibration: the slope would be {slope:.3g}, malignant cases have the lower scores",
            file=source,
            remedy="check the categories and the truth, or leave this score alone",
        )
    slope = max(slope, 0.0)
    return slope, intercept, _floor(expit(slope * odds + intercept), positive, above)


def _temperature(positive: NDArray[np.bool_], values: NDArray[np.float64], source: str) -> tuple[float, ...]:
    above = values > 0
    odds, targets = _odds(values[above]), _targets(positive[above])
    limits = (float(np.log(_COLDEST)), float(np.log(_HOTTEST)))
    found = minimize_scalar(
        lambda power: _log_loss(odds / np.exp(power), targets),
        bounds=limits,
        method="bounded",
        options={"xatol": 1e-9},
    )
    if found.x > limits[1] - 1e-3 and odds.any():
        raise InputError(
            "no calibration: no temperature fits, malignant cases are not those with scores above 0.5",
            file=source,
            remedy="fit platt, which has an intercept, or check the categories and the truth",
        )
    temperature = float(np.exp(found.x))
    return temperature, _floor(expit(odds / temperature), positive, above)


def _isotonic(positive: NDArray[np.bool_], values: NDArray[np.float64], source: str) -> tuple[float, ...]:
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415  applying a map needs no scikit-learn

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(values, positive)
    return (*map(float, fitted.X_thresholds_), *map(float, fitted.y_thresholds_))


_FITS: dict[str, Callable[[NDArray[np.bool_], NDArray[np.float64], str], tuple[float, ...]]] = {
    "platt": _platt,
    "temperature": _temperature,
    "isotonic": _isotonic,
}


def _floor(curve: NDArray[np.float64], positive: NDArray[np.bool_], above: NDArray[np.bool_]) -> float:
    """Return the probability of a score of 0 with the least log loss, as the floor of ``curve`` [M].

    Where the cases of score 0 are malignant more often than the curve's lowest ones, as when lesions are
    missed, the lowest ones are pooled with them, as isotonic regression does. Shares are (k + 0.5) / (n + 1).
    Without a score of 0 it is the lowest value of the curve: nothing is known below.
    """
    nothing = positive[~above]
    if not len(nothing):
        return float(curve.min())
    order = np.argsort(curve, kind="stable")
    # A steep curve ends in exact zeros and ones, which have no logarithm.
    curve, hits = np.clip(curve[order], 1e-12, 1 - 1e-12), positive[above][order].astype(np.float64)
    # Entry k of each: the k lowest cases of the curve are pooled with those of score 0.
    malignant = nothing.sum() + np.concatenate([[0.0], np.cumsum(hits)])
    pooled = len(nothing) + np.arange(len(curve) + 1)
    edges = np.concatenate([[0.0], curve, [1.0]])
    floors = np.clip((malignant + 0.5) / (pooled + 1), edges[:-1], edges[1:])
    losses = -(hits * np.log(curve) + (1 - hits) * np.log1p(-curve))
    rest = np.concatenate([np.cumsum(losses[::-1])[::-1], [0.0]])
    total = rest - malignant * np.log(floors) - (pooled - malignant) * np.log1p(-floors)
    return float(floors[int(np.argmin(total))])


def _doubts(found: Calibrator) -> tuple[str, ...]:
    doubts = []
    rarer, enough = min(found.positives, found.cases - found.positives), _ENOUGH[found.kind]
    if rarer < enough:
        doubts.append(
            f"{found.kind} rests on {found.positives} positive of {found.cases} cases; "
            f"with fewer than {enough} of a class it is unsure"
        )
    low, high = found([0.0, 1.0])
    if high - low < 1e-3:
        doubts.append(f"every score has the probability {low:.3f}: the score tells nothing here")
    return tuple(doubts)
