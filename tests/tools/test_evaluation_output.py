"""An evaluation that cannot be written is refused before the work, and an interrupted one loses nothing."""

import json
import os
import subprocess
import sys
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from mammodet.datasets.errors import InputError
from mammodet.evaluation import report
from mammodet.tools.cli import main
from mammodet.tools.evaluation_output import check_outputs, new_results

FILES = {
    "gt.json": {
        "images": [
            {"id": n, "file_name": f"{n}.png", "width": 500, "height": 500, "label": label}
            for n, label in ((1, "malignant"), (2, "normal"))
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 10, 80, 80], "area": 6400, "iscrowd": 0}
        ],
        "categories": [{"id": 1, "name": "benign"}, {"id": 2, "name": "malignant"}],
    },
    "dt.json": [{"image_id": 1, "category_id": 2, "bbox": [10, 10, 80, 80], "score": 0.9}],
}


@pytest.fixture
def evaluate(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_text(json.dumps(content))

    def run(*options, out="out", dt="dt.json", report=False):
        files = ["--ground-truth", tmp_path / "gt.json", "--predictions", tmp_path / dt]
        fast = ["--resamples", "0", "--error-images", "0", "--report" if report else "--no-report"]
        return main(["evaluate", *map(str, files), "--out", str(tmp_path / out), *fast, *map(str, options)])

    return run


def content(folder):
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def test_an_interrupted_evaluation_leaves_the_earlier_results_as_they_were(evaluate, tmp_path, monkeypatch):
    assert evaluate("--compare", tmp_path / "dt.json", report=True) == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    before = content(tmp_path / "out")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report, "render", interrupted)
        assert evaluate("--score-threshold", "0.95", report=True) == 130
    assert content(tmp_path / "out") == before
    assert evaluate("--score-threshold", "0.95") == 0
    after = content(tmp_path / "out")
    assert after["notes.txt"] == b"mine"
    assert "comparison.csv" not in after and after["metrics.json"] != before["metrics.json"]
    assert not [name for name in after if name.startswith(".")]


def test_an_input_that_lies_in_the_folder_of_the_results_is_not_replaced(evaluate, tmp_path, capsys):
    rows = "image,x,y,w,h,score,label\n1,10,10,80,80,0.9,malignant\n"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lesions.csv").write_text(rows)
    assert evaluate(dt="out/lesions.csv") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "lesions.csv: --predictions: would be replaced by a result; give --out another folder" in told
    assert content(tmp_path / "out") == {"lesions.csv": rows.encode()}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fit-calibration", "dt.json"], "--fit-calibration: is the file of --predictions too"),
        (["--fit-fusion", "f.json", "--fit-calibration", "f.json"], "is the file of --fit-fusion too"),
        (["--fit-fusion", "."], "--fit-fusion: is a folder, not a file"),
        (["--fit-fusion", "gt.json/f.json"], "--fit-fusion: a folder is needed, but this is a file"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_the_work(
    evaluate, tmp_path, options, told, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert evaluate(*options) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert json.loads((tmp_path / "dt.json").read_text()) == FILES["dt.json"]


@pytest.mark.parametrize("out", ["dt.json", "dt.json/deeper"])
def test_a_file_where_the_folder_must_be(evaluate, out, capsys):
    assert evaluate(out=out) == 2
    error = capsys.readouterr().err
    assert "--out" in error and "is a file" in error and "dt.json" in error and error.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        check_outputs(tmp_path / "a" / "b", {}, {}, other="comparison.json")


def test_what_lies_in_a_folder_of_results_stays_if_it_is_somebody_elses(tmp_path):
    pictures = tmp_path / "report_images"
    pictures.mkdir()
    for name in ("000001_1.png", "000002_1.png", "mine.png"):
        (pictures / name).write_text("old")
    with new_results(tmp_path, report.earlier_report, {}) as folder:
        (folder / "report_images").mkdir()
        (folder / "report_images" / "000001_1.png").write_text("new")
    assert {one.name: one.read_text() for one in pictures.iterdir()} == {
        "000001_1.png": "new",
        "mine.png": "old",
    }


def test_an_input_among_earlier_results_is_neither_replaced_nor_removed(evaluate, tmp_path, capsys):
    assert evaluate() == 0
    taken = tmp_path / "out" / "lesions.csv"
    taken.write_text("image,score,category,x1,y1,x2,y2\n1,0.9,malignant,10,10,90,90\n")
    before = content(tmp_path / "out")
    foreign = FILES["gt.json"] | {"categories": [{"id": 2, "name": "malignant"}]}
    (tmp_path / "gt.json").write_text(json.dumps(foreign))
    assert evaluate(dt="out/lesions.csv") == 2
    assert "would be replaced by a result" in capsys.readouterr().err
    assert content(tmp_path / "out") == before


def test_a_folder_in_the_place_of_a_result_loses_nothing(evaluate, tmp_path, capsys):
    assert evaluate(report=True) == 0
    (tmp_path / "out" / "roc.png").unlink()
    (tmp_path / "out" / "roc.png").mkdir()
    before = sorted(one.name for one in (tmp_path / "out").iterdir())
    assert evaluate(report=True) == 2
    assert "stands where a result must be written" in capsys.readouterr().err
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == before


def test_what_is_fitted_does_not_lie_among_the_results(evaluate, tmp_path, capsys):
    assert evaluate("--fit-fusion", tmp_path / "out" / "metrics.json") == 2
    assert "--fit-fusion: lies among the results" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["comparison.json", "numbers.csv"])
def test_results_of_compare_and_classify_are_not_mixed_with_those_of_evaluate(
    name, evaluate, tmp_path, capsys
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("{}")
    assert evaluate() == 2
    assert "holds the results of another command" in capsys.readouterr().err


def test_a_model_compared_with_itself_is_told(evaluate, tmp_path, capsys):
    assert evaluate("--compare", tmp_path / "dt.json") == 0
    assert "is compared with itself: all differences are 0" in capsys.readouterr().err


def test_odd_names_are_written_escaped_and_draw_no_formula(evaluate, tmp_path):
    """As Python reads file names of other encodings from a disk, with half characters; and as tags may be."""
    images = [one | {"manufacturer": "GE\ud800\x08 $\\frac$"} for one in FILES["gt.json"]["images"]]
    images[0]["file_name"] = "caf\udce9.png"
    names = [{"id": 1, "name": "a $\\frac$ b"}, {"id": 2, "name": "_x\x08"}]
    odd = FILES["gt.json"] | {"images": images, "categories": names}
    (tmp_path / "gt.json").write_text(json.dumps(odd))
    cv2.imwrite(str(tmp_path / "there.png"), np.full((500, 500), 90, np.uint8))
    (tmp_path / "there.png").rename(tmp_path / "caf\udce9.png")
    boxes = [*FILES["dt.json"], {"image_id": 1, "category_id": 2, "bbox": [300, 300, 80, 80], "score": 0.8}]
    (tmp_path / "dt.json").write_text(json.dumps(boxes))
    assert evaluate("--class-aware", "true", "--error-images", "5", out="odd", report=True) == 0
    assert "caf\\udce9.png" in (tmp_path / "odd" / "errors.csv").read_text(encoding="utf-8")
    assert (tmp_path / "odd" / "gallery.png").is_file()
    for figure in (tmp_path / "odd").glob("*.svg"):
        ElementTree.parse(figure)


def test_what_a_killed_evaluation_left_is_removed_but_not_what_another_is_writing(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    killed, at_work = (tmp_path / f".new.{number}.part" for number in (ended.pid, os.getppid()))
    for folder in (killed, at_work):
        folder.mkdir()
        (folder / "metrics.json").write_text("{}")
    with new_results(tmp_path, report.earlier_report, {}) as folder:
        (folder / "metrics.json").write_text("[]")
    assert not killed.exists() and at_work.exists()
    assert (tmp_path / "metrics.json").read_text() == "[]"
