"""Backbone, feature pyramid and proposal head of a detector, prepared for inference.

The same network as the plain torchvision modules it is made from, computed with fused convolutions on the
bands of a mammogram that are not air.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.resnet import BasicBlock, Bottleneck

from mammodet.detection.banded import BandedMap
from mammodet.detection.bands import Band
from mammodet.detection.fused_convolution import FusedConvolution, Weights, folded


class MapConvolution(Protocol):
    """A convolution that takes banded maps."""

    def on_map(self, x: BandedMap, add: BandedMap | None = None) -> BandedMap:
        """Return the output on every band; the parts of ``add`` may be overwritten."""
        ...


# Takes a name, folded weights, a stride and whether ReLU follows.
Build = Callable[[str, Weights, int, bool], MapConvolution]

STEM_REACH = 5  # pixels around a band that its stem and max-pooling see: 3 of the kernel, 2 of the pooling


@dataclass(frozen=True)
class Level:
    """One level of the pyramid, ready for proposals and pooling.

    ``features`` and ``scores`` (anchors' scores and their box shifts, ``[1, anchors * 5, h, w]``: all scores
    first) share their bands.
    """

    features: BandedMap
    scores: BandedMap


class Residual:
    """A residual block of a ResNet, with its normalisations folded in."""

    def __init__(self, name: str, block: BasicBlock | Bottleneck, build: Build) -> None:
        pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
        if isinstance(block, Bottleneck):
            pairs.append((block.conv3, block.bn3))
        # ReLU follows all of them, on the last one after the sum.
        self.convolutions = [
            build(f"{name}.conv{number}", folded(one, norm), one.stride[0], True)
            for number, (one, norm) in enumerate(pairs, start=1)
        ]
        self.shortcut = None
        if block.downsample is not None:
            convolution, norm = block.downsample
            weights = folded(convolution, norm)
            self.shortcut = build(f"{name}.downsample", weights, convolution.stride[0], False)

    def __call__(self, x: BandedMap) -> BandedMap:
        """Return the block's output; ``x`` is overwritten by it where there is no shortcut convolution."""
        y = x
        for convolution in self.convolutions[:-1]:
            y = convolution.on_map(y)
        return self.convolutions[-1].on_map(y, x if self.shortcut is None else self.shortcut.on_map(x))


class FusedNetwork:
    """From the pixels of one image to the pyramid's maps and the scores of all anchors.

    Parameters
    ----------
    model:
        The plain detector; it is not changed, and its weights are copied.
    dtype:
        float32 or bfloat16, of the first convolution at least.
    device:
        Where it runs.
    build:
        Makes all convolutions but the first; None makes fused ones of ``dtype``.
    """

    def __init__(
        self, model: FasterRCNN, dtype: torch.dtype, device: torch.device, build: Build | None = None
    ) -> None:
        self.dtype = dtype
        self.device = device

        def fused(name: str, weights: Weights, stride: int, relu: bool) -> FusedConvolution:
            return FusedConvolution(weights, stride, relu=relu, dtype=dtype, device=device)

        build = build or fused
        body, pyramid, head = model.backbone.body, model.backbone.fpn, model.rpn.head
        self.stem = fused("stem", _for_split_grey(folded(body.conv1, body.bn1), dtype), 2, True)
        self.stages = [
            [
                Residual(f"layer{stage}.{number}", block, build)
                for number, block in enumerate(body[f"layer{stage}"])
            ]
            for stage in (1, 2, 3, 4)
        ]
        self.inner = [
            build(f"inner{number}", folded(_only(block)), 1, False)
            for number, block in enumerate(pyramid.inner_blocks)
        ]
        self.outer = [
            build(f"outer{number}", folded(_only(block)), 1, False)
            for number, block in enumerate(pyramid.layer_blocks)
        ]
        self.proposal = build("proposal", folded(_only(head.conv, nn.ReLU)), 1, True)
        self.scores = build("scores", _joined(head.cls_logits, head.bbox_pred), 1, False)

    def __call__(self, frame: Tensor, bands: Sequence[Band], air: float) -> list[Level]:
        """Compute the five levels P2 to P6.

        Parameters
        ----------
        frame:
            float32 [H, W], normalised; H and W are multiples of 32.
        bands:
            The parts of it that are to be computed.
        air:
            The normalised value of air.
        """
        with torch.inference_mode():
            x = self._stem(frame, tuple(bands), air)
            stages = []
            for blocks in self.stages:
                # A first block has a shortcut convolution wherever its input is an output of the backbone,
                # which must not be overwritten.
                for block in blocks:
                    x = block(x)
                stages.append(x)
            del x  # the pyramid lets go of each stage
            levels = [self._level(one) for one in self._pyramid(stages)]
            return [*levels, self._level(_subsampled(levels[-1].features))]

    def _stem(self, frame: Tensor, bands: tuple[Band, ...], air: float) -> BandedMap:
        """Return the first map, of stride 4: convolution and max-pooling."""
        around = F.pad(frame, (STEM_REACH,) * 4)
        split = _split(around, self.dtype)
        parts = []
        for band in bands:
            top, bottom, left, right = band.at(1)
            seen = split[:, :, top : bottom + STEM_REACH + 2, left : right + STEM_REACH + 2]
            y = self.stem(seen.contiguous(memory_format=torch.channels_last), 0)
            # Beyond the image is nothing, not what the kernel makes of zeros; after ReLU 0 is no maximum.
            if top == 0:
                y[:, :, 0] = 0
            if left == 0:
                y[:, :, :, 0] = 0
            parts.append(F.max_pool2d(y, 3, 2))
        value = _split(torch.full((1, 1), air, device=self.device), self.dtype).float().flatten()
        size = (frame.shape[0] // 4, frame.shape[1] // 4)
        return BandedMap(parts, bands, 4, size, self.stem.on_air(value))

    def _pyramid(self, stages: list[BandedMap]) -> list[BandedMap]:
        """Return the pyramid's four maps, finest first.

        ``stages`` is emptied on the way, and merged maps are let go of: together they take most of a gigabyte
        for a whole frame.
        """
        levels: list[BandedMap] = []
        merged: BandedMap | None = None
        for inner, outer in zip(reversed(self.inner), reversed(self.outer), strict=True):
            merged = inner.on_map(stages.pop(), None if merged is None else _doubled(merged))
            levels.insert(0, outer.on_map(merged))
        return levels

    def _level(self, features: BandedMap) -> Level:
        return Level(features, self.scores.on_map(self.proposal.on_map(features)))


def _for_split_grey(weights: Weights, dtype: torch.dtype) -> Weights:
    """Let the first convolution take the grey image once instead of three times.

    In bfloat16, whose eight bits do not hold the twelve of a mammogram, it takes the rounded image, what
    rounding took off, and the rounded image again, for the rounded kernel and what rounding took off that.
    """
    kernel, bias = weights
    summed = kernel.sum(dim=1, keepdim=True)
    if dtype == torch.float32:
        return summed, bias
    rounded = summed.to(dtype).float()
    return torch.cat([rounded, rounded, summed - rounded], dim=1), bias


def _split(frame: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a frame [H, W] as [1, 1 or 3, H, W], see ``_for_split_grey``."""
    if dtype == torch.float32:
        return frame[None, None]
    rounded = frame.to(dtype)
    return torch.stack([rounded, (frame - rounded.float()).to(dtype), rounded])[None]


def _only(module: nn.Module, *after: type[nn.Module]) -> nn.Conv2d:
    """Return the one convolution of a module, however torchvision wraps it.

    Raises TypeError when other layers than ``after`` follow it, which would not be computed.
    """
    expected: list[type[nn.Module]] = [nn.Conv2d, *after]
    layers = [one for one in module.modules() if next(one.children(), None) is None]
    found = [type(one) for one in layers]
    if found != expected:
        told, wanted = (", ".join(one.__name__ for one in kinds) for kinds in (found, expected))
        raise TypeError(f"cannot prepare a module of {told}, expected {wanted}")
    convolution = layers[0]
    assert isinstance(convolution, nn.Conv2d)
    return convolution


def _joined(*convolutions: nn.Conv2d) -> Weights:
    pairs = [folded(one) for one in convolutions]
    return torch.cat([kernel for kernel, _ in pairs]), torch.cat([bias for _, bias in pairs])


def _doubled(x: BandedMap) -> BandedMap:
    """Return a map at twice its size, every value repeated."""
    parts = [F.interpolate(part, scale_factor=2.0, mode="nearest") for part in x.parts]
    return replace(x, parts=parts, stride=x.stride // 2, size=(x.size[0] * 2, x.size[1] * 2))


def _subsampled(x: BandedMap) -> BandedMap:
    """Return every second row and column of a coarsest map, whole: the level that torchvision adds on top."""
    rows, columns = -(-x.size[0] // 2), -(-x.size[1] // 2)
    part = x.whole()[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)
    # A band counts cells of 32 pixels; this map, of stride 64, is given bands and stride of its own size.
    return BandedMap([part], (Band(0, rows, 0, columns),), 32, (rows, columns), x.air, x.quantisation)
