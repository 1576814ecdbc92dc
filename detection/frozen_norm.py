"""Frozen batch normalisation that gives back the dtype it was given in training, and makes one copy less."""

from __future__ import annotations

from torch import Tensor
from torchvision.ops.misc import FrozenBatchNorm2d


class FrozenNorm(FrozenBatchNorm2d):
    """torchvision's ``FrozenBatchNorm2d``, for feature maps of hundreds of megabytes.

    torchvision's multiplies bfloat16 by float32 statistics: the maps, and with them all that residual blocks
    pass on and training keeps, become float32. Here arithmetic stays in float32, and in training the result
    is rounded once to the dtype of the input, as ``BatchNorm2d`` does. In float32 and in inference the
    numbers are torchvision's, bit for bit.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, float ``[N, C, H, W]``, scaled and shifted by channel."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        # Written over: a product remembers for its gradient only the scale. ``x`` itself is not ours.
        wide = x * scale[:, None, None] if x.dtype == scale.dtype else x.float().mul_(scale[:, None, None])
        wide = wide.add_(shift[:, None, None])
        return wide.to(x.dtype) if self.training else wide
