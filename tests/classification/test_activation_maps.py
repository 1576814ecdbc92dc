"""Class activation maps of classifiers: the library's own numbers, on the right places, where the evidence is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, HiResCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from torch import nn
from torch.nn import functional

from mammodet.classification.activation_maps import body_frame, cell_grid, class_heat, see
from mammodet.classification.bodies import last_map
from mammodet.classification.classifier import Classifier
from mammodet.classification.patch_networks import PatchNetworkConfig, build_patch_network
from mammodet.classification.sppnet import SPPNetConfig, build_sppnet
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.heatmap import peak, to_source

LEVEL = {"image_mean": 0.3, "image_std": 0.2}


def network_of(name: str) -> Classifier:
    torch.manual_seed(1)
    classes = ("normal", "benign", "malignant")
    if name == "sppnet":
        return build_sppnet(SPPNetConfig(classes=classes, **LEVEL)).eval()
    return build_patch_network(PatchNetworkConfig(name, classes=classes, **LEVEL)).eval()


every_network = pytest.mark.parametrize("name", ["resnet18", "alexnet", "sppnet"])


@every_network
def test_one_pass_gives_what_the_network_gives(name):
    network = network_of(name)
    images = torch.rand(2, 1, 150, 170)
    seen = see(network, images)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(seen.logits), network(images))
        torch.testing.assert_close(torch.from_numpy(seen.features), network.features(images))
    np.testing.assert_allclose(seen.probabilities.sum(axis=1), 1, rtol=1e-5)


@every_network
@pytest.mark.parametrize(("method", "theirs"), [("gradcam", GradCAM), ("hirescam", HiResCAM)])
def test_maps_are_those_that_the_library_makes_with_gradients_through_the_whole_network(name, method, theirs):
    network = network_of(name)
    images = torch.rand(2, 1, 150, 170)
    classes = [2, 0]
    ours = class_heat(network, see(network, images), classes, method)
    layer = last_map(network.body).layer
    targets = [ClassifierOutputTarget(one) for one in classes]
    with theirs(network, [layer]) as library:
        library(images, targets)
        activations, gradients = (
            one[0].numpy()
            for one in (library.activations_and_grads.activations, library.activations_and_grads.gradients)
        )
        plain = library.get_cam_image(images, layer, targets, activations, gradients, False)
    expected = np.maximum(plain, 0)
    assert ours.shape == expected.shape == (2, *activations.shape[2:])
    for one, other in zip(ours, expected, strict=True):
        assert one.max() == pytest.approx(1)
        np.testing.assert_allclose(one, other / other.max(), atol=1e-4)


@every_network
def test_eigencam_is_the_librarys_with_strong_features_hot(name):
    network = network_of(name)
    seen = see(network, torch.rand(1, 1, 200, 170))
    (heat,) = class_heat(network, seen, [0], "eigencam")
    activations = seen.last.numpy()
    (theirs,) = get_2d_projection(activations)
    sign = np.sign(np.corrcoef(theirs.ravel(), activations[0].sum(axis=0).ravel())[0, 1])
    theirs = np.maximum(theirs * sign, 0)
    np.testing.assert_allclose(heat, theirs / theirs.max(), atol=2e-3)


def test_no_gradient_and_no_frozen_weight_is_left_behind():
    network = network_of("resnet18")
    class_heat(network, see(network, torch.rand(1, 1, 96, 96)), [1], "gradcam")
    assert all(one.requires_grad and one.grad is None for one in network.parameters())


@every_network
def test_cells_lie_where_their_pixels_are(name):
    """The pixels that a cell looks at, weighed by how much it does, lie around the place that is stated."""
    network = network_of(name)
    stride, first = cell_grid(network)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # every pixel counts alike, and none takes from another
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.MaxPool2d):
            module.forward = lambda x, m=module: functional.avg_pool2d(
                functional.pad(x, (m.padding,) * 4), m.kernel_size, m.stride
            )
    image = torch.full((1, 1, 600, 600), 0.9, requires_grad=True)
    kept = []
    last_map(network.body).layer.register_forward_hook(lambda *passed: kept.append(passed[2]))
    network.features(image)
    row, column = 9, 8
    kept[0][0, :, row, column].sum().backward()
    weights = image.grad[0, 0].abs()
    middle = [float((weights.sum(1 - axis) * torch.arange(600)).sum() / weights.sum()) for axis in (0, 1)]
    # A convolution with stride 2 and an even size has its middle between two pixels.
    assert middle == pytest.approx([first + row * stride, first + column * stride], abs=1.0)


@pytest.mark.parametrize("side", [96, 192])
def test_heat_lies_where_it_belongs_when_the_network_resizes_its_input(side):
    """A body that sees brightness alone is hottest at the bright square, whatever size it works at."""
    config = PatchNetworkConfig("resnet18", size=128, classes=("dark", "bright"), resize=side, **LEVEL)
    network = build_patch_network(config).eval()
    for module in network.body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    nn.init.constant_(network.head.weight, 1.0)
    image = torch.full((1, 1, 128, 128), 0.3)
    image[..., 70:110, 20:60] = 1.0
    (heat,) = class_heat(network, see(network, image), [1], "gradcam")
    frame = body_frame(network, Geometry(128, 128))
    stride, first = cell_grid(network)
    assert heat.shape == (side // 32, side // 32)
    column, row = peak(to_source(heat, stride, frame, first=first))
    assert abs(column - 40) <= 22 and abs(row - 90) <= 22


def test_the_hottest_place_lies_in_the_bright_corner():
    """Trained for seconds to tell a bright square in a corner from a dark one."""
    torch.manual_seed(0)
    config = PatchNetworkConfig("resnet18", size=96, classes=("dark", "bright"), channels=1, **LEVEL)
    network = build_patch_network(config).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    draw = np.random.default_rng(0)
    for _ in range(12):
        images, classes, _ = scenes(draw, 8)
        loss = functional.cross_entropy(network(images), classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():  # the normalisation's averages follow the last weights
        for _ in range(6):
            network(scenes(draw, 16)[0])
    network.eval()
    images, classes, places = scenes(np.random.default_rng(1), 24)
    seen = see(network, images)
    assert (seen.probabilities.argmax(axis=1) == classes.numpy()).mean() > 0.9
    stride, first = cell_grid(network)
    for method in ("gradcam", "hirescam"):
        heat = class_heat(network, seen, [1] * 24, method)
        hottest = [peak(to_source(one, stride, Geometry(96, 96), first=first)) for one in heat]
        inside = [
            max(abs(column - x), abs(row - y)) <= 20
            for (column, row), (x, y), kind in zip(hottest, places, classes, strict=True)
            if kind == 1
        ]
        assert len(inside) > 6 and np.mean(inside) > 0.8, method  # a quarter by chance


def scenes(draw: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor, list[list[int]]]:
    """Return images with a dark (class 0) or bright square in one of the corners, and its middles."""
    images = draw.normal(0.3, 0.05, (count, 1, 96, 96)).astype(np.float32)
    classes = draw.integers(0, 2, count)
    places = draw.choice([16, 80], (count, 2)).tolist()
    for image, kind, (x, y) in zip(images[:, 0], classes, places, strict=True):
        image[y - 12 : y + 12, x - 12 : x + 12] += 0.6 if kind else -0.3
    return torch.from_numpy(images), torch.from_numpy(classes), places
