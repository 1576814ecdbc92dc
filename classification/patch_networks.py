"""Classifiers of patches: AlexNet and ResNets with an output per class.

Published with them:

- Pesapane et al. 2023: AlexNet, ResNet18 and ResNet34 with two outputs, from random weights, on windows of
  112 px which are blurred, normalised and resized.
- Mracko et al. 2024: ResNet101 from ImageNet weights, on windows of 674 px.

We know the constants of neither normalisation. Here pixels are 0 to 1 by the recipe, and ``image_mean`` and
``image_std`` are those of the training patches unless given, as for the detector; for ImageNet's own take
``IMAGENET_GREY_MEAN`` and ``IMAGENET_GREY_STD``. How much was blurred and to which size patches were resized
is not known to us either; ``blur`` and ``resize`` are part of the network, so that a heatmap does the same.
All networks take any size, so nothing has to be enlarged to 224 px.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mammodet.classification.bodies import RESNETS, alexnet_body, resnet_body
from mammodet.classification.classifier import (
    Classifier,
    check_choice,
    check_normalisation,
    check_outputs,
    resolved,
)
from mammodet.classification.start_weights import load_start_weights
from mammodet.datasets.errors import InputError

NETWORKS = ("alexnet", *RESNETS)
_SMALLEST = {"alexnet": 63}  # px; below, a map of AlexNet has no cells left
_ALEXNET_DROPOUT = 0.5  # of its hidden layers, as published by Krizhevsky et al. 2012


@dataclass(frozen=True)
class PatchNetworkConfig:
    """Architecture of a classifier of patches.

    Args:
        network: AlexNet or a ResNet.
        size: side of the patches that it is trained on, in pixels; windows of a heatmap are as large.
        classes: names of the outputs, such as [normal, suspicious] or [benign, malignant].
        dropout: share of features that training leaves out: of AlexNet in front of its two hidden layers, of
            a ResNet in front of the last layer; null means 0.5 for AlexNet and 0 for ResNets, as published.
        channels: channels of the first convolution; 3 gets the grey image three times, 1 gets it once.
        image_mean: mean of the pixels, 0 to 1; null means measured on the training patches.
        image_std: their standard deviation; null means measured on the training patches.
        blur: standard deviation in pixels of the Gaussian that patches are blurred with; 0 does not.
        resize: side in pixels that patches are resized to after that; null keeps their size.
    """

    network: Literal["alexnet", "resnet18", "resnet34", "resnet50", "resnet101"] = "resnet18"
    size: int = 112
    classes: tuple[str, ...] = ("benign", "malignant")
    dropout: float | None = None
    channels: Literal[1, 3] = 3
    image_mean: float | None = None
    image_std: float | None = None
    blur: float = 0.0
    resize: int | None = None

    def __post_init__(self) -> None:
        check_choice("network", self.network, NETWORKS)
        check_choice("channels", self.channels, (1, 3))
        smallest = _SMALLEST.get(self.network, 32)
        seen, name = (self.size, "size") if self.resize is None else (self.resize, "resize")
        if not smallest <= seen <= 4096:
            raise InputError(f"must be {smallest} to 4096 px", field=f"model.{name}", value=seen)
        if not 8 <= self.size <= 4096:
            raise InputError("must be 8 to 4096 px", field="model.size", value=self.size)
        if not 0 <= self.blur <= 100:
            raise InputError("must be 0 to 100 px", field="model.blur", value=self.blur)
        check_outputs(self.classes, self.dropout)
        check_normalisation(self.image_mean, self.image_std)


def build_patch_network(config: PatchNetworkConfig, weights: str = "none") -> Classifier:
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
        Patches float32 [N, 1, s, s], 0 to 1 -> logits [N, classes]; ``features`` [N, 4096] of AlexNet, [N,
        512] of ResNet18 and ResNet34, [N, 2048] of the deeper ones.
    """
    mean, std = resolved(config.image_mean, config.image_std)
    if config.network == "alexnet":
        inner = _ALEXNET_DROPOUT if config.dropout is None else config.dropout
        (body, features), dropout = alexnet_body(config.channels, inner), 0.0
    else:
        (body, features), dropout = resnet_body(config.network, config.channels), config.dropout or 0.0
    network = Classifier(
        body,
        features,
        config.classes,
        channels=config.channels,
        mean=mean,
        std=std,
        dropout=dropout,
        blur=config.blur,
        resize=config.resize,
    )
    load_start_weights(network, weights, config.network)
    return network
