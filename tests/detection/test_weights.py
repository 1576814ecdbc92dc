"""Start weights: what is loaded, what is left, and what is said when nothing can be."""

import urllib.error

import pytest
import torch
import torchvision
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from mammodet.datasets.errors import InputError
from mammodet.detection.model import DetectorConfig, build_detector
from mammodet.detection.weights import copy_weights, read_state, start_weights


def load_weights(model, weights, backbone):
    copy_weights(model, start_weights(weights, backbone), weights)


RESNET18 = DetectorConfig("resnet18", norm="frozen", fpn_channels=32, image_mean=0, image_std=1)


def test_imagenet_weights_of_a_local_file_fill_the_backbone(tmp_path):
    resnet = torchvision.models.resnet18(weights=None)
    torch.save(resnet.state_dict(), tmp_path / "resnet18.pth")
    model = build_detector(RESNET18)
    load_weights(model, str(tmp_path / "resnet18.pth"), "resnet18")
    torch.testing.assert_close(model.backbone.body.layer3[0].conv1.weight, resnet.layer3[0].conv1.weight)


def test_coco_weights_fill_all_but_the_predictor(monkeypatch, tmp_path):
    """torchvision's own loader is run on a file in its hub cache, with the real names and shapes of 91 classes."""
    donor = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    weights = torchvision.models.detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(donor.state_dict(), cache / weights.url.rsplit("/", 1)[1])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = build_detector(DetectorConfig(norm="frozen", image_mean=0, image_std=1))
    fresh = model.roi_heads.box_predictor.cls_score.weight.clone()
    load_weights(model, "coco", "resnet50")
    torch.testing.assert_close(model.rpn.head.cls_logits.weight, donor.rpn.head.cls_logits.weight)
    torch.testing.assert_close(model.roi_heads.box_head.fc6.weight, donor.roi_heads.box_head.fc6.weight)
    torch.testing.assert_close(
        model.backbone.fpn.inner_blocks[0][0].weight, donor.backbone.fpn.inner_blocks[0][0].weight
    )
    torch.testing.assert_close(model.roi_heads.box_predictor.cls_score.weight, fresh)


def test_a_failed_download_is_one_line_with_a_remedy(monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(InputError, match=r"--weights: the download .* failed.*--weights none") as caught:
        load_weights(build_detector(RESNET18), "imagenet", "resnet18")
    assert "\n" not in str(caught.value)


def test_coco_weights_exist_for_resnet50_only():
    with pytest.raises(InputError, match="resnet50 only"):
        load_weights(build_detector(RESNET18), "coco", "resnet18")


def test_weights_of_another_backbone_are_refused(tmp_path):
    torch.save({"encoder.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="no backbone weight fits"):
        load_weights(build_detector(RESNET18), str(tmp_path / "other.pth"), "resnet18")


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04cos\nsystem\n."])
def test_files_that_are_no_weights_are_named(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.pth"):
        read_state(path)


def test_a_pickled_object_is_not_executed(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    torch.save({"state_dict": Harmful()}, tmp_path / "weights.pth")
    with pytest.raises(InputError):
        read_state(tmp_path / "weights.pth")
    assert not (tmp_path / "harm").exists()
