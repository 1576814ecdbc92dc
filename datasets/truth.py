"""What an image is known to show: normal, benign or malignant tissue."""

from __future__ import annotations

from collections.abc import Iterable

from mammodet.datasets.coco import CATEGORY_NAMES, AnnotationRecord, ImageRecord, counts

_SEVERITY = ("malignant", "benign", "normal")


def image_truth(image: ImageRecord, annotations: Iterable[AnnotationRecord]) -> str | None:
    """Return normal, benign or malignant: the label of the image, else of its worst lesion, else None."""
    label = image.get("label")
    if label is not None:
        return label
    return worst(CATEGORY_NAMES[one["category_id"]] for one in annotations if counts(one))


def worst(truths: Iterable[str | None]) -> str | None:
    """Return the worst of several truths; None when none is known."""
    present = set(truths)
    return next((name for name in _SEVERITY if name in present), None)
