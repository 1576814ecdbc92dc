"""Calibration for int8: which range the outputs of every convolution take on real images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.errors import InputError
from mammodet.detection.fused_detector import FusedDetector
from mammodet.detection.inference import Detector, require_finite
from mammodet.detection.model_file import is_range
from mammodet.detection.quantised import Ranges, RecordingNetwork


def measure_ranges(detector: Detector, images: Iterable[NDArray[np.float32]]) -> Ranges:
    """Return the smallest and largest output of every convolution over images.

    Parameters
    ----------
    detector:
        Loaded on the CPU; its plain model is run in bfloat16.
    images:
        Standardised pixels, float32 [h, w].

    Raises
    ------
    InputError
        When a convolution's output is not finite or too large, a pixel is not finite, or there is no
        image.
    """
    network = RecordingNetwork(detector.model)
    recording = FusedDetector(detector.model, network)
    for pixels in images:
        recording.levels(require_finite(np.ascontiguousarray(pixels)))
    if not network.ranges:
        raise InputError("there is no image to calibrate on", field="images")
    for name, limits in network.ranges.items():
        if not is_range(*limits):
            raise InputError(
                "its outputs are not finite, or too large for float32",
                field=f"convolution {name}",
                value=limits,
                remedy="the model's weights are damaged; train again",
            )
    return network.ranges
