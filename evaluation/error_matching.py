"""What every predicted box is at one IoU threshold: right, or which kind of false positive.

The kinds are those of TIDE (Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection
Errors", section 2.2), written anew here. Which boxes are right is COCO's matching, so that what is said about
errors and the AP that they cost speak of the same boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mammodet.datasets.coco import Coco, counts

WRONG_CLASS, POOR_BOX, BOTH, DUPLICATE, BACKGROUND = range(1, 6)
RIGHT, NEUTRAL, BEYOND = 0, 6, 7  # NEUTRAL finds an ignored lesion, BEYOND is past COCO's 100 boxes
KIND_NAMES = {
    WRONG_CLASS: "wrong class",
    POOR_BOX: "poor box",
    BOTH: "both",
    DUPLICATE: "duplicate",
    BACKGROUND: "background",
}
MISSED = "missed"
MOST_BOXES = 100  # per image and class, as COCO's AP counts them


@dataclass(frozen=True, eq=False)
class BoxKinds:
    """What every box of a results list is, in the order of that list, length D.

    Parameters
    ----------
    kind:
        int8 [D], one of the numbers of this module.
    lesion:
        [D], the place in ``coco.annotations`` of the lesion that a box is about, -1 for none: the lesion that
        it finds, or the one that gives its kind; for a background box the one that it overlaps most.
    iou:
        [D], with that lesion; 0 without one.
    score, category, image:
        [D], as given; ``image`` is the place of the image by rising id.
    order:
        [D], COCO's order: by image, then by falling score, equal scores as they are given.
    lesions:
        [L], places in ``coco.annotations`` of the lesions that count.
    """

    kind: NDArray[np.int8]
    lesion: NDArray[np.intp]
    iou: NDArray[np.float64]
    score: NDArray[np.float64]
    category: NDArray[np.int64]
    image: NDArray[np.intp]
    order: NDArray[np.intp]
    lesions: NDArray[np.intp]

    def found(self, score_threshold: float = 0.0) -> NDArray[np.intp]:
        """Return the places in ``coco.annotations`` of the lesions that a right box of this score finds."""
        return np.unique(self.lesion[(self.kind == RIGHT) & (self.score >= score_threshold)])


def box_kinds(
    coco: Coco,
    results: Sequence[Mapping[str, Any]],
    min_iou: float = 0.5,
    background_iou: float = 0.1,
) -> BoxKinds:
    """Tell what every box is.

    A box is right when COCO's matching gives it a lesion of its class: by falling score each box takes the
    lesion of its class that it overlaps most, with at least ``min_iou``, and that is still free. A box that
    finds a lesion left out of the evaluation instead (``ignore: 1`` by any class, ``iscrowd``) is neutral.
    Any other box is a false positive of the first kind that holds:

    1. duplicate: ``min_iou`` or more with a lesion of its class, which a better box has found (or with a
       lesion left out, which may be found once);
    2. wrong class: ``min_iou`` or more with a lesion of another class;
    3. poor box: ``background_iou`` or more with a lesion of its class;
    4. both: the same with a lesion of another class;
    5. background.

    TIDE's text leaves open what comes first when two hold; here more overlap does.

    Parameters
    ----------
    coco, results:
        Any COCO file and checked results. Boxes past the 100 best of an image and class do not count.
    """
    size = len(results)
    ids = {number: place for place, number in enumerate(sorted(image["id"] for image in coco.images))}
    image = np.fromiter((ids[one["image_id"]] for one in results), dtype=np.intp, count=size)
    category = np.fromiter((one["category_id"] for one in results), dtype=np.int64, count=size)
    score = np.fromiter((one["score"] for one in results), dtype=np.float64, count=size)
    order = np.lexsort((-score, image))  # stable
    kind = np.full(size, BACKGROUND, dtype=np.int8)
    lesion, iou = np.full(size, -1, dtype=np.intp), np.zeros(size)
    of_image = _lesions_of_images(coco, ids)
    ends = np.searchsorted(image[order], np.arange(len(ids) + 1))
    min_iou = min(min_iou, 1 - 1e-10)  # as COCO
    for place, members in of_image.items():
        boxes = order[ends[place] : ends[place + 1]]
        if len(boxes):
            truth = _Truth.of(coco, members)
            bbox = np.array([results[box]["bbox"] for box in boxes.tolist()], dtype=np.float64)
            counted = _best_boxes(category[boxes])
            boxes, bbox = boxes[counted], bbox[counted]
            kind[boxes], which, iou[boxes] = _kinds(bbox, category[boxes], truth, min_iou, background_iou)
            lesion[boxes] = np.where(which < 0, -1, np.asarray(members)[which])
    kind[_beyond(image, category, order)] = BEYOND
    judged = [place for place, one in enumerate(coco.annotations) if counts(one)]
    return BoxKinds(kind, lesion, iou, score, category, image, order, np.array(judged, dtype=np.intp))


@dataclass(frozen=True, eq=False)
class _Truth:
    """The lesions of one image: bbox [G, 4], category [G], and which are left out, and how."""

    bbox: NDArray[np.float64]
    category: NDArray[np.int64]
    counted: NDArray[np.bool_]
    any_class: NDArray[np.bool_]
    crowd: NDArray[np.bool_]

    @classmethod
    def of(cls, coco: Coco, members: Sequence[int]) -> _Truth:
        records = [coco.annotations[member] for member in members]
        return cls(
            np.array([one["bbox"] for one in records], dtype=np.float64),
            np.array([one["category_id"] for one in records], dtype=np.int64),
            np.array([counts(one) for one in records]),
            np.array([bool(one.get("ignore")) for one in records]),
            np.array([bool(one.get("iscrowd")) for one in records]),
        )


def _lesions_of_images(coco: Coco, ids: Mapping[int, int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for place, one in enumerate(coco.annotations):
        found.setdefault(ids[one["image_id"]], []).append(place)
    return found


def _best_boxes(category: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which boxes of one image, best first, are among the 100 best of their class."""
    if len(category) <= MOST_BOXES:
        return np.ones(len(category), dtype=bool)
    chosen = np.zeros(len(category), dtype=bool)
    for one in np.unique(category):
        chosen[np.flatnonzero(category == one)[:MOST_BOXES]] = True
    return chosen


def _beyond(
    image: NDArray[np.intp], category: NDArray[np.int64], order: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the boxes past the 100 best of their image and class."""
    grouped = order[np.lexsort((category[order], image[order]))]
    if not len(grouped):
        return grouped
    new = np.flatnonzero((np.diff(image[grouped]) != 0) | (np.diff(category[grouped]) != 0)) + 1
    starts = np.concatenate([[0], new])
    rank = np.arange(len(grouped)) - np.repeat(starts, np.diff([*starts, len(grouped)]))
    return grouped[rank >= MOST_BOXES]


def _kinds(
    bbox: NDArray[np.float64],
    category: NDArray[np.int64],
    truth: _Truth,
    min_iou: float,
    background_iou: float,
) -> tuple[NDArray[np.int8], NDArray[np.intp], NDArray[np.float64]]:
    """Return kind, lesion (place in ``truth``, -1: none) and IoU of the boxes of one image, best first."""
    overlaps = coco_mask.iou(bbox, truth.bbox, truth.crowd.astype(np.uint8))  # [D, G], COCO's own
    same = category[:, None] == truth.category[None, :]
    own, own_iou = _best(overlaps, same & truth.counted)
    other, other_iou = _best(overlaps, ~same & truth.counted)
    # A box of any class may find a lesion of no true class.
    out, out_iou = _best(overlaps, ~truth.counted & (same | truth.any_class))
    rules = (
        (own_iou >= min_iou, DUPLICATE, own),
        (other_iou >= min_iou, WRONG_CLASS, other),
        (out_iou >= min_iou, DUPLICATE, out),
        (own_iou >= background_iou, POOR_BOX, own),
        (other_iou >= background_iou, BOTH, other),
    )
    nearest, nearest_iou = _best(overlaps, np.broadcast_to(truth.counted, overlaps.shape))
    which = np.where(nearest_iou > 0, nearest, -1)
    kind = np.full(len(bbox), BACKGROUND, dtype=np.int8)
    for holds, one, best in reversed(rules):
        kind[holds], which[holds] = one, best[holds]
    taken: set[tuple[int, int]] = set()  # lesion, and class of the box
    for box in np.flatnonzero((own_iou >= min_iou) | (out_iou >= min_iou)).tolist():
        for eligible, outcome in ((truth.counted, RIGHT), (~truth.counted, NEUTRAL)):
            lesion = _take(
                overlaps[box], eligible, int(category[box]), truth=truth, min_iou=min_iou, taken=taken
            )
            if lesion is not None:
                kind[box], which[box] = outcome, lesion
                break
    return kind, which, np.where(which < 0, 0.0, overlaps[np.arange(len(bbox)), which])


def _take(
    overlaps: NDArray[np.float64],
    eligible: NDArray[np.bool_],
    category: int,
    *,
    truth: _Truth,
    min_iou: float,
    taken: set[tuple[int, int]],
) -> int | None:
    """Take the free lesion that a box overlaps most, the later one of equals, as COCO does."""
    best, most = None, min_iou
    for lesion in np.flatnonzero(eligible & (overlaps >= min_iou)).tolist():
        fits = truth.any_class[lesion] or truth.category[lesion] == category
        if fits and overlaps[lesion] >= most and (truth.crowd[lesion] or (lesion, category) not in taken):
            best, most = lesion, overlaps[lesion]
    if best is not None:
        taken.add((best, category))
    return best


def _best(
    overlaps: NDArray[np.float64], eligible: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the eligible lesion that each box overlaps most, [D], and the IoU; 0 without one."""
    masked = np.where(eligible, overlaps, -1.0)
    best = masked.argmax(axis=1)
    return best, np.maximum(masked[np.arange(len(best)), best], -1.0)
