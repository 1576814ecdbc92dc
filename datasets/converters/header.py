"""What a DICOM header tells about an image when the annotations of its data set do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mammodet.datasets.dicom import hash_id, open_dicom, quiet_pydicom, read_facts, text
from mammodet.datasets.filetype import file_kind


def header_keys(path: Path) -> dict[str, Any]:
    """Return the keys of the COCO image that a DICOM header knows; none for other files.

    The patient is the hash of the Patient ID and the study the hash of its UID, so that the exams of one
    patient stay apart: they group images and tell nobody's name. Raises InputError when the file cannot be
    opened.
    """
    if file_kind(path) != "dicom":
        return {}
    with quiet_pydicom():
        data = open_dicom(path, header_only=True)
        facts = read_facts(data, path, "hash")
        study = text(data, "StudyInstanceUID")  # facts would call a study without one by its folder
    keys = {
        "patient_id": facts.patient_id,
        "study_id": None if study is None else hash_id(study),
        "laterality": facts.laterality,
        "view": facts.view,
        "spacing_mm": None if facts.spacing_mm is None else list(facts.spacing_mm),
        "age": facts.age,
        "manufacturer": facts.manufacturer,
        "sop_instance_uid": facts.sop_instance_uid,
    }
    return {key: value for key, value in keys.items() if value is not None}
