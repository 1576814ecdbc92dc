"""Changes of training images that need no boxes: mirroring, and grey values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from mammodet.datasets.errors import InputError


@dataclass(frozen=True)
class Variation:
    """How training images are varied; 0 switches a change off.

    Args:
        horizontal_flip: probability of mirroring left and right.
        vertical_flip: probability of mirroring up and down.
        brightness: largest relative change of brightness.
        contrast: largest relative change of contrast.
        gamma: largest relative change of the exponent of the tone curve.
        noise: standard deviation of added Gaussian noise, in units of the full range.
    """

    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    brightness: float = 0.1
    contrast: float = 0.1
    gamma: float = 0.1
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("horizontal_flip", "vertical_flip", "brightness", "contrast", "gamma", "noise"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError("must be 0 to 1", field=f"augment.{name}", value=value)

    def flips(self) -> list[nn.Module]:
        """Return the transforms that mirror."""
        steps: list[nn.Module] = []
        if self.horizontal_flip:
            steps.append(v2.RandomHorizontalFlip(self.horizontal_flip))
        if self.vertical_flip:
            steps.append(v2.RandomVerticalFlip(self.vertical_flip))
        return steps

    def tones(self) -> list[nn.Module]:
        """Return the transforms that change grey values, of images of 0 to 1."""
        steps: list[nn.Module] = []
        if self.brightness or self.contrast:
            steps.append(v2.ColorJitter(brightness=self.brightness, contrast=self.contrast))
        if self.gamma:
            steps.append(RandomGamma(self.gamma))
        if self.noise:
            steps.append(v2.GaussianNoise(sigma=self.noise))
        return steps


class RandomGamma(v2.Transform):
    """Raise pixels (0 to 1) to a random power between ``1 / (1 + spread)`` and ``1 + spread``."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.spread = spread

    def make_params(self, flat_inputs: list[object]) -> dict[str, float]:
        """Draw one exponent for all inputs."""
        log_range = float(torch.log1p(torch.tensor(self.spread)))
        return {"gamma": float(torch.empty(1).uniform_(-log_range, log_range).exp())}

    def transform(self, inpt: object, params: dict[str, float]) -> object:
        """Apply the exponent to images, and to nothing else."""
        if isinstance(inpt, tv_tensors.Image):
            return tv_tensors.wrap(inpt.clamp(0, 1) ** params["gamma"], like=inpt)
        return inpt
