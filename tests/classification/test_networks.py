"""The networks: outputs, features, grey input once or three times, configurations that cannot be."""

import pytest
import torch

from mammodet.classification.classifier import Classifier
from mammodet.classification.patch_networks import PatchNetworkConfig, build_patch_network
from mammodet.classification.sppnet import SPPNetConfig, build_sppnet
from mammodet.datasets.errors import InputError

NORMALISED = {"image_mean": 0.2, "image_std": 0.25}


def _images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def _penultimate(network: Classifier, images: torch.Tensor) -> torch.Tensor:
    """Return what the last layer really got."""
    seen = []
    handle = network.head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network(images)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("network", "size", "features"),
    [("alexnet", 112, 4096), ("alexnet", 63, 4096), ("resnet18", 112, 512), ("resnet34", 112, 512)],
)
def test_a_patch_gets_a_logit_per_class_and_features(network, size, features):
    classes = ("normal", "benign", "malignant")
    built = build_patch_network(PatchNetworkConfig(network, size, classes, **NORMALISED)).eval()
    images = _images(2, 1, size, size)
    with torch.inference_mode():
        assert built(images).shape == (2, 3)
        found = built.features(images)
        assert found.shape == (2, features)
        torch.testing.assert_close(found, _penultimate(built, images))


def test_resnet101_has_two_outputs_for_large_patches():
    built = build_patch_network(PatchNetworkConfig("resnet101", 674, **NORMALISED)).eval()
    assert built.head.in_features == 2048 and built.head.out_features == 2
    with torch.inference_mode():
        assert built(_images(1, 1, 96, 64)).shape == (1, 2)  # any size; 674 px cost a test seconds


@pytest.mark.parametrize(("height", "width"), [(33, 20), (64, 64), (130, 97), (1, 1)])
def test_sppnet_takes_images_of_any_size(height, width):
    built = build_sppnet(SPPNetConfig(levels=(1, 3), **NORMALISED)).eval()
    images = _images(1, 1, height, width)
    with torch.inference_mode():
        assert built(images).shape == (1, 2)
        assert built.features(images).shape == (1, 512 * 10)
        torch.testing.assert_close(built.features(images), _penultimate(built, images))


def test_sppnet_sees_where_something_lies_and_its_first_level_does_not():
    built = build_sppnet(SPPNetConfig(levels=(1, 2), **NORMALISED)).eval()
    features = torch.zeros(1, 512, 4, 4)
    features[:, :, 0, 3] = 1  # top right
    whole, quarters = built.body.avgpool(features).split([512, 4 * 512], dim=1)
    assert (whole == 1).all() and quarters.view(512, 2, 2)[0].tolist() == [[0, 1], [0, 0]]


def test_only_the_levels_make_an_sppnet_of_a_resnet():
    """With torchvision's own modules and the global maximum the same numbers come out."""
    built = build_sppnet(SPPNetConfig(levels=(1,), **NORMALISED)).eval()
    body, images = built.body, _images(1, 1, 70, 50)
    with torch.inference_mode():
        x = ((images - 0.2) / 0.25).repeat(1, 3, 1, 1)
        x = body.maxpool(body.relu(body.bn1(body.conv1(x))))
        x = body.layer4(body.layer3(body.layer2(body.layer1(x)))).amax(dim=(2, 3))
        torch.testing.assert_close(built(images), built.head(x))


def test_the_last_layer_is_exact_under_autocast():
    built = build_patch_network(PatchNetworkConfig(size=32, **NORMALISED)).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        logits = built(_images(4, 1, 32, 32))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_dropout_is_where_the_published_networks_have_it():
    alexnet = build_patch_network(PatchNetworkConfig("alexnet", **NORMALISED))
    assert [m.p for m in alexnet.body.modules() if isinstance(m, torch.nn.Dropout)] == [0.5, 0.5]
    assert alexnet.dropout.p == 0
    assert build_patch_network(PatchNetworkConfig(dropout=0.2, **NORMALISED)).dropout.p == 0.2
    assert build_sppnet(SPPNetConfig(dropout=0.3, **NORMALISED)).dropout.p == 0.3


def test_a_class_is_asked_for_by_name():
    built = build_patch_network(PatchNetworkConfig(classes=("normal", "suspicious"), **NORMALISED))
    assert built.class_index("suspicious") == 1
    with pytest.raises(InputError, match="choose one of normal, suspicious"):
        built.class_index("malignant")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SPPNetConfig(backbone="vgg16"), r"model\.backbone.*resnet18"),
        (lambda: SPPNetConfig(levels=(0,)), r"model\.levels"),
        (lambda: SPPNetConfig(classes=("malignant",)), r"model\.classes.*two or more"),
        (lambda: SPPNetConfig(classes=("a", "a")), r"model\.classes"),
        (lambda: SPPNetConfig(classes="ab"), r"model\.classes"),
        (lambda: SPPNetConfig(dropout=1.0), r"model\.dropout"),
        (lambda: SPPNetConfig(channels=2), r"model\.channels"),
        (lambda: SPPNetConfig(image_std=0.0), r"model\.image_std"),
        (lambda: SPPNetConfig(image_mean=float("nan")), r"model\.image_mean"),
        (lambda: PatchNetworkConfig("lenet"), r"model\.network.*alexnet"),
        (lambda: PatchNetworkConfig("alexnet", size=62), r"model\.size.*63"),
        (lambda: PatchNetworkConfig(size=31), r"model\.size.*32"),
    ],
)
def test_a_configuration_that_cannot_be_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
