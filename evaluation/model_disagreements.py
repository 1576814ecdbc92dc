"""Cases on which a model and the first one disagree: verdicts of images, and lesions that only one finds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mammodet.evaluation.cases import MISSED, Cases, ImageCase, LesionCase

IMAGE, LESION = "image", "lesion"


@dataclass(frozen=True)
class Disagreement:
    """An image or a lesion about which exactly one of two models is right.

    Parameters
    ----------
    model:
        The model that is compared with the first one.
    kind:
        "image" (malignant or not, of known truth) or "lesion" (found with its class, or not).
    annotation_id:
        The lesion; None of an image.
    first, this:
        What the two answer: malignant, not malignant; of a lesion benign, malignant or missed.
    first_score, this_score:
        Malignancy scores, 0 to 1, as in images.csv and lesions.csv; 0 of a missed lesion.
    apart:
        How far the two are apart, 0 to 1: of images by malignancy score, of lesions by the score that each
        gives to the truth (1 less the malignancy score of a benign lesion; 0 when it is missed).
    first_right:
        Whether the first model is the one that is right.
    """

    model: str
    kind: str
    image_id: int
    file_name: str
    annotation_id: int | None
    truth: str
    first: str
    this: str
    first_score: float
    this_score: float
    apart: float
    first_right: bool


@dataclass(frozen=True)
class DisputedImage:
    """All disagreements about one image, of all models, the widest first."""

    image_id: int
    file_name: str
    truth: str | None
    disagreements: tuple[Disagreement, ...]


def disagreements(first: Cases, other: Cases, model: str) -> list[Disagreement]:
    """Return the cases on which ``other`` (called ``model``) and ``first`` disagree, the widest apart first.

    Both must be cases of one file. Kinds of cases that one of them has none of are left out.
    """
    found = [*_images(first.images, other.images, model), *_lesions(first.lesions, other.lesions, model)]
    return _by_width(found)


def disputed_images(rows: Iterable[Disagreement], truth: Mapping[int, str | None]) -> list[DisputedImage]:
    """Gather disagreements by image, the images with the widest one first; ``truth`` by image id."""
    of_image: defaultdict[int, list[Disagreement]] = defaultdict(list)
    for row in _by_width(rows):
        of_image[row.image_id].append(row)
    return [
        DisputedImage(number, some[0].file_name, truth.get(number), tuple(some))
        for number, some in of_image.items()
    ]


def _images(first: Sequence[ImageCase], other: Sequence[ImageCase], model: str) -> Iterator[Disagreement]:
    this = {case.image_id: case for case in other}
    for one in first:
        two = this.get(one.image_id)
        if two is None or one.truth is None or one.predicted == two.predicted:
            continue
        yield Disagreement(
            model=model,
            kind=IMAGE,
            image_id=one.image_id,
            file_name=one.file_name,
            annotation_id=None,
            truth=one.truth,
            first=one.predicted,
            this=two.predicted,
            first_score=one.score,
            this_score=two.score,
            apart=abs(one.score - two.score),
            first_right=(one.truth == "malignant") == (one.predicted == "malignant"),
        )


def _lesions(first: Sequence[LesionCase], other: Sequence[LesionCase], model: str) -> Iterator[Disagreement]:
    this = {case.annotation_id: case for case in other}
    for one in first:
        two = this.get(one.annotation_id)
        if two is None or (one.predicted == one.truth) == (two.predicted == two.truth):
            continue
        yield Disagreement(
            model=model,
            kind=LESION,
            image_id=one.image_id,
            file_name=one.file_name,
            annotation_id=one.annotation_id,
            truth=one.truth,
            first=one.predicted,
            this=two.predicted,
            first_score=one.score,
            this_score=two.score,
            apart=abs(_for_truth(one) - _for_truth(two)),
            first_right=one.predicted == one.truth,
        )


def _for_truth(case: LesionCase) -> float:
    if case.predicted == MISSED:
        return 0.0
    return case.score if case.truth == "malignant" else 1 - case.score


def _by_width(rows: Iterable[Disagreement]) -> list[Disagreement]:
    return sorted(rows, key=lambda row: -row.apart)  # stable: equal ones stay in the order of the file
