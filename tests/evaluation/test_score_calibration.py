"""Maps of all levels in one file, and what they make of the numbers of an evaluation."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.calibration import KINDS
from mammodet.evaluation.cases import collect_cases
from mammodet.evaluation.figures import calibrated_figure
from mammodet.evaluation.overview import overview
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.report import render
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.score_calibration import LEVELS, ScoreCalibration, fit_score_calibration
from mammodet.evaluation.summary import Options, evaluate, metrics_document
from mammodet.evaluation.tables import csv_tables

INPUTS = {name: {"path": f"{name}.json", "sha256": name[0] * 64} for name in ("ground_truth", "predictions")}


def study(patients, seed, labels=("malignant", "benign", "normal")):
    """Two views of both breasts; a detector that is too sure and misses a sixth."""
    rng = np.random.default_rng(seed)
    images, results = [], []
    for patient in range(patients):
        for side in "LR":
            label = str(rng.choice(labels))
            for view in ("CC", "MLO"):
                number = len(images) + 1
                images.append(
                    {"id": number, "file_name": f"{number}.png", "width": 500, "height": 500}
                    | {"patient_id": str(patient), "laterality": side, "view": view, "label": label}
                )
                if rng.random() < (0.15 if label == "malignant" else 0.6):
                    continue
                malignant = rng.random() < (0.85 if label == "malignant" else 0.4)
                score = rng.beta(3, 1) if malignant and label == "malignant" else rng.beta(1.5, 2)
                box = {"image_id": number, "bbox": [10, 10, 50, 60], "score": 0.3 + 0.7 * float(score)}
                results.append(box | {"category_id": 2 if malignant else 1})
    return Coco(images, [], Path("gt.json")), results


def fitted(kind="platt", patients=150, **more):
    coco, results = study(patients, 0, **more)
    return fit_score_calibration(kind, collect_cases(coco, results, Protocol()), 0.3, 0.5, INPUTS)


def evaluated(calibration, patients=60, resamples=100, **more):
    options = Options(Bootstrap(resamples), calibration=calibration)
    return evaluate(*study(patients, 1, **more), Protocol(), options)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_survive_the_disk(kind, tmp_path):
    maps = fitted(kind)
    maps.save(tmp_path / "map.json")
    again = ScoreCalibration.load(tmp_path / "map.json")
    assert again == maps
    scores = np.linspace(0, 1, 101)
    for level in LEVELS:
        np.testing.assert_array_equal(again.probabilities(level, scores), maps.probabilities(level, scores))
    content = json.loads((tmp_path / "map.json").read_text())
    assert content["schema"] == "mammodet.score-calibration/1"
    assert content["protocol"] == {
        "fusion": "published",
        "scores_of": "boxes",
        "score_threshold": 0.3,
        "suppression_iou": 0.5,
    }
    assert content["inputs"] == INPUTS and "mammodet" in content["versions"]
    image = content["levels"]["image"]
    assert (image["cases"], content["levels"]["patient"]["cases"]) == (600, 150)
    assert 0 < image["zeros"] < 600 and 0 < image["positives"] < 600
    names = {
        "platt": {"slope", "intercept", "zero"},
        "temperature": {"temperature", "zero"},
        "isotonic": {"scores", "probabilities"},
    }
    assert set(image["parameters"]) == names[kind]


def _set(path, value):
    def damage(content):
        *parents, last = path.split(".")
        for one in parents:
            content = content[one]
        content[last] = value

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        _set("schema", "mammodet.calibration/1"),
        _set("kind", "beta"),
        _set("kind", []),
        _set("protocol", None),
        _set("protocol.fusion", "max"),
        _set("protocol.scores_of", "lesions"),
        _set("protocol.score_threshold", 2),
        _set("inputs", []),
        _set("inputs.ground_truth", 3),
        _set("levels.image.parameters.slope", -1),
        _set("levels.image.parameters.zero", 1.5),
        _set("levels.image.parameters.intercept", float("nan")),
        _set("levels.breast.parameters", {}),
        _set("levels.breast.cases", "many"),
        _set("levels.patient", {"parameters": None}),
        _set("levels", {}),
    ],
)
def test_a_damaged_file_is_named(damage, tmp_path):
    path = tmp_path / "map.json"
    fitted().save(path)
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"map.json.*no score calibration of this version"):
        ScoreCalibration.load(path)


@pytest.mark.parametrize("halves", [([0.1, 0.2], [0.5]), ([0.2, 0.1], [0, 1]), ([0, 1], [1, 0]), ([], [])])
def test_a_damaged_isotonic_map_is_named(halves, tmp_path):
    path = tmp_path / "map.json"
    fitted("isotonic").save(path)
    content = json.loads(path.read_text())
    content["levels"]["image"]["parameters"] = dict(zip(("scores", "probabilities"), halves, strict=True))
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="no score calibration of this version"):
        ScoreCalibration.load(path)


def test_scores_of_another_protocol_are_refused():
    maps = fitted()
    maps.require(0.3, 0.5, Path("map.json"))
    with pytest.raises(InputError, match=r"map.json: was fitted on .* score threshold 0.3, .* have 0.2"):
        maps.require(0.2, 0.5, Path("map.json"))
    with pytest.raises(InputError, match=r"suppression IoU 0.5, .* have 0.6"):
        maps.require(0.3, 0.6, Path("map.json"))
    with pytest.raises(InputError, match=r"was fitted on scores of boxes, the scores here are of images"):
        maps.require(0.3, 0.5, Path("map.json"), "images")


def test_a_level_without_both_classes_has_a_reason_and_the_others_a_map(tmp_path):
    coco, results = study(40, 0)
    for image in coco.images:  # every patient has one breast with cancer, so that no patient is free of it
        image["label"] = "malignant" if image["laterality"] == "L" else "normal"
    maps = fit_score_calibration("platt", collect_cases(coco, results, Protocol()), 0.3, 0.5, INPUTS)
    assert maps.maps["patient"] is None and maps.maps["image"] is not None
    assert "there are 40 positive of 40 cases" in maps.reasons["patient"]
    assert any(told.startswith("patient: a calibration needs both") for told in maps.warnings)
    maps.save(tmp_path / "map.json")
    assert ScoreCalibration.load(tmp_path / "map.json") == maps
    evaluation = evaluated(maps)
    level = evaluation.calibrated.levels["patient"]
    assert level.numbers == {} and "needs both classes" in level.reason
    assert any("needs both classes" in line for line in overview(evaluation))
    page = render(evaluation, INPUTS, {})
    assert "Patients: a calibration needs both classes" in page
    tables = csv_tables(evaluation)
    assert tables["patients.csv"].splitlines()[1].endswith(",n/a")
    assert len(calibrated_figure(evaluation.calibrated).axes) == 4
    with pytest.raises(InputError, match="needs both classes"):
        fitted(labels=("normal", "benign"))


@pytest.mark.parametrize("kind", KINDS)
def test_other_cases_are_nearer_to_the_truth_and_rank_the_same(kind):
    evaluation = evaluated(fitted(kind, 600), 600, resamples=0)
    for name, level in evaluation.calibrated.levels.items():
        ece, brier = level.numbers["ece"], level.numbers["brier"]
        assert ece.raw == evaluation.levels[name].ece
        assert brier.raw == pytest.approx(evaluation.levels[name].brier, abs=1e-12)
        assert ece.raw > 0.08 and ece.calibrated < (0.11 if kind == "temperature" else 0.045)
        assert brier.difference == pytest.approx(brier.calibrated - brier.raw) and brier.difference < 0
        assert ece.raw_interval is None
        assert level.auc_calibrated == pytest.approx(level.auc, abs=0.02)
        if level.auc != level.auc_calibrated:
            assert "ties" in level.auc_note


def test_the_numbers_stand_beside_the_raw_ones_in_every_output():
    evaluation = evaluated(fitted())
    document = json.loads(json.dumps(metrics_document(evaluation, INPUTS), allow_nan=False))["calibrated"]
    assert (document["kind"], document["source"]) == ("platt", "ground_truth.json")
    image = document["levels"]["image"]
    assert (image["cases"], image["fitted_cases"]) == (240, 600) and len(image["calibrated"]) == 10
    ece = image["numbers"]["ece"]
    for what in ("raw", "calibrated", "difference"):
        interval = ece[f"{what}_interval"]
        assert interval["resamples"] == 100 and interval["low"] < interval["high"]
    # The raw interval is that of the level itself: the same draws.
    assert (
        ece["raw_interval"] == metrics_document(evaluation, INPUTS)["image"]["intervals"]["ece"]["bootstrap"]
    )
    told = "\n".join(overview(evaluation))
    assert re.search(r"\d\d% of 600 images malignant, \d\d% here; ECE by chance alone 0\.0\d\d", told)
    assert "probabilities by platt" in told and f"{ece['calibrated']:.3f}" in told
    assert max(map(len, told.splitlines())) <= 100
    page = render(evaluation, INPUTS, {})
    assert f"<td>{ece['calibrated']:.3f}<small>" in page and "by ties only" in page
    tables = csv_tables(evaluation)
    assert tables["calibrated.csv"].splitlines()[1].startswith("image,ece,240,")
    assert {line.split(",")[1] for line in tables["calibration.csv"].splitlines()[1:]} == {
        "raw",
        "calibrated",
    }
    for name in ("images", "breasts", "patients"):
        header, first, *_ = tables[f"{name}.csv"].splitlines()
        assert header.endswith(",probability") and 0 <= float(first.rsplit(",", 1)[1]) <= 1
    assert not tables["lesions.csv"].splitlines()[0].endswith("probability")


def test_the_error_by_chance_is_that_of_probabilities_that_are_right():
    levels = evaluated(fitted(patients=600), 600, resamples=0).calibrated.levels
    image, patient = levels["image"], levels["patient"]
    # About sqrt(2 / pi * p (1 - p) n) of n cases per bin: more with fewer cases.
    assert 0.005 < image.ece_by_chance < patient.ece_by_chance < 0.04
    assert image.ece_by_chance < image.numbers["ece"].raw / 4


def test_without_a_calibration_nothing_of_it_is_told():
    evaluation = evaluated(None)
    assert "calibrated" not in metrics_document(evaluation, INPUTS)
    assert "calibrated.csv" not in csv_tables(evaluation)
    assert "probability" not in csv_tables(evaluation)["images.csv"]
    assert "<h2>Probabilities" not in render(evaluation, INPUTS, {})
    assert calibrated_figure(evaluation.calibrated) is None


def test_one_class_and_no_case_on_the_test_side_are_no_crash():
    maps = fitted()
    one = evaluated(maps, 5, labels=("normal",))
    level = one.calibrated.levels["image"]
    assert level.auc is None and "needs both classes" in level.auc_note
    assert level.numbers["brier"].calibrated > 0
    coco, results = study(3, 2)
    for image in coco.images:
        image["label"] = None
    none = evaluate(coco, results, Protocol(), Options(Bootstrap(20), calibration=maps))
    assert none.calibrated.levels["image"].reason == "no case of known truth"
    assert "nan" not in json.dumps(metrics_document(none, INPUTS)["calibrated"]).lower()
    assert "no case of known truth" in render(none, INPUTS, {})
