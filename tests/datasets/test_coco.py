"""Reading, checking and writing COCO files: every fault is found, and nothing but InputError is raised."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import (
    Coco,
    CocoError,
    check_coco,
    check_content,
    check_files,
    clip_bbox,
    profile_categories,
    read_coco,
    read_json,
    read_results,
    to_xywh,
    to_xyxy,
    write_coco,
)
from mammodet.datasets.errors import InputError


def content() -> dict[str, Any]:
    """Return two images of one patient, one with a lesion, one normal."""
    shared = {"width": 100, "height": 80, "patient_id": "p1", "study_id": "s1"}
    return {
        "info": {},
        "images": [
            {"id": 1, "file_name": "a.png", "laterality": "L", "view": "CC", "label": "malignant", **shared},
            {"id": 2, "file_name": "b.png", "laterality": "R", "view": "CC", "label": "normal", **shared},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 2,
                "bbox": [10.0, 20.0, 30.0, 40.0],
                "area": 1200.0,
                "iscrowd": 0,
            }
        ],
        "categories": profile_categories(),
    }


def coco_in(folder: Path) -> Coco:
    whole = content()
    return Coco(whole["images"], whole["annotations"], folder / "coco.json", whole["categories"])


def faults(changed: dict[str, Any]) -> list[tuple[str, object]]:
    return [(fault.where, fault.value) for fault in check_content(changed, "x.json")]


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the good content with the value at a path such as ``annotations.0.bbox`` replaced."""
    whole = copy.deepcopy(content())
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = whole
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return whole


def test_a_good_file_has_no_fault_and_survives_a_round_trip(tmp_path: Path) -> None:
    coco = coco_in(tmp_path)
    assert check_coco(coco) == []
    again = read_coco(write_coco(coco))
    assert (again.images, again.annotations, again.categories) == (
        coco.images,
        coco.annotations,
        coco.categories,
    )
    assert again.annotations_of[1] == coco.annotations
    assert again.annotations_of[2] == []
    assert again.image_path(again.image_by_id[2]) == tmp_path / "b.png"


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("images.0.id", ..., "images[0].id"),
        ("images.0.id", "1", "images[0].id"),
        ("images.0.id", True, "images[0].id"),
        ("images.0.id", 1.0, "images[0].id"),
        ("images.0.id", 2**63, "images[0].id"),
        ("images.0.id", 2, "images[1].id"),
        ("images.0", None, "images[0]"),
        ("images.0.file_name", ..., "images[id=1].file_name"),
        ("images.0.file_name", "", "images[id=1].file_name"),
        ("images.0.file_name", 7, "images[id=1].file_name"),
        ("images.0.file_name", "a\0b", "images[id=1].file_name"),
        ("images.0.file_name", "b.png", "images[id=2].file_name"),
        ("images.0.width", 0, "images[id=1].width, height"),
        ("images.0.height", -3, "images[id=1].width, height"),
        ("images.0.height", 80.5, "images[id=1].width, height"),
        ("images.0.label", "cancer", "images[id=1].label"),
        ("images.0.label", ["benign"], "images[id=1].label"),
        ("images.0.patient_id", 12, "images[id=1].patient_id"),
        ("images.0.laterality", "left", "images[id=1].laterality"),
        ("images.0.spacing_mm", 0.1, "images[id=1].spacing_mm"),
        ("images.0.spacing_mm", [0.1, 0], "images[id=1].spacing_mm"),
        ("images.0.density", "G", "images[id=1].density"),
        ("images.0.age", math.nan, "images[id=1].age"),
        ("annotations.0", None, "annotations[0]"),
        ("annotations.0", [], "annotations[0]"),
        ("annotations.0.id", ..., "annotations[0].id"),
        ("annotations.0.id", 0, "annotations[id=0].id"),
        ("annotations.0.id", None, "annotations[0].id"),
        ("annotations.0.image_id", 3, "annotations[id=1].image_id"),
        ("annotations.0.image_id", [1], "annotations[id=1].image_id"),
        ("annotations.0.category_id", 3, "annotations[id=1].category_id"),
        ("annotations.0.category_id", True, "annotations[id=1].category_id"),
        ("annotations.0.bbox", ..., "annotations[id=1].bbox"),
        ("annotations.0.bbox", "abc", "annotations[id=1].bbox"),
        ("annotations.0.bbox", [1, 2, 3], "annotations[id=1].bbox"),
        ("annotations.0.bbox", [1, 2, 3, None], "annotations[id=1].bbox"),
        ("annotations.0.bbox", [1, 2, 3, math.nan], "annotations[id=1].bbox"),
        ("annotations.0.bbox", [1, 2, 3, math.inf], "annotations[id=1].bbox"),
        ("annotations.0.bbox", [1, 2, 3, 10**400], "annotations[id=1].bbox"),
        ("annotations.0.bbox", [1, 2, 0, 4], "annotations[id=1].bbox"),
        ("annotations.0.bbox", [1, 2, 3, -4], "annotations[id=1].bbox"),
        ("annotations.0.bbox", [-1, 2, 3, 4], "annotations[id=1].bbox"),
        ("annotations.0.bbox", [90, 2, 10.1, 4], "annotations[id=1].bbox"),
        ("annotations.0.bbox", [1, 79, 3, 4], "annotations[id=1].bbox"),
        ("annotations.0.area", -1, "annotations[id=1].area"),
        ("annotations.0.area", "big", "annotations[id=1].area"),
        ("annotations.0.iscrowd", 2, "annotations[id=1].iscrowd"),
        ("annotations.0.finding", "lump", "annotations[id=1].finding"),
        ("annotations.0.geometry_source", {}, "annotations[id=1].geometry_source"),
        ("annotations.0.subtype", "er+", "annotations[id=1].subtype"),
        ("annotations.0.segmentation", 5, "annotations[id=1].segmentation"),
        ("annotations.0.segmentation", [], "annotations[id=1].segmentation"),
        ("annotations.0.segmentation", [[1, 2, 3, 4]], "annotations[id=1].segmentation"),
        ("annotations.0.segmentation", {"size": 5, "counts": [8000]}, "annotations[id=1].segmentation"),
        (
            "annotations.0.segmentation",
            {"size": [100, 80], "counts": [8000]},
            "annotations[id=1].segmentation",
        ),
        (
            "annotations.0.segmentation",
            {"size": [80, 100], "counts": [7999]},
            "annotations[id=1].segmentation",
        ),
        ("annotations.0.segmentation", {"size": [80, 100]}, "annotations[id=1].segmentation"),
        ("categories.1.id", 3, "categories"),
        ("categories.1.name", "cancer", "categories"),
        ("categories.1", None, "categories[1].id"),
        ("categories.1.id", 1, "categories[1].id"),
        ("categories", [], "categories"),
        ("categories", ..., "categories"),
        ("images", ..., "images"),
        ("images", {}, "images"),
        ("annotations", None, "annotations"),
        ("info", [], "info"),
        ("info", "x", "info"),
        ("info", {"root": 3}, "info.root"),
    ],
)
def test_every_fault_is_named_with_its_place(path: str, value: Any, where: str) -> None:
    assert where in [place for place, _ in faults(changed(path, value))]


def test_all_faults_are_listed_with_file_place_value_and_problem(tmp_path: Path) -> None:
    whole = content()
    whole["images"][1] |= {"id": 1, "file_name": "a.png", "split": "val"}
    whole["images"][0]["split"] = "train"
    whole["annotations"] = [
        {"id": 0, "image_id": 9, "category_id": 7, "bbox": [0, 0, -5, 200]},
        {"id": 0, "image_id": 1, "category_id": 1, "bbox": [95, 0, 0, 90]},
        None,
    ]
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(whole))
    with pytest.raises(CocoError) as raised:
        read_coco(path)
    lines = [str(fault) for fault in raised.value.faults]
    expected = [
        "images[1].id: is used twice (found 1)",
        "images[id=1].file_name: is the file of images[id=1] too (found 'a.png')",
        "annotations[id=0].id: ids start at 1, pycocotools takes 0 for no match (found 0)",
        "annotations[id=0].image_id: no such image (found 9)",
        "annotations[id=0].category_id: unknown category, known are [1, 2] (found 7)",
        "annotations[id=0].bbox: a box must have a width and a height above 0 (found [0, 0, -5, 200])",
        "annotations[1].id: is used twice (found 0)",
        "annotations[id=0].id: ids start at 1, pycocotools takes 0 for no match (found 0)",
        "annotations[id=0].bbox: a box must have a width and a height above 0 (found [95, 0, 0, 90])",
        "annotations[id=0].bbox: lies outside its image of 100 x 80 (found [95, 0, 0, 90])",
        "annotations[2]: is no object",
        "images[patient_id='p1'].split: one patient is in several splits (found ['train', 'val'])",
    ]
    assert lines == [f"{path}: {line}" for line in expected]
    assert "and 11 more faults" in str(raised.value)


def test_boxes_on_the_edge_are_inside() -> None:
    assert faults(changed("annotations.0.bbox", [0, 0, 100, 80])) == []
    assert faults(changed("annotations.0.bbox", [99.5, 79.5, 0.5, 0.5])) == []


def test_a_foreign_coco_file_is_read_without_the_profile(shared_data: Path) -> None:
    path = shared_data / "coco" / "instances_val2014_100.json"
    coco = read_coco(path, profile=False)
    assert len(coco.images) == 100
    assert len(read_results(path.with_name("instances_val2014_fakebbox100_results.json"), coco)) == 734
    with pytest.raises(CocoError, match="categories: must be"):
        read_coco(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 200_000, '{"a": ' * 50_000, "1" * 5000, "null", "[]", "3", '"x"', "{}", "\ufeff{}"],
)
def test_what_is_no_coco_file_is_an_input_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"x\.json"):
        read_coco(path)


def test_deeply_nested_values_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"images": [' + "[" * 900 + "]" * 900 + '], "annotations": [], "categories": []}')
    with pytest.raises(InputError) as raised:
        read_coco(path)
    assert len(str(raised.value)) < 1000


def test_bytes_that_are_no_text_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match="is no JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(InputError, match="no such file"):
        read_coco(tmp_path / "missing.json")


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([10**25, -(10**400), 1e300])
    | st.floats()
    | st.sampled_from(["", "abc", "L", "benign", "train", "\ud800", "a.png", "x\0"])
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["id", "size", "counts", "root", "name", "bbox"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
_IMAGE_KEYS = (
    "id",
    "file_name",
    "width",
    "height",
    "patient_id",
    "split",
    "label",
    "spacing_mm",
    "age",
    "provenance",
)
_LESION_KEYS = (
    "id",
    "image_id",
    "category_id",
    "bbox",
    "segmentation",
    "area",
    "iscrowd",
    "finding",
    "subtype",
)


def _records(keys: tuple[str, ...]) -> st.SearchStrategy[Any]:
    return _JSON | st.lists(_JSON | st.dictionaries(st.sampled_from(keys), _JSON, max_size=6), max_size=4)


_CONTENT = _JSON | st.fixed_dictionaries(
    {},
    optional={
        "info": _JSON,
        "images": _records(_IMAGE_KEYS),
        "annotations": _records(_LESION_KEYS),
        "categories": st.just(profile_categories()) | _records(("id", "name")),
    },
)


@settings(max_examples=300, deadline=None)
@given(whole=_CONTENT, profile=st.booleans())
def test_any_json_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, whole: Any, profile: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_text(json.dumps(whole))
    try:
        coco = read_coco(path, profile=profile)
    except CocoError as error:
        assert error.faults
        assert all("\n" not in str(fault) for fault in error.faults)
    except InputError as error:
        assert "is no JSON" in str(error)
    else:
        assert check_coco(coco, profile=profile) == []
        for image in coco.images:
            assert coco.image_path(image)
        coco.subset(coco.image_by_id, path.parent / "sub" / "x.json")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_good_file_with_one_value_replaced_is_read_or_refused(data: st.DataObject) -> None:
    whole = content()
    key = data.draw(st.sampled_from(["images", "annotations", "categories"]))
    record = data.draw(st.sampled_from(whole[key]))
    field = data.draw(
        st.sampled_from([*record, "segmentation", "spacing_mm", "density", "provenance", "ignore"])
    )
    record[field] = data.draw(_JSON)
    for fault in check_content(whole, "x.json"):
        assert str(fault).startswith("x.json: ")


def test_nothing_faulty_is_written(tmp_path: Path) -> None:
    coco = coco_in(tmp_path)
    coco.annotations[0]["bbox"] = [0, 0, 0, 0]
    with pytest.raises(CocoError, match="nothing was written"):
        write_coco(coco)
    coco = coco_in(tmp_path)
    coco.annotations[0]["provenance"] = {"score": math.nan}
    with pytest.raises(InputError, match="cannot be JSON"):
        write_coco(coco)
    assert list(tmp_path.iterdir()) == []


def test_a_subset_elsewhere_finds_the_same_files(tmp_path: Path) -> None:
    coco = coco_in(tmp_path)
    part = coco.subset([1], tmp_path / "splits" / "deep" / "train.json")
    assert [image["file_name"] for image in part.images] == ["../../a.png"]
    assert part.image_path(part.images[0]).resolve() == (tmp_path / "a.png").resolve()
    assert part.annotations == coco.annotations
    assert coco.subset([2], tmp_path / "x.json").annotations == []


def test_files_missing_or_of_another_size_are_named(tmp_path: Path) -> None:
    coco = coco_in(tmp_path)
    (tmp_path / "a.png").write_bytes(b"x")

    def size_of(path: Path) -> tuple[int, int]:
        return (80, 100)

    assert [(fault.where, fault.problem) for fault in check_files(coco, size_of)] == [
        ("images[id=1].file_name", "is 80 x 100 on disk and 100 x 80 here"),
        ("images[id=2].file_name", "no such image file"),
    ]
    assert [fault.where for fault in check_files(coco)] == ["images[id=2].file_name"]

    def unreadable(path: Path) -> tuple[int, int]:
        raise InputError("is cut off", file=path)

    assert check_files(coco, unreadable)[0].problem == "is cut off"


def test_results_are_checked_against_their_ground_truth(tmp_path: Path) -> None:
    coco = coco_in(tmp_path)
    good = {"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}
    results = [
        good,
        {**good, "score": math.nan},
        {**good, "score": 1.5},
        {**good, "image_id": 3},
        {**good, "category_id": "2"},
        {**good, "bbox": [1, 2, 3, 0]},
        None,
    ]
    path = tmp_path / "dt.json"
    path.write_text(json.dumps(results))
    with pytest.raises(CocoError) as raised:
        read_results(path, coco)
    assert [fault.where for fault in raised.value.faults] == [
        "results[1].score",
        "results[2].score",
        "results[3].image_id",
        "results[4].category_id",
        "results[5].bbox",
        "results[6]",
    ]
    path.write_text(json.dumps([good]))
    assert read_results(path, coco) == [good]


_coordinate = st.floats(-1e4, 1e4)
_boxes = st.lists(st.tuples(_coordinate, _coordinate, _coordinate, _coordinate), max_size=5)


@given(boxes=_boxes)
def test_box_conversion_is_invertible(boxes: list[tuple[float, ...]]) -> None:
    assert to_xywh(to_xyxy(boxes)).shape == (len(boxes), 4)
    np.testing.assert_allclose(to_xywh(to_xyxy(boxes)), np.reshape(boxes, (-1, 4)), atol=1e-9)


@given(box=st.tuples(_coordinate, _coordinate, st.floats(0, 1e4), st.floats(0, 1e4)))
def test_a_clipped_box_is_inside_and_none_only_when_nothing_is_left(box: tuple[float, ...]) -> None:
    clipped = clip_bbox(box, 100, 80)
    x1, y1, x2, y2 = to_xyxy([box])[0]
    if clipped is None:
        assert x2 <= 0 or y2 <= 0 or x1 >= 100 or y1 >= 80 or x2 == x1 or y2 == y1
    else:
        assert to_xyxy([clipped])[0] == pytest.approx([max(x1, 0), max(y1, 0), min(x2, 100), min(y2, 80)])
