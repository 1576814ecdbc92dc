"""What the network sees: the feature maps of the backbone's stages and of the pyramid's levels.

One pass through the detector, piece by piece and without gradients, keeps what the pieces hand on. Cell ``i``
of a map with stride ``s`` looks at pixel ``i * s``: convolutions of odd size with padding keep the centre of
their first cell on the first pixel, and torchvision's anchors and RoIAlign count in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

STAGE_NAMES = ("C2", "C3", "C4", "C5")
LEVEL_NAMES = ("P2", "P3", "P4", "P5", "P6")
STRIDES: Mapping[str, int] = {
    name: 2 ** int(name[1]) for name in (*STAGE_NAMES, *LEVEL_NAMES)
}  # pixels of the model frame from cell to cell


@dataclass(frozen=True, eq=False)
class Look:
    """What one pass of the detector leaves behind; everything lies in the model frame.

    Parameters
    ----------
    maps:
        ``summed_map`` of the stages "C2" to "C5" and the levels "P2" to "P6", float32 [h, w] of their own
        grids; ``STRIDES`` has the pixels between their cells.
    levels:
        The pyramid as the box head takes it, float32 [1, C, h, w] by torchvision's names "0" to "3" and
        "pool" (P2 to P6).
    image_size:
        Height and width of the image, in pixels.
    boxes, labels, scores:
        The detector's output: float32 [N, 4] as ``[x1, y1, x2, y2]``, int64 [N], float32 [N].
    proposals:
        The proposal that each of these boxes was refined from, float32 [N, 4].
    """

    maps: dict[str, NDArray[np.float32]]
    levels: dict[str, Tensor]
    image_size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    scores: Tensor
    proposals: Tensor


def look(model: FasterRCNN, pixels: NDArray[np.float32]) -> Look:
    """Run a detector in evaluation mode on standardised pixels [h, w], 0 to 1, and keep what it sees.

    The result's boxes are those of ``model([image])``. The weights must be float32; autocast must be off.
    """
    device = next(model.parameters()).device
    image = torch.from_numpy(np.ascontiguousarray(pixels))[None].to(device)
    maps: dict[str, NDArray[np.float32]] = {}
    heads: list[tuple[Tensor, Tensor]] = []

    def keep_stages(_module: nn.Module, _inputs: object, stages: dict[str, Tensor]) -> None:
        maps.update(zip(STAGE_NAMES, map(summed_map, stages.values()), strict=True))

    def keep_predictions(_module: nn.Module, _inputs: object, predictions: tuple[Tensor, Tensor]) -> None:
        heads.append(predictions)

    hooks = (
        model.backbone.body.register_forward_hook(keep_stages),
        model.roi_heads.box_predictor.register_forward_hook(keep_predictions),
    )
    try:
        with torch.no_grad():
            images, _ = model.transform([image])
            levels = model.backbone(images.tensors)
            maps.update(zip(LEVEL_NAMES, map(summed_map, levels.values()), strict=True))
            proposals, _ = model.rpn(images, levels)
            (found,), _ = model.roi_heads(levels, proposals, images.image_sizes)
            origins = _origins(model, found, proposals[0], heads[0], images.image_sizes[0])
    finally:
        for hook in hooks:
            hook.remove()
    return Look(maps, levels, images.image_sizes[0], proposals=proposals[0][origins], **found)


def summed_map(features: Tensor) -> NDArray[np.float32]:
    """Return the feature maps [1, C, h, w] of one layer as one picture, float32 [h, w], 0 to 1.

    Each channel is scaled to 0 to 1 by its own smallest and largest value, the channels are added up, and the
    sum is scaled to 0 to 1 (Lin et al. 2023, figure 3e). A channel that is the same everywhere adds nothing,
    and a layer of such channels is 0.
    """
    cells = features[0].flatten(1)  # [C, h * w]
    low, high = cells.aminmax(dim=1)
    weights = torch.where(high > low, 1 / (high - low).clamp_min(torch.finfo(high.dtype).tiny), 0)
    # What the smallest values take off is the same in every cell, and goes with the last scaling.
    total = (weights @ cells).reshape(features.shape[2:])
    return unit_range(total.float().cpu().numpy())


def unit_range(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale an array to 0 to 1 by its smallest and largest value; a constant one becomes 0."""
    low, high = float(values.min()), float(values.max())
    return (values - np.float32(low)) / np.float32(high - low) if high > low else np.zeros_like(values)


def _origins(
    model: FasterRCNN,
    found: dict[str, Tensor],
    proposals: Tensor,
    predictions: tuple[Tensor, Tensor],
    image_size: tuple[int, int],
) -> Tensor:
    """Return for each box found the index of its proposal, int64 [N]."""
    # As the heads' own post-processing does it, but with every class of every proposal.
    logits, regression = predictions
    decoded = model.roi_heads.box_coder.decode(regression, [proposals])  # [proposals, classes, 4]
    decoded[..., 0::2].clamp_(0, image_size[1])
    decoded[..., 1::2].clamp_(0, image_size[0])
    scores = logits.softmax(-1)
    origins = []
    for box, label, score in zip(found["boxes"], found["labels"], found["scores"], strict=True):
        distance = (decoded[:, label] - box).abs().sum(-1) + (scores[:, label] - score).abs()
        origins.append(distance.argmin())
    return torch.stack(origins) if origins else torch.zeros(0, dtype=torch.int64, device=proposals.device)
