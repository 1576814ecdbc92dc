"""The vocabulary of the COCO profile: its two categories and the keys of images and annotations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

BENIGN = 1
MALIGNANT = 2
CATEGORY_NAMES: Mapping[int, str] = {BENIGN: "benign", MALIGNANT: "malignant"}

LABELS = ("normal", "benign", "malignant")  # of an image, from best to worst
FINDINGS = ("calcification", "mass", "distortion", "asymmetry", "other")
GEOMETRY_SOURCES = ("mask", "box", "polygon", "circle", "chain-code")


class ImageRecord(TypedDict, total=False):
    """One image. ``id``, ``file_name``, ``width`` and ``height`` are always there; the rest where known."""

    id: int
    file_name: str  # relative to the COCO file's folder, or to info["root"] when that is given
    width: int
    height: int
    patient_id: str
    study_id: str
    breast_id: str  # patient, study and side
    laterality: str | None  # "L", "R" or None
    view: str | None  # "CC", "MLO", another code or None
    spacing_mm: list[float] | None  # [row, column]
    density: str | None  # "A" to "D"
    age: int | None
    manufacturer: str | None
    dataset: str
    split: str | None
    label: str | None  # "normal", "benign", "malignant"; None = unknown
    sop_instance_uid: str | None
    provenance: dict[str, Any]


class AnnotationRecord(TypedDict, total=False):
    """One lesion. ``id`` (from 1), ``image_id``, ``category_id`` and ``bbox`` are always there."""

    id: int
    image_id: int
    category_id: int
    bbox: list[float]  # [x, y, width, height], source frame
    area: float
    iscrowd: int
    ignore: int
    segmentation: dict[str, Any] | list[list[float]]
    finding: str  # calcification, mass, distortion, asymmetry, other
    lesion_id: str  # the same lesion in two views has the same one
    pathology: str | None
    birads: str | None
    subtype: dict[str, Any]
    geometry_source: str  # mask, box, polygon, circle, chain-code
    provenance: dict[str, Any]


class CategoryRecord(TypedDict):
    """One class of lesions."""

    id: int
    name: str


def profile_categories() -> list[CategoryRecord]:
    """Return the two categories of the profile: 1 benign, 2 malignant."""
    return [{"id": number, "name": name} for number, name in CATEGORY_NAMES.items()]
