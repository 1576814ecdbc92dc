"""Where a box lies on its mammogram: outside the breast, in the pectoral muscle, in breast tissue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.breast import breast_mask, reduced
from mammodet.datasets.coco import to_xyxy
from mammodet.datasets.pectoral import find_pectoral, possible_muscle
from mammodet.evaluation.error_cases import UNKNOWN

OUTSIDE, MUSCLE, TISSUE = "outside the breast", "pectoral muscle", "breast tissue"
NO_BREAST = "breast not found"
UNSURE = "muscle not surely found"
NO_VIEW = "may be muscle, and the view is not known to be CC or MLO"


@dataclass(frozen=True, eq=False)
class BreastMap:
    """What one mammogram shows where, on an image of at most 256 px along its longer side.

    ``breast``, ``muscle`` and ``unsure`` are bool [h, w]; a box in ``unsure`` may lie in the muscle, for the
    ``reason``. ``width`` and ``height`` are those of the source frame.
    """

    breast: NDArray[np.bool_] | None
    muscle: NDArray[np.bool_] | None
    unsure: NDArray[np.bool_] | None
    reason: str
    width: int
    height: int

    @classmethod
    def of(cls, pixels: NDArray[np.float32], view: str | None) -> BreastMap:
        """Find breast and muscle on ``pixels``, float32 [H, W], 0 = air; the muscle on MLO views alone."""
        height, width = pixels.shape
        small = reduced(pixels)
        breast = breast_mask(small)
        if breast is None:
            return cls(None, None, None, NO_BREAST, width, height)
        muscle = unsure = None
        if view == "MLO":
            found = find_pectoral(small, breast)
            muscle = None if found is None else found.mask
        if muscle is None and "CC" not in (view or ""):
            unsure = possible_muscle(breast)
        return cls(breast, muscle, unsure, UNSURE if view == "MLO" else NO_VIEW, width, height)

    def place(self, bbox: Sequence[float]) -> tuple[str, str | None]:
        """Return the place of a box ``[x, y, width, height]`` of the source frame, and why it is unknown.

        A box lies outside the breast, or in the muscle, when half of it or more does.
        """
        if self.breast is None:
            return UNKNOWN, self.reason
        rows, columns = self._window(bbox)
        if self.breast[rows, columns].mean() <= 0.5:
            return OUTSIDE, None
        if self.muscle is not None and self.muscle[rows, columns].mean() >= 0.5:
            return MUSCLE, None
        if self.unsure is not None and self.unsure[rows, columns].any():
            return UNKNOWN, self.reason
        return TISSUE, None

    def _window(self, bbox: Sequence[float]) -> tuple[slice, slice]:
        """Return the pixels of the small image that a box covers, at least one."""
        assert self.breast is not None
        height, width = self.breast.shape
        x1, y1, x2, y2 = to_xyxy([bbox])[0] * ([width / self.width, height / self.height] * 2)
        left, top = (int(np.clip(value, 0, most - 1)) for value, most in ((x1, width), (y1, height)))
        right, bottom = (int(np.ceil(np.clip(value, 1, most))) for value, most in ((x2, width), (y2, height)))
        return slice(top, max(top + 1, bottom)), slice(left, max(left + 1, right))
