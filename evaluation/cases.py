"""The cases that are judged: image, breast, patient, lesion, each with its truth and what was predicted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mammodet.datasets.coco import MALIGNANT, Coco, ImageRecord, counts
from mammodet.datasets.truth import image_truth, worst
from mammodet.evaluation.fusion import Fusion, fuse, patients_of_images
from mammodet.evaluation.image_scores import ImageScores, fuse_scores
from mammodet.evaluation.matching import match_lesions
from mammodet.evaluation.protocol import Protocol

NOT_MALIGNANT, MISSED = "not malignant", "missed"


@dataclass(frozen=True)
class ImageCase:
    """One image. ``truth`` is normal, benign, malignant or, unknown, None; ``score`` the malignancy score.

    ``boxes`` is how many the verdict rests on, 0 of scores of images.
    """

    image_id: int
    file_name: str
    patient_id: str | None
    breast: str
    laterality: str | None
    view: str | None
    truth: str | None
    predicted: str  # malignant, not malignant
    score: float
    boxes: int


@dataclass(frozen=True)
class BreastCase:
    """One breast with all its views; ``truth`` and ``score`` as in ``ImageCase``."""

    breast: str
    patient_id: str | None
    laterality: str | None
    views: int
    truth: str | None
    predicted: str  # malignant, not malignant
    score: float
    boxes: int


@dataclass(frozen=True)
class PatientCase:
    """One patient with all breasts; ``truth`` is that of the worse breast, ``score`` the higher one."""

    patient: str
    breasts: int
    views: int
    truth: str | None
    predicted: str  # malignant, not malignant
    score: float
    boxes: int


@dataclass(frozen=True)
class LesionCase:
    """One true lesion on one image and the box that speaks for it."""

    annotation_id: int
    image_id: int
    file_name: str
    lesion_id: str | None
    finding: str | None
    truth: str  # benign, malignant
    predicted: str  # benign, malignant, missed
    score: float
    iou: float


@dataclass(frozen=True)
class Cases:
    """All cases of one evaluation, and the fusion that they come from.

    ``patient_of_image`` and ``patient_of_breast`` tell the patient, as ``PatientCase`` names it.
    """

    images: list[ImageCase]
    breasts: list[BreastCase]
    patients: list[PatientCase]
    lesions: list[LesionCase]
    fusion: Fusion
    patient_of_image: dict[int, str]
    patient_of_breast: dict[str, str]


def collect_cases(
    coco: Coco, results: Sequence[Mapping[str, Any]] | ImageScores, protocol: Protocol
) -> Cases:
    """Fuse and match the checked ``results`` with ``coco``, whose categories are those of the profile.

    Lesions with ``ignore: 1`` or ``iscrowd`` are no cases and give no truth to their image. Scores of images
    have no cases of lesions, which they do not answer to.
    """
    if isinstance(results, ImageScores):
        fusion = fuse_scores(coco, results, protocol.image_threshold)
    else:
        fusion = fuse(coco, results, protocol.score_threshold, protocol.suppression_iou)
    truth = {image["id"]: image_truth(image, coco.annotations_of[image["id"]]) for image in coco.images}
    breasts = _breast_cases(coco.images, truth, fusion)
    patient_of_image = patients_of_images(coco)
    patient_of_breast = {fusion.breast_of[number]: patient for number, patient in patient_of_image.items()}
    return Cases(
        images=[_image_case(image, truth[image["id"]], fusion) for image in coco.images],
        breasts=breasts,
        patients=_patient_cases(breasts, patient_of_breast),
        lesions=[] if isinstance(results, ImageScores) else _lesion_cases(coco, fusion, protocol),
        fusion=fusion,
        patient_of_image=patient_of_image,
        patient_of_breast=patient_of_breast,
    )


def _image_case(image: ImageRecord, truth: str | None, fusion: Fusion) -> ImageCase:
    verdict = fusion.images[image["id"]]
    return ImageCase(
        image_id=image["id"],
        file_name=image["file_name"],
        patient_id=image.get("patient_id"),
        breast=fusion.breast_of[image["id"]],
        laterality=image.get("laterality"),
        view=image.get("view"),
        truth=truth,
        predicted=_answer(verdict.malignant),
        score=verdict.score,
        boxes=verdict.boxes,
    )


def _breast_cases(
    images: Iterable[ImageRecord], truth: Mapping[int, str | None], fusion: Fusion
) -> list[BreastCase]:
    views: defaultdict[str, list[ImageRecord]] = defaultdict(list)
    for image in images:
        views[fusion.breast_of[image["id"]]].append(image)
    cases = []
    for breast, members in views.items():
        verdict = fusion.breasts[breast]
        cases.append(
            BreastCase(
                breast=breast,
                patient_id=members[0].get("patient_id"),
                laterality=members[0].get("laterality"),
                views=verdict.views,
                truth=worst(truth[image["id"]] for image in members),
                predicted=_answer(verdict.malignant),
                score=verdict.score,
                boxes=verdict.boxes,
            )
        )
    return cases


def _patient_cases(breasts: Iterable[BreastCase], patient_of: Mapping[str, str]) -> list[PatientCase]:
    members: defaultdict[str, list[BreastCase]] = defaultdict(list)
    for case in breasts:
        members[patient_of[case.breast]].append(case)
    return [
        PatientCase(
            patient=patient,
            breasts=len(cases),
            views=sum(case.views for case in cases),
            truth=worst(case.truth for case in cases),
            predicted=_answer(any(case.predicted == "malignant" for case in cases)),
            score=max(case.score for case in cases),
            boxes=sum(case.boxes for case in cases),
        )
        for patient, cases in members.items()
    ]


def _lesion_cases(coco: Coco, fusion: Fusion, protocol: Protocol) -> list[LesionCase]:
    cases = []
    for image in coco.images:
        lesions = [one for one in coco.annotations_of[image["id"]] if counts(one)]
        matches = match_lesions(lesions, fusion.detections[image["id"]], min_iou=protocol.lesion_iou)
        for lesion, match in zip(lesions, matches, strict=True):
            answer = MISSED if match.malignant is None else _class(match.malignant)
            cases.append(
                LesionCase(
                    annotation_id=lesion["id"],
                    image_id=image["id"],
                    file_name=image["file_name"],
                    lesion_id=lesion.get("lesion_id"),
                    finding=lesion.get("finding"),
                    truth=_class(lesion["category_id"] == MALIGNANT),
                    predicted=answer,
                    score=match.score,
                    iou=match.iou,
                )
            )
    return cases


def _answer(malignant: bool) -> str:
    return "malignant" if malignant else NOT_MALIGNANT


def _class(malignant: bool) -> str:
    return "malignant" if malignant else "benign"
