"""Disputed images in words: who says what, and who is right."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from mammodet.evaluation.cases import MISSED
from mammodet.evaluation.model_disagreements import IMAGE, Disagreement
from mammodet.evaluation.model_set import ModelSet
from mammodet.evaluation.model_set_pictures import DisputedPicture
from mammodet.evaluation.model_set_tables import right


@dataclass(frozen=True)
class Answer:
    """What one model says about a disputed image, with its picture."""

    name: str
    place: int
    uri: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A disputed image as the page shows it: the disagreements in words, and the answer of each model."""

    title: str
    truth: str
    told: tuple[str, ...]
    answers: tuple[Answer, ...]
    picture: DisputedPicture


def disputed_case(models: ModelSet, picture: DisputedPicture) -> Case:
    """Return what the page says about a picture; without answers when the image could not be read."""
    image = picture.image
    told = tuple(_told(models, row) for row in image.disagreements)
    answers = tuple(
        Answer(
            one.name,
            place,
            f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}",
            _lines(models, place, picture),
        )
        for place, (one, jpeg) in enumerate(zip(models.models, picture.jpegs, strict=False))
    )
    return Case(image.file_name, image.truth or "unknown", told, answers, picture)


def _told(models: ModelSet, row: Disagreement) -> str:
    image = row.kind == IMAGE
    what = "Image" if image else f"{row.truth.capitalize()} lesion {row.annotation_id}"
    told = _verdict if image else _finding
    first = f"{models.first.name}: {told(row.first, row.first_score)}"
    this = f"{row.model}: {told(row.this, row.this_score)}"
    return f"{what}. {first}; {this}. Right: {right(models, row)}."


def _verdict(answer: str, score: float) -> str:
    return f"{answer} (malignancy {score:.2f})"


def _finding(answer: str, score: float) -> str:
    """Return the class that a lesion was given, with the score of the box."""
    if answer == MISSED:
        return answer
    return f"{answer} ({score if answer == 'malignant' else 1 - score:.2f})"


def _lines(models: ModelSet, place: int, picture: DisputedPicture) -> tuple[str, ...]:
    """Return what model number ``place`` says about the image and its disputed lesions."""
    cases, image = models.models[place].evaluation.cases, picture.image
    if cases is None:
        return ()
    found = [
        f"image: {_verdict(one.predicted, one.score)}"
        for one in cases.images
        if one.image_id == image.image_id
    ]
    named = {row.annotation_id for row in image.disagreements}
    found += [
        f"lesion {one.annotation_id}: {_finding(one.predicted, one.score)}"
        for one in cases.lesions
        if one.annotation_id in named
    ]
    return tuple(found)
