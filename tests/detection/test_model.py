"""The detector as built: names, shapes, no resizing, thresholds."""

import pytest
import torch
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from mammodet.datasets.errors import InputError
from mammodet.detection.model import DetectorConfig, build_detector, set_thresholds

SMALL = DetectorConfig(
    "resnet18", norm="batch", fpn_channels=32, rpn_proposals=50, image_mean=0.3, image_std=0.2
)


def test_parameter_names_and_shapes_are_those_of_torchvision_but_for_the_predictor():
    ours = build_detector(DetectorConfig(norm="frozen", image_mean=0.2, image_std=0.1)).state_dict()
    theirs = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    differing = {name for name in theirs if name not in ours or ours[name].shape != theirs[name].shape}
    assert {
        name.rsplit(".", 2)[-2] for name in differing if "bn" not in name and "downsample" not in name
    } <= {
        "cls_score",
        "bbox_pred",
    }
    assert {name for name in differing if "box_predictor" in name} == {
        "roi_heads.box_predictor.cls_score.weight",
        "roi_heads.box_predictor.cls_score.bias",
        "roi_heads.box_predictor.bbox_pred.weight",
        "roi_heads.box_predictor.bbox_pred.bias",
    }


def test_images_are_never_resized():
    model = build_detector(SMALL)
    images, _ = model.transform([torch.rand(1, 1500, 70), torch.rand(1, 100, 200)])
    assert images.image_sizes == [(1500, 70), (100, 200)]
    assert images.tensors.shape == (2, 3, 1504, 224)


def test_pixels_are_normalised_by_the_statistics_of_the_data():
    model = build_detector(SMALL)
    images, _ = model.transform([torch.full((1, 32, 32), 0.5)])
    torch.testing.assert_close(images.tensors, torch.full((1, 3, 32, 32), 1.0))


def test_boxes_come_back_in_the_frame_of_the_image_given():
    model = build_detector(SMALL).eval()
    set_thresholds(model, score=0.0)
    image = torch.rand(1, 90, 330)
    with torch.inference_mode():
        output = model([image])[0]
    boxes = output["boxes"]
    assert len(boxes) > 0
    assert boxes[:, 0::2].max() <= 330 and boxes[:, 1::2].max() <= 90 and boxes.min() >= 0
    assert set(output["labels"].tolist()) <= {1, 2}


def test_frozen_normalisation_has_the_epsilon_of_its_weights():
    config = DetectorConfig(
        "resnet18", norm="frozen", frozen_eps=0.0, fpn_channels=32, image_mean=0, image_std=1
    )
    assert build_detector(config).backbone.body.layer1[0].bn1.eps == 0.0


def test_published_thresholds_are_the_defaults():
    heads = build_detector(DetectorConfig("resnet18", norm="batch", image_mean=0, image_std=1)).roi_heads
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.3, 0.3, 250)


@pytest.mark.parametrize(
    ("layers", "trained"), [(0, set()), (1, {"layer4"}), (3, {"layer4", "layer3", "layer2"})]
)
def test_trainable_layers_counts_from_the_last_stage(layers, trained):
    config = DetectorConfig(
        "resnet18", norm="batch", fpn_channels=32, trainable_layers=layers, image_mean=0, image_std=1
    )
    body = build_detector(config).backbone.body
    assert {name.split(".")[0] for name, one in body.named_parameters() if one.requires_grad} == trained


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"score_threshold": 1.5}, "score_threshold"),
        ({"nms_threshold": -0.1}, "nms_threshold"),
        ({"trainable_layers": 6}, "trainable_layers"),
        ({"anchor_sizes": (0, 1, 2, 3, 4)}, "anchor"),
        ({"image_std": 0.0}, "image_std"),
        ({"backbone": "vgg16"}, "model.backbone"),
        ({"norm": "none"}, "model.norm"),
        ({"fpn_channels": 0}, "fpn_channels"),
        ({"max_detections": -1}, "max_detections"),
    ],
)
def test_impossible_options_are_named(options, field):
    with pytest.raises(InputError, match=field):
        DetectorConfig(**options)


def test_boxes_are_placed_finely_under_bf16_too():
    """torchvision would compute them in bfloat16: multiples of 4 px at 600 px."""
    torch.manual_seed(0)
    model = build_detector(SMALL).eval()
    set_thresholds(model, score=0.0)
    image = torch.rand(1, 64, 1000)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        boxes = model([image])[0]["boxes"]
    far = boxes[boxes[:, 0] > 520]
    assert boxes.dtype == torch.float32 and len(far) > 5
    assert (far[:, 0] % 2 != 0).float().mean() > 0.5
