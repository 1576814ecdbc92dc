"""``mammodet convert``: the file, the report, the audit, the overlays, and one line for what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from mammodet.datasets.coco import read_coco
from mammodet.datasets.converters import CONVERTERS
from mammodet.datasets.drawing import COLOURS, write_png
from mammodet.tools.convert import main


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    write_png(root / "images" / "0_R-CC.png", np.arange(48 * 40).reshape(48, 40).astype(np.uint8))
    write_png(root / "images" / "0_L-CC.png", np.arange(48 * 40).reshape(48, 40).astype(np.uint8))
    mask = np.zeros((48, 40), dtype=np.uint8)
    mask[10:20, 5:25] = 255
    write_png(root / "masks" / "0_R-CC_malignant.png", mask)
    return root


def test_list_needs_no_other_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == list(CONVERTERS)


def test_a_folder_is_converted_drawn_and_reported(
    tmp_path: Path, masks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, overlays = tmp_path / "out" / "coco.json", tmp_path / "overlays"
    arguments = ["mask-folders", str(masks), "--out", str(out), "--overlays", str(overlays)]
    assert main([*arguments, "--audit", "headers"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "rows: 2 read, 2 used, 0 dropped",
        "images: 2 of 1 patients (1 malignant, 1 normal)",
        "lesions: 1 (1 malignant)",
        str(out),
        "audit: clean as far as headers tell; pixels were not read (0 errors, 0 warnings, 1 kind of notes)",
        "  at full resolution 100 % of the boxes are smaller than the smallest anchor (32 px); at torchvision's "
        "default resize (800/1333) 0 %",  # 40 x 48 pixels become 800 x 960
        str(out.with_name("coco.audit.html")),
    ]
    coco = read_coco(out)
    assert all(coco.image_path(image).is_file() for image in coco.images)
    assert yaml.safe_load(out.with_suffix(".yaml").read_text())["source"] == "mask-folders"
    assert sorted(path.name for path in overlays.iterdir()) == ["00001_0_L-CC.png", "00002_0_R-CC.png"]
    drawn = cv2.imread(str(overlays / "00002_0_R-CC.png"))
    assert drawn is not None
    assert (drawn[10, 5:25, ::-1] == COLOURS[2]).all()


def test_an_image_that_cannot_be_drawn_is_told_and_left_out(
    tmp_path: Path, masks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (masks / "images" / "0_L-CC.png").read_bytes()
    (masks / "images" / "0_L-CC.png").write_bytes(whole[: len(whole) // 2])
    overlays = tmp_path / "overlays"
    arguments = ["mask-folders", str(masks), "--out", str(tmp_path / "c.json"), "--overlays", str(overlays)]
    assert main([*arguments, "--workers", "1"]) == 0  # the file was written; the audit tells what is wrong
    captured = capsys.readouterr()
    assert "0_L-CC.png" in captured.err
    assert "  error: image files that cannot be read: 1" in captured.out.splitlines()
    assert [path.name for path in overlays.iterdir()] == ["00002_0_R-CC.png"]


@pytest.mark.parametrize("name", ["c.yaml", "c.yml", "c", ".json"])
def test_the_arguments_never_overwrite_the_data_set(
    tmp_path: Path, masks: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mask-folders", str(masks), "--out", str(tmp_path / "out" / name)]) == 2
    assert "--out: must end in .json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_drawings_never_become_images_of_the_data_set(
    tmp_path: Path, masks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["mask-folders", str(masks), "--out", str(tmp_path / "c.json")]
    assert main([*arguments, "--overlays", str(masks / "images" / "drawn")]) == 2
    assert "--overlays: lies inside the folder of the data set" in capsys.readouterr().err
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize("source", [*CONVERTERS, "nope", "nope.py"])
def test_an_empty_folder_is_one_line_and_exit_2(
    tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main([source, str(empty), "--out", str(tmp_path / "c.json")]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("mammodet convert: error: ")
    assert captured.out == ""
    assert not (tmp_path / "c.json").exists()


def test_missing_arguments_and_folders_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["mini-mias"], ["mini-mias", str(tmp_path / "no"), "--out", str(tmp_path / "c.json")]):
        assert main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_without_an_audit_that_of_an_earlier_file_does_not_stay(tmp_path: Path, masks: Path) -> None:
    out = tmp_path / "coco.json"
    arguments = ["mask-folders", str(masks), "--out", str(out)]
    audit = out.with_name("coco.audit.json")
    assert main([*arguments, "--audit", "headers"]) == 0
    record = json.loads(audit.read_text())
    assert (record["conversion"]["rows_read"], record["files"]) == (2, "headers")
    assert main([*arguments, "--audit", "no"]) == 0
    assert not audit.exists()
    assert not out.with_name("coco.audit.html").exists()


def test_the_choices_reach_the_converter_and_the_file(
    tmp_path: Path, masks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "coco.json"
    arguments = ["mask-folders", str(masks), "--out", str(out), "--audit", "no"]
    choices = ["--benign-up-to", "2", "--malignant-from", "4B", "--classes", '{"scar": "ignore"}']
    assert main([*arguments, *choices]) == 0
    assert read_coco(out).info["options"] == {
        "benign_up_to": "2",
        "malignant_from": "4B",
        "classes": {"scar": "ignore"},
    }
    assert (
        main(["--config", str(out.with_suffix(".yaml")), "mask-folders", str(masks)]) == 0
    )  # repeats the run
    assert read_coco(out).info["options"]["benign_up_to"] == "2"
    capsys.readouterr()
    for wrong in (["--benign-up-to", "5"], ["--classes", '{"scar": "harmless"}'], ["--audit", "some"]):
        assert main([*arguments, *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1
