"""Truths that contradict each other: labels of images, categories, pathologies and BI-RADS of lesions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mammodet.datasets.audit.report import Case
from mammodet.datasets.coco import (
    BENIGN,
    CATEGORY_NAMES,
    LABELS,
    MALIGNANT,
    AnnotationRecord,
    Coco,
    ImageRecord,
)
from mammodet.datasets.converters.options import parse_birads


def label_cases(coco: Coco) -> Iterator[Case]:
    """Yield labels without a box, and contradictions of label and lesions and within a lesion."""
    yield from _without_box(coco)
    for image in coco.images:
        lesions = coco.annotations_of.get(image["id"], [])
        yield from _image_label(image, [one for one in lesions if not one.get("ignore")])
        for lesion in lesions:
            yield from _pathology(image, lesion)
            yield from _birads(image, lesion)


def pathology_category(pathology: str) -> int | None:
    """Return the category that a pathology stands for, None when it is neither.

    "MALIGNANT", "malignant, invasive ductal", "M", "BENIGN_WITHOUT_CALLBACK" and so on; "non-malignant" or
    "high risk" are not judged.
    """
    text = pathology.strip().lower()
    for category, name in CATEGORY_NAMES.items():
        if text.startswith(name) or text == name[0]:
            return category
    return None


def _without_box(coco: Coco) -> Iterator[Case]:
    """Yield the images with a lesion that is marked nowhere; a set without any box is told once."""
    bare = [image for image in coco.images if not coco.annotations_of.get(image["id"])]
    lesional = [image for image in bare if image.get("label") in CATEGORY_NAMES.values()]
    if coco.annotations:
        for image in lesional:
            yield Case("label-without-box", f"{image['file_name']}: {image['label']}, no box", (image["id"],))
    elif lesional:
        counted = Counter(str(image["label"]) for image in lesional)
        labels = ", ".join(f"{counted[name]} {name}" for name in CATEGORY_NAMES.values() if counted[name])
        numbers = tuple(image["id"] for image in lesional)
        yield Case("labels-only", f"{labels}; no image has a box", numbers, count=len(lesional))


def _image_label(image: ImageRecord, lesions: list[AnnotationRecord]) -> Iterator[Case]:
    label = image.get("label")
    if label is None or not lesions:
        return
    numbers = tuple(one["id"] for one in lesions)
    worst = CATEGORY_NAMES[max(one["category_id"] for one in lesions)]
    text = f"{image['file_name']}: labelled {label}, its worst lesion is {worst}"
    if label == "normal":
        yield Case("normal-with-lesion", text, (image["id"],), numbers)
    elif LABELS.index(label) < LABELS.index(worst):
        yield Case("label-below-lesion", text, (image["id"],), numbers)
    elif LABELS.index(label) > LABELS.index(worst):
        yield Case("label-above-lesion", text, (image["id"],), numbers)


def _pathology(image: ImageRecord, lesion: AnnotationRecord) -> Iterator[Case]:
    pathology = lesion.get("pathology")
    if not pathology:
        return
    category = pathology_category(pathology)
    where = (image["id"],), (lesion["id"],)
    if category is None:
        yield Case("pathology-not-understood", f"{image['file_name']}: pathology {pathology}", *where)
    elif category != lesion["category_id"] and not lesion.get("ignore"):
        text = f"{image['file_name']}: {CATEGORY_NAMES[lesion['category_id']]}, but pathology {pathology}"
        yield Case("pathology-against-category", text, *where)


def _birads(image: ImageRecord, lesion: AnnotationRecord) -> Iterator[Case]:
    birads = parse_birads(lesion.get("birads") or "")
    truth = pathology_category(lesion.get("pathology") or "")
    if truth is None and not lesion.get("ignore"):
        truth = lesion["category_id"]
    if birads is None or truth is None:
        return
    text = f"{image['file_name']}: {CATEGORY_NAMES[truth]}, but BI-RADS {birads}"
    where = (image["id"],), (lesion["id"],)
    if (birads in ("1", "2") and truth == MALIGNANT) or (birads in ("5", "6") and truth == BENIGN):
        yield Case("birads-against-truth", text, *where)
    elif birads == "3" and truth == MALIGNANT:
        yield Case("birads-3-malignant", text, *where)
