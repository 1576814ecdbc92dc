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
    Drawn,
    compare_drawn,
    draw_coco,
    mcnemar,
    paired_delong,
)
from mammodet.evaluation.froc_comparison import draw_froc
from mammodet.evaluation.froc_table import FrocProtocol, FrocTable
from mammodet.evaluation.image_scores import ImageScores, require_truth
from mammodet.evaluation.resampling import PatientResamples
from mammodet.evaluation.roc import roc
from mammodet.evaluation.summary import Evaluation, resamples_of

LEVELS = ("image", "breast", "patient", "lesion_all")  # the published lesion protocol judges other lesions


@dataclass(frozen=True)
class ComparedNumber:
    """One number of one level: ``found`` is this model (second) less the other one (first)."""

    level: str
    number: str
    found: Difference


@dataclass(frozen=True)
class DrawnModel:
    """One model with everything that a comparison needs, so that it is computed once.

    ``boxes`` are the COCO and FROC numbers as level, number and values; ``levels`` the cases of images,
    breasts, patients and all lesions. A model has only what it was evaluated on: one without boxes has no
    ``boxes``.
    """

    boxes: Sequence[tuple[str, str, Drawn]]
    levels: Mapping[str, DrawnLevel]


def compare_models(
    coco: Coco,
    other: Sequence[Mapping[str, Any]] | ImageScores,
    results: Sequence[Mapping[str, Any]] | ImageScores,
    evaluation: Evaluation,
) -> list[ComparedNumber]:
    """Compare checked ``results``, of which ``evaluation`` is, with ``other`` results on the same images.

    Each of the two may be boxes or scores of images; what only one of them has is left out.

    COCO and FROC numbers by the paired bootstrap; AUC of images, breasts, patients and all lesions by the
    bootstrap, DeLong and Obuchowski; the verdicts by the bootstrap of the accuracy and McNemar.
    """
    resamples = resamples_of(coco, evaluation.bootstrap)
    cases = None if evaluation.cases is None else collect_cases(coco, other, evaluation.protocol)
    judged = _judged(cases)
    if isinstance(other, ImageScores):
        require_truth(coco)
        del judged["lesion_all"]
    one, two = (None if isinstance(some, ImageScores) else some for some in (other, results))
    if one is None or two is None:
        one = two = None  # boxes of one alone are compared with nothing
    first = _drawn(coco, one, evaluation.froc.protocol, judged, resamples)
    return compare_drawn_models(first, draw_model(coco, two, evaluation, resamples), resamples)


def draw_model(
    coco: Coco,
    results: Sequence[Mapping[str, Any]] | None,
    evaluation: Evaluation,
    resamples: PatientResamples,
) -> DrawnModel:
    """Return the numbers of ``evaluation`` in every resample.

    Parameters
    ----------
    results:
        The checked results that were evaluated; None of a model without boxes, which has only the levels
        that ``evaluation`` has.
    resamples:
        As ``summary.resamples_of`` makes them of ``coco``; the same for all models to be compared.
    """
    judged = {name: one for name, one in _judged(evaluation.cases).items() if name in evaluation.levels}
    return _drawn(coco, results, evaluation.froc.protocol, judged, resamples, table=evaluation.froc)


def compare_drawn_models(
    first: DrawnModel, second: DrawnModel, resamples: PatientResamples
) -> list[ComparedNumber]:
    """Compare what both models have: ``second`` less ``first``, in the order of ``first``.

    Raises
    ------
    ValueError
        When a level of the two holds other cases.
    """
    pairs = zip(first.boxes, second.boxes, strict=bool(first.boxes and second.boxes))
    rows = [
        ComparedNumber(level, number, compare_drawn(one, other, resamples))
        for (level, number, one), (_, _, other) in pairs
    ]
    for level, cases in first.levels.items():
        if level in second.levels:
            compared = _compared(cases, second.levels[level], resamples)
            rows += [ComparedNumber(level, number, found) for number, found in compared]
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
    """What a model is judged on at one level; ``right`` tells which verdicts are."""

    truth: NDArray[np.bool_]
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    patients: list[str]


@dataclass(frozen=True)
class DrawnLevel:
    """The cases of one level, with their AUC and their accuracy in every resample."""

    cases: _Cases
    auc: Drawn
    accuracy: Drawn


def _drawn(
    coco: Coco,
    results: Sequence[Mapping[str, Any]] | None,
    protocol: FrocProtocol,
    judged: Mapping[str, _Cases],
    resamples: PatientResamples,
    *,
    table: FrocTable | None = None,
) -> DrawnModel:
    boxes: list[tuple[str, str, Drawn]] = []
    if results is not None:
        found = draw_coco(coco, results, resamples)
        boxes = [("coco", f"{name} {number}", drawn) for (name, number), drawn in found.items()]
        boxes += draw_froc(coco, results, protocol, resamples, table)
    return DrawnModel(boxes, {name: _drawn_level(cases, resamples) for name, cases in judged.items()})


def _drawn_level(cases: _Cases, resamples: PatientResamples) -> DrawnLevel:
    codes = resamples.codes_of(cases.patients)
    area = roc(cases.truth.tolist(), cases.scores.tolist()).auc
    share = float(cases.right.mean()) if len(cases.right) else None
    return DrawnLevel(
        cases,
        Drawn(area, resamples.values(WeightedAuc(cases.truth, cases.scores), codes)),
        Drawn(share, resamples.values(_Mean(cases.right), codes)),
    )


def _judged(cases: Cases | None) -> dict[str, _Cases]:
    if cases is None:
        return {}
    images, breasts = cases.patient_of_image, cases.patient_of_breast
    judged: tuple[list[tuple[Any, str]], ...] = (
        [(case, images[case.image_id]) for case in cases.images],
        [(case, breasts[case.breast]) for case in cases.breasts],
        [(case, case.patient) for case in cases.patients],
        [(case, images[case.image_id]) for case in cases.lesions],
    )
    found = {}
    for level, pairs in zip(LEVELS, judged, strict=True):
        known = [(case, patient) for case, patient in pairs if case.truth is not None]
        truth = np.array([case.truth == "malignant" for case, _ in known], dtype=bool)
        called = np.array([case.predicted == "malignant" for case, _ in known], dtype=bool)
        missed = np.array([case.predicted == "missed" for case, _ in known], dtype=bool)
        found[level] = _Cases(
            truth,
            np.array([case.score for case, _ in known], dtype=np.float64),
            (truth == called) & ~missed,
            [patient for _, patient in known],
        )
    return found


def _compared(
    first: DrawnLevel, second: DrawnLevel, resamples: PatientResamples
) -> Iterator[tuple[str, Difference]]:
    one, other, confidence = first.cases, second.cases, resamples.confidence
    if one.patients != other.patients or not np.array_equal(one.truth, other.truth):
        raise ValueError("the models are judged on other cases: evaluate them against one file")
    yield "auc", compare_drawn(first.auc, second.auc, resamples)
    for clusters in (None, one.patients):
        yield "auc", paired_delong(one.truth, one.scores, other.scores, clusters, confidence=confidence)
    yield "accuracy", compare_drawn(first.accuracy, second.accuracy, resamples)
    yield "accuracy", mcnemar(one.right, other.right, confidence=confidence)


@dataclass(frozen=True)
class _Mean:
    values: NDArray[np.bool_]

    def __call__(self, weights: NDArray[np.int32]) -> NDArray[np.float64]:
        total = weights.sum(axis=1).astype(np.float64)
        part = weights @ self.values.astype(np.float64)
        return np.divide(part, total, out=np.full(len(total), np.nan), where=total > 0)
