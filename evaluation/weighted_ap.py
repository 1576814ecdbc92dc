"""COCO average precision and recall, matched once and then weighted as often as one likes.

Which box finds which lesion does not change when an image counts twice or not at all. So the matches are
taken from COCOeval's own ``evalImgs``, and a resample of images is a set of integer weights. With weights of
1 the numbers are those of ``COCOeval.accumulate``, with integer weights those of a file in which images are
repeated.

The cost of a resample is one running sum over all boxes, and for each IoU threshold only the boxes that are
right somewhere: precision has its peaks there, and recall its steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.int32]
_ROW_BYTES = 16 * 2**20  # of running sums at a time


@dataclass(frozen=True)
class _Threshold:
    """One IoU threshold: ``right`` [K] are the places of the true positives among all boxes by score.

    ``peaks`` [K] are their places among the boxes right at any threshold. Boxes that are neither right nor
    wrong at this threshold only are at ``neutral`` [L], ``neutral_before`` [K] of them before each of
    ``right``.
    """

    right: NDArray[np.intp]
    peaks: NDArray[np.intp]
    neutral: NDArray[np.intp]
    neutral_before: NDArray[np.intp]


@dataclass(frozen=True)
class MatchedClass:
    """The matched boxes of one class and one range of sizes, best score first.

    ``image`` [D] is the place of each box's image; ``lesions`` [I] how many lesions of the class each image
    has, those ignored left out; ``found`` [T, I] how many of them are found at each IoU threshold.
    """

    image: NDArray[np.intp]
    lesions: NDArray[np.int64]
    found: NDArray[np.int64]
    any_right: NDArray[np.intp]
    thresholds: tuple[_Threshold, ...]

    @classmethod
    def from_images(
        cls, found: Sequence[Mapping[str, Any] | None], images: int, thresholds: int, boxes: int
    ) -> MatchedClass:
        """Collect ``evalImgs`` of one class and size, one entry per image, with at most ``boxes`` each."""
        entries = [(place, entry) for place, entry in enumerate(found) if entry is not None]
        lesions = np.zeros(images, dtype=np.int64)
        for place, entry in entries:
            lesions[place] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
        empty = np.empty((thresholds, 0))
        scores = np.concatenate([np.empty(0), *(entry["dtScores"][:boxes] for _, entry in entries)])
        order = np.argsort(-scores, kind="mergesort")  # stable, as COCOeval.accumulate
        matched, ignored = (
            np.concatenate(
                [empty, *(np.asarray(entry[key]).reshape(thresholds, -1)[:, :boxes] for _, entry in entries)],
                axis=1,
            )[:, order].astype(bool)
            for key in ("dtMatches", "dtIgnore")
        )
        counts = [len(entry["dtScores"][:boxes]) for _, entry in entries]
        image = np.repeat(np.array([place for place, _ in entries], dtype=np.intp), counts)[order]
        kept = ~ignored.all(axis=0)
        image, matched, ignored = image[kept], matched[:, kept], ignored[:, kept]
        right = matched & ~ignored
        any_right = np.flatnonzero(right.any(axis=0))
        parts = []
        for row, neutral in zip(right, ignored, strict=True):
            places, unsure = np.flatnonzero(row), np.flatnonzero(neutral)
            peaks = np.searchsorted(any_right, places)
            parts.append(_Threshold(places, peaks, unsure, np.searchsorted(unsure, places)))
        totals = np.array([np.bincount(image[row], minlength=images) for row in right])
        return cls(image, lesions, totals.reshape(thresholds, images), any_right, tuple(parts))

    def precision(self, weights: Weights, recall_points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the precision averaged over ``recall_points`` [r, T] for weights [r, I]; NaN: none."""
        lesions = (weights @ self.lesions).astype(np.float64)  # [r]
        averages = np.empty((len(weights), len(self.thresholds)))
        rows = max(1, _ROW_BYTES // (4 * max(len(self.image), 1)))
        for start in range(0, len(weights), rows):
            part = slice(start, start + rows)
            averages[part] = self._precision(weights[part], lesions[part], recall_points)
        averages[lesions == 0] = np.nan
        return averages

    def recall(self, weights: Weights) -> NDArray[np.float64]:
        """Return the highest recall, [r, T], for weights [r, I]; NaN without a lesion."""
        lesions = (weights @ self.lesions).astype(np.float64)[:, None]
        found = (weights @ self.found.T).astype(np.float64)
        return np.divide(found, lesions, out=np.full(found.shape, np.nan), where=lesions > 0)

    def _precision(
        self, weights: Weights, lesions: NDArray[np.float64], recall_points: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        boxes = np.take(weights, self.image, axis=1)  # [r, D]
        reached = np.cumsum(boxes, axis=1, dtype=np.int32)[:, self.any_right]  # boxes down to each peak
        averages = np.zeros((len(weights), len(self.thresholds)))
        all_lesions = np.maximum(lesions, 1)[:, None]
        for column, one in enumerate(self.thresholds):
            if not len(one.right):
                continue
            right = np.cumsum(boxes[:, one.right], axis=1, dtype=np.float64)  # [r, K]
            counted = reached[:, one.peaks].astype(np.float64)
            if len(one.neutral):
                neutral = np.zeros((len(weights), len(one.neutral) + 1))
                np.cumsum(boxes[:, one.neutral], axis=1, out=neutral[:, 1:])
                counted -= neutral[:, one.neutral_before]
            precision = right / (counted + np.spacing(1))
            envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            # A recall point takes the precision of the first peak that reaches it: how many take each?
            reached_points = np.searchsorted(recall_points, right / all_lesions, side="right")  # [r, K]
            taken = np.diff(reached_points, axis=1, prepend=0)
            averages[:, column] = (envelope * taken).sum(axis=1) / len(recall_points)
        return averages
