"""EMBED in its real layout: boxes with y first, truth from tissue before BI-RADS, breast by breast."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import convert
from mammodet.datasets.converters.options import Options
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError

META = ["anon_dicom_path", "empi_anon", "acc_anon", "ImageLateralityFinal", "ViewPosition", "FinalImageType"]
META += ["spot_mag", "num_roi", "ROI_coords", "match_level", "Rows", "Columns"]
CLINICAL = [
    "empi_anon",
    "acc_anon",
    "numfind",
    "side",
    "asses",
    "bside",
    "path_severity",
    "tissueden",
    "desc",
]
CLINICAL += ["age_at_study", "massshape", "massmargin", "massdens", "calcfind", "calcdistri", "calcnumber"]
PATIENT, EXAM = "66685715", "4932273561626049"
STUDY = f"cohort_1/{PATIENT}/1.2.847.1/1.2.844.2"
ROI = "((30, 10, 50, 25),)"  # ymin 30, xmin 10, ymax 50, xmax 25: x 10, y 30, 15 wide, 20 high


def image_row(uid: str = "1.2.826.1", **cells: Any) -> dict[str, Any]:
    """One row of the metadata as pandas writes it; the path is that of the makers' server."""
    row = {"anon_dicom_path": f"/mnt/NAS2/mammo/anon_dicom/{STUDY}/{uid}.dcm", "empi_anon": PATIENT}
    row |= {"acc_anon": EXAM, "ImageLateralityFinal": "L", "ViewPosition": "CC", "FinalImageType": "2D"}
    return row | {"spot_mag": "", "num_roi": 1, "ROI_coords": ROI, "match_level": "[1]"} | cells


def finding_row(**cells: Any) -> dict[str, Any]:
    row = {"empi_anon": PATIENT, "acc_anon": EXAM, "numfind": 1, "side": "L", "asses": "A", "calcnumber": 0}
    return row | {"desc": "MG Screening Bilateral", "tissueden": "3.0", "age_at_study": "52.931185"} | cells


def write_table(
    path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], head: bytes = b""
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:  # csv ends lines with \r\n
        writer = csv.DictWriter(stream, ["Unnamed: 0", *columns])
        writer.writeheader()
        writer.writerows({"Unnamed: 0": number, **row} for number, row in enumerate(rows))
    path.write_bytes(head + path.read_bytes())


def lay_out(
    root: Path, images: Sequence[Mapping[str, Any]], findings: Sequence[Mapping[str, Any]], **kinds: Any
) -> Path:
    write_table(root / "tables" / "EMBED_OpenData_metadata.csv", META, images, b"\xef\xbb\xbf")
    write_table(root / "tables" / "EMBED_OpenData_clinical.csv", CLINICAL, findings)
    for row in images:
        uid = str(row["anon_dicom_path"]).rsplit("/", 1)[-1].removesuffix(".dcm")
        if kinds.get(uid) != "absent":
            write_png(root / "images" / STUDY / f"{uid}.png", np.zeros((100, 80), dtype=np.uint8))
    return root


def converted(root: Path, options: Options = Options()) -> tuple[Coco, Audit]:  # noqa: B008
    return convert(load_source("embed"), root, root / "coco.json", options)


def boxes(coco: Coco) -> list[tuple[Any, ...]]:
    return [(one["bbox"], one["category_id"], one.get("ignore", 0)) for one in coco.annotations]


def test_boxes_have_y_first_and_the_truth_of_their_breast(tmp_path: Path, make_dicom: Any) -> None:
    """A real DICOM file, 80 x 96, below the real folders, found by the end of the path in the table."""
    images = [image_row("1.2.826.1", Rows=96, Columns=80), image_row("1.2.826.2", ViewPosition="MLO")]
    images += [image_row("1.2.826.3", ImageLateralityFinal="R", num_roi=0, ROI_coords="()", match_level="[]")]
    findings = [finding_row(path_severity="0.0", bside="L", massshape="X", massmargin="I")]
    findings += [finding_row(numfind=2, side="R", asses="N")]
    lay_out(tmp_path, images, findings)
    (tmp_path / "images" / STUDY / "1.2.826.1.png").unlink()
    make_dicom(name="a.dcm", ImageLaterality="L", ViewPosition="CC").rename(
        tmp_path / "images" / STUDY / "1.2.826.1.dcm"
    )
    coco, audit = converted(tmp_path)
    assert read_coco(coco.path).annotations == coco.annotations
    first, second, third = coco.images
    assert first["file_name"] == f"images/{STUDY}/1.2.826.1.dcm"
    assert (first["patient_id"], first["study_id"], first["laterality"]) == (PATIENT, EXAM, "L")
    assert first["breast_id"] == f"{PATIENT}-{EXAM}-L"
    assert (first["density"], first["age"], first["view"], second["view"]) == ("C", 52, "CC", "MLO")
    assert [image["label"] for image in coco.images] == ["malignant", "malignant", "normal"]
    assert third["laterality"] == "R"
    assert boxes(coco) == [([10, 30, 15, 20], 2, 0), ([10, 30, 15, 20], 2, 0)]
    lesion = coco.annotations[0]
    assert (lesion["pathology"], lesion["birads"], lesion["finding"]) == ("malignant", "0", "mass")
    assert lesion["provenance"] == {"match_level": 1}
    assert (audit.rows_read, audit.rows_used) == (3, 3)
    assert audit.notes == {}


@pytest.mark.parametrize(
    ("findings", "label", "category", "ignored"),
    [
        # tissue before BI-RADS
        ([{"path_severity": "1.0", "asses": "N"}], "malignant", 2, 0),
        ([{"path_severity": 2, "asses": "M"}], "benign", 1, 0),
        ([{"path_severity": 3}], "benign", 1, 0),
        ([{"path_severity": 4}], "benign", 1, 0),
        ([{"path_severity": "5.0"}], "benign", 1, 0),
        ([{"path_severity": 6, "asses": "M"}], None, 1, 1),
        # BI-RADS
        ([{"asses": "A"}], None, 1, 1),
        ([{"asses": "X"}], None, 1, 1),
        ([{"asses": "N"}], "normal", 1, 1),
        ([{"asses": "B"}], "benign", 1, 0),
        ([{"asses": "P"}], "benign", 1, 0),
        ([{"asses": "S"}], "malignant", 2, 0),
        ([{"asses": "M"}], "malignant", 2, 0),
        ([{"asses": "K"}], "malignant", 2, 0),
        # two findings of one breast: which one the box shows is not told
        ([{"path_severity": 0}, {"path_severity": 4, "numfind": 2}], "malignant", 2, 1),
        ([{"path_severity": 0}, {"numfind": 2}], "malignant", 2, 1),
        ([{"path_severity": 4}, {"numfind": 2}], None, 1, 1),
        ([{"path_severity": 0}, {"path_severity": 1, "numfind": 2}], "malignant", 2, 0),
        ([{"path_severity": 4}, {"asses": "N", "numfind": 2}], "benign", 1, 0),
        # two rows of one finding, biopsy and surgery: the worst
        ([{"path_severity": 4}, {"path_severity": 0}], "malignant", 2, 0),
        # rows of the other breast do not count, rows of both and of none do
        ([{"path_severity": 0, "side": "R"}, {"asses": "B", "numfind": 2}], "benign", 1, 0),
        ([{"path_severity": 0, "side": "B"}], "malignant", 2, 0),
        ([{"asses": "N", "side": ""}], "normal", 1, 1),
        # tissue of the other breast
        ([{"path_severity": 0, "side": "B", "bside": "R", "asses": "B"}], "benign", 1, 0),
        ([{"path_severity": 0, "side": "R", "bside": "L"}], "malignant", 2, 0),
        # a breast without a row: implied negative in an exam of both, unknown in one of the other breast
        ([{"path_severity": 0, "side": "R"}], "normal", 1, 1),
        ([{"path_severity": 0, "side": "R", "desc": "MG Diagnostic Right w/CAD"}], None, 1, 1),
    ],
)
def test_the_truth_of_a_breast(
    tmp_path: Path, findings: list[dict[str, Any]], label: str | None, category: int, ignored: int
) -> None:
    coco, _ = converted(lay_out(tmp_path, [image_row()], [finding_row(**cells) for cells in findings]))
    assert coco.images[0]["label"] == label
    assert boxes(coco) == [([10, 30, 15, 20], category, ignored)]


def test_the_thresholds_of_birads_are_the_options(tmp_path: Path) -> None:
    root = lay_out(tmp_path, [image_row()], [finding_row(asses="P")])
    coco, _ = converted(root, Options(benign_up_to="2"))
    assert (coco.images[0]["label"], boxes(coco)) == (None, [([10, 30, 15, 20], 1, 1)])
    coco, _ = converted(root, Options(benign_up_to="2", malignant_from="3"))
    assert boxes(coco) == [([10, 30, 15, 20], 2, 0)]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("()", []),
        ("[]", []),
        ("", []),
        ("nan", []),
        ("[[30, 10, 50, 25]]", [[10, 30, 15, 20]]),
        ("[(30, 10, 50, 25), [1, 2, 5, 9]]", [[10, 30, 15, 20], [2, 1, 7, 4]]),
        ("((30, 10, 50, 25))", [[10, 30, 15, 20]]),  # one pair of brackets too few
        ("(([30, 10, 50, 25], [1, 2, 5, 9]), (3, 4, 7, 8))", [[10, 30, 15, 20], [2, 1, 7, 4], [4, 3, 4, 4]]),
        ("'((30, 10, 50, 25),)'", [[10, 30, 15, 20]]),
        ("((30.5, 10, 50, 25),)", [[10, 30.5, 15, 19.5]]),
        ("((90, 70, 120, 95),)", [[70, 90, 10, 10]]),  # over the edge of 80 x 100: clipped
    ],
)
def test_the_cell_of_boxes(tmp_path: Path, cell: str, expected: list[list[float]]) -> None:
    coco, _ = converted(lay_out(tmp_path, [image_row(ROI_coords=cell)], [finding_row()]))
    assert [one["bbox"] for one in coco.annotations] == expected


@pytest.mark.parametrize(
    "cell",
    [
        "abc",
        "(1, 2, 3)",
        "((1, 2, 3, 'a'),)",
        "7",
        "(" * 9000,
        "((1, 2, 3, 1e999),)",
        f"((1, 2, 3, {'9' * 400}),)",
        "__import__('os').system('true')",
        "{1: 2}",
        "((1, 2, 3, 4)," * 900,
    ],
)
def test_a_malformed_cell_is_named_by_row_and_column(tmp_path: Path, cell: str) -> None:
    root = lay_out(tmp_path, [image_row(), image_row("1.2.826.2", ROI_coords=cell)], [finding_row()])
    expected = (
        r"EMBED_OpenData_metadata\.csv: row at line 3, column ROI_coords: is no list of boxes .*ymin, xmin"
    )
    with pytest.raises(InputError, match=expected):
        converted(root)


@settings(max_examples=100, deadline=None)
@given(
    cell=st.text(max_size=60)
    | st.text("()[]{},'\"0123456789-+.jeE \n", max_size=60)
    | st.from_regex(r"\d{1,6}")
)
def test_any_cell_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, cell: str) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed_embed"
    row = image_row(
        ROI_coords=cell.encode("utf-8", "replace").decode(), match_level=cell[:9], Rows=cell[:5], Columns=80
    )
    lay_out(root, [row], [finding_row()])
    try:
        coco, _ = converted(root)
    except InputError:
        return
    assert len(coco.images) == 1


def test_what_is_not_taken_is_told(tmp_path: Path) -> None:
    images = [
        image_row(),
        image_row(),  # the same file again
        image_row("1.2.826.2", FinalImageType="cview"),
        image_row("1.2.826.3", ROI_coords="((10, 50, 5, 60),)"),  # ymax above ymin
        image_row("1.2.826.4", num_roi=2),
        image_row("1.2.826.5", spot_mag="1.0", num_roi=0, ROI_coords="()"),
        image_row("1.2.826.6"),
    ]
    root = lay_out(tmp_path, images, [finding_row(asses="?", side="Q")], **{"1.2.826.6": "absent"})
    coco, audit = converted(root)
    assert len(coco.images) == 4
    assert {reason: dict(what) for reason, what in audit.dropped.items()} == {
        "a second row of one file": {"1.2.826.1.dcm": 1},
        "the image type is cview, not 2D": {"1.2.826.2.dcm": 1},
        "no such image file": {"1.2.826.6.dcm": 1},
    }
    assert sum(what.total() for what in audit.lesions_dropped.values()) == 1
    assert {remark: len(what) for remark, what in audit.notes.items()} == {
        "unknown code in side: taken as missing": 1,
        "unknown code in asses: taken as missing": 1,
        "num_roi differs from the boxes of ROI_coords: these are taken": 1,
        "a spot compression or magnification view": 1,
        "boxes ignored: the findings of the breast differ, or nothing decides": 3,
    }
    assert [image["provenance"]["spot_mag"] for image in coco.images] == [False, False, False, True]


def test_boxes_follow_a_file_of_another_size(tmp_path: Path) -> None:
    """The table says 200 x 160, the PNG export has half of it."""
    images = [image_row(Rows="200.0", Columns="160.0"), image_row("1.2.826.2", Rows=100, Columns=100)]
    coco, audit = converted(lay_out(tmp_path, images, [finding_row()]))
    assert [one["bbox"] for one in coco.annotations] == [[5, 15, 7.5, 10]]
    assert list(audit.dropped) == ["the annotations were drawn on an image of another shape"]


def test_the_kind_of_finding_is_that_of_all_findings_of_the_breast(tmp_path: Path) -> None:
    root = lay_out(tmp_path, [image_row()], [finding_row(calcfind="P"), finding_row(calcnumber=3, numfind=2)])
    assert converted(root)[0].annotations[0]["finding"] == "calcification"
    root = lay_out(
        tmp_path, [image_row()], [finding_row(massshape="S"), finding_row(massshape="Q", numfind=2)]
    )
    assert "finding" not in converted(root)[0].annotations[0]


def test_the_reduced_tables_beside_the_images_will_do(tmp_path: Path) -> None:
    root = lay_out(tmp_path, [image_row()], [finding_row(path_severity=4)])
    for kind in ("metadata", "clinical"):
        (root / "tables" / f"EMBED_OpenData_{kind}.csv").rename(root / f"EMBED_OpenData_{kind}_reduced.csv")
    assert boxes(converted(root)[0]) == [([10, 30, 15, 20], 1, 0)]


def test_missing_tables_and_columns_are_named(tmp_path: Path) -> None:
    root = lay_out(tmp_path, [image_row()], [finding_row()])
    table = root / "tables" / "EMBED_OpenData_metadata.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("ROI_coords", "roi"), encoding="utf-8")
    with pytest.raises(InputError, match=r"EMBED_OpenData_metadata\.csv: ROI_coords: has no such column"):
        converted(root)
    write_table(table, META, [image_row(anon_dicom_path="")])
    with pytest.raises(InputError, match="anon_dicom_path: the path is missing"):
        converted(root)
    (root / "tables" / "EMBED_OpenData_clinical.csv").unlink()
    with pytest.raises(InputError, match=r"EMBED_OpenData_clinical\.csv: no such file"):
        converted(root)
