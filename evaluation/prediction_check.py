"""What is wrong or odd with predictions against their ground truth: errors by kind, notices for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import Coco
from mammodet.evaluation.prediction_categories import LEFT_OUT, find_categories
from mammodet.evaluation.prediction_frames import frame_hint
from mammodet.evaluation.prediction_images import UNKNOWN, find_images, sizes_of
from mammodet.evaluation.prediction_layouts import describe, mistaken_layout, to_pixels
from mammodet.evaluation.prediction_rows import PredictionError, PredictionFault, Rows

Scale = Literal["unit", "percent", "logit"]
SCALES = get_args(Scale)
Array = NDArray[np.float64]

_MANY = 0.2
_FRAME = "give boxes in the pixels of the images of the ground truth"


@dataclass(frozen=True)
class Notice:
    """What is allowed and worth knowing: ``warning`` when it changes the numbers, ``note`` otherwise."""

    severity: Literal["warning", "note"]
    text: str


def check_predictions(
    rows: Rows, coco: Coco, categories: Mapping[str, str | int], scale: str
) -> tuple[list[dict[str, Any]], list[Notice]]:
    """Return the predictions as a COCO results list, in their order, and what is odd about them.

    Raises PredictionError with one fault for every kind that there is.
    """
    positions, faults = find_images(rows, coco)
    faults = [*rows.faults, *faults]
    ids, unknown, notes = find_categories(rows, coco, categories)
    faults += unknown
    scores, broken = unit_scores(rows, scale, "a score is the confidence in the box; leave out what has none")
    faults += broken
    where = np.array(positions, dtype=np.int64)
    sizes = sizes_of(coco)
    boxes, broken, notices = _boxes(rows, where, sizes, scores, coco)
    faults += broken
    if faults:
        raise PredictionError(faults)
    left_out = ids.count(LEFT_OUT)
    notices += [Notice("note", one) for one in notes]
    if left_out:
        notices.append(Notice("note", f"{left_out} predictions are of classes left out"))
    notices += _repeated(rows, where, ids, boxes, scores)
    image_ids = [image["id"] for image in coco.images]
    columns = zip(positions, ids, boxes.tolist(), scores.tolist(), strict=True)
    results = [
        {"image_id": image_ids[at], "category_id": category, "bbox": bbox, "score": score}
        for at, category, bbox, score in columns
        if category != LEFT_OUT
    ]
    return results, notices


def unit_scores(rows: Rows, scale: str, meaning: str) -> tuple[Array, list[PredictionFault]]:
    """Return scores from 0 to 1 and the fault of those that are not; ``meaning`` says what a score is."""
    scores = rows.scores
    if scale == "percent":
        scores = scores / 100
    elif scale == "logit":
        scores = np.where(np.isfinite(scores), 0.5 * (1 + np.tanh(scores / 2)), np.nan)
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if not len(wrong):
        return scores, []
    numbers = scores[np.isfinite(scores)]
    outside = numbers[(numbers < 0) | (numbers > 1)]
    remedy = meaning
    if scale == "unit" and len(outside) >= _MANY * len(numbers):
        if numbers.size and numbers.min() >= 0 and numbers.max() <= 100:
            remedy = "these look like percentages: --scores percent divides them by 100"
        elif numbers.size:
            remedy = "these look like logits: --scores logit takes the sigmoid of each"
    elif len(outside):
        remedy = "clip what rounding carried beyond 0 to 1; bring other scores to 0 to 1 by one rule for all"
    at = wrong.tolist()
    return scores, [rows.fault(at, "score", "must be a number from 0 to 1", remedy)]


def _boxes(
    rows: Rows, where: NDArray[np.int64], sizes: Array, scores: Array, coco: Coco
) -> tuple[Array, list[PredictionFault], list[Notice]]:
    """Return boxes [N, 4] as ``[x, y, width, height]`` in pixels; NaN where the image is unknown."""
    finite = np.isfinite(rows.boxes).all(axis=1) & (np.abs(rows.boxes) < 1e150).all(axis=1)
    faults = []
    if not finite.all():
        meaning = describe(rows.layout)
        broken = np.flatnonzero(~finite).tolist()
        problem = f"must be four finite numbers, {meaning}"
        faults.append(rows.fault(broken, "box", problem, "check how the boxes were written"))
    good = np.flatnonzero(finite & (where != UNKNOWN))
    size = sizes[where[good]]
    mistaken = mistaken_layout(rows.boxes[good], rows.layout, size)
    pixels = np.full((len(where), 4), np.nan)
    pixels[good] = to_pixels(rows.boxes[good], rows.layout, size)
    if mistaken is not None:
        wrong, problem, remedy = mistaken
        fault = rows.fault(good[wrong].tolist(), "box", problem, remedy)
        faults.append(PredictionFault(fault.file, fault.where, fault.value, problem, remedy))
        return pixels, faults, []
    without_size = ~(pixels[good, 2:] > 0).all(axis=1)
    if without_size.any():
        problem = "a box must have a width and a height above 0"
        remedy = f"boxes are read as {describe(rows.layout)}; --boxes says otherwise"
        faults.append(rows.fault(good[without_size].tolist(), "box", problem, remedy))
        return pixels, faults, []
    found, notices = _places(rows, good, pixels[good], size)
    hint = None
    if len(good):
        hint = frame_hint(coco, where[good], pixels[good], np.nan_to_num(scores[good]), sizes)
    if hint is not None and found:
        found = [
            PredictionFault(one.file, one.where, one.value, one.problem, hint, one.count) for one in found
        ]
    elif hint is not None:
        notices.append(Notice("warning", f"the boxes seem to be of other images, resized ones: {hint}"))
    return pixels, faults + found, notices


def _places(
    rows: Rows, good: NDArray[np.int64], pixels: Array, size: Array
) -> tuple[list[PredictionFault], list[Notice]]:
    """Return the fault of a file whose boxes lie beside their images, or a warning of the few that do."""
    centre = pixels[:, :2] + pixels[:, 2:] / 2
    beside = ~((centre >= 0) & (centre <= size)).all(axis=1)
    slack = 1.0  # boxes are rounded
    leaving = ~((pixels[:, :2] >= -slack) & (pixels[:, :2] + pixels[:, 2:] <= size + slack)).all(axis=1)
    if beside.any() and beside.mean() >= _MANY:
        first = int(np.flatnonzero(beside)[0])
        told = f"its image of {size[first, 0]:.0f} x {size[first, 1]:.0f}"
        problem = f"lies with its centre outside {told}"
        return [rows.fault(good[beside].tolist(), "box", problem, _FRAME)], []
    notices = []
    for which, problem in (
        (leaving & ~beside, "reach beyond their image"),
        (beside, "lie outside their image"),
    ):
        if which.any():
            _, where, value = rows.place(int(good[which][0]), "box")
            told = f"{which.sum()} of {len(good)} boxes {problem}, first {where} {value}"
            notices.append(Notice("warning", told))
    return [], notices


def _repeated(
    rows: Rows, where: NDArray[np.int64], ids: list[Any], boxes: Array, scores: Array
) -> list[Notice]:
    """Warn of predictions that are there twice: same image, class, box and score."""
    _, inverse, counted = np.unique(scores, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(counted[inverse] > 1)
    if not len(suspects):
        return []
    classes = np.array(
        [-1 if ids[index] == LEFT_OUT else ids[index] for index in suspects.tolist()], dtype=np.int64
    )
    table = np.column_stack([where[suspects], classes, boxes[suspects], scores[suspects]])
    order = np.lexsort(table.T)
    same = (table[order[1:]] == table[order[:-1]]).all(axis=1)
    if not same.any():
        return []
    again = np.sort(suspects[order[1:][same]])  # lexsort is stable: the later one of two is the repetition
    _, at, value = rows.place(int(again[0]), "box")
    told = f"{len(again)} of {len(where)} predictions are there twice or more, first {at} {value}"
    return [Notice("warning", f"{told}; each repetition counts as a false positive")]
