"""Class activation maps of the library grad-cam on the grid of the layer, for detector and classifiers.

The library stretches every map to the size of its input, scales it, and takes the singular vectors of all
cells at once. Here maps keep their grid and their scale, so that the caller can lay them where the cells lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mammodet.datasets.errors import InputError

try:
    from pytorch_grad_cam import EigenCAM, GradCAM, HiResCAM
    from pytorch_grad_cam.base_cam import BaseCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, FasterRCNNBoxScoreTarget
except ImportError as error:
    raise InputError(
        f"class activation maps need the package grad-cam ({error})",
        field="installation",
        remedy="pip install 'grad-cam>=1.5.7'; older ones bring an OpenCV that needs a display",
    ) from None

__all__ = [
    "BaseCAM",
    "ClassifierOutputTarget",
    "EigenCAM",
    "FasterRCNNBoxScoreTarget",
    "GradCAM",
    "GridGradCAM",
    "HiResCAM",
    "OnGrid",
    "principal_map",
]

_CHUNK = 65536  # cells of a layer at a time, which bounds what the covariance allocates


class OnGrid(BaseCAM):
    """Leaves the maps of the one target layer on their own grid and scale, float32 [N, h, w], 0 or more."""

    def compute_cam_per_layer(
        self, input_tensor: Tensor, targets: list[Any], eigen_smooth: bool
    ) -> list[NDArray[np.float32]]:
        """Return the maps of the layer, which the library would stretch."""
        activations, gradients = (
            one[0].numpy() if one else None
            for one in (self.activations_and_grads.activations, self.activations_and_grads.gradients)
        )
        layer = self.target_layers[0]
        return [self.get_cam_image(input_tensor, layer, targets, activations, gradients, eigen_smooth)]

    def aggregate_multi_layers(self, cam_per_target_layer: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the maps of the one layer, which the library would scale to 0 to 1."""
        return np.maximum(cam_per_target_layer[0], 0)


class GridGradCAM(OnGrid, GradCAM):
    """Grad-CAM on the grid of its layer."""


def principal_map(activations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first principal component of the cells of a layer [C, h, w] as a map float32 [h, w].

    The library takes the singular vectors of all cells at once, a matrix of cells by cells: more than a
    terabyte for a level of a mammogram. Those of the channels' covariance are the same. A singular vector has
    no sign; the caller turns the map.
    """
    cells = activations.reshape(activations.shape[0], -1)
    mean = cells.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    covariance = np.zeros((len(cells), len(cells)))
    for start in range(0, cells.shape[1], _CHUNK):
        part = cells[:, start : start + _CHUNK] - mean
        covariance += part @ part.T
    first = np.linalg.eigh(covariance)[1][:, -1].astype(np.float32)
    projected: NDArray[np.float32] = (first @ cells - first @ mean).reshape(activations.shape[1:])
    return projected
