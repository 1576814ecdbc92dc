"""The CSV of the seed, FPNNet of Lin et al.: annotations.csv with one box per cell, images in images/."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from mammodet.datasets.coco import BENIGN, MALIGNANT
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Lesion, Source
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.shapes import box
from mammodet.datasets.converters.tables import Row, read_csv
from mammodet.datasets.filenames import parse_stem

_CATEGORIES = {"0": BENIGN, "1": MALIGNANT}
_SIDES = ("x", "y", "width", "height")
_REMEDY = 'a box looks like {"x": 320, "y": 410, "width": 120, "height": 96, "label": "1"}, label 0 or 1'


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterable[Film]:
    """Return one film per image of annotations.csv, with the boxes of all its rows."""
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for row in read_csv(files.root / "annotations.csv"):
        name_column = next(iter(row.cells))
        if not row.cells[name_column]:
            raise row.error(name_column, "the image name is missing")
        rows[row.cells[name_column]].append(row)
    return [_film(name, of_image) for name, of_image in rows.items()]


def _film(name: str, rows: Iterable[Row]) -> Film:
    rows = list(rows)
    lesions = [_lesion(row, column) for row in rows for column in list(row.cells)[1:] if row.cells[column]]
    keys = _keys_from_name(name)
    if not lesions:
        keys["label"] = "normal"
    return Film(name, lesions, keys, rows=len(rows))


def _lesion(row: Row, column: str) -> Lesion:
    found = row.literal(column)
    if not isinstance(found, Mapping):
        raise row.error(column, "is no box", _REMEDY)
    for key in (*_SIDES, "label"):
        if key not in found:
            raise row.error(column, f"the box has no {key}", _REMEDY)
    sides = [found[key] for key in _SIDES]
    if not all(_is_finite(side) for side in sides) or sides[2] <= 0 or sides[3] <= 0:
        raise row.error(column, "x, y, width and height must be finite, width and height above 0", _REMEDY)
    label = str(found["label"])
    if label not in _CATEGORIES:
        raise row.error(column, "the label must be 0 (benign) or 1 (malignant)", _REMEDY)
    return Lesion(box(*map(float, sides)), _CATEGORIES[label])


def _is_finite(value: Any) -> bool:
    """Tell whether a side of a box is a number that fits a double."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _keys_from_name(name: str) -> dict[str, Any]:
    """Return side, view, patient and breast: a stem that ends in C is the CC view, any other the MLO view.

    Where the name tells no side, the stem without its view is the breast and, for want of better, the
    patient.
    """
    stem = name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    view = "CC" if stem.upper().endswith("C") else "MLO"
    facts = parse_stem(stem)
    if facts.laterality:
        return {"patient_id": facts.rest or stem, "laterality": facts.laterality, "view": view}
    endings = ("CC", "C") if view == "CC" else ("MLO", "ML", "M", "O")
    ending = next((one for one in endings if stem.upper().endswith(one)), "")
    breast = stem[: len(stem) - len(ending)].rstrip("_-. ") or stem
    return {"patient_id": breast, "breast_id": breast, "view": view}


SOURCE = Source(
    dataset="seed-csv",
    films=films,
    category_rule="label 0 is benign, 1 malignant; an image without a box is normal",
    reference="Lin et al. 2023, FPNNet",
)
