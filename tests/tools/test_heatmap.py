"""Heatmaps from the command line: heat and boxes lie in the file where what is hot lies in it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammodet.classification.model_file import ClassifierHeader, write_model
from mammodet.classification.sppnet import SPPNetConfig, build_sppnet
from mammodet.classification.task import Task
from mammodet.datasets.coco import read_coco, read_results
from mammodet.datasets.drawing import write_png
from mammodet.datasets.standardise import Recipe
from mammodet.tools import cli, heatmap

SQUARE = (
    170,
    300,
    80,
    80,
)  # x, y, width, height; it lies elsewhere when mirrored or not moved back by the crop
HEIGHT, WIDTH = 448, 320


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _heatmap(*words: object) -> int:
    return cli.main(["heatmap", *map(str, words), "--device", "cpu", "--precision", "fp32"])


def _breast(square: tuple[int, int, int, int] | None) -> np.ndarray:
    """Return a right breast, uint8 [H, W], low in the image, with a bright square where it is wanted."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = ((x - WIDTH) / 230) ** 2 + ((y - 310) / 130) ** 2 < 1
    noise = np.random.default_rng(0).integers(0, 20, (HEIGHT, WIDTH))
    pixels = np.where(inside, 60 + noise, 0)
    pixels[400:404, 300:304] = 229  # a grain, so that both have the same brightest pixel, which becomes 1
    if square is not None:
        x, y, width, height = square
        pixels[y : y + height, x : x + width] += 150
    return pixels.astype(np.uint8)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a COCO file of a film with a bright square, its lesion, and one without; 0.1 mm per pixel."""
    folder = tmp_path_factory.mktemp("films")
    square = list(SQUARE)
    for name, shown in (("bright", SQUARE), ("plain", None)):
        write_png(folder / f"{name}.png", _breast(shown))
    images = [
        {"id": number, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT, "patient_id": name}
        | {"laterality": "R", "view": "CC", "spacing_mm": [0.1, 0.1], "label": label}
        for number, name, label in ((7, "bright", "malignant"), (3, "plain", "normal"))
    ]
    lesion = {"id": 1, "image_id": 7, "category_id": 2, "bbox": square, "area": 6400, "iscrowd": 0}
    categories = [{"id": 1, "name": "benign"}, {"id": 2, "name": "malignant"}]
    content = {"info": {}, "images": images, "annotations": [lesion], "categories": categories}
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


def _overlap(bbox: list[float]) -> float:
    """Return the IoU of a box with the square."""
    (x, y, w, h), (X, Y, W, H) = bbox, SQUARE
    both = max(0, min(x + w, X + W) - max(x, X)) * max(0, min(y + h, Y + H) - max(y, Y))
    return both / (w * h + W * H - both)


RECIPES = {
    "whole": Recipe(crop=False),
    "cropped": Recipe(),
    "cropped and mirrored": Recipe(orient_left=True),
    "enlarged": Recipe(orient_left=True, spacing_mm=0.08),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_heat_and_boxes_lie_on_what_is_bright_in_the_file(
    recipe: Recipe, write_classifier: Callable[..., Path], films: Path, tmp_path: Path
):
    model, out = write_classifier(tmp_path / "model.safetensors", recipe), tmp_path / "out"
    assert _heatmap(films, "--model", model, "--out", out, "--stride", 16, "--array") == 0
    stored = cv2.imread(str(out / "heatmaps" / "00007_bright.png"), cv2.IMREAD_UNCHANGED)
    exact = np.load(out / "heatmaps" / "00007_bright.npy")
    assert stored.dtype == np.uint16 and exact.dtype == np.float32
    assert stored.shape == exact.shape == (HEIGHT, WIDTH)
    np.testing.assert_allclose(stored / 65535, exact, atol=1e-5)
    row, column = np.unravel_index(exact.argmax(), exact.shape)
    x, y, width, height = SQUARE
    assert x <= column < x + width and y <= row < y + height
    inside = np.zeros(exact.shape, bool)
    inside[y : y + height, x : x + width] = True
    assert exact[inside].mean() > 5 * exact[~inside].mean()
    (found,) = json.loads((out / "predictions.json").read_text())
    assert found["image_id"] == 7 and found["category_id"] == 2 and _overlap(found["bbox"]) > 0.5
    assert found["score"] == pytest.approx(exact.max(), abs=1e-6)
    bright, plain = _rows(out / "images.csv")
    assert (bright["image_id"], bright["boxes"]) == ("7", "1") and (plain["boxes"], plain["view"]) == (
        "0",
        "CC",
    )
    assert float(bright["highest_score"]) == pytest.approx(exact.max(), abs=1e-6)
    assert float(plain["highest_score"]) < 0.01 and int(plain["windows"]) > 10


def test_the_published_windows_do_not_overlap_and_the_overlay_shows_heat_box_and_lesion(
    classifier: Path, films: Path, tmp_path: Path
):
    out = tmp_path / "out"
    words = [films, "--model", classifier, "--out", out, "--threshold", 0.05, "--scale", "image"]
    assert _heatmap(*words) == 0
    overlay = cv2.imread(str(out / "overlays" / "00007_bright.png"))[:, :, ::-1].astype(int)
    assert overlay.shape == (HEIGHT, WIDTH, 3)
    heat = cv2.imread(str(out / "heatmaps" / "00007_bright.png"), cv2.IMREAD_UNCHANGED)
    hottest = overlay[(heat == heat.max()) & (heat > 0)]
    assert np.median(hottest[:, 0] - hottest[:, 2]) > 40, "red"
    x, y, width, _ = SQUARE
    orange = (overlay == (255, 120, 30)).all(axis=2)
    assert orange[y, x : x + width].all(), "the lesion is drawn solid"
    told = json.loads((out / "predictions.json").read_text())
    assert told and orange.sum() > 4 * width, "and the boxes too"
    assert "stride: 64" in (out / "config.yaml").read_text()
    # The model's own stride and class are the same run, which another stride is not.
    assert _heatmap(*words, "--stride", 64, "--classes", "suspicious") == 0
    assert _heatmap(*words, "--stride", 32) == 2


def test_predictions_are_evaluated_as_those_of_a_detector_are(classifier: Path, films: Path, tmp_path: Path):
    out, report = tmp_path / "out", tmp_path / "report"
    assert _heatmap(films, "--model", classifier, "--out", out, "--stride", 16) == 0
    assert {image["id"] for image in read_coco(out / "images.json").images} == {3, 7}
    words = [
        "--ground-truth",
        films,
        "--predictions",
        out / "predictions.json",
        "--out",
        report,
        "--no-report",
    ]
    assert cli.main(["evaluate", *map(str, words)]) == 0
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["coco"]["all"]["AP50"] == pytest.approx(1.0)


def test_a_folder_of_dicom_files_and_what_lies_in_it_besides(
    phantom: Path, classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, out = tmp_path / "exams", tmp_path / "out"
    folder.mkdir()
    good = sorted((phantom / "images").rglob("*.dcm"))[:2]
    for number, file in enumerate(good):
        shutil.copy(file, folder / f"{number}.dcm")
    (folder / "cut.dcm").write_bytes(good[0].read_bytes()[:5000])
    (folder / "notes.txt").write_text("no image")
    (folder / "small.png").write_bytes(b"")
    write_png(folder / "small.png", _breast(None)[280:340, 200:])
    assert _heatmap(folder, "--model", classifier, "--out", out, "--id", "hash") == 0
    rejected = {Path(row["file"]).name: row["reason"] for row in _rows(out / "rejected.csv")}
    assert rejected.keys() == {"cut.dcm", "small.png"}
    assert (
        "small.png: has 120 x 60 px" in rejected["small.png"] and "window of 64 px" in rejected["small.png"]
    )
    assert [Path(row["file"]).name for row in _rows(out / "skipped.csv")] == ["notes.txt"]
    assert "2 files could not be read" in capsys.readouterr().out
    coco = read_coco(out / "images.json")
    read_results(out / "predictions.json", coco)
    assert {image["view"] for image in coco.images} == {"CC", "MLO"}
    rows = _rows(out / "images.csv")
    assert [Path(row["file"]).name for row in rows] == ["0.dcm", "1.dcm"]
    assert all("PHANTOM" not in row["patient_id"] and row["patient_id"] for row in rows)
    for image in coco.images:
        (path,) = (out / "heatmaps").glob(f"{image['id']:05d}_*.png")
        heat = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert heat.shape == (image["height"], image["width"]) == (288, 208)
        assert (out / "overlays" / path.name).is_file()


def test_a_killed_run_goes_on_and_missing_pictures_are_made_again(
    phantom: Path, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    words = [phantom / "images", "--model", classifier, "--threshold", 0.01, "--out"]
    real, calls = heatmap.read_case, []

    def killed(case, *more):
        if case.image_id == 4:
            raise KeyboardInterrupt
        return real(case, *more)

    def counted(case, *more):
        calls.append(case.image_id)
        return real(case, *more)

    monkeypatch.setattr(heatmap, "read_case", killed)
    assert _heatmap(*words, out) == 130
    assert not (out / "predictions.json").exists()
    next((out / "heatmaps").glob("00002_*")).unlink()
    monkeypatch.setattr(heatmap, "read_case", counted)
    assert _heatmap(*words, out) == 0
    assert calls == [2, 4, 5, 6, 7, 8]
    assert _heatmap(*words, tmp_path / "whole") == 0
    for name in ("predictions.json", "images.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(list((out / "overlays").glob("*.png"))) == len(_rows(out / "images.csv")) == 8


@pytest.mark.parametrize(("overlays", "drawn"), [("none", set()), ("found", {"00007_bright.png"})])
def test_overlays_as_wished(overlays, drawn, classifier: Path, films: Path, tmp_path: Path, capsys):
    out = tmp_path / "out"
    words = ["--model", classifier, "--out", out, "--overlays", overlays, "--stride", 16]
    assert _heatmap(films, *words) == 0
    assert {path.name for path in (out / "overlays").glob("*")} == drawn
    assert {path.name for path in (out / "heatmaps").glob("*")} == {"00007_bright.png", "00003_plain.png"}
    assert (str(out / "overlays") in capsys.readouterr().out) == bool(drawn)


def test_cold_images_are_red_only_when_so_wished(classifier: Path, films: Path, tmp_path: Path):
    reddest = {}
    for scale in ("score", "image"):
        words = ["--model", classifier, "--out", tmp_path / scale, "--scale", scale]
        assert _heatmap(films, *words) == 0
        overlay = cv2.imread(str(tmp_path / scale / "overlays" / "00003_plain.png")).astype(int)
        reddest[scale] = (overlay[:, :, 2] - overlay[:, :, 0]).max()
    assert reddest["score"] <= 5 and reddest["image"] > 60


def test_class_category_and_score_of_boxes_can_be_chosen(classifier: Path, films: Path, tmp_path: Path):
    words = [films, "--model", classifier, "--overlays", "none", "--stride", 32]
    found = {}
    for name, more in {
        "max": [],
        "mean": ["--box-score", "mean", "--category", "benign"],
        "normal": ["--classes", "normal"],
    }.items():
        assert _heatmap(*words, *more, "--out", tmp_path / name, "--array") == 0
        found[name] = json.loads((tmp_path / name / "predictions.json").read_text())
    (highest,), (mean,) = found["max"], found["mean"]
    assert highest["bbox"] == mean["bbox"] and 0.5 <= mean["score"] < highest["score"]
    assert (highest["category_id"], mean["category_id"]) == (2, 1)
    assert {one["image_id"] for one in found["normal"]} == {3, 7}
    hot, cold = (np.load(tmp_path / name / "heatmaps" / "00007_bright.npy") for name in ("max", "normal"))
    np.testing.assert_allclose(hot[cold > 0] + cold[cold > 0], 1, atol=1e-4)


def test_prepared_images_are_searched_in_their_own_frame(
    write_classifier: Callable[..., Path], films: Path, tmp_path: Path
):
    model = write_classifier(tmp_path / "model.safetensors", Recipe())
    assert cli.main(["prepare", str(films), "--out", str(tmp_path / "prepared"), "--workers", "1"]) == 0
    coco, out = tmp_path / "prepared" / "coco.json", tmp_path / "out"
    assert _heatmap(coco, "--model", model, "--out", out, "--stride", 16) == 0
    (found,) = json.loads((out / "predictions.json").read_text())
    (lesion,) = read_coco(coco).annotations
    assert abs(np.subtract(found["bbox"], lesion["bbox"])).max() < 40
    assert "prepared" in read_coco(out / "images.json").info


def test_a_corrected_lesion_is_drawn_where_it_is_now(classifier: Path, films: Path, tmp_path: Path):
    content = json.loads(films.read_text())
    content["info"]["root"] = str(films.parent)
    coco, out = tmp_path / "coco.json", tmp_path / "out"
    overlays = []
    for bbox in (list(SQUARE), [20, 20, 60, 60]):
        content["annotations"][0]["bbox"] = bbox
        coco.write_text(json.dumps(content))
        assert _heatmap(coco, "--model", classifier, "--out", out) == 0
        overlays.append(cv2.imread(str(out / "overlays" / "00007_bright.png")))
    assert not overlays[0][20, 20:80].any() and overlays[1][20, 20:80].any(axis=1).all()


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "error:" in error
    return error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--classes", "malignant"], "classes: the network has no such class (found 'malignant')"),
        (["--classes", "normal", "suspicious"], "but not all"),
        (["--classes=[]"], "one or more of the network's classes"),
        (["--stride", "65"], "stride: must be 1 to 64"),
        (["--stride", "0"], "stride: must be 1 to 64"),
        (["--batch", "0"], "batch: must be 1 or more"),
        (["--threshold", "0"], "--threshold: must be above 0"),
        (["--threshold", "1.5"], "--threshold: must be above 0"),
        (["--device", "gpu"], "no such device"),
        (["--precision", "int8"], "precision"),
    ],
)
def test_bad_options_are_one_line(words, told, classifier: Path, films: Path, tmp_path: Path, capsys):
    out = tmp_path / "out"
    words = [str(films), "--model", str(classifier), "--out", str(out), *words]
    assert cli.main(["heatmap", *words]) == 2
    assert told in _error(capsys) and not out.exists()


def test_another_kind_of_model_is_one_line_that_names_the_command_for_it(
    trained: Path, write_classifier: Callable[..., Path], films: Path, tmp_path: Path, capsys
):
    images = write_classifier(tmp_path / "images.safetensors", source="images")
    lesions = write_classifier(tmp_path / "lesions.safetensors", source="lesions", subtype="er")
    config = SPPNetConfig(levels=(1,), image_mean=0.1, image_std=0.2)
    for source in ("images", "patches"):
        header = ClassifierHeader(config, Task(source), Recipe(), "")
        write_model(tmp_path / f"spp_{source}.safetensors", build_sppnet(config).state_dict(), header)
    capsys.readouterr()
    for model, told in {
        trained / "model.safetensors": "is a detector, not a classifier",
        images: "is a classifier of whole images",
        lesions: "is a classifier of lesions",
        tmp_path / "spp_images.safetensors": "is a classifier of whole images",
        tmp_path / "spp_patches.safetensors": "is an SPPNet",
        tmp_path / "missing.safetensors": "no such model file",
    }.items():
        assert _heatmap(films, "--model", model, "--out", tmp_path / "out") == 2
        error = _error(capsys)
        assert told in error and str(model) in error
        assert ("mammodet score runs it" in error) == (model.parent == trained)
        assert ("mammodet classify" in error) == ("of patches" in error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["score", "calibrate"])
def test_a_classifier_given_to_a_command_for_detectors_says_who_takes_it(
    command, classifier: Path, films: Path, tmp_path: Path, capsys
):
    words = [str(films), "--model", str(classifier), "--out", str(tmp_path / "out.safetensors")]
    assert cli.main([command, *words]) == 2
    error = _error(capsys)
    assert "is a classifier, not a detector" in error and "mammodet heatmap run it" in error


def test_nothing_to_search_is_one_line(classifier: Path, tmp_path: Path, capsys):
    write_png(tmp_path / "small.png", _breast(None)[280:340, 200:])
    assert _heatmap(tmp_path / "small.png", "--model", classifier, "--out", tmp_path / "out") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert "none of 1 files" in line and "less than a window of 64 px" in line
    assert not (tmp_path / "out" / "predictions.json").exists()


@pytest.mark.slow
def test_real_mammograms_are_searched_at_full_resolution(shared_data: Path, classifier: Path, tmp_path: Path):
    out = tmp_path / "out"
    words = [shared_data / "exam", shared_data / "dicom", "--model", classifier, "--out", out]
    assert _heatmap(*words) == 0
    assert not _rows(out / "rejected.csv")
    for row in _rows(out / "images.csv"):
        (path,) = (out / "heatmaps").glob(f"{int(row['image_id']):05d}_*.png")
        heat = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert heat.shape == (int(row["height"]), int(row["width"]))
        assert heat.max() == pytest.approx(float(row["highest_score"]) * 65535, abs=1)
