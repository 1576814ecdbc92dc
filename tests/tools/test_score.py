"""Scoring from the command line: every readable file once, every other one with its reason."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammodet.datasets.coco import read_coco, read_results
from mammodet.evaluation.calibration import fit_calibrator
from mammodet.evaluation.score_calibration import ScoreCalibration
from mammodet.tools import cli, score


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _score(*words: object) -> int:
    return cli.main(["score", *map(str, words), "--device", "cpu", "--precision", "fp32"])


def test_a_folder_is_scored_and_unreadable_files_are_named(
    phantom: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, out = tmp_path / "exams", tmp_path / "out"
    shutil.copytree(phantom / "images", folder)
    good = sorted(folder.rglob("*.dcm"))
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "cut.dcm").write_bytes(good[0].read_bytes()[:5000])
    ok, jpeg = cv2.imencode(".jpg", np.zeros((200, 160), np.uint8))
    assert ok
    (folder / "photo.dcm").write_bytes(jpeg.tobytes())
    ok, png = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (200, 160), np.uint8))
    (folder / "cut.png").write_bytes(png.tobytes()[:3000])
    (folder / "notes.txt").write_text("no image")
    assert _score(folder, "--model", trained / "model.safetensors", "--out", out, "--min-score", 0) == 0
    rejected = _rows(out / "rejected.csv")
    assert {Path(row["file"]).name for row in rejected} == {"empty.dcm", "cut.dcm", "photo.dcm", "cut.png"}
    assert all(row["reason"] and "\n" not in row["reason"] for row in rejected)
    assert "4 files could not be read" in capsys.readouterr().out
    assert "notes.txt" in {Path(row["file"]).name for row in _rows(out / "skipped.csv")}
    coco = read_coco(out / "images.json")
    assert sorted(coco.image_path(image).resolve() for image in coco.images) == good
    assert read_results(out / "predictions.json", coco)
    images, breasts = _rows(out / "images.csv"), _rows(out / "breasts.csv")
    assert len(images) == 8 and len(breasts) == 4 and {row["views"] for row in breasts} == {"2"}
    assert {row["patient_id"] for row in images} == {
        image["patient_id"] for image in read_coco(phantom / "coco.json").images
    }
    assert len(list((out / "overlays").glob("*.png"))) == 8


def test_ids_of_a_coco_file_are_kept_so_that_its_predictions_can_be_evaluated(
    phantom: Path, trained: Path, tmp_path: Path
):
    out = tmp_path / "out"
    coco = phantom / "coco.json"
    assert _score(coco, "--model", trained / "model.safetensors", "--out", out, "--overlays", "none") == 0
    assert {image["id"] for image in read_coco(out / "images.json").images} == set(
        read_coco(coco).image_by_id
    )
    assert not (out / "overlays").exists()
    words = ["--ground-truth", coco, "--predictions", out / "predictions.json", "--out", tmp_path / "report"]
    assert cli.main(["evaluate", *map(str, words)]) == 0


def test_a_killed_run_goes_on_without_scoring_again(
    phantom: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = [
        phantom / "images",
        "--model",
        trained / "model.safetensors",
        "--out",
        tmp_path / "out",
        "--min-score",
        0,
    ]
    real, calls = score.Detector.predict_standardised, []

    def killed(self, prepared, image_id):
        if image_id == 4:
            raise KeyboardInterrupt
        return real(self, prepared, image_id)

    def counted(self, prepared, image_id):
        calls.append(image_id)
        return real(self, prepared, image_id)

    monkeypatch.setattr(score.Detector, "predict_standardised", killed)
    assert _score(*words) == 130
    assert not (tmp_path / "out" / "predictions.json").exists()
    monkeypatch.setattr(score.Detector, "predict_standardised", counted)
    assert _score(*words) == 0
    assert calls == [4, 5, 6, 7, 8]
    resumed = json.loads((tmp_path / "out" / "predictions.json").read_text())
    whole = tmp_path / "whole"
    assert _score(*words[:-3], whole, "--min-score", 0) == 0
    assert resumed == json.loads((whole / "predictions.json").read_text())


def test_results_of_another_model_are_not_mixed_in(phantom: Path, trained: Path, tmp_path: Path, capsys):
    words = [phantom / "images", "--model", trained / "model.safetensors", "--out", tmp_path / "out"]
    assert _score(*words) == 0
    capsys.readouterr()
    assert _score(*words, "--min-score", 0.2) == 2
    assert "another model or other options" in capsys.readouterr().err


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    """Return a score calibration of images and, as if there had been one class only, not of breasts."""
    scores = np.linspace(0, 1, 200)
    image = fit_calibrator("platt", scores > np.tile([0.4, 0.8], 100), scores, "val.json")
    maps = {"image": image, "breast": None, "patient": None}
    reasons = {"breast": "one class only", "patient": "one class only"}
    inputs = {"ground_truth": {"path": "val.json", "sha256": "0"}}
    ScoreCalibration("platt", 0.3, 0.5, maps, reasons, inputs).save(tmp_path / "probabilities.json")
    return tmp_path / "probabilities.json"


def test_probabilities_are_added_to_a_finished_run_without_scoring_again(
    phantom: Path,
    trained: Path,
    calibration: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    out = tmp_path / "out"
    words = [phantom / "images", "--model", trained / "model.safetensors", "--out", out, "--overlays", "none"]
    assert _score(*words) == 0
    before = {name: _rows(out / f"{name}.csv") for name in ("images", "breasts")}
    capsys.readouterr()

    def scored_again(self, prepared, image_id):
        raise AssertionError

    monkeypatch.setattr(score.Detector, "predict_standardised", scored_again)
    assert _score(*words, "--calibration", calibration) == 0
    assert "no probability by breast: one class only" in capsys.readouterr().err
    maps = ScoreCalibration.load(calibration)
    images, breasts = _rows(out / "images.csv"), _rows(out / "breasts.csv")
    assert len(images) == 8 and {row["probability"] for row in breasts} == {""}
    for row in images:
        found = maps.probabilities("image", [float(row["malignancy_score"])])
        assert float(row["probability"]) == pytest.approx(found[0], abs=1e-4)
    columns = list(images[0])
    assert columns.index("probability") == columns.index("malignancy_score") + 1
    for name, table in (("images", images), ("breasts", breasts)):
        assert [{k: v for k, v in row.items() if k != "probability"} for row in table] == before[name]
    assert f"calibration: {calibration}" in (out / "config.yaml").read_text()


def test_a_calibration_of_other_scores_is_one_line(
    phantom: Path, trained: Path, calibration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = [phantom / "images", "--model", trained / "model.safetensors", "--out", tmp_path / "out"]
    words += ["--calibration", calibration]
    for option in ("--score-threshold", "--min-score"):
        assert _score(*words, option, 0.4) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "score threshold 0.3, the scores here have 0.4" in error
    assert not (tmp_path / "out").exists()
    calibration.write_text("[]")
    assert _score(*words) == 2
    assert "no score calibration of this version" in capsys.readouterr().err


def test_ids_can_be_hashed(phantom: Path, trained: Path, tmp_path: Path):
    model, out = trained / "model.safetensors", tmp_path / "out"
    file = next((phantom / "images").rglob("*.dcm"))
    assert _score(file, "--model", model, "--out", out, "--id", "hash", "--overlays", "none") == 0
    (row,) = _rows(out / "images.csv")
    assert "PHANTOM" not in row["patient_id"] and "PHANTOM" not in row["breast_id"]
    (image,) = read_coco(out / "images.json").images
    assert not any(
        "PHANTOM" in str(value) for key, value in image.items() if key not in {"file_name", "manufacturer"}
    )


def test_a_corrected_coco_file_is_scored_with_its_new_values(phantom: Path, trained: Path, tmp_path: Path):
    content = json.loads((phantom / "coco.json").read_text())
    content["info"]["root"] = str(phantom)
    coco, out = tmp_path / "coco.json", tmp_path / "out"
    words = [coco, "--model", trained / "model.safetensors", "--out", out, "--overlays", "none"]
    coco.write_text(json.dumps(content))
    assert _score(*words) == 0
    content["images"][0]["breast_id"] = "corrected"
    coco.write_text(json.dumps(content))
    assert _score(*words) == 0
    assert "corrected" in {row["breast_id"] for row in _rows(out / "breasts.csv")}


def test_a_file_that_breaks_the_network_does_not_end_the_batch(
    phantom: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = score.Detector.predict_pixels

    def breaks(self, pixels):
        if not hasattr(self, "broken"):
            self.broken = True
            raise RuntimeError("cannot")
        return real(self, pixels)

    monkeypatch.setattr(score.Detector, "predict_pixels", breaks)
    out = tmp_path / "out"
    assert _score(phantom / "images", "--model", trained / "model.safetensors", "--out", out) == 0
    (row,) = _rows(out / "rejected.csv")
    assert "RuntimeError" in row["reason"] and len(_rows(out / "images.csv")) == 7


def test_the_plain_network_gives_the_results_of_the_prepared_one(
    phantom: Path, trained: Path, tmp_path: Path
):
    words = [
        phantom / "images",
        "--model",
        trained / "model.safetensors",
        "--min-score",
        0,
        "--overlays",
        "none",
    ]
    found = {}
    for name, more in (("fast", ["--no-skip-air"]), ("plain", ["--no-compile"])):
        assert _score(*words, *more, "--out", tmp_path / name) == 0
        predictions = json.loads((tmp_path / name / "predictions.json").read_text())
        found[name] = [
            (one["image_id"], one["category_id"], one["score"], *one["bbox"]) for one in predictions
        ]
    assert found["plain"] and len(found["fast"]) == len(found["plain"])
    np.testing.assert_allclose(found["fast"], found["plain"], atol=0.05, rtol=1e-3)


def test_images_are_scored_in_tiles_and_in_mirror_images(phantom: Path, trained: Path, tmp_path: Path):
    words = [phantom / "images", "--model", trained / "model.safetensors", "--min-score", 0]
    found = {}
    for name, more in {
        "whole": [],
        "one-tile": ["--tiles", "320,64"],  # larger than any image: changes nothing
        "tiles": ["--tiles", "128,64"],
        "flips": ["--flips", "horizontal"],
    }.items():
        out = tmp_path / name
        assert _score(*words, *more, "--overlays", "none", "--out", out) == 0
        found[name] = read_results(out / "predictions.json", read_coco(out / "images.json"))
    assert found["one-tile"] == found["whole"]
    assert found["tiles"] != found["whole"] and found["flips"] != found["whole"]
    assert {one["image_id"] for one in found["tiles"]} == {one["image_id"] for one in found["flips"]}
    again = tmp_path / "tiles" / "config.yaml"
    assert "tiles: 128,64" in again.read_text()


@pytest.mark.parametrize("value", ["1024", "1000,256", "256,256", "many"])
def test_tiles_that_cannot_be_are_one_line(value, phantom: Path, trained: Path, tmp_path: Path, capsys):
    words = [phantom / "images", "--model", trained / "model.safetensors", "--out", tmp_path / "out"]
    assert _score(*words, "--tiles", value) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "tiles" in error and value in error


def test_a_device_that_is_not_there_is_one_line(phantom: Path, trained: Path, tmp_path: Path, capsys):
    words = ["score", phantom / "images", "--model", trained / "model.safetensors", "--out", tmp_path / "out"]
    assert cli.main([*map(str, words), "--device", "gpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("content", [None, "empty", "text"])
def test_nothing_to_score_is_one_line(
    content, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "exams"
    folder.mkdir()
    if content == "empty":
        (folder / "a.dcm").write_bytes(b"")
    elif content == "text":
        (folder / "a.txt").write_text("x")
    assert _score(folder, "--model", trained / "model.safetensors", "--out", tmp_path / "out") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1


@pytest.mark.parametrize("model", ["missing.safetensors", "broken.safetensors"])
def test_a_model_that_cannot_be_read_is_one_line(model, phantom: Path, tmp_path: Path, capsys):
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    assert _score(phantom / "images", "--model", tmp_path / model, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and model in error


@pytest.mark.slow
def test_real_mammograms_are_scored(shared_data: Path, trained: Path, tmp_path: Path):
    out = tmp_path / "out"
    model = trained / "model.safetensors"
    assert _score(shared_data / "exam", shared_data / "dicom", "--model", model, "--out", out) == 0
    images = _rows(out / "images.csv")
    assert [(row["laterality"], row["view"]) for row in images] == [
        ("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO"), ("R", "MLO"),
    ]  # fmt: skip
    assert not _rows(out / "rejected.csv")
