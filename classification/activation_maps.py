"""Where a classifier looks: class activation maps through the library grad-cam, and what it judges by.

The network is cut behind its last feature map. The body, which is nearly all of the work, runs once and
without gradients; what comes after, pooling and one or three linear layers, is asked once per class with
gradients. So a map costs next to nothing, and a whole mammogram at full resolution needs no more memory than
its prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mammodet.classification.bodies import last_map
from mammodet.classification.classifier import Classifier
from mammodet.datasets.geometry import Geometry
from mammodet.networks.grid_cams import (
    BaseCAM,
    ClassifierOutputTarget,
    EigenCAM,
    GridGradCAM,
    HiResCAM,
    OnGrid,
    principal_map,
)

CamMethod = Literal["gradcam", "hirescam", "eigencam"]


@dataclass(frozen=True, eq=False)
class Seen:
    """What one pass of a classifier leaves behind.

    Parameters
    ----------
    logits, probabilities:
        float32 [N, classes].
    features:
        What the last layer gets, float32 [N, D].
    last:
        The last feature map, float32 [N, C, h, w], on the network's device.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
    last: Tensor


def see(network: Classifier, images: Tensor) -> Seen:
    """Run a classifier in evaluation mode on float32 images [N, 1, H, W] of 0 to 1, and keep what it sees.

    The weights must be float32; autocast must be off. The logits are those of ``network(images)``.
    """
    kept: list[Tensor] = []
    hook = last_map(network.body).layer.register_forward_hook(lambda *passed: kept.append(passed[2]))
    try:
        with torch.no_grad():
            features = network.features(images)
            logits = network.head(features)
    finally:
        hook.remove()
    told = [one.float().cpu().numpy() for one in (logits, logits.softmax(dim=1), features)]
    return Seen(told[0], told[1], told[2], kept[0])


def class_heat(
    network: Classifier, seen: Seen, classes: Sequence[int], method: CamMethod
) -> NDArray[np.float32]:
    """Return where the evidence for one class of each image lies, float32 [N, h, w]; its hottest cell is 1.

    Parameters
    ----------
    network:
        The one that ``see`` was called with.
    classes:
        Output to explain, for each of the N images.
    method:
        "gradcam" (Selvaraju et al. 2017): every place that has what raises the logit of the class on the
        whole. "hirescam" (Draelos and Carin 2020): what each place itself adds to the logit; where maps are
        averaged and one linear layer follows, as in ResNets, it is the same. "eigencam" (Muhammad and Yeasin
        2020): the first principal component of the features, whatever the class, turned so that what has
        strong features is hot.

    Returns
    -------
    A map is all 0 when nothing raises the logit. Cells lie as ``cell_grid`` says.
    """
    rest = _Rest(network).eval()
    targets = [ClassifierOutputTarget(one) for one in classes]
    frozen = [one for one in rest.parameters() if one.requires_grad]
    for parameter in frozen:  # the gradients of the weights are not asked for
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad():
            last = seen.last.detach().requires_grad_(method != "eigencam")
            maps: NDArray[np.float32] = _CAMS[method](rest, [rest.tap])(last, targets)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    hottest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, hottest, out=np.zeros_like(maps), where=hottest > 0)


def cell_grid(network: Classifier) -> tuple[int, int]:
    """Return ``stride`` and ``first`` of the maps: cell i is centred on pixel ``first + i * stride``.

    Pixels are those of ``body_frame``.
    """
    where = last_map(network.body)
    return where.stride, where.first


def body_frame(network: Classifier, geometry: Geometry) -> Geometry:
    """Return the way to what the body gets, which the network may have resized, from that to its input."""
    return geometry if network.resize is None else geometry.scale(network.resize, network.resize)


class _Rest(nn.Module):
    """What follows the last feature map, as a classifier of its own: [N, C, h, w] -> logits [N, classes].

    ``tap`` hands the map on as it is; there the library listens.
    """

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.tap = nn.Identity()
        self.rest = nn.Sequential(last_map(network.body).rest, network.head)

    def forward(self, last: Tensor) -> Tensor:
        # AlexNet has ReLUs that write over their input, but none before its first linear layer.
        logits: Tensor = self.rest(self.tap(last))
        return logits


class _HiResCAM(OnGrid, HiResCAM):
    """HiResCAM on the last map, in which 0 means that nothing was found."""


class _EigenCAM(OnGrid, EigenCAM):
    """EigenCAM on the last map; a principal component has no sign, and here strong features are hot."""

    def get_cam_image(self, *inputs: Any) -> NDArray[np.float32]:
        activations = inputs[3]  # [N, C, h, w]
        return np.stack([_turned(one) for one in activations])


def _turned(activations: NDArray[np.float32]) -> NDArray[np.float32]:
    projection = principal_map(activations)
    strength = activations.sum(axis=0)
    agreement = float((projection * (strength - strength.mean())).sum(dtype=np.float64))
    return -projection if agreement < 0 else projection


_CAMS: dict[CamMethod, type[BaseCAM]] = {
    "gradcam": GridGradCAM,
    "hirescam": _HiResCAM,
    "eigencam": _EigenCAM,
}
