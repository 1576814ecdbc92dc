"""COCO's matching of boxes with lesions, computed on arrays: every IoU threshold, size, subset and maxDets.

The rule of ``COCOeval.evaluateImg``. By falling score each box takes, of the lesions that it overlaps by the
threshold and that are free, the one with the highest IoU (of equal ones the later in the file), and an
ignored lesion only when there is no other. A crowd may be taken often; its IoU is the share of the box that
lies in it. A box that takes an ignored lesion is neither right nor wrong, nor is a box that takes none and
lies outside the range of sizes.

All boxes rank the lesions by themselves, and all lesions prefer the box of the higher score. Under such
preferences there is one stable matching, which is that of the serial rule; it is found here by deferred
acceptance (Gale and Shapley 1962) in a few rounds over all overlapping pairs at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import Coco
from mammodet.evaluation.image_pairs import pairs_of_one_image
from mammodet.evaluation.weighted_ap import MatchedClass, Matches

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # as pycocotools has them, to the last digit
LOWEST_IOU = 0.1  # pairs below are not kept
_PERFECT = 1 - 1e-10  # COCOeval's: at an IoU threshold of 1 rounding must not lose a perfect box


class Pairs(NamedTuple):
    """Boxes and lesions of one image that overlap: places [P] in a ``ClassBoxes``, and their IoU [P]."""

    box: NDArray[np.intp]
    lesion: NDArray[np.intp]
    iou: NDArray[np.float64]

    def at(self, places: NDArray[Any]) -> Pairs:
        """Return the pairs at these places, or where a mask is true."""
        return Pairs(self.box[places], self.lesion[places], self.iou[places])


@dataclass(frozen=True)
class ClassBoxes:
    """The boxes and the lesions of one class; D boxes, G lesions, I images by rising id.

    Boxes are in the order of ``COCOeval.accumulate``: by falling score, of equal ones by image, then as
    given. Lesions are those of the class and, with ``is_ignored``, all that have ``ignore: 1``, whatever
    their class.
    """

    images: int
    image: NDArray[np.intp]  # [D] place of the image
    rank: NDArray[np.intp]  # [D] 0 for the best box of the class on its image
    area: NDArray[np.float64]  # [D] square pixels
    lesion: NDArray[np.intp]  # [G] place in ``Coco.annotations``
    lesion_image: NDArray[np.intp]  # [G]
    lesion_area: NDArray[np.float64]  # [G] square pixels; of the mask where the file has it
    is_crowd: NDArray[np.bool_]  # [G]
    is_ignored: NDArray[np.bool_]  # [G]
    pairs: Pairs  # with an IoU from LOWEST_IOU on


@dataclass(frozen=True)
class Selection:
    """Which lesions and images count, and the range of sizes.

    ``lesions`` [A] by place in ``Coco.annotations``: the others are ignored. ``images`` [I] by rising id: the
    others are left out with their boxes. ``area`` is a range in square pixels, ends included: other lesions
    are ignored, and other boxes where they find nothing. None is everything.
    """

    lesions: NDArray[np.bool_] | None = None
    images: NDArray[np.bool_] | None = None
    area: tuple[float, float] | None = None


def class_boxes(coco: Coco, results: Sequence[Mapping[str, Any]], most: int = 100) -> list[ClassBoxes]:
    """Read checked ``results`` and ``coco`` into arrays, one entry per category by rising id.

    ``most`` is how many boxes per image and class are kept, the best ones; neither argument is changed.
    """
    places = {number: place for place, number in enumerate(image_ids(coco))}
    classes = {number: place for place, number in enumerate(sorted(one["id"] for one in coco.categories))}
    image = np.array([places[one["image_id"]] for one in results], dtype=np.intp)
    category = np.array([classes[one["category_id"]] for one in results], dtype=np.intp)
    score = np.array([one["score"] for one in results], dtype=np.float64)
    box = np.array([one["bbox"] for one in results], dtype=np.float64).reshape(-1, 4)
    order = np.lexsort((image, -score, category))  # stable, as COCOeval's mergesort
    ends = np.searchsorted(category[order], np.arange(len(classes)), side="right")
    lesions = _Lesions.of(coco, places, classes)
    found, start = [], 0
    for place, end in enumerate(ends.tolist()):
        own = order[start:end]
        rank = _ranks(image[own])
        own, rank = own[rank < most], rank[rank < most]
        found.append(lesions.with_boxes(place, image[own], rank, box[own], len(places)))
        start = end
    return found


def image_ids(coco: Coco) -> list[int]:
    """Return the image ids in the order of the places, which is COCOeval's: rising."""
    return sorted(image["id"] for image in coco.images)


def match_class(
    boxes: ClassBoxes,
    iou_thresholds: NDArray[np.float64] = IOU_THRESHOLDS,
    *,
    selection: Selection | None = None,
    most: int = 100,
) -> MatchedClass:
    """Match the boxes of one class with its lesions.

    Parameters
    ----------
    iou_thresholds:
        [T], each from ``LOWEST_IOU`` to 1.
    most:
        COCO's maxDets: the boxes per image and class that count, best score first.
    """
    selection = selection or Selection()
    judged, in_range, shown = _selected(boxes, selection)
    counted = boxes.rank < most
    if shown is not None:
        counted &= shown[boxes.image]
        judged_here = judged & shown[boxes.lesion_image]
    else:
        judged_here = judged
    kept = counted[boxes.pairs.box]
    pairs = _by_preference(boxes.pairs.at(kept), judged)
    matches = []
    for threshold in iou_thresholds:
        close = pairs.iou >= min(float(threshold), _PERFECT)
        box, lesion = _stable(pairs.box[close], pairs.lesion[close], boxes.is_crowd)
        matches.append(Matches(box, boxes.lesion_image[lesion], judged[lesion]))
    per_image = np.bincount(boxes.lesion_image[judged_here], minlength=boxes.images)
    return MatchedClass.from_matches(boxes.image, per_image, counted, in_range, matches)


def _selected(
    boxes: ClassBoxes, selection: Selection
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Return which lesions count [G], which boxes are in the range of sizes [D], and which images [I]."""
    judged, in_range = ~boxes.is_ignored, None
    if selection.lesions is not None:
        judged &= selection.lesions[boxes.lesion]
    if selection.area is not None:
        low, high = selection.area
        judged &= (boxes.lesion_area >= low) & (boxes.lesion_area <= high)
        in_range = (boxes.area >= low) & (boxes.area <= high)
    return judged, in_range, selection.images


def _by_preference(pairs: Pairs, judged: NDArray[np.bool_]) -> Pairs:
    return pairs.at(np.lexsort((-pairs.lesion, -pairs.iou, ~judged[pairs.lesion], pairs.box)))


def _stable(
    box: NDArray[np.intp], lesion: NDArray[np.intp], is_crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return who takes whom, [M] each by rising box, given pairs by box and then by preference.

    In every round each box asks for the best lesion that it has not lost, and a lesion turns away all boxes
    behind the first that asks for it. What is turned away is lost for good, since a lesion's holder only gets
    better.
    """
    holder = np.empty(len(is_crowd), dtype=np.intp)
    while len(box):
        asks = np.append(True, box[1:] != box[:-1])
        holder[:] = len(is_crowd) + box[-1] + 1  # behind all boxes
        np.minimum.at(holder, lesion[asks], box[asks])
        stays = (box <= holder[lesion]) | is_crowd[lesion]
        if stays.all():
            return box[asks], lesion[asks]
        box, lesion = box[stays], lesion[stays]
    return box, lesion


@dataclass(frozen=True)
class _Lesions:
    """All lesions of a file, [A]."""

    image: NDArray[np.intp]
    category: NDArray[np.intp]
    box: NDArray[np.float64]  # [A, 4] x, y, width, height
    area: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]
    without_class: NDArray[np.bool_]

    @classmethod
    def of(cls, coco: Coco, places: Mapping[int, int], classes: Mapping[int, int]) -> _Lesions:
        lesions = coco.annotations
        box = np.array([one["bbox"] for one in lesions], dtype=np.float64).reshape(-1, 4)
        areas = [one.get("area") for one in lesions]
        known = np.array([area is not None for area in areas], dtype=bool)
        area = np.array([0.0 if area is None else area for area in areas], dtype=np.float64)
        return cls(
            np.array([places[one["image_id"]] for one in lesions], dtype=np.intp),
            np.array([classes[one["category_id"]] for one in lesions], dtype=np.intp),
            box,
            np.where(known, area, box[:, 2] * box[:, 3]),
            np.array([bool(one.get("iscrowd")) for one in lesions], dtype=bool),
            np.array([bool(one.get("ignore")) for one in lesions], dtype=bool),
        )

    def with_boxes(
        self,
        category: int,
        image: NDArray[np.intp],
        rank: NDArray[np.intp],
        box: NDArray[np.float64],
        images: int,
    ) -> ClassBoxes:
        own = self.category == category
        lesion = np.append(np.flatnonzero(own), np.flatnonzero(~own & self.without_class))
        crowd, where = self.is_crowd[lesion], self.image[lesion]
        kept: list[Pairs] = []
        for one, other in pairs_of_one_image(image, where):
            iou = _coco_iou(box[one], self.box[lesion[other]], crowd[other])
            close = iou >= LOWEST_IOU
            kept.append(Pairs(one[close], other[close], iou[close]))
        none = Pairs(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))
        pairs = Pairs(*(np.concatenate(parts) for parts in zip(none, *kept, strict=True)))
        area, ignored = self.area[lesion], crowd | self.without_class[lesion]
        return ClassBoxes(
            images, image, rank, box[:, 2] * box[:, 3], lesion, where, area, crowd, ignored, pairs
        )


def _ranks(image: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return how many boxes of the same image come before each, [D]."""
    order = np.argsort(image, kind="stable")
    grouped = image[order]
    ranks = np.empty(len(image), dtype=np.intp)
    ranks[order] = np.arange(len(image)) - np.searchsorted(grouped, grouped)
    return ranks


def _coco_iou(
    box: NDArray[np.float64], lesion: NDArray[np.float64], is_crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the IoU of each row in the very operations of pycocotools, so that the last digit is its own."""
    reach = np.minimum(box[:, :2] + box[:, 2:], lesion[:, :2] + lesion[:, 2:])
    sides = np.maximum(reach - np.maximum(box[:, :2], lesion[:, :2]), 0)
    common = sides[:, 0] * sides[:, 1]
    own = box[:, 2] * box[:, 3]
    union = np.where(is_crowd, own, own + lesion[:, 2] * lesion[:, 3] - common)
    return np.divide(common, union, out=np.zeros(len(common)), where=common > 0)
