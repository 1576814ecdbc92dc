"""Images, lesions and predictions as plain arrays, read once for all hit rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import Coco, counts, to_xyxy
from mammodet.datasets.errors import InputError
from mammodet.evaluation.fusion import breast_name, patients_of_images
from mammodet.evaluation.hit_rules import HitRule

ANY_CLASS = "any"


@dataclass(frozen=True)
class Boxes:
    """Boxes of many images."""

    box: NDArray[np.float64]  # [N, 4] x1, y1, x2, y2
    image: NDArray[np.int64]  # [N] place of the image


@dataclass(frozen=True)
class FrocCases:
    """The predictions and lesions of one class, or of all; images in the order of the file."""

    coco: Coco
    classes: str
    predictions: Boxes
    score: NDArray[np.float64]  # [N]
    lesions: Boxes  # that count
    ignored: Boxes
    is_crowd: NDArray[np.bool_]  # of the ignored ones
    is_positive: NDArray[np.bool_]  # [I]
    is_normal: NDArray[np.bool_]  # [I]
    breast: NDArray[np.int64]  # [I]
    patient: NDArray[np.int64]  # [I]

    def spacing(self, rule: HitRule) -> NDArray[np.float64] | None:
        """Return the pixel spacing [I, 2] if the rule needs it; raises InputError where it is not known."""
        if not rule.needs_spacing:
            return None
        spacing = np.ones((len(self.coco.images), 2))
        for number in np.unique(np.concatenate([self.lesions.image, self.ignored.image])).tolist():
            record = self.coco.images[number]
            value = record.get("spacing_mm")
            if value is None:
                raise InputError(
                    f"is needed by the hit rule {rule.name}",
                    file=self.coco.path,
                    field=f"images[id={record['id']}].spacing_mm",
                    remedy="give the spacing of every image with lesions, or a distance in px",
                )
            spacing[number] = value
        return spacing


def froc_cases(coco: Coco, results: Sequence[Mapping[str, Any]], category: int | None = None) -> FrocCases:
    """Read checked ``results`` and ``coco``; for ``category`` see ``froc_matching.match_froc``."""
    place = {image["id"]: number for number, image in enumerate(coco.images)}
    judged = [one for one in coco.annotations if counts(one) and category in (None, one["category_id"])]
    ignored = [one for one in coco.annotations if not counts(one)]
    chosen = [one for one in results if category in (None, one["category_id"])]
    lesions, others, predictions = (_boxes(records, place) for records in (judged, ignored, chosen))
    is_positive, is_normal = _status(coco, category, place, lesions.image, others.image)
    patient_of = patients_of_images(coco)  # who the bootstrap draws, so that one evaluation has one count
    return FrocCases(
        coco=coco,
        classes=ANY_CLASS if category is None else _category_name(coco, category),
        predictions=predictions,
        score=np.array([one["score"] for one in chosen], dtype=np.float64),
        lesions=lesions,
        ignored=others,
        is_crowd=np.array([bool(one.get("iscrowd")) for one in ignored], dtype=bool),
        is_positive=is_positive,
        is_normal=is_normal,
        breast=_groups([breast_name(image) for image in coco.images]),
        patient=_groups([patient_of[image["id"]] for image in coco.images]),
    )


def _boxes(records: Sequence[Mapping[str, Any]], place: Mapping[int, int]) -> Boxes:
    return Boxes(
        to_xyxy([one["bbox"] for one in records]),
        np.array([place[one["image_id"]] for one in records], dtype=np.int64),
    )


def _status(
    coco: Coco,
    category: int | None,
    place: Mapping[int, int],
    lesion_image: NDArray[np.int64],
    ignored_image: NDArray[np.int64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which images are positive, and which are normal; those with unplaced lesions are neither."""
    positive = np.zeros(len(place), dtype=bool)
    positive[lesion_image] = True
    unclear = positive.copy()
    unclear[ignored_image] = True
    bad = None if category is None else _category_name(coco, category)
    labels = [image.get("label") for image in coco.images]
    labelled = np.array([label not in (None, "normal") if bad is None else label == bad for label in labels])
    return positive, ~unclear & ~labelled.astype(bool)


def _groups(names: Sequence[str]) -> NDArray[np.int64]:
    number: dict[str, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in names], dtype=np.int64)


def _category_name(coco: Coco, category: int) -> str:
    return next((str(one["name"]) for one in coco.categories if one["id"] == category), str(category))
