"""The detector: torchvision's Faster R-CNN with a ResNet-FPN, at full resolution, for one grey channel."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.misc import FrozenBatchNorm2d
from torchvision.ops.poolers import initLevelMapper

from mammodet.datasets.errors import InputError
from mammodet.detection.frozen_norm import FrozenNorm
from mammodet.detection.losses import CLASSES, LossConfig, weigh_losses
from mammodet.detection.roi_heads import LesionRoIHeads
from mammodet.detection.targets import check_targets

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")
NORMS = ("auto", "frozen", "batch", "group", "sync")
PYRAMID_LEVELS = 5  # four ResNet stages and one max-pooled level on top
GROUPS = 32  # of group normalisation, as in Wu and He 2018


@dataclass(frozen=True)
class DetectorConfig:
    """Architecture and post-processing of the detector.

    The defaults for thresholds and detections are those of Lin et al. 2023, section 2.6.

    Args:
        backbone: ResNet under the feature pyramid.
        norm: normalisation of the backbone; "frozen" keeps the statistics of the loaded weights, "batch"
            learns them, "sync" learns them over the batches of all GPUs, "group" needs none (32 groups of
            channels of one image), "auto" takes "frozen" with pretrained weights and "batch" without.
        frozen_eps: added to the variance by frozen normalisation; null means 0 with torchvision's COCO
            weights, which were trained so, and 1e-5 otherwise.
        trainable_layers: how many ResNet stages are trained, counted from the last (0 to 5); null means 3
            with pretrained weights and 5 without, as torchvision does.
        fpn_channels: channels of every pyramid level.
        anchor_sizes: one side in pixels for each of the five levels, strides 4 to 64.
        anchor_ratios: height over width of the anchors of every level.
        rpn_proposals: boxes that go from the region proposals to the box head; twice as many in training.
        roi_batch: regions per image that the box head is trained on.
        score_threshold: boxes below this score are not reported.
        nms_threshold: of two boxes of one class with a higher IoU than this, the weaker is dropped.
        max_detections: most boxes reported for an image.
        image_mean: mean of the pixels, 0 to 1; null means measured on the training images.
        image_std: their standard deviation; null means measured on the training images.
    """

    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = "resnet50"
    norm: Literal["auto", "frozen", "batch", "group", "sync"] = "auto"
    frozen_eps: float | None = None
    trainable_layers: int | None = None
    fpn_channels: int = 256
    anchor_sizes: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rpn_proposals: int = 1000
    roi_batch: int = 512
    score_threshold: float = 0.3
    nms_threshold: float = 0.3
    max_detections: int = 250
    image_mean: float | None = None
    image_std: float | None = None

    def __post_init__(self) -> None:
        for name, choices in (("backbone", BACKBONES), ("norm", NORMS)):
            if getattr(self, name) not in choices:
                remedy = f"choose one of {', '.join(choices)}"
                raise InputError(
                    "unknown choice", field=f"model.{name}", value=getattr(self, name), remedy=remedy
                )
        for name in ("fpn_channels", "rpn_proposals", "roi_batch", "max_detections"):
            if getattr(self, name) < 1:
                raise InputError("must be 1 or more", field=f"model.{name}", value=getattr(self, name))
        _check_unit("model.score_threshold", self.score_threshold)
        _check_unit("model.nms_threshold", self.nms_threshold)
        if self.trainable_layers is not None and not 0 <= self.trainable_layers <= PYRAMID_LEVELS:
            raise InputError(
                "must be 0 to 5 or null", field="model.trainable_layers", value=self.trainable_layers
            )
        if min(self.anchor_sizes) <= 0 or not self.anchor_ratios or min(self.anchor_ratios) <= 0:
            raise InputError(
                "sizes and ratios of anchors must be above 0",
                field="model.anchor_sizes, model.anchor_ratios",
                value=(self.anchor_sizes, self.anchor_ratios),
            )
        if self.image_std is not None and self.image_std <= 0:
            raise InputError("must be above 0", field="model.image_std", value=self.image_std)


class FullResolutionTransform(GeneralizedRCNNTransform):
    """Normalises and batches grey images without ever resizing them.

    torchvision's own transform shrinks every image to 800/1333 px, in which calcifications vanish.
    Images are float32 ``[1, H, W]`` in 0 to 1; batches are padded at the right and bottom to a common
    multiple of 32, with the value of ``image_mean``.
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__(min_size=0, max_size=0, image_mean=[mean], image_std=[std])

    def forward(
        self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        """Check the targets, whose keys all go on as they are, and batch the images."""
        if targets is not None:
            check_targets(targets, CLASSES)
        batch: tuple[ImageList, list[dict[str, Tensor]] | None] = super().forward(images, targets)
        return batch

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return image and target as they are."""
        return image, target

    def normalize(self, image: Tensor) -> Tensor:
        """Normalise one channel and repeat it (a view) for the three that ResNet's first convolution has."""
        if image.shape[0] != 1:
            raise ValueError(f"expected a grey image [1, H, W], got {tuple(image.shape)}")
        return super().normalize(image).expand(3, -1, -1)


def build_detector(config: DetectorConfig, loss: LossConfig | None = None) -> FasterRCNN:
    """Build the detector with random weights.

    Parameters
    ----------
    config:
        With ``norm``, ``image_mean`` and ``image_std`` resolved (neither "auto" nor None).
    loss:
        What it is trained on; None means torchvision's losses. It is no part of the model file.

    Returns
    -------
    FasterRCNN
        Takes a list of float32 ``[1, H, W]`` in 0 to 1. In training, with targets (``boxes`` float32 ``[N,
        4]`` as ``[x1, y1, x2, y2]``, ``labels`` int64 ``[N]``, 1 benign, 2 malignant; optionally
        ``hard_negatives``, see ``LesionRoIHeads``, and ``image_id`` for errors), it returns its losses;
        otherwise per image ``boxes``, ``labels`` and ``scores``, in the frame of the tensor given. Parameter
        names are those of torchvision's ``fasterrcnn_resnet50_fpn``, so that its weights fit. Targets are
        checked by ``check_targets``.
    """
    if config.norm == "auto" or config.image_mean is None or config.image_std is None:
        raise ValueError("norm, image_mean and image_std must be resolved before the detector is built")
    ratios = (config.anchor_ratios,) * PYRAMID_LEVELS
    with warnings.catch_warnings():
        # torchvision warns of frozen stages with random weights; the caller loads weights later.
        warnings.simplefilter("ignore", UserWarning)
        model = FasterRCNN(
            _backbone(config),
            num_classes=CLASSES,
            rpn_anchor_generator=AnchorGenerator(tuple((size,) for size in config.anchor_sizes), ratios),
            rpn_pre_nms_top_n_train=config.rpn_proposals * 2,
            rpn_post_nms_top_n_train=config.rpn_proposals * 2,
            rpn_pre_nms_top_n_test=config.rpn_proposals,
            rpn_post_nms_top_n_test=config.rpn_proposals,
            box_batch_size_per_image=config.roi_batch,
            box_score_thresh=config.score_threshold,
            box_nms_thresh=config.nms_threshold,
            box_detections_per_img=config.max_detections,
        )
    model.transform = FullResolutionTransform(config.image_mean, config.image_std)
    loss = loss or LossConfig()
    model.roi_heads = LesionRoIHeads.replacing(model.roi_heads, loss)
    model.register_forward_hook(partial(_weigh, loss))
    pool = model.roi_heads.box_roi_pool
    # torchvision would take the scales from the first image that it sees, wrongly below some 68 px.
    pool.scales, pool.map_levels = [1 / 4, 1 / 8, 1 / 16, 1 / 32], initLevelMapper(2, 5)
    for outputs in (model.rpn.head, model.roi_heads.box_predictor):
        outputs.register_forward_hook(_in_float32)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d) and config.frozen_eps is not None:
            module.eps = config.frozen_eps
    return model


def _weigh(loss: LossConfig, module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """Return the losses weighted; detections as they are."""
    return weigh_losses(outputs, loss) if isinstance(outputs, dict) else outputs


def _in_float32(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """Return scores and box shifts in float32, whatever they were computed in.

    torchvision computes boxes in the dtype of the shifts; under autocast, in bfloat16, the edge of a box at
    1400 px has steps of 8 px.
    """
    return tuple(
        [level.float() for level in one] if isinstance(one, list) else one.float() for one in outputs
    )


def _norm_layer(norm: str) -> Callable[[int], nn.Module]:
    """Return what builds a normalisation of channels; "sync" becomes synchronous when training starts."""
    if norm == "group":
        return partial(nn.GroupNorm, GROUPS)
    return FrozenNorm if norm == "frozen" else nn.BatchNorm2d


def _backbone(config: DetectorConfig) -> BackboneWithFPN:
    build = getattr(torchvision.models, config.backbone)
    resnet = build(weights=None, norm_layer=_norm_layer(config.norm))
    layers = 5 if config.trainable_layers is None else config.trainable_layers
    trained = ("layer4", "layer3", "layer2", "layer1", "conv1")[:layers] + (("bn1",) if layers == 5 else ())
    for name, parameter in resnet.named_parameters():
        parameter.requires_grad_(name.startswith(trained))
    stage_channels = [resnet.inplanes // 8 * 2**stage for stage in range(4)]
    return BackboneWithFPN(
        resnet,
        return_layers={f"layer{stage + 1}": str(stage) for stage in range(4)},
        in_channels_list=stage_channels,
        out_channels=config.fpn_channels,
        extra_blocks=LastLevelMaxPool(),
    )


def set_thresholds(model: FasterRCNN, *, score: float | None = None, nms: float | None = None) -> None:
    """Change the score and NMS thresholds of a built detector."""
    if score is not None:
        _check_unit("score_threshold", score)
        model.roi_heads.score_thresh = score
    if nms is not None:
        _check_unit("nms_threshold", nms)
        model.roi_heads.nms_thresh = nms


def move(model: FasterRCNN, device: torch.device) -> FasterRCNN:
    """Move to a device, in channels_last, the memory layout that convolutions are fastest in."""
    return model.to(device=device, memory_format=torch.channels_last)


def _check_unit(field: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError("must be 0 to 1", field=field, value=value)
