"""Every number of two models on the same images, with the difference, its interval and its p value."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import Coco
from mammodet.evaluation.auc import WeightedAuc
from mammodet.evaluation.cases import Cases, collect_cases
from mammodet.evaluation.comparison import (
    Difference,
    compare_coco,
    mcnemar,
    paired_bootstrap,
    paired_delong,
)
from mammodet.evaluation.froc_comparison import compare_froc
from mammodet.evaluation.resampling import PatientResamples
from mammodet.evaluation.roc import roc
from mammodet.evaluation.summary import Evaluation, resamples_of

_LEVELS = ("image", "breast", "patient", "lesion_all")  # the published lesion protocol judges other lesions


@dataclass(frozen=True)
class ComparedNumber:
    """One number of one level: ``found`` is this model (second) less the other one (first)."""

    level: str
    number: str
    found: Difference


def compare_models(
    coco: Coco,
    other: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    evaluation: Evaluation,
) -> list[ComparedNumber]:
    """Compare checked ``results``, of which ``evaluation`` is, with ``other`` results on the same images.

    COCO and FROC numbers by the paired bootstrap; AUC of images, breasts, patients and all lesions by the
    bootstrap, DeLong and Obuchowski; the verdicts by the bootstrap of the accuracy and McNemar.
    """
    resamples = resamples_of(coco, evaluation.bootstrap)
    rows = [
        ComparedNumber("coco", f"{name} {number}", found)
        for name, numbers in compare_coco(coco, other, results, resamples).items()
        for number, found in numbers.items()
    ]
    rows += [
        ComparedNumber(*found) for found in compare_froc(coco, other, results, evaluation.froc, resamples)
    ]
    if evaluation.cases is None:
        return rows
    others = collect_cases(coco, other, evaluation.protocol)
    pairs = zip(_judged(others), _judged(evaluation.cases), strict=True)
    for level, (first, second) in zip(_LEVELS, pairs, strict=True):
        rows += [
            ComparedNumber(level, number, found) for number, found in _compared(first, second, resamples)
        ]
    return rows


def comparison_csv(rows: Sequence[ComparedNumber]) -> str:
    """Return the rows as CSV; ``n/a`` is a number that does not exist, and ``reason`` says why."""
    columns = ("level", "number", "test", "other", "this", "difference", "low", "high", "p", "reason")
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        found = row.found
        values = (found.test, found.first, found.second, found.difference)
        limits = (found.interval.low, found.interval.high, found.p, found.reason)
        shown = dict(zip(columns, (row.level, row.number, *values, *limits), strict=True))
        writer.writerow({name: "n/a" if value is None else value for name, value in shown.items()})
    return text.getvalue()


@dataclass(frozen=True)
class _Cases:
    """What both models are judged on at one level; ``right`` tells which verdicts are."""

    truth: NDArray[np.bool_]
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    patients: list[str]


def _judged(cases: Cases) -> Iterator[_Cases]:
    images, breasts = cases.patient_of_image, cases.patient_of_breast
    for judged in (
        [(case, images[case.image_id]) for case in cases.images],
        [(case, breasts[case.breast]) for case in cases.breasts],
        [(case, case.patient) for case in cases.patients],
        [(case, images[case.image_id]) for case in cases.lesions],
    ):
        known = [(case, patient) for case, patient in judged if case.truth is not None]
        truth = np.array([case.truth == "malignant" for case, _ in known], dtype=bool)
        called = np.array([case.predicted == "malignant" for case, _ in known], dtype=bool)
        missed = np.array([case.predicted == "missed" for case, _ in known], dtype=bool)
        yield _Cases(
            truth,
            np.array([case.score for case, _ in known], dtype=np.float64),
            (truth == called) & ~missed,
            [patient for _, patient in known],
        )


def _compared(first: _Cases, second: _Cases, resamples: PatientResamples) -> Iterator[tuple[str, Difference]]:
    codes, confidence = resamples.codes_of(first.patients), resamples.confidence
    areas = [roc(one.truth.tolist(), one.scores.tolist()).auc for one in (first, second)]
    drawn = [resamples.values(WeightedAuc(one.truth, one.scores), codes) for one in (first, second)]
    yield "auc", paired_bootstrap(areas[0], areas[1], (drawn[0], drawn[1]), resamples)
    for clusters in (None, first.patients):
        yield "auc", paired_delong(first.truth, first.scores, second.scores, clusters, confidence=confidence)
    shares = [float(one.right.mean()) if len(one.right) else None for one in (first, second)]
    right = [resamples.values(_Mean(one.right), codes) for one in (first, second)]
    yield "accuracy", paired_bootstrap(shares[0], shares[1], (right[0], right[1]), resamples)
    yield "accuracy", mcnemar(first.right, second.right, confidence=confidence)


@dataclass(frozen=True)
class _Mean:
    values: NDArray[np.bool_]

    def __call__(self, weights: NDArray[np.int32]) -> NDArray[np.float64]:
        total = weights.sum(axis=1).astype(np.float64)
        part = weights @ self.values.astype(np.float64)
        return np.divide(part, total, out=np.full(len(total), np.nan), where=total > 0)
