"""CMMD in its real layout: labels per breast, which file shows it told by its header."""

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

HEAD = "ID1,LeftRight,Age,number,abnormality,classification,subtype"
ROWS = """\
D1-0001,R,44,2,calcification,Benign,
D1-0002,L,51,2,both,Malignant,
D2-0001,R,62,2,calcification,Malignant,Luminal A"""
SERIES = "07-18-2010-NA-NA-79377/1.000000-NA-70244"


def lay_out(root: Path, rows: str = ROWS, head: str = HEAD, encoding: str = "utf-8-sig") -> Path:
    """Write the table as Excel does, with a byte order mark and Windows line ends."""
    root.mkdir(exist_ok=True)
    text = f"{head}\n{rows}\n".replace("\n", "\r\n")
    (root / "CMMD_clinicaldata_revision.csv").write_bytes(text.encode(encoding))
    return root


def add(root: Path, make_dicom: Any, patient: str, name: str, folder: str | None = None, **tags: Any) -> None:
    place = root / "CMMD" / (folder or f"{patient}/{SERIES}") / name
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(
        make_dicom(PatientID=patient, SOPInstanceUID=f"1.2.{len(list(root.rglob('*')))}", **tags), place
    )


def converted(root: Path) -> tuple[Coco, Audit]:
    return convert(load_source("cmmd"), root, root / "coco.json")


def test_each_breast_gives_its_label_to_its_images(tmp_path: Path, make_dicom: Any) -> None:
    root = lay_out(tmp_path / "cmmd")
    add(root, make_dicom, "D1-0001", "1-1.dcm", ImageLaterality="R", ViewPosition="CC")
    add(root, make_dicom, "D1-0001", "1-2.dcm", ImageLaterality="R", ViewPosition="MLO")
    add(root, make_dicom, "D2-0001", "1-1.dcm", ImageLaterality="L", ViewPosition="CC")
    add(root, make_dicom, "D2-0001", "1-2.dcm", ImageLaterality="R", ViewPosition="CC")
    add(root, make_dicom, "D9-0001", "1-1.dcm", ImageLaterality="R", ViewPosition="CC")
    coco, audit = converted(root)
    assert read_coco(coco.path).images == coco.images
    assert [(one["patient_id"], one["laterality"], one["view"], one.get("label")) for one in coco.images] == [
        ("D1-0001", "R", "CC", "benign"),
        ("D1-0001", "R", "MLO", "benign"),
        ("D2-0001", "L", "CC", None),
        ("D2-0001", "R", "CC", "malignant"),
    ]
    assert coco.annotations == []
    first, _, other, last = coco.images
    assert first["file_name"] == f"CMMD/D1-0001/{SERIES}/1-1.dcm"
    assert (first["age"], first["provenance"]) == (44, {"abnormality": "calcification", "number": "2"})
    assert last["provenance"] == {"abnormality": "calcification", "number": "2", "subtype": "Luminal A"}
    assert "age" not in other
    # three rows: two breasts with images, D1-0002 without
    assert (audit.rows_read, audit.rows_used) == (3, 2)
    assert audit.dropped == {"no image of this breast": {"D1-0002 L": 1}}
    assert audit.unlisted == [f"CMMD/D9-0001/{SERIES}/1-1.dcm"]
    assert audit.notes == {
        "labels of breasts only, no boxes": {"CMMD": 1},
        "no row of this breast: label unknown": {f"CMMD/D2-0001/{SERIES}/1-1.dcm": 1},
    }


def test_the_shared_sample(tmp_path: Path, shared_data: Path, make_dicom: Any) -> None:
    root = tmp_path / "cmmd"
    root.mkdir()
    shutil.copy(shared_data / "formats" / "cmmd" / "CMMD_clinicaldata_revision.csv", root)
    for patient, side in (("D1-0001", "R"), ("D1-0002", "L"), ("D2-0001", "R")):
        add(root, make_dicom, patient, "1-1.dcm", ImageLaterality=side)
    coco, audit = converted(root)
    assert [image["label"] for image in coco.images] == ["benign", "malignant", "malignant"]
    assert (audit.rows_read, audit.rows_used) == (3, 3)


def test_folders_of_study_uids_are_told_by_the_header(tmp_path: Path, make_dicom: Any) -> None:
    root = lay_out(tmp_path / "cmmd")
    add(root, make_dicom, "D1-0002", "1-1.dcm", "1.3.6.1.4.1.14519.5.2.1.1239", ImageLaterality="L")
    coco, _ = converted(root)
    assert (coco.images[0]["patient_id"], coco.images[0]["label"]) == ("D1-0002", "malignant")


def test_two_rows_of_one_breast_give_the_worst(tmp_path: Path, make_dicom: Any) -> None:
    root = lay_out(tmp_path / "cmmd", "D1-0001,R,44,2,mass,Malignant,\nD1-0001,R,44,2,calcification,Benign,")
    add(root, make_dicom, "D1-0001", "1-1.dcm", ImageLaterality="R")
    coco, audit = converted(root)
    assert coco.images[0]["label"] == "malignant"
    assert coco.images[0]["provenance"]["abnormality"] == "mass; calcification"
    assert audit.rows_used == 2
    assert any("malignant in another" in remark for remark in audit.notes)


def test_files_without_a_side_keep_no_label(tmp_path: Path, make_dicom: Any) -> None:
    root = lay_out(tmp_path / "cmmd")
    add(root, make_dicom, "D1-0001", "1-1.dcm")
    write_png(root / "png" / "d1-0001" / "2.png", np.zeros((8, 9), dtype=np.uint8))
    write_png(root / "png" / "D1-0001" / "R_CC.png", np.zeros((8, 9), dtype=np.uint8))
    coco, audit = converted(root)
    labels = {image["file_name"].rsplit("/", 1)[-1]: image.get("label") for image in coco.images}
    assert labels == {"1-1.dcm": None, "2.png": None, "R_CC.png": "benign"}
    assert {image["patient_id"] for image in coco.images} == {"D1-0001"}
    assert audit.notes["neither header nor name tells the side: label unknown"].total() == 2


def test_a_broken_file_is_dropped_and_told(tmp_path: Path, make_dicom: Any) -> None:
    root = lay_out(tmp_path / "cmmd")
    add(root, make_dicom, "D1-0001", "1-1.dcm", ImageLaterality="R")
    (root / "CMMD" / "D1-0001" / "1-9.dcm").write_bytes(b"")
    coco, audit = converted(root)
    assert len(coco.images) == 1
    assert audit.without_pixels == ["CMMD/D1-0001/1-9.dcm"]
    assert (audit.rows_read, audit.rows_used) == (3, 1)


def test_a_table_with_semicolons_and_another_ending_is_read(tmp_path: Path, make_dicom: Any) -> None:
    root = lay_out(tmp_path / "cmmd", ROWS.replace(",", ";"), HEAD.replace(",", ";"))
    table = root / "CMMD_clinicaldata_revision.csv"
    table.rename(table.with_stem("CMMD_clinicaldata_revision_CSV"))
    add(root, make_dicom, "D1-0001", "1-1.dcm", ImageLaterality="R")
    assert converted(root)[0].images[0]["label"] == "benign"


@pytest.mark.parametrize(
    ("rows", "head", "problem"),
    [
        ("D1-0001,X,44,2,mass,Benign,", HEAD, r"row at line 2, column LeftRight: is no side \(found 'X'\)"),
        ("D1-0001,R,44,2,mass,Maybe,", HEAD, r"column classification: is no class \(found 'Maybe'\)"),
        (",R,44,2,mass,Benign,", HEAD, "column ID1: the patient is missing"),
        ("D1-0001,R,old,2,mass,Benign,", HEAD, r"column Age: must be a number \(found 'old'\)"),
        (ROWS, HEAD.replace("LeftRight", "Side"), "LeftRight: has no such column"),
    ],
)
def test_a_malformed_table_is_named(
    tmp_path: Path, make_dicom: Any, rows: str, head: str, problem: str
) -> None:
    root = lay_out(tmp_path / "cmmd", rows, head)
    add(root, make_dicom, "D1-0001", "1-1.dcm", ImageLaterality="R")
    with pytest.raises(InputError, match=rf"CMMD_clinicaldata_revision\.csv: .*{problem}"):
        converted(root)


def test_the_table_of_the_makers_must_be_saved_as_csv(tmp_path: Path, make_dicom: Any) -> None:
    root = tmp_path / "cmmd"
    add(root, make_dicom, "D1-0001", "1-1.dcm", ImageLaterality="R")
    (root / "CMMD_clinicaldata_revision.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match=r"no such file; save CMMD_clinicaldata_revision\.xlsx as CSV"):
        converted(root)
