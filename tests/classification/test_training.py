"""The loss of classifiers: weights of classes, and what is no number."""

from __future__ import annotations

import pytest
import torch

from mammodet.classification.sppnet import SPPNetConfig, build_sppnet
from mammodet.classification.training import ClassifierModule
from mammodet.networks.optim import OptimConfig


def _module(**options: object) -> ClassifierModule:
    network = build_sppnet(SPPNetConfig(image_mean=0.2, image_std=0.2, levels=(1,)))
    return ClassifierModule(network, OptimConfig(), **options)  # type: ignore[arg-type]


def test_a_class_counts_by_its_weight_in_a_batch_of_one_too():
    logits, targets = torch.tensor([[1.0, 0.0], [0.5, 2.0]]), torch.tensor([0, 1])
    each = [torch.nn.functional.cross_entropy(logits[[at]], targets[[at]]) for at in (0, 1)]
    module = _module(class_weights=[0.5, 3.0])
    assert module._loss(logits[:1], targets[:1]) == pytest.approx(0.5 * float(each[0]))
    assert module._loss(logits[1:], targets[1:]) == pytest.approx(3.0 * float(each[1]))
    assert module._loss(logits, targets) == pytest.approx(float(0.5 * each[0] + 3.0 * each[1]) / 2)
    assert _module()._loss(logits, targets) == pytest.approx(float(sum(each)) / 2)


def test_smoothing_spreads_the_target():
    logits, targets = torch.tensor([[10.0, -10.0]]), torch.tensor([0])
    assert _module()._loss(logits, targets) < 1e-6
    assert float(_module(label_smoothing=0.2)._loss(logits, targets)) == pytest.approx(2.0, abs=1e-3)
