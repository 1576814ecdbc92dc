"""Intervals of every FROC number, by patient: matched once per rule, weighted in every resample.

The draws are those of all other metrics. They are taken once for all rules, and each rule takes them in
chunks, so that memory does not grow with the number of resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammodet.evaluation.afroc import AREAS, resampled_areas
from mammodet.evaluation.froc import CPM_POINTS, POINTS, Denominator, resampled_sensitivity
from mammodet.evaluation.froc_matching import FrocMatches
from mammodet.evaluation.resampling import Interval, PatientResamples

SENSITIVITIES = tuple(f"sensitivity at {point:g}" for point in POINTS)
NUMBERS = (*SENSITIVITIES, "cpm", "most_sensitivity", *AREAS)

# Where the band of the figure is computed: evenly on its logarithmic axis, from end to end.
BAND_POINTS = tuple(np.geomspace(POINTS[0] / 2, POINTS[-1] * 2, 141).tolist())


@dataclass(frozen=True)
class FrocBand:
    """The pointwise interval of a FROC curve, read by steps at ``false_positives`` per unit."""

    false_positives: NDArray[np.float64]  # [B], rising
    low: NDArray[np.float64]  # [B]
    high: NDArray[np.float64]  # [B]


@dataclass(frozen=True)
class FrocValues:
    """The numbers of one rule and class in every resample; NaN where a resample has none.

    ``patients`` is how many have a lesion: with one alone there is no interval.
    """

    numbers: NDArray[np.float64]  # [R, len(NUMBERS)]
    band: NDArray[np.float64] | None  # [R, len(BAND_POINTS)]
    patients: int

    def intervals(self, resamples: PatientResamples) -> dict[str, Interval]:
        """Return the interval of each of ``NUMBERS``."""
        return {
            name: resamples.interval(self.numbers[:, place], self.patients)
            for place, name in enumerate(NUMBERS)
        }

    def band_interval(self, resamples: PatientResamples) -> FrocBand | None:
        """Return the band; None when it was not asked for, or has no interval somewhere."""
        if self.band is None:
            return None
        limits = [resamples.interval(column, self.patients) for column in self.band.T]
        if any(one.low is None for one in limits):
            return None
        ends = np.array([(one.low, one.high) for one in limits], dtype=np.float64)
        return FrocBand(np.array(BAND_POINTS), ends[:, 0], ends[:, 1])


def froc_values(
    matches: Sequence[FrocMatches],
    resamples: PatientResamples,
    *,
    denominator: Denominator = "all",
    band_of: Sequence[bool] | None = None,
) -> list[FrocValues]:
    """Return the numbers of each of ``matches`` in every resample; nothing is matched again.

    Without resamples there are none of them, [0, ...].

    Parameters
    ----------
    matches:
        Of the same images, one per rule and class. Who is one patient is told by ``resamples`` alone,
        whose items must be these images in the same order, as ``summary.resamples_of`` makes them.
    band_of:
        For which of them to compute the curve's band too; by default for none.
    """
    wanted = [False] * len(matches) if band_of is None else band_of
    rules = [_weighted(one, denominator, band) for one, band in zip(matches, wanted, strict=True)]
    size = len(NUMBERS)
    parts = [[np.empty((0, size + len(BAND_POINTS) * band))] for band in wanted]
    for weights in resamples.weights():
        for rule, part in zip(rules, parts, strict=True):
            part.append(rule(weights))
    return [
        FrocValues(
            values[:, :size],
            values[:, size:] if band else None,
            len(np.unique(resamples.codes[one.lesion_image])),
        )
        for values, band, one in zip(map(np.concatenate, parts), wanted, matches, strict=True)
    ]


def _weighted(
    matches: FrocMatches, denominator: Denominator, band: bool
) -> Callable[[NDArray[np.int32]], NDArray[np.float64]]:
    """Return a function of weights [r, I] that gives ``NUMBERS``, then the band, [r, ...]."""
    sensitivity = resampled_sensitivity(matches, [*POINTS, *(BAND_POINTS if band else ())], denominator)
    areas = resampled_areas(matches)

    def values(weights: NDArray[np.int32]) -> NDArray[np.float64]:
        found = sensitivity(weights)  # [r, points + band + 1]
        points, curve, most = np.split(found, [len(POINTS), found.shape[1] - 1], axis=1)
        cpm = points[:, [POINTS.index(point) for point in CPM_POINTS]].mean(axis=1, keepdims=True)
        return np.concatenate([points, cpm, most, areas(weights), curve], axis=1)

    return values
