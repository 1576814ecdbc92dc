"""YOLO: normalised rows on the size of the image, layouts, class names, and rows that are no labels."""

from __future__ import annotations

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

WIDTH, HEIGHT = 200, 100
NAMES = "names: [benign, malignant]\n"


def image(path: Path) -> None:
    write_png(path, np.zeros((HEIGHT, WIDTH), dtype=np.uint8))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def converted(root: Path, **options: Any) -> tuple[Coco, Audit]:
    return convert(load_source("yolo"), root, root.parent / "coco.json", Options(**options))


def one_image(tmp_path: Path, rows: str, names: str = NAMES) -> Path:
    root = tmp_path / "data"
    image(root / "images" / "x.png")
    write(root / "labels" / "x.txt", rows)
    write(root / "data.yaml", names)
    return root


def test_rows_are_parts_of_the_width_and_height(tmp_path: Path) -> None:
    root = one_image(tmp_path, "0 0.5 0.5 0.1 0.2\r\n\r\n1 0.1 0.1 0.3 0.1 0.3 0.5\n")
    coco, audit = converted(root)
    first, second = coco.annotations
    # centre (100, 50), 20 x 20; triangle (20, 10), (60, 10), (60, 50) of half 40 x 40 pixels
    assert (first["bbox"], first["category_id"], first["geometry_source"]) == ([90, 40, 20, 20], 1, "box")
    assert (second["bbox"], second["category_id"]) == ([20, 10, 40, 40], 2)
    assert (second["area"], second["geometry_source"]) == (pytest.approx(800), "polygon")
    assert coco.images[0]["label"] == "malignant"
    assert (audit.rows_read, audit.rows_used) == (2, 2)


@pytest.mark.parametrize(
    ("image_path", "label_path", "split"),
    [
        ("images/x.png", "labels/x.txt", None),
        ("images/train/x.png", "labels/train/x.txt", "train"),
        ("valid/images/x.png", "valid/labels/x.txt", "val"),
        ("set/images/test/sub/x.png", "set/labels/test/sub/x.txt", "test"),
        ("x.png", "x.txt", None),
        ("obj_train_data/x.png", "obj_train_data/x.txt", "train"),
        ("JPEGImages/x.png", "labels/x.txt", None),
    ],
)
def test_layouts(tmp_path: Path, image_path: str, label_path: str, split: str | None) -> None:
    root = tmp_path / "data"
    image(root / image_path)
    write(root / label_path, "1 0.5 0.5 1 1\n")
    write(root / "data.yaml", NAMES)
    coco, audit = converted(root)
    assert coco.images[0]["file_name"] == f"data/{image_path}"
    assert coco.images[0].get("split") == split
    assert coco.annotations[0]["bbox"] == [0, 0, 200, 100]
    assert audit.clipped == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("data.yaml", "names: {0: benign, 1: malignant}"),
        ("data.yaml", "nc: 2\nnames:\n- benign\n- malignant"),
        ("dataset.yml", "\ufeffnames: ['benign', 'malignant']"),
        ("classes.txt", "benign\r\nmalignant\r\n"),
        ("labels/classes.txt", "benign\nmalignant"),
        ("obj.names", "benign\nmalignant\n\n"),
    ],
)
def test_class_names(tmp_path: Path, file: str, text: str) -> None:
    root = one_image(tmp_path, "1 0.5 0.5 0.1 0.2\n0 0.5 0.5 0.1 0.2\n")
    (root / "data.yaml").unlink()
    write(root / file, text)
    coco, audit = converted(root)
    assert [one["category_id"] for one in coco.annotations] == [2, 1]
    assert audit.notes.keys() == {
        "the patient is not known: a split by patient takes each such image for itself"
    }


def test_numbers_without_a_name_have_to_be_given_one(tmp_path: Path) -> None:
    root = one_image(tmp_path, "1 0.5 0.5 0.1 0.2\n0 0.5 0.5 0.1 0.2\n7 0.5 0.5 0.1 0.2", "names: [benign]")
    with pytest.raises(InputError, match=r"benign or malignant: 1, 7; say it with --classes '\{1: malignant"):
        converted(root)
    coco, _ = converted(root, classes={"1": "malignant", "7": "ignore"})
    assert [(one["category_id"], one.get("ignore")) for one in coco.annotations] == [
        (2, None),
        (1, None),
        (1, 1),
    ]


def test_names_that_disagree_or_are_malformed_are_refused(tmp_path: Path) -> None:
    root = one_image(tmp_path, "0 0.5 0.5 0.1 0.2\n")
    write(root / "classes.txt", "malignant\nbenign\n")
    with pytest.raises(InputError, match=r"classes\.txt: names other classes than data\.yaml"):
        converted(root)
    (root / "classes.txt").unlink()
    bomb = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [{f'*b{n - 1}, ' * 9}]\n" for n in range(1, 30))
    bomb = bomb.replace("*b0", "*a") + "names: *b29\n"
    for text, problem in (
        ("names: benign", "holds no names"),
        ("names: {a: benign}", r"names\.a: is no number with a name"),
        ("names: [[benign]]", r"names\.0: is no number with a name"),
        ("names: &a [*a]", "is no YAML"),
        ("names: !!python/object/apply:os.system [true]\n", "benign or malignant: true;"),
        ("names: [benign", "is no YAML"),
        ("[" * 100_000, "is no YAML"),
        (bomb, "is no number with a name"),
        ("kpt_shape: [17, 3]\nnames: [benign]", "key points"),
    ):
        write(root / "data.yaml", text)
        with pytest.raises(InputError, match=problem) as caught:
            converted(root)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500


def test_an_image_without_label_file_is_normal_unless_its_folder_has_none(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("train/a", "train/b", "train/c", "test/d"):
        image(root / "images" / f"{name}.png")
    write(root / "labels" / "train" / "a.txt", "0 0.5 0.5 0.1 0.2")
    write(root / "labels" / "train" / "b.txt", "\n")
    write(root / "data.yaml", NAMES)
    coco, audit = converted(root)
    labels = {one["file_name"][-5]: one["label"] for one in coco.images}
    assert labels == {"a": "benign", "b": "normal", "c": "normal", "d": None}
    assert audit.notes["no label file: taken as normal, as Ultralytics does"] == {"images/train/c.png": 1}
    assert audit.notes["no image of the folder has a label file: label unknown"] == {"images/test/d.png": 1}


def test_label_files_without_image_are_counted(tmp_path: Path) -> None:
    root = one_image(tmp_path, "0 0.5 0.5 0.1 0.2")
    write(root / "labels" / "gone.txt", "0 0.5 0.5 0.1 0.2\n1 0.5 0.5 0.1 0.2\n")
    write(root / "gone_too.txt", "0 0.5 0.5 0.1 0.2\n")
    write(root / "licence_of_this.txt", "Do as you like.\n")
    _, audit = converted(root)
    assert audit.dropped == {"no image of this label file": {"gone_too.txt": 1, "labels/gone.txt": 2}}
    assert audit.rows_read == 4


def test_splits_from_data_yaml_and_from_lists(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for folder in ("first", "second"):
        image(root / "images" / folder / f"{folder}.png")
        write(root / "labels" / folder / f"{folder}.txt", "")
    write(root / "data.yaml", NAMES + "train: ../images/first\nval: images/second/\n")
    assert [one.get("split") for one in converted(root)[0].images] == ["train", "val"]
    write(root / "data.yaml", NAMES)
    write(root / "test.txt", "/somewhere/else/images/second/second.png\n../../../../etc/passwd\n")
    assert [one.get("split") for one in converted(root)[0].images] == [None, "test"]


def test_uploads_of_label_studio_keep_their_patient(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("0a1b2c3d-7_L_CC", "ffffffff-7_L_MLO"):
        image(root / "images" / f"{name}.png")
        write(root / "labels" / f"{name}.txt", "")
    write(root / "classes.txt", "benign\n")
    assert [one["patient_id"] for one in converted(root)[0].images] == ["0a1b2c3d_7", "ffffffff_7"]
    write(root / "notes.json", '{"categories": [], "info": {"contributor": "Label Studio"}}')
    assert [one["patient_id"] for one in converted(root)[0].images] == ["7", "7"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("0 0.5 0.5 0.1 0.2 0.93", "as predictions have"),
        ("0 0.1 0.1 0.3 0.1 0.3 0.5 0.9", "as predictions have"),
        ("0 0.5 0.5 0.1", "must have a class and four numbers"),
        ("0", "must have a class and four numbers"),
        ("benign 0.5 0.5 0.1 0.2", "must begin with the number of a class"),
        ("-1 0.5 0.5 0.1 0.2", "must begin with the number of a class"),
        ("0.5 0.5 0.5 0.1 0.2", "must begin with the number of a class"),
        ("9999999 0.5 0.5 0.1 0.2", "must begin with the number of a class"),
        ("0 90 40 20 20", r"must be a number from 0 to 1 \(found '90'\); give parts"),
        ("0 0.5 0.5 0.1 1.0011", "must be a number from 0 to 1"),
        ("0 0.5 -0.0011 0.1 0.1", "must be a number from 0 to 1"),
        ("0 nan 0.5 0.1 0.2", "must be a number from 0 to 1"),
        ("0 0.5 inf 0.1 0.2", "must be a number from 0 to 1"),
        ("0 0.5 0.5 1e308 0.2", "must be a number from 0 to 1"),
        ("0 0.5 x 0.1 0.2", "must be a number from 0 to 1"),
        ("0 0.5 0_5 0.1 0.2", "must be a number from 0 to 1"),
        ("0 0.5\0 0.5 0.1 0.2", "zero characters"),
        ("0 " + "0.5 " * 300_000, "more than any row has"),
    ],
)
def test_a_malformed_row_is_named_by_its_line(tmp_path: Path, row: str, problem: str) -> None:
    root = one_image(tmp_path, f"0 0.5 0.5 0.1 0.2\n{row}\n")
    with pytest.raises(InputError, match=problem) as caught:
        converted(root)
    assert "x.txt" in str(caught.value)
    assert "line 2" in str(caught.value) or "zero characters" in problem
    assert "\n" not in str(caught.value)


def test_rounding_beyond_the_image_is_tolerated(tmp_path: Path) -> None:
    coco, audit = converted(one_image(tmp_path, "0 0.25 0.5 0.5005 1.0009"))
    # half a pixel of 200, and a tenth of 100, over the edges
    assert coco.annotations[0]["bbox"] == pytest.approx([0, 0, 100.05, 100])
    assert audit.clipped == []


def test_two_images_of_one_label_file_and_folders_without_labels_are_refused(tmp_path: Path) -> None:
    root = one_image(tmp_path, "0 0.5 0.5 0.1 0.2")
    write_png(root / "images" / "X.png", np.zeros((HEIGHT, WIDTH), dtype=np.uint8))
    with pytest.raises(InputError, match="two images share this label file"):
        converted(root)
    (root / "images" / "X.png").unlink()
    (root / "labels" / "x.txt").unlink()
    with pytest.raises(InputError, match="no label file of an image"):
        converted(root)


def test_a_hundred_megabytes_or_another_encoding_are_refused(tmp_path: Path) -> None:
    root = one_image(tmp_path, "0 0.5 0.5 0.1 0.2")
    with (root / "labels" / "x.txt").open("wb") as stream:
        stream.truncate(100 * 2**20)
    with pytest.raises(InputError, match="104857600 bytes"):
        converted(root)
    (root / "labels" / "x.txt").write_bytes(b"0 0.5 0.5 0.1 \xff0.2")
    with pytest.raises(InputError, match="no text in UTF-8"):
        converted(root)


def test_a_broken_image_is_dropped_with_its_rows(tmp_path: Path) -> None:
    root = one_image(tmp_path, "0 0.5 0.5 0.1 0.2")
    (root / "images" / "y.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    write(root / "labels" / "y.txt", "0 0.5 0.5 0.1 0.2\n1 0.5 0.5 0.1 0.2\n")
    coco, audit = converted(root)
    assert len(coco.images) == 1
    assert (audit.rows_used, audit.rows_dropped, audit.without_pixels) == (1, 2, ["images/y.png"])


@settings(max_examples=150, deadline=None)
@given(st.text("01234567.-+eE naif\n\t", max_size=60) | st.text(max_size=40))
def test_any_row_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed_yolo" / "data"
    if not root.exists():
        one_image(root.parent, "")
    for file, prefix in (("labels/x.txt", ""), ("data.yaml", "names: ")):
        (root / "labels" / "x.txt").write_text("0 0.5 0.5 0.1 0.2")
        (root / "data.yaml").write_text(NAMES)
        (root / file).write_bytes((prefix + text).encode("utf-8", "surrogatepass"))
        try:
            converted(root)
        except InputError as error:
            assert "\n" not in str(error)


def test_a_class_that_is_no_lesion_is_left_out_and_told(tmp_path: Path) -> None:
    root = one_image(tmp_path, "0 0.5 0.5 0.1 0.2\n1 0.2 0.2 0.1 0.1\n", "names: [nipple, malignant]")
    coco, audit = converted(root, classes={"nipple": "leave-out"})
    assert [one["category_id"] for one in coco.annotations] == [2]
    assert audit.lesions_dropped == {"its class is left out, as --classes says": {"nipple": 1}}
    (tmp_path / "second").mkdir()
    root = one_image(tmp_path / "second", "0 0.5 0.5 0.1 0.2\n", "names: [nipple, malignant]")
    coco, _ = converted(root, classes={"nipple": "leave-out"})
    assert (coco.annotations, coco.images[0]["label"]) == ([], "normal")
