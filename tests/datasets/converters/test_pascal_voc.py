"""Pascal VOC: corners counted from 1, layouts, class names, and XML that was made to do harm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

WIDTH, HEIGHT = 100, 80


def image(path: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    write_png(path, np.zeros((height, width), dtype=np.uint8))


def lesion(name: str, corners: Sequence[object], more: str = "") -> str:
    sides = "".join(
        f"<{side}>{value}</{side}>"
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return f"<object><name>{name}</name>{more}<bndbox>{sides}</bndbox></object>"


def xml(filename: str, *objects: str, size: tuple[int, int] = (WIDTH, HEIGHT), more: str = "") -> str:
    frame = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>1</depth></size>"
    return f"<annotation><filename>{filename}</filename>{frame}{more}{''.join(objects)}</annotation>"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def converted(root: Path, **options: Any) -> tuple[Coco, Audit]:
    return convert(load_source("voc"), root, root.parent / "coco.json", Options(**options))


def test_corners_are_pixels_counted_from_one_both_inside(tmp_path: Path) -> None:
    root = tmp_path / "data"
    image(root / "JPEGImages" / "7_L-CC.png")
    flags = "<truncated>1</truncated><difficult>0</difficult>"
    objects = [lesion("malignant mass", (1, 1, 1, 1)), lesion("Benign_Calc", (11, 21, 100, 80), flags)]
    write(root / "Annotations" / "7_L-CC.xml", xml("7_L-CC.png", *objects))
    write(root / "ImageSets" / "Main" / "test.txt", "7_L-CC\n")
    coco, audit = converted(root)
    (one,) = coco.images
    assert (one["patient_id"], one["laterality"], one["view"]) == ("7", "L", "CC")
    assert (one["split"], one["label"]) == ("test", "malignant")
    # the first pixel of the image is one pixel at 0, 0; the last pixel of the second box ends at 100, 80
    assert [annotation["bbox"] for annotation in coco.annotations] == [[0, 0, 1, 1], [10, 20, 90, 60]]
    assert [annotation["category_id"] for annotation in coco.annotations] == [2, 1]
    assert [annotation["finding"] for annotation in coco.annotations] == ["mass", "calcification"]
    assert coco.annotations[1]["provenance"] == {
        "bndbox": [11, 21, 100, 80],
        "class": "Benign_Calc",
        "truncated": 1,
    }
    assert (audit.rows_read, audit.rows_used, audit.clipped, audit.notes) == (2, 2, [], {})


def test_an_image_without_object_is_normal_and_one_without_a_file_left_out(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("a_L_CC", "b_L_CC"):
        image(root / f"{name}.png")
    write(root / "a_L_CC.xml", xml("a_L_CC.png"))
    coco, audit = converted(root)
    assert [(one["file_name"], one["label"]) for one in coco.images] == [("data/a_L_CC.png", "normal")]
    assert audit.unlisted == ["b_L_CC.png"]
    assert coco.annotations == []


@pytest.mark.parametrize(
    ("xml_path", "image_path", "split"),
    [
        ("Annotations/x.xml", "JPEGImages/x.png", None),
        ("x.xml", "x.png", None),
        ("train/x.xml", "train/x.png", "train"),
        ("valid/x.xml", "valid/x.png", "val"),
        ("annotations/xmls/x.xml", "images/x.png", None),
        ("Annotations/test/x.xml", "Images/test/x.png", "test"),
        ("VOC2007/Annotations/x.xml", "VOC2007/JPEGImages/x.png", None),
    ],
)
def test_layouts(tmp_path: Path, xml_path: str, image_path: str, split: str | None) -> None:
    root = tmp_path / "data"
    image(root / image_path)
    write(root / xml_path, xml("x.png", lesion("benign", (2, 3, 4, 6))))
    coco, _ = converted(root)
    assert coco.images[0]["file_name"] == f"data/{image_path}"
    assert coco.images[0].get("split") == split
    assert coco.annotations[0]["bbox"] == [1, 2, 3, 4]


def test_images_of_one_name_keep_their_own_file(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for folder, x in (("train", 11), ("test", 21)):
        image(root / folder / "x.png")
        write(root / folder / "x.xml", xml("x.png", lesion("benign", (x, 1, x + 4, 5))))
        image(root / "more" / "images" / folder / "x.png")
        write(
            root / "more" / "annotations" / folder / "x.xml",
            xml("x.png", lesion("benign", (x + 5, 1, x + 9, 5))),
        )
    coco, _ = converted(root)
    boxes = {one["file_name"]: coco.annotations_of[one["id"]][0]["bbox"][0] for one in coco.images}
    assert boxes == {
        "data/train/x.png": 10,
        "data/test/x.png": 20,
        "data/more/images/train/x.png": 15,
        "data/more/images/test/x.png": 25,
    }


def test_a_file_that_was_renamed_or_converted_is_found_by_the_name_of_its_xml(tmp_path: Path) -> None:
    root = tmp_path / "data"
    image(root / "new.png")
    write(root / "new.xml", xml(r"C:\Users\someone\Desktop\old.jpg", lesion("benign", (1, 1, 2, 2))))
    image(root / "kept.png")
    write(root / "kept.xml", xml("kept.jpg", lesion("benign", (1, 1, 2, 2))))
    coco, audit = converted(root)
    assert [one["file_name"] for one in coco.images] == ["data/kept.png", "data/new.png"]
    assert "the annotations name a file of another kind: found by its stem" in audit.notes
    assert "someone" not in (tmp_path / "coco.json").read_text()


def test_boxes_drawn_on_a_smaller_copy_are_rescaled(tmp_path: Path) -> None:
    root = tmp_path / "data"
    image(root / "x.png", 200, 160)
    write(root / "x.xml", xml("x.png", lesion("benign", (11, 21, 30, 40))))
    coco, audit = converted(root)
    assert coco.annotations[0]["bbox"] == [20, 40, 40, 40]  # twice [10, 20, 20, 20]
    assert "the annotations were drawn on an image of another size: rescaled" in audit.notes


def test_tools_that_count_from_zero_or_write_fractions_are_noted(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("a", "b", "c"):
        image(root / f"{name}.png")
    write(root / "a.xml", xml("a.png", lesion("benign", (0, 5, 10, 10))))
    write(root / "b.xml", xml("b.png", lesion("benign", (10.5, 5.25, 20.5, 10))))
    write(root / "c.xml", xml("c.png", lesion("benign", (10, 5, 20, 10))))
    coco, audit = converted(root)
    assert coco.annotations[0]["bbox"] == [0, 4, 10, 6]
    assert coco.annotations[1]["bbox"] == [9.5, 4.25, 11, 5.75]
    noted = {reason: list(names) for reason, names in audit.notes.items() if "count" in reason}
    assert list(noted.values()) == [["a.xml"], ["b.xml"]]


def test_a_box_that_was_turned_in_cvat_becomes_its_four_corners(tmp_path: Path) -> None:
    root = tmp_path / "data"
    image(root / "x.png")
    turned = "<attributes><attribute><name>rotation</name><value>90.0</value></attribute></attributes>"
    write(root / "x.xml", xml("x.png", lesion("benign", (31, 31, 50, 40), turned)))
    coco, _ = converted(root)
    # 20 wide and 10 high about the centre (40, 35); turned by a right angle it is 10 wide and 20 high
    assert coco.annotations[0]["bbox"] == pytest.approx([35, 25, 10, 20])
    assert coco.annotations[0]["geometry_source"] == "polygon"
    assert coco.annotations[0]["provenance"]["rotation"] == 90


def test_class_names_without_a_meaning_are_all_named_at_once(tmp_path: Path) -> None:
    root = tmp_path / "data"
    image(root / "x.png")
    names = ["mass", "non-malignant", "benign or malignant", "cyst", "benign cyst", "Malignant"]
    write(root / "x.xml", xml("x.png", *(lesion(name, (1, 1, 5, 5)) for name in names)))
    with pytest.raises(InputError) as caught:
        converted(root)
    line = str(caught.value)
    assert "benign or malignant, cyst, mass, non-malignant;" in line
    assert "--classes '{benign or malignant: malignant, ...}'" in line
    meaning = {"mass": "malignant", "Non-Malignant": "benign", "benign or malignant": "ignore"}
    coco, audit = converted(root, classes={**meaning, "cyst": "ignore", "absent": "benign"})
    assert [one["category_id"] for one in coco.annotations] == [2, 1, 1, 1, 1, 2]
    assert [one.get("ignore", 0) for one in coco.annotations] == [0, 0, 1, 1, 0, 0]
    assert audit.notes["--classes names a class that no annotation has"] == {"absent": 1}
    assert coco.info["options"]["classes"]["mass"] == "malignant"


def test_an_image_with_ignored_lesions_only_has_no_label(tmp_path: Path) -> None:
    root = tmp_path / "data"
    image(root / "x.png")
    write(root / "x.xml", xml("x.png", lesion("scar", (1, 1, 5, 5))))
    coco, _ = converted(root, classes={"scar": "ignore"})
    assert coco.images[0]["label"] is None


def test_the_header_of_a_dicom_file_tells_the_patient_and_a_png_may_not(
    tmp_path: Path, make_dicom: Any
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    make_dicom.folder = root
    make_dicom(name="1_L_CC.dcm", ImageLaterality="R")
    image(root / "unknown.png")
    for name in ("1_L_CC.dcm", "unknown.png"):
        write(root / f"{name[:-4]}.xml", xml(name, size=(0, 0)))
    coco, audit = converted(root)
    assert (coco.images[0]["laterality"], coco.images[0]["view"]) == ("R", "CC")
    assert coco.images[0]["patient_id"] not in {"1", "P7"}  # the hash of the header's
    assert coco.images[1].get("patient_id") is None
    (note,) = (names for reason, names in audit.notes.items() if "patient is not known" in reason)
    assert note == {"unknown.png": 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('<!DOCTYPE a [<!ENTITY l "lol">]>' + xml("&l;"), "document type or entities"),
        (
            "<!DOCTYPE a [<!ENTITY a0 'ha'>"
            + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))
            + "]><annotation><filename>&a11;</filename></annotation>",
            "document type or entities",
        ),
        (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>',
            "document type or entities",
        ),
        ('<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><annotation/>', "document type or entities"),
        ("<annotation>", "is no XML"),
        ("", "is no XML"),
        ("no xml", "is no XML"),
        ("<a>" * 100_000, "is no XML"),
        ("<annotation>\0</annotation>", "zero characters"),
        (xml("x.png", lesion("", (1, 1, 2, 2))), "object 1: has no name"),
        (xml("x.png", "<object><name>benign</name></object>"), "bndbox/xmin: must be a number"),
        (xml("x.png", lesion("benign", ("nan", 1, 2, 2))), r"must be a number of pixels .*nan"),
        (xml("x.png", lesion("benign", (1, 1, "inf", 2))), "must be a number of pixels"),
        (xml("x.png", lesion("benign", (1, 1, "1e308", 2))), "must be a number of pixels"),
        (xml("x.png", lesion("benign", (1, 1, "2_0", 2))), "must be a number of pixels"),
        (xml("x.png", lesion("benign", (1, 1, "9" * 5000, 2))), "must be a number of pixels"),
        (xml("y" * 5000, lesion("benign", (1, 1, 2, 2))), "filename: is missing or no name of a file"),
    ],
)
def test_hostile_files_are_one_line(tmp_path: Path, text: str, problem: str) -> None:
    root = tmp_path / "data"
    image(root / "x.png")
    write(root / "x.xml", text)
    with pytest.raises(InputError, match=problem) as caught:
        converted(root)
    assert "\n" not in str(caught.value)
    assert "x.xml" in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "root:" not in str(caught.value)


def test_a_deep_tree_is_read_without_recursion(tmp_path: Path) -> None:
    root = tmp_path / "data"
    image(root / "x.png")
    deep = "<a>" * 50_000 + "</a>" * 50_000
    write(root / "x.xml", xml("x.png", lesion("benign", (1, 1, 2, 2)), more=deep))
    assert len(converted(root)[0].annotations) == 1


def test_other_encodings_marks_and_line_ends(tmp_path: Path) -> None:
    root = tmp_path / "data"
    image(root / "x.png")
    text = xml("x.png", lesion("benign", (1, 1, 2, 2))).replace("><", ">\r\n<")
    for content in (b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16")):
        (root / "x.xml").write_bytes(content)
        assert len(converted(root)[0].annotations) == 1
    (root / "x.xml").write_bytes(text.replace("benign", "b\xf6se").encode("latin-1"))
    with pytest.raises(InputError, match="no text in UTF-8"):
        converted(root)
    with (root / "x.xml").open("wb") as stream:
        stream.truncate(100 * 2**20)
    with pytest.raises(InputError, match="more than the 4194304 of any annotation file"):
        converted(root)


@pytest.mark.parametrize("name", ["../secret.png", "../../secret.png", "a/../../secret.png"])
def test_names_never_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "data"
    image(tmp_path / "secret.png")
    image(root / "x.png")
    write(root / "x.xml", xml("x.png"))
    for number, outside in enumerate((name, str(tmp_path / "secret.png"))):
        write(root / f"{number}.xml", xml(outside, lesion("benign", (1, 1, 2, 2))))
    coco, audit = converted(root)
    assert [one["file_name"] for one in coco.images] == ["data/x.png"]
    assert sum(audit.dropped["no such image file"].values()) == 2


def test_one_image_described_twice_and_in_two_splits_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    image(root / "x.png")
    write(root / "x.xml", xml("x.png"))
    write(root / "y.xml", xml("x.png"))
    with pytest.raises(InputError, match=r"y\.xml: filename: describes an image that x\.xml describes too"):
        converted(root)
    (root / "y.xml").unlink()
    write(root / "ImageSets" / "Main" / "train.txt", "x\n")
    write(root / "ImageSets" / "Main" / "val.txt", "x\r\n")
    with pytest.raises(InputError, match=r"val\.txt: is in the list of train too"):
        converted(root)


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    image(root / "x.png")
    write(root / "other.xml", "<plist/>")
    with pytest.raises(InputError, match="no Pascal VOC annotation"):
        converted(root)


@settings(max_examples=150, deadline=None)
@given(st.text("<>/&;![]abx '\"=-.0129\n", max_size=80) | st.text(max_size=40))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed_voc"
    if not root.exists():
        image(root / "x.png")
    for content in (text, xml("x.png", lesion("benign", (text, 1, 2, 2)), more=text)):
        (root / "x.xml").write_bytes(content.encode("utf-8", "surrogatepass"))
        try:
            converted(root)
        except InputError as error:
            assert "\n" not in str(error)
