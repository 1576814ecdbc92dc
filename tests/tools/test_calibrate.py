"""Calibration from the command line: a model file that runs in int8, and what that costs."""

import shutil
from pathlib import Path

import pydicom
import pytest

from mammodet.datasets.coco import Coco, read_coco, read_results, write_coco
from mammodet.detection.model_file import read_header
from mammodet.detection.quantised import has_exact_int8, int8_problem
from mammodet.networks.tensor_file import read_tensors
from mammodet.tools import cli

# Scores in int8 can only be looked at where int8 is not refused.
computes_int8 = pytest.mark.skipif(not has_exact_int8(), reason=f"no exact int8 here: {int8_problem()}")


def _calibrate(*words: object) -> int:
    return cli.main(["calibrate", *map(str, words)])


@computes_int8
def test_the_new_file_has_the_same_weights_and_scores_in_int8(
    phantom: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    coco, model, out = phantom / "coco.json", trained / "model.safetensors", tmp_path / "int8.safetensors"
    assert _calibrate(coco, "--model", model, "--out", out, "--images", 3) == 0
    printed = capsys.readouterr().out
    assert "calibrated on 3 images" in printed and "on 5 other images" in printed and "AP50" in printed
    before, after = read_tensors(model), read_tensors(out)
    assert before.keys() == after.keys() and all(before[name].equal(after[name]) for name in before)
    header = read_header(out)
    assert header.calibration["images"] == 3 and "layer1.0.conv1" in header.calibration["ranges"]
    for precision in ("int8", "fp32"):
        scores = tmp_path / precision
        words = [
            "score",
            coco,
            "--model",
            out,
            "--out",
            scores,
            "--precision",
            precision,
            "--overlays",
            "none",
        ]
        assert cli.main([str(word) for word in words]) == 0
        assert read_results(scores / "predictions.json", read_coco(coco)) is not None


@computes_int8
def test_what_was_calibrated_on_is_not_compared_whichever_file_names_it(
    phantom: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    coco, model, out = phantom / "coco.json", trained / "model.safetensors", tmp_path / "int8.safetensors"
    # The same images under other ids, in another folder, some of them known by their UID alone.
    content = read_coco(coco)
    copied = tmp_path / "copied"
    images = []
    for number, image in enumerate(content.images):
        path = content.image_path(image)
        if number < 4:
            copied.mkdir(exist_ok=True)
            path = shutil.copy(path, copied / f"{number}.dcm")
        images.append({**image, "id": 100 + number, "file_name": str(Path(path).absolute())})
    check = write_coco(Coco(images, [], tmp_path / "check.json"))
    assert _calibrate(coco, "--model", model, "--out", out, "--images", 6, "--check", check) == 0
    printed = capsys.readouterr().out
    assert f"6 images of {check} left out: calibrated on them" in printed and "on 2 other images" in printed
    assert _calibrate(coco, "--model", model, "--out", out, "--check", coco, "--check-images", 2) == 0
    printed = capsys.readouterr().out
    assert "no image is left to compare" in printed and "other images\n" not in printed


@computes_int8
def test_the_comparison_may_be_limited_or_left_out(
    phantom: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    coco, model, out = phantom / "coco.json", trained / "model.safetensors", tmp_path / "int8.safetensors"
    assert _calibrate(coco, "--model", model, "--out", out, "--images", 1, "--check-images", 2) == 0
    assert "on 2 other images" in capsys.readouterr().out
    assert _calibrate(coco, "--model", model, "--out", out) == 0
    assert "no image is left to compare" in capsys.readouterr().out
    assert _calibrate(coco, "--model", model, "--out", out, "--images", 1, "--check-images", 0) == 0
    assert "other images" not in capsys.readouterr().out


def test_a_machine_without_int8_calibrates_and_says_first_that_it_compares_nothing(
    phantom: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
):
    monkeypatch.setattr("mammodet.detection.quantised.has_exact_int8", lambda: False)
    coco, model, out = phantom / "coco.json", trained / "model.safetensors", tmp_path / "int8.safetensors"
    assert _calibrate(coco, "--model", model, "--out", out, "--images", 1) == 0
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert (
        "VNNI" in first and "not compared here" in first and second.startswith("calibrated on 1") and not rest
    )
    assert read_header(out).calibration["images"] == 1


def test_raw_images_are_calibrated_on_when_they_are_allowed(
    phantom: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    content = read_coco(phantom / "coco.json")
    raw = pydicom.dcmread(content.image_path(content.images[0]))
    raw.PresentationIntentType = "FOR PROCESSING"
    raw.save_as(tmp_path / "raw.dcm")
    coco = write_coco(Coco([{**content.images[0], "file_name": "raw.dcm"}], [], tmp_path / "coco.json"))
    words = [coco, "--model", trained / "model.safetensors", "--out", tmp_path / "int8.safetensors"]
    assert _calibrate(*words) == 2
    assert "allow_for_processing" in capsys.readouterr().err
    assert _calibrate(*words, "--allow-for-processing") == 0
    assert "calibrated on 1 images" in capsys.readouterr().out
    assert not read_header(tmp_path / "int8.safetensors").recipe.allow_for_processing


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "0"], "--images"),
        (["--check-images", "-1"], "--check-images"),
        (["--out", "model.pt"], "safetensors"),
        (["--model", "nothing.safetensors"], "no such model file"),
    ],
)
def test_bad_options_are_one_line(phantom: Path, trained: Path, capsys, words, message):
    given = {"--model": str(trained / "model.safetensors"), "--out": "never.safetensors"}
    given |= {words[0]: words[1]}
    flat = [word for pair in given.items() for word in pair]
    assert _calibrate(phantom / "coco.json", *flat) == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]


@computes_int8
def test_a_model_without_calibration_is_refused_in_int8(phantom: Path, trained: Path, tmp_path: Path, capsys):
    words = [
        "score",
        phantom,
        "--model",
        trained / "model.safetensors",
        "--out",
        tmp_path,
        "--precision",
        "int8",
    ]
    assert cli.main([str(word) for word in words]) == 2
    assert "mammodet calibrate" in capsys.readouterr().err
