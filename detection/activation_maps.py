"""Where the evidence of a box lies: class activation maps of the detector, through the library grad-cam.

The library's own way for Faster R-CNN scales every level of the pyramid to the coarsest one, whose cells are
64 pixels apart, and has no gradients. Here the box head is taken as the classifier that it is: one proposal,
cut from one level of the pyramid, gives the score of one box. So every box has a map of its own on the very
grid that its score was computed from, and gradients go through the box head alone, never through the
backbone: they take a few copies of one level, less than the prediction itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.roi_heads import RoIHeads

from mammodet.detection.feature_maps import LEVEL_NAMES, STRIDES, Look
from mammodet.networks.grid_cams import (
    BaseCAM,
    EigenCAM,
    FasterRCNNBoxScoreTarget,
    GridGradCAM,
    HiResCAM,
    OnGrid,
    principal_map,
)

Method = Literal["eigencam", "hirescam", "gradcam"]

_SPARSE = 4  # every so many cells, along rows and columns, are enough for a median


@dataclass(frozen=True, eq=False)
class Heat:
    """A heatmap on the grid of one level of the pyramid, in the model frame.

    Parameters
    ----------
    values:
        float32 [h, w], 0 to 1; cell (row, column) lies at pixel (row, column) times ``stride``.
    stride:
        Pixels of the model frame from cell to cell.
    """

    values: NDArray[np.float32]
    stride: int


def box_heat(model: FasterRCNN, seen: Look, index: int, method: Method) -> Heat:
    """Return where the evidence for one box of ``seen`` lies; its hottest cell is 1.

    Parameters
    ----------
    model:
        The detector that ``look`` was called with.
    method:
        "hirescam" (Draelos and Carin 2020): what each cell adds to the score of the box, compared with a
        cell that is usual for this image; it can only lie where the box head looks, in the proposal.
        "gradcam" (Selvaraju et al. 2017): every place that has, on this level, what raises the score of the
        box on the whole, within the box or not. "eigencam" (Muhammad and Yeasin 2020): what stands out most
        as the box does, whatever the class, on the level whose anchors are of the size of the box.

    Returns
    -------
    Heat
        All 0 when nothing raises the score.
    """
    place = _anchor_level(model, seen, index) if method == "eigencam" else _pooled_level(model, seen, index)
    heads = model.roi_heads
    score = _BoxScore(heads, seen, place, index).eval()
    level = seen.levels[score.level].detach().requires_grad_(method != "eigencam")
    target = FasterRCNNBoxScoreTarget(seen.labels[index : index + 1], seen.boxes[index : index + 1])
    frozen = [one for one in score.parameters() if one.requires_grad]
    for parameter in frozen:  # the gradients of the weights are not asked for
        parameter.requires_grad_(False)
    # One proposal alone is rounded differently, and a box at the threshold must not be lost.
    threshold, heads.score_thresh = heads.score_thresh, 0.0
    try:
        with torch.enable_grad():
            values = _CAMS[method](score, [score.tap])(level, [target])[0]
    finally:
        heads.score_thresh = threshold
        for parameter in frozen:
            parameter.requires_grad_(True)
    peak = float(values.max())
    return Heat(values / np.float32(peak) if peak > 0 else values, STRIDES[LEVEL_NAMES[place]])


def image_heat(model: FasterRCNN, seen: Look, indices: Sequence[int], method: Method) -> list[Heat]:
    """Return the heat of several boxes together, one Heat per level that any of them lies on.

    The heat of every box is weighted by its score, and the hottest box counts. Added up as they come,
    gradients would show the doubtful boxes most: the gradient of a score near 1 is near 0.
    """
    levels: dict[int, Heat] = {}
    for index in indices:
        heat = box_heat(model, seen, index, method)
        values = heat.values * np.float32(seen.scores[index])
        if heat.stride in levels:
            np.maximum(values, levels[heat.stride].values, out=values)
        levels[heat.stride] = Heat(values, heat.stride)
    return list(levels.values())


def _pooled_level(model: FasterRCNN, seen: Look, index: int) -> int:
    """Return the place in the pyramid of the level that the box head cut the proposal from."""
    return int(model.roi_heads.box_roi_pool.map_levels([seen.proposals[index : index + 1]])[0])


def _anchor_level(model: FasterRCNN, seen: Look, index: int) -> int:
    """Return the place of the level whose anchors are nearest in size: it learned to answer to such boxes."""
    x1, y1, x2, y2 = seen.boxes[index].tolist()
    side = max(((x2 - x1) * (y2 - y1)) ** 0.5, 1.0)
    ratios = [abs(np.log(sizes[0] / side)) for sizes in model.rpn.anchor_generator.sizes]
    return int(np.argmin(ratios))


class _BoxScore(nn.Module):
    """The box head as a classifier of one proposal: takes a level [1, C, h, w], gives boxes and scores.

    ``tap`` hands the level on as it is; there the library listens.
    """

    def __init__(self, heads: RoIHeads, seen: Look, place: int, index: int) -> None:
        super().__init__()
        self.heads = heads
        self.tap = nn.Identity()
        self.level = list(seen.levels)[place]
        self.stride = STRIDES[LEVEL_NAMES[place]]
        self._levels = seen.levels
        self._proposal = seen.proposals[index : index + 1]
        self._label = seen.labels[index]
        self._image_size = seen.image_size

    def forward(self, level: Tensor) -> list[dict[str, Tensor]]:
        levels = {**self._levels, self.level: self.tap(level)}
        (found,), _ = self.heads(levels, [self._proposal], [self._image_size])
        # The target takes the box of the highest IoU, and the other class may have the very same box.
        same = found["labels"] == self._label
        return [{name: values[same] for name, values in found.items()}]


class _HiResCAM(OnGrid, HiResCAM):
    """HiResCAM on one level, against what is usual there.

    After a ReLU 0 means that nothing was found, and gradient times activation is what was found. A level of
    the pyramid ends without one and has its own value for nothing: the median of each channel is taken off.
    """

    def get_cam_image(self, *inputs: Any) -> NDArray[np.float32]:
        before, activations, after = inputs[:3], inputs[3], inputs[4:]
        usual = np.median(activations[:, :, ::_SPARSE, ::_SPARSE], axis=(2, 3), keepdims=True)
        return super().get_cam_image(*before, activations - usual, *after)


class _EigenCAM(OnGrid, EigenCAM):
    """EigenCAM on one level, with the sign that makes the box hot.

    Without one, lesions would be hot on one image and air on the next.
    """

    def get_cam_image(self, *inputs: Any) -> NDArray[np.float32]:
        (target,), activations = inputs[2:4]  # [1, C, h, w]
        projection = principal_map(activations[0])
        x1, y1, x2, y2 = (target.bounding_boxes[0] / self.model.stride).round().int().tolist()
        # A box of the image's last pixels may lie beyond the cells.
        box = projection[y1 : y2 + 1, x1 : x2 + 1]
        return (-projection if box.size and box.mean() < 0 else projection)[None]


_CAMS: dict[Method, type[BaseCAM]] = {"eigencam": _EigenCAM, "hirescam": _HiResCAM, "gradcam": GridGradCAM}
