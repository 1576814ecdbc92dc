"""``mammodet export``: the files, what it prints, and one line for what cannot be exported."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from mammodet.datasets.coco import AnnotationRecord, Coco, ImageRecord, read_coco, write_coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.base import convert
from mammodet.datasets.drawing import write_png
from mammodet.tools import cli
from mammodet.tools.export import main


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    images: list[ImageRecord] = []
    for number, split in ((1, "train"), (2, "val")):
        write_png(tmp_path / "data" / f"{number}.png", np.zeros((20, 30), dtype=np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "width": 30, "height": 20, "split": split})
    images[1]["label"] = "normal"
    lesions: list[AnnotationRecord] = [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [3, 4, 6, 8]}]
    return write_coco(Coco(images, lesions, tmp_path / "data" / "coco.json"))


def test_what_is_written_and_printed(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["yolo", str(coco), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == ["images: 2 (1 train, 1 val)", "boxes: 1", str(out)]
    assert (
        out / "labels" / "train" / "1.txt"
    ).read_text() == "1 0.200000000 0.400000000 0.200000000 0.400000000\n"
    assert (out / "images" / "train" / "1.png").is_symlink()
    config = yaml.safe_load((out / "export.yaml").read_text())
    assert (config["format"], config["images"]) == ("yolo", None)
    assert main(["yolo", str(coco), "--out", str(out)]) == 0  # the same once more
    assert main(["--config", str(out / "export.yaml"), "yolo", str(coco)]) == 0


def test_each_format_comes_back(coco: Path, tmp_path: Path) -> None:
    for name in ("yolo", "voc"):
        assert cli.main(["export", name, str(coco), "--out", str(tmp_path / name), "--images", "copy"]) == 0
        found, _ = convert(load_source(name), tmp_path / name, tmp_path / f"{name}.json")
        assert [(one["category_id"], one["bbox"]) for one in found.annotations] == [(2, [3, 4, 6, 8])]
        assert [(one["label"], one["split"]) for one in found.images] == [
            ("malignant", "train"),
            ("normal", "val"),
        ]


def test_csv_leaves_the_images_where_they_are(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["csv", str(coco), "--out", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "boxes.csv",
        "export.json",
        "export.yaml",
        "images.csv",
    ]
    assert "note" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["coco", "COCO", "--out", "OUT"], "format"),
        (["yolo", "COCO"], "out"),
        (["yolo", "COCO", "--out", "OUT", "--images", "move"], "images"),
        (["yolo", "MISSING", "--out", "OUT"], "no such file"),
        (["yolo", "COCO", "--out", "DATA"], "holds other files"),
        (["yolo", "COCO", "--out", "COCO"], "is a file, not a folder"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    coco: Path, tmp_path: Path, arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"COCO": coco, "OUT": tmp_path / "out", "DATA": coco.parent, "MISSING": tmp_path / "no.json"}
    assert main([str(places.get(one, one)) for one in arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert problem in error
    assert not (tmp_path / "out").exists()


def test_nothing_of_a_missing_image_is_written(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (coco.parent / "2.png").unlink()
    assert main(["voc", str(coco), "--out", str(tmp_path / "out")]) == 2
    assert "1 of 2 images are not there (found '2.png')" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_parts_of_a_split_become_one_export(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = read_coco(coco)
    parts = [tmp_path / "split" / f"{image['split']}.json" for image in whole.images]
    for path, image in zip(parts, whole.images, strict=True):
        write_coco(whole.subset([image["id"]], path))
    assert main(["yolo", *map(str, parts), "--out", str(tmp_path / "out")]) == 0
    assert "images: 2 (1 train, 1 val)" in capsys.readouterr().out
    assert (tmp_path / "out" / "images" / "val" / "2.png").is_file()
    assert main(["yolo", str(parts[0]), str(coco), "--out", str(tmp_path / "two")]) == 2
    assert "images[id=1]: shares image ids with" in capsys.readouterr().err
    assert main(["yolo", str(tmp_path / "split"), "--out", str(tmp_path / "three")]) == 2
    assert "is a folder, not a JSON file" in capsys.readouterr().err


def test_a_table_invents_no_split(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = read_coco(coco)
    for image in whole.images:
        image["split"] = None
    write_coco(whole)
    assert main(["csv", str(coco), "--out", str(tmp_path / "out")]) == 0
    assert "without a split" not in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "out" / "images.csv").open()))
    assert [row["split"] for row in rows] == ["", ""]
