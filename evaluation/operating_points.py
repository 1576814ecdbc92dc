"""Where a score is cut: thresholds by a rule, what comes out there, and how sure that is.

A rule that chooses its threshold from the data (fixed sensitivity, fixed specificity, Youden's index) chooses
it anew in every resample, so that the interval holds the uncertainty of the choice too. Wilson's interval
takes the threshold as given and the cases as independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.datasets.errors import InputError
from mammodet.evaluation.proportions import wilson_interval
from mammodet.evaluation.resampling import Interval, PatientResamples

NUMBERS = ("sensitivity", "specificity", "accuracy", "ppv", "npv", "f1", "mcc")
_ROUNDING = 1e-12  # 0.9 of 10 cases is 9 of 10, whatever the last bit says

Counts = NDArray[np.float64]
_Choice = Callable[[Counts, Counts], NDArray[np.intp]]  # sensitivity, specificity [r, U + 1] -> place [r]


@dataclass(frozen=True)
class PointRule:
    """How a threshold is chosen: ``kind`` sensitivity, specificity, youden or threshold, with its ``value``.

    ``sensitivity`` takes the highest threshold that reaches the value, ``specificity`` the lowest; ``youden``
    the highest sensitivity + specificity - 1 (of equal ones the highest threshold). A case is positive when
    its score is at least the threshold.
    """

    kind: str
    value: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("sensitivity", "specificity", "youden", "threshold"):
            raise ValueError(f"no such rule of an operating point: {self.kind!r}")
        if self.kind == "youden":
            return
        if self.value is None or not 0 <= self.value <= 1:
            remedy = "give the sensitivity, specificity or score to cut at"
            field = f"operating point, {self.kind}"
            raise InputError("must be from 0 to 1", field=field, value=self.value, remedy=remedy)

    @property
    def name(self) -> str:
        """What the point is called in tables, such as ``specificity 0.9``."""
        return "Youden" if self.value is None else f"{self.kind} {self.value:g}"


DEFAULT_RULES = (
    PointRule("sensitivity", 0.9),
    PointRule("specificity", 0.9),
    PointRule("youden"),
    PointRule("threshold", 0.5),
)


@dataclass(frozen=True)
class Estimate:
    """A number with its intervals by kind (``bootstrap``, ``delong``, ``wilson``, ``wald``)."""

    value: float | None
    intervals: Mapping[str, Interval]


@dataclass(frozen=True)
class OperatingPoint:
    """One point: ``threshold`` (None: above every score, nothing is called positive) and ``NUMBERS`` there.

    Without a positive or a negative case a rule cannot choose; then ``numbers`` is empty and ``reason`` says
    so.
    """

    name: str
    threshold: float | None
    numbers: Mapping[str, Estimate]
    reason: str | None = None


class ScoreTable:
    """N cases by falling score, to count true and false positives at every threshold under many weights."""

    def __init__(self, truth: ArrayLike, scores: ArrayLike) -> None:
        positive = np.asarray(truth, dtype=bool)
        values = np.asarray(scores, dtype=np.float64)
        self._order = np.argsort(-values, kind="stable")
        self._positive = positive[self._order]
        self.cases = len(positive)
        self.thresholds, first = np.unique(-values[self._order], return_index=True)
        self.thresholds = -self.thresholds  # [U], falling
        self._last = np.append(first[1:], len(values)) - 1 if len(values) else first

    def counts(self, weights: ArrayLike) -> tuple[Counts, Counts]:
        """Return true and false positives, [r, U + 1] each: none called positive first, all last."""
        ordered = np.asarray(weights)[:, self._order]
        found = []
        for chosen in (self._positive, ~self._positive):
            total = np.zeros((len(ordered), len(self.thresholds) + 1))
            if len(self.thresholds):
                total[:, 1:] = np.cumsum(ordered * chosen, axis=1)[:, self._last]
            found.append(total)
        return found[0], found[1]

    def numbers(
        self, rules: Sequence[PointRule], weights: ArrayLike
    ) -> list[tuple[dict[str, Counts], NDArray[np.intp]]]:
        """Return for each rule ``NUMBERS`` [r] at its point and the place of it [r]; NaN where undefined."""
        true, false = self.counts(weights)
        positives, negatives = true[:, -1], false[:, -1]
        undecided = (positives == 0) | (negatives == 0)
        sensitivity = _ratio(true, positives[:, None])
        specificity = _ratio(negatives[:, None] - false, negatives[:, None])
        rows = np.arange(len(true))
        found = []
        for rule in rules:
            place = self._place(rule, sensitivity, specificity)
            numbers = confusion_numbers(true[rows, place], false[rows, place], positives, negatives)
            if rule.kind != "threshold":
                for values in numbers.values():
                    values[undecided] = np.nan
            found.append((numbers, place))
        return found

    def _place(self, rule: PointRule, sensitivity: Counts, specificity: Counts) -> NDArray[np.intp]:
        if rule.kind == "youden":
            return np.argmax(np.round(np.nan_to_num(sensitivity + specificity), 12), axis=1)
        value = float(rule.value or 0)
        if rule.kind == "threshold":
            return np.full(len(sensitivity), np.count_nonzero(self.thresholds >= value))
        if rule.kind == "sensitivity":
            return np.argmax(sensitivity >= value - _ROUNDING, axis=1)
        return np.maximum(np.count_nonzero(specificity >= value - _ROUNDING, axis=1) - 1, 0)


def confusion_numbers(
    true: Counts, false: Counts, positives: Counts, negatives: Counts
) -> dict[str, NDArray[np.float64]]:
    """Return ``NUMBERS`` from true and false positives and the sizes of both classes, [r] each.

    NaN where a denominator is 0; Matthews' coefficient has none when all cases are, or are called, one class.
    """
    missed, right = positives - true, negatives - false
    called, passed = true + false, missed + right
    product = np.sqrt(called * passed * positives * negatives)
    return {
        "sensitivity": _ratio(true, positives),
        "specificity": _ratio(right, negatives),
        "accuracy": _ratio(true + right, positives + negatives),
        "ppv": _ratio(true, called),
        "npv": _ratio(right, passed),
        "f1": _ratio(2 * true, 2 * true + false + missed),
        "mcc": _ratio(true * right - false * missed, product),
    }


def operating_points(
    truth: Sequence[bool],
    scores: Sequence[float],
    rules: Sequence[PointRule],
    resamples: PatientResamples,
    codes: NDArray[np.intp],
) -> list[OperatingPoint]:
    """Return the point of each rule with intervals by patient, and Wilson's for the proportions.

    ``codes`` [N] are the places of the cases' patients in ``resamples``.
    """
    table = ScoreTable(truth, scores)
    drawn: dict[PointRule, list[NDArray[np.float64]]] = {rule: [] for rule in rules}
    for weights in resamples.weights(codes):
        for rule, (numbers, _) in zip(rules, table.numbers(rules, weights), strict=True):
            drawn[rule].append(np.stack([numbers[name] for name in NUMBERS]))
    return [
        _point(
            table,
            rule,
            np.concatenate(parts, axis=1) if parts else None,
            resamples,
            patients=len(np.unique(codes)),
        )
        for rule, parts in drawn.items()
    ]


def _point(
    table: ScoreTable,
    rule: PointRule,
    drawn: NDArray[np.float64] | None,
    resamples: PatientResamples,
    *,
    patients: int,
) -> OperatingPoint:
    ones = np.ones((1, table.cases), dtype=np.int32)
    true, false = (int(total[0, -1]) for total in table.counts(ones))
    if rule.kind != "threshold" and not (true and false):
        reason = f"needs both classes, there are {true} positive and {false} negative cases"
        return OperatingPoint(rule.name, None, {}, reason)
    numbers, place = table.numbers([rule], ones)[0]
    threshold = rule.value
    if rule.kind != "threshold":
        threshold = float(table.thresholds[place[0] - 1]) if place[0] else None
    parts = _proportions(table, ones, int(place[0]))
    estimates = {}
    for row, name in enumerate(NUMBERS):
        value = float(numbers[name][0])
        intervals = {}
        if drawn is not None:
            intervals["bootstrap"] = resamples.interval(drawn[row], patients)
            if not np.isfinite(value):  # a resample has another threshold, at which it may be defined
                intervals["bootstrap"] = replace(
                    intervals["bootstrap"], low=None, high=None, reason="undefined at the point itself"
                )
        if name in parts:
            intervals["wilson"] = wilson_interval(*parts[name], resamples.confidence)
        estimates[name] = Estimate(value if np.isfinite(value) else None, intervals)
    return OperatingPoint(rule.name, threshold, estimates)


def _proportions(table: ScoreTable, ones: ArrayLike, place: int) -> dict[str, tuple[int, int]]:
    true, false = (total[0].astype(int) for total in table.counts(ones))
    positives, negatives = int(true[-1]), int(false[-1])
    hits, alarms = int(true[place]), int(false[place])
    right = negatives - alarms
    return {
        "sensitivity": (hits, positives),
        "specificity": (right, negatives),
        "accuracy": (hits + right, positives + negatives),
        "ppv": (hits, hits + alarms),
        "npv": (right, right + positives - hits),
    }


def _ratio(part: Counts, whole: Counts) -> NDArray[np.float64]:
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
