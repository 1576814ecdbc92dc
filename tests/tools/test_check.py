"""``mammodet check``: every fault on its own line, exit 0 only when there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from mammodet.datasets.coco import profile_categories
from mammodet.datasets.drawing import write_png
from mammodet.tools.check import main


def write(path: Path, **changes: Any) -> Path:
    lesion = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}
    image = {"id": 1, "file_name": "a.png", "width": 9, "height": 8}
    whole = {"images": [image], "annotations": [lesion], "categories": profile_categories(), **changes}
    path.write_text(json.dumps(whole))
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    write_png(tmp_path / "a.png", np.zeros((8, 9), dtype=np.uint8))
    return write(tmp_path / "coco.json")


def test_a_good_file(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(good), "--files", "size"]) == 0
    assert capsys.readouterr().out == f"{good}: no fault in 1 images and 1 annotations\n"


def test_all_faults_are_listed_one_per_line(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        good, images=[None, {"id": 1, "file_name": "a.png\nb", "width": 9}], annotations=[{"id": 0}], info=[]
    )
    assert main([str(good)]) == 2
    lines = capsys.readouterr().out.splitlines()
    places = [line.removeprefix(f"{good}: ").split(":")[0] for line in lines]
    assert places == [
        "info",
        "images[0]",
        "images[id=1].width, height",
        "annotations[id=0].id",
        "annotations[id=0].image_id",
        "annotations[id=0].category_id",
        "annotations[id=0].bbox",
        "images[id=1].file_name",
    ]


def test_files_are_looked_for_beside_faults_of_content(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"id": 2, "file_name": "gone.png", "width": 9}
    images = [
        {"id": 1, "file_name": "a.png", "width": 9, "height": 8},
        gone,
        {"id": 3, "file_name": "b" * 300},
    ]
    write(good, images=images, annotations=[])
    assert main([str(good), "--files", "size"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.removeprefix(f"{good}: ").split(" (found")[0] for line in lines] == [
        "images[id=2].width, height: must be positive integers",
        "images[id=3].width, height: must be positive integers",
        "images[id=2].file_name: no such image file",
        "images[id=3].file_name: no such image file",
    ]
    assert main([str(good), "--files", "no"]) == 2
    assert "no such image file" not in capsys.readouterr().out


def test_one_file_in_two_spellings_is_a_fault(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("a.png", "./a.png", "x/../a.png")
    images = [{"id": id_, "file_name": name, "width": 9, "height": 8} for id_, name in enumerate(names, 1)]
    write(good, images=images)
    assert main([str(good), "--files", "no"]) == 2
    assert capsys.readouterr().out.splitlines() == [
        f"{good}: images[id={id_}].file_name: is the file of images[id=1] too (found {name!r})"
        for id_, name in ((2, "./a.png"), (3, "x/../a.png"))
    ]


def test_read_opens_every_image_fully(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(good), "--files", "read"]) == 0
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    write_png(good.parent / "cut.png", noise)
    (good.parent / "cut.png").write_bytes((good.parent / "cut.png").read_bytes()[:2000])
    write_png(good.parent / "b.png", noise)
    names = {"a.png": (9, 8), "cut.png": (64, 64), "b.png": (64, 63)}
    images = [
        {"id": id_, "file_name": name, "width": size[0], "height": size[1]}
        for id_, (name, size) in enumerate(names.items(), 1)
    ]
    write(good, images=images, annotations=[])
    capsys.readouterr()
    assert main([str(good), "--files", "read"]) == 2
    cut, wrong = capsys.readouterr().out.splitlines()
    assert "images[id=2].file_name: is a broken or cut-off PNG file" in cut
    assert "images[id=3].file_name: is 64 x 64 on disk and 64 x 63 here" in wrong


def test_raw_images_are_faults_unless_allowed(
    good: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared_data / "dicom" / "ge_essential_r_mlo.dcm"
    data = pydicom.dcmread(source)
    data.PresentationIntentType = "FOR PROCESSING"
    data.save_as(good.parent / "raw.dcm")
    image = {"id": 1, "file_name": "raw.dcm", "width": int(data.Columns), "height": int(data.Rows)}
    write(good, images=[image], annotations=[])
    assert main([str(good), "--files", "read"]) == 2
    assert "Presentation Intent Type: is a raw image FOR PROCESSING" in capsys.readouterr().out
    assert main([str(good), "--files", "read", "--allow-for-processing"]) == 0


def test_image_files_are_looked_for(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_png(good.parent / "a.png", np.zeros((9, 9), dtype=np.uint8))
    assert main([str(good)]) == 0
    assert main([str(good), "--files", "size"]) == 2
    assert "is 9 x 9 on disk and 9 x 8 here" in capsys.readouterr().out
    (good.parent / "a.png").unlink()
    assert main([str(good)]) == 2
    assert "no such image file" in capsys.readouterr().out
    assert main([str(good), "--files", "no"]) == 0


def test_other_categories_are_faults_of_the_profile_only(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(shared_data / "coco" / "instances_val2014_100.json")
    assert main([path, "--files", "no"]) == 2
    assert "categories: must be {1: 'benign', 2: 'malignant'}" in capsys.readouterr().out
    assert main([path, "--files", "no", "--profile", "false"]) == 0


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "[" * 100_000, '{"images": [null]}'])
def test_what_is_no_coco_file(tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.json"
    if text is not None:
        path.write_text(text)
    assert main([str(path)]) == 2
    captured = capsys.readouterr()
    assert "x.json" in captured.out + captured.err
    assert "Traceback" not in captured.err
