"""How sources mark a lesion, each turned into a box, where there is one a mask, and where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
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

    def scaled(self, across: float, down: float) -> Shape:
        """Return the outline on a copy of the image that is so many times as wide and high.

        Run-length codes cannot be scaled: rescale the mask that they were made of (``fit_mask``).
        """
        x, y, width, height = self.bbox
        polygons = self.segmentation
        assert polygons is None or isinstance(polygons, list)
        if polygons is not None:
            polygons = [[value * (down if i % 2 else across) for i, value in enumerate(p)] for p in polygons]
        drawn = {"bbox": list(self.bbox), **self.provenance}  # in the frame that the source drew in
        return replace(
            self,
            bbox=(x * across, y * down, width * across, height * down),
            area=None if self.area is None else self.area * across * down,
            segmentation=polygons,
            provenance={f"{key}_before_scaling": value for key, value in drawn.items()},
        )


def same_shape(one: tuple[int, int], other: tuple[int, int], tolerance: float = 0.01) -> bool:
    """Tell whether two sizes (width, height) have the same ratio of sides, within 1 %."""
    return abs(one[0] * other[1] / max(1, one[1] * other[0]) - 1) <= tolerance


def fit_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Rescale a mask [H, W] to an image of ``size`` (width, height), each pixel from its nearest neighbour.

    Returns None when the shapes differ by more than 1 %: then the mask is not of this image, or was cut.
    """
    height, width = mask.shape
    if (width, height) == size:
        return mask
    if not same_shape((width, height), size):
        return None
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT) > 0


def box(x: float, y: float, width: float, height: float) -> Shape:
    """Return a box as the source gives it."""
    return Shape((x, y, width, height), "box")


def circle(x: float, y: float, radius: float) -> Shape:
    """Return the box around a circle; the circle itself is kept in the provenance as [x, y, radius]."""
    around = (x - radius, y - radius, 2 * radius, 2 * radius)
    return Shape(around, "circle", provenance={"circle": [x, y, radius]})


def corners(x1: float, y1: float, x2: float, y2: float) -> Shape:
    """Return the box between two opposite corners, whichever of them comes first."""
    return box(min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1))


def point(x: float, y: float) -> Shape:
    """Return the pixel at a point without extent; the point itself is kept in the provenance as [x, y].

    Such a box says where something is and not how large: give its lesion ``ignore: 1``.
    """
    return Shape((float(np.floor(x)), float(np.floor(y)), 1.0, 1.0), "box", provenance={"point": [x, y]})


def polygon(points: Sequence[tuple[float, float]], *, provenance: Mapping[str, Any] | None = None) -> Shape:
    """Return the outline through at least three points [x, y], closed; its area is the shoelace formula's."""
    array = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    (x1, y1), (x2, y2) = array.min(axis=0).tolist(), array.max(axis=0).tolist()
    centred = array - array.mean(axis=0)  # far from the origin the formula would lose digits
    following = np.roll(centred, -1, axis=0)
    area = 0.5 * abs(float(np.sum(centred[:, 0] * following[:, 1] - following[:, 0] * centred[:, 1])))
    outline = [array.reshape(-1).tolist()]
    return Shape((x1, y1, x2 - x1, y2 - y1), "polygon", area, outline, provenance or {})


def ellipse(x: float, y: float, radius_x: float, radius_y: float, theta: float = 0.0) -> Shape:
    """Return an ellipse, turned by ``theta`` radians clockwise, as a polygon of 64 points.

    The ellipse itself is kept in the provenance as [x, y, radius_x, radius_y, theta]; the box is the exact
    one around it.
    """
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    along, across = radius_x * np.cos(angles), radius_y * np.sin(angles)
    xs = x + along * np.cos(theta) - across * np.sin(theta)
    ys = y + along * np.sin(theta) + across * np.cos(theta)
    drawn = polygon(list(zip(xs.tolist(), ys.tolist(), strict=True)))
    half_width = float(np.hypot(radius_x * np.cos(theta), radius_y * np.sin(theta)))
    half_height = float(np.hypot(radius_x * np.sin(theta), radius_y * np.cos(theta)))
    around = (x - half_width, y - half_height, 2 * half_width, 2 * half_height)
    exact = {"ellipse": [x, y, radius_x, radius_y, theta]}
    return replace(drawn, bbox=around, area=float(np.pi * radius_x * radius_y), provenance=exact)


def whole_mask(mask: NDArray[np.bool_], name: str) -> Shape | None:
    """Return one shape around everything in the mask [H, W], such as a cluster; None when it is empty."""
    bbox = mask_to_bbox(mask)
    if bbox is None:
        return None
    x, y, width, height = bbox
    return Shape((x, y, width, height), "mask", float(mask.sum()), mask_to_rle(mask), {"mask": name})


def mask_shapes(mask: NDArray[np.bool_], name: str) -> Iterable[Shape]:
    """Yield one shape per 8-connected component of the mask [H, W] of this name."""
    for component in components(mask):
        shape = whole_mask(component, name)
        assert shape is not None
        yield shape
