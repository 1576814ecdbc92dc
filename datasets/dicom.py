"""The header of a DICOM mammogram: its elements, and the facts that leave the reader.

Names, birth dates and accession numbers never do.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydicom
from pydicom import Dataset

from mammodet.datasets.dicom_file import open_dicom, quiet_pydicom

__all__ = [
    "VIEW_CODES",
    "DicomFacts",
    "IdentifyBy",
    "element",
    "hash_id",
    "items",
    "number",
    "numbers",
    "open_dicom",
    "quiet_pydicom",
    "read_facts",
    "shown",
    "text",
]

IdentifyBy = Literal["patient-id", "hash", "uid"]

# PS3.16 CID 4014 View for Mammography: SNOMED CT code, its old SNOMED-RT code, and the defined terms of
# (0018,5101) View Position (PS3.3 C.8.11.7).
VIEW_CODES: Mapping[str, str] = {
    "399162004": "CC", "R-10242": "CC",
    "399368009": "MLO", "R-10226": "MLO",
    "399260004": "ML", "R-10224": "ML",
    "399352003": "LM", "R-10228": "LM",
    "399099002": "LMO", "R-10230": "LMO",
    "399196006": "FB", "R-10244": "FB",
    "399188001": "SIO", "R-102D0": "SIO",
    "441555000": "ISO", "R-40AAA": "ISO",
    "399192008": "XCCL", "R-1024A": "XCCL",
    "399101009": "XCCM", "R-1024B": "XCCM",
    "127457009": "SPECIMEN", "G-8310": "SPECIMEN",
}  # fmt: skip
_MAGNIFICATION_CODES = {"399163009", "R-102D6"}  # PS3.16 CID 4015 View Modifier: magnification
_MODIFIED = re.compile(r"(CC|MLO|ML|LM)[A-Z]{1,2}")
_OTHER_VIEWS = {"XCC", "AT", "CV", "RL", "RM", "TAN"}  # in use, though no defined terms


@dataclass(frozen=True)
class DicomFacts:
    """The header facts of ``Mammogram``; see there."""

    laterality: str | None
    view: str | None
    patient_id: str
    study_id: str
    spacing_mm: tuple[float, float] | None
    spacing_source: str | None
    sop_instance_uid: str | None
    manufacturer: str | None
    age: int | None
    notes: tuple[str, ...]


def read_facts(data: Dataset, path: Path, identify_by: IdentifyBy) -> DicomFacts:
    """Read the header facts of a mammogram."""
    notes: list[str] = []
    if text(data, "Modality") is None:
        notes.append("(0008,0060) Modality is missing: taken as a mammogram")
    spacing, source = _spacing(data, notes)
    if _is_magnified(data):
        factor = number(data, "EstimatedRadiographicMagnificationFactor")
        known = f" (factor {factor:g})" if factor and factor < 100 else ""
        notes.append(f"magnification view{known}: spacing is from {source or 'nowhere'}")
    study = text(data, "StudyInstanceUID") or path.absolute().parent.name
    return DicomFacts(
        laterality=_laterality(data),
        view=_view(data),
        patient_id=_patient_id(data, study, identify_by, notes),
        study_id=study,
        spacing_mm=spacing,
        spacing_source=source,
        sop_instance_uid=text(data, "SOPInstanceUID"),
        manufacturer=text(data, "Manufacturer"),
        age=_age(data),
        notes=tuple(notes),
    )


def element(data: Dataset, keyword: str) -> Any:
    """Return the value of an element; None when it is missing, empty or cannot be converted."""
    try:
        value = data.get(keyword)
    except Exception:  # a value that its representation forbids, such as "abc" for a number
        return None
    return None if value is None or value == "" else value


def text(data: Dataset, keyword: str) -> str | None:
    """Return the first value of a text element, stripped, or None.

    Names of persons, sequences and raw bytes are no text, even where a damaged header has them.
    """
    value = element(data, keyword)
    if isinstance(value, list | pydicom.multival.MultiValue):
        value = value[0] if len(value) else None
    if not isinstance(value, str | int | float):
        return None
    return str(value).replace("\0", "").strip() or None


def shown(value: str | float | None) -> str | float | None:
    """Return a value for a message; what has not the form of a code or a count could be a name or a date."""
    if isinstance(value, str):
        coded = r"[A-Z]{2,4}|YBR_\w+|PALETTE COLOR|MONOCHROME\d|[0-9.]{9,64}"
        return value if re.fullmatch(coded, value) and not value.isdecimal() else "another value"
    return value if value is None or abs(value) < 1e6 else "another value"


def numbers(data: Dataset, keyword: str) -> list[float]:
    """Return the finite values of a numeric element; an empty list when there are none."""
    value = element(data, keyword)
    if value is None:
        return []
    several = value if isinstance(value, list | pydicom.multival.MultiValue) else [value]
    found = []
    for one in several:
        try:
            converted = float(one)
        except (TypeError, ValueError):
            return []
        if not math.isfinite(converted):
            return []
        found.append(converted)
    return found


def number(data: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric element, or None."""
    values = numbers(data, keyword)
    return values[0] if values else None


def items(data: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; an empty list when there are none."""
    value = element(data, keyword)
    return list(value) if isinstance(value, pydicom.Sequence) else []


def _laterality(data: Dataset) -> str | None:
    # Image Laterality belongs to the image; Laterality to the whole series, which may hold both sides.
    for keyword in ("ImageLaterality", "Laterality"):
        side = (text(data, keyword) or "").upper()
        if side in {"L", "R", "LEFT", "RIGHT"}:
            return side[0]
    return None


def _view(data: Dataset) -> str | None:
    position = re.sub(r"[^A-Z]", "", (text(data, "ViewPosition") or "").upper())
    names = [position, position[1:]] if position[:1] in {"L", "R"} else [position]  # "RCC", "L MLO"
    known = {*VIEW_CODES.values(), *_OTHER_VIEWS}
    # Up to two letters more tell a modifier: CCID with the implant displaced, MLOM magnified.
    for name in [one for one in names if one in known] + [one for one in names if _MODIFIED.fullmatch(one)]:
        return name
    for item in items(data, "ViewCodeSequence"):
        code = text(item, "CodeValue") or ""
        if code in VIEW_CODES:
            return VIEW_CODES[code]
    return None


def _is_magnified(data: Dataset) -> bool:
    views = items(data, "ViewCodeSequence")
    modifiers = [code for view in views for code in items(view, "ViewModifierCodeSequence")]
    modifiers += items(data, "ViewModifierCodeSequence")
    if any(text(code, "CodeValue") in _MAGNIFICATION_CODES for code in modifiers):
        return True
    # Contact views have factors up to about 1.1, because the detector lies below the breast support.
    return (number(data, "EstimatedRadiographicMagnificationFactor") or 1.0) > 1.25


def _spacing(data: Dataset, notes: list[str]) -> tuple[tuple[float, float] | None, str | None]:
    # Imager Pixel Spacing always lies at the detector, so it is comparable across files; Pixel Spacing may or
    # may not be corrected for magnification (PS3.3 10.7.1.3).
    for keyword in ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing"):
        values = numbers(data, keyword)
        if len(values) == 2 and min(values) > 0:
            return (values[0], values[1]), keyword
        if element(data, keyword) is not None:
            notes.append(f"{keyword} is no pair of positive numbers: ignored")
    return None, None


def _patient_id(data: Dataset, study: str, identify_by: IdentifyBy, notes: list[str]) -> str:
    patient = text(data, "PatientID")
    if identify_by == "uid":
        # Without a UID the study is called by its folder, and folders are often called by the patient.
        return study if text(data, "StudyInstanceUID") else hash_id(study)
    if patient is None:
        notes.append("(0010,0020) Patient ID is empty: the study stands for the patient")
        patient = study
    return hash_id(patient) if identify_by == "hash" else patient


def hash_id(identity: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of an id: the same id gives the same hash everywhere.

    The hash is not salted: whoever can list the ids of a hospital can hash them all and look the patient up.
    It keeps names out of sight; it is no anonymisation.
    """
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _age(data: Dataset) -> int | None:
    match = re.fullmatch(r"(\d{1,3})([YMWD]?)", text(data, "PatientAge") or "")
    if not match:
        return None
    per_year = {"Y": 1, "": 1, "M": 12, "W": 52, "D": 365}
    years = int(match[1]) // per_year[match[2]]
    return years if 0 < years <= 120 else None
