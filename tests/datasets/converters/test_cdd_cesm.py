"""CDD-CESM on its real tables, and on rows and regions that they do not have."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mammodet.datasets.coco import Coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import convert
from mammodet.datasets.converters.tables import Row
from mammodet.datasets.converters.via_regions import region_shape
from mammodet.datasets.errors import InputError

IMAGES, REGIONS = "Radiology-manual-annotations.csv", "Radiology_hand_drawn_segmentations_v2.csv"
FOLDERS = {"DM": "Low energy images of CDD-CESM", "CM": "Subtracted images of CDD-CESM"}
HEADER = (
    "Image_name,Patient_ID,Side,Type,Age,Breast density (ACR),BIRADS,Findings,View,Tags,Machine,"
    "Pathology Classification/ Follow up"
)
SIZE = (1300, 3100)


def row(
    name: str = "P1_L_DM_MLO",
    *,
    birads: str = "4",
    findings: str = "Irregular mass",
    pathology: str = "Malignant",
    density: str = "C",
    age: str = "46",
) -> str:
    patient, side, kind, view = name.strip().split("_")
    shown = "CESM" if kind == "CM" else kind
    return f'{name},{patient[1:]},{side},{shown},{age},{density},{birads},"{findings}",{view},"tags",1,{pathology}'


def region(name: str, shape: Any, number: int = 0) -> str:
    cell = (shape if isinstance(shape, str) else json.dumps(shape)).replace('"', '""')
    return f'{name}.jpg,1,{{}},1,{number},"{cell}",{{}}'


def image(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path, draft=True)


def lay_out(
    root: Path, rows: Sequence[str], regions: Sequence[str], names: Sequence[str] | None = None
) -> Path:
    """Write both tables, and the images of the rows or of ``names`` where the data set has them."""
    root.mkdir(parents=True)
    (root / IMAGES).write_text("\n".join([HEADER, *rows]) + "\n")
    head = (
        "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    )
    (root / REGIONS).write_text("\n".join([head, *regions]) + "\n")
    for name in [line.split(",")[0].strip() for line in rows] if names is None else names:
        image(root / "CDD-CESM" / FOLDERS[name.split("_")[2]] / f"{name}.jpg")
    return root


def run(root: Path) -> tuple[Coco, Audit]:
    return convert(load_source("cdd-cesm"), root, root.parent / "coco.json")


def noted(audit: Audit, words: str) -> list[str]:
    return [what for remark, counted in audit.notes.items() if words in remark for what in counted]


CIRCLE = {"name": "circle", "cx": 300, "cy": 400, "r": 50}
SQUARE = {"name": "polygon", "all_points_x": [10, 30, 30, 10], "all_points_y": [50, 50, 90, 90]}


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Coco, Audit]:
    """Convert the real rows of both tables, on empty images in the real folders."""
    source = shared_data / "formats" / "cdd_cesm"
    root = tmp_path_factory.mktemp("cesm") / "PKG - CDD-CESM"
    root.mkdir()
    for table in (IMAGES, REGIONS):
        (root / table).write_bytes((source / table).read_bytes())
    for line in (source / IMAGES).read_text().splitlines()[1:]:
        name = line.split(",")[0].strip()
        suffix = " .jpg" if name == "P3_L_CM_CC" else ".jpg"  # some files have a space there
        image(root / "CDD-CESM" / FOLDERS[name.split("_")[2]] / f"{name}{suffix}")
    return run(root)


def film(coco: Coco, stem: str) -> dict[str, Any]:
    return dict(next(one for one in coco.images if Path(one["file_name"]).stem.strip() == stem))


def lesions(coco: Coco, stem: str) -> list[dict[str, Any]]:
    return [dict(one) for one in coco.annotations_of[film(coco, stem)["id"]]]


def test_every_real_row_and_region_is_used(real: tuple[Coco, Audit]) -> None:
    coco, audit = real
    assert len(coco.images) == 27
    # 27 rows and 59 regions; one is stored twice
    assert (audit.rows_read, audit.rows_used) == (86, 86)
    assert len(coco.annotations) == 58
    repeated = {"P37_L_CM_CC [54.0, 1069.0, 548.0, 494.0]": 1}
    assert audit.lesions_dropped == {"the same lesion twice on one image: taken once": repeated}
    assert audit.unlisted == []
    shapes = [one["geometry_source"] for one in coco.annotations]
    counts = {kind: shapes.count(kind) for kind in ("polygon", "circle", "box")}
    # 15 polygons, 9 of 10 polylines, 15 ellipses; 15 circles; 4 points
    assert counts == {"polygon": 39, "circle": 15, "box": 4}
    assert [one["label"] for one in coco.images].count("malignant") == 11
    assert len(noted(audit, "recombined")) == 10


@pytest.mark.parametrize(
    ("stem", "boxes"),
    [
        # circles: centre -/+ radius
        ("P6_R_DM_CC", [(373, 1315, 28, 28), (456, 687, 1, 1)]),  # 387 1329 14, and a point
        ("P10_L_DM_CC", [(29, 431, 78, 78)]),  # 68 470 39
        # ellipse without theta: centre -/+ radii
        ("P2_R_DM_CC", [(285, 800, 206, 214), (684, 1203, 166, 166), (195, 1802, 154, 154)]),
        # smallest and greatest x and y of the points
        ("P1_L_CM_MLO", [(49, 399, 1192, 1161)]),
        ("P3_L_CM_CC", [(692, 2119, 429, 215)]),
        ("P30_R_DM_MLO", [(904, 1171, 117, 78)]),  # a polyline
        ("P174_R_DM_MLO", [(19, 1819, 221, 716)]),
    ],
)
def test_real_regions_worked_out_by_hand(
    real: tuple[Coco, Audit], stem: str, boxes: list[tuple[int, ...]]
) -> None:
    coco, _ = real
    assert [tuple(one["bbox"]) for one in lesions(coco, stem)] == boxes


def test_real_rows_make_the_image(real: tuple[Coco, Audit]) -> None:
    coco, _ = real
    assert {key: value for key, value in film(coco, "P2_R_DM_CC").items() if key != "id"} == {
        "file_name": "PKG - CDD-CESM/CDD-CESM/Low energy images of CDD-CESM/P2_R_DM_CC.jpg",
        "width": SIZE[0],
        "height": SIZE[1],
        "patient_id": "2",
        "breast_id": "2-R",
        "laterality": "R",
        "view": "CC",
        "age": 31,
        "density": "C",
        "label": "benign",
        "dataset": "CDD-CESM",
        "provenance": {
            "type": "DM",
            "birads": "3$2",
            "findings": "Multiple equal density  masses$Benign macrocalcifications",
            "tags": "benign, masses, macrocalcification",
            "machine": "2",
            "pathology": "Benign",
        },
    }
    assert film(coco, "P2_R_CM_CC")["provenance"]["type"] == "CM"
    assert "density" not in film(coco, "P2_R_CM_CC")


@pytest.mark.parametrize(
    ("stem", "finding", "birads"),
    [
        ("P1_L_DM_MLO", "distortion", "4"),
        ("P1_L_CM_MLO", "other", "4"),  # non mass enhancement
        ("P2_R_DM_CC", None, None),  # masses and calcifications, 3$2
        ("P2_R_CM_CC", "mass", "3"),
        ("P2_L_DM_CC", "other", "2"),  # flap
        ("P6_R_DM_CC", "calcification", "2"),
        ("P10_L_DM_CC", None, "1"),  # "Normal", yet with a region and benign
        ("P37_L_DM_CC", "asymmetry", "3"),
        ("P74_L_DM_MLO", None, "5"),  # asymmetry with microcalcifications
    ],
)
def test_findings_follow_the_words_of_the_report(
    real: tuple[Coco, Audit], stem: str, finding: str | None, birads: str | None
) -> None:
    for lesion in lesions(real[0], stem):
        assert (lesion.get("finding"), lesion.get("birads")) == (finding, birads)


def test_points_are_ignored_and_outlines_closed(real: tuple[Coco, Audit]) -> None:
    coco, _ = real
    circle, point = lesions(coco, "P6_R_DM_CC")
    assert (circle.get("ignore"), point["ignore"]) == (None, 1)
    assert point["provenance"] == {"point": [456, 687]}
    (traced,) = lesions(coco, "P174_R_DM_MLO")
    assert traced["provenance"] == {"drawn": "polyline"}
    assert len(traced["segmentation"][0]) == 2 * 6
    assert (traced["category_id"], traced["pathology"]) == (1, "benign")


@pytest.mark.parametrize(
    ("pathology", "label", "category", "ignored", "note"),
    [
        ("Malignant", "malignant", 2, None, None),
        ("Benign", "benign", 1, None, None),
        ("Normal", "normal", 1, 1, "regions on a normal image"),
        ("Benign$Malignant", "malignant", 1, 1, "several pathologies"),
        ("Malignant$Malignant", "malignant", 2, None, None),
        ("Normal$Benign", "benign", 1, 1, "several pathologies"),
        ("", None, 1, 1, "no known pathology"),
        ("pending", None, 1, 1, "no known pathology"),
    ],
)
def test_regions_take_the_pathology_of_their_image(
    tmp_path: Path, pathology: str, label: str | None, category: int, ignored: int | None, note: str | None
) -> None:
    name = "P1_L_DM_MLO"
    root = lay_out(tmp_path / "cesm", [row(name, pathology=pathology)], [region(name, CIRCLE)])
    coco, audit = run(root)
    (lesion,) = coco.annotations
    assert (coco.images[0].get("label"), lesion["category_id"], lesion.get("ignore")) == (
        label,
        category,
        ignored,
    )
    assert note is None or noted(audit, note)
    assert len(audit.notes) == (note is not None)


def test_images_without_regions_stay(tmp_path: Path) -> None:
    rows = [
        row("P1_L_DM_CC", pathology="Normal"),
        row("P1_R_DM_CC", pathology="Malignant"),
        row("P2_R_CM_CC"),
    ]
    root = lay_out(tmp_path / "cesm", rows, [region("P1_L_DM_CC", "{}"), region("P2_R_CM_CC", CIRCLE)])
    coco, audit = run(root)
    assert [one["label"] for one in coco.images] == ["normal", "malignant", "malignant"]
    assert len(coco.annotations) == 1
    assert noted(audit, "without a region") == ["P1_R_DM_CC"]


def test_rows_regions_and_files_that_do_not_match_are_told(tmp_path: Path) -> None:
    rows = [row("P1_L_DM_CC"), row("P9_L_DM_CC")]
    regions = [region("P1_L_DM_CC", CIRCLE), region("P8_L_DM_CC", CIRCLE), region("P8_L_DM_CC", SQUARE, 1)]
    root = lay_out(tmp_path / "cesm", rows, regions, names=["P1_L_DM_CC", "P7_L_CM_CC"])
    coco, audit = run(root)
    assert len(coco.images) == 1
    assert audit.dropped == {
        "no such image file": {"P9_L_DM_CC": 1},
        "regions of an image that the table does not name": {"P8_L_DM_CC.jpg": 2},
    }
    assert audit.unlisted == ["CDD-CESM/Subtracted images of CDD-CESM/P7_L_CM_CC.jpg"]


def test_names_with_spaces_and_several_rows_are_one_image(tmp_path: Path) -> None:
    rows = [row("P1_L_DM_CC ", birads="4"), row("P1_L_DM_CC", birads="2", pathology="Benign")]
    root = lay_out(tmp_path / "cesm", rows, [region("P1_L_DM_CC ", CIRCLE)], names=["P1_L_DM_CC "])
    coco, audit = run(root)
    assert [one["provenance"]["birads"] for one in coco.images] == ["4$2"]
    assert coco.images[0]["label"] == "malignant"
    assert coco.annotations[0]["ignore"] == 1
    assert (audit.rows_read, audit.rows_used) == (3, 3)


def test_a_name_that_contradicts_its_columns_is_told(tmp_path: Path) -> None:
    swapped = row("P1_L_DM_CC").replace(",1,L,", ",1,R,")
    coco, audit = run(lay_out(tmp_path / "cesm", [swapped], [region("P1_L_DM_CC", CIRCLE)]))
    assert coco.images[0]["laterality"] == "R"
    assert noted(audit, "disagree") == ["P1_L_DM_CC"]


def test_outlines_that_enclose_nothing_are_dropped(tmp_path: Path) -> None:
    line = {"name": "polyline", "all_points_x": [1, 5], "all_points_y": [2, 9]}
    flat = {"name": "ellipse", "cx": 9, "cy": 9, "rx": 4, "ry": 0}
    dot = {"name": "circle", "cx": 9, "cy": 9, "r": 0}
    outside = {"name": "circle", "cx": 5000, "cy": 9, "r": 5}
    name = "P1_L_DM_CC"
    shapes = [line, flat, dot, outside, SQUARE]
    root = lay_out(tmp_path / "cesm", [row(name)], [region(name, one, i) for i, one in enumerate(shapes)])
    coco, audit = run(root)
    assert [one["bbox"] for one in coco.annotations] == [[10, 50, 20, 40]]
    assert coco.annotations[0]["area"] == 800
    assert {reason: counted.total() for reason, counted in audit.lesions_dropped.items()} == {
        "the outline encloses nothing": 2,
        "the box is empty or lies outside its image": 2,
    }


def shape_of(told: Any) -> Any:
    cell = told if isinstance(told, str) else json.dumps(told)
    return region_shape(Row(Path("regions.csv"), 7, {"region_shape_attributes": cell}))


def test_an_ellipse_turns_clockwise_by_radians() -> None:
    """An ellipse of 100 x 10 turned by 30 degrees: its right end points down to (86.6, 50)."""
    told = {"name": "ellipse", "cx": 0, "cy": 0, "rx": 100, "ry": 10, "theta": math.pi / 6}
    shape = shape_of(told)
    half_width, half_height = (
        math.hypot(100 * math.cos(math.pi / 6), 5),
        math.hypot(50, 10 * math.cos(math.pi / 6)),
    )
    assert shape.bbox == pytest.approx((-half_width, -half_height, 2 * half_width, 2 * half_height))
    assert shape.segmentation[0][:2] == pytest.approx([86.6025, 50])
    assert shape.area == pytest.approx(math.pi * 1000)
    assert shape_of({**told, "theta": 0}).bbox == (-100, -10, 200, 20)


def test_the_other_shapes_of_the_annotator() -> None:
    assert shape_of({"name": "rect", "x": 3, "y": 4, "width": 5, "height": 6}).bbox == (3, 4, 5, 6)
    assert shape_of({"name": "point", "cx": 3.7, "cy": 4.2}).bbox == (3, 4, 1, 1)
    assert shape_of("{}") is None
    assert shape_of("") is None


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[1]", "must be a JSON object"),
        ({"name": "blob"}, "must be a polygon"),
        ({"name": ["polygon"]}, "must be a polygon"),
        ({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1]}, "as many all_points_x"),
        ({"name": "polygon", "all_points_x": [], "all_points_y": []}, "as many all_points_x"),
        ({"name": "polyline", "all_points_x": ["1"], "all_points_y": [1]}, "numbers of pixels"),
        ({"name": "polyline", "all_points_x": [1], "all_points_y": [10**400]}, "numbers of pixels"),
        ('{"name": "circle", "cx": NaN, "cy": 1, "r": 1}', "cx must be a number"),
        ({"name": "circle", "cx": 1, "cy": 1}, "r must be a number"),
        ({"name": "circle", "cx": 1, "cy": 1, "r": -1}, "r must not be negative"),
        ({"name": "ellipse", "cx": 1, "cy": True, "rx": 1, "ry": 1}, "cy must be a number"),
        ({"name": "ellipse", "cx": 1, "cy": 1, "rx": 1, "ry": 1, "theta": "1"}, "theta must be a number"),
        ({"name": "rect", "x": 1, "y": 1, "width": 1e9, "height": 1}, "width must be a number"),
    ],
)
def test_malformed_regions_are_named(told: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"regions\.csv: row at line 7, column region_shape.*{message}"):
        shape_of(told)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",L,", ",X,", "column Side: must be L or R"),
        (",DM,", ",MR,", "column Type: must be DM or CM or CESM"),
        (",1,L,", ",,L,", "column Patient_ID: is missing"),
        ("Image_name", "Image", "has no such column"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    root = lay_out(tmp_path / "cesm", [row("P1_L_DM_CC")], [])
    text = (root / IMAGES).read_text()
    assert old in text
    (root / IMAGES).write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        run(root)


def test_tables_are_found_by_their_spellings_and_missed_with_a_remedy(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "cesm", [row("P1_L_DM_CC")], [region("P1_L_DM_CC", CIRCLE)])
    (root / IMAGES).rename(root / "CDD-CESM" / "Radiology manual annotations.csv")
    (root / REGIONS).rename(root / "Radiology_hand_drawn_segmentations.csv")
    assert len(run(root)[0].annotations) == 1
    (root / "Radiology_hand_drawn_segmentations_v2.csv").write_text("")
    with pytest.raises(InputError, match=r"several of Radiology_hand_drawn.*leave one"):
        run(root)
    (root / "CDD-CESM" / "Radiology manual annotations.csv").unlink()
    with pytest.raises(InputError, match=r"there is no Radiology-manual-annotations\.csv; give the folder"):
        run(root)
    (root / "Radiology-manual-annotations.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match=r'save its sheet "all" as Radiology-manual-annotations\.csv'):
        run(root)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ("name", "cx", "cy", "r", "rx", "ry", "theta", "x", "y", "all_points_x", "all_points_y")
)
NAMES = st.sampled_from(("polygon", "polyline", "ellipse", "circle", "point", "rect"))


@given(st.dictionaries(KEYS, VALUES, max_size=8), NAMES | VALUES)
def test_any_region_is_read_or_refused(told: dict[str, Any], name: Any) -> None:
    try:
        shape = shape_of({**told, "name": name})
    except InputError as error:
        assert str(error).startswith("regions.csv: row at line 7")
    else:
        assert shape is not None
        assert all(math.isfinite(value) for value in shape.bbox)
