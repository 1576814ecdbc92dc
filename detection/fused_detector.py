"""The whole detector prepared for inference: pixels of one image in, boxes out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from mammodet.detection.bands import CELL, occupied_bands, whole_frame
from mammodet.detection.fused_heads import FusedHeads
from mammodet.detection.fused_network import FusedNetwork, Level


class FusedDetector:
    """Computes what the plain detector computes, with the network and heads prepared once.

    Parameters
    ----------
    model:
        The plain detector, whose thresholds stay in force.
    network:
        Its network, prepared.
    skip_air:
        Leave out what is nothing but air. Boxes that lie wholly in air are not found then.
    """

    def __init__(self, model: FasterRCNN, network: FusedNetwork, *, skip_air: bool = True) -> None:
        self.network = network
        self.heads = FusedHeads(model, network.dtype, network.device)
        self.mean, self.std = float(model.transform.image_mean[0]), float(model.transform.image_std[0])
        self.skip_air = skip_air

    def __call__(self, pixels: NDArray[np.float32]) -> dict[str, Tensor]:
        """Return ``boxes`` [N, 4], ``labels`` [N] and ``scores`` [N] of pixels float32 [H, W], 0 = air."""
        height, width = pixels.shape
        levels = self.levels(pixels)
        frame_size = -(-height // CELL) * CELL, -(-width // CELL) * CELL
        return self.heads(levels, frame_size, (height, width))

    def levels(self, pixels: NDArray[np.float32]) -> list[Level]:
        """Return the pyramid's five levels of pixels float32 [H, W], computed where something is."""
        bands, air = occupied_bands(pixels) if self.skip_air else (whole_frame(*pixels.shape), 0.0)
        return self.network(self.frame(pixels), bands, (air - self.mean) / self.std)

    def frame(self, pixels: NDArray[np.float32]) -> Tensor:
        """Return pixels [H, W] normalised, and with zeros up to multiples of 32, as torchvision does."""
        height, width = pixels.shape
        shape = [-(-side // CELL) * CELL for side in (height, width)]
        frame = torch.zeros(shape, device=self.network.device)
        inside = frame[:height, :width]
        inside.copy_(torch.from_numpy(pixels)).sub_(self.mean).div_(self.std)
        return frame
