"""The seed's own CSV: real rows, malformed cells named by row and column, nothing evaluated."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import convert
from mammodet.datasets.converters.seed_csv import _keys_from_name
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError

BOX = '{"x": 10, "y": 20, "width": 30, "height": 40, "label": "1"}'


def lay_out(folder: Path, rows: list[list[str]], height: int = 100, width: int = 90) -> Path:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with (folder / "annotations.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image_name", "box1", "box2"], *rows])
    for name in {row[0] for row in rows if row[0]}:
        write_png(folder / "images" / name, np.zeros((height, width), dtype=np.uint8))
    return folder


def converted(root: Path) -> tuple[Coco, Audit]:
    return convert(load_source("seed-csv"), root, root / "coco.json")


def test_the_shared_sample(tmp_path: Path, shared_data: Path) -> None:
    text = (shared_data / "formats" / "seed_csv" / "annotations.csv").read_text()
    names = [line.split(",")[0] for line in text.splitlines()[1:]]
    lay_out(tmp_path, [[name] for name in names], height=1000, width=800)
    (tmp_path / "annotations.csv").write_text(text)
    coco, audit = converted(tmp_path)
    assert [image["file_name"] for image in coco.images] == [f"images/{name}" for name in names]
    assert [(image["patient_id"], image["laterality"], image["view"]) for image in coco.images] == [
        ("0001", "L", "CC"),
        ("0001", "L", "MLO"),
        ("0002", "R", "CC"),
        ("0002", "R", "MLO"),
    ]
    assert [image["label"] for image in coco.images] == ["malignant", "malignant", "benign", "normal"]
    assert [(one["image_id"], one["category_id"], one["bbox"]) for one in coco.annotations] == [
        (1, 2, [320, 410, 120, 96]),
        (1, 1, [610, 770, 44, 52]),
        (2, 2, [280, 512, 131, 88]),
        (3, 1, [90, 130, 60, 61]),
    ]
    assert (audit.rows_read, audit.rows_used) == (4, 4)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("abc", "is no box"),
        ("[1, 2]", "is no box"),
        ("{", "is no box"),
        ("__import__('os').system('true')", "is no box"),
        ("{" * 5000, "is no box"),
        ('{"x": 1, "y": 2, "width": 3, "label": "1"}', "the box has no height"),
        ('{"x": 1, "y": 2, "width": 3, "height": 4}', "the box has no label"),
        (BOX.replace('"1"', '"2"'), "label must be 0"),
        (BOX.replace("10", '"10"'), "must be finite"),
        (BOX.replace("30", "0"), "above 0"),
        (BOX.replace("30", "1e999"), "must be finite"),
        (BOX.replace("30", "9" * 400), "must be finite"),
    ],
)
def test_a_malformed_cell_is_named_by_row_and_column(tmp_path: Path, cell: str, problem: str) -> None:
    root = lay_out(tmp_path, [["1_L_CC.png", BOX, ""], ["2_L_CC.png", "", cell]])
    with pytest.raises(InputError, match=rf"annotations\.csv: row at line 3, column box2: .*{problem}"):
        converted(root)


@settings(max_examples=100, deadline=None)
@given(cell=st.text(min_size=1, max_size=60) | st.text("{}[]():,'\"0123456789-+jex \\\n", max_size=60))
def test_any_cell_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, cell: str) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed_csv"
    lay_out(root, [["1_L_CC.png", cell.encode("utf-8", "replace").decode(), ""]])
    try:
        coco, _ = converted(root)
    except InputError:
        return
    assert len(coco.images) == 1


def test_boxes_over_the_edge_are_clipped_and_those_outside_dropped(tmp_path: Path) -> None:
    over = '{"x": 80, "y": -5, "width": 30, "height": 40, "label": 0}'
    outside = '{"x": 90, "y": 5, "width": 30, "height": 40, "label": 0}'
    coco, audit = converted(lay_out(tmp_path, [["1_L_CC.png", over, outside]]))
    (lesion,) = coco.annotations
    assert lesion["bbox"] == [80, 0, 10, 35]
    assert lesion["provenance"]["bbox_before_clipping"] == [80, -5, 30, 40]
    assert audit.clipped == ["1_L_CC.png"]
    assert {reason: group["count"] for reason, group in audit.record()["lesions_dropped"].items()} == {
        "the box is empty or lies outside its image": 1
    }


def test_rows_of_one_image_are_joined_and_extra_cells_read(tmp_path: Path) -> None:
    root = lay_out(
        tmp_path,
        [["1_L_CC.png", BOX, "", BOX.replace("10", "50")], ["1_L_CC.png", BOX.replace('"1"', '"0"')]],
    )
    coco, audit = converted(root)
    assert len(coco.images) == 1
    assert len(coco.annotations) == 3
    assert audit.rows_used == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0001_L_CC.png", {"patient_id": "0001", "laterality": "L", "view": "CC"}),
        ("0001_R_MLO.png", {"patient_id": "0001", "laterality": "R", "view": "MLO"}),
        ("17C.png", {"patient_id": "17", "breast_id": "17", "view": "CC"}),
        ("17M.png", {"patient_id": "17", "breast_id": "17", "view": "MLO"}),
        ("17_MLO.png", {"patient_id": "17", "breast_id": "17", "view": "MLO"}),
        ("sub/17_CC.png", {"patient_id": "17", "breast_id": "17", "view": "CC"}),
        ("C.png", {"patient_id": "C", "breast_id": "C", "view": "CC"}),
    ],
)
def test_side_view_and_breast_from_the_name(name: str, expected: dict[str, str]) -> None:
    assert _keys_from_name(name) == expected


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    root = lay_out(tmp_path, [["1_L_CC.png", BOX, ""], ["", BOX, ""]])
    with pytest.raises(InputError, match="image name is missing"):
        converted(root)
    for content, problem in ((b"", "is empty"), (b"\xe9a\n", "no CSV in UTF-8"), (b'a,"b', "no CSV")):
        (root / "annotations.csv").write_bytes(content)
        with pytest.raises(InputError, match=problem):
            converted(root)
    (root / "annotations.csv").unlink()
    with pytest.raises(InputError, match="no such file"):
        converted(root)
