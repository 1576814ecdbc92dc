"""Augmentation by torchvision's transforms.v2, whose boxes move with the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from mammodet.datasets.errors import InputError


@dataclass(frozen=True)
class AugmentConfig:
    """How training images are varied; 0 switches a transform off.

    Args:
        horizontal_flip: probability of mirroring left and right.
        vertical_flip: probability of mirroring up and down.
        rotation: largest rotation in degrees; boxes become the upright boxes around the turned ones, so keep
            it small.
        brightness: largest relative change of brightness.
        contrast: largest relative change of contrast.
        gamma: largest relative change of the exponent of the tone curve.
        noise: standard deviation of added Gaussian noise, in units of the full range.
    """

    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    rotation: float = 5.0
    brightness: float = 0.1
    contrast: float = 0.1
    gamma: float = 0.1
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("horizontal_flip", "vertical_flip", "brightness", "contrast", "gamma", "noise"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError("must be 0 to 1", field=f"augment.{name}", value=value)
        if not 0 <= self.rotation <= 45:
            raise InputError("must be 0 to 45 degrees", field="augment.rotation", value=self.rotation)


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


def build_augmentation(config: AugmentConfig) -> nn.Module:
    """Return a transform of (Image float32 [1, H, W], {"boxes": BoundingBoxes, "labels": Tensor}).

    Boxes are clamped to the image; those left without a pixel are dropped together with their labels.
    """
    steps: list[nn.Module] = []
    if config.horizontal_flip:
        steps.append(v2.RandomHorizontalFlip(config.horizontal_flip))
    if config.vertical_flip:
        steps.append(v2.RandomVerticalFlip(config.vertical_flip))
    if config.rotation:
        bilinear = v2.InterpolationMode.BILINEAR
        steps.append(v2.RandomRotation(config.rotation, interpolation=bilinear))
    if config.brightness or config.contrast:
        steps.append(v2.ColorJitter(brightness=config.brightness, contrast=config.contrast))
    if config.gamma:
        steps.append(RandomGamma(config.gamma))
    if config.noise:
        steps.append(v2.GaussianNoise(sigma=config.noise))
    return v2.Compose([*steps, v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(min_size=1)])


def sample(pixels: Tensor, boxes: Tensor, labels: Tensor) -> tuple[tv_tensors.Image, dict[str, Tensor]]:
    """Wrap pixels [H, W] and boxes [N, 4] (``[x1, y1, x2, y2]``) as the tv_tensors that transforms take."""
    height, width = pixels.shape
    wrapped = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width))
    return tv_tensors.Image(pixels[None]), {"boxes": wrapped, "labels": labels}
