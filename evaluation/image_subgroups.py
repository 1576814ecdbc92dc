"""How well scores of images separate malignant from other images by view, density and vendor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.datasets.coco import Coco
from mammodet.evaluation.auc import WeightedAuc
from mammodet.evaluation.cases import Cases, ImageCase
from mammodet.evaluation.proportions import ratios
from mammodet.evaluation.resampling import Interval, PatientResamples
from mammodet.evaluation.roc import roc
from mammodet.evaluation.subgroups import UNKNOWN, values_of_images

NUMBERS = ("AUC", "sensitivity", "specificity")


@dataclass(frozen=True)
class ImageSubgroup:
    """The images of known truth of one group; a number that does not exist is None.

    ``sensitivity`` and ``specificity`` are those of the verdicts, at the protocol's threshold. ``intervals``
    are empty without resamples; ``note`` says why there is no AUC.
    """

    group: str
    value: str
    images: int
    patients: int
    malignant: int
    numbers: Mapping[str, float | None]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    note: str | None = None


def image_subgroups(coco: Coco, cases: Cases, resamples: PatientResamples) -> list[ImageSubgroup]:
    """Return a row for every view, density and manufacturer, ``unknown`` last.

    A group of which the file tells nothing is left out.
    """
    rows = []
    for group, values in values_of_images(coco).items():
        seen = {values[case.image_id] for case in cases.images}
        if seen == {UNKNOWN}:
            continue
        for value in sorted(seen, key=lambda one: (one == UNKNOWN, one)):
            own = [case for case in cases.images if values[case.image_id] == value and case.truth is not None]
            rows.append(_row(group, value, own, cases.patient_of_image, resamples))
    return rows


def _row(
    group: str,
    value: str,
    cases: Sequence[ImageCase],
    patient_of: Mapping[int, str],
    resamples: PatientResamples,
) -> ImageSubgroup:
    patients = [patient_of[case.image_id] for case in cases]
    positive = np.array([case.truth == "malignant" for case in cases], dtype=bool)
    called = np.array([case.predicted == "malignant" for case in cases], dtype=bool)
    scores = np.array([case.score for case in cases], dtype=np.float64)
    curve = roc(positive.tolist(), scores.tolist())
    area = WeightedAuc(positive, scores)
    parts = np.stack([positive & called, positive, ~positive & ~called, ~positive], axis=1)  # [N, 4]

    def numbers(weights: ArrayLike) -> NDArray[np.float64]:
        """Return ``NUMBERS`` under weights [r, N], as [r, 3]; NaN where a class has no case."""
        table = np.asarray(weights)
        hits, positives, passed, negatives = (table @ parts.astype(np.float64)).T
        return np.stack([area(table), ratios(hits, positives), ratios(passed, negatives)], axis=1)

    owners = len(set(patients))
    point = numbers(np.ones((1, len(cases)), dtype=np.int32))[0] if cases else np.full(3, np.nan)
    intervals = {}
    if resamples.resamples and cases:
        drawn = resamples.values(numbers, resamples.codes_of(patients))
        intervals = {name: resamples.interval(drawn[:, at], owners) for at, name in enumerate(NUMBERS)}
    known = {name: float(one) if np.isfinite(one) else None for name, one in zip(NUMBERS, point, strict=True)}
    known["AUC"] = curve.auc
    return ImageSubgroup(group, value, len(cases), owners, curve.positives, known, intervals, note=curve.note)
