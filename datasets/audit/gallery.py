"""Which cases of an audit are shown as pictures, and the pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mammodet.datasets.audit.pictures import crop_uri, is_small, thumbnail_uri
from mammodet.datasets.audit.report import Case, Finding, Report
from mammodet.datasets.coco import AnnotationRecord, Coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.inspection import Inspection
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.standardise import Recipe

_IMAGES_OF_CASE = 2


@dataclass(frozen=True)
class Card:
    """One case as the page shows it: its line, and pictures as data URIs with what they show."""

    text: str
    pictures: tuple[tuple[str, str], ...]


def make_gallery(
    coco: Coco,
    report: Report,
    most: int,
    *,
    again: Callable[[Sequence[int]], Iterable[tuple[int, Inspection]]],
    recipe: Recipe,
    progress: Callable[[Iterable[Any], str, int], Iterable[Any]],
) -> dict[str, list[Card]]:
    """Return the cards of every finding that pictures help with, by its name.

    Parameters
    ----------
    most:
        Cards of a finding; notes get half as many.
    again:
        Takes image ids and yields them with their inspections, thumbnails in them.
    recipe:
        How the files were read; small lesions are cut out of the full image.
    """
    shown = {
        finding.name: list(_shown(finding, most if finding.kind.severity != "note" else -(-most // 2)))
        for finding in report.findings
        if finding.kind.pictures
    }
    wanted = list(
        dict.fromkeys(number for cases in shown.values() for case in cases for number in _ids(case))
    )
    wanted = [number for number in wanted if os.path.isfile(coco.image_path(coco.image_by_id[number]))]  # noqa: PTH113
    seen = dict(again(wanted))
    boxes = {one["id"]: one for one in coco.annotations}
    crops = _crops(coco, shown, seen, boxes, recipe=recipe, progress=progress)
    return {
        name: [Card(case.text, tuple(_pictures(coco, case, seen, boxes, crops))) for case in cases]
        for name, cases in shown.items()
        if any(_ids(case)[0] in seen for case in cases)
    }


def _shown(finding: Finding, most: int) -> Iterator[Case]:
    """Yield the first cases, each of another image where there are enough."""
    with_images = [case for case in finding.cases if case.images]
    first = {case.images[0]: case for case in reversed(with_images)}
    fresh = [case for case in with_images if first[case.images[0]] is case]
    rest = [case for case in with_images if first[case.images[0]] is not case]
    yield from (*fresh, *rest)[:most]


def _ids(case: Case) -> tuple[int, ...]:
    return case.images[:_IMAGES_OF_CASE]


def _pictures(
    coco: Coco,
    case: Case,
    seen: Mapping[int, Inspection],
    boxes: Mapping[int, AnnotationRecord],
    crops: Mapping[int, str],
) -> Iterator[tuple[str, str]]:
    for number in _ids(case):
        if number in seen:
            all_of = coco.annotations_of.get(number, [])
            meant = [one for one in all_of if one["id"] in case.annotations] or all_of
            uri = thumbnail_uri(seen[number], meant)
            if uri is not None:
                yield uri, str(coco.image_by_id[number]["file_name"])
    for number in case.annotations[:1]:
        if number in crops:
            yield (
                crops[number],
                f"{boxes[number]['bbox'][2]:.4g} x {boxes[number]['bbox'][3]:.4g} px, enlarged",
            )


def _crops(
    coco: Coco,
    shown: Mapping[str, Sequence[Case]],
    seen: Mapping[int, Inspection],
    boxes: Mapping[int, AnnotationRecord],
    *,
    recipe: Recipe,
    progress: Callable[[Iterable[Any], str, int], Iterable[Any]],
) -> dict[int, str]:
    """Return crops by annotation id, for the lesions of the cases that are too small on their thumbnail."""
    small: dict[int, dict[int, Case]] = {}  # image -> annotation -> case
    for case in (case for cases in shown.values() for case in cases if case.annotations):
        lesion = boxes[case.annotations[0]]
        inspection = seen.get(lesion["image_id"])
        if inspection is not None and is_small(inspection, lesion):
            small.setdefault(lesion["image_id"], {}).setdefault(lesion["id"], case)
    crops: dict[int, str] = {}
    for image_id, lesions in (
        progress(small.items(), "cutting out small lesions", len(small)) if small else ()
    ):
        try:
            pixels = read_mammogram(coco.image_path(coco.image_by_id[image_id]), recipe).pixels
        except InputError:
            continue  # it could be read before; it was changed or removed meanwhile
        for number, case in lesions.items():
            others = [boxes[other] for other in case.annotations[1:] if boxes[other]["image_id"] == image_id]
            crops[number] = crop_uri(pixels, boxes[number], others)
    return crops
