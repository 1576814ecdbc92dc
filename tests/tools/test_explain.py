"""Explaining from the command line: pictures in the frame of the file, every other file with its reason."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammodet.datasets.coco import read_coco
from mammodet.tools import cli, explain_detector
from mammodet.tools.explain_image import Explainer

KINDS = ("cams", "heatmaps", "features")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _explain(*words: object) -> int:
    return cli.main(["explain", "--device", "cpu", *map(str, words)])


@pytest.fixture
def model(trained: Path) -> Path:
    return trained / "model.safetensors"


def test_pictures_and_heat_lie_in_the_frame_of_the_file(phantom: Path, model: Path, tmp_path: Path):
    out = tmp_path / "out"
    words = [phantom / "coco.json", "--model", model, "--out", out, "--score-threshold", 0]
    assert _explain(*words, "--max-boxes", 3) == 0
    rows = _rows(out / "images.csv")
    assert len(rows) == 8
    told = json.loads((out / "explain.json").read_text())
    assert told["method"] == "eigencam" and told["images"] == len(told["results"]) == 8
    for row, result in zip(rows, told["results"], strict=True):
        assert 1 <= int(row["boxes"]) == len(result["boxes"]) <= 3
        cam = cv2.imread(str(out / result["files"]["cam"]))
        heat = cv2.imread(str(out / result["files"]["heatmap"]), cv2.IMREAD_UNCHANGED)
        assert cam.shape == (288, 208, 3) and heat.shape == (288, 208) and heat.dtype == np.uint16
        assert heat[int(row["peak_y"]), int(row["peak_x"])] == heat.max() > 0
        assert (cam[:, :, 0] != cam[:, :, 2]).any(), "in colour"
        inside = np.zeros(heat.shape, bool)
        for x, y, w, h in (box["bbox"] for box in result["boxes"]):
            inside[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))] = True
        assert float(row["area_of_boxes"]) == pytest.approx(inside.mean(), abs=1e-5)
        assert float(row["heat_in_boxes"]) == pytest.approx(heat[inside].sum() / heat.sum(), abs=1e-3)
        assert cv2.imread(str(out / result["files"]["features"])) is not None


def test_boxes_are_those_that_score_finds(phantom: Path, model: Path, tmp_path: Path):
    file = next((phantom / "images").rglob("*.dcm"))
    words = ["--model", model, "--device", "cpu"]
    assert _explain(file, *words[:2], "--out", tmp_path / "inside", "--score-threshold", 0.02) == 0
    (result,) = json.loads((tmp_path / "inside" / "explain.json").read_text())["results"]
    scored = [file, *words, "--out", tmp_path / "scores", "--precision", "fp32", "--overlays", "none"]
    assert cli.main(["score", *map(str, scored), "--min-score", "0.02"]) == 0
    expected = json.loads((tmp_path / "scores" / "predictions.json").read_text())[:10]
    assert len(result["boxes"]) == len(expected)
    for one, other in zip(result["boxes"], expected, strict=True):
        assert one["bbox"] == pytest.approx(other["bbox"], abs=0.5)
        assert one["score"] == pytest.approx(other["score"], abs=0.01)


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "eigencam"])
def test_every_method_and_class_can_be_chosen(method, phantom: Path, model: Path, tmp_path: Path):
    words = [phantom / "coco.json", "--model", model, "--out", tmp_path / "out", "--method", method]
    ids = f"[{read_coco(phantom / 'coco.json').images[0]['id']}]"
    more = ["--ids", ids, "--category", "malignant", "--no-feature-maps", "--score-threshold", 0]
    assert _explain(*words, *more) == 0
    told = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert told["method"] == method and told["category"] == "malignant" and told["images"] == 1
    assert {box["category_id"] for box in told["results"][0]["boxes"]} == {2}
    assert not (tmp_path / "out" / "features").exists()


def test_an_image_without_boxes_has_no_heat_and_no_picture_if_so_wished(
    phantom: Path, model: Path, tmp_path: Path
):
    file = next((phantom / "images").rglob("*.dcm"))
    words = [file, "--model", model, "--score-threshold", 1]
    assert _explain(*words, "--out", tmp_path / "all") == 0
    assert (tmp_path / "all" / "features").exists() and not (tmp_path / "all" / "heatmaps").exists()
    assert _explain(*words, "--out", tmp_path / "found", "--images", "found") == 0
    assert not any((tmp_path / "found" / kind).exists() for kind in KINDS)
    (row,) = _rows(tmp_path / "found" / "images.csv")
    assert row["boxes"] == "0" and row["peak_x"] == ""


def test_unreadable_files_are_named_and_do_not_end_the_batch(
    phantom: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, out = tmp_path / "exams", tmp_path / "out"
    folder.mkdir()
    good = next((phantom / "images").rglob("*.dcm"))
    shutil.copy(good, folder / "good.dcm")
    (folder / "cut.dcm").write_bytes(good.read_bytes()[:5000])
    (folder / "notes.txt").write_text("no image")
    assert _explain(folder, "--model", model, "--out", out) == 0
    (row,) = _rows(out / "rejected.csv")
    assert Path(row["file"]).name == "cut.dcm" and row["reason"] and "\n" not in row["reason"]
    assert "1 files could not be read" in capsys.readouterr().out
    assert [Path(one["file"]).name for one in _rows(out / "skipped.csv")] == ["notes.txt"]
    assert len(_rows(out / "images.csv")) == 1
    assert _explain(folder / "cut.dcm", "--model", model, "--out", tmp_path / "none") == 2
    assert sum("error:" in line for line in capsys.readouterr().err.splitlines()) == 1


def test_a_killed_run_goes_on_and_missing_pictures_are_made_again(
    phantom: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    words = [phantom / "images", "--model", model, "--out", out, "--feature-maps", "false"]
    real, calls = Explainer.explain, []

    def killed(self, case, pixels, prepared):
        if case.image_id == 4:
            raise KeyboardInterrupt
        return real(self, case, pixels, prepared)

    def counted(self, case, pixels, prepared):
        calls.append(case.image_id)
        return real(self, case, pixels, prepared)

    monkeypatch.setattr(explain_detector.Explainer, "explain", killed)
    assert _explain(*words) == 130
    assert not (out / "images.csv").exists()
    next((out / "cams").glob("00002_*")).unlink()
    monkeypatch.setattr(explain_detector.Explainer, "explain", counted)
    assert _explain(*words) == 0
    assert calls == [2, 4, 5, 6, 7, 8]
    assert len(list((out / "cams").glob("*.png"))) == len(_rows(out / "images.csv")) == 8


def test_pictures_of_other_options_are_not_mixed_in(phantom: Path, model: Path, tmp_path: Path, capsys):
    file = next((phantom / "images").rglob("*.dcm"))
    words = [file, "--model", model, "--out", tmp_path / "out", "--feature-maps", "false"]
    assert _explain(*words) == 0
    capsys.readouterr()
    assert _explain(*words, "--method", "hirescam") == 2
    assert "another model or other options" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--ids", "[999]"],
        ["--max-boxes", "0"],
        ["--score-threshold", "1.5"],
        ["--method", "magic"],
        ["--device", "gpu"],
    ],
)
def test_bad_options_are_one_line(words, phantom: Path, model: Path, tmp_path: Path, capsys):
    capsys.readouterr()
    assert _explain(phantom / "coco.json", "--model", model, "--out", tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words[1].strip("[]") in error


def test_ids_of_a_folder_mean_nothing(phantom: Path, model: Path, tmp_path: Path, capsys):
    words = [phantom / "images", "--model", model, "--out", tmp_path / "out", "--ids", "[1]"]
    assert _explain(*words) == 2
    assert "needs a COCO file" in capsys.readouterr().err


@pytest.mark.slow
def test_real_mammograms_are_explained_at_full_resolution(shared_data: Path, model: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert _explain(shared_data / "exam", shared_data / "dicom", "--model", model, "--out", out) == 0
    assert not _rows(out / "rejected.csv")
    for row in _rows(out / "images.csv"):
        (cam,) = (out / "cams").glob(f"{int(row['image_id']):05d}_*.png")
        assert cv2.imread(str(cam)).shape[:2] == (int(row["height"]), int(row["width"]))
