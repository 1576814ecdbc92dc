"""COCO files of CVAT, Label Studio and this project: names, classes, outlines, keys that pass, broken records."""

from __future__ import annotations

import json
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
from mammodet.datasets.masks import mask_to_rle, segmentation_to_mask

WIDTH, HEIGHT = 100, 80
CATEGORIES = [{"id": 0, "name": "benign"}, {"id": 1, "name": "malignant mass"}]


def image(path: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    write_png(path, np.zeros((height, width), dtype=np.uint8))


def picture(number: object = 0, name: object = "x.png", **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT, **more}


def lesion(number: object = 0, bbox: object = (10, 20, 30, 40), **more: Any) -> dict[str, Any]:
    bbox = list(bbox) if isinstance(bbox, tuple) else bbox
    return {"id": number, "image_id": 0, "category_id": 1, "bbox": bbox, "iscrowd": 0, **more}


def lay_out(
    root: Path,
    *lesions: Any,
    images: Any = None,
    name: str = "annotations/instances_default.json",
    **more: Any,
) -> Path:
    if not (root / "images").exists():
        image(root / "images" / "x.png")
    content = {"images": [picture()] if images is None else images, "annotations": list(lesions)}
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, "categories": CATEGORIES, **more}))
    return root


def converted(root: Path, **options: Any) -> tuple[Coco, Audit]:
    return convert(load_source("coco"), root, root.parent / "coco.json", Options(**options))


def test_boxes_ids_from_zero_and_classes_by_name(tmp_path: Path) -> None:
    told = {"occluded": False, "truncated": True, "rotation": 0.0, "reader": "Dr Jane Smith"}
    root = lay_out(
        tmp_path / "data",
        lesion(0, (10.5, 20, 30, 40), segmentation=[], area=1200, attributes=told),
        lesion(1, (90, 70, 30, 40), category_id=0),
    )
    coco, audit = converted(root)
    assert [(one["id"], one["bbox"], one["category_id"]) for one in coco.annotations] == [
        (1, [10.5, 20, 30, 40], 2),
        (2, [90, 70, 10, 10], 1),
    ]
    assert coco.annotations[0]["finding"] == "mass"
    assert coco.annotations[0]["provenance"] == {"class": "malignant mass", "attributes": {"truncated": True}}
    assert "Smith" not in (tmp_path / "coco.json").read_text()
    assert (coco.images[0]["label"], coco.images[0]["file_name"]) == ("malignant", "data/images/x.png")
    assert audit.clipped == ["images/x.png"]
    assert (audit.rows_read, audit.rows_used) == (2, 2)


def test_outlines(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[30:40, 50:70] = True
    coded = mask_to_rle(mask)
    runs = {"size": [HEIGHT, WIDTH], "counts": [0, 1, WIDTH * HEIGHT - 1]}
    root = lay_out(
        tmp_path / "data",
        lesion(0, (10, 10, 40, 30), segmentation=[[10, 10, 50, 10, 50, 40]]),
        lesion(1, None, segmentation=[[0, 0, 2, 0, 2, 2], [10, 10, 14, 10, 14, 12, 10, 12]]),
        lesion(2, (50, 30, 20, 10), segmentation=coded),
        lesion(3, [], segmentation=runs, iscrowd=1),
        lesion(4, (10, 10, 40, 35), segmentation=[[10, 10, 50, 10, 50, 40]]),
        lesion(5, (10, 10, 5, 5), segmentation=[[10, 10, 50, 10]]),
        lesion(6, (10, 10, 5, 6), segmentation={"size": [HEIGHT, WIDTH], "counts": [WIDTH * HEIGHT]}),
    )
    coco, audit = converted(root)
    found = [(one["bbox"], one["geometry_source"], one["area"]) for one in coco.annotations]
    assert found == [
        ([10, 10, 40, 30], "polygon", 600),
        ([0, 0, 14, 12], "polygon", 10),  # 2 and 8 pixels
        ([50, 30, 20, 10], "mask", 200),
        ([0, 0, 1, 1], "mask", 1),
        ([10, 10, 40, 35], "polygon", 600),
        ([10, 10, 5, 5], "box", 25),
        ([10, 10, 5, 6], "box", 30),
    ]
    assert (segmentation_to_mask(coco.annotations[2]["segmentation"], WIDTH, HEIGHT) == mask).all()
    assert coco.annotations[3]["iscrowd"] == 1
    where = "instances_default.json annotations"
    assert audit.notes["box and outline disagree by more than 2 pixels: box taken"] == {f"{where}[4]": 1}
    assert audit.notes["the outline has fewer than three points: box taken"] == {f"{where}[5]": 1}
    assert audit.notes["the mask is empty: box taken"] == {f"{where}[6]": 1}


def test_a_box_that_was_turned_in_cvat_becomes_its_four_corners(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "data", lesion(0, (30, 30, 20, 10), attributes={"rotation": 90.0}))
    (one,) = converted(root)[0].annotations
    # 20 wide and 10 high about the centre (40, 35); turned by a right angle it is 10 wide and 20 high
    assert one["bbox"] == pytest.approx([35, 25, 10, 20])
    assert (one["geometry_source"], one["area"]) == ("polygon", pytest.approx(200))
    assert one["provenance"]["box"] == [30, 30, 20, 10]
    tilted = lay_out(tmp_path / "more", lesion(0, (30, 30, 20, 20), attributes={"rotation": 45}))
    (one,) = converted(tilted)[0].annotations
    side = 20 * 2**0.5  # the diagonal of a square of 20 about (40, 40)
    assert one["bbox"] == pytest.approx([40 - side / 2, 40 - side / 2, side, side])


@pytest.mark.parametrize(
    "name",
    [
        "x.png",
        "images/x.png",
        "images\\x.png",
        "../../upload/1/x.png",
        "/data/upload/1/x.png",
        "https://label.example/data/upload/x.png",
        "s3://bucket/some/x.png",
        "/data/local-files/?d=some/x.png",
    ],
)
@pytest.mark.parametrize("place", ["annotations/instances_default.json", "result.json"])
def test_images_are_found_by_name_whatever_server_they_are_on(tmp_path: Path, name: str, place: str) -> None:
    coco, _ = converted(lay_out(tmp_path / "data", lesion(), images=[picture(name=name)], name=place))
    assert coco.images[0]["file_name"] == "data/images/x.png"


def test_names_of_label_studio(tmp_path: Path) -> None:
    root = tmp_path / "data"
    image(root / "images" / "8d2f1a3c-7 L_CC.png")
    image(root / "images" / "7_L_MLO.png")
    names = ["images/8d2f1a3c-7%20L_CC.png", "../../upload/3/00000000-7_L_MLO.png"]
    pictures = [picture(number, name) for number, name in enumerate(names)]
    lay_out(root, images=pictures, info={"contributor": "Label Studio"}, name="result.json")
    coco, audit = converted(root)
    assert [(one["file_name"], one["patient_id"], one["view"]) for one in coco.images] == [
        ("data/images/8d2f1a3c-7 L_CC.png", "7", "CC"),
        ("data/images/7_L_MLO.png", "7", "MLO"),
    ]
    assert audit.unlisted == []


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "/secret.png", "images/../../secret.png", "%2e%2e/secret.png", "..%2fsecret.png"],
)
def test_names_never_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    image(tmp_path / "secret.png")
    coco, audit = converted(lay_out(tmp_path / "data", images=[picture(), picture(1, name)]))
    assert len(coco.images) == 1
    assert audit.without_pixels == [name]


def test_several_files_are_splits(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for split in ("train", "val", "Test"):
        image(root / "images" / split / "x.png")
        lay_out(root, lesion(), name=f"annotations/instances_{split}.json")
    (root / "annotations" / "captions.json").write_text("{}")
    coco, audit = converted(root)
    found = {one["file_name"]: one["split"] for one in coco.images}
    assert found == {
        "data/images/train/x.png": "train",
        "data/images/val/x.png": "val",
        "data/images/Test/x.png": "test",
    }
    assert audit.notes["not read: a JSON file that is no COCO detection file"] == {"captions.json": 1}


def test_one_image_in_two_files_is_refused(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "data")
    lay_out(root, name="annotations/instances_more.json")
    with pytest.raises(InputError, match=r"images\[0\]\.file_name: describes an image that"):
        converted(root)


def test_an_image_without_annotation_is_normal_unless_the_file_gives_its_label(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        image(tmp_path / "data" / "images" / f"{name}.png")
    pictures = [picture(0, "a.png"), picture(1, "b.png", label=None), picture(2, "c.png", label="malignant")]
    coco, audit = converted(lay_out(tmp_path / "data", images=pictures))
    assert [one["label"] for one in coco.images] == ["normal", None, "malignant"]
    assert audit.notes["no annotation: taken as normal"] == {"images/a.png": 1}


def test_keys_of_the_profile_pass_through(tmp_path: Path) -> None:
    own = {"patient_id": 17, "study_id": "s", "laterality": "L", "view": "CC", "density": "B", "age": 51}
    own |= {"spacing_mm": [0.1, 0.1], "split": "val", "dataset": "mine", "label": "malignant"}
    keys = {"finding": "calcification", "lesion_id": "a", "pathology": "malignant", "birads": 5, "ignore": 1}
    root = lay_out(tmp_path / "data", lesion(**keys), images=[picture(**own)])
    coco, audit = converted(root)
    passed = {key: coco.images[0].get(key) for key in own}
    assert passed == {**own, "patient_id": "17", "dataset": "COCO export"}
    assert coco.images[0]["provenance"] == {"dataset": "mine"}
    assert coco.images[0]["breast_id"] == "17-s-L"
    assert {key: coco.annotations[0].get(key) for key in keys} == {**keys, "birads": "5"}
    assert audit.notes == {}


def test_what_was_converted_is_converted_again_to_the_same(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "data", lesion(), lesion(1, (1, 2, 3, 4), category_id=0))
    first = convert(load_source("coco"), root, root / "coco.json")[0]
    again, audit = converted(root)  # beside another file, the earlier output is left out
    assert audit.notes["not read: written by mammodet convert, beside other COCO files"] == {"coco.json": 1}
    (root / "annotations" / "instances_default.json").unlink()
    alone, _ = converted(root)
    for other in (again, alone):
        assert [one["bbox"] for one in other.annotations] == [one["bbox"] for one in first.annotations]
        assert [one["label"] for one in other.images] == ["malignant"]


def test_a_run_length_code_is_rescaled_with_its_image(tmp_path: Path) -> None:
    image(tmp_path / "data" / "images" / "x.png", 200, 160)
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[30:40, 50:70] = True
    root = lay_out(tmp_path / "data", lesion(0, (50, 30, 20, 10), segmentation=mask_to_rle(mask)), lesion(1))
    coco, audit = converted(root)
    assert [one["bbox"] for one in coco.annotations] == [[100, 60, 40, 20], [20, 40, 60, 80]]
    scaled = segmentation_to_mask(coco.annotations[0]["segmentation"], 200, 160)
    assert scaled.sum() == 800
    assert scaled[60:80, 100:140].all()
    assert audit.notes["the annotations were drawn on an image of another size: rescaled"] == {"x.png": 1}


def test_the_hundred_images_of_coco(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "coco" / "instances_val2014_100.json"
    whole = read_coco(source, profile=False)
    root = tmp_path / "data"
    chosen = whole.images[:20]
    for record in chosen:
        image(root / f"{Path(record['file_name']).stem}.png", record["width"], record["height"])
    (root / "annotations.json").write_text(source.read_text())
    used = {one["category_id"] for one in whole.annotations}
    names = {record["name"] for record in whole.categories if record["id"] in used}
    with pytest.raises(InputError, match=r"these classes are benign or malignant: .* and [0-9]+ more;"):
        converted(root)
    coco, audit = converted(root, classes=dict.fromkeys(names, "benign"))
    expected = [one for record in chosen for one in whole.annotations_of[record["id"]]]
    assert len(expected) > 50
    found = {Path(record["file_name"]).stem: record["id"] for record in coco.images}
    assert found.keys() == {Path(record["file_name"]).stem for record in chosen}
    for record in chosen:
        mine = coco.annotations_of[found[Path(record["file_name"]).stem]]
        for one, other in zip(mine, whole.annotations_of[record["id"]], strict=True):
            assert one["bbox"] == pytest.approx(other["bbox"], abs=0.011)  # boxes there leave by 0.01
            assert one["area"] == pytest.approx(other["area"], rel=1e-3, abs=1)
    assert len(audit.without_pixels) == len(whole.images) - 20


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"images": [7]}, "images[0]: is no object"),
        ({"images": [picture(None)]}, "images[0].id: is missing or no number"),
        ({"images": [picture([[]])]}, "images[0].id: is missing or no number"),
        ({"images": [picture(), picture()]}, "images[1].id: is used twice"),
        ({"images": [picture(name="")]}, "images[0].file_name: is missing or no name"),
        ({"images": [picture(name="a\0.png")]}, "images[0].file_name: is missing or no name"),
        ({"images": [picture(width="100")]}, "images[0].width, height: must be whole numbers"),
        ({"images": [picture(width=10**30)]}, "images[0].width, height: must be whole numbers"),
        ({"images": [picture(label="bad")]}, "images[0].label: must be normal or benign or malignant"),
        ({"categories": [{"id": 1}]}, "categories[0].name: a category must have a name"),
        ({"categories": []}, "annotations[0].category_id: no such category"),
        ({"annotations": [7]}, "annotations[0]: is no object"),
        ({"annotations": [lesion(image_id=5)]}, "annotations[0].image_id: no such image"),
        ({"annotations": [lesion(image_id=[0])]}, "annotations[0].image_id: no such image"),
        ({"annotations": [lesion(bbox=None)]}, "annotations[0]: has neither a box nor an outline"),
        ({"annotations": [lesion(bbox=[1, 2, 3])]}, "annotations[0].bbox: must be four numbers"),
        ({"annotations": [lesion(bbox=[1, 2, "3", 4])]}, "annotations[0].bbox: must be four numbers"),
        ({"annotations": [lesion(bbox=[1, 2, 1e308, 4])]}, "annotations[0].bbox: must be a number of pixels"),
        (
            {"annotations": [lesion(bbox=[1, 2, 10**400, 4])]},
            "annotations[0].bbox: must be a number of pixels",
        ),
        ({"annotations": [lesion(bbox=[1, 2, [[3]], 4])]}, "annotations[0].bbox: must be a number of pixels"),
        ({"annotations": [lesion(segmentation="x")]}, "annotations[0].segmentation: must be an RLE"),
        ({"annotations": [lesion(segmentation=[[1, 2, 3, 4, 5, None]])]}, "must be an RLE"),
        (
            {"annotations": [lesion(segmentation={"size": [9, 9], "counts": [81]})]},
            "size must be that of the image",
        ),
        (
            {"annotations": [lesion(segmentation={"size": [80, 100], "counts": "P" * 99})]},
            "annotations[0].segm",
        ),
        ({"annotations": [lesion(attributes={"rotation": "abc"})]}, "rotation: must be a number"),
        ({"annotations": [lesion(finding="Mass")]}, "annotations[0].finding: must be calcification or mass"),
        ({"annotations": [lesion(iscrowd=2)]}, "annotations[0].iscrowd: must be 0 or 1"),
    ],
)
def test_a_malformed_record_is_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    content = {"annotations": [lesion()], **change}
    with pytest.raises(InputError) as caught:
        converted(lay_out(tmp_path / "data", **content))
    line = str(caught.value)
    assert problem in line
    assert "instances_default.json" in line
    assert "\n" not in line
    assert len(line) < 500


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is no JSON"),
        (b"[" * 200_000, "nested too deeply|is no JSON"),
        (b'{"images": [NaN]}', "NaN is no JSON number"),
        (b'{"images": [], "annotations": [], "categories": ' + b"9" * 5000 + b"}", "is no JSON"),
        (b"\xff\xff", "no text in UTF-8"),
        (b"\0", "zero characters"),
        (b"[]", "no COCO detection file"),
        (b"{}", "no COCO detection file"),
    ],
)
def test_hostile_files_are_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    root = lay_out(tmp_path / "data", name="x.json")
    (root / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        converted(root)
    assert "\n" not in str(caught.value)


def test_marks_line_ends_and_sizes(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "data", lesion(), name="x.json")
    text = (root / "x.json").read_text().replace(", ", ",\r\n")
    for content in (text.encode("utf-8-sig"), text.encode("utf-16")):
        (root / "x.json").write_bytes(content)
        assert len(converted(root)[0].annotations) == 1
    with (root / "x.json").open("wb") as stream:
        stream.truncate(100 * 2**20)  # one line of zeros
    with pytest.raises(InputError, match="zero characters"):
        converted(root)
    with (root / "x.json").open("wb") as stream:
        stream.truncate(2**31)
    with pytest.raises(InputError, match="2147483648 bytes"):
        converted(root)


def test_a_value_nested_as_deep_as_can_be_read_is_one_line(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "data", lesion(), name="x.json")
    text = (root / "x.json").read_text()
    for depth in (100, 500, 800, 900, 950, 2000):
        (root / "x.json").write_text(text.replace("[10, 20, 30, 40]", "[" * depth + "]" * depth))
        with pytest.raises(InputError) as caught:
            converted(root)
        assert len(str(caught.value)) < 500


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_IMAGE_CHANGES = st.dictionaries(
    st.sampled_from(
        ["id", "file_name", "width", "height", "label", "patient_id", "spacing_mm", "provenance"]
    ),
    _VALUES,
    max_size=2,
)
_LESION_CHANGES = st.dictionaries(
    st.sampled_from(
        ["bbox", "segmentation", "category_id", "image_id", "attributes", "area", "ignore", "birads"]
    ),
    _VALUES | st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4),
    max_size=2,
)


@settings(max_examples=150, deadline=None)
@given(
    _IMAGE_CHANGES,
    _LESION_CHANGES,
    st.dictionaries(st.sampled_from(["info", "categories"]), _VALUES, max_size=1),
)
def test_any_content_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    of_image: dict[str, Any],
    of_lesion: dict[str, Any],
    more: dict[str, Any],
) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed_coco" / "data"
    try:
        converted(lay_out(root, {**lesion(), **of_lesion}, images=[{**picture(), **of_image}], **more))
    except InputError as error:
        assert "\n" not in str(error)


def test_a_claimed_size_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    side = 999_999
    bomb = lesion(segmentation={"size": [side, side], "counts": [0, side * side]})
    root = lay_out(tmp_path / "data", bomb, images=[picture(width=side, height=side)])
    with pytest.raises(InputError, match="claims more pixels than any mammogram has"):
        converted(root)


def test_an_image_of_another_folder_is_told(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "data", lesion(), images=[picture(name="/home/jane/patient1/x.png")])
    coco, audit = converted(root)
    remark = "the annotations name another folder: found by the end of the path"
    assert audit.notes[remark] == {"x.png, found images/x.png": 1}
    assert "jane" not in coco.path.read_text()
    root = lay_out(tmp_path / "same", lesion(), images=[picture(name="/home/jane/images/x.png")])
    assert remark not in converted(root)[1].notes
