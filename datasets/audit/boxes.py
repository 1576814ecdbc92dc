"""Boxes that cannot be right: beside the breast, clipped, tiny, huge, twice, nested, unlike their mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mammodet.datasets.audit.pixels import Pixels, inside_share
from mammodet.datasets.audit.report import Case
from mammodet.datasets.audit.sizes import is_point
from mammodet.datasets.coco import AnnotationRecord, Coco, ImageRecord, to_xyxy

# A box is in air when the mean of its pixels is below this share of the way from air to bright tissue. Of 57
# circles of mini-MIAS and 12 lesions of phantoms the one in air (mdb214) has 0.06, the others 0.36 and above.
AIR = 0.15
TINY_PX = 5  # shorter side; an anchor of 32 px overlaps such a box by an IoU of at most 0.02
TINY_MM = 1.0  # shorter side; the size of a large single calcification
HUGE = 0.5  # of the breast's rectangle, or of the image where the breast is not known
SAME = 0.9  # IoU from which two boxes are one lesion
NESTED = 0.95  # share of the smaller box inside the larger one
LOST = 0.5  # share of a box outside its image
MASK_PX, MASK_SHARE = (
    2.0,
    0.02,
)  # how far box and mask may be apart: pixels, or share of the box's longer side


def box_cases(coco: Coco, pixels: Pixels) -> Iterator[Case]:
    """Yield what is odd about the boxes of a COCO file; some needs the pixels."""
    for image in coco.images:
        annotations = coco.annotations_of.get(image["id"], [])
        for annotation in annotations:
            yield from _clipped(image, annotation)
            yield from _place(image, annotation, pixels)
            yield from _size(image, annotation, pixels)
            yield from _mask(image, annotation)
        yield from _pairs(image, annotations)


def shown(bbox: Sequence[float]) -> str:
    """Return a box for people."""
    return "[" + ", ".join(f"{value:.5g}" for value in bbox) + "]"


def extent(bbox: Sequence[float], spacing_mm: Sequence[float] | None) -> str:
    """Return the width and height of a box for people, in mm and px; spacing is that of rows, columns."""
    _, _, width, height = bbox
    pixels = f"{width:.4g} x {height:.4g} px"
    if spacing_mm is None:
        return f"mm unknown, {pixels}"
    return f"{_length(width * spacing_mm[1])} x {_length(height * spacing_mm[0])} mm, {pixels}"


def _length(millimetres: float) -> str:
    return f"{millimetres:.0f}" if millimetres >= 100 else f"{millimetres:.2g}"


def _case(kind: str, image: ImageRecord, text: str, *annotations: AnnotationRecord) -> Case:
    numbers = tuple(one["id"] for one in annotations)
    return Case(kind, f"{image['file_name']}: {text}", (image["id"],), numbers)


def _clipped(image: ImageRecord, annotation: AnnotationRecord) -> Iterator[Case]:
    before = (annotation.get("provenance") or {}).get("bbox_before_clipping")
    if not _is_bbox(before):
        return
    kept = annotation["bbox"][2] * annotation["bbox"][3] / (before[2] * before[3])
    kind = "mostly-clipped" if kept < 1 - LOST else "clipped"
    yield _case(kind, image, f"{shown(before)} was cut to {shown(annotation['bbox'])}", annotation)


def _is_bbox(value: Any) -> TypeGuard[Sequence[float]]:
    if not isinstance(value, list | tuple) or len(value) != 4:
        return False
    return all(isinstance(one, int | float) for one in value) and value[2] > 0 and value[3] > 0


def _place(image: ImageRecord, annotation: AnnotationRecord, pixels: Pixels) -> Iterator[Case]:
    bbox, breast = annotation["bbox"], pixels.breast_of(image["id"])
    inside = 1.0 if breast is None else inside_share(bbox, breast)
    centre = [bbox[0] + bbox[2] / 2 - 0.5, bbox[1] + bbox[3] / 2 - 0.5, 1, 1]
    brightness = pixels.brightness.get(annotation["id"], 1.0)
    reasons = []
    if inside < 0.5:
        reasons.append(f"{1 - inside:.0%} of it outside the breast's rectangle")
    elif breast is not None and inside_share(centre, breast) < 0.5:
        reasons.append("its centre outside the breast's rectangle")
    if brightness < AIR:
        reasons.append(f"its pixels as dark as air ({brightness:.0%} of the tissue's brightness)")
    if reasons:
        yield _case("outside-breast", image, f"box {shown(bbox)}, {', '.join(reasons)}", annotation)


def _size(image: ImageRecord, annotation: AnnotationRecord, pixels: Pixels) -> Iterator[Case]:
    _, _, width, height = annotation["bbox"]
    spacing = image.get("spacing_mm")
    millimetres = None if spacing is None else min(width * spacing[1], height * spacing[0])
    in_mm = "" if spacing is None else f", {_length(width * spacing[1])} x {_length(height * spacing[0])} mm"
    text = f"box of {width:.4g} x {height:.4g} px{in_mm}"
    if is_point(annotation):
        return  # a place, not a size
    if min(width, height) < TINY_PX:
        yield _case("tiny-box", image, text, annotation)
    elif millimetres is not None and millimetres < TINY_MM:
        yield _case("tiny-box-mm", image, text, annotation)
    breast = pixels.breast_of(image["id"])
    whole = image["width"] * image["height"] if breast is None else breast[2] * breast[3]
    if width * height > HUGE * whole:
        of = "image" if breast is None else "breast's rectangle"
        yield _case("huge-box", image, f"{text}, {width * height / whole:.0%} of the {of}", annotation)


def _mask(image: ImageRecord, annotation: AnnotationRecord) -> Iterator[Case]:
    segmentation = annotation.get("segmentation")
    if segmentation is None:
        return
    x1, y1, x2, y2 = to_xyxy([annotation["bbox"]])[0]
    around = mask_bounds(segmentation, image["width"], image["height"])
    if around is None:
        yield _case("mask-box", image, f"box {shown(annotation['bbox'])}, its mask is empty", annotation)
        return
    apart = float(np.abs(around - np.array([x1, y1, x2, y2])).max())
    if apart > max(MASK_PX, MASK_SHARE * max(x2 - x1, y2 - y1)):
        left, top, right, bottom = around
        mask = shown([left, top, right - left, bottom - top])
        text = f"box {shown(annotation['bbox'])}, mask {mask}: {apart:.3g} px apart"
        yield _case("mask-box", image, text, annotation)


def mask_bounds(segmentation: Any, width: int, height: int) -> NDArray[np.float64] | None:
    """Return [x1, y1, x2, y2] around a checked COCO segmentation, inside its image; None when it is empty."""
    if isinstance(segmentation, list):
        points = np.concatenate([np.asarray(one, dtype=np.float64).reshape(-1, 2) for one in segmentation])
        bounds = np.concatenate([points.min(axis=0), points.max(axis=0)])
        return np.clip(bounds, 0, np.array([width, height, width, height]))
    if isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, height, width)
    bounds = to_xyxy([coco_mask.toBbox(segmentation)])[0]
    return bounds if bounds[2] > bounds[0] and bounds[3] > bounds[1] else None


def _pairs(image: ImageRecord, annotations: Sequence[AnnotationRecord]) -> Iterator[Case]:
    lesions = [one for one in annotations if not is_point(one)]
    if len(lesions) < 2:
        return
    boxes = to_xyxy([one["bbox"] for one in lesions])
    corners = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(
        boxes[:, None, :2], boxes[None, :, :2]
    )
    common = np.clip(corners, 0, None).prod(axis=2)  # [N, N]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    iou = common / (area[:, None] + area[None, :] - common)
    nested = common / np.minimum(area[:, None], area[None, :])
    for i, j in zip(*np.nonzero(np.triu((iou >= SAME) | (nested >= NESTED), k=1)), strict=True):
        yield _pair(image, lesions[i], lesions[j], float(iou[i, j]))


def _pair(image: ImageRecord, one: AnnotationRecord, other: AnnotationRecord, iou: float) -> Case:
    both = f"boxes {shown(one['bbox'])} and {shown(other['bbox'])}"
    if iou < SAME:
        return _case("nested-box", image, f"{both}, one inside the other", one, other)
    if one["category_id"] != other["category_id"]:
        return _case("label-conflict", image, f"{both} (IoU {iou:.2f}) have different categories", one, other)
    findings = sorted({str(lesion.get("finding") or "unknown") for lesion in (one, other)})
    return _case(
        "duplicate-box", image, f"{both} (IoU {iou:.2f}), finding {' and '.join(findings)}", one, other
    )
