"""Intervals of the COCO numbers, by patient: matched once, weighted in every resample."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mammodet.evaluation.detection_metrics import NUMBER_NAMES, MatchedBoxes, WeightedNumbers
from mammodet.evaluation.resampling import Interval, PatientResamples


def coco_values(
    matched: MatchedBoxes, patient_of: Mapping[int, str], resamples: PatientResamples
) -> tuple[list[tuple[str, str]], NDArray[np.float64]]:
    """Return the numbers of every resample, [R, S], and which class and number each column is."""
    return _values(matched.weighted(), _codes(matched, patient_of, resamples), resamples)


def _codes(
    matched: MatchedBoxes, patient_of: Mapping[int, str], resamples: PatientResamples
) -> NDArray[np.intp]:
    return resamples.codes_of([patient_of[image] for image in matched.image_ids])


def _values(
    weighted: WeightedNumbers, codes: NDArray[np.intp], resamples: PatientResamples
) -> tuple[list[tuple[str, str]], NDArray[np.float64]]:
    names = [(one, number) for one in ("all", *weighted.classes) for number in NUMBER_NAMES]

    def columns(weights: NDArray[np.int32]) -> NDArray[np.float64]:
        numbers = weighted(weights)
        return np.stack([numbers[one][number] for one, number in names], axis=1)

    return names, resamples.values(columns, codes)


def coco_intervals(
    matched: MatchedBoxes,
    patient_of: Mapping[int, str],
    resamples: PatientResamples,
) -> dict[str, dict[str, Interval]]:
    """Return the interval of every COCO number by class name; empty without resamples.

    Where one patient alone has such lesions there is none, with a ``reason``.

    Parameters
    ----------
    patient_of:
        The patient of each image by its id, as ``fusion.patients_of_images`` gives it.
    """
    if not resamples.resamples or not matched.image_ids:
        return {}
    weighted, codes = matched.weighted(), _codes(matched, patient_of, resamples)
    names, values = _values(weighted, codes, resamples)
    found: dict[str, dict[str, Interval]] = {}
    for place, (one, number) in enumerate(names):
        patients = len(np.unique(codes[weighted.lesion_images(one, number)]))
        found.setdefault(one, {})[number] = resamples.interval(values[:, place], patients)
    return found
