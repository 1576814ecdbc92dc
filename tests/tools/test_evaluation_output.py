"""An evaluation that cannot be written is refused before the work, and an interrupted one loses nothing."""

import json
import os
import subprocess
import sys

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

    def run(*options, out="out", dt="dt.json"):
        files = ["--ground-truth", tmp_path / "gt.json", "--predictions", tmp_path / dt]
        fast = ["--resamples", "0", "--error-images", "0"]
        return main(["evaluate", *map(str, files), "--out", str(tmp_path / out), *fast, *map(str, options)])

    return run


def content(folder):
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def test_an_interrupted_evaluation_leaves_the_earlier_results_as_they_were(evaluate, tmp_path, monkeypatch):
    assert evaluate("--compare", tmp_path / "dt.json") == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    before = content(tmp_path / "out")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report, "render", interrupted)
        assert evaluate("--score-threshold", "0.95") == 130
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
    with pytest.raises(InputError, match="--out: cannot be written"):
        check_outputs(tmp_path / "a" / "b", {}, {})


def test_folders_of_results_replace_earlier_folders(tmp_path):
    for name in ("old", "new"):
        with new_results(tmp_path, lambda out: None, {}) as folder:
            (folder / "pictures").mkdir()
            (folder / "pictures" / f"{name}.png").write_text(name)
    assert [one.name for one in (tmp_path / "pictures").iterdir()] == ["new.png"]


def test_a_model_compared_with_itself_is_told(evaluate, tmp_path, capsys):
    assert evaluate("--compare", tmp_path / "dt.json") == 0
    assert "is compared with itself: all differences are 0" in capsys.readouterr().err


def test_names_that_utf_8_has_not_are_written_escaped(evaluate, tmp_path):
    """As Python reads file names of other encodings from a disk."""
    assert evaluate(out="first") == 0
    text = (tmp_path / "gt.json").read_text().replace("1.png", "caf\\udce9.png")
    (tmp_path / "gt.json").write_text(text)
    assert main(_words(tmp_path)) == 0
    assert "caf\\udce9.png" in (tmp_path / "odd" / "images.csv").read_text(encoding="utf-8")


def _words(folder):
    files = [
        "--ground-truth",
        folder / "gt.json",
        "--predictions",
        folder / "dt.json",
        "--out",
        folder / "odd",
    ]
    return ["evaluate", *map(str, files), "--resamples", "0", "--error-images", "5"]


def test_what_a_killed_evaluation_left_is_removed_but_not_what_another_is_writing(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    killed, at_work = (tmp_path / f".new.{number}.part" for number in (ended.pid, os.getppid()))
    for folder in (killed, at_work):
        folder.mkdir()
        (folder / "metrics.json").write_text("{}")
    with new_results(tmp_path, report.remove_report, {}) as folder:
        (folder / "metrics.json").write_text("[]")
    assert not killed.exists() and at_work.exists()
    assert (tmp_path / "metrics.json").read_text() == "[]"
