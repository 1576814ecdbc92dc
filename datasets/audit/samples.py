"""Lesions and images taken at random for the page, so that people see whether ordinary boxes fit."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mammodet.datasets.audit.boxes import extent
from mammodet.datasets.audit.gallery import Card
from mammodet.datasets.audit.pictures import crop_uri, thumbnail_uri
from mammodet.datasets.audit.report import Report
from mammodet.datasets.audit.sizes import is_point
from mammodet.datasets.coco import CATEGORY_NAMES, AnnotationRecord, Coco, ImageRecord, counts
from mammodet.datasets.errors import InputError
from mammodet.datasets.inspection import Inspection
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.standardise import Recipe

LESIONS = 12
IMAGES = 4  # without a lesion
_CONTEXT = 2.5  # the crop is so many times as wide as the box
_UNREAD = frozenset({"missing-file", "unreadable-file"})  # findings whose images have no pictures


@dataclass(frozen=True)
class Samples:
    """Cards of lesions, and of images without any."""

    lesions: tuple[Card, ...] = ()
    images: tuple[Card, ...] = ()


def make_samples(
    coco: Coco,
    report: Report,
    *,
    again: Callable[[Sequence[int]], Iterable[tuple[int, Inspection]]],
    recipe: Recipe,
    progress: Callable[[Iterable[Any], str, int], Iterable[Any]],
) -> Samples:
    """Return the cards of up to 12 lesions and 4 images without any, the same for the same COCO file.

    Parameters
    ----------
    again:
        Takes image ids and yields them with their inspections, thumbnails in them.
    recipe:
        How the files were read; lesions are cut out of the full image.
    """
    unread = {number for one in report.findings if one.name in _UNREAD for number in one.images}
    lesions = pick_lesions(coco, LESIONS, without=unread)
    images = pick_images(coco, IMAGES, without=unread)
    wanted = dict.fromkeys([*(one["image_id"] for one in lesions), *(image["id"] for image in images)])
    seen = dict(again(list(wanted)))
    cards = [
        _lesion_card(coco, one, seen, report.folder, recipe)
        for one in (progress(lesions, "cutting out lesions", len(lesions)) if lesions else ())
    ]
    empty = [_image_card(image, seen, report.folder) for image in images]
    return Samples(
        tuple(card for card in cards if card is not None), tuple(card for card in empty if card is not None)
    )


def pick_lesions(
    coco: Coco, most: int, *, without: Collection[int] = (), seed: int = 0
) -> list[AnnotationRecord]:
    """Return lesions at random, in turn from every pair of category and finding, the commonest pair first.

    Each is of a patient, and an image, that has been taken least so far. Lesions on the images ``without``
    are left out.
    """
    groups: dict[Hashable, list[AnnotationRecord]] = {}
    for one in _shuffled([one for one in coco.annotations if one["image_id"] not in without], seed):
        key = (one["category_id"], str(one.get("finding")), counts(one))
        groups.setdefault(key, []).append(one)
    order = sorted(groups, key=lambda key: (-len(groups[key]), str(key)))
    taken: Counter[Hashable] = Counter()
    chosen: list[AnnotationRecord] = []
    while len(chosen) < most and any(groups.values()):
        for group in [groups[key] for key in order if groups[key]][: most - len(chosen)]:
            owners = [_owners(coco.image_by_id[one["image_id"]]) for one in group]
            best = min(range(len(group)), key=lambda n: [taken[owner] for owner in owners[n]])
            chosen.append(group.pop(best))
            taken.update(owners[best])
    return chosen


def pick_images(coco: Coco, most: int, *, without: Collection[int] = (), seed: int = 0) -> list[ImageRecord]:
    """Return images without any box at random, of different patients first."""
    empty = [
        one for one in coco.images if not coco.annotations_of.get(one["id"]) and one["id"] not in without
    ]
    turn: Counter[Hashable] = Counter()
    turns: list[tuple[int, int]] = []
    shuffled = _shuffled(empty, seed)
    for place, image in enumerate(shuffled):
        patient = _owners(image)[0]
        turns.append((turn[patient], place))
        turn[patient] += 1
    return [shuffled[place] for _, place in sorted(turns)[:most]]


def caption(coco: Coco, lesion: AnnotationRecord, folder: str) -> str:
    """Return file, category, finding and size of a lesion; ``folder`` is left out of the file's name."""
    image = coco.image_by_id[lesion["image_id"]]
    finding = lesion.get("finding")
    what = CATEGORY_NAMES[lesion["category_id"]] + (f" {finding}" if finding else ", finding unknown")
    size = "a point without size" if is_point(lesion) else extent(lesion["bbox"], image.get("spacing_mm"))
    parts = [what, *([] if counts(lesion) else ["ignored"]), size]
    of_image = len(coco.annotations_of[image["id"]])
    if of_image > 1:
        parts.append(f"one of {of_image} lesions of the image")
    return f"{_name(image, folder)}: {', '.join(parts)}"


def _shuffled(records: Sequence[Any], seed: int) -> list[Any]:
    return random.Random(seed).sample(records, len(records))


def _owners(image: ImageRecord) -> tuple[Hashable, Hashable]:
    """Return the patient and the image; an image without a patient is one of its own."""
    patient = image.get("patient_id")
    itself = ("image", image["id"])
    return (itself if patient is None else ("patient", patient)), itself


def _name(image: ImageRecord, folder: str) -> str:
    return image["file_name"].removeprefix(f"{folder}/") if folder else image["file_name"]


def _lesion_card(
    coco: Coco, lesion: AnnotationRecord, seen: Mapping[int, Inspection], folder: str, recipe: Recipe
) -> Card | None:
    """Return the whole image with the box, and the lesion enlarged; None when the image cannot be read."""
    image = coco.image_by_id[lesion["image_id"]]
    frame = thumbnail_uri(seen[image["id"]], [lesion]) if image["id"] in seen else None
    if frame is None:
        return None
    try:
        pixels = read_mammogram(coco.image_path(image), recipe).pixels
    except InputError:
        return None  # it could be read before; it was changed or removed meanwhile
    crop = crop_uri(pixels, lesion, context=_CONTEXT)
    return Card(caption(coco, lesion, folder), ((frame, "the whole image"), (crop, "the lesion, enlarged")))


def _image_card(image: ImageRecord, seen: Mapping[int, Inspection], folder: str) -> Card | None:
    frame = thumbnail_uri(seen[image["id"]], []) if image["id"] in seen else None
    if frame is None:
        return None
    text = f"{_name(image, folder)}: {image.get('label') or 'label unknown'}"
    return Card(text, ((frame, "the whole image"),))
