"""SPPNet: a ResNet with spatial pyramid pooling, for whole mammograms of any size (Lin et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mammodet.classification.bodies import RESNETS, resnet_body
from mammodet.classification.classifier import (
    Classifier,
    check_choice,
    check_normalisation,
    check_outputs,
    resolved,
)
from mammodet.classification.spp import SpatialPyramidPooling, check_levels
from mammodet.classification.start_weights import load_start_weights


@dataclass(frozen=True)
class SPPNetConfig:
    """Architecture of the classifier of whole mammograms.

    Args:
        backbone: ResNet under the pooling.
        levels: bins along a side of each grid of the pooling.
        classes: names of the outputs, such as [benign, malignant] or [normal, benign, malignant].
        dropout: share of features that training leaves out in front of the last layer.
        channels: channels of the first convolution; 3 gets the grey image three times, 1 gets it once.
        image_mean: mean of the pixels, 0 to 1; null means measured on the training images.
        image_std: their standard deviation; null means measured on the training images.
    """

    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = "resnet18"
    levels: tuple[int, ...] = (1, 2, 4)
    classes: tuple[str, ...] = ("benign", "malignant")
    dropout: float = 0.0
    channels: Literal[1, 3] = 3
    image_mean: float | None = None
    image_std: float | None = None

    def __post_init__(self) -> None:
        check_choice("backbone", self.backbone, RESNETS)
        check_choice("channels", self.channels, (1, 3))
        check_levels(self.levels)
        check_outputs(self.classes, self.dropout)
        check_normalisation(self.image_mean, self.image_std)


def build_sppnet(config: SPPNetConfig, weights: str = "none") -> Classifier:
    """Return the network with its start weights, in training mode on the CPU.

    Parameters
    ----------
    config:
        With ``image_mean`` and ``image_std`` resolved.
    weights:
        ``none``, ``imagenet`` or a file, see ``load_start_weights``.

    Returns
    -------
    Classifier
        Images float32 [N, 1, H, W], 0 to 1, H and W from 1 px (sensible from 97 px, where the last map has
        as many cells as the finest default level) -> logits [N, classes]; ``features`` [N, 512 * 21] for the
        defaults.
    """
    mean, std = resolved(config.image_mean, config.image_std)
    pool = SpatialPyramidPooling(config.levels)
    body, width = resnet_body(config.backbone, config.channels, pool)
    network = Classifier(
        body,
        width * pool.bins,
        config.classes,
        channels=config.channels,
        mean=mean,
        std=std,
        dropout=config.dropout,
    )
    load_start_weights(network, weights, config.backbone)
    return network
