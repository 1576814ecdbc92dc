"""COCO average precision and recall, matched once and then weighted as often as one likes.

Which box finds which lesion does not change when an image counts twice or not at all. So a resample of images
is a set of integer weights. With weights of 1 the numbers are those of ``COCOeval.accumulate``, with integer
weights those of a file in which images are repeated.

The cost of a resample is one running sum over all boxes, shared by all IoU thresholds and by all tables of
the same boxes, and for each IoU threshold only the boxes that are right: precision has its peaks there, and
recall its steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Weights = NDArray[np.int32]
RECALL_POINTS = np.linspace(0.0, 1.0, 101)  # as pycocotools has them, to the last digit
_ROWS = 64  # resamples at a time: their weights stay in the cache of the processor
_ROW_BYTES = 32 * 2**20  # of running sums at a time
_EXACT = 2**24  # whole numbers below are exact in float32


class Matches(NamedTuple):
    """The boxes that take a lesion at one IoU threshold: their places [M], rising, and their images [M]."""

    box: NDArray[np.intp]
    image: NDArray[np.intp]
    right: NDArray[np.bool_]  # the lesion counts; otherwise the box is neither right nor wrong


@dataclass(frozen=True)
class _Running:
    """The boxes that count, best score first, and the places at which their running sum is wanted."""

    image: NDArray[np.intp]  # [D]
    marks: NDArray[np.intp]  # [M] rising
    images: int

    @cached_property
    def segments(self) -> csr_array:
        """Return how many boxes each image has from one mark to the next, [M, I]."""
        part = np.searchsorted(self.marks, np.arange(len(self.image)))
        inside = part < len(self.marks)
        shape = (len(self.marks), self.images)
        ones = np.ones(np.count_nonzero(inside), dtype=np.float32)
        return csr_array((ones, (part[inside], self.image[inside])), shape=shape)

    def reached(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weight of all boxes down to each mark, its own box too, [r, M], for weights [I, r]."""
        exact = len(self.image) * weights.max(initial=0) < _EXACT
        table = weights.astype(np.float32) if exact else weights
        return np.cumsum(np.ascontiguousarray((self.segments @ table).T), axis=1, dtype=np.float64)


class _Threshold(NamedTuple):
    """One IoU threshold: ``right`` [K] are the images of the true positives by score.

    ``peaks`` [K] are their places among the marks. ``neutral`` [L] are the images of boxes that are neither
    right nor wrong at this threshold, ``neutral_before`` [K] of them before each of ``right``.
    """

    right: NDArray[np.intp]
    peaks: NDArray[np.intp]
    neutral: NDArray[np.intp]
    neutral_before: NDArray[np.intp]


@dataclass(frozen=True)
class MatchedClass:
    """The matched boxes of one class and one selection of lesions.

    ``counts`` [T + 1, I] is how many lesions of each image are found at each IoU threshold, and in the last
    row how many there are, those ignored left out.
    """

    counts: csr_array
    running: _Running
    thresholds: tuple[_Threshold, ...]

    @classmethod
    def from_matches(
        cls,
        image: NDArray[np.intp],
        lesions: NDArray[np.intp],
        counted: NDArray[np.bool_],
        in_range: NDArray[np.bool_] | None,
        matches: Sequence[Matches],
    ) -> MatchedClass:
        """Collect the matches of boxes [D] by falling score, and how many ``lesions`` [I] count.

        Only boxes with ``counted`` [D] enter. Those without ``in_range`` [D] (None: all have it) are neither
        right nor wrong where they take nothing.
        """
        right_anywhere = np.zeros(len(image), dtype=bool)
        for one in matches:
            right_anywhere[one.box[one.right]] = True
        kept = counted if in_range is None else counted & (in_range | right_anywhere)
        running = _Running(image[kept], np.flatnonzero(right_anywhere[kept]), len(lesions))
        place = np.cumsum(kept) - 1
        outside = np.flatnonzero(right_anywhere & ~in_range) if in_range is not None else None
        parts, rows = [], []
        for one in matches:
            right = one.box[one.right]
            neutral = one.box[~one.right]
            neutral = neutral[kept[neutral]]
            if outside is not None and len(outside):
                neutral = np.union1d(neutral, np.setdiff1d(outside, right))
            peaks = np.searchsorted(running.marks, place[right])
            parts.append(_Threshold(image[right], peaks, image[neutral], np.searchsorted(neutral, right)))
            rows.append(np.bincount(image[right], minlength=len(lesions)))
        counts = csr_array(np.array([*rows, lesions], dtype=np.float64))
        return cls(counts, running, tuple(parts))

    @property
    def lesions(self) -> int:
        """How many lesions count."""
        return round(float(self.counts[[-1], :].sum()))

    @property
    def lesions_found(self) -> list[int]:
        """How many of them are found at each IoU threshold, [T]."""
        return [round(float(one)) for one in self.counts.sum(axis=1)[:-1]]

    @property
    def lesion_images(self) -> NDArray[np.intp]:
        """Places of the images with lesions that count, rising."""
        return np.flatnonzero(self.counts[[-1], :].toarray())

    def recall(self, weights: Weights) -> NDArray[np.float64]:
        """Return the highest recall, [r, T], for weights [r, I]; NaN without a lesion."""
        found = np.asarray(self.counts @ np.ascontiguousarray(weights.T, dtype=np.float64)).T  # [r, T + 1]
        return _share(found[:, :-1], found[:, -1:])


class Averages(NamedTuple):
    """Average precision and highest recall at each IoU threshold, [r, T] both; NaN without a lesion."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def sharing(tables: Sequence[MatchedClass]) -> list[MatchedClass]:
    """Return tables of the very same boxes with one running sum, which ``averages`` makes only once."""
    if not tables:
        return []
    first = tables[0].running
    if any(not np.array_equal(one.running.image, first.image) for one in tables):
        raise ValueError("only tables of the same boxes share a running sum")
    marks = np.unique(np.concatenate([one.running.marks for one in tables]))
    common = _Running(first.image, marks, first.images)
    shared = []
    for one in tables:
        moved = np.searchsorted(marks, one.running.marks)
        parts = tuple(part._replace(peaks=moved[part.peaks]) for part in one.thresholds)
        shared.append(MatchedClass(one.counts, common, parts))
    return shared


def averages(
    tables: Sequence[MatchedClass], weights: Weights, recall_points: NDArray[np.float64] = RECALL_POINTS
) -> list[Averages]:
    """Return the averages of every table for weights [r, I], on all cores.

    ``recall_points`` rise; the precision is averaged over them.
    """
    found = [
        Averages(*(np.empty((len(weights), len(table.thresholds))) for _ in range(2))) for table in tables
    ]
    groups: dict[int, list[int]] = {}
    for place, table in enumerate(tables):
        groups.setdefault(id(table.running), []).append(place)

    def fill(job: tuple[list[int], slice]) -> None:
        places, rows = job
        running, part = tables[places[0]].running, weights[rows]
        by_image = np.ascontiguousarray(part.T, dtype=np.float64)  # [I, r]
        reached = running.reached(by_image)
        for place in places:
            table = tables[place]
            lesions = np.asarray(table.counts @ by_image).T  # [r, T + 1]
            found[place].recall[rows] = _share(lesions[:, :-1], lesions[:, -1:])
            needed = _needed(lesions[:, -1], recall_points)
            for column, threshold in enumerate(table.thresholds):
                found[place].precision[rows, column] = _average(threshold, part, reached, needed)
            found[place].precision[rows][lesions[:, -1] == 0] = np.nan

    jobs = [
        (places, rows)
        for places in groups.values()
        for rows in _row_slices(len(weights), len(tables[places[0]].running.marks))
    ]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # numpy and scipy let go of the lock
        list(pool.map(fill, jobs))
    return found


def _row_slices(rows: int, marks: int) -> Iterable[slice]:
    step = max(1, min(_ROWS, _ROW_BYTES // (8 * max(marks, 1))))
    return [slice(start, start + step) for start in range(0, rows, step)]


def _needed(lesions: NDArray[np.float64], recall_points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many lesions must be found to reach each recall, [r, 1 + points]; the first column is 0."""
    total = np.maximum(lesions, 1)[:, None]
    number = np.ceil(recall_points * total)
    number -= (number - 1) / total >= recall_points  # the quotient decides, as in COCOeval, not the product
    number += number / total < recall_points
    return np.concatenate([np.zeros((len(total), 1)), number], axis=1)


def _average(
    threshold: _Threshold, weights: Weights, reached: NDArray[np.float64], needed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the precision averaged over the recalls that ``needed`` [r, 1 + points] tells, [r]."""
    rows, peaks = len(weights), len(threshold.right)
    if not peaks:
        return np.zeros(rows)
    right = np.cumsum(np.take(weights, threshold.right, axis=1), axis=1, dtype=np.float64)  # [r, K]
    counted = np.take(reached, threshold.peaks, axis=1)
    if len(threshold.neutral):
        neutral = np.zeros((rows, len(threshold.neutral) + 1))
        np.cumsum(np.take(weights, threshold.neutral, axis=1), axis=1, out=neutral[:, 1:])
        counted -= np.take(neutral, threshold.neutral_before, axis=1)
    counted += np.spacing(1)
    precision = np.zeros(rows * peaks + 1)  # one more, which no row has: nothing reaches a recall there
    np.divide(right.ravel(), counted.ravel(), out=precision[:-1])
    # The first peak of each row that reaches each recall. Rows are set apart so that one search finds all.
    apart = np.arange(rows)[:, None] * (max(right[:, -1].max(), needed.max()) + 1)
    right += apart
    first = np.searchsorted(right.ravel(), (needed + apart).ravel())  # [r * (1 + points)]
    highest = np.maximum.reduceat(precision, first).reshape(needed.shape)  # from one such peak to the next
    highest[first.reshape(needed.shape) >= peaks * np.arange(1, rows + 1)[:, None]] = 0
    envelope = np.maximum.accumulate(highest[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(envelope[:, 1:].mean(axis=1))


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
