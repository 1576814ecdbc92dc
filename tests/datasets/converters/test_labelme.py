"""LabelMe: every kind of shape with hand-computed boxes, image names of other machines, and broken files."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import convert
from mammodet.datasets.converters.options import Options
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError
from mammodet.datasets.masks import segmentation_to_mask

WIDTH, HEIGHT = 100, 80


def image(path: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    write_png(path, np.zeros((height, width), dtype=np.uint8))


def shape(kind: str | None, points: object, label: object = "benign", **more: object) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def lay_out(
    folder: Path,
    shapes: Sequence[object],
    name: str = "x",
    width: int = WIDTH,
    height: int = HEIGHT,
    **more: Any,
) -> Path:
    image(folder / f"{name}.png", width, height)
    content = {"version": "5.5.0", "shapes": shapes, "imagePath": f"{name}.png", "imageData": None}
    content |= {"imageHeight": HEIGHT, "imageWidth": WIDTH, **more}
    (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def converted(root: Path, **options: Any) -> tuple[Coco, Audit]:
    return convert(load_source("labelme"), root, root.parent / "coco.json", Options(**options))


def coded(mask: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(cv2.imencode(".png", mask)[1].tobytes()).decode()


def test_every_kind_of_shape(tmp_path: Path) -> None:
    inside = np.zeros((4, 6), dtype=np.uint8)
    inside[1:3, 2:5] = 255
    shapes = [
        shape(
            "rectangle", [[30, 40], [10, 20]], "malignant_mass", group_id=3, flags={"sharp": True, "b": False}
        ),
        shape("rectangle", [[10, 20], [30, 20], [30, 40], [10, 40]]),
        shape("polygon", [[10, 10], [50, 10], [50, 40]]),
        shape(None, [[1, 1], [2, 1], [2, 2]]),
        shape("circle", [[50, 40], [53, 44]]),
        shape("mask", [[20, 30], [25, 33]], mask=coded(inside)),
        shape("oriented_rectangle", [[10, 5], [15, 10], [10, 15], [5, 10]]),
        shape("point", [[7.9, 8.1]], "malignant"),
        shape("line", [[10, 10], [10, 30]]),
        shape("linestrip", [[10, 10], [20, 30], [15, 35]]),
    ]
    coco, audit = converted(lay_out(tmp_path / "data", shapes))
    assert [(one["bbox"], one["geometry_source"], one.get("ignore", 0)) for one in coco.annotations] == [
        ([10, 20, 20, 20], "box", 0),
        ([10, 20, 20, 20], "box", 0),
        ([10, 10, 40, 30], "polygon", 0),
        ([1, 1, 1, 1], "polygon", 0),
        ([45, 35, 10, 10], "circle", 0),  # radius 5
        ([22, 31, 3, 2], "mask", 0),
        ([5, 5, 10, 10], "polygon", 0),
        ([7, 8, 1, 1], "box", 1),
        ([10, 10, 1, 20], "box", 1),
        ([10, 10, 10, 25], "box", 1),
    ]
    assert coco.annotations[2]["area"] == pytest.approx(600)
    mask = segmentation_to_mask(coco.annotations[5]["segmentation"], WIDTH, HEIGHT)
    assert mask.sum() == 6
    assert mask[31:33, 22:25].all()
    assert coco.annotations[0]["finding"] == "mass"
    assert coco.annotations[0]["provenance"] == {
        "class": "malignant_mass",
        "shape_type": "rectangle",
        "group_id": 3,
        "flags": ["sharp"],
    }
    assert coco.images[0]["label"] == "malignant"
    assert audit.notes["a point or line encloses nothing: kept with ignore 1"] == {"x.json": 3}


def test_an_image_whose_only_malignant_mark_is_a_point_is_malignant(tmp_path: Path) -> None:
    coco, _ = converted(lay_out(tmp_path / "data", [shape("point", [[7, 8]], "malignant")]))
    assert coco.images[0]["label"] == "malignant"


def test_no_shape_is_normal_and_the_name_tells_the_patient(tmp_path: Path) -> None:
    coco, _ = converted(lay_out(tmp_path / "test", [], "12_R_MLO"))
    (one,) = coco.images
    assert (one["label"], one["patient_id"], one["laterality"], one["view"]) == ("normal", "12", "R", "MLO")
    folder = lay_out(tmp_path / "data" / "test", [], "12_R_MLO")
    assert converted(folder.parent)[0].images[0]["split"] == "test"


@pytest.mark.parametrize(
    "name", ["..\\images\\x.png", "../images/x.png", "images/x.png", "C:\\Users\\jane\\x.png", "x.jpg"]
)
def test_images_in_another_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "data"
    lay_out(root / "json", [shape("rectangle", [[1, 1], [2, 3]])], imagePath=name)
    (root / "images").mkdir()
    (root / "json" / "x.png").rename(root / "images" / "x.png")
    coco, _ = converted(root)
    assert coco.images[0]["file_name"] == "data/images/x.png"
    assert "jane" not in (tmp_path / "coco.json").read_text()


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png", "../../data/../secret.png"])
def test_names_never_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    image(tmp_path / "secret.png")
    root = lay_out(tmp_path / "data", [])
    lay_out(root, [shape("rectangle", [[1, 1], [2, 3]])], "y", imagePath=name)
    (root / "y.png").unlink()
    coco, audit = converted(root)
    assert [one["file_name"] for one in coco.images] == ["data/x.png"]
    assert audit.without_pixels == [name]


def test_shapes_drawn_on_a_copy_of_another_size_are_rescaled_masks_too(tmp_path: Path) -> None:
    shapes = [
        shape("mask", [[20, 30], [25, 33]], mask=coded(np.full((4, 6), 255, dtype=np.uint8))),
        shape("polygon", [[10, 10], [50, 10], [50, 40]]),
    ]
    coco, audit = converted(lay_out(tmp_path / "data", shapes, width=200, height=160))
    assert [one["bbox"] for one in coco.annotations] == [[40, 60, 12, 8], [20, 20, 80, 60]]
    mask = segmentation_to_mask(coco.annotations[0]["segmentation"], 200, 160)
    assert mask.sum() == 96
    assert mask[60:68, 40:52].all()
    assert [one["area"] for one in coco.annotations] == pytest.approx([96, 2400])
    assert audit.notes["the annotations were drawn on an image of another size: rescaled"] == {"x.png": 1}
    with pytest.raises(InputError, match="drawn on an image of another shape"):
        converted(lay_out(tmp_path / "other", shapes, width=200, height=100))


def test_masks_over_the_edge_are_cut_and_empty_ones_noted(tmp_path: Path) -> None:
    full = coded(np.full((4, 6), 255, dtype=np.uint8))
    shapes = [
        shape("mask", [[-2, -1], [3, 2]], mask=full),
        shape("mask", [[98, 78], [103, 81]], mask=full),
        shape("mask", [[200, 300], [205, 303]], mask=full),
        shape("mask", [[1, 1], [6, 4]], mask=coded(np.zeros((4, 6), dtype=np.uint8))),
    ]
    coco, audit = converted(lay_out(tmp_path / "data", shapes))
    assert [one["bbox"] for one in coco.annotations] == [[0, 0, 4, 3], [98, 78, 2, 2]]
    assert audit.notes["the mask is empty"] == {"x.json shapes[2]": 1, "x.json shapes[3]": 1}


def test_classes_are_given_by_their_name(tmp_path: Path) -> None:
    root = lay_out(
        tmp_path / "data", [shape("rectangle", [[1, 1], [2, 3]], "mass"), shape("point", [[1, 1]], "nipple")]
    )
    with pytest.raises(InputError, match="these classes are benign or malignant: mass, nipple"):
        converted(root)
    coco, _ = converted(root, classes={"mass": "malignant", "nipple": "ignore"})
    assert [one["category_id"] for one in coco.annotations] == [2, 1]
    assert coco.images[0]["label"] == "malignant"


def test_other_json_files_are_noted_and_none_at_all_is_refused(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "data", [])
    (root / "other.json").write_text('{"images": []}')
    assert converted(root)[1].notes["not read: a JSON file that is no LabelMe annotation"] == {
        "other.json": 1
    }
    (root / "x.json").unlink()
    with pytest.raises(InputError, match="no LabelMe annotation"):
        converted(root)


def test_two_files_of_one_image_are_refused(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "data", [])
    lay_out(root, [], "y", imagePath="x.png")
    with pytest.raises(
        InputError, match=r"y\.json: imagePath: describes an image that x\.json describes too"
    ):
        converted(root)


_PNG = coded(np.full((3, 3), 255, dtype=np.uint8))


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (7, "shapes[0].label: a shape must have a label"),
        (shape("rectangle", [[1, 1], [2, 2]], ""), "shapes[0].label: a shape must have a label"),
        (shape("rectangle", [[1, 1], [2, 2]], ["benign"]), "shapes[0].label: a shape must have a label"),
        (shape("star", [[1, 1], [2, 2]]), "shapes[0].shape_type: must be one of polygon"),
        (shape([[[]]], [[1, 1], [2, 2]]), "shapes[0].shape_type: must be one of polygon"),  # type: ignore[arg-type]
        (shape("rectangle", [[1, 1]]), "a rectangle must have 2 to 4 points"),
        (shape("polygon", [[1, 1], [2, 2]]), "a polygon must have 3 to"),
        (shape("circle", [[1, 1], [2, 2], [3, 3]]), "a circle must have 2 to 2 points"),
        (shape("rectangle", {"x": 1}), "a rectangle must have 2 to 4 points"),
        (shape("rectangle", [[1, 1], [2]]), "a point must be [x, y]"),
        (shape("rectangle", [[1, 1], ["2", 2]]), "a point must be [x, y]"),
        (shape("rectangle", [[1, 1], [None, 2]]), "must be a number of pixels (found 'nothing')"),
        (shape("rectangle", [[1, 1], [True, 2]]), "must be a number of pixels"),
        (shape("rectangle", [[1, 1], [[[2]], 2]]), "must be a number of pixels (found 'list')"),
        (shape("rectangle", [[1, 1], [1e308, 2]]), "must be a number of pixels"),
        (shape("rectangle", [[1, 1], [10**400, 2]]), "must be a number of pixels"),
        (shape("mask", [[1, 1], [3, 3]]), "shapes[0].mask: must be a PNG in base64"),
        (shape("mask", [[1, 1], [3, 3]], mask="???"), "shapes[0].mask: must be a PNG in base64"),
        (shape("mask", [[1, 1], [3, 3]], mask="aGVsbG8="), "shapes[0].mask: must be a PNG in base64"),
        (
            shape("mask", [[1, 1], [3, 3]], mask=_PNG[:60] + "A" * 20),
            "shapes[0].mask: must be a PNG in base64",
        ),
        (shape("mask", [[1, 1], [4, 3]], mask=_PNG), "must be as large as its box, 4 x 3 (found '3 x 3')"),
        (shape("mask", [[0, 0], [99999, 99999]], mask=_PNG), "claims more pixels than any mammogram"),
    ],
)
def test_a_malformed_shape_is_named(tmp_path: Path, entry: object, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        converted(lay_out(tmp_path / "data", [entry]))
    line = str(caught.value)
    assert problem in line
    assert "x.json" in line
    assert "\n" not in line
    assert len(line) < 500


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is no JSON"),
        ('{"shapes": [', "is no JSON"),
        ('{"shapes": [{"points": [[NaN, 1]]}]}', "NaN is no JSON number"),
        ('{"shapes": [{"points": [[Infinity, 1]]}]}', "Infinity is no JSON number"),
        ("[" * 200_000, "nested too deeply|is no JSON"),
        ('{"shapes": ' + "9" * 5000 + "}", "is no JSON"),
        ('{"shapes": [], "imagePath": "a\\u0000.png"}', "imagePath: is missing or no name"),
        ('{"shapes": [], "imagePath": ["a.png"]}', "imagePath: is missing or no name"),
        ('{"shapes": []}', "imagePath: is missing or no name"),
        (
            '{"shapes": [], "imagePath": "x.png", "imageWidth": 1e3, "imageHeight": 5}',
            "must be whole numbers",
        ),
        ('{"shapes": [], "imagePath": "x.png", "imageWidth": -1, "imageHeight": 5}', "has no pixels"),
        (
            '{"shapes": [], "imagePath": "x.png", "imageWidth": 99999, "imageHeight": 99999}',
            "claims more pixels",
        ),
        ("\0", "zero characters"),
    ],
)
def test_hostile_files_are_one_line(tmp_path: Path, text: str, problem: str) -> None:
    root = lay_out(tmp_path / "data", [])
    (root / "x.json").write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        converted(root)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_encodings_and_sizes(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "data", [shape("rectangle", [[1, 1], [2, 3]])], imageData="A" * 2_000_000)
    text = (root / "x.json").read_text()
    for content in (text.replace(", ", ",\r\n").encode("utf-8-sig"), text.encode("utf-16")):
        (root / "x.json").write_bytes(content)
        assert len(converted(root)[0].annotations) == 1
    (root / "x.json").write_bytes(text.encode().replace(b"benign", b"b\xf6se"))
    with pytest.raises(InputError, match="no text in UTF-8"):
        converted(root)
    with (root / "x.json").open("wb") as stream:
        stream.truncate(100 * 2**20)
    with pytest.raises(InputError, match="104857600 bytes"):
        converted(root)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_KINDS = st.sampled_from(["polygon", "rectangle", "circle", "point", "line", "linestrip", "mask", None])
_POINT = st.lists(st.floats(-1e7, 1e7) | st.integers(-300, 300), min_size=2, max_size=2)
_SHAPES = st.builds(
    shape,
    _KINDS,
    st.lists(_POINT, max_size=5) | _VALUES,
    st.just("benign") | _VALUES,
    mask=st.just(_PNG) | _VALUES,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_SHAPES | _VALUES, max_size=3), _VALUES)
def test_any_shapes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[Any], size: object
) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed_labelme"
    for more in ({}, {"imageWidth": size}, {"imagePath": size}):
        lay_out(root, shapes, **more)
        try:
            converted(root, classes={"benign": "benign"})
        except InputError as error:
            assert "\n" not in str(error)
