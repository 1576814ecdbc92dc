"""Start weights: what fits is copied whole, and what does not is told in one line."""

from urllib.error import URLError

import pytest
import torch
import torchvision

from mammodet.classification import start_weights
from mammodet.classification.model_file import ClassifierHeader, write_model
from mammodet.classification.patch_networks import PatchNetworkConfig, build_patch_network
from mammodet.classification.sppnet import SPPNetConfig, build_sppnet
from mammodet.classification.task import Task
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe

CONFIG = PatchNetworkConfig(image_mean=0.2, image_std=0.25)
IMAGES = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def stock():
    return torchvision.models.resnet18(weights=None).eval()


def _features(network):
    with torch.inference_mode():
        return network.eval().features(IMAGES)


@pytest.mark.parametrize("channels", [1, 3])
def test_torchvisions_weights_compute_the_same_with_one_channel_and_with_three(tmp_path, stock, channels):
    torch.save(stock.state_dict(), tmp_path / "resnet18.pth")
    config = PatchNetworkConfig(channels=channels, image_mean=0.2, image_std=0.25)
    built = build_patch_network(config, str(tmp_path / "resnet18.pth"))
    body = torch.nn.Sequential(*list(stock.children())[:-1])
    with torch.inference_mode():
        expected = body(((IMAGES - 0.2) / 0.25).repeat(1, 3, 1, 1)).flatten(1)
    torch.testing.assert_close(_features(built), expected, atol=1e-4, rtol=1e-4)


def test_weights_of_one_channel_go_into_three(tmp_path):
    one = build_patch_network(PatchNetworkConfig(channels=1, image_mean=0.2, image_std=0.25))
    torch.save(
        {"state_dict": {f"model.{key}": value for key, value in one.state_dict().items()}},
        tmp_path / "a.ckpt",
    )
    three = build_patch_network(CONFIG, str(tmp_path / "a.ckpt"))
    torch.testing.assert_close(_features(three), _features(one), atol=1e-4, rtol=1e-4)


def test_the_body_of_alexnet_fits_too(tmp_path):
    alexnet = torchvision.models.alexnet(weights=None)
    torch.save(alexnet.state_dict(), tmp_path / "alexnet.pth")
    config = PatchNetworkConfig("alexnet", image_mean=0.2, image_std=0.25)
    built = build_patch_network(config, str(tmp_path / "alexnet.pth"))
    torch.testing.assert_close(built.body.classifier[4].weight, alexnet.classifier[4].weight)


def test_the_last_layer_comes_only_from_a_model_with_the_same_classes(tmp_path):
    trained = build_patch_network(CONFIG)
    path = tmp_path / "model.safetensors"
    write_model(path, trained.state_dict(), ClassifierHeader(CONFIG, Task(), Recipe(), "abc"))
    same = build_patch_network(CONFIG, str(path))
    torch.testing.assert_close(same.head.weight, trained.head.weight)
    other = PatchNetworkConfig(classes=("normal", "suspicious"), image_mean=0.2, image_std=0.25)
    built = build_patch_network(other, str(path))
    assert not torch.equal(built.head.weight, trained.head.weight)
    torch.testing.assert_close(built.body.conv1.weight, trained.body.conv1.weight)
    pyramid = build_sppnet(SPPNetConfig(image_mean=0.2, image_std=0.25), str(path))
    torch.testing.assert_close(pyramid.body.conv1.weight, trained.body.conv1.weight)


def test_half_a_body_is_refused(tmp_path, stock):
    torch.save(stock.state_dict(), tmp_path / "resnet18.pth")
    config = PatchNetworkConfig("resnet34", image_mean=0.2, image_std=0.25)
    with pytest.raises(InputError, match=r"--weights.*body\.layer1\.2\.conv1\.weight.*same architecture"):
        build_patch_network(config, str(tmp_path / "resnet18.pth"))


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "pickled.pth")
    for name, message in (
        ("missing.pth", "no such file.*imagenet, none or a file"),
        ("a.pth", "cannot be read as weights"),
        ("list.pth", "holds no state dict"),
        ("pickled.pth", "cannot be read as weights"),
        ("none.safetensors", "no such file"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            build_patch_network(CONFIG, str(tmp_path / name))
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_failed_download_says_what_to_do(monkeypatch):
    class Offline:
        def get_state_dict(self, **_):
            raise URLError("no network")

    found = {"IMAGENET1K_V1": Offline()}
    monkeypatch.setattr(start_weights.torchvision.models, "get_model_weights", lambda name: found)
    with pytest.raises(InputError, match=r"download.*no network.*--weights none"):
        build_patch_network(CONFIG, "imagenet")
