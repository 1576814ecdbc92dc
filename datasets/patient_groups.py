"""Which images belong to one patient; a split never parts them."""

from __future__ import annotations

from mammodet.datasets.coco_records import ImageRecord

Patient = tuple[str, str]  # what the id is of (patient, study or image), the id


def patient_of(image: ImageRecord) -> Patient:
    """Return what images of one patient share: ``patient_id``, for want of one ``study_id``, or nothing."""
    for kind in ("patient", "study"):
        name = image.get(f"{kind}_id")
        if name is not None:
            return kind, str(name)
    return "image", f"{image['id']:020d}"
