"""Scores of whole images, as a classifier gives them: no boxes, one number per image of the ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mammodet.datasets.coco import CATEGORY_NAMES, Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.fusion import IMAGE_THRESHOLD, Fusion, ViewVerdict, fuse_views
from mammodet.evaluation.prediction_check import Notice, unit_scores
from mammodet.evaluation.prediction_images import UNKNOWN, find_images
from mammodet.evaluation.prediction_rows import PredictionError, PredictionFault, Rows

WITHOUT_BOXES = "scores of images without boxes have no COCO, FROC, lesion and error numbers"
_MEANING = "a score is the probability that the image shows a malignant lesion; give every image one"


@dataclass(frozen=True)
class ImageScores:
    """What a classifier says of every image: the probability of malignant, 0 to 1, by image id."""

    of_image: Mapping[int, float]


def check_image_scores(rows: Rows, coco: Coco, scale: str, path: Path) -> tuple[ImageScores, list[Notice]]:
    """Return the score of every image of ``coco``, and how the table was read.

    Raises
    ------
    PredictionError
        With every kind of fault: an unknown or ambiguous image, an image without a score or with two, a
        score that is no number from 0 to 1.
    """
    positions, faults = find_images(rows, coco)
    scores, broken = unit_scores(rows, scale, _MEANING)
    faults = [*rows.faults, *faults, *broken, *_repeated(rows, positions)]
    if rows.faults or UNKNOWN not in positions:  # images that are called otherwise are not missing too
        faults += _missing(set(positions), coco, path)
    if faults:
        raise PredictionError(faults)
    ids = [coco.images[at]["id"] for at in positions]
    told = f"{path}: scores of {len(ids)} of {len(coco.images)} images, no boxes; read from columns "
    notices = [Notice("note", told + ", ".join(rows.columns))]
    if rows.unread is not None:
        told = f"column {rows.unread} is not read: every score is taken as that of malignant"
        notices.append(Notice("warning", told))
    return ImageScores(dict(zip(ids, scores.tolist(), strict=True))), notices


def fuse_scores(coco: Coco, scores: ImageScores, threshold: float = IMAGE_THRESHOLD) -> Fusion:
    """Return the verdict of every image, malignant from ``threshold`` on, and of every breast.

    Views are fused by the rule of the detector's boxes, ``fusion.breast_verdict``.
    """
    found = {number: ViewVerdict(score >= threshold, score, 0) for number, score in scores.of_image.items()}
    return fuse_views(coco, {image["id"]: found[image["id"]] for image in coco.images}, {})


def require_truth(coco: Coco) -> None:
    """Refuse a ground truth whose categories are not benign and malignant: its images have no truth.

    Raises
    ------
    InputError
        With the categories that it has.
    """
    known = {one["id"]: one.get("name") for one in coco.categories}
    if known == dict(CATEGORY_NAMES):
        return
    told = ", ".join(f"{number} {name}" for number, name in list(known.items())[:4]) or "none"
    raise InputError(
        "scores of images are judged by what is malignant",
        file=coco.path,
        field="categories",
        value=told,
        remedy="give a ground truth with the categories 1 benign and 2 malignant, and labels or lesions",
    )


def _repeated(rows: Rows, positions: list[int]) -> list[PredictionFault]:
    if len(set(positions)) == len(positions):
        return []
    seen: Counter[int] = Counter()
    again = []
    for index, at in enumerate(positions):
        seen[at] += 1
        if at != UNKNOWN and seen[at] > 1:
            again.append(index)
    remedy = "give one score per image; a table of boxes needs their columns, such as --columns x1=NAME"
    return [rows.fault(again, "image", "has a score already", remedy)] if again else []


def _missing(found: set[int], coco: Coco, path: Path) -> list[PredictionFault]:
    missing = [image["file_name"] for place, image in enumerate(coco.images) if place not in found]
    if not missing:
        return []
    problem = f"has no score for {len(missing)} of the {len(coco.images)} images of {coco.path}"
    remedy = "every image needs one; leave images out of the ground truth that are not judged"
    return [PredictionFault(str(path), "", missing[0], problem, remedy)]
