"""What follows the network: proposals, pooling of regions, and the box head, without copying whole maps.

The rules are torchvision's; only the order of work differs. Proposals are chosen before their boxes are
computed, and regions are pooled by gathering from the maps as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator

from mammodet.detection.banded import BandedMap, concatenated_rows
from mammodet.detection.fused_network import Level

BINS = 7  # rows and columns of a pooled region
SAMPLES = 2  # along each side of a bin
CANONICAL_SIDE, CANONICAL_LEVEL = 224, 4  # a region of 224 px is pooled from P4 (Lin et al. 2017, eq. 1)


class FusedHeads:
    """Proposals and box head of a detector, prepared for inference.

    Parameters
    ----------
    model:
        The plain detector, whose thresholds are looked up at each call.
    dtype:
        Of the box head's two large layers; the predictor is float32.
    device:
        Where it runs.
    """

    def __init__(self, model: FasterRCNN, dtype: torch.dtype, device: torch.device) -> None:
        self.model = model
        self.device = device
        head = model.roi_heads.box_head
        channels = head.fc6.in_features // BINS**2
        # Regions are pooled as [bins, channels]; the layer was trained on [channels, bins].
        weight = head.fc6.weight.detach().reshape(-1, channels, BINS**2).transpose(1, 2).flatten(1)
        self.first = _linear(weight, head.fc6.bias, dtype, device)
        self.second = _linear(head.fc7.weight, head.fc7.bias, dtype, device)

    def __call__(
        self, levels: Sequence[Level], frame_size: tuple[int, int], image_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Return ``boxes`` float32 [N, 4] as [x1, y1, x2, y2], ``labels`` int64 [N], ``scores`` float32 [N].

        Parameters
        ----------
        frame_size:
            (height, width) of the padded frame that the levels were computed on.
        image_size:
            (height, width) of the image in it, which boxes are clipped to.
        """
        with torch.inference_mode():
            proposals = self._proposals(levels, frame_size, image_size)
            pooled = pool_regions([level.features for level in levels[:4]], proposals, self.first[0].dtype)
            hidden = F.relu(F.linear(pooled, *self.first))
            hidden = F.relu(F.linear(hidden, *self.second)).float()
            logits, shifts = self.model.roi_heads.box_predictor(hidden)
            boxes, scores, labels = self.model.roi_heads.postprocess_detections(
                logits, shifts, [proposals], [image_size]
            )
            return {"boxes": boxes[0], "labels": labels[0], "scores": scores[0]}

    def _proposals(
        self, levels: Sequence[Level], frame_size: tuple[int, int], image_size: tuple[int, int]
    ) -> Tensor:
        """Return the boxes [N, 4] that torchvision's proposal network would choose."""
        rpn = self.model.rpn
        chosen = [
            best_anchors(level.scores, rpn.anchor_generator, number, frame_size, rpn.pre_nms_top_n())
            for number, level in enumerate(levels)
        ]
        anchors = torch.cat([one[0] for one in chosen])
        scores, shifts = torch.cat([one[1] for one in chosen]), torch.cat([one[2] for one in chosen])
        boxes = rpn.box_coder.decode(shifts, [anchors]).reshape(1, -1, 4)
        counts = [len(one[0]) for one in chosen]
        proposals, _ = rpn.filter_proposals(boxes, scores[None], [image_size], counts)
        return proposals[0]


def best_anchors(
    scores: BandedMap, generator: AnchorGenerator, level: int, frame_size: tuple[int, int], limit: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best anchors of one level: boxes [K, 4], their scores [K] and box shifts [K, 4], float32.

    A level with fewer anchors than ``limit`` returns all of them.
    """
    cells = generator.cell_anchors[level].to(scores.parts[0].device)
    table = concatenated_rows(scores.parts)  # [positions, anchors * 5]
    objectness = table[:, : len(cells)].float().flatten()
    best, order = objectness.topk(min(limit, len(objectness)))
    position, anchor = order // len(cells), order % len(cells)
    shifts = table[:, len(cells) :].reshape(len(table), len(cells), 4)[position, anchor].float()
    rows, columns = _positions(scores)
    stride_y, stride_x = frame_size[0] // scores.size[0], frame_size[1] // scores.size[1]
    x, y = columns[position] * stride_x, rows[position] * stride_y
    return cells[anchor] + torch.stack([x, y, x, y], dim=1), best, shifts


def _positions(x: BandedMap) -> tuple[Tensor, Tensor]:
    """Return row and column, int64 [positions], of every entry of the map's table."""
    device = x.parts[0].device
    rows, columns = [], []
    for band in x.bands:
        top, bottom, left, right = band.at(x.stride)
        grid = torch.meshgrid(
            torch.arange(top, bottom, device=device), torch.arange(left, right, device=device), indexing="ij"
        )
        rows.append(grid[0].flatten())
        columns.append(grid[1].flatten())
    return torch.cat(rows), torch.cat(columns)


def pool_regions(maps: Sequence[BandedMap], boxes: Tensor, dtype: torch.dtype) -> Tensor:
    """Pool regions as torchvision's MultiScaleRoIAlign with 7 x 7 bins of 2 x 2 samples does.

    Parameters
    ----------
    maps:
        P2 to P5.
    boxes:
        float32 [N, 4], [x1, y1, x2, y2] in pixels of the image.

    Returns
    -------
    Tensor
        [N, 49 * C], bin by bin, in ``dtype``.
    """
    sides = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    exact = CANONICAL_LEVEL + torch.log2(sides.sqrt() / CANONICAL_SIDE) + 1e-6
    level = exact.floor().clamp(2, 1 + len(maps)).long() - 2
    channels = len(maps[0].air)
    pooled = torch.empty(len(boxes), BINS**2 * channels, dtype=dtype, device=boxes.device)
    for number, one in enumerate(maps):
        chosen = torch.nonzero(level == number).flatten()
        if len(chosen):
            pooled[chosen] = _pool(one, boxes[chosen], dtype).reshape(len(chosen), -1)
    return pooled


def _pool(x: BandedMap, boxes: Tensor, dtype: torch.dtype) -> Tensor:
    """Return [N * 49, C]: each bin is a weighted sum of 16 rows of the map's table."""
    table, places = _table(x)
    rows, row_weights = _taps(boxes[:, 1], boxes[:, 3], x.stride, x.size[0])
    columns, column_weights = _taps(boxes[:, 0], boxes[:, 2], x.stride, x.size[1])
    # [N, 7, 1, 4, 1] with [N, 1, 7, 1, 4]: the taps of a bin are all pairs of its rows and columns.
    taps = rows[:, :, None, :, None] * x.size[1] + columns[:, None, :, None, :]
    weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    index = places[taps.flatten()].reshape(-1, (2 * SAMPLES) ** 2)
    weights = (weights / SAMPLES**2).reshape(index.shape)
    if x.quantisation is not None:
        # Whole numbers up to 255 are exact in bfloat16; the scale follows after the sum.
        table = table.to(torch.bfloat16).sub_(x.quantisation.zero)
    pooled = F.embedding_bag(index, table, mode="sum", per_sample_weights=weights.to(table.dtype)).to(dtype)
    return pooled if x.quantisation is None else pooled.mul_(x.quantisation.scale)


def _table(x: BandedMap) -> tuple[Tensor, Tensor]:
    """Return the map's values as rows [positions + 1, C], and the row of each place [height * width], int32.

    The last row is air.
    """
    if x.is_whole:
        table = concatenated_rows(x.parts)
        return table, torch.arange(len(table), dtype=torch.int32, device=table.device)
    air = x.stored_air()[None, :, None, None]
    table = concatenated_rows([*x.parts, air])
    places = torch.full(x.size, len(table) - 1, dtype=torch.int32, device=table.device)
    start = 0
    for band in x.bands:
        top, bottom, left, right = band.at(x.stride)
        count = (bottom - top) * (right - left)
        numbers = torch.arange(start, start + count, dtype=torch.int32, device=table.device)
        places[top:bottom, left:right] = numbers.reshape(bottom - top, right - left)
        start += count
    return table, places.flatten()


def _taps(low: Tensor, high: Tensor, stride: int, length: int) -> tuple[Tensor, Tensor]:
    """Return along one axis the four positions, int64 [N, 7, 4], that each bin reads, and their weights.

    Bilinear interpolation at two samples a bin; a sample more than a pixel beyond the map counts nothing
    (torchvision's roi_align with aligned=False).
    """
    start = low / stride
    size = (high / stride - start).clamp(min=1)
    steps = (torch.arange(BINS * SAMPLES, device=low.device) + 0.5) / SAMPLES
    at = start[:, None] + steps * (size / BINS)[:, None]
    inside = (at >= -1) & (at <= length)
    at = at.clamp(min=0)
    first = at.floor().long().clamp(max=length - 1)
    second = (first + 1).clamp(max=length - 1)
    share = torch.where(first == second, torch.zeros_like(at), at - first)
    positions = torch.stack([first, second], dim=-1)
    weights = torch.stack([1 - share, share], dim=-1) * inside[..., None]
    shape = (len(low), BINS, 2 * SAMPLES)
    return positions.reshape(shape), weights.reshape(shape)


def _linear(weight: Tensor, bias: Tensor, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    return weight.detach().to(device, dtype).contiguous(), bias.detach().to(device, dtype)
