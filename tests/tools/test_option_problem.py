"""A value of the wrong type is told as people type options, with the way to write a list."""

import pytest

from mammodet.tools.cli import main

FILES = ["evaluate", "--ground-truth", "a", "--predictions", "b", "--out", "c"]
TRAIN = ["train-det", "--train", "a", "--out", "b"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([*FILES, "--iou-thresholds", "0.5"], "--iou-thresholds '[0.5]'"),
        ([*FILES, "--iou-thresholds", "0.1, 0.2"], "must be a list (found 0.1, 0.2); write it as"),
        ([*FILES, "--iou-thresholds", "0.1, 0.2"], "--iou-thresholds '[0.1, 0.2]'"),
        ([*FILES, "--iou-thresholds", "null"], "--iou-thresholds '[...]'"),
        ([*FILES, "--max-dets", "[1.5]"], "--max-dets: must be a whole number (found 1.5)"),
        ([*FILES, "--score-threshold", "nan"], "--score-threshold: must be a number or null (found nan)"),
        ([*FILES, "--score-threshold", "much"], "--score-threshold: must be a number or null (found much)"),
        ([*FILES, "--scores", "odds"], "--scores: must be one of unit, percent, logit (found odds)"),
        ([*FILES, "--categories", "foo"], "--categories: must be NAME=VALUE pairs (found foo)"),
        ([*FILES, "--class-aware=maybe"], "--class-aware: must be true or false (found maybe)"),
        ([*FILES, "--no-such-option", "1"], "unrecognized arguments: --no-such-option 1"),
        ([*TRAIN, "--max-steps", "x"], "--max-steps: must be a whole number or null (found x)"),
        ([*TRAIN, "--optim.lr", "fast"], "--optim.lr: must be a number (found fast)"),
    ],
)
def test_a_bad_value_names_option_kind_value_and_remedy(argv, told, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert "Parser key" not in error and "<class" not in error


def test_what_the_remedy_says_is_read(capsys):
    assert main([*FILES, "--iou-thresholds", "[0.1, 0.2]"]) == 2
    assert "a: no such file" in capsys.readouterr().err


def test_a_large_file_given_as_a_recipe_is_not_printed(tmp_path, capsys):
    path = tmp_path / "dt.json"
    path.write_text("[" + ", ".join(["1"] * 100_000) + "]")
    assert main([*FILES, "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error and len(error) < 1000
