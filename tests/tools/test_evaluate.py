"""``mammodet evaluate``: what it writes and prints, and one line for each kind of bad input."""

import csv
import io
import json
import re

import cv2
import numpy as np
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
    """Write both files and run the command, for the numbers or with the page; returns its exit code."""

    def run(truth, predictions, *options, report=False):
        (tmp_path / "gt.json").write_text(json.dumps(truth))
        (tmp_path / "dt.json").write_text(json.dumps(predictions))
        files = ["--ground-truth", tmp_path / "gt.json", "--predictions", tmp_path / "dt.json"]
        wanted = ["--report" if report else "--no-report"]
        return main(["evaluate", *map(str, files), "--out", str(tmp_path / "out"), *wanted, *options])

    return run


def metrics(tmp_path):
    return json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_a_perfect_detector(evaluate, truth, predictions, tmp_path, capsys):
    assert evaluate(truth, predictions, report=True) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert str(tmp_path / "out" / "report.html") in told.out
    assert max(map(len, told.out.splitlines()[:-1])) <= 100
    document = metrics(tmp_path)
    assert document["coco"]["malignant"]["AP"] == pytest.approx(1.0)
    assert document["image"]["auc"] == document["breast"]["auc"] == document["lesion_all"]["auc"] == 1.0
    assert len(document["inputs"]["predictions"]["sha256"]) == 64


def test_without_the_report_the_numbers_are_the_same(evaluate, truth, predictions, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate(truth, predictions, report=True) == 0
    pages = {path.name for path in out.iterdir() if path.suffix in {".html", ".png", ".svg"}}
    assert {"report.html", "roc.png", "froc.svg", "errors.png"} <= pages
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    capsys.readouterr()
    assert evaluate(truth, predictions) == 0
    told = capsys.readouterr().out
    assert "report.html" not in told and f"numbers: {out / 'metrics.json'}" in told
    after = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert after.keys() == before.keys() - pages  # those of the evaluation before are gone
    assert {name for name in after if after[name] != before[name]} == {"config.yaml"}


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
    fast = ["--resamples", "0", "--no-report"]
    assert main(["evaluate", *map(str, options), *fast]) == 0
    assert metrics(tmp_path)["coco"]["all"]["AP"] == pytest.approx(0.5046, abs=5e-5)
    assert "need the categories 1 benign, 2 malignant" in capsys.readouterr().out


def test_every_hit_rule_stands_in_the_table_by_default(evaluate, truth, predictions, tmp_path, capsys):
    assert evaluate(truth, predictions) == 0
    froc = metrics(tmp_path)["froc"]
    assert [row["rule"] for row in froc["rows"]] == ["center", "iou:0.1", "iou:0.2", "iou:0.5", "duke"]
    assert all(row["cpm"] == row["afroc"] == row["wafroc"] == 1 for row in froc["rows"])
    assert "FROC per image" in capsys.readouterr().out
    header = (tmp_path / "out" / "froc.csv").read_text().splitlines()[0]
    assert header.startswith("denominator,rule,classes,lesions") and "sensitivity at 0.125" in header


def test_froc_options(evaluate, truth, predictions, tmp_path):
    options = ["--hit-rules", "[overlap, center-distance:40px]", "--froc-denominator", "patient"]
    assert evaluate(truth, predictions, *options, "--class-aware", "true") == 0
    froc = metrics(tmp_path)["froc"]
    assert {row["rule"] for row in froc["rows"]} == {"overlap", "center-distance:40px"}
    assert [row["classes"] for row in froc["rows"][::2]] == ["benign", "malignant"]
    assert froc["denominator"] == "patient"
    first = (tmp_path / "out" / "metrics.json").read_bytes()
    assert main(["evaluate", "--config", str(tmp_path / "out" / "config.yaml")]) == 0
    assert (tmp_path / "out" / "metrics.json").read_bytes() == first


def test_thresholds_numbers_of_boxes_and_subgroups(evaluate, truth, predictions, tmp_path, capsys):
    options = ["--iou-thresholds", "[0.1, 0.5]", "--max-dets", "[5]", "--size-bins-mm", "[3, 8]"]
    assert evaluate(truth, predictions, *options) == 0
    assert f"subgroups: {tmp_path / 'out' / 'subgroups.csv'}" in capsys.readouterr().out
    found = metrics(tmp_path)
    told = rows(tmp_path / "out" / "coco_thresholds.csv")
    assert [(row["class"], row["max_dets"], row["iou"]) for row in told[:3]] == [
        ("all", "5", iou) for iou in ("mean", "0.1", "0.5")
    ]
    assert [row["ap"] for row in found["coco_thresholds"]] == [
        None if row["AP"] == "n/a" else pytest.approx(float(row["AP"])) for row in told
    ]
    assert {row["group"] for row in found["subgroups"]} >= {"size in px", "finding", "view", "manufacturer"}
    assert len(rows(tmp_path / "out" / "subgroups.csv")) == len(found["subgroups"])
    first = (tmp_path / "out" / "metrics.json").read_bytes()
    assert main(["evaluate", "--config", str(tmp_path / "out" / "config.yaml")]) == 0
    assert (tmp_path / "out" / "metrics.json").read_bytes() == first
    assert evaluate(truth, predictions) == 0  # not asked for: the table of the run before is gone
    assert metrics(tmp_path)["coco_thresholds"] == []
    assert not (tmp_path / "out" / "coco_thresholds.csv").exists()


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
        (["--hit-rules", "[center, iou]"], "hit_rules: is no hit rule (found 'iou'); choose from center"),
        (["--hit-rules", "[center-distance:5mm]"], "images[id=1].spacing_mm: is needed by the hit rule"),
        (["--froc-denominator", "exam"], "froc_denominator"),
        (["--iou-thresholds", "[0.05]"], "iou_thresholds: must be from 0.1 to 1 (found 0.05)"),
        (["--max-dets", "[0]"], "max_dets: must be 1 or more"),
        (["--size-bins-mm", "[10, 5]"], "size_bins_mm: must rise and be above 0 (found [10.0, 5.0])"),
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


def numbers(tmp_path):
    return {name: value for name, value in metrics(tmp_path).items() if name not in {"inputs", "versions"}}


def test_a_table_and_a_folder_give_the_numbers_of_the_coco_results(
    evaluate, truth, predictions, tmp_path, capsys
):
    assert evaluate(truth, predictions) == 0
    expected = numbers(tmp_path)
    assert capsys.readouterr().err == ""
    table = tmp_path / "dt.csv"
    table.write_text("fn,p,x0,y0,x1,y1,kind\n1,0.9,10,10,90,90,M\n2.PNG,0.8,12,10,92,90,B\n")
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "1.txt").write_text("1 0.1 0.1 0.16 0.16 0.9\n")
    (folder / "2.txt").write_text("0 0.104 0.1 0.16 0.16 0.8\n")
    for path, options, told in (
        (
            table,
            ["--columns", "score=p", "category=kind", "--categories", "benign=B", "malignant=m"],
            "read as csv, boxes xyxy",
        ),
        (
            folder,
            ["--categories", "benign=0", "malignant=1", "--format", "yolo"],
            "read as yolo, boxes cxcywh-relative",
        ),
    ):
        assert evaluate(truth, predictions, "--predictions", str(path), *options) == 0
        assert numbers(tmp_path) == expected
        lines = capsys.readouterr().err.splitlines()
        assert lines == [f"mammodet evaluate: note: {path}: 2 boxes on 2 of 4 images, 2 without any; {told}"]
        before = (tmp_path / "out" / "metrics.json").read_bytes()
        assert main(["evaluate", "--config", str(tmp_path / "out" / "config.yaml")]) == 0
        assert (tmp_path / "out" / "metrics.json").read_bytes() == before
        capsys.readouterr()


def test_the_digest_of_a_folder_changes_with_its_files(evaluate, truth, predictions, tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    digests = set()
    for score in (0.5, 0.25, 0.5):
        (folder / "1.txt").write_text(f"1 0.1 0.1 0.16 0.16 {score}\n")
        assert evaluate(truth, predictions, "--predictions", str(folder), "--categories", "malignant=1") == 0
        digests.add(metrics(tmp_path)["inputs"]["predictions"]["sha256"])
    assert len(digests) == 2


def test_warnings_of_predictions_go_to_stderr(evaluate, truth, predictions, capsys):
    assert evaluate(truth, [*predictions, predictions[0]]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("mammodet evaluate: warning: 1 of 3 predictions are there twice")


def test_corners_in_coco_results_give_one_line_and_the_option_that_reads_them(
    evaluate, truth, predictions, tmp_path, capsys
):
    corners = [{**one, "bbox": [300, 300, 400 + index, 400]} for index, one in enumerate(predictions)]
    assert evaluate(truth, corners) == 2
    assert "--boxes xyxy" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert evaluate(truth, corners, "--boxes", "xyxy") == 0


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_intervals_are_told_or_left_out(evaluate, truth, predictions, tmp_path, capsys):
    assert evaluate(truth, predictions, "--resamples", "200", "--confidence", "0.9", "--seed", "4") == 0
    told = capsys.readouterr().out
    assert "90 % interval" in told
    assert "200 bootstrap resamples of 4 patients" in told
    assert "4 images without patient_id" in told
    assert metrics(tmp_path)["bootstrap"] == {"resamples": 200, "confidence": 0.9, "seed": 4}
    assert evaluate(truth, predictions, "--resamples", "0") == 0
    assert "% interval" not in capsys.readouterr().out
    assert metrics(tmp_path)["coco_intervals"] == {}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--confidence", "1.5", "confidence: must be between 0 and 1"),
        ("--resamples", "-1", "resamples: must be from 0"),
        ("--at-sensitivity", "2", "sensitivity: must be from 0 to 1"),
    ],
)
def test_bad_settings_of_intervals_are_one_line(evaluate, truth, predictions, capsys, option, value, said):
    assert evaluate(truth, predictions, option, value) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def test_a_fusion_rule_is_fitted_on_one_data_set_and_used_on_another(evaluate, truth, predictions, tmp_path):
    rule = str(tmp_path / "fusion.json")
    assert evaluate(truth, predictions, "--fit-fusion", rule) == 0
    assert [row["auc"] for row in rows(tmp_path / "out" / "fusion.csv") if row["rule"] == "logistic"] == [
        "n/a",
        "n/a",
    ]
    assert evaluate(truth, predictions, "--fusion", rule) == 0
    logistic = [row for row in rows(tmp_path / "out" / "fusion.csv") if row["rule"] == "logistic"]
    assert {row["level"]: float(row["auc"]) for row in logistic} == {"breast": 1.0, "patient": 1.0}


def test_fusion_options_that_cannot_work_are_one_line(evaluate, truth, predictions, tmp_path, capsys):
    path = tmp_path / "fusion.json"
    assert evaluate(truth, predictions, "--fusion", str(path), "--fit-fusion", str(path)) == 2
    assert "cannot go with --fit-fusion" in capsys.readouterr().err
    path.write_text("{}")
    assert evaluate(truth, predictions, "--fusion", str(path)) == 2
    assert "no fitted fusion rule" in capsys.readouterr().err
    one_class = {**truth, "images": [{**one, "label": "benign"} for one in truth["images"]]}
    assert evaluate(one_class, predictions, "--fit-fusion", str(tmp_path / "new.json")) == 2
    assert "needs malignant and other breasts" in capsys.readouterr().err


def test_another_model_is_compared(evaluate, truth, predictions, tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text(json.dumps(predictions[:1]))
    assert evaluate(truth, predictions, "--compare", str(other)) == 0
    assert "comparison.csv" in capsys.readouterr().out
    table = rows(tmp_path / "out" / "comparison.csv")
    found = {(row["level"], row["number"], row["test"]): row for row in table}
    recall = found["coco", "benign AR_100", "bootstrap by patient"]
    assert (float(recall["other"]), float(recall["this"])) == (0.0, pytest.approx(0.9, abs=0.11))
    assert {test for level, number, test in found if (level, number) == ("image", "auc")} == {
        "bootstrap by patient",
        "DeLong",
        "Obuchowski",
    }
    assert float(found["lesion_all", "accuracy", "McNemar, exact"]["difference"]) == 0.5
    assert set(metrics(tmp_path)["inputs"]) == {"ground_truth", "predictions", "compare"}
    assert evaluate(truth, predictions) == 0
    assert not (tmp_path / "out" / "comparison.csv").exists()


def test_the_other_model_is_read_by_the_same_options(evaluate, truth, predictions, tmp_path, capsys):
    assert evaluate(truth, predictions, "--compare", str(tmp_path / "no.json")) == 2
    assert "no.json: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    tables = [tmp_path / "new.csv", tmp_path / "old.csv"]
    boxes = ["1,0.9,10,10,90,90,M\n", "2,0.8,12,10,92,90,B\n"]
    for path, text in zip(tables, ("".join(boxes), boxes[0]), strict=True):
        path.write_text("fn,p,x0,y0,x1,y1,kind\n" + text)
    options = ["--columns", "score=p", "category=kind", "--categories", "benign=B", "malignant=M"]
    files = ["--predictions", str(tables[0]), "--compare", str(tables[1])]
    assert evaluate(truth, predictions, *files, *options) == 0
    table = rows(tmp_path / "out" / "comparison.csv")
    recall = next(row for row in table if row["number"] == "benign AR_100")
    assert (float(recall["other"]), float(recall["this"])) == (0.0, pytest.approx(0.9, abs=0.11))


def screened(count=40):
    """Every third image has a cancer, and the detector is sure of too much."""
    images = [image(number, "normal" if number % 3 else "malignant") for number in range(1, count + 1)]
    boxes = [
        {"image_id": number, "category_id": 2, "bbox": [9, 9, 80, 80], "score": 0.35 + 0.6 * number / count}
        for number in range(1, count + 1)
        if number % 3 == 0 or number % 2
    ]
    return {"images": images, "annotations": [], "categories": PROFILE}, boxes


SCORES = "file_name,score\n1.png,0.9\n2.png,0.4\n3.png,0.2\n4.png,0.6\n"


def test_scores_of_images_are_evaluated(evaluate, truth, tmp_path, capsys):
    (tmp_path / "scores.csv").write_text(SCORES)
    for name in ("annotations", "labels only"):
        if name == "labels only":
            truth["annotations"] = []
        evaluate(truth, [], report=True)
        options = ["--ground-truth", tmp_path / "gt.json", "--predictions", tmp_path / "scores.csv"]
        out = ["--out", tmp_path / "out", "--resamples", "5"]
        capsys.readouterr()
        assert main(["evaluate", *map(str, options + out)]) == 0
        told = capsys.readouterr()
        note = f"{tmp_path}/scores.csv: scores of 4 of 4 images, no boxes; read from columns file_name, score"
        assert told.err == f"mammodet evaluate: note: {note}\n"
        assert "COCO boxes" not in told.out and "FROC per" not in told.out
        assert "no COCO, FROC, lesion and error numbers; malignant from 0.5 on\n" in told.out
        assert max(map(len, told.out.splitlines()[:-3])) <= 100
        assert f"subgroups: {tmp_path / 'out' / 'image_subgroups.csv'}" in told.out
        document = metrics(tmp_path)
        assert document["image"]["confusion"]["counts"] == [[2, 1], [0, 1]]
        assert document["image"]["auc"] == document["breast"]["auc"] == 1
        there = {path.name for path in (tmp_path / "out").iterdir()}
        # What the evaluation of boxes before it left is gone.
        assert not there & {"coco.csv", "froc.csv", "froc.png", "errors.csv", "lesion.csv", "subgroups.csv"}
        assert {"image.csv", "breast.csv", "table2.tex", "roc.png", "report.html"} <= there
    assert main(["evaluate", *map(str, options + out), "--score-threshold", "0.3", "--no-report"]) == 0
    assert metrics(tmp_path)["image"]["confusion"]["counts"] == [[1, 2], [0, 1]]
    assert metrics(tmp_path)["protocol"]["image_threshold"] == 0.3
    first = (tmp_path / "out" / "metrics.json").read_bytes()
    assert main(["evaluate", "--config", str(tmp_path / "out" / "config.yaml")]) == 0
    assert (tmp_path / "out" / "metrics.json").read_bytes() == first


def test_scores_of_images_become_probabilities(evaluate, truth, predictions, tmp_path, capsys):
    (tmp_path / "scores.csv").write_text(SCORES)
    evaluate(truth, predictions, "--fit-calibration", str(tmp_path / "boxes.json"))
    files = ["--ground-truth", tmp_path / "gt.json", "--predictions", tmp_path / "scores.csv"]
    words = ["evaluate", *map(str, files), "--out", str(tmp_path / "out"), "--resamples", "5", "--no-report"]
    assert main([*words, "--fit-calibration", str(tmp_path / "images.json")]) == 0
    kept = json.loads((tmp_path / "images.json").read_text())["protocol"]
    assert (kept["scores_of"], kept["score_threshold"]) == ("images", 0.5)
    capsys.readouterr()
    assert main([*words, "--calibration", str(tmp_path / "images.json")]) == 0
    assert "probabilities by platt" in capsys.readouterr().out
    assert metrics(tmp_path)["calibrated"]["levels"]["image"]["cases"] == 4
    assert main([*words, "--calibration", str(tmp_path / "boxes.json")]) == 2
    assert (
        "boxes.json: was fitted on scores of boxes, the scores here are of images" in capsys.readouterr().err
    )
    assert evaluate(truth, predictions, "--calibration", str(tmp_path / "images.json")) == 2
    assert "was fitted on scores of images, the scores here are of boxes" in capsys.readouterr().err
    assert main([*words, "--fit-fusion", str(tmp_path / "rule.json")]) == 2
    assert "--fit-fusion: is of boxes, and " in capsys.readouterr().err
    assert not (tmp_path / "rule.json").exists()


def test_a_detector_and_a_classifier_are_compared(evaluate, truth, predictions, tmp_path, capsys):
    (tmp_path / "scores.csv").write_text(SCORES.replace("file_name", "fn"))
    options = ["--columns", "image=fn", "--resamples", "5"]
    assert evaluate(truth, predictions, "--compare", str(tmp_path / "scores.csv"), *options) == 0
    with (tmp_path / "out" / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["level"] for row in rows} == {"image", "breast", "patient"}
    (accuracy, *_) = [row for row in rows if (row["level"], row["number"]) == ("image", "accuracy")]
    assert (float(accuracy["other"]), float(accuracy["this"])) == (0.75, 1)
    # Without a table the option is for nothing.
    assert evaluate(truth, predictions, "--compare", str(tmp_path / "dt.json"), *options) == 2
    assert "--columns: are for tables only" in capsys.readouterr().err


def test_scores_become_probabilities_by_what_was_fitted_on_other_data(evaluate, tmp_path, capsys):
    path = tmp_path / "probabilities.json"
    assert evaluate(*screened(), "--fit-calibration", str(path), "--resamples", "0") == 0
    told = capsys.readouterr()
    assert f"score calibration (platt) of image, breast, patient: {path}" in told.out
    assert "image: platt rests on 13 positive of 40 cases; with fewer than 20 of a class" in told.err
    content = json.loads(path.read_text())
    assert (content["kind"], content["levels"]["image"]["cases"]) == ("platt", 40)
    assert content["inputs"]["ground_truth"]["path"] == str(tmp_path / "gt.json")
    assert "calibrated" not in metrics(tmp_path)
    assert evaluate(*screened(60), "--calibration", str(path), "--resamples", "50", report=True) == 0
    told = capsys.readouterr()
    assert "probabilities by platt" in told.out and told.err == ""
    numbers = metrics(tmp_path)["calibrated"]["levels"]["image"]["numbers"]
    assert numbers["ece"]["calibrated"] < numbers["ece"]["raw"]
    assert (tmp_path / "out" / "reliability_calibrated.png").is_file()
    table = rows(tmp_path / "out" / "calibrated.csv")
    assert {row["number"] for row in table} == {"ece", "brier", "auc"}
    images = rows(tmp_path / "out" / "images.csv")
    missing = {row["probability"] for row in images if row["score"] == "0.0"}
    assert len(missing) == 1 and float(missing.pop()) < 0.3
    assert evaluate(*screened(60), "--resamples", "0") == 0
    assert not (tmp_path / "out" / "calibrated.csv").exists()
    assert not (tmp_path / "out" / "reliability_calibrated.svg").exists()


def test_the_kind_of_the_map_is_chosen_and_its_own_data_warned_about(evaluate, tmp_path, capsys):
    path = tmp_path / "probabilities.json"
    options = ["--fit-calibration", str(path), "--calibration-kind", "isotonic", "--resamples", "0"]
    assert evaluate(*screened(60), *options) == 0
    assert "score calibration (isotonic)" in capsys.readouterr().out
    assert json.loads(path.read_text())["kind"] == "isotonic"
    assert evaluate(*screened(60), "--calibration", str(path), "--resamples", "0") == 0
    told = capsys.readouterr()
    assert "probabilities by isotonic" in told.out
    assert "was fitted on this very ground truth" in told.err


def test_calibration_options_that_cannot_work_are_one_line(evaluate, truth, predictions, tmp_path, capsys):
    path = tmp_path / "probabilities.json"
    assert evaluate(truth, predictions, "--calibration", str(path), "--fit-calibration", str(path)) == 2
    assert "cannot go with --fit-calibration" in capsys.readouterr().err
    path.write_text("{}")
    assert evaluate(truth, predictions, "--calibration", str(path)) == 2
    assert "no score calibration of this version" in capsys.readouterr().err
    one_class = {**truth, "images": [{**one, "label": "benign"} for one in truth["images"]]}
    assert evaluate(one_class, predictions, "--fit-calibration", str(path)) == 2
    assert "needs both classes, there are 0 positive of 4 cases" in capsys.readouterr().err
    other = {**truth, "categories": [{"id": 1, "name": "mass"}, {"id": 2, "name": "cyst"}]}
    assert evaluate(other, predictions, "--fit-calibration", str(path)) == 2
    assert "no score calibration can be fitted" in capsys.readouterr().err
    assert evaluate(*screened(), "--fit-calibration", str(path), "--resamples", "0") == 0
    capsys.readouterr()
    for option, value in (("--score-threshold", "0.2"), ("--suppression-iou", "0.4")):
        assert evaluate(*screened(), "--calibration", str(path), option, value) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and f"the scores here have {value}" in told


def viewer_images(tmp_path):
    page = (tmp_path / "out" / "report.html").read_text()
    found = re.search(r'<script type="application/json" id="viewer-data">(.*?)</script>', page)
    return json.loads(found[1])["images"]


def test_the_report_has_the_pictures_that_can_be_read(evaluate, truth, predictions, tmp_path):
    (tmp_path / "films").mkdir()
    for number in (1, 3):
        cv2.imwrite(str(tmp_path / "films" / f"{number}.png"), np.eye(500, dtype=np.uint8) * 200)
    where = ["--image-root", str(tmp_path / "films"), "--resamples", "0"]
    assert evaluate(truth, predictions, *where, report=True) == 0
    assert [bool(image.get("levels")) for image in viewer_images(tmp_path)] == [True, False, True, False]
    assert evaluate(truth, predictions, *where, "--images", "errors", report=True) == 0
    assert not any("levels" in image or "problem" in image for image in viewer_images(tmp_path))
    assert evaluate(truth, predictions, *where, "--images", "1", report=True) == 0
    assert sum("levels" in image for image in viewer_images(tmp_path)) == 1
    assert metrics(tmp_path)["detection_at_threshold"]["rows"][0]["sensitivity"] == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--images", "some"], "images"),
        (["--images", "all"], "--no-report leaves out"),
        (["--image-root", "/nowhere/at/all"], "--image-root: no such folder"),
    ],
)
def test_a_wrong_choice_of_images_is_refused(evaluate, truth, predictions, tmp_path, capsys, options, told):
    assert evaluate(truth, predictions, *options) == 2
    line = capsys.readouterr().err
    assert told in line and "Traceback" not in line
    assert not (tmp_path / "out").exists()
