"""VinDr-Mammo: 5,000 four-view exams with a box and a BI-RADS per finding (Nguyen et al. 2023).

Read are ``finding_annotations.csv`` and, for images without a row there, ``breast-level_annotations.csv``;
images lie at ``images/STUDY/IMAGE.dicom``, or anywhere under the name IMAGE, such as exports to PNG.

There is no pathology. By convention, which the options change, findings of BI-RADS up to 3 are benign and
from 4 on malignant; those without a BI-RADS, such as skin thickening, have ``ignore: 1``. A finding of
several categories is called by the first of calcification, mass, distortion and asymmetry that is among them,
and "other" if none is.

An image takes its worst finding, and without a finding that counts the BI-RADS of its breast. Its makers
marked what needs further examination, so an image of "No Finding" in a breast of BI-RADS 1 or 2 is normal.

The tables name exams, not patients: every exam stands for one. Lesions are not linked across views.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from mammodet.datasets.coco import BENIGN, CATEGORY_NAMES
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Lesion, Source
from mammodet.datasets.converters.documents import document
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.options import Options, parse_birads
from mammodet.datasets.converters.shapes import corners
from mammodet.datasets.converters.tables import Row, read_csv
from mammodet.datasets.errors import InputError

FINDINGS = ("calcification", "mass", "distortion", "asymmetry")  # each a word of the categories it stands for

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_IMAGE = ("study_id", "image_id", "laterality", "view_position", "height", "width")
_BREAST = (*_IMAGE, "breast_birads", "breast_density", "split")
_SPLITS = {"training": "train", "test": "test"}
_LARGEST_PX = 2**20


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterator[Film]:
    """Yield one film per image of the tables."""
    table = document(files, "finding_annotations.csv")
    if table is None:
        remedy = "give the folder that holds finding_annotations.csv and images"
        raise InputError("finding_annotations.csv is not there", file=files.root, remedy=remedy)
    images: defaultdict[str, list[Row]] = defaultdict(list)
    for row in read_csv(table, required=(*_BREAST, "finding_categories", "finding_birads", *_CORNERS)):
        images[row.cells["image_id"]].append(row)
    breasts = document(files, "breast-level_annotations.csv")
    for row in [] if breasts is None else read_csv(breasts, required=_BREAST):
        if row.cells["image_id"] not in images:
            images[row.cells["image_id"]].append(row)
    for rows in images.values():
        yield _film(rows, files, audit, options)


def _film(rows: Sequence[Row], files: ImageFiles, audit: Audit, options: Options) -> Film:
    row = rows[0]
    size = _size(rows)
    image, study, side = (row.cells[column] for column in ("image_id", "study_id", "laterality"))
    for column, fits, problem in (
        ("image_id", image, "is missing"),
        ("study_id", study, "is missing"),
        ("laterality", side in {"L", "R"}, "must be L or R"),
        ("split", row.cells["split"] in _SPLITS, f"must be {' or '.join(_SPLITS)}"),
    ):
        if not fits:
            raise row.error(column, problem)
    lesions, categories, unboxed = _findings(rows, audit, options)
    density = row.cells["breast_density"].upper().removeprefix("DENSITY").strip()
    provenance: dict[str, Any] = {"breast_birads": row.cells["breast_birads"]}
    keys = {
        "patient_id": study,
        "study_id": study,
        "breast_id": f"{study}-{side}",
        "laterality": side,
        "view": row.cells["view_position"].upper() or None,
        "density": density if density in {"A", "B", "C", "D"} else None,
        "split": _SPLITS[row.cells["split"]],
        "label": _label(categories, row, audit, options),
        "provenance": provenance | ({"findings_without_box": unboxed} if unboxed else {}),
    }
    path = files.find(f"images/{study}/{image}.dicom")
    return Film(image if path is None else files.name(path), lesions, keys, rows=len(rows), size=size)


def _size(rows: Sequence[Row]) -> tuple[int, int]:
    sizes = {(row.number("width"), row.number("height")) for row in rows}
    width, height = sizes.pop()
    if sizes or not all(side.is_integer() and 1 <= side <= _LARGEST_PX for side in (width, height)):
        problem = "width and height must be whole numbers of pixels, the same in all rows of an image"
        raise rows[0].error("width", problem)
    return int(width), int(height)


def _findings(
    rows: Sequence[Row], audit: Audit, options: Options
) -> tuple[list[Lesion], list[int | None], list[str]]:
    """Return the findings with a box, the category of every finding, and what those without a box are."""
    lesions, categories, unboxed = [], [], []
    for row in rows:
        names = _names(row)
        if names == ["No Finding"]:
            continue
        birads = parse_birads(row.cells["finding_birads"])
        category = options.category_of(birads)
        categories.append(category)
        keys: dict[str, Any] = {
            "finding": next((one for one in FINDINGS if one in " ".join(names).lower()), "other"),
            "birads": birads,
            "provenance": {"finding_categories": names},
        }
        if not all(row.code(column) for column in _CORNERS):
            audit.note("a finding without a box: its image keeps the label", row.cells["image_id"])
            unboxed.append(", ".join(names))
            continue
        x1, y1, x2, y2 = (_corner(row, column) for column in _CORNERS)
        if x2 < x1 or y2 < y1:
            audit.note("the corners of a box are the wrong way round: put right", row.cells["image_id"])
        shape = corners(x1, y1, x2, y2)
        lesions.append(Lesion(shape, category or BENIGN, keys if category else {**keys, "ignore": 1}))
    return lesions, categories, unboxed


def _corner(row: Row, column: str) -> float:
    value = row.number(column)
    if abs(value) > _LARGEST_PX:
        raise row.error(column, "lies beyond any image")
    return value


def _names(row: Row) -> list[str]:
    """Return the categories of a finding."""
    if "finding_categories" not in row.cells:
        return ["No Finding"]  # a row of breast-level_annotations.csv
    names = row.literal("finding_categories")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise row.error("finding_categories", "is no list of names", "a list looks like ['Mass']")
    return names


def _label(categories: Sequence[int | None], row: Row, audit: Audit, options: Options) -> str | None:
    certain = [category for category in categories if category is not None]
    if certain:
        return CATEGORY_NAMES[max(certain)]
    birads = parse_birads(row.cells["breast_birads"])
    if categories:
        return None if birads == "1" else options.label_of(birads)
    if birads == "2":
        return "normal"
    if birads not in {None, "0", "1"}:
        what = f"{row.cells['image_id']} ({row.cells['breast_birads']})"
        audit.note(
            "no finding in this view of a breast of BI-RADS 3 or above: it takes the breast's label", what
        )
    return options.label_of(birads)


SOURCE = Source(
    dataset="VinDr-Mammo",
    films=films,
    category_rule=(
        "by convention the BI-RADS of the finding, as the options say; findings without one are ignored; an "
        "image takes its worst finding, else the BI-RADS of its breast; without a finding 1 and 2 are "
        "normal; every exam stands for a patient"
    ),
    reference="Nguyen et al. 2023, Scientific Data 10, 277, https://doi.org/10.1038/s41597-023-02100-7",
)
