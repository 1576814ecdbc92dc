"""``mammodet evaluate``: what it writes and prints, and one line for each kind of bad input."""

import json

import pytest
import yaml

from mammodet.tools.cli import main

PROFILE = [{"id": 1, "name": "benign"}, {"id": 2, "name": "malignant"}]


def image(number, label=None):
    return {"id": number, "file_name": f"{number}.png", "width": 500, "height": 500, "label": label}


@pytest.fixture
def truth():
    return {
        "images": [image(1, "malignant"), image(2, "benign"), image(3, "normal"), image(4, "normal")],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 10, 80, 80], "area": 6400, "iscrowd": 0},
            {"id": 2, "image_id": 2, "category_id": 1, "bbox": [10, 10, 80, 80], "area": 6400, "iscrowd": 0},
        ],
        "categories": PROFILE,
    }


@pytest.fixture
def predictions():
    return [
        {"image_id": 1, "category_id": 2, "bbox": [10, 10, 80, 80], "score": 0.9},
        {"image_id": 2, "category_id": 1, "bbox": [12, 10, 80, 80], "score": 0.8},
    ]


@pytest.fixture
def evaluate(tmp_path):
    """Write both files and run the command; returns its exit code."""

    def run(truth, predictions, *options):
        (tmp_path / "gt.json").write_text(json.dumps(truth))
        (tmp_path / "dt.json").write_text(json.dumps(predictions))
        files = ["--ground-truth", tmp_path / "gt.json", "--predictions", tmp_path / "dt.json"]
        return main(["evaluate", *map(str, files), "--out", str(tmp_path / "out"), *options])

    return run


def metrics(tmp_path):
    return json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_a_perfect_detector(evaluate, truth, predictions, tmp_path, capsys):
    assert evaluate(truth, predictions) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert str(tmp_path / "out" / "report.html") in told.out
    assert max(map(len, told.out.splitlines()[:-1])) <= 100
    document = metrics(tmp_path)
    assert document["coco"]["malignant"]["AP"] == pytest.approx(1.0)
    assert document["image"]["auc"] == document["breast"]["auc"] == document["lesion_all"]["auc"] == 1.0
    assert len(document["inputs"]["predictions"]["sha256"]) == 64


def test_the_configuration_beside_the_results_repeats_the_run(evaluate, truth, predictions, tmp_path):
    assert evaluate(truth, predictions, "--score-threshold", "0.85") == 0
    first = (tmp_path / "out" / "metrics.json").read_bytes()
    config = tmp_path / "out" / "config.yaml"
    assert yaml.safe_load(config.read_text())["score_threshold"] == 0.85
    assert main(["evaluate", "--config", str(config)]) == 0
    assert (tmp_path / "out" / "metrics.json").read_bytes() == first
    assert metrics(tmp_path)["counts"]["predictions_above_threshold"] == 1


def test_no_predictions_at_all(evaluate, truth, tmp_path, capsys):
    assert evaluate(truth, []) == 0
    document = metrics(tmp_path)
    assert document["coco"]["all"]["AP"] == 0.0
    assert document["image"]["auc"] == 0.5
    assert document["lesion_published"]["cases"] == 0
    assert "2 lesions without an overlapping box" in capsys.readouterr().out


def test_mostly_or_only_normal_images(evaluate, truth, predictions, tmp_path, capsys):
    normal = {**truth, "images": [image(number, "normal") for number in range(1, 9)], "annotations": []}
    assert evaluate(normal, predictions) == 0
    document = metrics(tmp_path)
    assert document["coco"]["all"]["AP"] is None
    assert document["image"]["confusion"]["counts"] == [[7, 1], [0, 0]]
    told = capsys.readouterr().out
    assert "0 positive and 8 negative" in told
    assert "n/a" in told


def test_any_coco_file_gets_its_coco_numbers(evaluate, shared_data, tmp_path, capsys):
    folder = shared_data / "coco"
    names = ("instances_val2014_100.json", "instances_val2014_fakebbox100_results.json")
    files = [folder / name for name in names]
    options = ["--ground-truth", files[0], "--predictions", files[1], "--out", tmp_path / "out"]
    assert main(["evaluate", *map(str, options)]) == 0
    assert metrics(tmp_path)["coco"]["all"]["AP"] == pytest.approx(0.5046, abs=5e-5)
    assert "need the categories 1 benign, 2 malignant" in capsys.readouterr().out


def _without(key):
    return lambda truth, results: truth.pop(key)


def _set(key, value):
    return lambda truth, results: results[0].__setitem__(key, value)


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (_without("images"), "gt.json: images"),
        (_without("annotations"), "gt.json: annotations"),
        (lambda truth, results: truth["images"].clear() or truth["annotations"].clear(), "gt.json: images"),
        (lambda truth, results: truth["annotations"][0].update(bbox=[0, 0, 0, 5]), "annotations[id=1].bbox"),
        (_set("image_id", 99), "dt.json: results[0].image_id"),
        (_set("category_id", 7), "dt.json: results[0].category_id"),
        (_set("score", float("nan")), "dt.json: results[0].score"),
        (_set("score", 3.0), "dt.json: results[0].score"),
        (_set("bbox", [0, 0, 5]), "dt.json: results[0].bbox"),
    ],
)
def test_bad_files_give_one_line_and_exit_2(evaluate, truth, predictions, damage, names, tmp_path, capsys):
    damage(truth, predictions)
    assert evaluate(truth, predictions) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert names in told.err
    assert not (tmp_path / "out").exists()


def test_an_object_is_no_results_list(evaluate, truth, predictions, capsys):
    assert evaluate(truth, {"annotations": predictions}) == 2
    assert "a results file is a JSON list" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--score-threshold", "1.5"], "score_threshold: must be from 0 to 1"),
        (["--lesion-iou", "much"], "lesion_iou"),
        (["--no-such-option", "1"], "no-such-option"),
    ],
)
def test_bad_options_give_one_line_and_exit_2(evaluate, truth, predictions, options, names, capsys):
    assert evaluate(truth, predictions, *options) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert names.replace("-", "_") in told.replace("-", "_")


def test_missing_files_and_a_file_for_a_folder(evaluate, truth, predictions, tmp_path, capsys):
    absent = ["--ground-truth", "no.json", "--predictions", "no.json"]
    assert main(["evaluate", *absent, "--out", str(tmp_path / "new")]) == 2
    assert "no.json: no such file" in capsys.readouterr().err
    (tmp_path / "out").write_text("a file")
    assert evaluate(truth, predictions) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
