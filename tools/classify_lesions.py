"""The lesions that mammodet classify runs a classifier on: true ones, or those that a detector found."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mammodet.classification.lesions import Lesion, cut_out, malignant_lesions
from mammodet.classification.predict import Predictor
from mammodet.classification.task import Task
from mammodet.datasets.coco import MALIGNANT, Coco, read_coco, read_results, to_xyxy
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import IdentifyBy
from mammodet.datasets.standardise import Recipe
from mammodet.evaluation.matching import iou_matrix
from mammodet.tools.batch import Done, Outcome, image_record
from mammodet.tools.cases import Case, read_case, rejection
from mammodet.tools.classify_cases import ScoredCase, image_row, patients_of

LESION_COLUMNS = (
    *("image_id", "file", "patient_id", "study_id", "breast_id", "laterality", "view", "split"),
    *("annotation", "x", "y", "width", "height", "detection_score", "subtype"),
)


@dataclass(frozen=True)
class LesionBox:
    """A box to cut out, ``[x, y, width, height]`` in the frame of the file, and the lesion it stands for.

    ``annotation`` and ``label`` are those of a true lesion, None of a detection that overlaps none;
    ``score`` is the detector's, None of a true box.
    """

    bbox: tuple[float, float, float, float]
    annotation: int | None
    label: str | None
    score: float | None = None


Boxes = Mapping[int, Sequence[LesionBox]]  # by image id


def lesion_boxes(path: Path, task: Task, detections: Path | None, min_score: float) -> Boxes:
    """Return the malignant boxes of a COCO file, or those detections of ``min_score`` or more, by image.

    A detection stands for the lesion that it overlaps most, as a box speaks for a lesion in ``mammodet
    evaluate``; one that overlaps none has no label. InputError when there is no box at all.
    """
    coco = read_coco(path)
    found = _true_boxes(coco, task)
    if detections is not None:
        found = _detected_boxes(coco, task, detections, min_score)
    if not found:
        raise InputError(
            "has no malignant lesion"
            if detections is None
            else f"has no malignant box of {min_score} or more",
            file=detections or path,
            remedy="give a file with malignant boxes" if detections is None else "give a lower --min-score",
        )
    return found


def boxes_name(detections: Path | None, min_score: float) -> str | None:
    """Return what names the detections for a ledger; None for true boxes."""
    if detections is None:
        return None
    return f"{hashlib.sha256(detections.read_bytes()).hexdigest()} from {min_score}"


@dataclass(frozen=True)
class LesionScorer:
    """Runs a classifier on the boxes of images; ``recipe`` is the model's with the command's permissions."""

    predictor: Predictor
    recipe: Recipe
    identify_by: IdentifyBy
    boxes: Boxes

    def score(self, case: Case) -> Outcome:
        """Return ``{"image", "lesions"}``, or ``{"rejected": reason}``.

        ``lesions`` holds for each box its ``probabilities``, or the ``reason`` why it has none.
        """
        try:
            opened = read_case(case, self.recipe, self.identify_by)
            task, prepared = self.predictor.header.task, opened.standardised
            lesions: list[Outcome] = []
            for box in self.boxes[case.image_id]:
                try:
                    pixels = cut_out(prepared.pixels, prepared.geometry, box.bbox, task)
                except InputError as error:
                    lesions.append({"reason": str(error)})
                    continue
                lesions.append({"probabilities": self.predictor.probabilities(pixels[None])[0].tolist()})
        except Exception as error:
            return {"rejected": rejection(error, case.path)}
        return {"image": image_record(case, opened.mammogram), "lesions": lesions}


def lesion_cases(done: Done, boxes: Boxes) -> tuple[list[ScoredCase], list[str]]:
    """Return the lesions that were done, and a line for each that was not."""
    patients = patients_of(done)
    found, left_out = [], []
    for case, outcome in done:
        row = image_row(case, outcome["image"])
        for box, one in zip(boxes[case.image_id], outcome["lesions"], strict=True):
            if "reason" in one:
                left_out.append(f"{case.path}: {one['reason']}")
                continue
            place = dict(zip(("x", "y", "width", "height"), box.bbox, strict=True))
            told = {"annotation": box.annotation, "detection_score": box.score, "subtype": box.label}
            patient = patients[case.image_id]
            found.append(ScoredCase({**row, **place, **told}, box.label, patient, one["probabilities"]))
    return found, left_out


def _true_boxes(coco: Coco, task: Task) -> dict[int, list[LesionBox]]:
    found: dict[int, list[LesionBox]] = defaultdict(list)
    for one in malignant_lesions(coco, task):
        found[one.image["id"]].append(LesionBox(one.bbox, one.annotation, one.label))
    return dict(found)


def _detected_boxes(coco: Coco, task: Task, path: Path, min_score: float) -> dict[int, list[LesionBox]]:
    truth: dict[int, list[Lesion]] = defaultdict(list)
    for one in malignant_lesions(coco, task):
        truth[one.image["id"]].append(one)
    found: dict[int, list[LesionBox]] = defaultdict(list)
    for result in read_results(path, coco):
        if result["category_id"] == MALIGNANT and result["score"] >= min_score:
            x, y, width, height = map(float, result["bbox"])
            lesion = _overlapped((x, y, width, height), truth[result["image_id"]])
            annotation, label = (None, None) if lesion is None else (lesion.annotation, lesion.label)
            box = LesionBox((x, y, width, height), annotation, label, float(result["score"]))
            found[result["image_id"]].append(box)
    return dict(found)


def _overlapped(bbox: tuple[float, float, float, float], lesions: Sequence[Lesion]) -> Lesion | None:
    if not lesions:
        return None
    (overlaps,) = iou_matrix(to_xyxy([bbox]), to_xyxy([one.bbox for one in lesions]))
    return lesions[int(overlaps.argmax())] if overlaps.max() > 0 else None
