"""The bootstrap by patient: what belongs to one patient is drawn together, the same draws for every metric.

Images of one patient are not independent, so an interval over images is too narrow. A resample draws as many
patients as there are, with replacement (Efron 1979; cluster bootstrap: Field and Welsh 2007), and is kept as
how often each patient was drawn. Metrics take these integers as weights of their images, breasts or lesions,
which equals a physical copy of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.datasets.errors import InputError

Weights = NDArray[np.int32]
Statistic = Callable[[Weights], NDArray[np.float64]]  # weights [r, N] -> values [r], NaN where undefined

PERCENTILE = "bootstrap by patient, percentile"
_CHUNK_BYTES = 32 * 2**20  # of weights at a time: memory does not grow with the number of resamples


@dataclass(frozen=True)
class Interval:
    """A confidence interval, or the reason why there is none.

    ``low`` and ``high`` are None together, and then ``reason`` says why. ``resamples`` is how many a
    bootstrap drew, None for a formula; of them ``undefined`` gave no value (such as an AUC with one class)
    and are left out.
    """

    low: float | None
    high: float | None
    method: str
    resamples: int | None = None
    undefined: int | None = None
    reason: str | None = None


def primary(kinds: Mapping[str, Interval]) -> Interval | None:
    """Return the interval to show: the bootstrap, or where it has no width, such as at 1, a formula's.

    None without a bootstrap.
    """
    boot = kinds.get("bootstrap")
    if boot is None or boot.low is None or boot.low != boot.high:
        return boot
    others = (kinds[name] for name in ("wilson", "newcombe") if name in kinds)
    return next((one for one in others if one.low is not None), boot)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: ``resamples`` 0 makes none; ``confidence`` between 0 and 1."""

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.resamples <= 1_000_000:
            remedy = "1000 is usual; 0 leaves the intervals out"
            raise InputError(
                "must be from 0 to 1000000", field="resamples", value=self.resamples, remedy=remedy
            )
        if not 0 < self.confidence < 1:  # NaN fails too
            raise InputError(
                "must be between 0 and 1", field="confidence", value=self.confidence, remedy="0.95 is usual"
            )
        if self.seed < 0:
            raise InputError("must not be negative", field="seed", value=self.seed, remedy="give 0 or more")


class PatientResamples:
    """Bootstrap resamples of patients, the same ones for every metric that asks.

    Parameters
    ----------
    patients:
        The patient of every image, or of whatever the items are, length N. An item whose patient is None is a
        patient of its own; ``unknown`` counts them.
    resamples, seed:
        How many to draw, and from which seed. The draws depend neither on how they are chunked nor on the
        order of the items: patients stand in the order of their names.
    confidence:
        Of the intervals, between 0 and 1.
    """

    def __init__(
        self,
        patients: Sequence[Hashable | None],
        resamples: int = 1000,
        seed: int = 0,
        *,
        confidence: float = 0.95,
    ) -> None:
        keys: list[tuple[str, Hashable]] = [
            ("alone", item) if patient is None else ("known", patient)
            for item, patient in enumerate(patients)
        ]
        # By name, so that the order of the images decides nothing.
        known = sorted(dict.fromkeys(key for key in keys if key[0] == "known"), key=lambda key: str(key[1]))
        alone = [key for key in keys if key[0] == "alone"]
        self._places = {key: place for place, key in enumerate([*known, *alone])}
        # [N], the place of each item's patient
        self.codes: NDArray[np.intp] = np.array([self._places[key] for key in keys], dtype=np.intp)
        self.unknown = len(alone)
        self.patients = len(self._places)
        self.resamples = resamples
        self.seed = seed
        self.confidence = confidence

    def codes_of(self, patients: Sequence[Hashable]) -> NDArray[np.intp]:
        """Return the places of known patients, for items other than those that were given."""
        return np.array([self._places["known", patient] for patient in patients], dtype=np.intp)

    def chunks(self, items: int | None = None) -> Iterator[Weights]:
        """Yield how often each patient is drawn, int32 [r, P], until all resamples are out.

        ``items`` is how many numbers a resample takes in the hands of the caller (by default P); r is chosen
        so that a chunk of them stays within 32 MiB.
        """
        if not self.patients:
            return
        rows = max(1, _CHUNK_BYTES // (4 * max(items or self.patients, self.patients)))
        rng = np.random.default_rng(self.seed)
        chances = np.full(self.patients, 1 / self.patients)
        for start in range(0, self.resamples, rows):
            size = min(rows, self.resamples - start)
            yield rng.multinomial(self.patients, chances, size=size).astype(np.int32)

    def weights(self, codes: NDArray[np.intp] | None = None) -> Iterator[Weights]:
        """Yield the weights of items, int32 [r, N], given their patients' places (by default ``codes``)."""
        codes = self.codes if codes is None else codes
        for drawn in self.chunks(len(codes)):
            yield np.take(drawn, codes, axis=1)

    def values(self, statistic: Statistic, codes: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
        """Return a metric of every resample, [R], or [R, ...] for a statistic of several; NaN: undefined."""
        parts = [np.asarray(statistic(weights), dtype=np.float64) for weights in self.weights(codes)]
        if not parts:  # the shape of nothing: as for one resample, less that one
            alone = np.zeros((1, len(self.codes if codes is None else codes)), dtype=np.int32)
            return np.asarray(statistic(alone), dtype=np.float64)[:0]
        return np.concatenate(parts)

    def interval(self, values: ArrayLike, patients: int | None = None) -> Interval:
        """Return the percentile interval of a metric's ``values`` [R], as ``values`` gives them.

        ``patients`` is how many have what the metric is about, such as a lesion; None: all. One alone says
        nothing about others: then there is no interval.
        """
        return percentile_interval(
            values, self.confidence, patients=self.patients if patients is None else patients
        )


def percentile_interval(values: ArrayLike, confidence: float = 0.95, *, patients: int) -> Interval:
    """Return the percentile interval of bootstrap ``values`` [R]; NaN values are left out and counted.

    The percentile method is the default because it stays inside the range of the metric, needs no variance,
    and is the same for every metric; BCa would need a jackknife over patients for each.
    """
    array = np.asarray(values, dtype=np.float64)
    known = array[np.isfinite(array)]
    undefined = len(array) - len(known)
    reason = None
    if not len(array):
        reason = "no resamples were drawn"
    elif not len(known):
        reason = "undefined in every resample"
    elif patients < 2:
        reason = "needs two patients or more, there is " + ("one" if patients else "none")
    if reason:
        return Interval(None, None, PERCENTILE, len(array), undefined, reason)
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(float(low), float(high), PERCENTILE, len(array), undefined)
