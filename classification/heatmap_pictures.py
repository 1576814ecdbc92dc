"""A heatmap as files: laid over the mammogram for people, alone and exact for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.drawing import draw_boxes, write_png
from mammodet.datasets.heatmap import paint, write_heat

OVERLAYS, HEATMAPS = "overlays", "heatmaps"


def write_heatmap(
    out: Path,
    name: str,
    pixels: NDArray[np.floating[Any]],
    heat: NDArray[np.float32],
    *,
    truth: Sequence[Mapping[str, Any]] = (),
    boxes: Sequence[Mapping[str, Any]] = (),
) -> tuple[Path, Path]:
    """Write ``overlays/NAME.png`` and ``heatmaps/NAME.png`` to a folder, atomically, and return their paths.

    Parameters
    ----------
    pixels, heat:
        float [H, W] of the source frame, 0 to 1; ``heat`` is 0 where nothing was looked at (NaN is taken so).
    truth, boxes:
        COCO annotations, drawn solid, and results, drawn dashed.

    The overlay goes from blue to red, and red is the hottest place of this image, whatever its score. The
    other is a grey PNG of 16 bits in the frame of the file, 65535 = 1.0, as ``mammodet explain`` writes it.
    """
    heat = np.nan_to_num(heat, nan=0.0)
    overlay, alone = out / OVERLAYS / f"{name}.png", out / HEATMAPS / f"{name}.png"
    write_png(overlay, draw_boxes(paint(pixels, heat), truth, boxes))
    write_heat(alone, heat)
    return overlay, alone
