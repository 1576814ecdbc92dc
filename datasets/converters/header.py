"""What a DICOM header tells about an image when the annotations of its data set do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mammodet.datasets.dicom import open_dicom, quiet_pydicom, read_facts
from mammodet.datasets.filetype import file_kind


def header_keys(path: Path) -> dict[str, Any]:
    """Return the keys of the COCO image that a DICOM header knows; none for other files.

    The patient is the hash of the Patient ID: it groups images and tells nobody's name. Raises InputError
    when the file cannot be opened.
    """
    if file_kind(path) != "dicom":
        return {}
    with quiet_pydicom():
        facts = read_facts(open_dicom(path, header_only=True), path, "hash")
    keys = {
        "patient_id": facts.patient_id,
        "laterality": facts.laterality,
        "view": facts.view,
        "spacing_mm": None if facts.spacing_mm is None else list(facts.spacing_mm),
        "age": facts.age,
        "manufacturer": facts.manufacturer,
        "sop_instance_uid": facts.sop_instance_uid,
    }
    return {key: value for key, value in keys.items() if value is not None}
