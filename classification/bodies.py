"""Networks of torchvision without their last layer, for one or three channels."""

from __future__ import annotations

from dataclasses import dataclass

import torchvision
from torch import nn
from torchvision.models import AlexNet, ResNet

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")


def resnet_body(name: str, channels: int, pool: nn.Module | None = None) -> tuple[nn.Module, int]:
    """Return a ResNet that ends in pooled features, and how many channels its last map has.

    ``pool`` replaces the global average, [N, C, h, w] -> [N, ...].
    """
    body = getattr(torchvision.models, name)(weights=None)
    width = body.fc.in_features
    body.fc = nn.Identity()
    if pool is not None:
        body.avgpool = pool
    if channels != 3:
        body.conv1 = _with_channels(body.conv1, channels)
    return body, width


def alexnet_body(channels: int, dropout: float) -> tuple[nn.Module, int]:
    """Return AlexNet up to its second hidden layer, 4096 features; from 63 px on.

    Its last map is averaged to 6 x 6 bins whatever the image's size (torchvision's own adaptive pooling): at
    112 px, 2 x 2 cells are each shown by several bins, at 674 px, 20 x 20 cells are averaged.
    """
    body = torchvision.models.alexnet(weights=None, dropout=dropout)
    body.classifier = body.classifier[:-1]
    if channels != 3:
        body.features[0] = _with_channels(body.features[0], channels)
    return body, 4096


@dataclass(frozen=True, eq=False)
class LastMap:
    """Where the last feature map of a body lies.

    Parameters
    ----------
    layer:
        The module whose output it is, [N, C, h, w].
    rest:
        What the body computes of it, [N, C, h, w] -> features [N, D]; the weights are the body's own.
    stride, first:
        Cell ``i`` of an axis is centred on pixel ``first + i * stride``, in pixels from the first one.
    """

    layer: nn.Module
    rest: nn.Module
    stride: int
    first: int


def last_map(body: nn.Module) -> LastMap:
    """Return the last feature map of a body: of a ResNet behind layer4, of AlexNet behind its convolutions.

    Convolutions of odd size with padding on both sides keep the first cell on the first pixel, which is all
    that ResNets have. AlexNet's first one has two pixels less, and its poolings have no padding.
    """
    if isinstance(body, ResNet):
        return LastMap(body.layer4, nn.Sequential(body.avgpool, nn.Flatten(), body.fc), 32, 0)
    assert isinstance(body, AlexNet), type(body)
    return LastMap(body.features, nn.Sequential(body.avgpool, nn.Flatten(), body.classifier), 32, 31)


def _with_channels(convolution: nn.Conv2d, channels: int) -> nn.Conv2d:
    """Return a new first convolution, initialised as torch does, in torchvision's scale for ResNets."""
    new = nn.Conv2d(
        channels,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        convolution.stride,  # type: ignore[arg-type]
        convolution.padding,  # type: ignore[arg-type]
        bias=convolution.bias is not None,
    )
    if new.bias is None:  # of a ResNet
        nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    return new
