"""The numbers of images, breasts, patients or lesions: confusion, ROC, operating points, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.evaluation.auc import (
    DELONG,
    OBUCHOWSKI,
    WeightedAuc,
    delong,
    delong_interval,
    newcombe_interval,
)
from mammodet.evaluation.calibration import Reliability, ReliabilityBin
from mammodet.evaluation.cases import NOT_MALIGNANT
from mammodet.evaluation.classification_metrics import Classification, classify
from mammodet.evaluation.operating_points import OperatingPoint, PointRule, operating_points
from mammodet.evaluation.proportions import ratios, wald_interval, wilson_interval
from mammodet.evaluation.resampling import Interval, PatientResamples
from mammodet.evaluation.roc import Roc, roc
from mammodet.evaluation.roc_band import RocBand, roc_band

Intervals = Mapping[str, Mapping[str, Interval]]  # number -> kind (bootstrap, delong, ...) -> interval


class Judged(NamedTuple):
    """One case: its true class (None: unknown), the class it was given, its malignancy score, its patient."""

    truth: str | None
    predicted: str
    score: float
    patient: str


@dataclass(frozen=True)
class Level:
    """The numbers of the images, of the breasts, of the patients, or of the lesions under one protocol.

    ``without_normals`` is the ROC of malignant against benign alone, None without normals to leave out.
    ``brier`` is the mean squared difference of malignancy score and truth, ``ece`` the expected calibration
    error over ``reliability``. ``intervals`` belong to ``auc``, ``auc_malignant_vs_benign``, ``brier``,
    ``ece`` and ``accuracy``; ``class_intervals`` to the numbers of each class; ``band`` to the ROC curve.
    """

    title: str
    classification: Classification
    roc: Roc
    without_normals: Roc | None = None
    brier: float | None = None
    ece: float | None = None
    reliability: Sequence[ReliabilityBin] = ()
    patients: int = 0
    intervals: Intervals = field(default_factory=dict)
    class_intervals: Mapping[str, Intervals] = field(default_factory=dict)
    points: Sequence[OperatingPoint] = ()
    band: RocBand | None = None


@dataclass(frozen=True)
class Uncertainty:
    """What intervals need: the resamples of patients, and the rules of operating points."""

    resamples: PatientResamples
    rules: Sequence[PointRule]


def malignant_or_not(title: str, cases: Sequence[Judged], uncertainty: Uncertainty) -> Level:
    """Return the numbers of images, breasts or patients; those of unknown truth are left out."""
    known = [case for case in cases if case.truth is not None]
    return _level(title, known, (NOT_MALIGNANT, "malignant"), (), uncertainty)


def lesions(
    title: str, cases: Sequence[Judged], other_answers: Sequence[str], uncertainty: Uncertainty
) -> Level:
    """Return the numbers of true lesions, benign or malignant; ``other_answers`` are always wrong."""
    return _level(title, cases, ("benign", "malignant"), other_answers, uncertainty)


def _level(
    title: str,
    cases: Sequence[Judged],
    classes: Sequence[str],
    other_answers: Sequence[str],
    uncertainty: Uncertainty,
) -> Level:
    statistics, resamples = _Statistics(cases, classes), uncertainty.resamples
    truth, scores = statistics.positive, statistics.scores
    table = classify(statistics.truths, [case.predicted for case in cases], classes, other_answers)
    patients = [case.patient for case in cases]
    codes = resamples.codes_of(patients)
    drawn = resamples.values(statistics, codes)  # [R, S]
    owners = len(set(patients))
    boot = {name: resamples.interval(drawn[:, place], owners) for place, name in enumerate(statistics.names)}
    if not resamples.resamples:
        boot = {}
    confidence = resamples.confidence
    intervals = {
        "auc": auc_intervals(boot.get("auc"), truth, scores, patients, confidence=confidence),
        "brier": _kinds(boot.get("brier")),
        "ece": _kinds(boot.get("ece")),
        "accuracy": _kinds(boot.get("accuracy"), (_right(table), table.cases), confidence),
    }
    without = None
    if len(statistics.lesioned) < len(cases):
        some, of_some = statistics.lesioned, [patients[place] for place in statistics.lesioned]
        without = roc(truth[some].tolist(), scores[some].tolist())
        intervals["auc_malignant_vs_benign"] = auc_intervals(
            boot.get("auc_malignant_vs_benign"), truth[some], scores[some], of_some, confidence=confidence
        )
    return Level(
        title=title,
        classification=table,
        roc=roc(truth.tolist(), scores.tolist()),
        without_normals=without,
        brier=float(statistics.errors.mean()) if len(cases) else None,
        ece=float(statistics.reliability.error(np.ones((1, len(cases))))[0]) if len(cases) else None,
        reliability=statistics.reliability.bins(),
        patients=owners,
        intervals=intervals,
        class_intervals=_class_intervals(table, boot, confidence),
        points=operating_points(truth.tolist(), scores.tolist(), uncertainty.rules, resamples, codes),
        band=roc_band(truth, scores, resamples, codes),
    )


class _Statistics:
    """Every number of a level as a function of weights [r, N], the columns in the order of ``names``.

    The other class of images and breasts holds benign and normal ones; ``lesioned`` are the places of cases
    that are not normal.
    """

    def __init__(self, cases: Sequence[Judged], classes: Sequence[str]) -> None:
        self.truths = [str(case.truth) if case.truth in classes else classes[0] for case in cases]
        self.positive = np.array([truth == "malignant" for truth in self.truths], dtype=bool)
        self.scores = np.array([case.score for case in cases], dtype=np.float64)
        self.lesioned = np.flatnonzero([case.truth != "normal" for case in cases])
        self.errors = (self.scores - self.positive) ** 2
        self.reliability = Reliability(self.positive, self.scores)
        self._auc = WeightedAuc(self.positive, self.scores)
        self._auc_lesioned = WeightedAuc(self.positive[self.lesioned], self.scores[self.lesioned])
        true = np.array(self.truths, dtype=object)
        given = np.array([case.predicted for case in cases], dtype=object)
        right = true == given
        sums = [np.ones(len(cases)), self.errors, right]
        for name in classes:
            sums += [true == name, given == name, right & (true == name)]
        self._sums = np.array(sums, dtype=np.float64).reshape(len(sums), len(cases)).T  # [N, S]
        per_class = [f"{name} {number}" for name in classes for number in ("sensitivity", "precision", "f1")]
        self.names = ["auc", "auc_malignant_vs_benign", "brier", "ece", "accuracy", *per_class]

    def __call__(self, weights: ArrayLike) -> NDArray[np.float64]:
        table = np.asarray(weights)
        total, error, right, *classes = (table @ self._sums).T
        columns = [
            self._auc(table),
            self._auc_lesioned(table[:, self.lesioned]),
            ratios(error, total),
            self.reliability.error(table),
            ratios(right, total),
        ]
        for support, given, hits in zip(classes[::3], classes[1::3], classes[2::3], strict=True):
            columns += [ratios(hits, support), ratios(hits, given), ratios(2 * hits, support + given)]
        return np.stack(columns, axis=1)


def auc_intervals(
    boot: Interval | None,
    positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    patients: Sequence[str],
    *,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Return the bootstrap, DeLong's, that with patients as clusters (Obuchowski 1997), and Newcombe's."""
    found = _kinds(boot)
    for kind, clusters in (("delong", None), ("obuchowski", patients)):
        try:
            found[kind] = delong_interval(delong(positive, scores, clusters), confidence)
        except ValueError as error:
            found[kind] = Interval(None, None, DELONG if clusters is None else OBUCHOWSKI, reason=str(error))
    found["newcombe"] = newcombe_interval(positive, scores, confidence)
    return found


def _class_intervals(
    table: Classification, boot: Mapping[str, Interval], confidence: float
) -> dict[str, dict[str, dict[str, Interval]]]:
    found = {}
    for place, name in enumerate(table.classes):
        hits, row = table.confusion[place][place], sum(table.confusion[place])
        column = sum(counts[place] for counts in table.confusion)
        found[name] = {
            "sensitivity": _kinds(boot.get(f"{name} sensitivity"), (hits, row), confidence),
            "precision": _kinds(boot.get(f"{name} precision"), (hits, column), confidence),
            "f1": _kinds(boot.get(f"{name} f1")),
        }
    return found


def _kinds(
    boot: Interval | None, share: tuple[int, int] | None = None, confidence: float = 0.95
) -> dict[str, Interval]:
    found = {} if boot is None else {"bootstrap": boot}
    if share is not None:
        found["wilson"] = wilson_interval(*share, confidence)
        found["wald"] = wald_interval(*share, confidence)
    return found


def _right(table: Classification) -> int:
    return sum(table.confusion[place][place] for place in range(len(table.classes)))
