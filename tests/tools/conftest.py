"""A small phantom screening set, a detector trained on it for a few steps, and a classifier of patches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mammodet.classification.classifier import Classifier
from mammodet.classification.model_file import ClassifierHeader, write_model
from mammodet.classification.patch_networks import PatchNetworkConfig, build_patch_network
from mammodet.classification.task import Task
from mammodet.datasets.standardise import Recipe
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


@pytest.fixture(scope="session")
def write_classifier() -> Callable[..., Path]:
    """Return what writes a classifier of patches of 64 px whose score rises with the brightness of a patch.

    Its weights are set by hand, so that where the heat must lie is known beforehand. A patch of a mean of 0.7
    scores 0.5, one of 0.3 nothing, one of 1.0 nearly 1.
    """
    classes = {"normal": ("normal",), "suspicious": ("benign", "malignant")}
    config = PatchNetworkConfig(
        "resnet18", size=64, classes=tuple(classes), channels=1, image_mean=0.0, image_std=1.0
    )
    network = build_patch_network(config).eval()
    _average(network, slope=20.0, half=0.7)

    def write(path: Path, recipe: Recipe | None = None, **task: Any) -> Path:
        told = Task(**{"source": "patches", "classes": classes, **task})
        write_model(path, network.state_dict(), ClassifierHeader(config, told, recipe or Recipe(), ""))
        return path

    return write


def _average(network: Classifier, slope: float, half: float) -> None:
    """Let every convolution average its first channel, and the last layer weigh that."""
    with torch.no_grad():
        for name, layer in network.body.named_modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.zero_()
                # What goes around a block is added to what goes through it, and stays out where it can.
                if "downsample" not in name:
                    layer.weight[0, 0] = 1 / layer.weight[0, 0].numel()
        full = network.features(torch.ones(1, 1, 64, 64))[0, 0]
        network.head.weight.zero_()
        network.head.weight[1, 0] = slope / full
        network.head.bias.copy_(torch.tensor([0.0, -slope * half]))


@pytest.fixture(scope="session")
def classifier(write_classifier: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of that classifier, with the default recipe."""
    return write_classifier(tmp_path_factory.mktemp("classifier") / "patches.safetensors")


@pytest.fixture(scope="session")
def cls_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recipe of SPPNet, which names the method as the configuration of a run does."""
    path = tmp_path_factory.mktemp("cls") / "sppnet.yaml"
    classes = "{other: [normal, benign], malignant: [malignant]}"
    path.write_text(
        "method: train-cls\nfolds: 2\nval_share: 0.5\nmax_steps: 1\nweights: none\nworkers: 0\n"
        f"device: cpu\nprecision: fp32\ntask: {{classes: {classes}}}\n"
    )
    return path
