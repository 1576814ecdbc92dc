"""Regions drawn in the VGG Image Annotator (VIA), as its CSV files hold them: a shape in JSON per row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mammodet.datasets.coco_values import is_number
from mammodet.datasets.converters.shapes import Shape, box, circle, ellipse, point, polygon
from mammodet.datasets.converters.tables import Row

SHAPE = "region_shape_attributes"
BEYOND = 2**20  # no image has so many columns or rows


def region_shape(row: Row) -> Shape | None:
    """Return the shape of one row in the frame of its image; None for an image without a region.

    Polylines are closed: those who trace a lesion and stop short of the first point mean its outline. An
    outline of fewer than three points has the area 0. Ellipses turn clockwise by ``theta`` radians, as the
    HTML canvas turns them that VIA draws on.

    Raises InputError, with the row, for what is no JSON, an unknown shape, or numbers that are none.
    """
    try:
        told = json.loads(row.cells[SHAPE] or "{}")
    except (ValueError, RecursionError):
        raise row.error(SHAPE, "is no JSON", "check that the file is whole") from None
    if not isinstance(told, dict):
        raise row.error(SHAPE, "must be a JSON object")
    if not told:
        return None
    name = told.get("name")
    if name in ("polygon", "polyline"):
        return replace(polygon(_points(row, told)), provenance={"drawn": name})
    if name == "ellipse":
        theta = _number(row, told, "theta") if told.get("theta") is not None else 0.0
        return ellipse(*_place(row, told), _extent(row, told, "rx"), _extent(row, told, "ry"), theta)
    if name == "circle":
        return circle(*_place(row, told), _extent(row, told, "r"))
    if name == "point":
        return point(*_place(row, told))
    if name == "rect":
        corner = (_number(row, told, "x"), _number(row, told, "y"))
        return box(*corner, _extent(row, told, "width"), _extent(row, told, "height"))
    raise row.error(SHAPE, "must be a polygon, polyline, ellipse, circle, point or rect")


def _points(row: Row, told: Mapping[str, Any]) -> list[tuple[float, float]]:
    xs, ys = told.get("all_points_x"), told.get("all_points_y")
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys) or not xs:
        raise row.error(SHAPE, "must have as many all_points_x as all_points_y")
    if not all(_is_near(value) for value in (*xs, *ys)):
        raise row.error(SHAPE, "the points must be numbers of pixels")
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]


def _place(row: Row, told: Mapping[str, Any]) -> tuple[float, float]:
    return _number(row, told, "cx"), _number(row, told, "cy")


def _number(row: Row, told: Mapping[str, Any], key: str) -> float:
    if not _is_near(told.get(key)):
        raise row.error(SHAPE, f"{key} must be a number of pixels")
    return float(told[key])


def _extent(row: Row, told: Mapping[str, Any], key: str) -> float:
    value = _number(row, told, key)
    if value < 0:
        raise row.error(SHAPE, f"{key} must not be negative")
    return value


def _is_near(value: Any) -> bool:
    return is_number(value) and abs(value) < BEYOND
