"""What all classifiers share: grey pixels in, features, one linear layer, logits out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur

from mammodet.datasets.errors import InputError

# Means over torchvision's three colours, for those who want ImageNet's normalisation on grey pixels.
IMAGENET_GREY_MEAN, IMAGENET_GREY_STD = 0.449, 0.226

FILE_FORMAT = "mammodet.classifier/1"
FILE_REMEDY = "give the model file of a classifier of mammodet"


class Classifier(nn.Module):
    """A network of torchvision without its last layer, for grey images, and a last layer of our own.

    Parameters
    ----------
    body:
        [N, channels, H, W] -> features [N, D]; its parameters are named as torchvision names them.
    features:
        D.
    classes:
        Names of the outputs.
    channels:
        Channels of the first convolution: 3 gets the grey image three times, 1 gets it once. With ImageNet
        weights, which are summed over the colours for 1, both compute the same.
    mean, std:
        Normalisation of pixels of 0 to 1, before they are repeated.
    dropout:
        Share of features that training leaves out in front of the last layer.
    blur:
        Standard deviation, in pixels, of the Gaussian that pixels are blurred with before all else; 0 does
        not.
    resize:
        Side of the square that images are then resized to; None keeps their size.
    """

    def __init__(
        self,
        body: nn.Module,
        features: int,
        classes: Sequence[str],
        *,
        channels: int,
        mean: float,
        std: float,
        dropout: float,
        blur: float = 0.0,
        resize: int | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, len(classes))
        self.classes = tuple(classes)
        self.channels = channels
        self.mean = mean
        self.std = std
        self.blur = blur
        self.resize = resize

    def features(self, images: Tensor) -> Tensor:
        """Return what the last layer gets, [N, D], of float images [N, 1, H, W] of 0 to 1."""
        if self.blur:
            reach = 2 * math.ceil(3 * self.blur) + 1
            images = gaussian_blur(images, [reach, reach], [self.blur, self.blur])
        if self.resize is not None:
            images = functional.interpolate(
                images, (self.resize, self.resize), mode="bilinear", antialias=True, align_corners=False
            )
        normalised = (images - self.mean) / self.std
        found: Tensor = self.body(normalised.expand(-1, self.channels, -1, -1))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Return logits float32 [N, classes] of float images [N, 1, H, W] of 0 to 1.

        The last layer computes in float32 under autocast too: bfloat16 logits are so coarse that images get
        equal scores, which flattens ROC and FROC curves.
        """
        features = self.dropout(self.features(images))
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features.to(self.head.weight.dtype))
        return logits.float()

    def class_index(self, name: str) -> int:
        """Return the output of the class ``name``; InputError for a class that the network does not tell."""
        if name not in self.classes:
            raise InputError(
                "the network has no such class",
                field="class",
                value=name,
                remedy=f"choose one of {', '.join(self.classes)}",
            )
        return self.classes.index(name)


def check_choice(field: str, value: Any, choices: Sequence[Any], group: str = "model") -> None:
    """Raise InputError unless ``value`` is one of ``choices``."""
    if value not in choices:
        remedy = f"choose one of {', '.join(map(str, choices))}"
        raise InputError("unknown choice", field=f"{group}.{field}", value=value, remedy=remedy)


def check_outputs(classes: Sequence[str], dropout: float | None, group: str = "model") -> None:
    """Raise InputError unless there are two or more different classes, and dropout is a share below 1."""
    named = all(isinstance(name, str) and name for name in classes)
    if isinstance(classes, str) or not named or len(set(classes)) != len(classes) or len(classes) < 2:
        raise InputError(
            "must be two or more different names",
            field=f"{group}.classes",
            value=classes if isinstance(classes, str) else tuple(classes),
            remedy="give such as [benign, malignant]",
        )
    if dropout is not None and not 0 <= dropout < 1:
        raise InputError("must be from 0 to below 1", field="model.dropout", value=dropout)


def check_normalisation(mean: float | None, std: float | None) -> None:
    """Raise InputError unless mean and deviation are numbers, the deviation above 0; None is unknown."""
    for name, value in (("image_mean", mean), ("image_std", std)):
        if value is not None and not math.isfinite(value):
            raise InputError("must be a number", field=f"model.{name}", value=value)
    if std is not None and std <= 0:
        raise InputError("must be above 0", field="model.image_std", value=std)


def resolved(mean: float | None, std: float | None) -> tuple[float, float]:
    """Return mean and deviation, which a network cannot be built without; ValueError when one is None."""
    if mean is None or std is None:
        raise ValueError("image_mean and image_std must be resolved before the network is built")
    return mean, std
