"""How far two sets of predictions agree, such as those of the fast and of the plain detector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import to_xyxy
from mammodet.evaluation.matching import iou_matrix

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Agreement:
    """Agreement of boxes that count.

    ``boxes`` of both sets have at least the score asked for; of them ``matched`` have a partner in the other
    set: the same image and class, enough overlap, and a score close enough. ``largest_difference`` is that of
    the scores of boxes that overlap enough.
    """

    boxes: int
    matched: int
    largest_difference: float

    @property
    def share(self) -> float:
        """Share of boxes with a partner; 1 when there are no boxes."""
        return self.matched / self.boxes if self.boxes else 1.0


def agreement(
    reference: Sequence[Result],
    results: Sequence[Result],
    *,
    score: float = 0.3,
    iou: float = 0.95,
    tolerance: float = 0.02,
) -> Agreement:
    """Compare two lists of COCO results, both ways.

    Parameters
    ----------
    score:
        Boxes of either set with a lower score are asked for no partner, but may be one: a box of 0.301 agrees
        with one of 0.299.
    iou, tolerance:
        A partner overlaps more than ``iou``, and its score differs by at most ``tolerance``.
    """
    boxes = matched = 0
    largest = 0.0
    for ours, theirs in ((reference, results), (results, reference)):
        partners = _by_image_and_class(theirs)
        for key, own in _by_image_and_class(one for one in ours if one["score"] >= score).items():
            other = partners.get(key, [])
            difference = _differences(own, other, iou)
            boxes += len(own)
            good = difference <= tolerance
            matched += int(good.sum())
            largest = max([largest, *difference[np.isfinite(difference)].tolist()])
    return Agreement(boxes, matched, largest)


def _by_image_and_class(results: Iterable[Result]) -> dict[tuple[int, int], list[Result]]:
    groups: dict[tuple[int, int], list[Result]] = defaultdict(list)
    for one in results:
        groups[one["image_id"], one["category_id"]].append(one)
    return groups


def _differences(own: Sequence[Result], other: Sequence[Result], iou: float) -> NDArray[np.float64]:
    """Return for each own box the smallest difference in score to one that overlaps enough; inf without."""
    if not other:
        return np.full(len(own), np.inf)
    overlaps = iou_matrix(*(to_xyxy([one["bbox"] for one in boxes]) for boxes in (own, other))) > iou
    scores = [np.array([one["score"] for one in boxes]) for boxes in (own, other)]
    differences = np.abs(scores[0][:, None] - scores[1][None, :])
    return np.asarray(np.where(overlaps, differences, np.inf).min(axis=1))
