"""A small phantom screening set and a detector trained on it for a few steps, made once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammodet.tools import cli

SMALL_MODEL = """
weights: none
epochs: 1
batch_size: 2
workers: 0
device: cpu
precision: fp32
model: {backbone: resnet18, fpn_channels: 16, anchor_sizes: [16, 32, 64, 96, 128], rpn_proposals: 50, roi_batch: 16}
augment: {rotation: 0}
optim: {optimizer: adamw, lr: 0.001, warmup_steps: 2, schedule: cosine}
"""


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a phantom of two patients."""
    out = tmp_path_factory.mktemp("phantom")
    options = "--patients 2 --seed 3 --height 288 --width 208 --spacing-mm 0.4 --lesion-rate 1 --workers 1"
    assert cli.main(["phantom", str(out), *options.split()]) == 0
    return out


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(SMALL_MODEL)
    return path


@pytest.fixture(scope="session")
def trained(phantom: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of a training of one epoch."""
    out = tmp_path_factory.mktemp("trained") / "run"
    coco = str(phantom / "coco.json")
    assert (
        cli.main(["train-det", "--config", str(recipe), "--train", coco, "--val", coco, "--out", str(out)])
        == 0
    )
    return out
