"""Classifiers explained from the command line: whole images in the frame of the file, patches of a store."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine

from mammodet.classification.case_pictures import panels_of
from mammodet.classification.model_file import ClassifierHeader, build_network, load_classifier, write_model
from mammodet.classification.patch_networks import PatchNetworkConfig
from mammodet.classification.sppnet import SPPNetConfig
from mammodet.classification.task import Task
from mammodet.datasets.coco import read_coco
from mammodet.datasets.drawing import write_png
from mammodet.datasets.patch_store import PatchStore
from mammodet.datasets.standardise import Recipe
from mammodet.datasets.truth import image_truth
from mammodet.tools import cli
from mammodet.tools.explain_case import CaseExplainer

LEVEL = {"image_mean": 0.2, "image_std": 0.2}
PATCH_CLASSES = {"normal": ("normal",), "lesion": ("benign", "malignant")}
IMAGE_CLASSES = {name: (name,) for name in ("normal", "benign", "malignant")}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _explain(*words: object) -> int:
    return cli.main(["explain", "--device", "cpu", *map(str, words)])


def _error(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert _explain(*words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def store(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of patches of 64 px, one patient in split train and the other in test."""
    folder = tmp_path_factory.mktemp("store")
    coco = json.loads((phantom / "coco.json").read_text())
    patients = sorted({image["patient_id"] for image in coco["images"]})
    for image in coco["images"]:
        image["split"] = ("train", "test")[patients.index(image["patient_id"])]
    coco["info"]["root"] = str(phantom)
    (folder / "coco.json").write_text(json.dumps(coco))
    options = "--kind pesapane --size 64 --all-findings --negatives 2 --normal-negatives 3 --min-mean 0.05"
    words = ["patches", str(folder / "coco.json"), "--out", str(folder / "p.sqlite"), *options.split()]
    assert cli.main([*words, "--workers", "1"]) == 0
    return folder / "p.sqlite"


def _patch_model(store: Path, path: Path, **more: Any) -> Path:
    torch.manual_seed(4)
    config = PatchNetworkConfig("resnet18", **{"size": 64, "classes": tuple(PATCH_CLASSES), **LEVEL, **more})
    recipe = Recipe.from_dict(PatchStore(store).info["recipe"])
    classes = {name: PATCH_CLASSES.get(name, (name,)) for name in config.classes}
    header = ClassifierHeader(config, Task("patches", classes), recipe, "")
    write_model(path, build_network(config).state_dict(), header)
    return path


@pytest.fixture(scope="module")
def patch_model(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _patch_model(store, tmp_path_factory.mktemp("model") / "model.safetensors")


def _image_model(path: Path, recipe: Recipe) -> Path:
    torch.manual_seed(5)
    config = SPPNetConfig(classes=tuple(IMAGE_CLASSES), **LEVEL)
    header = ClassifierHeader(config, Task("images", IMAGE_CLASSES), recipe, "")
    write_model(path, build_network(config).state_dict(), header)
    return path


@pytest.fixture(scope="module")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _image_model(tmp_path_factory.mktemp("model") / "model.safetensors", Recipe())


def test_patches_have_three_panels_and_the_worst_error_comes_first(
    store: Path, patch_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert _explain(store, "--model", patch_model, "--out", out) == 0
    opened = PatchStore(store)
    network, _ = load_classifier(patch_model)
    patches = {patch.id: patch for patch in opened.patches()}
    rows = _rows(out / "cases.csv")
    assert {int(row["id"]) for row in rows} == set(patches) and len(rows) > 10
    pixels = torch.from_numpy(opened.pixels([int(row["id"]) for row in rows]))[:, None]
    with torch.inference_mode():
        chances = network(pixels).softmax(dim=1).numpy()
    for row, chance in zip(rows, chances, strict=True):
        patch = patches[int(row["id"])]
        truth = "normal" if patch.label == "normal" else "lesion"
        assert row["truth"] == truth and row["predicted"] == ("normal", "lesion")[chance.argmax()]
        assert [float(row["p_normal"]), float(row["p_lesion"])] == pytest.approx(chance.tolist(), abs=1e-4)
        assert [float(row[name]) for name in ("x", "y", "width", "height")] == pytest.approx(patch.frame)
        assert row["explained"] == truth and row["image"] == patch.image and row["lesions"] == "0"
        picture = cv2.imread(str(out / row["picture"]))
        panels = panels_of(picture, 3)
        assert [one.shape for one in panels] == [(320, 320, 3)] * 3
        assert (panels[0][:, :, 0] == panels[0][:, :, 2]).all(), "the input is grey"
        assert any((one[:, :, 0] != one[:, :, 2]).any() for one in panels[1:])
    of_truth = [float(row[f"p_{row['truth']}"]) for row in rows]
    assert of_truth == sorted(of_truth)
    assert [row["picture"] for row in rows] == sorted(
        f"panels/{one.name}" for one in (out / "panels").iterdir()
    )
    assert cv2.imread(str(out / "sheet.png")) is not None
    right = sum(row["truth"] == row["predicted"] for row in rows)
    told = json.loads((out / "explain.json").read_text())
    assert told["cases"] == len(rows) and told["right"] == right and told["method"] == "gradcam"
    assert f"{len(rows)} cases, {right} of {len(rows)} right (normal" in capsys.readouterr().out


def test_the_map_of_features_and_neighbours_are_those_of_the_network(
    store: Path, patch_model: Path, tmp_path: Path
):
    out = tmp_path / "out"
    words = [store, "--model", patch_model, "--neighbours", 3, "--examples", 4]
    assert _explain(*words, "--out", out) == 0
    saved = np.load(out / "features.npz")
    opened = PatchStore(store)
    network, _ = load_classifier(patch_model)
    with torch.inference_mode():
        pixels = torch.from_numpy(opened.pixels(saved["ids"].tolist()))[:, None]
        expected = network.features(pixels).numpy()
    np.testing.assert_allclose(saved["features"], expected, rtol=1e-3, atol=1e-4)
    cases = {row["id"]: row for row in _rows(out / "cases.csv")}
    places = _rows(out / "features.csv")
    assert [row["id"] for row in places] == list(cases)
    for row in places:
        case = cases[row["id"]]
        assert (row["truth"], row["predicted"]) == (case["truth"], case["predicted"])
        assert float(row["probability"]) == float(case[f"p_{case['predicted']}"])
    assert all((out / f"features.{suffix}").is_file() for suffix in ("png", "svg"))
    assert _explain(*words, "--out", tmp_path / "again") == 0
    assert _rows(tmp_path / "again" / "features.csv") == places

    patient = {str(patch.id): patch.patient for patch in opened.patches()}
    varied = saved["features"].astype(np.float64)[:, saved["features"].std(axis=0) > 0]
    scaled = (varied - varied.mean(axis=0)) / varied.std(axis=0)
    vector = dict(zip(map(str, saved["ids"]), scaled, strict=True))
    errors = [one for one in cases.values() if one["truth"] != one["predicted"]]
    surest = sorted(errors, key=lambda one: -float(one[f"p_{one['predicted']}"]))[:4]
    rows = _rows(out / "neighbours.csv")
    assert list(dict.fromkeys(row["id"] for row in rows)) == [one["id"] for one in surest]
    for error in surest:
        mine = [row for row in rows if row["id"] == error["id"]]
        others = [one for one in vector if patient[one] != patient[error["id"]]]
        nearest = sorted(others, key=lambda one: cosine(vector[error["id"]], vector[one]))[:3]
        assert [row["neighbour_id"] for row in mine] == nearest
        assert [row["rank"] for row in mine] == ["1", "2", "3"]
        assert [float(row["distance"]) for row in mine] == pytest.approx(
            [cosine(vector[error["id"]], vector[one]) for one in nearest], abs=1e-4
        )
        assert [row["neighbour_truth"] for row in mine] == [cases[one]["truth"] for one in nearest]
    assert cv2.imread(str(out / "neighbours.png")) is not None


def test_neighbours_come_from_the_reference_split(store: Path, patch_model: Path, tmp_path: Path):
    out = tmp_path / "out"
    words = [store, "--model", patch_model, "--out", out, "--split", "test", "--reference-split", "train"]
    assert _explain(*words, "--limit", 6) == 0
    split = {str(patch.id): patch.split for patch in PatchStore(store).patches()}
    rows, cases = _rows(out / "neighbours.csv"), _rows(out / "cases.csv")
    assert len(cases) == 6 and {split[row["id"]] for row in cases} == {"test"}
    errors = sum(row["truth"] != row["predicted"] for row in cases)
    assert len(rows) == 5 * errors and {split[row["neighbour_id"]] for row in rows} <= {"train"}


def test_whole_images_are_explained_in_the_frame_of_the_file(
    phantom: Path, image_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert _explain(phantom / "coco.json", "--model", image_model, "--out", out) == 0
    coco = read_coco(phantom / "coco.json")
    images = {image["id"]: image for image in coco.images}
    told = {one["id"]: one for one in json.loads((out / "explain.json").read_text())["results"]}
    inside = 0
    for row in _rows(out / "cases.csv"):
        image, result = images[int(row["id"])], told[int(row["id"])]
        own = coco.annotations_of[image["id"]]
        assert row["truth"] == image_truth(image, own) == row["explained"]
        heat = cv2.imread(str(out / result["files"]["heatmap"]), cv2.IMREAD_UNCHANGED)
        cam = cv2.imread(str(out / result["files"]["cam"]))
        assert heat.shape == cam.shape[:2] == (288, 208) and heat.dtype == np.uint16
        if heat.any():
            assert heat[int(row["peak_y"]), int(row["peak_x"])] == heat.max()
            assert heat.max() / 65535 <= float(row[f"p_{row['truth']}"]) + 1e-4
        lesions = [one for one in own if {1: "benign", 2: "malignant"}[one["category_id"]] == row["truth"]]
        assert int(row["lesions"]) == len(lesions)
        if lesions and heat.any():
            mask = np.zeros(heat.shape, bool)
            for x, y, w, h in (one["bbox"] for one in lesions):
                mask[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))] = True
            assert float(row["heat_in_lesions"]) == pytest.approx(heat[mask].sum() / heat.sum(), abs=1e-3)
            assert float(row["area_of_lesions"]) == pytest.approx(mask.mean(), abs=1e-5)
            inside += row["peak_in_lesion"] == "True"
    shown = capsys.readouterr().out
    assert f"hottest pixel in a lesion: {inside} of" in shown and "8 cases are too few" in shown
    assert not (out / "features.csv").exists()


def test_heat_of_a_mirrored_breast_is_mirrored_back(tmp_path: Path):
    draw = np.random.default_rng(0)
    left = cv2.GaussianBlur(draw.integers(0, 255, (160, 128)).astype(np.uint8), (0, 0), 4)
    images = []
    for number, (side, pixels) in enumerate({"L": left, "R": left[:, ::-1]}.items(), start=1):
        write_png(tmp_path / f"{side}.png", np.ascontiguousarray(pixels))
        more = {"laterality": side, "label": "malignant", "patient_id": f"p{number}"}
        images.append({"id": number, "file_name": f"{side}.png", "width": 128, "height": 160, **more})
    categories = [{"id": 1, "name": "benign"}, {"id": 2, "name": "malignant"}]
    coco = {"info": {}, "images": images, "annotations": [], "categories": categories}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    model = _image_model(tmp_path / "model.safetensors", Recipe(crop=False, orient_left=True))
    out = tmp_path / "out"
    assert _explain(tmp_path / "coco.json", "--model", model, "--out", out) == 0
    heats = [
        cv2.imread(str(out / f"heatmaps/0000{number}_{side}.png"), cv2.IMREAD_UNCHANGED).astype(int)
        for number, side in ((1, "L"), (2, "R"))
    ]
    assert heats[0].any() and (heats[0] != heats[0][:, ::-1]).any()
    np.testing.assert_allclose(heats[1], heats[0][:, ::-1], atol=2)


def test_files_without_truth_are_explained_for_what_they_are_taken_for(
    phantom: Path, image_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, out = tmp_path / "exams", tmp_path / "out"
    folder.mkdir()
    good = next((phantom / "images").rglob("*.dcm"))
    shutil.copy(good, folder / "good.dcm")
    (folder / "cut.dcm").write_bytes(good.read_bytes()[:5000])
    (folder / "notes.txt").write_text("no image")
    assert _explain(folder, "--model", image_model, "--out", out) == 0
    (row,) = _rows(out / "cases.csv")
    assert row["truth"] == "" and row["explained"] == row["predicted"] and row["lesions"] == "0"
    assert row["picture"].startswith("panels/unknown_0.")
    (rejected,) = _rows(out / "rejected.csv")
    assert Path(rejected["file"]).name == "cut.dcm" and "\n" not in rejected["reason"]
    assert [Path(one["file"]).name for one in _rows(out / "skipped.csv")] == ["notes.txt"]
    shown = capsys.readouterr().out
    for line in ("1 cases, whose truth is not known", "1 cases could not be read", "no errors", "too few"):
        assert line in shown
    line = _error(capsys, folder / "cut.dcm", "--model", image_model, "--out", tmp_path / "none")
    assert "none of 1 cases could be read" in line


@pytest.mark.parametrize(("method", "panels"), [("hirescam", 3), ("eigencam", 2)])
def test_every_method_can_be_chosen(method, panels, phantom: Path, image_model: Path, tmp_path: Path):
    out, number = tmp_path / "out", read_coco(phantom / "coco.json").images[0]["id"]
    words = [phantom / "coco.json", "--model", image_model, "--out", out, "--method", method]
    assert _explain(*words, "--ids", f"[{number}]", "--no-features") == 0
    told = json.loads((out / "explain.json").read_text())
    assert told["method"] == method and len(told["results"]) == 1
    assert len(told["results"][0]["titles"]) == panels
    assert not list(out.glob("features*")) and not list(out.glob("neighbours*"))


def test_a_killed_run_goes_on_and_missing_pictures_are_made_again(
    phantom: Path, image_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    words = [phantom / "coco.json", "--model", image_model, "--out", out, "--no-features"]
    real, calls = CaseExplainer.explain, []

    def killed(self, cases):
        if cases[0].id == 4:
            raise KeyboardInterrupt
        return real(self, cases)

    def counted(self, cases):
        calls.extend(case.id for case in cases)
        return real(self, cases)

    monkeypatch.setattr(CaseExplainer, "explain", killed)
    assert _explain(*words) == 130
    assert not (out / "cases.csv").exists()
    next((out / "panels").glob("*_00002_*")).unlink()
    monkeypatch.setattr(CaseExplainer, "explain", counted)
    assert _explain(*words) == 0
    assert calls == [2, 4, 5, 6, 7, 8] and len(_rows(out / "cases.csv")) == 8
    assert _explain(*words[:-1], "--examples", 2) == 0, "sheets of another size are no other pictures"
    assert calls == [2, 4, 5, 6, 7, 8]


def test_other_methods_are_not_mixed_in(phantom: Path, image_model: Path, tmp_path: Path, capsys):
    words = [phantom / "coco.json", "--model", image_model, "--out", tmp_path / "out", "--ids", "[1]"]
    assert _explain(*words) == 0
    assert "another model or other options" in _error(capsys, *words, "--method", "hirescam")


@pytest.mark.parametrize(
    "words",
    [
        ["--category", "malignant"],
        ["--max-boxes", "3"],
        ["--score-threshold", "0.5"],
        ["--images", "found"],
        ["--no-feature-maps"],
    ],
)
def test_options_of_a_detector_are_refused(words, phantom: Path, image_model: Path, tmp_path: Path, capsys):
    line = _error(capsys, phantom / "coco.json", "--model", image_model, "--out", tmp_path / "out", *words)
    assert words[0].replace("--no-", "--") in line and "belongs to a detector" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", [["--split", "test"], ["--limit", "3"], ["--no-features"], ["--neighbours", "2"]]
)
def test_options_of_a_classifier_are_refused_for_a_detector(
    words, phantom: Path, trained: Path, tmp_path: Path, capsys
):
    model = trained / "model.safetensors"
    line = _error(capsys, phantom / "coco.json", "--model", model, "--out", tmp_path / "out", *words)
    assert words[0].replace("--no-", "--") in line and "belongs to a classifier" in line


def test_a_store_that_does_not_fit_is_named(
    phantom: Path, store: Path, patch_model: Path, image_model: Path, tmp_path: Path, capsys
):
    def line(source: Path, model: Path, *more: object) -> str:
        return _error(capsys, source, "--model", model, "--out", tmp_path / "out", *more)

    assert "looks at patches" in line(phantom / "coco.json", patch_model)
    assert "looks at whole images" in line(store, image_model)
    other = _patch_model(store, tmp_path / "other.safetensors", size=112)
    assert "patches have 64 px, the network was trained on 112 px" in line(store, other)
    assert "it has test (" in line(store, patch_model, "--split", "val")
    assert "no such case" in line(store, patch_model, "--ids", "[9999]")
    strange = _patch_model(store, tmp_path / "strange.safetensors", classes=("mass", "macrocalcification"))
    assert "holds no case of the classes" in line(store, strange)
    assert "no such file" in line(tmp_path / "none.sqlite", patch_model)
    assert "--reference-split" in line(store, patch_model, "--reference-split", "train", "--no-features")
    assert "--limit" in line(store, patch_model, "--limit", 0)
    assert "no image has one: leave it out" in line(phantom / "coco.json", image_model, "--split", "nowhere")
    header = ClassifierHeader(
        PatchNetworkConfig("resnet18", size=64, classes=tuple(PATCH_CLASSES), **LEVEL),
        Task("patches", PATCH_CLASSES),
        Recipe(spacing_mm=0.1),
        "",
    )
    write_model(tmp_path / "recipe.safetensors", build_network(header.config).state_dict(), header)
    assert "recipe." in line(store, tmp_path / "recipe.safetensors")


def test_a_class_without_cases_and_classes_that_are_not_told_are_said(store: Path, tmp_path: Path, capsys):
    model = _patch_model(store, tmp_path / "model.safetensors", classes=("malignant", "mass"))
    out = tmp_path / "out"
    assert _explain(store, "--model", model, "--out", out, "--limit", 1) == 0
    shown = capsys.readouterr().out
    assert "no case of class mass" in shown and "left out:" in shown and len(_rows(out / "cases.csv")) == 1


def test_lesions_are_cut_out_and_explained(phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    coco = json.loads((phantom / "coco.json").read_text())
    malignant = [one for one in coco["annotations"] if one["category_id"] == 2]
    assert len(malignant) >= 2
    for number, one in enumerate(malignant):
        one["subtype"] = {"er": ("positive", "negative", "unclear")[number % 3]}
    coco["info"]["root"] = str(phantom)
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    classes = {"negative": ("negative",), "positive": ("positive",)}
    task = Task("lesions", classes, subtype="er", smallest=48)
    config = SPPNetConfig(classes=tuple(classes), **LEVEL)
    header = ClassifierHeader(config, task, Recipe(), "")
    write_model(tmp_path / "model.safetensors", build_network(config).state_dict(), header)
    out = tmp_path / "out"
    words = [tmp_path / "coco.json", "--model", tmp_path / "model.safetensors"]
    assert _explain(*words, "--out", out) == 0
    known = {one["id"]: one for one in malignant if one["subtype"]["er"] != "unclear"}
    rows = _rows(out / "cases.csv")
    assert {int(row["id"]) for row in rows} == set(known)
    for row in rows:
        one = known[int(row["id"])]
        assert row["truth"] == one["subtype"]["er"] and int(row["image"]) == one["image_id"]
        assert [float(row[name]) for name in ("x", "y", "width", "height")] == pytest.approx(one["bbox"])
        assert cv2.imread(str(out / row["picture"])) is not None
    assert not (out / "cams").exists()
    line = _error(capsys, phantom / "images", *words[1:], "--out", tmp_path / "none")
    assert "looks at lesions" in line and "COCO file" in line
