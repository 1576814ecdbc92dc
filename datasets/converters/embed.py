"""EMBED Open Data of Emory University: 2D mammograms with boxes that radiologists drew (Jeong et al. 2023).

Layout and codes as in the makers' README, clinical legend and sample notebooks:

    ROOT/tables/EMBED_OpenData_metadata.csv    one row per file; ROI_coords are (ymin, xmin, ymax, xmax)
    ROOT/tables/EMBED_OpenData_clinical.csv    one row per finding (``embed_findings``)
    ROOT/images/cohort_1/PATIENT/STUDY/SERIES/UID.dcm

The tables may also lie in ROOT itself. Only images whose FinalImageType is 2D are used: the pixels of
synthetic ones (cview) are computed from tomosynthesis, and their boxes were copied from the 2D image, or to
it. Boxes end at ymax and xmax; whether these belong to the box is not told, a matter of one pixel.

Tissue goes before BI-RADS. ``path_severity`` 0 invasive and 1 in situ are malignant; 2 high-risk, 3
borderline, 4 benign and 5 normal tissue are benign; 6, a cancer that is none of the breast, is neither.
Without tissue the BI-RADS of ``asses`` counts: N 1, B 2, P 3, S 4, M 5, K 6; A (0) and X tell nothing. A
breast without a row in an exam that is called bilateral has an implied negative one, as in the makers' own
tools.

Boxes are not linked to findings. A box is benign or malignant when all findings of its breast but negative
ones agree. Otherwise it has ``ignore: 1`` and is called malignant when one of them is, else benign. Most
boxes are of recalled women (A) of whom no tissue was taken.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mammodet.datasets.coco import BENIGN, MALIGNANT
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Lesion, Source
from mammodet.datasets.converters.embed_findings import Exam, Finding, read_exams, worst
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.shapes import box
from mammodet.datasets.converters.tables import Row, iter_csv

_REQUIRED = (
    "anon_dicom_path",
    "empi_anon",
    "acc_anon",
    "ImageLateralityFinal",
    "FinalImageType",
    "ROI_coords",
)
_OPTIONAL = ("ViewPosition", "spot_mag", "num_roi", "num_ROI", "match_level", "Rows", "Columns")
_LONGEST_CELL = 10_000  # a box has about 25 characters; far longer literals can exhaust the parser
_LONGEST_SIDE = 65_535  # of a DICOM image


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterable[Film]:
    """Yield one film per 2D image of the metadata, with the truth that the clinical rows give its breast."""
    exams = read_exams(_table(files.root, "clinical"), audit)
    seen: set[str] = set()
    for row in iter_csv(_table(files.root, "metadata"), required=_REQUIRED, keep=(*_REQUIRED, *_OPTIONAL)):
        path = PurePosixPath(row.code("anon_dicom_path").replace("\\", "/"))
        kind = row.code("FinalImageType")
        if not path.name:
            raise row.error("anon_dicom_path", "the path is missing")
        if kind != "2D":
            audit.drop(f"the image type is {kind or 'missing'}, not 2D", path.name)
        elif str(path) in seen:
            audit.drop("a second row of one file", path.name)
        else:
            seen.add(str(path))
            found = files.find_tail(str(path)) or files.find(path.stem)  # the stem: exported as PNG
            if found is None:
                yield Film(
                    path.name
                )  # the flow tells that it is missing; many take a part of the images only
                continue
            exam = exams.get((row.code("empi_anon"), row.code("acc_anon")), Exam())
            yield _film(files.name(found), row, exam, audit, options)


def _table(root: Path, kind: str) -> Path:
    """Return where a table lies; the reduced one, of fewer columns, will do."""
    names = [f"EMBED_OpenData_{kind}{suffix}.csv" for suffix in ("", "_reduced")]
    places = [folder / name for name in names for folder in (root / "tables", root)]
    return next((path for path in places if path.is_file()), places[0])


def _film(name: str, row: Row, exam: Exam, audit: Audit, options: Options) -> Film:
    side = row.code("ImageLateralityFinal")
    findings = exam.findings(side, options)
    label = worst(finding.label for finding in findings)
    if not findings and exam.bilateral and side in exam.rows:
        label = "normal"
        audit.note("no clinical row of this breast in an exam of both: taken as negative", name)
    elif not findings:
        audit.note("no clinical row of this breast: its label is unknown", name)
    special = row.code("spot_mag") == "1"
    if special:
        audit.note("a spot compression or magnification view", name)
    keys = {
        "patient_id": row.code("empi_anon") or None,
        "study_id": row.code("acc_anon") or None,
        "laterality": side if side in exam.rows else None,
        "view": row.code("ViewPosition") or None,
        "label": label,
        "provenance": {"spot_mag": special},
        **exam.keys,
    }
    return Film(name, _lesions(name, row, findings, audit), keys, size=_size(row))


def _size(row: Row) -> tuple[int, int] | None:
    """Return (width, height) of the file that the boxes were drawn on, where the table states them."""
    if not row.code("Columns") or not row.code("Rows"):
        return None
    width, height = int(row.number("Columns")), int(row.number("Rows"))
    return (width, height) if min(width, height) > 0 and max(width, height) <= _LONGEST_SIDE else None


def _lesions(name: str, row: Row, findings: Sequence[Finding], audit: Audit) -> list[Lesion]:
    rois = _rois(row)
    stated = row.code("num_roi") or row.code("num_ROI")
    if stated not in {"", str(len(rois))}:
        audit.note("num_roi differs from the boxes of ROI_coords: these are taken", f"{name} ({stated})")
    category, keys = _truth([finding for finding in findings if finding.label != "normal"])
    if rois and "ignore" in keys:
        audit.note("boxes ignored: the findings of the breast differ, or nothing decides", name)
    levels = re.findall(r"\b[12]\b", row.code("match_level"))
    lesions = []
    for number, (top, left, bottom, right) in enumerate(rois):
        level = {"match_level": int(levels[number])} if len(levels) == len(rois) else {}
        shape = box(left, top, right - left, bottom - top)
        lesions.append(Lesion(shape, category, {**keys, "provenance": level}))
    return lesions


def _truth(marked: Sequence[Finding]) -> tuple[int, dict[str, Any]]:
    """Return the category and the keys that every box of a breast with these findings has."""
    labels = {finding.label for finding in marked}
    birads = {finding.birads for finding in marked}
    kinds = {finding.kinds for finding in marked}
    keys: dict[str, Any] = {}
    if len(kinds) == 1 and len(marked[0].kinds) == 1:
        keys["finding"] = next(iter(marked[0].kinds))
    if len(birads) == 1 and None not in birads:
        keys["birads"] = birads.pop()
    if len(labels) != 1 or None in labels:
        keys["ignore"] = 1
    elif all(finding.tissue for finding in marked):
        keys["pathology"] = marked[0].label
    return MALIGNANT if "malignant" in labels else BENIGN, keys


def _rois(row: Row) -> list[Sequence[float]]:
    """Read the cell of boxes; never ``eval``, the file may come from anywhere."""
    cell = row.code("ROI_coords") or "()"
    try:
        found = ast.literal_eval(cell) if len(cell) <= _LONGEST_CELL else None
        return _boxes(ast.literal_eval(found) if isinstance(found, str) else found)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, OverflowError):
        remedy = "boxes look like ((1245, 610, 1502, 866),): ymin, xmin, ymax, xmax"
        raise row.error("ROI_coords", "is no list of boxes", remedy) from None


def _boxes(value: Any) -> list[Sequence[float]]:
    """Return the boxes of nested lists: some real cells have one level too many, or a single box has none."""
    if not isinstance(value, list | tuple):
        raise TypeError("no list")
    if len(value) == 4 and not any(isinstance(part, list | tuple) for part in value):
        if not all(math.isfinite(part) for part in value):
            raise ValueError("no number")
        return [value]
    return [found for part in value for found in _boxes(part)]


SOURCE = Source(
    dataset="EMBED",
    films=films,
    category_rule=(
        "tissue before BI-RADS: path_severity 0, 1 malignant, 2 to 5 benign, 6 (another cancer) unknown; "
        "without tissue BI-RADS (asses): from 2 to benign_up_to benign, from malignant_from malignant, A "
        "and X unknown; boxes are ignored unless all findings of their breast but negative ones agree; an "
        "image has the worst label of its breast, normal where all findings are negative (N)"
    ),
    reference="Jeong et al. 2023, Radiology: Artificial Intelligence 5(1), e220047",
)
