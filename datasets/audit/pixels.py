"""What the audit keeps of the image files' pixels, and what it sees of the boxes on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import AnnotationRecord, to_xyxy
from mammodet.datasets.fingerprint import Sketch
from mammodet.datasets.inspection import Inspection

BBox = tuple[float, float, float, float]  # x, y, width, height


@dataclass
class Pixels:
    """What was seen of the pixels, small enough to keep for every image; empty when none were read.

    Parameters
    ----------
    seen:
        Inspections by image id, without thumbnails and header facts.
    sketches:
        By image id, the detail of the picture, which tells copies from look-alikes.
    brightness:
        By annotation id, the mean grey value of its box: 0 is that of air, 1 that of the brightest breast
        tissue (95th percentile of the breast's rectangle). Boxes on images that could not be read have none.
    """

    seen: dict[int, Inspection] = field(default_factory=dict)
    sketches: dict[int, Sketch] = field(default_factory=dict)
    brightness: dict[int, float] = field(default_factory=dict)

    def add(self, image_id: int, inspection: Inspection, annotations: Sequence[AnnotationRecord]) -> None:
        """Keep what matters of an inspection, and measure the boxes on its thumbnail."""
        sketch = inspection.sketch()
        if sketch is not None:
            self.sketches[image_id] = sketch
        self.seen[image_id] = replace(inspection, thumbnail=None, facts={})
        if inspection.thumbnail is not None and inspection.width:
            for annotation in annotations:
                self.brightness[annotation["id"]] = _brightness(inspection, annotation["bbox"])

    def breast_of(self, image_id: int) -> BBox | None:
        """Return (x, y, width, height) around the breast in the file's frame, or None."""
        inspection = self.seen.get(image_id)
        return None if inspection is None else inspection.breast


def _brightness(inspection: Inspection, bbox: Sequence[float]) -> float:
    thumbnail = inspection.thumbnail
    assert thumbnail is not None
    across, down = thumbnail.shape[1] / inspection.width, thumbnail.shape[0] / inspection.height
    breast = inspection.breast or (0, 0, inspection.width, inspection.height)
    air = float(np.percentile(thumbnail, 1))
    bright = float(np.percentile(_window(thumbnail, breast, across, down), 95))
    return (float(_window(thumbnail, bbox, across, down).mean()) - air) / max(1.0, bright - air)


def _window(
    thumbnail: NDArray[np.uint8], bbox: Sequence[float], across: float, down: float
) -> NDArray[np.uint8]:
    """Return the pixels that a box touches, at least one."""
    x1, y1, x2, y2 = to_xyxy([bbox])[0] * np.array([across, down, across, down])
    height, width = thumbnail.shape
    left, top = min(int(x1), width - 1), min(int(y1), height - 1)
    return thumbnail[top : max(top + 1, int(np.ceil(y2))), left : max(left + 1, int(np.ceil(x2)))]


def inside_share(bbox: Sequence[float], region: Sequence[float]) -> float:
    """Return which share of a box's area lies inside a region, both [x, y, width, height]."""
    x1, y1, x2, y2 = to_xyxy([bbox])[0]
    left, top, right, bottom = to_xyxy([region])[0]
    width, height = min(x2, right) - max(x1, left), min(y2, bottom) - max(y1, top)
    return float(max(0.0, width) * max(0.0, height) / ((x2 - x1) * (y2 - y1)))


def names_of(images: Mapping[int, Mapping[str, object]], numbers: Sequence[int]) -> str:
    """Return the file names of these images, joined for a sentence."""
    return " and ".join(str(images[number]["file_name"]) for number in numbers)
