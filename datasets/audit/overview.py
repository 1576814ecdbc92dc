"""The tables of an audit: images, patients and lesions by part of the split, and which keys are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mammodet.datasets.coco import CATEGORY_NAMES, LABELS, Coco, ImageRecord
from mammodet.datasets.splits import group_by_patient, worst_label

IMAGE_KEYS = (
    "patient_id",
    "study_id",
    "laterality",
    "view",
    "spacing_mm",
    "density",
    "age",
    "manufacturer",
    "label",
    "split",
)
LESION_KEYS = ("finding", "lesion_id", "pathology", "birads", "segmentation")


def overview(coco: Coco) -> dict[str, Any]:
    """Return the numbers of images, patients and lesions; patients may be fewer where ids are missing."""
    sizes = Counter((image["width"], image["height"]) for image in coco.images)
    return {
        **_row(coco, coco.images),
        "image_sizes": [
            {"width": width, "height": height, "images": count}
            for (width, height), count in sizes.most_common()
        ],
        "datasets": sorted({image["dataset"] for image in coco.images if image.get("dataset")}),
        "category_rule": _text(coco.info.get("category_rule")),
        "reference": _text(coco.info.get("reference")),
    }


def common_folder(coco: Coco) -> str:
    """Return the folder that the names of all images begin with, "" where there is none."""
    parts = [image["file_name"].split("/")[:-1] for image in coco.images]
    first, last = (min(parts), max(parts)) if parts else ([], [])  # what these share, all share
    shared = next((n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), None)
    return "/".join(first[: min(len(first), len(last)) if shared is None else shared])


def splits(coco: Coco) -> tuple[Mapping[str, Any], ...]:
    """Return one row per part of the split, and one for images that are in none; empty without a split."""
    parts: dict[str | None, list[ImageRecord]] = {}
    for image in coco.images:
        parts.setdefault(image.get("split"), []).append(image)
    if set(parts) <= {None}:
        return ()
    named = sorted(parts, key=lambda name: (name is None, str(name)))
    return tuple({"split": name, **_row(coco, parts[name])} for name in named)


def images_per_patient(coco: Coco) -> dict[int, int]:
    """Return how many patients have so many images, by the number of images."""
    counted = Counter(len(images) for images in group_by_patient(coco).values())
    return dict(sorted(counted.items()))


def completeness(coco: Coco) -> dict[str, dict[str, int]]:
    """Return for each key of images and lesions how many of them have a value."""
    known = {key: {"known": _known(coco.images, key), "of": len(coco.images)} for key in IMAGE_KEYS}
    lesions = coco.annotations
    return known | {
        f"lesion {key}": {"known": _known(lesions, key), "of": len(lesions)} for key in LESION_KEYS if lesions
    }


def _row(coco: Coco, images: list[ImageRecord]) -> dict[str, Any]:
    labels = Counter(image.get("label") or "unknown" for image in images)
    lesions = [one for image in images for one in coco.annotations_of.get(image["id"], [])]
    categories = Counter(CATEGORY_NAMES[one["category_id"]] for one in lesions if not one.get("ignore"))
    patients = group_by_patient(Coco(images, [], coco.path))
    worst = Counter(worst_label(coco, of_one) or "unknown" for of_one in patients.values())
    return {
        "images": len(images),
        "patients": len(patients),
        "labels": {label: labels[label] for label in (*LABELS, "unknown")},
        "patient_labels": {label: worst[label] for label in (*LABELS, "unknown")},
        "lesions": len(lesions),
        "lesion_categories": {name: categories[name] for name in CATEGORY_NAMES.values()},
        "lesions_ignored": sum(1 for one in lesions if one.get("ignore")),
    }


def _known(records: Any, key: str) -> int:
    return sum(1 for record in records if record.get(key) is not None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
