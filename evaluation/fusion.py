"""Boxes -> one verdict per image -> one verdict per breast (Lin et al. 2023, sections 2.6 and 2.7).

The malignancy score of the published rule jumps: a malignant box of 0.4 gives 0.4, a benign box of 0.4 alone
gives 0.6, no box gives 0. Read it together with the verdict.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import BENIGN, MALIGNANT, Coco, to_xyxy
from mammodet.datasets.errors import InputError
from mammodet.evaluation.matching import iou_matrix, malignancy

SCORE_THRESHOLD = 0.3  # boxes below it are dropped before fusion, Lin et al. 2023
SUPPRESSION_IOU = 0.5  # Lin et al. 2023, section 2.6
IMAGE_THRESHOLD = 0.5  # of scores of images: the more probable of two classes, as their classifier decides


@dataclass(frozen=True)
class ViewVerdict:
    """What the boxes, or the score, of one image say: ``score`` is the malignancy score, 0 to 1."""

    malignant: bool
    score: float
    boxes: int


@dataclass(frozen=True)
class BreastVerdict:
    """What the views of one breast say together: ``score`` is the malignancy score, 0 to 1."""

    malignant: bool
    score: float
    boxes: int
    views: int


@dataclass(frozen=True)
class Fusion:
    """Verdicts of a whole data set.

    ``images`` by image id, ``breasts`` by breast name, ``breast_of`` the breast of each image, and
    ``detections`` the boxes by image id that the verdicts rest on (above the threshold, suppressed); empty
    when they rest on scores of images.
    """

    images: dict[int, ViewVerdict]
    breasts: dict[str, BreastVerdict]
    breast_of: dict[int, str]
    detections: dict[int, list[Mapping[str, Any]]]


def suppress_benign(
    detections: Sequence[Mapping[str, Any]], iou_threshold: float = SUPPRESSION_IOU
) -> list[Mapping[str, Any]]:
    """Drop every benign box that overlaps a malignant box of the same image (Lin et al. 2023, section 2.6).

    Parameters
    ----------
    detections:
        COCO results ``{image_id, category_id, bbox, score}`` of one or more images.
    iou_threshold:
        A benign box goes when its IoU with a malignant one is above this.

    Returns
    -------
    list[Mapping[str, Any]]
        The boxes that stay, the same objects in the same order. Malignant boxes always stay.
    """
    benign: defaultdict[int, list[int]] = defaultdict(list)
    malignant: defaultdict[int, list[int]] = defaultdict(list)
    for place, detection in enumerate(detections):
        (malignant if detection["category_id"] == MALIGNANT else benign)[detection["image_id"]].append(place)
    dropped: set[int] = set()
    for image_id in benign.keys() & malignant.keys():
        weak, strong = benign[image_id], malignant[image_id]
        overlaps = iou_matrix(_boxes(detections, weak), _boxes(detections, strong))  # [benign, malignant]
        hit = np.flatnonzero(overlaps.max(axis=1) > iou_threshold)
        dropped.update(weak[row] for row in hit)
    return [detection for place, detection in enumerate(detections) if place not in dropped]


def image_verdict(detections: Sequence[Mapping[str, Any]]) -> ViewVerdict:
    """Fuse the boxes of one image (Lin et al. 2023, section 2.7).

    With a malignant box the image is malignant with the highest malignant score; otherwise it is not, with
    1 minus the highest benign score; without a box the malignancy score is 0.
    """
    malignant = [malignancy(one) for one in detections if one["category_id"] == MALIGNANT]
    benign = [malignancy(one) for one in detections if one["category_id"] == BENIGN]
    if malignant:
        return ViewVerdict(True, max(malignant), len(detections))
    return ViewVerdict(False, min(benign, default=0.0), len(detections))


def breast_verdict(views: Sequence[ViewVerdict]) -> BreastVerdict:
    """Fuse the views of one breast, in any order (Lin et al. 2023, section 2.7).

    Published for CC and MLO: views of the same status keep it, with the more confident score (the higher
    malignancy score of two malignant views, the lower of two others); of views that differ the malignant one
    decides when its score is above 0.5, otherwise the other one does. One view decides alone. For three or
    more views, which the paper has not, the views of the same status are fused first and the two results then
    as a pair.

    Raises
    ------
    ValueError
        Without a view.
    """
    if not views:
        raise ValueError("a breast verdict needs at least one view")
    malignant = max((view.score for view in views if view.malignant), default=None)
    other = min((view.score for view in views if not view.malignant), default=None)
    boxes = sum(view.boxes for view in views)
    if malignant is not None and (other is None or malignant > 0.5):
        return BreastVerdict(True, malignant, boxes, len(views))
    return BreastVerdict(False, 0.0 if other is None else other, boxes, len(views))


def fuse(
    coco: Coco,
    results: Iterable[Mapping[str, Any]],
    score_threshold: float = SCORE_THRESHOLD,
    suppression_iou: float = SUPPRESSION_IOU,
) -> Fusion:
    """Return the verdict of every image and every breast of ``coco``; no ground truth is needed.

    Parameters
    ----------
    coco:
        Only its images count. Those without a box get the verdict of no box.
    results:
        COCO results with the categories of the profile.
    score_threshold:
        Boxes with a score below this are left out before anything else.
    """
    strong = [one for one in results if one["score"] >= score_threshold]
    detections: dict[int, list[Mapping[str, Any]]] = {image["id"]: [] for image in coco.images}
    for detection in suppress_benign(strong, suppression_iou):
        detections[detection["image_id"]].append(detection)
    images = {image_id: image_verdict(boxes) for image_id, boxes in detections.items()}
    return fuse_views(coco, images, detections)


def fuse_views(
    coco: Coco, images: dict[int, ViewVerdict], detections: dict[int, list[Mapping[str, Any]]]
) -> Fusion:
    """Return the verdict of every breast of ``coco`` from those of all its ``images``, by image id.

    ``detections`` are the boxes that these rest on; empty for scores of images.
    """
    breast_of = {image["id"]: breast_name(image) for image in coco.images}
    views: defaultdict[str, list[ViewVerdict]] = defaultdict(list)
    for image_id, breast in breast_of.items():
        views[breast].append(images[image_id])
    breasts = {breast: breast_verdict(verdicts) for breast, verdicts in views.items()}
    return Fusion(images, breasts, breast_of, detections)


def breast_name(image: Mapping[str, Any]) -> str:
    """Return the breast of an image: ``breast_id``, else patient, study and side, else the image alone.

    An image whose patient or side is unknown is never joined with another one.
    """
    if image.get("breast_id") is not None:
        return str(image["breast_id"])
    patient, side = image.get("patient_id"), image.get("laterality")
    if patient is None or side is None:
        return f"image {image['id']}"
    return "_".join(str(part) for part in (patient, image.get("study_id"), side) if part is not None)


def patients_of_images(coco: Coco) -> dict[int, str]:
    """Return the patient of every image, by its id; a breast is never shared out among patients.

    An image without ``patient_id`` takes the patient of its breast; where that has none either, the breast
    stands for a patient of its own.

    Raises
    ------
    InputError
        When the images of one breast name two patients.
    """
    patient_of_breast: dict[str, str] = {}
    for image in coco.images:
        breast, patient = breast_name(image), image.get("patient_id")
        if patient is not None and patient_of_breast.setdefault(breast, str(patient)) != str(patient):
            raise InputError(
                f"belongs to two patients, {patient_of_breast[breast]!r} and {str(patient)!r}",
                file=coco.path,
                field=f"images[id={image['id']}].breast_id",
                value=breast,
                remedy="give every breast a name of its own, such as patient, study and side",
            )
    of_images = {image["id"]: breast_name(image) for image in coco.images}
    return {
        number: patient_of_breast.get(breast, f"unknown, {breast}") for number, breast in of_images.items()
    }


def _boxes(detections: Sequence[Mapping[str, Any]], places: Iterable[int]) -> NDArray[np.float64]:
    return to_xyxy([detections[place]["bbox"] for place in places])
