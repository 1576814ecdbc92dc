"""A heatmap as files: laid over the mammogram for people, alone and exact for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.drawing import draw_boxes, write_png
from mammodet.datasets.heatmap import paint, write_array, write_heat

OVERLAYS, HEATMAPS = "overlays", "heatmaps"


def write_heatmap(
    out: Path,
    name: str,
    pixels: NDArray[np.floating[Any]],
    heat: NDArray[np.float32],
    *,
    truth: Sequence[Mapping[str, Any]] = (),
    boxes: Sequence[Mapping[str, Any]] = (),
    red_at: float | None = None,
    overlay: bool = True,
    array: bool = False,
) -> tuple[Path, ...]:
    """Write a heatmap to a folder, atomically, and return the paths of its files.

    These are ``overlays/NAME.png``, unless ``overlay`` is False, ``heatmaps/NAME.png``, and with ``array``
    ``heatmaps/NAME.npy``.

    Parameters
    ----------
    pixels, heat:
        float [H, W] of the source frame, 0 to 1; ``heat`` is 0 where nothing was looked at (NaN is taken so).
    truth, boxes:
        COCO annotations, drawn solid, and results, drawn dashed.
    red_at:
        Score that is red in the overlay, which goes from blue to red; None takes the hottest place of this
        image, whatever its score.

    The heatmap alone is a grey PNG of 16 bits in the frame of the file, 65535 = 1.0, as ``mammodet explain``
    writes it; the array is float32 [H, W] of the same frame.
    """
    heat = np.nan_to_num(heat, nan=0.0)
    written = []
    if overlay:
        written.append(out / OVERLAYS / f"{name}.png")
        write_png(written[-1], draw_boxes(paint(pixels, heat, red_at=red_at), truth, boxes))
    written.append(out / HEATMAPS / f"{name}.png")
    write_heat(written[-1], heat)
    if array:
        written.append(out / HEATMAPS / f"{name}.npy")
        write_array(written[-1], heat)
    return tuple(written)
