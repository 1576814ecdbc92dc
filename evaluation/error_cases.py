"""The single false positives and false negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import Coco
from mammodet.evaluation.error_costs import missed_lesions
from mammodet.evaluation.error_matching import (
    BACKGROUND,
    KIND_NAMES,
    MISSED,
    POOR_BOX,
    WRONG_CLASS,
    BoxKinds,
)

FALSE_POSITIVE, FALSE_NEGATIVE = "false positive", "false negative"
UNKNOWN = "unknown"
NOT_LOOKED_AT = "image not looked at"


@dataclass(frozen=True)
class ErrorCase:
    """One false positive (a box) or one false negative (a lesion) at the score threshold.

    Parameters
    ----------
    kind:
        Of a false positive one of ``KIND_NAMES``; of a false negative "wrong class" or "poor box" when such a
        box is about the lesion (the best one's ``score``, ``iou`` and place in the results are given), else
        "missed".
    bbox:
        ``[x, y, width, height]`` in the source frame: the predicted box, or the lesion that is not found.
    category:
        Of the box, or of the lesion.
    score, prediction:
        Of the box, and its place in the results; None of a missed lesion.
    lesion, lesion_category, iou:
        Id of the annotation that the case is about, for a background box the one that it overlaps most; None
        when it overlaps none.
    place, place_reason:
        Of a background box: where it lies, or "unknown" and why; otherwise None.
    """

    error: str
    kind: str
    image_id: int
    file_name: str
    bbox: tuple[float, float, float, float]
    category: str
    score: float | None
    prediction: int | None
    lesion: int | None
    lesion_category: str | None
    iou: float | None
    place: str | None = None
    place_reason: str | None = None


def error_cases(
    coco: Coco,
    results: Sequence[Mapping[str, Any]],
    boxes: BoxKinds,
    threshold: float,
    names: Mapping[int, str],
) -> tuple[ErrorCase, ...]:
    """Return the errors at a score threshold: by falling score, lesions without a box last, larger first.

    Parameters
    ----------
    names:
        Categories by id, each name once.
    """
    wrong = np.flatnonzero(np.isin(boxes.kind, tuple(KIND_NAMES)) & (boxes.score >= threshold))
    cases = _positives(coco, results, boxes, wrong, names)
    cases += [
        _negative(coco, boxes, place, kind, box, names=names)
        for place, (kind, box) in negatives(boxes, threshold).items()
    ]
    bbox = np.array([one.bbox for one in cases], dtype=np.float64).reshape(-1, 4)
    score = np.array([-1.0 if one.score is None else one.score for one in cases])
    image = np.array([one.image_id for one in cases])
    categories = {name: place for place, name in enumerate(sorted(names.values()))}
    rest = [(categories[one.category], one.error == FALSE_POSITIVE) for one in cases]
    order = np.lexsort(  # the last key counts most; the others make the order that of the cases alone
        (*np.array(rest).reshape(-1, 2).T, *bbox.T, image, -bbox[:, 2] * bbox[:, 3], -score)
    )
    return tuple(cases[place] for place in order.tolist())


def negatives(boxes: BoxKinds, threshold: float) -> dict[int, tuple[str, int | None]]:
    """Return kind and box of every lesion not found at a threshold; wrong class goes before poor box."""
    found: dict[int, tuple[str, int | None]] = {}
    for place in missed_lesions(boxes, threshold).tolist():
        found[place] = MISSED, None
    unfound = np.setdiff1d(boxes.lesions, boxes.found(threshold))
    for number in (POOR_BOX, WRONG_CLASS):
        chosen = boxes.order[((boxes.kind == number) & (boxes.score >= threshold))[boxes.order]]
        chosen = chosen[np.isin(boxes.lesion[chosen], unfound)]
        places, first = np.unique(boxes.lesion[chosen], return_index=True)  # the best box of each
        for place, box in zip(places.tolist(), chosen[first].tolist(), strict=True):
            found[place] = (KIND_NAMES[number], box)
    return found


def _positives(
    coco: Coco,
    results: Sequence[Mapping[str, Any]],
    boxes: BoxKinds,
    wrong: NDArray[np.intp],
    names: Mapping[int, str],
) -> list[ErrorCase]:
    """Return the cases of the false positives at these places of the results, which may be very many."""
    file_names = {image["id"]: image["file_name"] for image in coco.images}
    ids = [one["id"] for one in coco.annotations]
    lesion_names = [names[one["category_id"]] for one in coco.annotations]
    columns = (wrong, boxes.kind[wrong], boxes.score[wrong], boxes.lesion[wrong], boxes.iou[wrong])
    cases = []
    for box, kind, score, place, iou in zip(*(column.tolist() for column in columns), strict=True):
        result = results[box]
        x, y, width, height = result["bbox"]
        about, background = place >= 0, kind == BACKGROUND
        cases.append(
            ErrorCase(
                error=FALSE_POSITIVE,
                kind=KIND_NAMES[kind],
                image_id=result["image_id"],
                file_name=file_names[result["image_id"]],
                bbox=(float(x), float(y), float(width), float(height)),
                category=names[result["category_id"]],
                score=score,
                prediction=box,
                lesion=ids[place] if about else None,
                lesion_category=lesion_names[place] if about else None,
                iou=iou if about else None,
                place=UNKNOWN if background else None,
                place_reason=NOT_LOOKED_AT if background else None,
            )
        )
    return cases


def _negative(
    coco: Coco, boxes: BoxKinds, place: int, kind: str, box: int | None, *, names: Mapping[int, str]
) -> ErrorCase:
    lesion = coco.annotations[place]
    x, y, width, height = lesion["bbox"]
    name = names[lesion["category_id"]]
    return ErrorCase(
        error=FALSE_NEGATIVE,
        kind=kind,
        image_id=lesion["image_id"],
        file_name=coco.image_by_id[lesion["image_id"]]["file_name"],
        bbox=(float(x), float(y), float(width), float(height)),
        category=name,
        score=None if box is None else float(boxes.score[box]),
        prediction=box,
        lesion=lesion["id"],
        lesion_category=name,
        iou=None if box is None else float(boxes.iou[box]),
    )
