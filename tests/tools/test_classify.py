"""``mammodet classify``: images, patches and lesions, several models in one table, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics

from mammodet.classification.model_file import ClassifierHeader, build_network, write_model
from mammodet.classification.patch_networks import PatchNetworkConfig
from mammodet.classification.predict import Predictor
from mammodet.classification.sppnet import SPPNetConfig
from mammodet.classification.task import Task
from mammodet.datasets.coco import read_coco
from mammodet.datasets.patch_store import PatchStore
from mammodet.datasets.standardise import Recipe
from mammodet.tools import cli
from mammodet.tools.cases import Case, read_case

BENIGN = {"benign": ("benign",), "malignant": ("malignant",)}
NORMAL = {"normal": ("normal",), "suspicious": ("benign", "malignant")}
Maker = Callable[..., Path]


def _classify(*words: object) -> int:
    fixed = ["--device", "cpu", "--precision", "fp32"]
    return cli.main(["classify", *map(str, words), *fixed])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """Return a function that writes the file of a network with random weights."""

    def made(name: str, task: Task, seed: int = 0, size: int = 64, recipe: Recipe | None = None) -> Path:
        torch.manual_seed(seed)
        normalised = {"image_mean": 0.2, "image_std": 0.2}
        config: SPPNetConfig | PatchNetworkConfig = PatchNetworkConfig(
            "resnet18", size=size, classes=task.names, **normalised
        )
        if task.source == "images":
            config = SPPNetConfig(classes=task.names, **normalised)
        path = tmp_path / "models" / f"{name}.safetensors"
        header = ClassifierHeader(config, task, recipe or Recipe(), "")
        write_model(path, build_network(config).state_dict(), header)
        return path

    return made


@pytest.fixture(scope="module")
def store(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "p.sqlite"
    words = ["--kind", "pesapane", "--size", "64", "--all-findings", "--split", "test", "--workers", "1"]
    assert cli.main(["patches", str(phantom / "coco.json"), "--out", str(out), *words]) == 0
    return out


def test_images_of_a_coco_file(
    phantom: Path, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    coco, out = phantom / "coco.json", tmp_path / "out"
    model = make("spp", Task("images", BENIGN))
    assert _classify(coco, "--model", model, "--out", out, "--resamples", 50) == 0
    rows = _rows(out / "scores.csv")
    images = read_coco(coco)
    assert [int(row["image_id"]) for row in rows] == [image["id"] for image in images.images]
    assert not {"x", "y", "width", "height"} & set(rows[0])  # evaluate would take them for boxes
    predictor = Predictor.load(model, device="cpu", precision="fp32")
    for row, image in zip(rows, images.images, strict=True):
        opened = read_case(Case(image["id"], images.image_path(image), image), Recipe())
        (expected,) = predictor.probabilities(opened.standardised.pixels[None])
        found = [float(row["p_benign"]), float(row["p_malignant"])]
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert row["score"] == row["p_malignant"] and row["patient_id"] == image["patient_id"]
        assert row["predicted"] == ("benign", "malignant")[int(expected.argmax())]
        assert row["truth"] == (image["label"] if image["label"] in BENIGN else "")
    truth = [row["truth"] == "malignant" for row in rows if row["truth"]]
    scores = [float(row["score"]) for row in rows if row["truth"]]
    document = json.loads((out / "metrics.json").read_text())
    found = document["networks"]["spp"]["numbers"]["auc"]["value"]
    assert found == pytest.approx(metrics.roc_auc_score(truth, scores))
    assert len(document["inputs"]["data"]["sha256"]) == 64
    assert document["inputs"]["models"][0]["name"] == "spp"
    told = capsys.readouterr().out
    assert "| spp " in told and "drawn at random" in told
    assert "spp: too few cases to compare with chance" in told  # two patients
    assert {"roc.png", "confusion.png", "table.csv", "table.tex", "config.yaml"} <= {
        path.name for path in out.iterdir()
    }


def test_a_folder_has_scores_and_no_metrics(
    phantom: Path, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, out = tmp_path / "exams", tmp_path / "out"
    shutil.copytree(phantom / "images", folder)
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    assert _classify(folder, "--model", make("spp", Task("images", BENIGN)), "--out", out) == 0
    assert len(_rows(out / "scores.csv")) == 8
    assert {Path(row["file"]).name for row in _rows(out / "rejected.csv")} == {"empty.dcm"}
    assert "notes.txt" in {Path(row["file"]).name for row in _rows(out / "skipped.csv")}
    assert not (out / "metrics.json").exists()
    assert "no metrics: no case has a label of benign, malignant (there are: none at all)" in (
        capsys.readouterr().out
    )


def test_a_run_goes_on_and_leaves_nothing_old(
    phantom: Path, make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = [phantom / "coco.json", "--model", make("spp", Task("images", BENIGN)), "--out", tmp_path / "out"]
    assert _classify(*words, "--resamples", 0) == 0
    before = (tmp_path / "out" / "scores.csv").read_bytes()

    def forbidden(*_: object) -> None:
        raise AssertionError("a finished image was computed again")

    monkeypatch.setattr(Predictor, "probabilities", forbidden)
    assert _classify(*words, "--resamples", 20, "--threshold", 0.4) == 0
    after = _rows(tmp_path / "out" / "scores.csv")
    assert [row["score"] for row in after] == [
        row["score"] for row in csv.DictReader(before.decode().splitlines())
    ]
    assert all((row["predicted"] == "malignant") == (float(row["score"]) >= 0.4) for row in after)
    folder = [phantom / "images", *words[1:]]
    monkeypatch.undo()
    assert _classify(*folder) == 0
    assert not (tmp_path / "out" / "metrics.json").exists()  # that of the COCO file is gone


def test_several_models_of_patches_are_rows_of_one_table(
    store: Path, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out, recipe = tmp_path / "out", Recipe(crop=False)
    models = [make(name, Task("patches", NORMAL), seed, recipe=recipe) for seed, name in enumerate("ab")]
    words = [store, "--model", *models, "--out", out, "--split", "test", "--resamples", 50]
    assert _classify(*words, "--names", "AlexNet", "ResNet18/x") == 0
    assert [row["Network"] for row in _rows(out / "table.csv")] == [
        "AlexNet",
        "ResNet18/x",
        "drawn at random",
    ]
    rows = _rows(out / "ResNet18_x" / "scores.csv")
    opened = PatchStore(store)
    patches = {patch.id: patch for patch in opened.patches("test", turned=False, ambiguous=False)}
    assert {int(row["id"]) for row in rows} == set(patches)
    predictor = Predictor.load(models[1], device="cpu", precision="fp32")
    expected = predictor.probabilities(opened.pixels([int(row["id"]) for row in rows]))
    np.testing.assert_allclose([float(row["p_suspicious"]) for row in rows], expected[:, 1], atol=1e-5)
    for row in rows:
        label = patches[int(row["id"])].label
        assert row["class"] == label and row["truth"] == ("normal" if label == "normal" else "suspicious")
    document = json.loads((out / "metrics.json").read_text())
    truth = [row["truth"] == "suspicious" for row in rows]
    given = [row["predicted"] == "suspicious" for row in rows]
    found = document["networks"]["ResNet18/x"]["numbers"]
    assert found["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(truth, given))
    assert document["inputs"]["split"] == "test" and len(document["inputs"]["models"]) == 2
    assert capsys.readouterr().out.count("chance") >= 2


@pytest.fixture
def subtypes(phantom: Path, tmp_path: Path) -> Path:
    """Return the phantom with subtypes of its lesions in turn, none on the last; all are malignant but one."""
    content = json.loads((phantom / "coco.json").read_text())
    content["info"]["root"] = str(phantom.absolute())
    lesions = content["annotations"]
    assert len(lesions) >= 3
    for place, one in enumerate(lesions):
        one["category_id"] = 2 if place else 1  # all but the first
    for place, one in enumerate(lesions[:-1]):
        one["subtype"] = {"er": place % 2}
    path = tmp_path / "subtypes.json"
    path.write_text(json.dumps(content))
    return path


ER = Task("lesions", {"negative": ("0",), "positive": ("1",)}, subtype="er")


def test_lesions_by_their_subtype(subtypes: Path, make: Maker, tmp_path: Path):
    out = tmp_path / "out"
    assert _classify(subtypes, "--model", make("er", ER), "--out", out, "--resamples", 0) == 0
    rows = _rows(out / "scores.csv")
    malignant = {one["id"]: one for one in read_coco(subtypes).annotations if one["category_id"] == 2}
    assert {int(row["annotation"]) for row in rows} == set(malignant)
    for row in rows:
        one = malignant[int(row["annotation"])]
        assert [float(row[name]) for name in ("x", "y", "width", "height")] == one["bbox"]
        label = (one.get("subtype") or {}).get("er")
        assert row["truth"] == {0: "negative", 1: "positive", None: ""}[label]
    document = json.loads((out / "metrics.json").read_text())
    assert document["networks"]["er"]["cases"] == len(malignant) - 1
    assert document["networks"]["er"]["unlabelled"] == 1


def test_detections_take_the_label_of_the_lesion_that_they_overlap(
    subtypes: Path, make: Maker, tmp_path: Path
):
    coco = read_coco(subtypes)
    lesion = next(one for one in coco.annotations if one["category_id"] == 2)
    x, y, width, height = lesion["bbox"]
    found = {"image_id": lesion["image_id"], "category_id": 2}
    far = [1, 1, 4, 4] if x > 20 or y > 20 else [100, 100, 4, 4]
    results = [
        {**found, "bbox": [x + 1, y + 1, width, height], "score": 0.9},
        {**found, "bbox": far, "score": 0.8},
        {**found, "bbox": [x, y, width, height], "score": 0.1},
        {**found, "bbox": [x, y, width, height], "score": 0.9, "category_id": 1},
    ]
    path, out = tmp_path / "predictions.json", tmp_path / "out"
    path.write_text(json.dumps(results))
    words = [subtypes, "--model", make("er", ER, recipe=Recipe(crop=False)), "--out", out]
    assert _classify(*words, "--detections", path, "--resamples", 0) == 0
    rows = _rows(out / "scores.csv")
    assert [row["detection_score"] for row in rows] == ["0.9", "0.8"]
    assert [row["annotation"] for row in rows] == [str(lesion["id"]), ""]
    assert [row["subtype"] for row in rows] == [str(lesion["subtype"]["er"]), ""]
    assert _classify(*words, "--detections", path, "--min-score", 0.95) == 2


def test_lesions_of_a_split(subtypes: Path, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content = json.loads(subtypes.read_text())
    lesioned = {one["image_id"] for one in content["annotations"] if one["category_id"] == 2}
    for image in content["images"]:
        image["split"] = "test"
        if image["id"] not in lesioned:  # a split never parts a patient
            image |= {
                "split": "other",
                "patient_id": "P2",
                "study_id": "S2",
                "breast_id": f"P2 {image['id']}",
            }
    subtypes.write_text(json.dumps(content))
    words = [subtypes, "--model", make("er", ER), "--out", tmp_path / "out", "--resamples", 0, "--split"]
    assert _classify(*words, "test") == 0
    assert "no image of it has a box" in _refused(capsys, *words, "other")


def test_a_lesion_beside_the_breast_is_left_out_with_a_note(
    subtypes: Path, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    content = json.loads(subtypes.read_text())
    wrong = next(one for one in content["annotations"] if one["category_id"] == 2)
    image = next(one for one in content["images"] if one["id"] == wrong["image_id"])
    x = image["width"] - 4 if image["laterality"] == "L" else 0  # where there is air
    wrong |= {"bbox": [x, 0, 4, 4], "area": 16}
    wrong.pop("segmentation", None)
    subtypes.write_text(json.dumps(content))
    words = [subtypes, "--model", make("er", ER), "--out", tmp_path / "out", "--resamples", 0]
    assert _classify(*words) == 0
    assert "note: a lesion is left out: " in (told := capsys.readouterr().err) and "breast crop" in told
    kept = {row["annotation"] for row in _rows(tmp_path / "out" / "scores.csv")}
    assert str(wrong["id"]) not in kept and kept


def _refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert _classify(*words) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert told[-1].startswith("mammodet classify: error: ")
    return told[-1]


def test_what_does_not_fit_is_refused(
    phantom: Path, store: Path, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    coco, out = phantom / "coco.json", tmp_path / "out"
    images, recipe = make("images", Task("images", BENIGN)), Recipe(crop=False)
    patches = make("patches", Task("patches", NORMAL), recipe=recipe)
    small = make("small", Task("patches", NORMAL), size=48, recipe=recipe)
    other = make("other", Task("patches", BENIGN), recipe=recipe)
    bright = make("bright", Task("patches", NORMAL), recipe=Recipe(crop=False, intensity="full"))
    ends = ("--out", out)
    assert "was trained on images" in _refused(capsys, store, "--model", images, *ends)
    assert "was trained on patches" in _refused(capsys, coco, "--model", patches, *ends)
    assert "no such split" in _refused(capsys, store, "--model", patches, *ends, "--split", "val")
    assert "there is test" in _refused(capsys, store, "--model", patches, *ends, "--split", "val")
    assert "no such split" in _refused(capsys, coco, "--model", images, *ends, "--split", "test")
    told = _refused(capsys, phantom / "images", "--model", images, *ends, "--split", "test")
    assert "is for a COCO file" in told
    told = _refused(capsys, store, "--model", small, *ends)
    assert "64 px, the network was trained on 48 px" in told
    assert "recipe.intensity" in _refused(capsys, store, "--model", bright, *ends)
    assert "another task" in _refused(capsys, store, "--model", patches, other, *ends)
    assert "--names" in _refused(capsys, store, "--model", patches, *ends, "--names", "a", "b")
    assert "--detections" in _refused(capsys, store, "--model", patches, *ends, "--detections", coco)
    assert "--threshold" in _refused(capsys, store, "--model", patches, *ends, "--threshold", 2)
    three = make("three", Task("images", {name: (name,) for name in ("normal", "benign", "malignant")}))
    assert "two classes" in _refused(capsys, coco, "--model", three, *ends, "--threshold", 0.5)
    assert not out.exists() or not (out / "scores.csv").exists()
    for name in (
        "intervals.csv",
        "comparison.json",
    ):  # results of evaluate, with a report or without, and compare
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("")
        told = _refused(capsys, coco, "--model", images, "--out", tmp_path / name)
        assert "holds the results of another command" in told


def test_a_model_of_three_classes(phantom: Path, make: Maker, tmp_path: Path):
    classes = {name: (name,) for name in ("normal", "benign", "malignant")}
    out = tmp_path / "out"
    model = make("three", Task("images", classes))
    assert _classify(phantom / "coco.json", "--model", model, "--out", out, "--resamples", 20) == 0
    rows = _rows(out / "scores.csv")
    assert all(row["score"] == row["p_malignant"] for row in rows)
    sums = [sum(float(row[f"p_{name}"]) for name in classes) for row in rows]
    np.testing.assert_allclose(sums, 1, atol=1e-6)
    assert "Macro F1" in (out / "table.csv").read_text()
