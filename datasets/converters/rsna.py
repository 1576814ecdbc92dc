"""RSNA Screening Mammography Breast Cancer Detection (2022): one label per breast, no boxes.

    ROOT/train.csv, test.csv
    ROOT/train_images/PATIENT/IMAGE.dcm

PNG exports are found as PATIENT/IMAGE.png, PATIENT_IMAGE.png and IMAGE.png. Malignant is a breast with
``cancer`` 1, benign one with ``cancer`` 0 of which a ``biopsy`` was taken, normal any other. BIRADS here is
0 recalled, 1 negative, 2 normal, and often missing: it is kept in the provenance and decides nothing. The
public test.csv has no truth: labels of its images are unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Source
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.tables import Row, read_csv

_REQUIRED = ("patient_id", "image_id", "laterality", "view")
_TRUTH = ("cancer", "biopsy")
_KEPT = ("BIRADS", "invasive", "biopsy", "implant", "difficult_negative_case", "site_id", "machine_id")


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterable[Film]:
    """Yield one film per row of train.csv and, where there is one, test.csv."""
    audit.note("labels of breasts only, no boxes", "RSNA")
    stems = {path.stem.lower() for path in files.paths}
    for split in ("train", "test"):
        path = files.root / f"{split}.csv"
        if split == "test" and not path.is_file():
            continue
        required = (*_REQUIRED, *_TRUTH) if split == "train" else _REQUIRED
        for row in read_csv(path, required=required):
            yield Film(_name(row, files, stems), (), {"split": split, **_keys(row, audit)})


def _name(row: Row, files: ImageFiles, stems: set[str]) -> str:
    """Return the path of a row's file, or a stem for the flow to find."""
    patient, image = row.code("patient_id"), row.code("image_id")
    if not patient or not image:
        raise row.error("image_id" if patient else "patient_id", "the id is missing")
    inside = [path for path in files.below(patient) if path.stem.lower() == image.lower()]
    if len(inside) == 1:
        return files.name(inside[0])
    return f"{patient}_{image}" if f"{patient}_{image}".lower() in stems else image


def _keys(row: Row, audit: Audit) -> dict[str, Any]:
    if row.code("laterality") not in {"L", "R"}:
        raise row.error("laterality", "is no side", "sides are L and R")
    density = row.code("density").upper() or None
    if density not in {None, "A", "B", "C", "D"}:
        raise row.error("density", "is no density", "densities are A to D")
    kept = {column: row.code(column) for column in _KEPT if row.code(column)}
    return {
        "patient_id": row.code("patient_id"),
        "laterality": row.code("laterality"),
        "view": row.code("view") or None,
        "density": density,
        "age": int(row.number("age")) if row.code("age") else None,
        "label": _label(row, audit),
        "provenance": kept,
    }


def _label(row: Row, audit: Audit) -> str | None:
    if "cancer" not in row.cells:
        audit.note("no truth in the public test.csv: label unknown", row.code("image_id"))
        return None
    for column in _TRUTH:
        if row.code(column) not in {"0", "1"}:
            raise row.error(column, "must be 0 or 1")
    if row.code("cancer") == "1":
        return "malignant"
    return "benign" if row.code("biopsy") == "1" else "normal"


SOURCE = Source(
    dataset="RSNA Screening Mammography",
    films=films,
    category_rule="image labels: cancer 1 malignant; cancer 0 with a biopsy benign, without one normal",
    reference="RSNA Screening Mammography Breast Cancer Detection AI Challenge, 2022",
)
