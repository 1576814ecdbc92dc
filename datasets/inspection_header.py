"""What the header of one DICOM mammogram tells, and where it contradicts itself.

Ids leave as hashes. Names, birth dates and accession numbers do not leave at all: only that they are there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID

from mammodet.datasets.dicom import (
    element,
    hash_id,
    items,
    number,
    numbers,
    read_facts,
    text,
)
from mammodet.datasets.dicom_check import check_mammogram, is_for_processing
from mammodet.datasets.errors import InputError
from mammodet.datasets.filenames import parse_stem
from mammodet.datasets.inspection_view import split_view, view_modifiers, view_problems
from mammodet.datasets.problem import Problem, problem
from mammodet.datasets.standardise import Recipe

_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
_TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"  # and .1 to .4, its multi-frame forms
_EVERYTHING = Recipe(allow_for_processing=True, allow_secondary_capture=True)

_IDENTIFYING: Mapping[str, str] = {
    "PatientName": "a patient's name",
    "PatientBirthDate": "a birth date",
    "AccessionNumber": "an accession number",
}


def header_facts(data: Dataset, path: Path) -> dict[str, Any]:
    """Return the facts of ``Inspection`` that a header tells; unknown ones are left out."""
    syntax = text(data.file_meta, "TransferSyntaxUID") if hasattr(data, "file_meta") else None
    sop_class = text(data, "SOPClassUID")
    named = parse_stem(path.stem)
    read = read_facts(data, path, "uid")
    side, (view, suffix) = read.laterality, split_view(read.view)
    modifiers = view_modifiers(data) | ({suffix} if suffix else set())
    if any(note.startswith("magnification view") for note in read.notes):
        modifiers.add("magnification")
    magnification = number(data, "EstimatedRadiographicMagnificationFactor")
    facts = {
        "modality": text(data, "Modality"),
        "sop_class": None if sop_class is None else UID(sop_class).name,
        "presentation_intent": text(data, "PresentationIntentType"),
        "photometric": text(data, "PhotometricInterpretation"),
        "presentation_lut_shape": text(data, "PresentationLUTShape"),
        "transfer_syntax": None if syntax is None else UID(syntax).name,
        "bit_depth": _whole(number(data, "BitsStored")),
        "frames": _whole(number(data, "NumberOfFrames")),
        "laterality": side or named.laterality,
        "laterality_source": "header" if side else "file name" if named.laterality else None,
        "view": view or named.view,
        "view_source": "header" if view else "file name" if named.view else None,
        "view_modifiers": sorted(modifiers) or None,
        "patient_id": _hashed(data, "PatientID"),
        "study_id": _hashed(data, "StudyInstanceUID"),
        "series_id": _hashed(data, "SeriesInstanceUID"),
        "sop_instance": _hashed(data, "SOPInstanceUID"),
        "imager_pixel_spacing_mm": _pair(data, "ImagerPixelSpacing"),
        "pixel_spacing_mm": _pair(data, "PixelSpacing"),
        "scanned_pixel_spacing_mm": _pair(data, "NominalScannedPixelSpacing"),
        "magnification_factor": magnification,
        "patient_orientation": _orientation(data),
        "manufacturer": text(data, "Manufacturer"),
        "model": text(data, "ManufacturerModelName"),
        "implant": _yes(data, "BreastImplantPresent"),
        "burned_in": _yes(data, "BurnedInAnnotation"),
        "lossy": _is_lossy(data, syntax) or None,
        "lossy_ratio": max(numbers(data, "LossyImageCompressionRatio"), default=None),
        "windows": len(numbers(data, "WindowCenter")) or None,
        "voi_luts": len(items(data, "VOILUTSequence")) or None,
        "padding_value": _whole(number(data, "PixelPaddingValue")),
        "identifying": [keyword for keyword in _IDENTIFYING if _tells(data, keyword)] or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def header_problems(data: Dataset, facts: Mapping[str, Any], path: Path) -> list[Problem]:
    """Return what is odd about a header; ``facts`` are those of ``header_facts``."""
    found = _kind_problems(data, facts, path)
    if any(one.severity == "error" for one in found):
        return found
    checks = (_photometric, view_problems, _spacing, _compression, _people)
    for check in checks:
        found += check(data, facts)
    return found + _side_problems(data, facts, path)


def secrets(data: Dataset) -> list[str]:
    """Return the values that must not be written anywhere, longest first, to strike them out of messages.

    The parts of a name are struck out one by one, unless it is the patient's pseudonym.
    """
    found = {_raw(data, keyword) for keyword in ("PatientID", "OtherPatientIDs")}
    for keyword in _IDENTIFYING:
        value = _raw(data, keyword)
        found |= {value, *re.split(r"[\^=\s]+", value)} if _tells(data, keyword) else {value}
    return sorted((one for one in found if len(one) >= 3), key=len, reverse=True)


def _kind_problems(data: Dataset, facts: Mapping[str, Any], path: Path) -> list[Problem]:
    sop_class = text(data, "SOPClassUID") or ""
    modality = facts.get("modality")
    called = facts.get("sop_class", "no SOP class")
    if sop_class == _TOMOSYNTHESIS or (modality in {None, "MG"} and (facts.get("frames") or 1) > 1):
        count = facts.get("frames")
        return [problem("tomosynthesis", f"tomosynthesis{f' of {count} slices' if count else ''}")]
    if not _is_mammography(data, path):
        return [problem("not-mammography", f"modality {modality} ({called})")]
    if number(data, "Rows") is None and number(data, "Columns") is None:
        return [problem("no-pixels", f"holds no image ({called})")]
    found = []
    if sop_class.startswith(_SECONDARY) or modality in {"SC", "OT"}:
        found.append(problem("secondary-capture", f"stored as {called} of modality {modality}"))
    if is_for_processing(data):
        found.append(problem("for-processing", "raw image, FOR PROCESSING"))
    elif sop_class == _FOR_PROCESSING:
        found.append(problem("for-processing", "SOP class For Processing, yet intent FOR PRESENTATION"))
    return found


def _is_mammography(data: Dataset, path: Path) -> bool:
    try:
        check_mammogram(data, path, _EVERYTHING)
    except InputError as error:
        return "Modality" not in (error.field or "")
    return True


def _photometric(data: Dataset, facts: Mapping[str, Any]) -> list[Problem]:
    photometric, shape = facts.get("photometric"), (facts.get("presentation_lut_shape") or "").upper()
    if photometric == "MONOCHROME1" and shape == "INVERSE":
        return [problem("double-inversion", "MONOCHROME1 with Presentation LUT Shape INVERSE")]
    # PS3.3 C.8.11.3.1.4 ties the two together: IDENTITY with MONOCHROME2, INVERSE with MONOCHROME1.
    if (photometric, shape) in {("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")}:
        return [problem("photometric-conflict", f"{photometric} with Presentation LUT Shape {shape}")]
    return []


def _side_problems(data: Dataset, facts: Mapping[str, Any], path: Path) -> list[Problem]:
    image, series = _side(data, "ImageLaterality"), _side(data, "Laterality")
    named = parse_stem(path.stem)
    found = []
    if "laterality" not in facts:
        found.append(problem("no-side", "neither header nor file name tells the side"))
    if "view" not in facts and not text(data, "ViewPosition"):
        found.append(problem("no-view", "neither header nor file name tells the view"))
    if image and series and image != series:
        found.append(problem("side-conflict", f"Image Laterality {image}, yet Laterality {series}"))
    told = image or series
    if told and named.laterality and told != named.laterality:
        found.append(problem("side-conflict", f"header says {told}, file name {named.laterality}"))
    view = facts.get("view") if facts.get("view_source") == "header" else None
    if view and named.view and view != named.view:
        found.append(problem("view-conflict", f"header says {view}, file name {named.view}"))
    return found


def _spacing(data: Dataset, facts: Mapping[str, Any]) -> list[Problem]:
    imager, pixel = facts.get("imager_pixel_spacing_mm"), facts.get("pixel_spacing_mm")
    used = imager or pixel or facts.get("scanned_pixel_spacing_mm")
    if used is None:
        return [problem("no-spacing", "the header tells no pixel size")]
    found = []
    factor = facts.get("magnification_factor") or 1.0
    if imager and pixel:
        ratio = imager[0] / pixel[0]
        # PS3.3 10.7.1.3: Pixel Spacing is that of the detector, or corrected for the magnification.
        if abs(ratio - 1) > 0.01 and abs(ratio / factor - 1) > 0.01:
            shown = f"Imager Pixel Spacing {imager[0]:g} mm, Pixel Spacing {pixel[0]:g} mm"
            found.append(problem("spacing-conflict", f"{shown}, magnification {factor:g}"))
    if abs(used[0] / used[1] - 1) > 0.01:
        found.append(problem("odd-spacing", f"pixels of {used[0]:g} x {used[1]:g} mm are not square"))
    height = (number(data, "Rows") or 0) * used[0]
    if not 0.02 <= used[0] <= 0.5 or height > 450:
        found.append(problem("odd-spacing", f"pixels of {used[0]:g} mm make the image {height:.0f} mm high"))
    return found


def _compression(data: Dataset, facts: Mapping[str, Any]) -> list[Problem]:
    found = []
    ratio = facts.get("lossy_ratio")
    if facts.get("lossy"):
        if (ratio or 0) > 25:
            found.append(problem("strong-compression", f"lossy compression, ratio {ratio:g}"))
        else:
            found.append(problem("lossy", f"lossy compression{f', ratio {ratio:g}' if ratio else ''}"))
    if facts.get("burned_in"):
        found.append(problem("burned-in", "the header says that text is burned into the pixels"))
    depth = facts.get("bit_depth")
    if depth is not None and depth <= 8:
        found.append(problem("8-bit", f"{depth} bits per pixel"))
    return found


def _people(data: Dataset, facts: Mapping[str, Any]) -> list[Problem]:
    found = []
    if "patient_id" not in facts:
        found.append(problem("no-patient", "Patient ID is empty"))
    told = [_IDENTIFYING[keyword] for keyword in facts.get("identifying", ())]
    if told:
        found.append(problem("identifying", f"the header holds {', '.join(told)}"))
    return found


def _tells(data: Dataset, keyword: str) -> bool:
    """Tell whether an element holds something that looks real, not what de-identification leaves."""
    value = _raw(data, keyword)
    if not re.search(r"[1-9A-Za-z\u0080-\uffff]", value):
        return False
    if re.match(r"(?i)(anon|removed|deleted|unknown|none|n/a|xxx|pseudo)", value):
        return False
    return re.sub(r"[^0-9A-Za-z]", "", value) != re.sub(r"[^0-9A-Za-z]", "", text(data, "PatientID") or "")


def _raw(data: Dataset, keyword: str) -> str:
    """Return an element that must not leave, as text; ``text`` refuses names."""
    value = element(data, keyword)
    return "" if value is None else str(value).replace("\0", "").strip()


def _side(data: Dataset, keyword: str) -> str | None:
    side = (text(data, keyword) or "").upper()[:1]
    return side if side in {"L", "R"} else None


def _orientation(data: Dataset) -> str | None:
    value = data.get("PatientOrientation")
    parts = [str(part) for part in value] if value is not None and not isinstance(value, str) else []
    return (
        "\\".join(parts) if len(parts) == 2 and re.fullmatch(r"[APRLHF]{0,3}", "".join(parts)[:3]) else None
    )


def _is_lossy(data: Dataset, syntax: str | None) -> bool:
    lossy_syntaxes = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"}
    return syntax in lossy_syntaxes or text(data, "LossyImageCompression") == "01"


def _pair(data: Dataset, keyword: str) -> list[float] | None:
    values = numbers(data, keyword)
    return values if len(values) == 2 and min(values) > 0 else None


def _hashed(data: Dataset, keyword: str) -> str | None:
    value = text(data, keyword)
    return None if value is None else hash_id(value)


def _yes(data: Dataset, keyword: str) -> bool | None:
    return True if (text(data, keyword) or "").upper() == "YES" else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
