"""Convolutions with everything folded in, on feature maps that are computed only where something is.

The normalisation goes into the weights, ReLU and the residual sum into the convolution's own output loop
(oneDNN's post-operations, the ones that torch's Inductor calls), so that no map is read or written for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops.misc import FrozenBatchNorm2d

from mammodet.detection.bands import Band

Weights = tuple[Tensor, Tensor]  # kernel [out, in, k, k] and bias [out], float32


@dataclass(frozen=True)
class Quantisation:
    """How uint8 stands for real values: ``(stored - zero) * scale``."""

    scale: float
    zero: int

    def store(self, values: Tensor) -> Tensor:
        """Return real values as uint8; those out of range become the nearest that there is."""
        return (values / self.scale + self.zero).round_().clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class BandedMap:
    """A feature map of which only the bands exist; elsewhere every position has the values ``air``.

    Parameters
    ----------
    parts:
        One tensor [1, C, h, w] in channels_last per band.
    bands:
        Where the parts lie, disjoint and from top to bottom.
    stride:
        Pixels of the image per pixel of the map, 1 to 32.
    size:
        (height, width) of the whole map.
    air:
        [C], float32, real values.
    quantisation:
        Of the parts when they are uint8; None when they hold real values.
    """

    parts: list[Tensor]
    bands: tuple[Band, ...]
    stride: int
    size: tuple[int, int]
    air: Tensor
    quantisation: Quantisation | None = None

    @property
    def is_whole(self) -> bool:
        """Whether one band covers the whole map."""
        return len(self.bands) == 1 and self.bands[0].at(self.stride) == (0, self.size[0], 0, self.size[1])

    def padded(self, index: int, padding: int, stride: int) -> tuple[int, Tensor]:
        """Return how a convolution gets one part: the zeros that it must add itself, and its input."""
        if not padding or self.is_whole:
            return padding, self.parts[index]
        # A strided kernel of 3 ends on the last row of an even map and needs nothing after it.
        return 0, self.surrounded(index, padding, padding if stride == 1 else padding - 1)

    def surrounded(self, index: int, before: int, after: int) -> Tensor:
        """Return one part, ``before`` rows and columns longer at top and left, ``after`` at bottom and right.

        What surrounds it is the neighbouring bands, air, and beyond the map zeros, as a convolution pads.
        """
        part = self.parts[index]
        top, bottom, left, right = self.bands[index].at(self.stride)
        y1, y2, x1, x2 = top - before, bottom + after, left - before, right + after
        filled = _empty_like(part, y2 - y1, x2 - x1)
        air = self.stored_air()[None, :, None, None]
        for edge in (
            filled[:, :, :before],
            filled[:, :, filled.shape[2] - after :],
            filled[:, :, :, :before],
            filled[:, :, :, filled.shape[3] - after :],
        ):
            edge.copy_(air.expand_as(edge))
        filled[:, :, before : before + bottom - top, before : before + right - left] = part
        for other, band in zip(self.parts, self.bands, strict=True):
            if other is not part:
                self._copy_overlap(filled, (y1, y2, x1, x2), other, band)
        nothing = 0 if self.quantisation is None else self.quantisation.zero
        _fill_beyond(filled, (y1, y2, x1, x2), self.size, nothing)
        return filled

    def _copy_overlap(
        self, filled: Tensor, window: tuple[int, int, int, int], other: Tensor, band: Band
    ) -> None:
        y1, y2, x1, x2 = window
        top, bottom, left, right = band.at(self.stride)
        ya, yb, xa, xb = max(y1, top), min(y2, bottom), max(x1, left), min(x2, right)
        if ya < yb and xa < xb:
            filled[:, :, ya - y1 : yb - y1, xa - x1 : xb - x1] = other[
                :, :, ya - top : yb - top, xa - left : xb - left
            ]

    def stored_air(self) -> Tensor:
        """Return ``air`` as the parts hold values, [C]."""
        return (
            self.air.to(self.parts[0].dtype)
            if self.quantisation is None
            else self.quantisation.store(self.air)
        )

    def whole(self) -> Tensor:
        """Return the whole map [1, C, height, width], with air outside the bands."""
        if self.is_whole:
            return self.parts[0]
        full = _empty_like(self.parts[0], *self.size)
        full.copy_(self.stored_air()[None, :, None, None].expand_as(full))
        for part, band in zip(self.parts, self.bands, strict=True):
            top, bottom, left, right = band.at(self.stride)
            full[:, :, top:bottom, left:right] = part
        return full


def _empty_like(part: Tensor, height: int, width: int) -> Tensor:
    shape = (1, part.shape[1], height, width)
    return torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=torch.channels_last)


def _fill_beyond(
    filled: Tensor, window: tuple[int, int, int, int], size: tuple[int, int], value: float
) -> None:
    y1, y2, x1, x2 = window
    if y1 < 0:
        filled[:, :, :-y1] = value
    if y2 > size[0]:
        filled[:, :, size[0] - y2 :] = value
    if x1 < 0:
        filled[:, :, :, :-x1] = value
    if x2 > size[1]:
        filled[:, :, :, size[1] - x2 :] = value


def folded(convolution: nn.Conv2d, norm: nn.Module | None = None) -> Weights:
    """Return kernel and bias, float32, of a convolution and the batch normalisation after it."""
    kernel = convolution.weight.detach().float()
    bias = kernel.new_zeros(len(kernel)) if convolution.bias is None else convolution.bias.detach().float()
    if norm is None:
        return kernel, bias
    if not isinstance(norm, FrozenBatchNorm2d | nn.BatchNorm2d):
        raise TypeError(f"cannot fold {type(norm).__name__} into a convolution")
    assert isinstance(norm.running_var, Tensor) and isinstance(norm.running_mean, Tensor)
    scale = norm.weight.detach().float() * (norm.running_var.float() + norm.eps).rsqrt()
    shift = norm.bias.detach().float() - norm.running_mean.float() * scale
    return kernel * scale[:, None, None, None], bias * scale + shift


class FusedConvolution:
    """A convolution with its bias, a sum and ReLU in one pass over the output.

    Parameters
    ----------
    weights:
        Kernel and bias, float32, see ``folded``.
    stride:
        Step of the kernel.
    relu:
        Whether negative outputs become 0.
    dtype:
        Of kernel, input and output.
    device:
        On the CPU oneDNN's post-operations are used where torch has them, elsewhere plain torch operations.
    """

    def __init__(
        self,
        weights: Weights,
        stride: int = 1,
        *,
        relu: bool,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        kernel, bias = weights
        self.stride = stride
        self.relu = relu
        self.padding = kernel.shape[-1] // 2
        self._summed = kernel.sum(dim=(2, 3)).to(device)
        self._bias32 = bias.to(device)
        self.kernel = kernel.to(device, dtype).contiguous(memory_format=torch.channels_last)
        self.bias = bias.to(device, dtype)
        self._fused = device.type == "cpu" and has_fused_convolutions() and can_fuse(dtype)
        self._packed: dict[int, Tensor] = {}

    def __call__(self, x: Tensor, padding: int, add: Tensor | None = None) -> Tensor:
        """Return the output [1, out, h, w] of ``x`` [1, in, H, W]; ``add`` is summed up and overwritten."""
        if not self._fused:
            y = F.conv2d(x, self.kernel, self.bias, self.stride, padding)
            y = y if add is None else y.add_(add)
            return y.relu_() if self.relu else y
        x, stride = subsampled(x, self.stride, self.padding)
        geometry = [padding, padding], [stride, stride], [1, 1], 1
        kernel = self._kernel_for(x)
        after = "relu" if self.relu else None
        if add is None:
            fused = torch.ops.mkldnn._convolution_pointwise.default
            # Unlike a sum in place, this takes a bias that was not rounded.
            return fused(x, kernel, self._bias32, *geometry, after or "none", [], "")
        in_place = torch.ops.mkldnn._convolution_pointwise_.binary
        return in_place(add, x, kernel, self.bias, *geometry, "add", 1.0, after, [], "")

    def on_air(self, air: Tensor, add: Tensor | None = None) -> Tensor:
        """Return the output [out] where all inputs are ``air`` [in]; float32."""
        y = self._summed @ air + self._bias32
        y = y if add is None else y + add
        return y.relu() if self.relu else y

    def on_map(self, x: BandedMap, add: BandedMap | None = None) -> BandedMap:
        """Return the output on every band of a map; the parts of ``add`` are overwritten."""
        parts = []
        for index in range(len(x.parts)):
            padding, source = x.padded(index, self.padding, self.stride)
            parts.append(self(source, padding, None if add is None else add.parts[index]))
        size = (x.size[0] // self.stride, x.size[1] // self.stride)
        air = self.on_air(x.air, None if add is None else add.air)
        return BandedMap(parts, x.bands, x.stride * self.stride, size, air)

    def _kernel_for(self, x: Tensor) -> Tensor:
        """Return the kernel in the layout that oneDNN prefers for inputs of about this size.

        With another layout it would be rearranged at every call, which takes longer than a small convolution.
        """
        size = size_class(x)
        if size not in self._packed:
            around, stride = [self.padding, self.padding], self.stride if self.padding else 1
            self._packed[size] = torch.ops.mkldnn._reorder_convolution_weight(
                self.kernel, around, [stride, stride], [1, 1], 1, list(x.shape)
            )
        return self._packed[size]


def subsampled(x: Tensor, stride: int, padding: int) -> tuple[Tensor, int]:
    """Return the input and stride of an equal convolution: a strided kernel of 1 sees every second pixel.

    oneDNN's preferred layout for strided kernels of 1 changes from width to width.
    """
    if stride == 1 or padding:
        return x, stride
    return x[:, :, ::stride, ::stride].contiguous(memory_format=torch.channels_last), 1


def size_class(x: Tensor) -> int:
    """Return the power of two below the positions of a map; from 4096 on oneDNN treats all alike."""
    return min(12, (x.shape[2] * x.shape[3]).bit_length() - 1)


def has_fused_convolutions() -> bool:
    """Tell whether this build of torch has oneDNN's convolutions with post-operations."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def can_fuse(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN's fused convolutions take ``dtype`` here: not every processor has bfloat16."""
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def concatenated_rows(maps: Sequence[Tensor]) -> Tensor:
    """Return channels_last maps [1, C, h, w] as one table [positions, C], a view for a single map."""
    rows = [one.permute(0, 2, 3, 1).reshape(-1, one.shape[1]) for one in maps]
    return rows[0] if len(rows) == 1 else torch.cat(rows)
