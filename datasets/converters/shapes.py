"""How sources mark a lesion, each turned into a box, where there is one a mask, and where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.masks import components, mask_to_bbox, mask_to_rle


@dataclass(frozen=True)
class Shape:
    """The outline of one lesion in the pixel frame of the original file.

    Parameters
    ----------
    bbox:
        ``[x, y, width, height]``, before clipping: it may run over the edge of the image.
    geometry_source:
        What the source drew: mask, box, polygon, circle or chain-code.
    area:
        Pixels inside the outline; None takes the area of the clipped box.
    segmentation:
        COCO RLE or polygons, where the source has a mask.
    provenance:
        What the source says, kept in the annotation.
    """

    bbox: tuple[float, float, float, float]
    geometry_source: str
    area: float | None = None
    segmentation: Any = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


def box(x: float, y: float, width: float, height: float) -> Shape:
    """Return a box as the source gives it."""
    return Shape((x, y, width, height), "box")


def circle(x: float, y: float, radius: float) -> Shape:
    """Return the box around a circle; the circle itself is kept in the provenance as [x, y, radius]."""
    around = (x - radius, y - radius, 2 * radius, 2 * radius)
    return Shape(around, "circle", provenance={"circle": [x, y, radius]})


def mask_shapes(mask: NDArray[np.bool_], name: str) -> Iterable[Shape]:
    """Yield one shape per 8-connected component of the mask [H, W] of this name."""
    for component in components(mask):
        x, y, width, height = mask_to_bbox(component) or (0.0, 0.0, 0.0, 0.0)
        yield Shape(
            (x, y, width, height),
            "mask",
            area=float(component.sum()),
            segmentation=mask_to_rle(component),
            provenance={"mask": name},
        )
