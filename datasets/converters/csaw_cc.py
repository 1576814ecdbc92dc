"""CSAW-CC, screening in Stockholm: image labels and, where there are masks, boxes (Dembrower et al. 2020).

    ROOT/CSAW-CC_breast_cancer_screening_data.csv    one row per image; anywhere below ROOT
    ROOT/00002_20990909_L_CC_1.dcm                   anon_filename; the date in it is no date
    ROOT/00002_20990909_L_CC_1_mask.png              the tumour, in some images of women with cancer

Columns and file names are those that several published readers of the data set use. Derived, not seen in
real files: that masks are called like this, and that one of a single pixel marks where a cancer was seen
only later.

``rad_timing`` tells when the cancer of a woman (``x_case`` 1) was found: 1 within 60 days of the exam, 2 as
an interval cancer up to two years later, 3 still later. The image is malignant when the breast is that of
the cancer and the timing is 1, or when a mask shows the tumour. The breast of the cancer at other times is
unknown: the tumour may be in the image or not. All others are normal: no cancer was found. Benign findings
are not recorded. An exam is told by its year; density is a percentage and age one of two bands: both are in
the provenance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mammodet.datasets.coco import MALIGNANT
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Lesion, Source
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.shapes import fit_mask, mask_shapes
from mammodet.datasets.converters.tables import Row, read_csv
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import image_size, read_mask

TABLE = "CSAW-CC_breast_cancer_screening_data.csv"

_OF_IMAGE = ("anon_patientid", "anon_filename", "exam_year", "imagelaterality", "viewposition")
_REQUIRED = (*_OF_IMAGE, "x_case", "x_cancer_laterality", "rad_timing")
_KEPT = ("x_age", "libra_percentdensity", "rad_recall", "rad_r1", "rad_r2", "rad_timing", "x_type")
_SUBTYPE = {"1": "in situ", "2": "invasive, up to 15 mm", "3": "invasive, above 15 mm"}


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterable[Film]:
    """Yield one film per row of the table."""
    path = next(iter(sorted(files.root.rglob(TABLE))), files.root / TABLE)
    masks = 0
    for row in read_csv(path, required=_REQUIRED, keep=(*_REQUIRED, *_KEPT)):
        stem = PurePosixPath(row.code("anon_filename")).stem
        if not stem:
            raise row.error("anon_filename", "the file is missing")
        found = files.find(row.code("anon_filename")) or files.find(stem)  # the stem: exported as PNG
        if found is None:
            yield Film(stem)  # the flow tells that it is missing
            continue
        mask = files.find(f"{stem}_mask")
        masks += mask is not None
        lesions = [] if mask is None else _lesions(mask, found, row, files, audit)
        yield Film(files.name(found), lesions, _keys(row, lesions, stem, audit))
    if not masks:
        audit.note("no mask of a tumour in the folder: image labels only, no boxes", "CSAW-CC")


def _lesions(mask: Path, image: Path, row: Row, files: ImageFiles, audit: Audit) -> list[Lesion]:
    """Return the tumours that a mask shows."""
    files.use(mask)
    name = files.name(mask)
    try:
        drawn, size = read_mask(mask), image_size(image)
    except InputError as error:
        audit.drop_lesion(f"mask or image: {error.problem}", name)
        return []
    fitted = fit_mask(drawn, size)
    if int(drawn.sum()) <= 1:
        what = (
            "no cancer was seen, a single pixel tells where it was later"
            if drawn.any()
            else "the mask is empty"
        )
        audit.note(f"{what}: no box", name)
        return []
    if fitted is None:
        audit.drop_lesion("the mask is of another shape than its image", name)
        return []
    if fitted.shape != drawn.shape:
        audit.note("the mask is of another size than its image: rescaled", name)
    keys: dict[str, Any] = {"pathology": "malignant"}
    if row.code("x_type") in _SUBTYPE:
        keys["subtype"] = {"pathotype": _SUBTYPE[row.code("x_type")]}
    return [Lesion(shape, MALIGNANT, keys) for shape in mask_shapes(fitted, mask.name)]


def _keys(row: Row, lesions: Sequence[Lesion], stem: str, audit: Audit) -> dict[str, Any]:
    side = _side(row, "imagelaterality")
    if side is None:
        raise row.error("imagelaterality", "is no side", "sides are Left and Right")
    label = _label(row, side)
    if lesions and label == "normal":
        audit.note("a mask in a breast without cancer: taken as malignant", stem)
    if label is None and not lesions:
        audit.note("screened before its cancer was found: label unknown", stem)
    return {
        "patient_id": row.code("anon_patientid") or None,
        "study_id": row.code("exam_year") or None,
        "laterality": side,
        "view": row.code("viewposition") or None,
        "label": "malignant" if lesions else label,
        "provenance": {column: row.code(column) for column in _KEPT if row.code(column)},
    }


def _label(row: Row, side: str) -> str | None:
    """Return what the table tells of the breast ``side``."""
    for column, known in (("x_case", {"0", "1"}), ("rad_timing", {"", "1", "2", "3"})):
        if row.code(column) not in known:
            raise row.error(column, "is an unknown code", f"known are {', '.join(sorted(known - {''}))}")
    cancer = _side(row, "x_cancer_laterality")
    if row.code("x_case") == "0" or (cancer is not None and cancer != side):
        return "normal"
    return "malignant" if cancer == side and row.code("rad_timing") == "1" else None


def _side(row: Row, column: str) -> str | None:
    return {"left": "L", "l": "L", "right": "R", "r": "R"}.get(row.code(column).lower())


SOURCE = Source(
    dataset="CSAW-CC",
    films=films,
    category_rule=(
        "image labels: malignant in the breast of the cancer when it was found within 60 days (rad_timing 1) "
        "or a mask shows it; unknown in that breast at earlier exams; normal in all other breasts; boxes: "
        "the connected parts of the masks, all malignant"
    ),
    reference="Dembrower et al. 2020, Journal of Digital Imaging 33, 408-413; SND data set 2021-204",
)
