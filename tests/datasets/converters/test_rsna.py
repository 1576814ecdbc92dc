"""RSNA Screening Mammography in its real layout, as DICOM and as the usual PNG exports."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import convert
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError

HEAD = (
    "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id"
)
HEAD += ",difficult_negative_case"
ROWS = """\
2,10006,462822612,L,CC,61.0,0,0,0,,0,,29,False
2,10006,1459541791,L,MLO,61.0,0,0,0,1.0,0,A,29,False
1,10011,220375232,R,CC,55.0,0,1,0,0.0,0,C,21,True
1,10011,541722628,R,MLO,,1,1,1,0.0,1,D,21,False"""
IDS = [("10006", "462822612"), ("10006", "1459541791"), ("10011", "220375232"), ("10011", "541722628")]


def lay_out(root: Path, rows: str = ROWS, head: str = HEAD, pattern: str | None = "{}/{}") -> Path:
    """Write train.csv with a byte order mark and Windows line ends, and PNG exports called by ``pattern``."""
    root.mkdir(exist_ok=True)
    (root / "train.csv").write_bytes(f"{head}\n{rows}\n".replace("\n", "\r\n").encode("utf-8-sig"))
    for patient, image in IDS if pattern else ():
        write_png(root / "png" / f"{pattern.format(patient, image)}.png", np.zeros((8, 9), dtype=np.uint8))
    return root


def converted(root: Path) -> tuple[Coco, Audit]:
    return convert(load_source("rsna"), root, root / "coco.json")


def test_cancer_and_biopsy_give_the_label(tmp_path: Path, make_dicom: Any) -> None:
    root = lay_out(tmp_path / "rsna", pattern=None)
    for patient, image in IDS:
        path = root / "train_images" / patient / f"{image}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(make_dicom(PatientID=patient, SOPInstanceUID=f"1.2.{image}"), path)
    coco, audit = converted(root)
    assert read_coco(coco.path).images == coco.images
    assert [image["file_name"] for image in coco.images] == [f"train_images/{p}/{i}.dcm" for p, i in IDS]
    assert [image["label"] for image in coco.images] == ["normal", "normal", "benign", "malignant"]
    assert [image.get("density") for image in coco.images] == [None, "A", "C", "D"]
    assert [image.get("age") for image in coco.images] == [61, 61, 55, None]
    assert [(one["patient_id"], one["laterality"], one["view"]) for one in coco.images] == [
        ("10006", "L", "CC"),
        ("10006", "L", "MLO"),
        ("10011", "R", "CC"),
        ("10011", "R", "MLO"),
    ]
    assert {image["split"] for image in coco.images} == {"train"}
    assert coco.images[2]["provenance"] == {
        "BIRADS": "0",
        "invasive": "0",
        "biopsy": "1",
        "implant": "0",
        "difficult_negative_case": "True",
        "site_id": "1",
        "machine_id": "21",
    }
    assert coco.annotations == []
    assert audit.notes == {"labels of breasts only, no boxes": {"RSNA": 1}}
    assert (audit.rows_read, audit.rows_used) == (4, 4)


@pytest.mark.parametrize(
    ("cancer", "biopsy", "birads", "label"),
    [
        (1, 1, "", "malignant"),
        (1, 0, "1.0", "malignant"),
        (0, 1, "1.0", "benign"),
        (0, 0, "0.0", "normal"),  # recalled, nothing that had to be biopsied
        (0, 0, "2.0", "normal"),
        (0, 0, "", "normal"),
    ],
)
def test_birads_decides_nothing(tmp_path: Path, cancer: int, biopsy: int, birads: str, label: str) -> None:
    row = f"2,10006,462822612,L,CC,61.0,{cancer},{biopsy},0,{birads},0,,29,False"
    coco, _ = converted(lay_out(tmp_path / "rsna", row))
    assert coco.images[0]["label"] == label


@pytest.mark.parametrize("pattern", ["{}/{}", "{}_{}", "x/{1}"])
def test_png_exports_are_found(tmp_path: Path, pattern: str) -> None:
    coco, audit = converted(lay_out(tmp_path / "rsna", pattern=pattern))
    assert [image["file_name"] for image in coco.images] == [
        f"png/{pattern.format(p, i)}.png" for p, i in IDS
    ]
    assert audit.rows_used == 4


def test_an_image_id_of_two_patients_is_found_by_the_folder(tmp_path: Path) -> None:
    rows = "1,7,1,L,CC,50,0,0,0,,0,A,1,False\n1,8,1,R,CC,50,1,1,0,,0,A,1,False"
    root = lay_out(tmp_path / "rsna", rows, pattern=None)
    for patient in ("7", "8"):
        write_png(root / "train_images" / patient / "1.png", np.zeros((8, 9), dtype=np.uint8))
    coco, _ = converted(root)
    assert [(one["file_name"], one["label"]) for one in coco.images] == [
        ("train_images/7/1.png", "normal"),
        ("train_images/8/1.png", "malignant"),
    ]


def test_two_copies_of_one_image_are_not_chosen_between(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "rsna")
    write_png(root / "copy" / "10006" / "462822612.png", np.zeros((8, 9), dtype=np.uint8))
    with pytest.raises(InputError, match=r"several of that name .*copy/10006/462822612\.png, png/10006"):
        converted(root)


def test_the_public_test_set_has_no_truth(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "rsna")
    head = "site_id,patient_id,image_id,laterality,view,age,implant,machine_id,prediction_id"
    (root / "test.csv").write_text(f"{head}\n2,10008,736471439,L,MLO,81,0,21,10008_L\n")
    write_png(root / "test_images" / "10008" / "736471439.png", np.zeros((8, 9), dtype=np.uint8))
    coco, audit = converted(root)
    last = coco.images[-1]
    assert (last["patient_id"], last["split"], last.get("label")) == ("10008", "test", None)
    assert audit.notes["no truth in the public test.csv: label unknown"] == {"736471439": 1}


def test_rows_without_a_file_are_dropped(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "rsna")
    (root / "png" / "10006" / "462822612.png").unlink()
    coco, audit = converted(root)
    assert len(coco.images) == 3
    assert audit.dropped == {"no such image file": {"462822612": 1}}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (",L,CC", ",B,CC", r"row at line 2, column laterality: is no side \(found 'B'\)"),
        ("61.0,0,0,0,,", "61.0,2,0,0,,", r"row at line 2, column cancer: must be 0 or 1 \(found '2'\)"),
        ("61.0,0,0,0,,", "61.0,0,,0,,", "row at line 2, column biopsy: must be 0 or 1"),
        (",A,29", ",E,29", r"row at line 3, column density: is no density \(found 'E'\)"),
        ("55.0", "many", r"row at line 4, column age: must be a number \(found 'many'\)"),
        (",220375232,", ",,", "row at line 4, column image_id: the id is missing"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    root = lay_out(tmp_path / "rsna", ROWS.replace(old, new, 1))
    with pytest.raises(InputError, match=rf"train\.csv: {problem}"):
        converted(root)


def test_missing_tables_and_columns_are_named(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "rsna", head=HEAD.replace("cancer", "tumour"))
    with pytest.raises(InputError, match=r"train\.csv: cancer: has no such column"):
        converted(root)
    (root / "train.csv").unlink()
    with pytest.raises(InputError, match=r"train\.csv: no such file"):
        converted(root)
