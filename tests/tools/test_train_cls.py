"""mammodet train-cls end to end: what a training leaves, that it goes on, and every error as one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mammodet.classification.model_file import load_classifier, read_header
from mammodet.networks.tensor_file import read_tensors
from mammodet.tools import cli
from mammodet.tools.classifier_training import Validation

SMALL = """
weights: none
epochs: 2
batch_size: 2
workers: 0
device: cpu
precision: fp32
optim: {optimizer: adamw, lr: 0.001, warmup_steps: 2, schedule: cosine}
"""
TWO = '{"other": ["normal", "benign"], "malignant": ["malignant"]}'
FRACTIONS = '{"train": 0.67, "val": 0.33}'
TASK1 = '{"normal": ["normal"], "suspicious": ["benign", "malignant"]}'


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the COCO file of a phantom whose steps take a fraction of a second."""
    out = tmp_path_factory.mktemp("tiny")
    options = "--patients 3 --seed 5 --height 144 --width 112 --spacing-mm 1 --lesion-rate 1 --workers 1"
    assert cli.main(["phantom", str(out), *options.split()]) == 0
    return out / "coco.json"


@pytest.fixture(scope="module")
def store(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of 32 px patches with the splits train and val."""
    folder = tmp_path_factory.mktemp("store")
    assert cli.main(["split", str(images), "--out", str(folder), "--fractions", FRACTIONS]) == 0
    for split in ("train", "val"):
        words = ["--kind", "pesapane", "--size", "32", "--split", split, "--all-findings", "--workers", "1"]
        coco = str(folder / f"{split}.json")
        assert cli.main(["patches", coco, "--out", str(folder / "patches.sqlite"), *words]) == 0
    return folder / "patches.sqlite"


def _train(*words: object) -> int:
    return cli.main(["train-cls", *map(str, words)])


def _one_line(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr().err.strip().splitlines()[-1].rpartition("\x1b[A")[2]  # behind a progress bar
    assert shown.startswith("mammodet train-cls: error: ")
    return shown


def test_whole_images_train_from_labels_alone(small: Path, images: Path, tmp_path: Path, capsys):
    content = json.loads(images.read_text())
    labels = tmp_path / "labels.json"
    labels.write_text(
        json.dumps({**content, "annotations": [], "info": {"root": str(images.parent.absolute())}})
    )
    out = tmp_path / "run"
    words = ["--config", small, "--train", labels, "--val", labels, "--out", out, "--task.classes", TWO]
    assert _train(*words) == 0
    told = capsys.readouterr().out
    assert "training: 12 images:" in told and "validation AUC" in told
    network, header = load_classifier(out / "model.safetensors")
    assert header.task.source == "images" and header.task.score_class == "malignant"
    assert header.config.image_mean == pytest.approx(0.2, abs=0.2) and header.training["step"] in (6, 12)
    assert (out / "config.yaml").is_file() and (out / "checkpoints" / "last.ckpt").is_file()
    assert list(out.glob("logs/version_0/events*")) and list(out.glob("csv/version_0/metrics.csv"))
    with torch.inference_mode():
        assert network(torch.rand(1, 1, 100, 80)).shape == (1, 2)


@pytest.mark.parametrize("model", ["resnet18", "alexnet"])
def test_patches_train_balanced_from_their_store(model: str, small: Path, store: Path, tmp_path: Path):
    words = ["--config", small, "--train", store, "--out", tmp_path / "run", "--model", model, "--epochs", 1]
    task = ["--task.source", "patches", "--task.classes", TASK1, "--loss.balanced_batches", "true"]
    assert _train(*words, *task, "--network.resize", 64, "--network.blur", 0.5, "--batch_size", 4) == 0
    header = read_header(tmp_path / "run" / "model.safetensors")
    assert header.config.size == 32 and header.config.resize == 64 and "val_AUC" in header.training
    assert not header.recipe.crop  # that of the store


def test_lesions_train_on_their_subtype(small: Path, images: Path, tmp_path: Path, capsys):
    content = json.loads(images.read_text())
    found = sorted(
        {one["subtype"]["morphology"] for one in content["annotations"] if one["category_id"] == 2}
    )
    classes = json.dumps({"first": found[:1], "rest": found[1:]})
    words = ["--config", small, "--train", images, "--out", tmp_path / "run", "--task.source", "lesions"]
    subtype = ["--task.subtype", "morphology", "--task.classes", classes, "--loss.class_weights", "balanced"]
    assert _train(*words, *subtype) == 0
    assert "training:" in capsys.readouterr().out
    assert read_header(tmp_path / "run" / "model.safetensors").task.subtype == "morphology"


def test_bf16_trains_too(small: Path, images: Path, tmp_path: Path):
    words = ["--config", small, "--train", images, "--out", tmp_path / "run", "--task.classes", TWO]
    assert _train(*words, "--precision", "bf16", "--max-steps", 1) == 0
    kinds = {one.dtype for one in read_tensors(tmp_path / "run" / "model.safetensors").values()}
    assert torch.float32 in kinds and torch.bfloat16 not in kinds


PROGRAM = """
import os, sys
from pathlib import Path

import torch
from mammodet.tools import cli, training_run

fit = training_run.fit

def kept_fit(trainer, module, *others):
    fit(trainer, module, *others)
    if "KEPT" in os.environ:
        torch.save(module.model.state_dict(), Path(os.environ["KEPT"], f"weights{trainer.global_rank}.pt"))

training_run.fit = kept_fit
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program, which Lightning can start a second time for a second process."""
    path = tmp_path_factory.mktemp("program") / "program.py"
    path.write_text(PROGRAM)
    return path


def _start(program: Path, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(program), "train-cls", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def _run(program: Path, *words: object) -> str:
    process = _start(program, *words)
    told = process.communicate(timeout=300)[0]
    assert process.returncode == 0, told[-2000:]
    return told


def _last(out: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    return state


def _wait_for_a_checkpoint(process: subprocess.Popen[str], out: Path) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and not (out / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline, "no checkpoint in two minutes"
        time.sleep(0.01)


@pytest.mark.parametrize("source", ["images", "patches"])
@pytest.mark.long
def test_a_killed_training_ends_as_if_nothing_had_happened(
    source: str, small: Path, images: Path, store: Path, program: Path, tmp_path: Path
):
    """With all that must be restored: order, augmentation, dropout, average, optimiser, schedule."""
    exact = ["--deterministic", "true", "--checkpoint-steps", 1, "--ema", 0.9, "--network.dropout", 0.5]
    vary = ["--augment.noise", 0.1, "--augment.rotation", 30, "--workers", 1]
    words = ["--config", small, *exact, *vary]
    if source == "images":
        words += ["--train", images, "--val", images, "--task.classes", TWO]
    else:
        words += [
            "--train",
            store,
            "--task.source",
            "patches",
            "--task.classes",
            TASK1,
            "--model",
            "resnet18",
        ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _run(program, *words, "--out", whole)
    process = _start(program, *words, "--out", killed)
    _wait_for_a_checkpoint(process, killed)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert 0 < _last(killed)["global_step"] < _last(whole)["global_step"]
    _run(program, "--config", killed / "config.yaml", "--resume")
    one, other = _last(whole), _last(killed)
    assert one["global_step"] == other["global_step"]
    for part in ("state_dict", "current_model_state"):
        assert all(torch.equal(tensor, other[part][name]) for name, tensor in one[part].items()), part
    first, second = (read_tensors(folder / "model.safetensors") for folder in (whole, killed))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.long
def test_two_processes_end_with_the_same_weights(
    small: Path, images: Path, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "two"
    monkeypatch.setenv("KEPT", str(tmp_path))
    words = ["--config", small, "--train", images, "--val", images, "--task.classes", TWO, "--out", out]
    told = _run(program, *words, "--trainer.devices", 2, "--epochs", 1)
    assert "2 processes" in told and told.count("model of step 3") == 1  # 12 images, 2 processes of 2
    first, second = (torch.load(tmp_path / f"weights{rank}.pt") for rank in (0, 1))
    learned = [name for name in first if not any(part in name for part in ("running_", "num_batches"))]
    assert len(learned) > 50 and all(torch.equal(first[name], second[name]) for name in learned)
    kept = read_tensors(out / "model.safetensors")
    assert all(torch.equal(kept[name], first[name]) for name in learned)


def test_bad_options_and_files_are_one_line(
    small: Path, images: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    content = json.loads(images.read_text())
    folder = tmp_path / "cocos"
    folder.mkdir()

    def altered(name: str, label: str | None) -> Path:
        changed = [{**one, "label": label} for one in content["images"]]
        path = folder / f"{name}.json"
        info = {"root": str(images.parent.absolute())}
        path.write_text(json.dumps({**content, "images": changed, "annotations": [], "info": info}))
        return path

    unknown = tmp_path / "unknown.yaml"
    unknown.write_text(small.read_text() + "learning_rate: 3\n")
    of_patches = ["--task.source", "patches", "--model", "resnet18", "--task.classes", TASK1]
    cases = [
        (["--train", altered("none", None)], "no case has a label"),
        (["--train", altered("one", "benign")], "no case of class 'malignant'"),
        (["--train", images, "--config", unknown], "learning_rate"),
        (["--train", images, "--model", "alexnet"], "--model"),
        (["--train", store], "is no COCO file"),
        (["--train", images, *of_patches], "is no patch store"),
        (["--train", store, *of_patches, "--train-split", "test"], "no case"),
        (["--train", store, *of_patches, "--model", "alexnet"], "63 to 4096"),
        (["--train", store, *of_patches, "--network.levels", "[1]"], "--network.levels"),
        (["--train", images, "--network.resize", 64], "--network.resize"),
        (["--train", images, "--task.source", "lesions"], "task.subtype"),
        (["--train", images, "--task.source", "lesions", "--task.subtype", "er"], "annotations[].subtype.er"),
        (["--train", images, "--task.classes", '{"a": ["benign"]}'], "task.classes"),
        (["--train", images, "--loss.class_weights", "[1, 2, 3]"], "--loss.class_weights"),
        (["--train", images, "--loss.label_smoothing", 1], "loss.label_smoothing"),
        (["--train", images, "--weights", tmp_path / "none.pth"], "none.pth"),
        (["--train", images, "--augment.rotation", 200], "augment.rotation"),
        (["--train", images, "--resume"], "no checkpoint"),
        (["--train", images, "--task.margin", 1], "--task.margin"),
        (["--train", images, "--train-split", "a"], "--train_split"),
        (["--train", store, *of_patches, "--recipe.spacing-mm", 0.4], "--recipe.spacing_mm"),
        (["--train", store, *of_patches, "--val-split", "train"], "--val_split"),
        (["--train", tmp_path / "nowhere.json"], "nowhere.json"),
        (["--train", images, "--epochs", 0], "--epochs"),
    ]
    for words, told in cases:
        assert _train("--config", small, "--out", tmp_path / "run", *words) == 2, words
        assert told in _one_line(capsys), words
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_ends_with_one_line(small: Path, images: Path, tmp_path: Path, capsys):
    words = ["--config", small, "--train", images, "--task.classes", TWO, "--out", tmp_path / "run"]
    assert _train(*words, "--optim.optimizer", "sgd", "--optim.lr", 1e30, "--optim.warmup-steps", 0) == 2
    line = _one_line(capsys)
    assert "the loss is" in line and "learning rate" in line and "optim.lr" in line


def test_another_set_is_not_gone_on_with(small: Path, images: Path, tmp_path: Path, capsys):
    out = tmp_path / "run"
    words = ["--config", small, "--train", images, "--out", out, "--task.classes", TWO]
    assert _train(*words, "--max-steps", 2) == 0
    assert _train(*words) == 2 and "holds a training already" in _one_line(capsys)
    other = ["--config", out / "config.yaml", "--resume", "--task.classes"]
    assert _train(*other, '{"other": ["benign"], "malignant": ["malignant"]}') == 2
    assert "differs from the training to go on with" in _one_line(capsys)
    swapped = '{"malignant": ["malignant"], "other": ["normal", "benign"]}'
    assert _train(*other, swapped) == 2 and "holds other cases or classes" in _one_line(capsys)
    content = json.loads(images.read_text())
    fewer = images.with_name("fewer.json")
    fewer.write_text(json.dumps({**content, "images": content["images"][:-1], "annotations": []}))
    before = (out / "config.yaml").read_text()
    assert _train("--config", out / "config.yaml", "--resume", "--train", fewer) == 2
    assert "holds other cases or classes" in _one_line(capsys)
    assert (out / "config.yaml").read_text() == before  # the way to go on is kept


def test_metrics_are_those_of_the_score_class_and_need_one_case_of_each():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    found = Validation(2)(np.array([0, 2, 1, 1]), probabilities)
    assert found["AUC"] == 1 and found["accuracy"] == 0.75
    assert found["loss"] == pytest.approx(-np.log([0.7, 0.6, 0.5, 0.3]).mean())
    assert Validation(0)(np.array([0, 2, 1, 1]), probabilities)["AUC"] == 1
    assert Validation(1)(np.array([0, 2, 1, 1]), probabilities)["AUC"] == pytest.approx(0.875)
    assert Validation(2)(np.array([0, 0]), probabilities[:2])["AUC"] == 0.5  # of one class alone
