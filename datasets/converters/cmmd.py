"""CMMD, the Chinese Mammography Database: one label per breast, no boxes (Cui et al. 2021, TCIA).

    ROOT/CMMD_clinicaldata_revision.csv    ID1, LeftRight, Age, number, abnormality, classification, subtype
    ROOT/CMMD/D1-0001/07-18-2010-.../1.000000-.../1-1.dcm

The table comes as .xlsx: save it as CSV. One row is one breast that was biopsied; which of a woman's files
show it is told by their headers only. The patient of a file is the Patient ID of its header or, for files
without one, a folder that is called like an ID1. The other breast of a woman has no row: its label is
unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Source
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.header import header_keys
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.tables import Row, read_csv
from mammodet.datasets.dicom import hash_id
from mammodet.datasets.errors import InputError
from mammodet.datasets.filenames import parse_stem

_REQUIRED = ("ID1", "LeftRight", "classification")
_KEPT = ("abnormality", "subtype", "number")  # as they are, in the provenance

_Breast = tuple[str, str]  # patient, side


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterable[Film]:
    """Yield one film per file of the patients in the table."""
    audit.note("labels of breasts only, no boxes", "CMMD")
    breasts = _read_breasts(files.root)
    patients = {name: patient for patient, _ in breasts for name in (patient.lower(), hash_id(patient))}
    untaken = dict(breasts)
    for path in files.paths:
        name = files.name(path)
        try:
            header = header_keys(path)
        except InputError:  # told when the flow reads it
            yield Film(name, rows=0)
            continue
        candidates = (header.get("patient_id", ""), *(part.lower() for part in name.split("/")[:-1]))
        patient = next((patients[one] for one in candidates if one in patients), None)
        if patient is not None:
            side = header.get("laterality") or parse_stem(path.stem).laterality
            rows = breasts.get((patient, side or ""), [])
            taken = untaken.pop(
                (patient, side or ""), []
            )  # each row counts once, for the first film of its breast
            keys = {"patient_id": patient, "laterality": side, **_keys(name, side, rows, audit)}
            yield Film(name, (), keys, rows=len(taken))
    for (patient, side), rows in untaken.items():
        audit.drop("no image of this breast", f"{patient} {side}", len(rows))


def _read_breasts(root: Path) -> Mapping[_Breast, list[Row]]:
    tables = sorted(root.glob("CMMD_clinicaldata_revision*.csv"))
    if len(tables) != 1:
        problem = "there are several such tables" if tables else "no such file"
        remedy = "save CMMD_clinicaldata_revision.xlsx as CSV UTF-8 of this name, and keep no other"
        raise InputError(problem, file=root / "CMMD_clinicaldata_revision.csv", remedy=remedy)
    breasts: defaultdict[_Breast, list[Row]] = defaultdict(list)
    for row in read_csv(tables[0], required=_REQUIRED):
        if not row.code("ID1"):
            raise row.error("ID1", "the patient is missing")
        if row.code("LeftRight").upper() not in {"L", "R"}:
            raise row.error("LeftRight", "is no side", "sides are L and R")
        if row.code("classification").lower() not in {"benign", "malignant"}:
            raise row.error("classification", "is no class", "classes are Benign and Malignant")
        breasts[row.code("ID1"), row.code("LeftRight").upper()].append(row)
    return breasts


def _keys(name: str, side: str | None, rows: Sequence[Row], audit: Audit) -> Mapping[str, Any]:
    """Return the keys that the rows of a breast give its images."""
    if not rows:
        told = "no row of this breast" if side else "neither header nor name tells the side"
        audit.note(f"{told}: label unknown", name)
        return {}
    if len({row.code("classification").lower() for row in rows}) > 1:
        audit.note("the breast is benign in one row and malignant in another: malignant", name)
    provenance = {column: "; ".join(row.code(column) for row in rows if row.code(column)) for column in _KEPT}
    return {
        "label": max(row.code("classification").lower() for row in rows),  # "malignant" > "benign"
        "age": int(rows[0].number("Age")) if rows[0].code("Age") else None,
        "provenance": {column: value for column, value in provenance.items() if value},
    }


SOURCE = Source(
    dataset="CMMD",
    films=films,
    category_rule="image labels: the classification of the breast, by biopsy; without a row for it unknown",
    reference="Cui et al. 2021, The Cancer Imaging Archive, doi:10.7937/tcia.eqde-4b16",
)
