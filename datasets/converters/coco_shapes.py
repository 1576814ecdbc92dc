"""The box and the outline of one annotation of a COCO file that others wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.generic import number_of, pixels, plain, turned_box
from mammodet.datasets.converters.shapes import Shape, box, whole_mask
from mammodet.datasets.errors import InputError
from mammodet.datasets.masks import segmentation_problem, segmentation_to_mask

_DISAGREE_PX = 2.0  # more than the pixel by which exporters round a box or count its edge


def shape_of(
    annotation: Mapping[str, Any], size: tuple[int, int] | None, rotation: Any, path: Path, audit: Audit
) -> Shape:
    """Return the shape of an annotation on an image of ``size`` (width, height), where the file tells it.

    The box is the one that the file gives, even where its outline reaches elsewhere, which is noted; without
    a box the outline gives it. Raises InputError that names the annotation, its key ``where``.
    """
    where = annotation["where"]
    outline = _outline(annotation, size, path, audit)
    given = annotation.get("bbox")
    if given is None or given == []:
        if outline is None:
            raise InputError("has neither a box nor an outline", file=path, field=where)
        return outline
    if not isinstance(given, list) or len(given) != 4 or any(isinstance(side, str) for side in given):
        problem = "must be four numbers [x, y, width, height]"
        raise InputError(problem, file=path, field=f"{where}.bbox", value=plain(given))
    x, y, width, height = (pixels(side, path, f"{where}.bbox") for side in given)
    if outline is None:
        degrees = pixels(rotation, path, f"{where}.attributes.rotation")
        return turned_box(x, y, width, height, degrees) if degrees else box(x, y, width, height)
    if _farthest((x, y, width, height), outline.bbox) > _DISAGREE_PX:
        audit.note("box and outline disagree by more than 2 pixels: box taken", f"{path.name} {where}")
    area = number_of(annotation.get("area"))  # COCO's own counts the pixels of the mask
    stated = 0 < area <= 1.05 * width * height  # false for NaN
    return replace(outline, bbox=(x, y, width, height), area=area if stated else outline.area)


def _outline(
    annotation: Mapping[str, Any], size: tuple[int, int] | None, path: Path, audit: Audit
) -> Shape | None:
    """Return the mask or the polygons of an annotation; None where there is none."""
    where, coded = f"{annotation['where']}.segmentation", annotation.get("segmentation")
    if coded is None or coded in ([], {}):
        return None
    if isinstance(coded, list) and all(isinstance(one, list) and len(one) in {0, 2, 4} for one in coded):
        audit.note("the outline has fewer than three points: box taken", f"{path.name} {annotation['where']}")
        return None
    if isinstance(coded, dict) and size is None:
        raise InputError("a run-length code needs the width and height of its image", file=path, field=where)
    problem = segmentation_problem(coded, size)
    if problem is not None:
        raise InputError(problem, file=path, field=where, value=type(coded).__name__)
    if isinstance(coded, list):
        return _polygons(coded)
    assert size is not None
    shape = whole_mask(segmentation_to_mask(coded, *size), "segmentation")
    if shape is None:
        audit.note("the mask is empty: box taken", f"{path.name} {annotation['where']}")
    return None if shape is None else replace(shape, provenance={})


def _polygons(coded: Sequence[Sequence[float]]) -> Shape:
    points = np.concatenate([np.asarray(one, dtype=np.float64).reshape(-1, 2) for one in coded])
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    area = sum(_area(np.asarray(one, dtype=np.float64).reshape(-1, 2)) for one in coded)
    return Shape((x1, y1, x2 - x1, y2 - y1), "polygon", area, [list(one) for one in coded])


def _area(points: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return the shoelace formula's area of one polygon [N, 2]."""
    centred, following = points - points.mean(axis=0), np.roll(points - points.mean(axis=0), -1, axis=0)
    return 0.5 * abs(float(np.sum(centred[:, 0] * following[:, 1] - following[:, 0] * centred[:, 1])))


def _farthest(one: Sequence[float], other: Sequence[float]) -> float:
    """Return by how much the edges of two boxes [x, y, width, height] differ at most."""
    edges = [(x, y, x + width, y + height) for x, y, width, height in (one, other)]
    return max(abs(a - b) for a, b in zip(*edges, strict=True))
