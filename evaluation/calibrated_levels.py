"""ECE, Brier score and reliability of images, breasts and patients, before and after calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.evaluation.calibration import Reliability, ReliabilityBin
from mammodet.evaluation.cases import Cases
from mammodet.evaluation.resampling import Interval, PatientResamples
from mammodet.evaluation.roc import roc
from mammodet.evaluation.score_calibration import ScoreCalibration, cases_of

NUMBERS = ("ece", "brier")
_TITLES = {"image": "Images", "breast": "Breasts", "patient": "Patients"}
_SIMULATED = 200
_TIES = "ties: scores that share a probability can no longer be told apart"


@dataclass(frozen=True)
class BeforeAfter:
    """One number of the raw scores and of the probabilities; ``difference`` is after less before.

    Intervals are the bootstrap by patient with the same draws for all three; None without resamples.
    """

    raw: float
    calibrated: float
    difference: float
    raw_interval: Interval | None = None
    calibrated_interval: Interval | None = None
    difference_interval: Interval | None = None


@dataclass(frozen=True)
class CalibratedLevel:
    """One level under a calibration; without a map or a case ``numbers`` is empty, and ``reason`` says why.

    ``numbers`` has the keys ``ece`` and ``brier``. The AUC can change by ties only, since the maps are
    monotone; ``auc_note`` says when it does. The map was fitted on ``fitted_cases``, of them
    ``fitted_positives``: with another share of malignant cases its probabilities do not hold.
    ``ece_by_chance`` is the mean ECE of so many cases if the probabilities were exactly right.
    """

    title: str
    cases: int
    positives: int
    numbers: Mapping[str, BeforeAfter]
    auc: float | None = None
    auc_calibrated: float | None = None
    auc_note: str | None = None
    raw: Sequence[ReliabilityBin] = ()
    calibrated: Sequence[ReliabilityBin] = ()
    reason: str | None = None
    fitted_cases: int = 0
    fitted_positives: int = 0
    ece_by_chance: float | None = None


@dataclass(frozen=True)
class Calibrated:
    """What a calibration makes of the cases of one evaluation.

    ``levels`` by level; ``probabilities`` by level in the order of the cases, None where a level has no map.
    """

    kind: str
    source: str
    levels: Mapping[str, CalibratedLevel]
    probabilities: Mapping[str, Sequence[float] | None]


def calibrated_levels(cases: Cases, calibration: ScoreCalibration, resamples: PatientResamples) -> Calibrated:
    """Apply ``calibration`` to the malignancy scores of images, breasts and patients."""
    owners = {
        "image": [cases.patient_of_image[case.image_id] for case in cases.images],
        "breast": [cases.patient_of_breast[case.breast] for case in cases.breasts],
        "patient": [case.patient for case in cases.patients],
    }
    levels: dict[str, CalibratedLevel] = {}
    probabilities: dict[str, Sequence[float] | None] = {}
    for name, found in cases_of(cases).items():
        scores = np.array([case.score for case in found], dtype=np.float64)
        mapped = calibration.probabilities(name, scores)
        probabilities[name] = None if mapped is None else [float(one) for one in mapped]
        known = [place for place, case in enumerate(found) if case.truth is not None]
        truth = np.array([found[place].truth == "malignant" for place in known], dtype=bool)
        title, positives = _TITLES[name], int(truth.sum())
        if mapped is None or not known:
            reason = "no case of known truth" if not known else calibration.reasons[name]
            levels[name] = CalibratedLevel(title, len(known), positives, {}, reason=reason)
            continue
        codes = resamples.codes_of([owners[name][place] for place in known])
        level = _level(title, truth, (scores[known], mapped[known]), codes, resamples)
        used = calibration.maps[name]
        if used is not None:
            level = replace(level, fitted_cases=used.cases, fitted_positives=used.positives)
        levels[name] = level
    return Calibrated(calibration.kind, calibration.source, levels, probabilities)


def calibrated_document(found: Calibrated) -> dict[str, Any]:
    """Return what ``metrics.json`` holds of it: ``kind``, ``source``, and the levels without their titles."""
    levels = {name: asdict(level) for name, level in found.levels.items()}
    for level in levels.values():
        del level["title"]
    return {"kind": found.kind, "source": found.source, "levels": levels}


def _level(
    title: str,
    truth: NDArray[np.bool_],
    pair: tuple[NDArray[np.float64], NDArray[np.float64]],
    codes: NDArray[np.intp],
    resamples: PatientResamples,
) -> CalibratedLevel:
    scores, mapped = pair
    raw, calibrated = Reliability(truth, scores), Reliability(truth, mapped)
    errors = np.stack([(scores - truth) ** 2, (mapped - truth) ** 2], axis=1)  # [N, 2]

    def statistic(weights: ArrayLike) -> NDArray[np.float64]:
        """Return ECE raw and calibrated, then Brier raw and calibrated, [r, 4]."""
        table = np.asarray(weights)
        total = table.sum(axis=1, keepdims=True).astype(np.float64)
        briers = np.divide(table @ errors, total, out=np.full((len(table), 2), np.nan), where=total > 0)
        return np.column_stack([raw.error(table), calibrated.error(table), briers])

    points = statistic(np.ones((1, len(truth))))[0]
    drawn = resamples.values(statistic, codes)

    def interval(values: NDArray[np.float64]) -> Interval | None:
        return resamples.interval(values, len(np.unique(codes))) if resamples.resamples else None

    numbers = {}
    for name, place in zip(NUMBERS, (0, 2), strict=True):
        before, after = points[place], points[place + 1]
        numbers[name] = BeforeAfter(
            float(before),
            float(after),
            float(after - before),
            interval(drawn[:, place]),
            interval(drawn[:, place + 1]),
            interval(drawn[:, place + 1] - drawn[:, place]),
        )
    aucs = [roc(truth.tolist(), values.tolist()) for values in (scores, mapped)]
    first, second = aucs[0].auc, aucs[1].auc
    changed = first is not None and second is not None and abs(first - second) > 1e-12
    return CalibratedLevel(
        title,
        len(truth),
        int(truth.sum()),
        numbers,
        first,
        second,
        _TIES if changed else aucs[0].note,
        raw.bins(),
        calibrated.bins(),
        ece_by_chance=_chance_error(mapped),
    )


def _chance_error(chances: NDArray[np.float64]) -> float:
    """Return the mean ECE over simulated truths of ``chances`` [N], the cases taken as independent."""
    rng = np.random.default_rng(0)
    drawn = [
        Reliability(rng.random(len(chances)) < chances, chances).error(np.ones((1, len(chances))))[0]
        for _ in range(_SIMULATED)
    ]
    return float(np.mean(drawn))
