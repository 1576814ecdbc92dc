"""Mean and deviation of the pixels that a network learns from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class PixelStatistics:
    """Gathers mean and standard deviation over images; every image counts alike, whatever its size."""

    def __init__(self) -> None:
        self._means: list[float] = []
        self._squares: list[float] = []

    def add(self, pixels: NDArray[np.floating[Any]]) -> None:
        """Count one image [H, W]."""
        self._means.append(float(pixels.mean(dtype=np.float64)))
        self._squares.append(float(np.square(pixels, dtype=np.float64).mean()))

    @property
    def images(self) -> int:
        """How many images were counted."""
        return len(self._means)

    @property
    def mean(self) -> float:
        """Mean of the images' means."""
        return sum(self._means) / len(self._means)

    @property
    def std(self) -> float:
        """Standard deviation around ``mean``, of all pixels."""
        return max(sum(self._squares) / len(self._squares) - self.mean**2, 0.0) ** 0.5
