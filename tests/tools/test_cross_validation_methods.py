"""What differs between a cross-validation of detectors and one of classifiers."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.detection.model import DetectorConfig
from mammodet.detection.model_file import ModelHeader, fingerprint, write_model
from mammodet.evaluation.predictions import ImageScores, read_predictions
from mammodet.tools import cli
from mammodet.tools.command import early_option
from mammodet.tools.cross_validation_folds import Fold
from mammodet.tools.cross_validation_methods import (
    METHODS,
    check_weight_files,
    check_weights,
    weights_of_fold,
)


def _scores(folder: Path, ids: list[int], known: Mapping[int, str] = {}) -> Path:
    folder.mkdir(parents=True)
    with (folder / "scores.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_id", "truth", "score"])
        writer.writerows([one, known.get(one, "malignant"), 0.1 + one / 100] for one in ids)
    return folder


@pytest.fixture
def coco(phantom: Path) -> Coco:
    return read_coco(phantom / "coco.json")


def test_an_unread_image_is_left_out_of_what_scores_are_held_against(coco: Coco, tmp_path: Path):
    method, ids = METHODS["train-cls"], sorted(coco.image_by_id)
    whole = _scores(tmp_path / "whole", ids)
    assert method.judged(coco, whole) == (coco.path, whole / "scores.csv") and method.scored(whole) == len(
        ids
    )
    part = _scores(tmp_path / "part", ids[1:])
    images, results = method.judged(coco, part)
    judged = read_coco(images)
    assert sorted(judged.image_by_id) == ids[1:] and method.scored(part) == len(ids) - 1
    assert all(judged.image_path(image).is_file() for image in judged.images)  # from where it lies now
    scores = read_predictions(results, judged)
    assert isinstance(scores, ImageScores) and sorted(scores.of_image) == ids[1:]


def test_images_of_classes_that_the_task_does_not_know_are_no_negatives(coco: Coco, tmp_path: Path):
    method, (first, second, *rest) = METHODS["train-cls"], sorted(coco.image_by_id)
    images = [{**one, "label": None} if one["id"] == second else one for one in coco.images]
    annotations = [one for one in coco.annotations if one["image_id"] != second]
    unlabelled = replace(coco, images=images, annotations=annotations)
    scores = _scores(tmp_path / "scores", [first, second, *rest], {first: "", second: ""})
    images, results = method.judged(unlabelled, scores)
    judged = read_coco(images)
    assert sorted(judged.image_by_id) == [second, *rest]  # nobody says what the second one is
    found = read_predictions(results, judged)
    assert isinstance(found, ImageScores) and sorted(found.of_image) == [second, *rest]


def test_pooled_scores_are_those_of_all_folds(coco: Coco, tmp_path: Path):
    method, ids = METHODS["train-cls"], sorted(coco.image_by_id)
    folders = [_scores(tmp_path / str(part), ids[part::3]) for part in range(3)]
    method.pool(folders, tmp_path)
    scores = read_predictions(tmp_path / "scores.csv", coco)
    assert isinstance(scores, ImageScores)
    assert dict(scores.of_image) == {one: pytest.approx(0.1 + one / 100) for one in ids}


def test_the_model_of_a_fold_must_have_seen_the_images_of_that_fold(coco: Coco, tmp_path: Path):
    fold = Fold(1, tmp_path / "fold_1", coco.path, None, coco.path)
    weights = str(tmp_path / "det_{fold}.safetensors")
    assert weights_of_fold(weights, fold) == str(tmp_path / "det_1.safetensors")
    with pytest.raises(InputError, match=r"det_1.*no such file"):
        check_weight_files(weights, [fold])
    header = ModelHeader(DetectorConfig(), Recipe(), fingerprint(coco))
    write_model(tmp_path / "det_1.safetensors", {"a": torch.zeros(1)}, header)
    check_weight_files(weights, [fold])
    assert check_weights(weights, [fold]) is None
    few = coco.subset(list(coco.image_by_id)[1:], coco.path)
    header = ModelHeader(DetectorConfig(), Recipe(), fingerprint(few))
    write_model(tmp_path / "det_1.safetensors", {"a": torch.zeros(1)}, header)
    with pytest.raises(InputError, match="other images than those of fold 1"):
        check_weights(weights, [fold])
    told = check_weights(str(tmp_path / "det_1.safetensors"), [fold])
    assert told is not None and "the numbers are too good" in told
    assert check_weights("run/checkpoints/last.ckpt", [fold]) is not None
    assert check_weights("imagenet", [fold]) is None and check_weights("resnet18.pth", [fold]) is None
    assert check_weights("run/checkpoints/last.ckpt", []) is None  # all are trained


@pytest.mark.parametrize("words", [["--method", "train-cls"], ["--method=train-cls"], ["--config", "a.yaml"]])
def test_the_option_that_decides_the_others_is_found_wherever_it_stands(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("method: train-cls\n")
    (tmp_path / "b.yaml").write_text("- no\n- mapping\n")
    (tmp_path / "c.yaml").write_text("method: [unclosed\n")
    (tmp_path / "d.yaml").write_text("out: 2024-13-01\n")  # no date, which yaml takes it for
    assert early_option(["coco.json", *words, "--out", "cv"], "method") == "train-cls"
    for other in ("b.yaml", "c.yaml", "d.yaml", "missing.yaml"):
        assert early_option([*words, "--config", other], "method") == "train-cls"
    assert early_option(["coco.json", "--out", "cv"], "method") is None
    assert early_option(["--config", "a.yaml", "--method", "train-det"], "method") == "train-det"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--task.positive", "other"], "--task.positive"),
        (["--trainer.devices", 2], "--trainer.devices"),
        (["--weights", "cv/fold_{fold}/train/model.safetensors"], "cv/fold_1/train/model.safetensors"),
        (["--train-split", "train"], "train"),
        (["--sampling.negatives", 1], "sampling"),
        (["--method", "score"], "method"),
        (["--suppression-iou", 0.4], "--suppression-iou"),
    ],
)
def test_bad_options_of_classifiers_are_one_line(
    more: list[object], told: str, phantom: Path, cls_recipe: Path, tmp_path: Path, capfd
):
    words = [
        phantom / "coco.json",
        "--out",
        tmp_path / "cv",
        "--config",
        cls_recipe,
        "--pixels",
        "false",
        *more,
    ]
    assert cli.main(["cross-validate", *map(str, words)]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and told in error
    assert not (tmp_path / "cv" / "fold_1").exists()


def test_a_method_that_only_the_parser_understands_is_refused(phantom: Path, tmp_path: Path, capfd):
    words = ["cross-validate", str(phantom / "coco.json"), "--out", str(tmp_path / "cv")]
    assert cli.main([*words, "--config", "{method: train-cls}"]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "--method train-cls on the command line" in error


def test_classifiers_of_lesions_are_trained_fold_by_fold(phantom: Path, tmp_path: Path, capfd):
    task = ["--task.source", "lesions", "--task.subtype", "ER", "--weights", "none"]
    words = [
        "cross-validate",
        str(phantom / "coco.json"),
        "--out",
        str(tmp_path / "cv"),
        "--method",
        "train-cls",
        *task,
    ]
    assert cli.main(words) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "--task.source" in error and "split --folds" in error
