"""Calibration from the command line: a model file that runs in int8, and what that costs."""

from pathlib import Path

import pytest

from mammodet.datasets.coco import read_coco, read_results
from mammodet.detection.model_file import read_header, read_tensors
from mammodet.tools import cli


def _calibrate(*words: object) -> int:
    return cli.main(["calibrate", *map(str, words)])


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


def test_images_of_another_file_may_be_compared_or_none(
    phantom: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    coco, model, out = phantom / "coco.json", trained / "model.safetensors", tmp_path / "int8.safetensors"
    assert _calibrate(coco, "--model", model, "--out", out, "--check", coco, "--check-images", 2) == 0
    assert "on 2 other images" in capsys.readouterr().out
    assert _calibrate(coco, "--model", model, "--out", out) == 0
    assert "no image is left to compare" in capsys.readouterr().out
    assert _calibrate(coco, "--model", model, "--out", out, "--images", 1, "--check-images", 0) == 0
    assert "other images" not in capsys.readouterr().out


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
