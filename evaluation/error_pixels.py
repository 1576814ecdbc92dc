"""The images behind the errors: where background boxes lie, and the pictures of the gallery."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.standardise import Recipe
from mammodet.evaluation.error_analysis import ErrorAnalysis, ErrorPicture
from mammodet.evaluation.error_cases import UNKNOWN, ErrorCase
from mammodet.evaluation.error_gallery import caption, crop_png, worst_cases
from mammodet.evaluation.error_places import BreastMap

MOST_IMAGES = 200
NO_FILE = "file not there"
NOT_READ = "file cannot be read"
OTHER_SIZE = "file has another size than the ground truth says"
_RECIPE = Recipe(allow_for_processing=True, allow_secondary_capture=True)  # for eyes, not for a model

Progress = Callable[[Iterable[int]], Iterable[int]]


def look_at_images(
    coco: Coco,
    results: Sequence[Mapping[str, Any]],
    analysis: ErrorAnalysis,
    most: int = MOST_IMAGES,
    progress: Progress = iter,
) -> ErrorAnalysis:
    """Read the images behind the errors, and return the analysis with places and gallery.

    Parameters
    ----------
    coco, results:
        What the analysis was made of.
    most:
        Images read at most, those of the gallery first, then those with the background boxes of the highest
        scores; 0 reads none. What is not looked at stays of unknown place.
    progress:
        Given the ids of the images, yields them.
    """
    if not most:
        return analysis
    shown = worst_cases(analysis.cases)
    wanted: defaultdict[int, list[int]] = defaultdict(list)  # image -> background cases
    order = [analysis.cases[place].image_id for place in shown]
    for place, case in enumerate(analysis.cases):
        if case.place is not None:
            wanted[case.image_id].append(place)
            order.append(case.image_id)
    there = [number for number in dict.fromkeys(order) if _is_file(coco, number)]
    chosen = there[:most]
    cases, looked = list(analysis.cases), 0
    for number in set(wanted).difference(there):
        _tell(cases, wanted[number], NO_FILE)
    pictures: dict[int, ErrorPicture] = {}
    drawn = _predictions(results, chosen, analysis.rules.score_threshold)
    for number in progress(chosen):
        pixels, reason = _pixels(coco, number)
        if pixels is None:
            _tell(cases, wanted[number], reason)
            continue
        looked += 1
        if wanted[number]:
            found = BreastMap.of(pixels, coco.image_by_id[number].get("view"))
            for place in wanted[number]:
                where, why = found.place(cases[place].bbox)
                cases[place] = replace(cases[place], place=where, place_reason=why)
        for place in shown:
            if cases[place].image_id == number:
                pictures[place] = _picture(coco, place, cases[place], pixels, drawn[number])
    ordered = [pictures[place] for place in shown if place in pictures]
    return replace(analysis, cases=tuple(cases), looked=looked, gallery=tuple(ordered))


def read_image(coco: Coco, number: int) -> tuple[NDArray[np.float32] | None, str]:
    """Return the pixels of an image, float32 [H, W], 0 to 1, for eyes; or None and the reason."""
    return _pixels(coco, number) if _is_file(coco, number) else (None, NO_FILE)


def _is_file(coco: Coco, number: int) -> bool:
    try:
        return coco.image_path(coco.image_by_id[number]).is_file()
    except (OSError, ValueError):  # a name too long, a zero byte in it
        return False


def _tell(cases: list[ErrorCase], places: Iterable[int], reason: str) -> None:
    for place in places:
        cases[place] = replace(cases[place], place=UNKNOWN, place_reason=reason)


def _pixels(coco: Coco, number: int) -> tuple[NDArray[np.float32] | None, str]:
    image = coco.image_by_id[number]
    try:
        pixels = read_mammogram(coco.image_path(image), _RECIPE).pixels
    except InputError:
        return None, NOT_READ
    if pixels.shape != (image["height"], image["width"]):
        return None, OTHER_SIZE
    return pixels, ""


def _predictions(
    results: Sequence[Mapping[str, Any]], images: Iterable[int], threshold: float
) -> Mapping[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {number: [] for number in images}
    for one in results:
        if one["image_id"] in found and one["score"] >= threshold:
            found[one["image_id"]].append(one)
    return found


def _picture(
    coco: Coco,
    place: int,
    case: ErrorCase,
    pixels: NDArray[np.float32],
    predictions: Sequence[Mapping[str, Any]],
) -> ErrorPicture:
    png = crop_png(pixels, case.bbox, coco.annotations_of[case.image_id], predictions)
    return ErrorPicture(place, png, caption(case))
