"""Lesions moved with their image into the frame of its prepared pixels, and what the crop takes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import AnnotationRecord, clip_bbox, to_xywh, to_xyxy
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.masks import mask_to_rle, segmentation_to_mask

_ROUNDING = 1e-3  # share of a box that a COCO file's decimals may take


@dataclass(frozen=True)
class Change:
    """What the prepared frame does to a lesion beyond moving it.

    Parameters
    ----------
    what:
        "lost": nothing of the box, or less than a pixel of it, is left, and it is not in the prepared file;
        "cut": the box is clipped; "mask lost": the box is whole but the mask, resized, has no pixel left.
    kept:
        The share of the box's area that is left, 0 to 1.
    bbox:
        The box before, ``[x, y, width, height]`` in the source frame.
    """

    image_id: int
    annotation_id: int
    what: Literal["lost", "cut", "mask lost"]
    kept: float
    bbox: list[float]


def move_lesions(
    annotations: Iterable[AnnotationRecord], geometry: Geometry
) -> tuple[list[AnnotationRecord], list[Change]]:
    """Return the annotations of one image in the model frame of ``geometry``, and what became of some.

    Ids stay. Boxes and masks are moved and clipped to the frame. What stood in ``provenance`` (a circle, a
    point) is in the source frame and goes, unchanged, below ``provenance.prepared``, beside the box before.
    """
    moved: list[AnnotationRecord] = []
    changes: list[Change] = []
    for annotation in annotations:
        one, what, kept = _move(annotation, geometry)
        if one is not None:
            moved.append(one)
        if what is not None:
            before = [float(value) for value in annotation["bbox"]]
            changes.append(Change(annotation["image_id"], annotation["id"], what, round(kept, 4), before))
    return moved, changes


def clip_polygon(points: NDArray[np.float64], width: float, height: float) -> NDArray[np.float64]:
    """Clip a polygon [N, 2] of x, y to ``0 <= x <= width``, ``0 <= y <= height``; [0, 2] if nothing is left.

    A concave polygon that the frame cuts in two stays one, its parts joined along the edge of the frame
    (Sutherland and Hodgman 1974).
    """
    for axis, limit, sign in ((0, 0.0, 1), (0, width, -1), (1, 0.0, 1), (1, height, -1)):
        points = _clip_to_side(points, axis, limit, sign)
    return points


def polygon_area(points: NDArray[np.float64]) -> float:
    """Return the area of a polygon [N, 2] by the shoelace formula."""
    x, y = points[:, 0], points[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _move(
    annotation: AnnotationRecord, geometry: Geometry
) -> tuple[AnnotationRecord | None, Literal["lost", "cut", "mask lost"] | None, float]:
    whole = to_xywh(geometry.boxes_to_model(to_xyxy([annotation["bbox"]])))[0].tolist()
    bbox = clip_bbox(whole, geometry.width, geometry.height)
    if bbox is None or any(
        left < min(1.0, before) - 1e-6 for left, before in zip(bbox[2:], whole[2:], strict=True)
    ):
        return None, "lost", 0.0
    kept = bbox[2] * bbox[3] / (whole[2] * whole[3])
    prepared: dict[str, Any] = {"bbox": annotation["bbox"], "kept": round(kept, 4)}
    if annotation.get("provenance"):
        prepared["provenance"] = annotation["provenance"]
    moved: AnnotationRecord = {**annotation, "bbox": bbox, "provenance": {"prepared": prepared}}
    moved["area"] = bbox[2] * bbox[3]
    if annotation.get("area") is not None:  # of a circle, which is less than its box
        moved["area"] *= annotation["area"] / (annotation["bbox"][2] * annotation["bbox"][3])
    lost_mask = False
    if annotation.get("segmentation"):
        segmentation, area = _move_segmentation(annotation["segmentation"], geometry)
        if segmentation is None:
            del moved["segmentation"]
            lost_mask = True
        else:
            moved["segmentation"], moved["area"] = segmentation, area
    if kept < 1 - _ROUNDING:
        return moved, "cut", kept
    return moved, "mask lost" if lost_mask else None, kept


def _move_segmentation(segmentation: Any, geometry: Geometry) -> tuple[Any | None, float]:
    """Return an RLE as an RLE and polygons as polygons, and the area; None when nothing of it is left."""
    if isinstance(segmentation, dict):
        mask = segmentation_to_mask(segmentation, geometry.source_width, geometry.source_height)
        moved = geometry.pixels_to_model(mask)
        area = float(moved.sum())
        return (mask_to_rle(moved), area) if area else (None, 0.0)
    outlines = [np.asarray(polygon, dtype=np.float64).reshape(-1, 2) for polygon in segmentation]
    clipped = [
        clip_polygon(geometry.points_to_model(one), geometry.width, geometry.height) for one in outlines
    ]
    areas = [polygon_area(one) for one in clipped]
    left = [one.ravel().tolist() for one, area in zip(clipped, areas, strict=True) if area > 0]
    return (left, sum(areas)) if left else (None, 0.0)


def _clip_to_side(points: NDArray[np.float64], axis: int, limit: float, sign: int) -> NDArray[np.float64]:
    """Keep the part of a polygon where ``sign * (coordinate - limit) >= 0``."""
    inside = sign * (points[:, axis] - limit) >= 0
    if inside.all():
        return points
    kept: list[NDArray[np.float64]] = []
    for index, point in enumerate(points):
        before = points[index - 1]
        if inside[index] != inside[index - 1]:
            share = (limit - before[axis]) / (point[axis] - before[axis])
            crossing = before + share * (point - before)
            crossing[axis] = limit  # free of rounding, which could leave the frame
            kept.append(crossing)
        if inside[index]:
            kept.append(point)
    return np.array(kept, dtype=np.float64).reshape(-1, 2)
