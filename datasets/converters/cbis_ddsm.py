"""CBIS-DDSM: 3,103 scanned films with a mask and proven pathology per lesion (Lee et al. 2017).

Read are the four tables ``{calc,mass}_case_description_{train,test}_set.csv``, one row per lesion, wherever
they lie below the root, and the DICOM files of any kind of download (``cbis_ddsm_files``). MALIGNANT is
malignant, BENIGN and BENIGN_WITHOUT_CALLBACK are benign; an image takes its worst lesion.

- One mask is one lesion, also when it is in several parts. Masks of another size than their image are
  rescaled when they have its shape, and refused otherwise: a film with further lesions stays, with the
  refused one under ``findings_without_box``.
- A film with calcifications and masses is published twice, as ``Calc-...`` and as ``Mass-...``, even once for
  training and once for testing; each copy lacks the other's lesions. Copies with the same pixels become one
  image with the lesions of both, in the later split.
- Lesions of one breast and kind with one abnormality id in CC and MLO have one ``lesion_id``: the data set
  numbers them so, and it was not checked that it always does.
- Every image has a study UID of its own, so studies are told by the patient: one exam each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammodet.datasets.coco import BENIGN, CATEGORY_NAMES, MALIGNANT
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Lesion, Source
from mammodet.datasets.converters.cbis_ddsm_files import find_mask, image_file, is_named, same_pixels
from mammodet.datasets.converters.documents import document
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.options import Options, parse_birads
from mammodet.datasets.converters.shapes import fit_mask, whole_mask
from mammodet.datasets.converters.tables import Row, read_csv
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import image_size

TABLES = {
    f"{kind}_case_description_{split}_set.csv": split
    for split in ("train", "test")
    for kind in ("calc", "mass")
}
_IMAGE, _MASK, _CROP = "image file path", "ROI mask file path", "cropped image file path"
_VALUES: Mapping[str, Mapping[str, Any]] = {  # column: what its words stand for
    "left or right breast": {"LEFT": "L", "RIGHT": "R"},
    "image view": {"CC": "CC", "MLO": "MLO"},
    "abnormality type": {"calcification": "calc", "mass": "mass"},
    "pathology": {"MALIGNANT": MALIGNANT, "BENIGN": BENIGN, "BENIGN_WITHOUT_CALLBACK": BENIGN},
}
_COLUMNS = ("patient_id", "abnormality id", "assessment", "subtlety", _IMAGE, _MASK, _CROP, *_VALUES)
_DESCRIBED = ("calc type", "calc distribution", "mass shape", "mass margins")


@dataclass(frozen=True)
class _Copy:
    """One published file of a film, with the rows about it."""

    path: Path
    size: tuple[int, int]
    rows: Sequence[Row]

    @property
    def split(self) -> str:
        return TABLES[self.rows[0].file.name.lower()]


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterator[Film]:
    """Yield one film per mammogram of the tables, with the lesions of all its copies."""
    tables = {name: document(files, name) for name in TABLES}
    if not any(tables.values()):
        remedy = f"put {', '.join(TABLES)} into this folder"
        raise InputError("none of the tables of CBIS-DDSM is there", file=files.root, remedy=remedy)
    views: defaultdict[tuple[str, ...], defaultdict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for name, table in tables.items():
        if table is None:
            audit.note("a table is not there, its lesions are missing", name)
            continue
        for row in read_csv(table, required=_COLUMNS):
            if not row.cells["patient_id"]:
                raise row.error("patient_id", "is missing")
            side, view, _, _ = (_value(row, column) for column in _VALUES)
            views[row.cells["patient_id"], side, view]["".join(row.cells[_IMAGE].split())].append(row)
    for place, images in views.items():
        yield from _films_of_view(files, audit, "-".join(place), images)


def _value(row: Row, column: str) -> Any:
    if row.cells[column] not in _VALUES[column]:
        raise row.error(column, f"must be {' or '.join(_VALUES[column])}")
    return _VALUES[column][row.cells[column]]


def _films_of_view(
    files: ImageFiles, audit: Audit, view: str, images: Mapping[str, Sequence[Row]]
) -> Iterable[Film]:
    groups: list[list[_Copy]] = []
    for name, rows in images.items():
        try:
            path = image_file(files, name)
            files.use(path)
            copy = _Copy(path, image_size(path), rows)
        except InputError as error:
            audit.drop(error.problem, name, len(rows))
            audit.without_pixels.append(name)
            continue
        group = next((one for one in groups if _is_same(one[0], copy, files, audit)), None)
        groups.append([copy]) if group is None else group.append(copy)
    if len(groups) > 1:
        audit.note("several films of one breast and view, of different pixels: kept apart", view)
    made = (_film(files, audit, group) for group in groups)
    return [film for film in made if film is not None]


def _is_same(one: _Copy, other: _Copy, files: ImageFiles, audit: Audit) -> bool:
    try:
        return one.size == other.size and same_pixels(one.path, other.path)
    except InputError:
        what = f"{files.name(one.path)}, {files.name(other.path)}"
        audit.note("copies of a film cannot be compared, their pixels cannot be read", what)
        return False


def _film(files: ImageFiles, audit: Audit, copies: Sequence[_Copy]) -> Film | None:
    shown = min(copies, key=lambda copy: copy.split)  # "test" comes before "train"
    rows = [row for copy in copies for row in copy.rows]
    names = [files.name(copy.path) for copy in copies]
    lesions, refused = [], []
    for row in rows:
        try:
            lesions.append(_lesion(row, shown.size, files, audit))
        except InputError as error:
            where = f"{row.file.name} line {row.line}"
            audit.drop(error.problem, where if error.value is None else f"{where}: {error.value}")
            refused.append(f"{_kind(row)}-{row.cells['abnormality id']} {row.cells['pathology']}")
    if not lesions:
        return None
    provenance: dict[str, Any] = {"findings_without_box": refused} if refused else {}
    if len(copies) > 1:
        provenance["copies"] = names
        audit.note("one film published as calcification and as mass: joined", " = ".join(names))
    if len({copy.split for copy in copies}) > 1:
        audit.note(f"joined copies are of both official splits: {shown.split} taken", " = ".join(names))
    patient, side = rows[0].cells["patient_id"], _value(rows[0], "left or right breast")
    keys = {
        "patient_id": patient,
        "study_id": patient,
        "breast_id": f"{patient}-{side}",
        "laterality": side,
        "view": _value(rows[0], "image view"),
        "density": _density(rows, audit),
        "split": shown.split,
        "label": CATEGORY_NAMES[max(_value(row, "pathology") for row in rows)],
        "provenance": provenance,
    }
    return Film(files.name(shown.path), lesions, keys, rows=len(lesions))


def _lesion(row: Row, size: tuple[int, int], files: ImageFiles, audit: Audit) -> Lesion:
    cells, category = row.cells, _value(row, "pathology")
    path, drawn = find_mask(files, (cells[_MASK], cells[_CROP]), size)
    name = files.name(path)
    stated = ("pathology", "abnormality id", "assessment", "subtlety")
    provenance = {column.replace(" ", "_"): cells[column] for column in stated}
    if is_named(files, path, cells[_CROP]) and not is_named(files, path, cells[_MASK]):
        audit.note("the mask lies under the name of the crop: swapped", name)
    found = (drawn.shape[1], drawn.shape[0])
    mask = fit_mask(drawn, size)
    if found != size:
        sizes = f"{found[0]} x {found[1]} to {size[0]} x {size[1]}"
        audit.note("the mask is of another size than its image: rescaled", f"{name} {sizes}")
        provenance["mask_rescaled"] = sizes
    shape = None if mask is None else whole_mask(mask, name)
    if shape is None:
        raise InputError("the mask is empty", value=name)
    patient, side = cells["patient_id"], _value(row, "left or right breast")
    described = {column.replace(" ", "_"): row.code(column) for column in _DESCRIBED}
    keys = {
        "finding": _finding(row),
        "lesion_id": f"{patient}-{side}-{_kind(row)}-{cells['abnormality id']}",
        "pathology": CATEGORY_NAMES[category],
        "birads": parse_birads(cells["assessment"]),
        "subtype": {key: text for key, text in described.items() if text not in {"", "N/A"}},
        "provenance": provenance,
    }
    return Lesion(shape, category, keys)


def _kind(row: Row) -> str:
    return str(_value(row, "abnormality type"))


def _finding(row: Row) -> str:
    """Return the finding; some rows of the mass tables describe a distortion or an asymmetry alone."""
    if _kind(row) == "calc":
        return "calcification"
    shapes = row.code("mass shape").split("-")
    if all(shape == "ARCHITECTURAL_DISTORTION" for shape in shapes):
        return "distortion"
    return "asymmetry" if all("ASYMMETRIC" in shape for shape in shapes) else "mass"


def _density(rows: Sequence[Row], audit: Audit) -> str | None:
    stated = {row.code("breast_density") or row.code("breast density") for row in rows}
    if len(stated) > 1:
        audit.note("rows of one film state different densities: none taken", rows[0].cells[_IMAGE])
        return None
    return {"1": "A", "2": "B", "3": "C", "4": "D"}.get(stated.pop())


SOURCE = Source(
    dataset="CBIS-DDSM",
    films=films,
    category_rule=(
        "pathology MALIGNANT is malignant, BENIGN and BENIGN_WITHOUT_CALLBACK are benign; an image takes its "
        "worst lesion; lesion_id follows the data set's abnormality ids, unchecked across views"
    ),
    reference="Lee et al. 2017, Scientific Data 4, 170177, https://doi.org/10.1038/sdata.2017.177",
)
