"""A classifier's file becomes probabilities: those of the network, whatever the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mammodet.classification.model_file import ClassifierHeader, build_network, write_model
from mammodet.classification.patch_networks import PatchNetworkConfig
from mammodet.classification.predict import Predictor
from mammodet.classification.sppnet import SPPNetConfig
from mammodet.classification.task import Task
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = PatchNetworkConfig("resnet18", size=32, image_mean=0.3, image_std=0.2)
    header = ClassifierHeader(config, Task("patches"), Recipe(), "")
    write_model(tmp_path / "m.safetensors", build_network(config).state_dict(), header)
    return tmp_path / "m.safetensors"


def test_probabilities_are_those_of_the_network_one_by_one(model: Path):
    predictor = Predictor.load(model, device="cpu", precision="fp32")
    pixels = np.random.default_rng(0).random((5, 48, 40), dtype=np.float32)
    found = predictor.probabilities(pixels)
    assert found.shape == (5, 2) and found.dtype == np.float64
    np.testing.assert_allclose(found.sum(axis=1), 1)
    plain = build_network(predictor.header.config).eval()
    plain.load_state_dict(predictor.network.state_dict())
    for row, image in zip(found, pixels, strict=True):
        with torch.no_grad():
            expected = plain(torch.from_numpy(image)[None, None]).softmax(dim=1)[0]
        np.testing.assert_allclose(row, expected.numpy(), atol=1e-5)


def test_bf16_is_close_and_scores_stay_fine(model: Path):
    pixels = np.random.default_rng(0).random((8, 48, 40), dtype=np.float32)
    exact = Predictor.load(model, device="cpu", precision="fp32").probabilities(pixels)
    coarse = Predictor.load(model, device="cpu", precision="bf16").probabilities(pixels)
    np.testing.assert_allclose(coarse, exact, atol=0.05)
    assert len(np.unique(coarse[:, 1])) == 8  # the last layer is float32: no ties


def test_images_of_any_size(tmp_path: Path):
    config = SPPNetConfig(classes=("a", "b", "c"), image_mean=0.3, image_std=0.2)
    task = Task("images", {name: (name,) for name in "abc"})
    path = tmp_path / "m.safetensors"
    write_model(path, build_network(config).state_dict(), ClassifierHeader(config, task, Recipe(), ""))
    predictor = Predictor.load(path, device="cpu", precision="fp32")
    for shape in ((130, 97), (97, 201)):
        assert predictor.probabilities(np.zeros((1, *shape), np.float32)).shape == (1, 3)


def test_weights_that_are_no_numbers_are_told(model: Path):
    predictor = Predictor.load(model, device="cpu", precision="fp32")
    predictor.network.head.bias.data.fill_(float("nan"))
    with pytest.raises(InputError, match="no numbers"):
        predictor.probabilities(np.zeros((1, 40, 40), np.float32))
