"""Convolutions with everything folded in: normalisation, ReLU and the residual sum.

The normalisation goes into the weights, ReLU and the residual sum into the convolution's own output loop
(oneDNN's post-operations, the ones that torch's Inductor calls), so that no map is read or written for them.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops.misc import FrozenBatchNorm2d

from mammodet.detection.banded import BandedMap

# Positions of a map from which oneDNN prefers another layout for kernels of 1; of larger kernels all layouts
# are about as fast. A kernel in the wrong one is rearranged at each call, which takes longer than a small
# convolution.
_LAYOUTS_FROM = (64, 2048)

Weights = tuple[Tensor, Tensor]  # kernel [out, in, k, k] and bias [out], float32


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
    fused:
        Whether oneDNN's post-operations are used; None asks ``can_fuse``.

    With post-operations it holds at most three copies of its kernel, one for each layout.
    """

    def __init__(
        self,
        weights: Weights,
        stride: int = 1,
        *,
        relu: bool,
        dtype: torch.dtype,
        device: torch.device,
        fused: bool | None = None,
    ) -> None:
        kernel, bias = weights
        self.stride = stride
        self.relu = relu
        self.padding = kernel.shape[-1] // 2
        self._summed = kernel.sum(dim=(2, 3)).to(device)
        self._bias32 = bias.to(device)
        self._kernel: Tensor | None = kernel.to(device, dtype).contiguous(memory_format=torch.channels_last)
        self.bias = bias.to(device, dtype)
        self._fused = (device.type == "cpu" and can_fuse(dtype)) if fused is None else fused
        self._packed: dict[int, Tensor] = {}

    def __call__(self, x: Tensor, padding: int, add: Tensor | None = None) -> Tensor:
        """Return the output [1, out, h, w] of ``x`` [1, in, H, W]; ``add`` is summed up and overwritten."""
        if not self._fused:
            assert self._kernel is not None
            y = F.conv2d(x, self._kernel, self.bias, self.stride, padding)
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
        """Return the kernel in the layout that oneDNN prefers for inputs of about this size."""
        size = size_class(x)
        if size not in self._packed:
            assert self._kernel is not None
            around, stride = [self.padding, self.padding], self.stride if self.padding else 1
            self._packed[size] = torch.ops.mkldnn._reorder_convolution_weight(
                self._kernel, around, [stride, stride], [1, 1], 1, list(x.shape)
            )
            if len(self._packed) > len(_LAYOUTS_FROM):
                self._kernel = None  # no other copy will be made of it
        return self._packed[size]


def subsampled(x: Tensor, stride: int, padding: int) -> tuple[Tensor, int]:
    """Return the input and stride of an equal convolution: a strided kernel of 1 sees every second pixel.

    oneDNN's preferred layout for strided kernels of 1 changes from width to width.
    """
    if stride == 1 or padding:
        return x, stride
    return x[:, :, ::stride, ::stride].contiguous(memory_format=torch.channels_last), 1


def size_class(x: Tensor) -> int:
    """Return the number of the layout, 0 to 2, that kernels have for maps of the size of ``x``."""
    return sum(x.shape[2] * x.shape[3] >= bound for bound in _LAYOUTS_FROM)


@cache
def can_fuse(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN's convolutions with post-operations work here in ``dtype``.

    They are private to torch, and not every processor has them in bfloat16. So small ones are tried, with and
    without a sum, and compared with plain ones.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    kernel = torch.arange(-32.0, 32.0).reshape(8, 8, 1, 1) / 8
    ours, plain = (
        FusedConvolution(
            (kernel, torch.ones(8)), relu=True, dtype=dtype, device=torch.device("cpu"), fused=fused
        )
        for fused in (True, False)
    )
    x = torch.arange(-64.0, 64.0).reshape(1, 8, 4, 4).to(dtype) / 64
    x = x.contiguous(memory_format=torch.channels_last)
    try:
        with torch.inference_mode():
            pairs = [(ours(x, 0), plain(x, 0)), (ours(x, 0, x.clone()), plain(x, 0, x.clone()))]
    except (
        RuntimeError,
        AttributeError,
        TypeError,
    ):  # missing, of another signature, or not on this processor
        return False
    return all(torch.allclose(one, other, rtol=0.02, atol=0.02) for one, other in pairs)
