"""Augmentation by torchvision's transforms.v2, whose boxes move with the pixels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from mammodet.datasets.errors import InputError
from mammodet.networks.variation import Variation


@dataclass(frozen=True)
class AugmentConfig(Variation):
    """How training images of the detector are varied; 0 switches a change off.

    Args:
        rotation: largest rotation in degrees; boxes become the upright boxes around the turned ones, so keep
            it small.
    """

    rotation: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rotation <= 45:
            raise InputError("must be 0 to 45 degrees", field="augment.rotation", value=self.rotation)


def build_augmentation(config: AugmentConfig) -> nn.Module:
    """Return a transform of (Image float32 [1, H, W], {"boxes": BoundingBoxes, "labels": Tensor}).

    Boxes are clamped to the image; those left without a pixel are dropped together with their labels.
    """
    steps = config.flips()
    if config.rotation:
        bilinear = v2.InterpolationMode.BILINEAR
        steps.append(v2.RandomRotation(config.rotation, interpolation=bilinear))
    return v2.Compose(
        [*steps, *config.tones(), v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(min_size=1)]
    )


def sample(pixels: Tensor, boxes: Tensor, labels: Tensor) -> tuple[tv_tensors.Image, dict[str, Tensor]]:
    """Wrap pixels [H, W] and boxes [N, 4] (``[x1, y1, x2, y2]``) as the tv_tensors that transforms take."""
    height, width = pixels.shape
    wrapped = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width))
    return tv_tensors.Image(pixels[None]), {"boxes": wrapped, "labels": labels}
