"""``mammodet compare``: the numbers of ``mammodet evaluate``, its names and files, one line for bad input."""

import csv
import json

import pytest
import yaml

from mammodet.tools.cli import main
from mammodet.tools.compare import model_names

PROFILE = [{"id": 1, "name": "benign"}, {"id": 2, "name": "malignant"}]
BOX = [10, 10, 80, 80]


@pytest.fixture
def work(tmp_path):
    """Write a ground truth of four patients and two files of predictions."""
    labels = ["malignant", "malignant", "benign", "normal"]
    images = [
        {"id": n, "file_name": f"{n}.png", "width": 500, "height": 500, "label": label, "patient_id": str(n)}
        for n, label in enumerate(labels, start=1)
    ]
    annotations = [
        {"id": n, "image_id": n, "category_id": category, "bbox": BOX, "area": 6400, "iscrowd": 0}
        for n, category in ((1, 2), (2, 2), (3, 1))
    ]
    write(tmp_path / "gt.json", {"images": images, "annotations": annotations, "categories": PROFILE})
    write(tmp_path / "new.json", [result(1, 2, 0.9), result(2, 2, 0.8), result(3, 1, 0.7)])
    write(tmp_path / "old.json", [result(1, 2, 0.6), result(3, 2, 0.5)])
    return tmp_path


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def result(image, category, score, box=BOX):
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def compare(work, *words):
    names = [str(work / word) if word.endswith(".json") else word for word in words]
    truth = ["--ground-truth", str(work / "gt.json"), "--resamples", "50"]
    return main(["compare", *names, *truth, "--out", str(work / "out")])


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_two_models(work, capsys):
    assert compare(work, "new.json", "old.json") == 0
    told = capsys.readouterr()
    assert told.err == "" and "old and new disagree on 2 images and 2 lesions" in told.out
    assert "could not be read" in told.out and "file not there" in told.out
    assert f"report: {work / 'out' / 'compare.html'}" in told.out
    assert max(map(len, told.out.splitlines()[:-3])) <= 100
    assert {path.name for path in (work / "out").iterdir()} == {
        *("comparison.json", "compare.html", "config.yaml"),
        *("summary.csv", "models.csv", "comparison.csv", "disagreements.csv"),
        *(f"compare_{one}.{kind}" for one in ("roc", "froc", "differences") for kind in ("png", "svg")),
    }
    document = json.loads((work / "out" / "comparison.json").read_text())
    assert [one["name"] for one in document["inputs"]["predictions"]] == ["new", "old"]
    assert all(len(one["sha256"]) == 64 for one in document["inputs"]["predictions"])


def test_the_numbers_are_those_of_evaluate(work):
    assert compare(work, "old.json", "new.json", "--score-threshold", "0.55") == 0
    words = ["--ground-truth", work / "gt.json", "--predictions", work / "new.json", "--resamples", 50]
    words += ["--compare", work / "old.json", "--score-threshold", 0.55, "--out", work / "alone"]
    assert main(["evaluate", *map(str, words)]) == 0
    ours, theirs = rows(work / "out" / "comparison.csv"), rows(work / "alone" / "comparison.csv")
    assert [{**row, "model": "new", "first": row["other"]} for row in theirs] == [
        {**row, "other": row["first"]} for row in ours
    ]
    metrics = json.loads((work / "alone" / "metrics.json").read_text())
    document = json.loads((work / "out" / "comparison.json").read_text())
    assert document["protocol"] == metrics["protocol"] and document["bootstrap"] == metrics["bootstrap"]
    numbers = {(row["level"], row["number"]): row["new"] for row in rows(work / "out" / "models.csv")}
    shared = [row for row in rows(work / "alone" / "intervals.csv") if row["interval"] == "bootstrap"]
    assert len(shared) > 50
    for row in shared:
        assert numbers[row["level"], row["number"]] == row["value"]


def test_the_same_file_twice_is_allowed_with_a_warning(work, capsys):
    assert compare(work, "new.json", "new.json") == 0
    told = capsys.readouterr()
    assert "new.json holds the same predictions as" in told.err
    differences = {row["difference"] for row in rows(work / "out" / "comparison.csv")}
    assert differences <= {"0.0", "n/a"} and "0.0" in differences
    assert rows(work / "out" / "disagreements.csv") == []
    assert "the models answer alike" in (work / "out" / "compare.html").read_text()


def test_the_configuration_repeats_the_run(work):
    assert compare(work, "new.json", "old.json", "--names", "A", "B", "--hit-rules", "overlap") == 0
    config = work / "out" / "config.yaml"
    written = yaml.safe_load(config.read_text())
    assert (written["names"], written["hit_rules"], written["resamples"]) == (["A", "B"], ["overlap"], 50)
    assert not {"predictions_path", "compare", "fusion", "fit_fusion"} & set(written)
    before = (work / "out" / "comparison.json").read_bytes()
    assert main(["compare", *written["predictions"], "--config", str(config)]) == 0
    assert (work / "out" / "comparison.json").read_bytes() == before


def test_models_are_named_after_their_files():
    assert model_names(["a/new.json", "b/old.csv"]) == ["new", "old"]
    assert model_names(["a/dt.json", "b/dt.json"]) == ["a/dt", "b/dt"]
    assert model_names(["a/dt.json", "a/dt.json", "c.json"]) == ["a/dt (1)", "a/dt (2)", "c"]
    assert model_names(["x\udcff.json", "y.json"]) == ["x\\udcff", "y"]


def test_tables_are_read_by_the_same_options(work):
    for name, text in (("new.csv", "1,0.9,10,10,90,90,M\n3,0.8,10,10,90,90,B\n"), ("old.csv", "")):
        (work / name).write_text("image,p,x0,y0,x1,y1,kind\n" + text)
    words = [str(work / "new.csv"), str(work / "old.csv")]
    options = ["--columns", "score=p", "category=kind", "--categories", "benign=B", "malignant=M"]
    assert compare(work, *words, *options, "--cases", "0") == 0
    numbers = {(row["level"], row["number"]): row for row in rows(work / "out" / "models.csv")}
    assert float(numbers["coco", "benign AP50"]["new"]) == pytest.approx(1)
    assert float(numbers["coco", "benign AP50"]["old"]) == 0


def test_detectors_and_classifiers_stand_in_one_table(work, capsys):
    (work / "scores.csv").write_text("image_id,score,kind\n1,0.9,a\n2,0.3,a\n3,0.2,b\n4,0.6,b\n")
    names = ["--names", "new", "classifier", "old"]
    files = ["new.json", str(work / "scores.csv"), "old.json"]
    for words in ((*files, *names), (files[1], files[0], files[2])):
        assert compare(work, *words) == 0
    told = capsys.readouterr()
    assert told.err.count("scores of 4 of 4 images, no boxes") == 2
    assert "- classifier: scores of images, malignant from 0.5 on; without boxes no number" in told.out
    assert "classifier and new disagree on 2 images\n" in told.out
    assert "old and new disagree on 2 images and 2 lesions" in told.out
    (row,) = [line for line in told.out.splitlines() if line.startswith("classifier  ")]
    assert row.split()[1:3] == ["-", "-"] and row.split()[-1] == "-"
    document = json.loads((work / "out" / "comparison.json").read_text())
    assert [one["without_boxes"] is None for one in document["models"]] == [False, True, True]
    levels = {row["level"] for row in document["differences"]}
    assert levels == {"image", "breast", "patient"}  # to the first model, which has no boxes
    by_model = {one["name"]: {number["level"] for number in one["numbers"]} for one in document["models"]}
    assert by_model["scores"] == levels and {"coco", "lesion_all"} < by_model["new"]
    assert {"scores of images", "detection", "boxes", "lesion"} <= set(document["protocol"]["rules"])
    page = (work / "out" / "compare.html").read_text()
    assert page.count("without boxes no number of boxes and lesions") == 1
    assert "<td>–</td>" in page
    summary = {row["model"]: row for row in rows(work / "out" / "summary.csv")}
    assert summary["scores"]["AP50"] == summary["scores"]["Accuracy lesions"] == "n/a"
    assert float(summary["scores"]["AUC images"]) == 0.75


def test_classifiers_alone(work, capsys):
    for name in ("a", "b"):
        (work / f"{name}.csv").write_text("image,score\n1,0.9\n2,0.3\n3,0.2\n4,0.6\n")
    assert compare(work, str(work / "a.csv"), str(work / "b.csv")) == 0
    told = capsys.readouterr().out
    assert "a, b: scores of images, malignant from 0.5 on" in told and "AP50" not in told
    assert not (work / "out" / "compare_froc.png").exists()
    assert 'id="boxes"' not in (work / "out" / "compare.html").read_text()


BAD = {
    "one model": (["new.json"], "new.json: is the only file of predictions; give those of another model"),
    "no such file": (["new.json", "no.json"], "no.json: no such file"),
    "another image": (["new.json", "image.json"], "image.json: results[0].image_id"),
    "another category": (["new.json", "category.json"], "category.json: results[0].category_id"),
    "too few names": (
        ["new.json", "old.json", "--names", "a"],
        "--names: must be as many as the predictions, 2",
    ),
    "one name": (["new.json", "old.json", "--names", "a", "a"], "names: is there twice (found 'a')"),
    "cases": (["new.json", "old.json", "--cases", "-1"], "--cases: must not be negative"),
    "protocol": (["new.json", "old.json", "--score-threshold", "2"], "score_threshold: must be from 0 to 1"),
    "hit rule": (["new.json", "old.json", "--hit-rules", "iou"], "hit_rules: is no hit rule (found 'iou')"),
    "an option of evaluate": (["new.json", "old.json", "--fit-fusion", "f"], "--fit-fusion"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(work, capsys, name):
    write(work / "image.json", [result(99, 2, 0.5)])
    write(work / "category.json", [result(1, 7, 0.5)])
    words, problem = BAD[name]
    assert compare(work, *words) == 2
    told = capsys.readouterr().err
    assert told.startswith("mammodet compare: error: ") and len(told.splitlines()) == 1
    assert problem in told
    assert not (work / "out").exists()


def test_nothing_is_removed_when_a_name_cannot_be_a_column(work, capsys):
    assert compare(work, "new.json", "old.json") == 0
    before = (work / "out" / "comparison.json").read_bytes()
    assert compare(work, "new.json", "old.json", "--names", "a", "a low") == 2
    assert "names two columns" in capsys.readouterr().err
    assert (work / "out" / "comparison.json").read_bytes() == before
