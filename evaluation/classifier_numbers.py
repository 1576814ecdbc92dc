"""How good a classifier is on cases of known class: every number with its intervals, curves, confusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mammodet.evaluation.class_scores import ClassScores
from mammodet.evaluation.classification_metrics import Classification, classify
from mammodet.evaluation.classifier_statistics import MANY, PER_CLASS, TWO, ClassifierStatistics
from mammodet.evaluation.levels import auc_intervals
from mammodet.evaluation.operating_points import Estimate
from mammodet.evaluation.proportions import wald_interval, wilson_interval
from mammodet.evaluation.resampling import Bootstrap, Interval, PatientResamples
from mammodet.evaluation.roc import Roc, roc
from mammodet.evaluation.roc_band import RocBand, roc_band


@dataclass(frozen=True)
class ClassifierNumbers:
    """The numbers of one classifier.

    Parameters
    ----------
    cases, patients:
        Those with a known class; ``unlabelled`` counts the cases without, which are left out.
    patients_of_class:
        How many patients have a case of each class.
    table:
        Confusion matrix and what follows from it.
    numbers:
        ``classifier_statistics.TWO`` for two classes, ``MANY`` for more.
    per_class:
        ``PER_CLASS`` of each class.
    rocs, bands:
        By class; of two classes that of the positive one alone.
    """

    name: str
    classes: tuple[str, ...]
    positive: str
    threshold: float | None
    confidence: float
    cases: int
    patients: int
    unlabelled: int
    patients_of_class: Mapping[str, int]
    table: Classification
    numbers: Mapping[str, Estimate]
    per_class: Mapping[str, Mapping[str, Estimate]]
    rocs: Mapping[str, Roc]
    bands: Mapping[str, RocBand | None] = field(default_factory=dict)

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """The classes of which there is no case."""
        return tuple(name for name in self.classes if not self.table.per_class[name].support)


def classifier_numbers(
    name: str, scores: ClassScores, bootstrap: Bootstrap, threshold: float | None = None
) -> ClassifierNumbers:
    """Return the numbers of ``scores``; cases without a class are left out.

    Intervals are the bootstrap by patient; for proportions Wilson's and Wald's besides, for AUCs DeLong's,
    Obuchowski's, which allows for several cases of a patient, and Newcombe's. ``resampling.primary`` tells
    which one to show. ``threshold`` as in ``ClassScores.verdicts``.
    """
    known = scores.labelled
    verdicts = known.verdicts(threshold)
    truth = np.array(known.truth, dtype=np.int64)
    resamples = PatientResamples(
        known.patients, bootstrap.resamples, bootstrap.seed, confidence=bootstrap.confidence
    )
    table = classify(
        [known.classes[place] for place in truth], [known.classes[place] for place in verdicts], known.classes
    )
    estimates = _estimates(known, verdicts, table, resamples)
    drawn = [known.positive] if len(known.classes) == 2 else range(len(known.classes))
    rocs, bands = {}, {}
    for place in drawn:
        own, values = truth == place, known.probabilities[:, place]
        rocs[known.classes[place]] = roc(own.tolist(), values.tolist())
        bands[known.classes[place]] = roc_band(own, values, resamples, resamples.codes)
    owners = [
        {patient for patient, one in zip(known.patients, truth, strict=True) if one == place}
        for place in range(len(known.classes))
    ]
    return ClassifierNumbers(
        name=name,
        classes=known.classes,
        positive=known.classes[known.positive],
        threshold=threshold,
        confidence=bootstrap.confidence,
        cases=len(truth),
        patients=resamples.patients,
        unlabelled=len(scores.truth) - len(truth),
        patients_of_class={one: len(own) for one, own in zip(known.classes, owners, strict=True)},
        table=table,
        numbers={one: estimates[one] for one in (TWO if len(known.classes) == 2 else MANY)},
        per_class={
            one: {number: estimates[f"{one} {number}"] for number in PER_CLASS} for one in known.classes
        },
        rocs=rocs,
        bands=bands,
    )


def _estimates(
    known: ClassScores,
    verdicts: NDArray[np.int64],
    table: Classification,
    resamples: PatientResamples,
) -> dict[str, Estimate]:
    statistics = ClassifierStatistics(known, verdicts)
    values = statistics(np.ones((1, len(known.truth)), dtype=np.int32))[0]
    drawn = resamples.values(statistics, resamples.codes)  # [R, S]
    truth = np.array(known.truth, dtype=np.int64)
    parts = _proportions(table, known.positive)
    areas = {f"{name} auc": place for place, name in enumerate(known.classes)} | {"auc": known.positive}
    found = {}
    for column, (name, value) in enumerate(zip(statistics.names, values, strict=True)):
        boot = resamples.interval(drawn[:, column]) if resamples.resamples else None
        if boot is not None and not np.isfinite(value):
            boot = replace(boot, low=None, high=None, reason="undefined on the cases themselves")
        kinds: dict[str, Interval] = {} if boot is None else {"bootstrap": boot}
        if name in parts:
            kinds["wilson"] = wilson_interval(*parts[name], resamples.confidence)
            kinds["wald"] = wald_interval(*parts[name], resamples.confidence)
        if name in areas:
            own, probabilities = truth == areas[name], known.probabilities[:, areas[name]]
            kinds = auc_intervals(boot, own, probabilities, known.patients, confidence=resamples.confidence)
        found[name] = Estimate(float(value) if np.isfinite(value) else None, kinds)
    return found


def _proportions(table: Classification, positive: int) -> dict[str, tuple[int, int]]:
    """Return the numbers that are so many of so many cases."""
    rows = [sum(row) for row in table.confusion]
    columns = [sum(column) for column in zip(*table.confusion, strict=True)]
    hits = [table.confusion[place][place] for place in range(len(rows))]
    found = {"accuracy": (sum(hits), table.cases)}
    for place, name in enumerate(table.classes):
        found[f"{name} sensitivity"] = (hits[place], rows[place])
        found[f"{name} precision"] = (hits[place], columns[place])
    if len(rows) == 2:
        own, other = table.classes[positive], table.classes[1 - positive]
        found |= {
            "sensitivity": found[f"{own} sensitivity"],
            "specificity": found[f"{other} sensitivity"],
            "ppv": found[f"{own} precision"],
            "npv": found[f"{other} precision"],
        }
    return found
