"""Heatmaps of a network brought back to the mammogram: resampled to its frame, painted, measured, stored."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.coco import to_xyxy
from mammodet.datasets.geometry import Geometry

FULL_SCALE = 65535  # of a stored heatmap: 1.0
_OPACITY = 0.55  # of the hottest colour
_OPAQUE_FROM = 0.3  # heat at which a colour has its full opacity
_GAP = 8  # pixels between panels
_BACKGROUND = 24


def to_source(
    values: NDArray[np.float32], stride: int, geometry: Geometry, *, first: int = 0
) -> NDArray[np.float32]:
    """Bring a map of a network to the source frame, at its full resolution.

    Parameters
    ----------
    values:
        float32 [h, w], one value per cell; cell (row, column) lies at pixel ``first`` plus (row, column)
        times ``stride`` of the model frame.
    geometry:
        The way from the source frame to the model frame.

    Returns
    -------
    float32 [H, W] of the source frame: linear between cells, 0 outside of what the model saw.
    """
    x = np.arange(geometry.source_width) + 0.5
    y = np.arange(geometry.source_height) + 0.5
    return sample(values, stride, geometry, x, y, first=first)


def sample(
    values: NDArray[np.float32],
    stride: int,
    geometry: Geometry,
    x: ArrayLike,
    y: ArrayLike,
    *,
    first: int = 0,
) -> NDArray[np.float32]:
    """Take a map, as ``to_source`` does, at the columns ``x`` [W] and rows ``y`` [H] of the source frame.

    Coordinates are continuous: the middle of the first pixel is at 0.5. Returns float32 [H, W].
    """
    moved_x, moved_y = (
        geometry.points_to_model(np.stack([np.asarray(one, dtype=np.float64)] * 2, axis=1))[:, axis]
        for axis, one in enumerate((x, y))
    )
    rows = _interpolate(values, (moved_y - 0.5 - first) / stride)
    sampled = _interpolate(np.ascontiguousarray(rows.T), (moved_x - 0.5 - first) / stride).T
    sampled[(moved_y < 0) | (moved_y > geometry.height)] = 0
    sampled[:, (moved_x < 0) | (moved_x > geometry.width)] = 0
    return sampled


def field_of_view(geometry: Geometry) -> tuple[int, int, int, int]:
    """Return the part of the source frame that the model saw, as whole pixels x1, y1, x2, y2."""
    x1, y1, x2, y2 = geometry.boxes_to_source([[0, 0, geometry.width, geometry.height]])[0]
    return (
        max(0, int(np.floor(x1))),
        max(0, int(np.floor(y1))),
        min(geometry.source_width, int(np.ceil(x2))),
        min(geometry.source_height, int(np.ceil(y2))),
    )


@dataclass(frozen=True)
class Concentration:
    """How well heat and boxes fall together.

    Parameters
    ----------
    peak_inside:
        Whether the hottest pixel lies in a box (the pointing game of Zhang et al. 2018).
    heat:
        Share of the heat that lies in the boxes, 0 to 1.
    area:
        Share of the image that the boxes take, 0 to 1; what ``heat`` would be if the heat were spread evenly.
    """

    peak_inside: bool
    heat: float
    area: float


def box_mask(shape: tuple[int, ...], boxes: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
    """Return which pixels of a frame [H, W] the COCO annotations or results touch, bool [H, W]."""
    inside = np.zeros(shape, dtype=bool)
    for x1, y1, x2, y2 in to_xyxy([box["bbox"] for box in boxes]):
        inside[int(np.floor(y1)) : int(np.ceil(y2)), int(np.floor(x1)) : int(np.ceil(x2))] = True
    return inside


def peak(heat: NDArray[np.float32]) -> tuple[int, int]:
    """Return column and row of the hottest pixel of a heatmap [H, W]."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return int(column), int(row)


def concentration(heat: NDArray[np.float32], boxes: Sequence[Mapping[str, Any]]) -> Concentration:
    """Measure a heatmap [H, W] of the source frame against COCO annotations or results of the same frame."""
    inside = box_mask(heat.shape, boxes)
    column, row = peak(heat)
    total = float(heat.sum(dtype=np.float64))
    within = float(heat[inside].sum(dtype=np.float64))
    return Concentration(
        bool(inside[row, column]) and total > 0, within / total if total > 0 else 0.0, float(inside.mean())
    )


def paint(
    pixels: NDArray[np.floating[Any]], heat: NDArray[np.float32], *, red_at: float | None = None
) -> NDArray[np.uint8]:
    """Lay heat over a mammogram, blue (little) to red (most); where there is none it stays as it is.

    ``pixels`` float [H, W] and ``heat`` float32 [H, W] are 0 to 1. Heat of ``red_at`` or more is red; None
    takes the hottest pixel of ``heat``, however cold it is. Returns uint8 [H, W, 3], RGB.
    """
    grey = (np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.float32)
    hottest = float(heat.max()) if red_at is None else red_at
    relative = np.minimum(heat / np.float32(hottest), 1) if hottest > 0 else heat
    opacity = np.minimum(relative / _OPAQUE_FROM, 1) * np.float32(_OPACITY)
    colours = cv2.applyColorMap((relative * 255).round().astype(np.uint8), cv2.COLORMAP_JET)[:, :, ::-1]
    painted = np.empty((*heat.shape, 3), dtype=np.uint8)
    for channel in range(3):  # one at a time: a mammogram in float RGB takes 160 MB
        painted[:, :, channel] = (grey + opacity * (colours[:, :, channel] - grey)).round()
    return painted


def write_heat(path: str | os.PathLike[str], heat: NDArray[np.float32]) -> None:
    """Write a heatmap [H, W], 0 to 1, as 16-bit grey PNG, 65535 = 1.0, atomically."""
    stored = np.rint(heat * np.float32(FULL_SCALE)).astype(np.uint16)
    coded = cv2.imencode(".png", stored)[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(coded.tobytes())


def write_array(path: str | os.PathLike[str], heat: NDArray[np.float32]) -> None:
    """Write a heatmap [H, W] as NumPy array of float32, ``.npy``, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, heat.astype(np.float32, copy=False), allow_pickle=False)


def panels(
    rows: Sequence[Sequence[tuple[str, NDArray[np.float32], bool]]],
) -> NDArray[np.uint8]:
    """Put maps side by side, with their names above.

    Parameters
    ----------
    rows:
        Rows of (name, picture, coloured); every picture is float32 [h, w] of one size, 0 to 1; coloured ones
        run from dark blue (0) over green to yellow (1), others are grey. Rows may differ in length.

    Returns
    -------
    uint8 [H, W, 3], RGB.
    """
    height, width = rows[0][0][1].shape
    bar = max(20, height // 16)
    columns = max(map(len, rows))
    sheet = np.full(
        (len(rows) * (height + bar + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), _BACKGROUND, np.uint8
    )
    scale = bar / 34
    for row, entries in enumerate(rows):
        for column, (name, picture, coloured) in enumerate(entries):
            top, left = _GAP + row * (height + bar + _GAP), _GAP + column * (width + _GAP)
            grey = (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
            tile = cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[:, :, ::-1] if coloured else grey[:, :, None]
            sheet[top + bar : top + bar + height, left : left + width] = tile
            origin = (left + 2, top + int(bar * 0.75))
            cv2.putText(sheet, name, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, (235, 235, 235), 1, cv2.LINE_AA)
    return sheet


def _interpolate(values: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the rows of ``values`` at fractional indices, linear between rows, constant beyond the ends."""
    at = np.clip(at, 0, len(values) - 1)
    low = np.floor(at).astype(np.intp)
    share = (at - low).astype(np.float32)[:, None]
    below = values[low]
    return below + share * (values[np.minimum(low + 1, len(values) - 1)] - below)
