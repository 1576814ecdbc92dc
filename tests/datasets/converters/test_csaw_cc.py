"""CSAW-CC as its published readers describe it: when the cancer was found decides, masks show the tumour."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import convert
from mammodet.datasets.converters.csaw_cc import TABLE
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError

COLUMNS = [
    "anon_patientid",
    "exam_year",
    "x_age",
    "x_case",
    "x_cancer_laterality",
    "x_type",
    "x_lymphnode_met",
]
COLUMNS += ["rad_timing", "rad_r1", "rad_r2", "rad_recall", "imagelaterality", "viewposition"]
COLUMNS += ["libra_percentdensity", "anon_filename"]
STEM = "00002_20990909_L_CC_1"


def row(stem: str = STEM, **cells: Any) -> dict[str, Any]:
    """One row as pandas writes it, of the left breast of a woman whose cancer was found there by screening."""
    case = {"anon_patientid": 2, "exam_year": 2012, "x_age": 2, "x_case": 1, "x_cancer_laterality": "Left"}
    case |= {"x_type": "2.0", "rad_timing": "1.0", "rad_recall": "1.0", "imagelaterality": "Left"}
    return {
        **case,
        "viewposition": "CC",
        "libra_percentdensity": 24.3,
        "anon_filename": f"{stem}.dcm",
        **cells,
    }


def lay_out(root: Path, rows: list[dict[str, Any]], png: bool = True) -> Path:
    root.mkdir(exist_ok=True)
    with (root / TABLE).open("w", newline="", encoding="utf-8-sig") as stream:  # csv ends lines with \r\n
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for one in rows if png else ():
        write_png(root / f"{Path(one['anon_filename']).stem}.png", np.zeros((100, 80), dtype=np.uint8))
    return root


def draw(
    root: Path, stem: str, *rectangles: tuple[int, int, int, int], size: tuple[int, int] = (100, 80)
) -> None:
    """Write the mask of an image: rectangles (x, y, width, height) on ``size`` (height, width)."""
    mask = np.zeros(size, dtype=np.uint8)
    for x, y, width, height in rectangles:
        mask[y : y + height, x : x + width] = 255
    write_png(root / "annotations" / f"{stem}_mask.png", mask)


def converted(root: Path) -> tuple[Coco, Audit]:
    return convert(load_source("csaw-cc"), root, root / "coco.json")


CONTROL = {"x_case": 0, "x_cancer_laterality": "", "x_type": "", "rad_timing": ""}


@pytest.mark.parametrize(
    ("cells", "label"),
    [
        ({}, "malignant"),  # found within 60 days in this breast
        ({"rad_timing": 2}, None),  # interval cancer: in the image or not
        ({"rad_timing": 3}, None),  # more than two years before
        ({"rad_timing": ""}, None),
        ({"imagelaterality": "Right"}, "normal"),  # the other breast
        ({"imagelaterality": "Right", "rad_timing": 3}, "normal"),
        ({"x_cancer_laterality": ""}, None),
        ({"x_cancer_laterality": "NULL"}, None),
        (CONTROL, "normal"),
        ({**CONTROL, "rad_recall": 1}, "normal"),  # recalled, and no cancer was found
    ],
)
def test_when_and_where_the_cancer_was_found_decides(
    tmp_path: Path, cells: dict[str, Any], label: str | None
) -> None:
    coco, audit = converted(lay_out(tmp_path / "csaw", [row(**cells)]))
    assert coco.images[0].get("label") == label
    noted = {"no mask of a tumour in the folder: image labels only, no boxes": {"CSAW-CC": 1}}
    if label is None:
        noted["screened before its cancer was found: label unknown"] = {STEM: 1}
    assert audit.notes == noted


def test_a_flat_folder_of_dicom_files(tmp_path: Path, make_dicom: Any) -> None:
    """Two exams of one woman, told by their years; the placeholder date in the names is no date."""
    stems = [STEM, "00002_20990909_R_MLO_2"]
    cells = {"exam_year": 2010, "imagelaterality": "Right", "viewposition": "MLO", "rad_timing": 3}
    root = lay_out(tmp_path / "csaw", [row(), row(stems[1], **cells)], png=False)
    for stem in stems:
        shutil.move(make_dicom(PatientID="2", SOPInstanceUID=f"1.2.{stem[-1]}"), root / f"{stem}.dcm")
    coco, audit = converted(root)
    assert read_coco(coco.path).images == coco.images
    assert [image["file_name"] for image in coco.images] == [f"{stem}.dcm" for stem in stems]
    assert [(one["breast_id"], one["view"], one["label"]) for one in coco.images] == [
        ("2-2012-L", "CC", "malignant"),
        ("2-2010-R", "MLO", "normal"),
    ]
    assert coco.images[0]["provenance"] == {
        "x_age": "2",
        "libra_percentdensity": "24.3",
        "rad_recall": "1",
        "rad_timing": "1",
        "x_type": "2",
    }
    assert "age" not in coco.images[0]
    assert "density" not in coco.images[0]
    assert (audit.rows_read, audit.rows_used) == (2, 2)


def test_masks_become_boxes(tmp_path: Path) -> None:
    later = "00002_20990909_L_MLO_1"
    root = lay_out(tmp_path / "csaw", [row(), row(later, rad_timing=3)])
    draw(root, STEM, (10, 30, 15, 20), (60, 5, 4, 6))
    draw(root, later, (40, 50, 1, 1))
    coco, audit = converted(root)
    assert [(one["image_id"], one["bbox"], one["category_id"], one["area"]) for one in coco.annotations] == [
        (1, [60, 5, 4, 6], 2, 24),
        (1, [10, 30, 15, 20], 2, 300),
    ]
    assert coco.annotations[0]["geometry_source"] == "mask"
    assert coco.annotations[0]["subtype"] == {"pathotype": "invasive, up to 15 mm"}
    assert [image.get("label") for image in coco.images] == ["malignant", None]
    assert set(audit.notes) == {
        "no cancer was seen, a single pixel tells where it was later: no box",
        "screened before its cancer was found: label unknown",
    }
    assert audit.unlisted == []


def test_a_mask_shows_that_an_interval_cancer_was_in_the_image(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "csaw", [row(rad_timing=2)])
    draw(root, STEM, (10, 30, 15, 20))
    coco, audit = converted(root)
    assert coco.images[0]["label"] == "malignant"
    assert audit.notes == {}


def test_masks_of_another_size_are_rescaled_or_refused(tmp_path: Path) -> None:
    other = "00002_20990909_L_MLO_1"
    root = lay_out(tmp_path / "csaw", [row(), row(other)])
    draw(root, STEM, (10, 30, 10, 20), size=(50, 40))
    draw(root, other, (10, 30, 10, 20), size=(100, 100))
    (root / "annotations" / "00009_mask.png").write_bytes(b"")
    coco, audit = converted(root)
    assert [one["bbox"] for one in coco.annotations] == [[20, 60, 20, 40]]
    assert list(audit.notes) == ["the mask is of another size than its image: rescaled"]
    assert list(audit.lesions_dropped) == ["the mask is of another shape than its image"]
    assert audit.unlisted == ["annotations/00009_mask.png"]


def test_odd_masks_are_told(tmp_path: Path) -> None:
    stems = [STEM, "00002_20990909_L_MLO_1", "00003_20990909_R_CC_1"]
    root = lay_out(tmp_path / "csaw", [row(), row(stems[1]), row(stems[2], **CONTROL)])
    draw(root, STEM)
    draw(root, stems[1], (1, 1, 5, 5))
    (root / "annotations" / f"{stems[1]}_mask.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    draw(root, stems[2], (1, 1, 5, 5))
    coco, audit = converted(root)
    assert [image["label"] for image in coco.images] == ["malignant"] * 3
    assert len(coco.annotations) == 1
    assert set(audit.notes) == {
        "the mask is empty: no box",
        "a mask in a breast without cancer: taken as malignant",
    }
    assert [sum(what.values()) for what in audit.lesions_dropped.values()] == [1]


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"x_case": 2}, r"column x_case: is an unknown code \(found '2'\); known are 0, 1"),
        ({"rad_timing": 9}, r"column rad_timing: is an unknown code \(found '9'\); known are 1, 2, 3"),
        ({"imagelaterality": "both"}, "column imagelaterality: is no side"),
        ({"anon_filename": ""}, "column anon_filename: the file is missing"),
    ],
)
def test_an_unknown_code_is_named(tmp_path: Path, cells: dict[str, Any], problem: str) -> None:
    rows = [row(), {**row("b"), **cells}]
    root = lay_out(tmp_path / "csaw", [row(), row("b")])
    lay_out(root, rows, png=False)
    with pytest.raises(InputError, match=rf"{TABLE}: row at line 3, {problem}"):
        converted(root)


def test_rows_without_a_file_are_dropped(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "csaw", [row(), row("00003_20990909_L_CC_1", rad_timing=3)])
    (root / "00003_20990909_L_CC_1.png").unlink()
    coco, audit = converted(root)
    assert len(coco.images) == 1
    assert audit.dropped == {"no such image file": {"00003_20990909_L_CC_1": 1}}


def test_missing_tables_and_columns_are_named(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "csaw", [row()])
    table = root / TABLE
    table.write_text(table.read_text(encoding="utf-8-sig").replace("rad_timing", "timing"))
    with pytest.raises(InputError, match="rad_timing: has no such column"):
        converted(root)
    table.unlink()
    with pytest.raises(InputError, match=rf"{TABLE}: no such file"):
        converted(root)
