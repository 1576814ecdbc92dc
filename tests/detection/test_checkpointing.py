"""Activation checkpointing changes what is remembered, and nothing that is computed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torchvision.models.detection import FasterRCNN

from mammodet.detection.checkpointing import checkpoint_activations
from mammodet.detection.model import DetectorConfig, build_detector


def _detector(norm: str, layers: int) -> FasterRCNN:
    torch.manual_seed(0)
    config = DetectorConfig(
        backbone="resnet18",
        norm=norm,  # type: ignore[arg-type]
        trainable_layers=layers,
        fpn_channels=32,
        rpn_proposals=50,
        image_mean=0.3,
        image_std=0.2,
    )
    return build_detector(config).train()


def _step(model: FasterRCNN) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    boxes = torch.tensor([[20.0, 30, 60, 70], [50, 20, 90, 44], [3, 80, 20, 120]])
    targets = [{"boxes": boxes, "labels": torch.tensor([2, 1, 2])}]
    losses = model([torch.rand(1, 128, 96)], targets)
    torch.stack(list(losses.values())).sum().backward()
    return losses


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
@pytest.mark.parametrize("layers", [3, 5])
def test_gradients_losses_and_statistics_are_those_of_a_plain_training(norm: str, layers: int):
    plain = _detector(norm, layers)
    saving = copy.deepcopy(plain)
    checkpoint_activations(saving)
    for _ in range(2):
        first, second = _step(plain), _step(saving)
        assert {name: float(value.detach()) for name, value in first.items()} == {
            name: float(value.detach()) for name, value in second.items()
        }
    own = dict(saving.named_parameters())
    assert list(own) == [name for name, _ in plain.named_parameters()]
    for name, parameter in plain.named_parameters():
        assert (parameter.grad is None) == (own[name].grad is None), name
        if parameter.grad is not None:
            torch.testing.assert_close(own[name].grad, parameter.grad, rtol=0, atol=0, msg=name)
    for name, tensor in plain.state_dict().items():  # running statistics, each batch counted once
        torch.testing.assert_close(saving.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


def test_less_is_kept_and_inference_is_untouched():
    plain = _detector("batch", 5)
    saving = copy.deepcopy(plain)
    checkpoint_activations(saving)

    def kept(model: FasterRCNN) -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            features = model.backbone(torch.rand(1, 3, 256, 256))
        assert all(one.requires_grad for one in features.values())
        return sum(sizes.values())

    assert kept(saving) < 0.5 * kept(plain)
    saving.load_state_dict(plain.state_dict())  # each has seen an image of its own
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for name, level in plain.eval().backbone(image).items():
            torch.testing.assert_close(saving.eval().backbone(image)[name], level, rtol=0, atol=0)
