"""How training images of classifiers are varied, by torchvision's transforms.v2."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from mammodet.datasets.errors import InputError
from mammodet.networks.variation import Variation


@dataclass(frozen=True)
class VariationConfig(Variation):
    """How training cases of classifiers are varied; 0 switches a change off.

    Args:
        rotation: largest rotation in degrees, to either side; corners without a pixel become air.
        rotation_from: smallest rotation; with it, rotation goes from there to the largest, to one side.
        quarter_turns: also turn by 0, 90, 180 or 270 degrees.
    """

    rotation: float = 0.0
    rotation_from: float | None = None
    quarter_turns: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rotation <= 180:
            raise InputError("must be 0 to 180 degrees", field="augment.rotation", value=self.rotation)
        if self.rotation_from is not None and not -180 <= self.rotation_from <= self.rotation:
            raise InputError(
                "must be -180 to augment.rotation", field="augment.rotation_from", value=self.rotation_from
            )


class QuarterTurn(nn.Module):
    """Turn an image [..., H, W] by none, one, two or three quarters of a full turn."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the turned image; H and W change places at every second one."""
        return tv_tensors.Image(torch.rot90(image, int(torch.randint(4, ())), dims=(-2, -1)))


def build_variation(config: VariationConfig) -> nn.Module:
    """Return a transform of float32 [1, H, W], 0 to 1, to the same, which draws from torch's generator."""
    steps: list[nn.Module] = [v2.ToImage(), *config.flips()]
    if config.quarter_turns:
        steps.append(QuarterTurn())
    if config.rotation or config.rotation_from:
        first = -config.rotation if config.rotation_from is None else config.rotation_from
        degrees = (first, config.rotation)
        steps.append(v2.RandomRotation(degrees, interpolation=v2.InterpolationMode.BILINEAR))
    return v2.Compose([*steps, *config.tones(), v2.ToPureTensor()])
