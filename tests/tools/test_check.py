"""``mammodet check``: every fault on its own line, exit 0 only when there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
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
    ]


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
