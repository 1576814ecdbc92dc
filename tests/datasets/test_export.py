"""Export to YOLO, Pascal VOC and CSV: boxes that come back, names that stay apart, folders that are never mixed."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import AnnotationRecord, Coco, ImageRecord, counts, to_xyxy, write_coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.base import convert
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError
from mammodet.datasets.export import FormatName, export, unique_names
from mammodet.datasets.export_formats import FORMATS, voc_corners

WIDTH, HEIGHT = 40, 60


def image(path: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    write_png(path, np.arange(height * width).reshape(height, width).astype(np.uint8))


def picture(number: int, name: str, **more: Any) -> ImageRecord:
    return {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT, **more}  # type: ignore[typeddict-item]


def lesion(number: int, image_id: int, category: int, bbox: list[float], **more: Any) -> AnnotationRecord:
    return {"id": number, "image_id": image_id, "category_id": category, "bbox": bbox, **more}  # type: ignore[typeddict-item]


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    """Three images of two patients: one with a lesion of each class and one to ignore, one normal, one unsure."""
    for name in ("p1/L-CC.png", "p1/L-MLO.png", "p2/L-CC.png"):
        image(tmp_path / "data" / name)
    about = {"patient_id": "1", "study_id": "s", "breast_id": "1-s-L", "laterality": "L"}
    images = [
        picture(1, "p1/L-CC.png", **about, view="CC", split="train", label="malignant"),
        picture(2, "p1/L-MLO.png", **about, view="MLO", split="train", label="normal"),
        picture(3, "p2/L-CC.png", patient_id="2", laterality="L", view="CC", split="validation", label=None),
    ]
    told = {"finding": "mass", "pathology": "malignant", "birads": "5"}
    lesions = [
        lesion(1, 1, 2, [10.25, 20.5, 4.5, 9.25], **told),
        lesion(2, 1, 1, [0, 0, 40, 60]),
        lesion(3, 1, 1, [1, 2, 3, 4], ignore=1),
        lesion(4, 3, 1, [1, 2, 3, 4], iscrowd=1),
    ]
    made = Coco(images, lesions, tmp_path / "data" / "coco.json")
    write_coco(made)
    return made


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_yolo(coco: Coco, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = export(coco, out, "yolo")
    assert files_of(out) == [
        "data.yaml",
        "export.json",
        "images.csv",
        "images/train/L-MLO.png",
        "images/train/p1_L-CC.png",
        "images/val/p2_L-CC.png",
        "labels/train/L-MLO.txt",
        "labels/train/p1_L-CC.txt",
        "labels/val/p2_L-CC.txt",
    ]
    # centre (12.5, 25.125) and size (4.5, 9.25) by 40 x 60
    assert (out / "labels/train/p1_L-CC.txt").read_text().splitlines() == [
        "1 0.312500000 0.418750000 0.112500000 0.154166667",
        "0 0.500000000 0.500000000 1.000000000 1.000000000",
    ]
    assert (out / "labels/train/L-MLO.txt").read_text() == ""
    assert yaml.safe_load((out / "data.yaml").read_text()) == {
        "train": "images/train",
        "val": "images/val",
        "names": {0: "benign", 1: "malignant"},
    }
    assert (done.images, done.boxes, dict(done.splits)) == (3, 2, {"train": 2, "val": 1})
    assert done.notes == [
        "images with a new name, which images.csv tells: 2",
        "lesions with ignore or iscrowd, left out because the format knows neither: 2",
        "images without a box that are not known to be normal, and look so to a trainer: 1",
    ]


def test_voc(coco: Coco, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(coco, out, "voc", "copy")
    assert (out / "ImageSets/Main/train.txt").read_text() == "p1_L-CC\nL-MLO\n"
    assert (out / "ImageSets/Main/val.txt").read_text() == "p2_L-CC\n"
    text = (out / "Annotations/p1_L-CC.xml").read_text()
    # edges 10.25, 20.5, 14.75, 29.75 become 10, 21, 15, 30: pixels 11 to 15 and 22 to 30, counted from 1
    sides = "<xmin>11</xmin>\n      <ymin>22</ymin>\n      <xmax>15</xmax>\n      <ymax>30</ymax>"
    assert sides in text
    assert text.index("<width>40</width>\n    <height>60</height>") < text.index("<name>malignant</name>")
    assert text.count("<object>") == 2
    assert "<object>" not in (out / "Annotations/L-MLO.xml").read_text()


def test_csv(coco: Coco, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(coco, out, "csv", "none")
    assert files_of(out) == ["boxes.csv", "export.json", "images.csv"]
    boxes = rows(out / "boxes.csv")
    assert boxes[0] == {
        "file": "../data/p1/L-CC.png",
        "image_width": "40",
        "image_height": "60",
        "patient_id": "1",
        "study_id": "s",
        "breast_id": "1-s-L",
        "laterality": "L",
        "view": "CC",
        "split": "train",
        "label": "malignant",
        "x": "10.25",
        "y": "20.5",
        "width": "4.5",
        "height": "9.25",
        "category": "malignant",
        "finding": "mass",
        "pathology": "malignant",
        "birads": "5",
        "ignore": "0",
    }
    assert [(row["category"], row["ignore"]) for row in boxes[1:]] == [
        ("benign", "0"),
        ("benign", "1"),
        ("benign", "1"),
    ]
    images = rows(out / "images.csv")
    assert [(row["file"], row["label"], row["boxes"]) for row in images] == [
        ("../data/p1/L-CC.png", "malignant", "3"),
        ("../data/p1/L-MLO.png", "normal", "0"),
        ("../data/p2/L-CC.png", "", "1"),
    ]
    assert (out / images[0]["file"]).is_file()
    assert [row["coco_file_name"] for row in images] == [one["file_name"] for one in coco.images]


@pytest.mark.parametrize("format_name", get_args(FormatName))
def test_images_are_linked_copied_or_left(coco: Coco, tmp_path: Path, format_name: FormatName) -> None:
    for mode in ("link", "copy", "png"):
        export(coco, tmp_path / mode, format_name, mode)  # type: ignore[arg-type]
        listed = rows(tmp_path / mode / "images.csv")
        for row, record in zip(listed, coco.images, strict=True):
            placed = tmp_path / mode / row["file"]
            assert placed.is_symlink() == (mode == "link")
            if mode != "png":
                assert placed.read_bytes() == coco.image_path(record).read_bytes()
    export(coco, tmp_path / "none", format_name, "none")
    assert not list((tmp_path / "none").rglob("*.png"))
    moved = tmp_path / "elsewhere"
    (tmp_path / "data").rename(moved)
    linked = rows(tmp_path / "link" / "images.csv")[0]["file"]
    assert not (tmp_path / "link" / linked).exists()


def test_dicom_becomes_an_8_bit_picture_of_the_whole_frame(tmp_path: Path, make_dicom: Any) -> None:
    make_dicom.folder = tmp_path
    dark = make_dicom(name="1.2.840.dcm")
    bright = make_dicom(4095 - make_dicom.breast, name="b.dcm", PhotometricInterpretation="MONOCHROME1")
    images = [picture(1, dark.name, label="normal"), picture(2, bright.name, label="normal")]
    images = [{**one, "width": 80, "height": 96} for one in images]
    export(Coco(images, [], tmp_path / "coco.json"), tmp_path / "out", "yolo", "png")
    for name in ("1.2.840", "b"):
        pixels = cv2.imread(str(tmp_path / "out" / "images" / "train" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert pixels is not None
        assert (pixels.shape, pixels.dtype) == ((96, 80), np.uint8)
        assert pixels[~make_dicom.inside].max() < 10  # air is dark, however it is stored
        assert pixels[make_dicom.inside].mean() > 100
        assert (tmp_path / "out" / "labels" / "train" / f"{name}.txt").is_file()


def test_an_unreadable_image_is_left_out_and_named(coco: Coco, tmp_path: Path) -> None:
    broken = tmp_path / "data" / "p1" / "L-CC.png"
    broken.write_bytes(broken.read_bytes()[:60])
    done = export(coco, tmp_path / "out", "voc", "png")
    assert done.images == 2
    assert any("p1/L-CC.png" in note and note.startswith("left out: ") for note in done.notes)
    assert not (tmp_path / "out" / "Annotations" / "p1_L-CC.xml").exists()
    assert "p1_L-CC" not in (tmp_path / "out" / "ImageSets" / "Main" / "train.txt").read_text()


def test_missing_images_and_other_sizes_are_refused(coco: Coco, tmp_path: Path) -> None:
    image(tmp_path / "data" / "p1" / "L-MLO.png", 41)
    with pytest.raises(InputError, match="is 41 x 60, the COCO file says 40 x 60"):
        export(coco, tmp_path / "out", "yolo")
    (tmp_path / "data" / "p1" / "L-MLO.png").unlink()
    with pytest.raises(InputError, match=r"1 of 3 images are not there \(found 'p1/L-MLO.png'\)"):
        export(coco, tmp_path / "more", "yolo")
    assert not (tmp_path / "more").exists()
    export(coco, tmp_path / "more", "yolo", "none")  # labels need no pixels


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/x.png", "b/y.dcm"], ["x", "y"]),
        (["a/x.png", "b/X.dcm", "c/z.png"], ["a_x", "b_X", "z"]),
        (["a/1/x.png", "b/1/x.png", "x.png"], ["a_1_x", "b_1_x", "x"]),
        (["x.png", "x.dcm"], ["x_1", "x_2"]),
        (["x.png", "x.dcm", "x_2.png"], ["x_1", "x_2_2", "x_2_3"]),
        (["../../a/x.png", "../b/x.png"], ["a_x", "b_x"]),
        (["a b/L CC (1).png", "1.2.840.113"], ["L_CC__1_", "1.2.840.113"]),
        ([".png", "..", "/"], [".png", "image_2", "image_3"]),
    ],
)
def test_names_are_unique_by_their_folders_then_by_id(names: list[str], expected: list[str]) -> None:
    made = Coco([picture(number, name) for number, name in enumerate(names, 1)], [], Path("coco.json"))
    found = list(unique_names(made).values())
    assert [name.lstrip("._") for name in found] == [name.lstrip("._") for name in expected]
    assert not any(name.startswith(".") for name in found)


_PARTS = st.lists(st.text("aAé. /\\_-1\n", max_size=6) | st.just("é" * 300), min_size=1, max_size=3)


@given(st.lists(_PARTS, max_size=6))
def test_any_names_become_unique_file_names(parts: list[list[str]]) -> None:
    images = [picture(number, "/".join(one)) for number, one in enumerate(parts, 1)]
    names = list(unique_names(Coco(images, [], Path("coco.json"))).values())
    assert len({name.lower() for name in names}) == len(parts)
    for name in names:
        assert 0 < len(name.encode()) < 220
        assert not set(name) & set("/\\ \n")
        assert not name.startswith(".")


def test_a_killed_run_goes_on_and_finished_images_stay(coco: Coco, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def dies(entries: Any) -> Any:
        yield next(iter(entries))
        raise KeyboardInterrupt

    for mode in ("link", "copy", "png"):
        with pytest.raises(KeyboardInterrupt):
            export(coco, out / mode, "yolo", mode, progress=dies)  # type: ignore[arg-type]
        (placed,) = (out / mode / "images" / "train").iterdir()
        before = os.lstat(placed)
        (out / mode / ".data.1.part.yaml").write_text("half")
        export(coco, out / mode, "yolo", mode)  # type: ignore[arg-type]
        assert os.lstat(placed) == before
        whole = files_of(out / mode)
        export(coco, out / mode, "yolo", mode)  # type: ignore[arg-type]
        assert files_of(out / mode) == whole


def test_corrected_boxes_replace_those_of_an_earlier_run(coco: Coco, tmp_path: Path) -> None:
    export(coco, tmp_path / "out", "yolo")
    coco.annotations[0]["bbox"] = [10, 20, 20, 30]
    export(coco, tmp_path / "out", "yolo")
    text = (tmp_path / "out" / "labels" / "train" / "p1_L-CC.txt").read_text()
    assert text.startswith("1 0.500000000 0.583333333 0.500000000 0.500000000\n")


def test_a_folder_with_something_else_is_never_mixed(coco: Coco, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(coco, out, "yolo")
    before = {name: (out / name).read_bytes() for name in files_of(out)}
    fewer = coco.subset([1, 2], coco.path)
    moved = Coco([{**one, "split": "test"} for one in coco.images], coco.annotations, coco.path)
    for other, format_name, mode in (
        (fewer, "yolo", "link"),
        (moved, "yolo", "link"),
        (coco, "voc", "link"),
        (coco, "yolo", "copy"),
    ):
        with pytest.raises(InputError, match="holds an export of other images or of another kind"):
            export(other, out, format_name, mode)  # type: ignore[arg-type]
    assert {name: (out / name).read_bytes() for name in files_of(out)} == before
    with pytest.raises(InputError, match="holds other files"):
        export(coco, tmp_path / "data", "yolo")
    with pytest.raises(InputError, match="is a file, not a folder"):
        export(coco, coco.path, "yolo")


def test_boxes_a_hundredth_over_the_edge_are_clipped(coco: Coco, tmp_path: Path) -> None:
    coco.annotations[1]["bbox"] = [-0.01, 0, 40.02, 60.01]
    export(coco, tmp_path / "y", "yolo", "none")
    label = (tmp_path / "y" / "labels" / "train" / "p1_L-CC.txt").read_text().splitlines()[1]
    assert label == "0 0.500000000 0.500000000 1.000000000 1.000000000"
    export(coco, tmp_path / "c", "csv", "none")
    assert [rows(tmp_path / "c" / "boxes.csv")[1][side] for side in ("x", "width", "height")] == [
        "0.0",
        "40.0",
        "60.0",
    ]


def test_boxes_of_less_than_a_pixel_become_the_pixel_they_lie_in(coco: Coco, tmp_path: Path) -> None:
    assert voc_corners([10.1, 20.9, 0.3, 0.1]) == {"xmin": 11, "ymin": 21, "xmax": 11, "ymax": 21}
    assert voc_corners([39.6, 59.7, 0.4, 0.3]) == {"xmin": 40, "ymin": 60, "xmax": 40, "ymax": 60}
    coco.annotations[1]["bbox"] = [39.6, 5, 0.4, 3]
    done = export(coco, tmp_path / "out", "voc", "none")
    assert "boxes of less than a pixel, made a whole pixel wide or high: 1" in done.notes


_SIZES = st.tuples(st.integers(2, 5000), st.integers(2, 5000))


@st.composite
def _scenes(draw: st.DrawFn) -> tuple[tuple[int, int], list[tuple[int, list[float]]]]:
    """An image size, and lesions of at least one pixel: (category, box).

    Each has an edge two pixels from that of any other: the same lesion twice is read once.
    """
    width, height = draw(_SIZES)
    lesions: list[tuple[int, list[float]]] = []
    for _ in range(draw(st.integers(0, 4))):
        x = draw(st.floats(0, width - 1))
        y = draw(st.floats(0, height - 1))
        box = [x, y, draw(st.floats(1, width - x)), draw(st.floats(1, height - y))]
        corners = to_xyxy([box])
        if all(np.abs(corners - to_xyxy([known])).max() >= 2 for _, known in lesions):
            lesions.append((draw(st.sampled_from([1, 2])), box))
    return (width, height), lesions


@settings(max_examples=60, deadline=None)
@given(_scenes(), _scenes(), st.sampled_from(["yolo", "voc"]))
def test_boxes_come_back_within_half_a_pixel(
    tmp_path_factory: pytest.TempPathFactory, one: Any, other: Any, format_name: FormatName
) -> None:
    """COCO -> format -> COCO, through the real converter: boxes, classes, labels, splits, and empty images."""
    folder = tmp_path_factory.getbasetemp() / "round_trip"
    shutil.rmtree(folder, ignore_errors=True)
    images, lesions = [], []
    for number, ((width, height), drawn) in enumerate((one, other, ((7, 5), [])), 1):
        name = f"{number}_L_CC"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        header = f"P5 {width} {height} 255\n".encode()
        with (folder / "data" / f"{name}.pgm").open("wb") as stream:  # a header, and zeros that take no space
            stream.write(header)
            stream.truncate(len(header) + width * height)
        label = "normal" if not drawn else "malignant" if any(kind == 2 for kind, _ in drawn) else "benign"
        record = picture(number, f"{name}.pgm", split=("train", "val", "test")[number - 1], label=label)
        images.append({**record, "width": width, "height": height, "patient_id": str(number)})
        lesions += [lesion(len(lesions) + 1 + at, number, kind, box) for at, (kind, box) in enumerate(drawn)]
    made = Coco(images, lesions, folder / "data" / "coco.json")  # type: ignore[arg-type]
    assert export(made, folder / "out", format_name).images == 3
    back, audit = convert(load_source(format_name), folder / "out", folder / "back.json")
    found = {Path(record["file_name"]).stem: record for record in back.images}
    assert sorted(found) == ["1_L_CC", "2_L_CC", "3_L_CC"]
    for record in made.images:
        twin = found[Path(record["file_name"]).stem]
        for key in ("width", "height", "label", "split", "patient_id"):
            assert twin.get(key) == record.get(key)  # type: ignore[comparison-overlap]
        mine, theirs = made.annotations_of[record["id"]], back.annotations_of[twin["id"]]
        assert [a["category_id"] for a in mine] == [a["category_id"] for a in theirs]
        if mine:
            moved = np.abs(to_xyxy([a["bbox"] for a in mine]) - to_xyxy([a["bbox"] for a in theirs]))
            assert moved.max() <= (0.5 if format_name == "voc" else 0.01)
    assert audit.clipped == []
    assert len(back.annotations) == sum(counts(a) for a in made.annotations)


def test_every_format_says_what_it_is() -> None:
    assert tuple(FORMATS) == get_args(FormatName)
