"""Scores of windows as a heatmap: averaged where windows overlap, brought to the source frame, cut to boxes.

All is kept in the cells that the edges of the windows cut the frame into, some thousands, and becomes pixels
only at the very end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.classification.windows import Places
from mammodet.datasets.coco import clip_bbox, to_xywh
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry, Turn

BoxScore = Literal["max", "mean"]


@dataclass(frozen=True, eq=False)
class WindowHeat:
    """Mean score of all windows over each cell.

    Parameters
    ----------
    values:
        float32 [rows, columns], 0 to 1; NaN where no window lies.
    x, y:
        int64 [columns + 1], [rows + 1]: where cells begin and end, in pixels of the model frame.
    geometry:
        The way from the source frame to the model frame.
    windows:
        How many windows were scored.
    """

    values: NDArray[np.float32]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    geometry: Geometry
    windows: int

    def to_source(self, outside: float = 0.0) -> NDArray[np.float32]:
        """Return the heatmap as float32 [H, W] of the source frame.

        A pixel has the value of the cell that its middle lies in; nothing is smoothed. Where no window was
        there is ``outside``: 0 unless another value is wanted, since pictures, stored heatmaps and measures
        of ``mammodet.datasets.heatmap`` take 0 for "no heat". ``numpy.nan`` tells what was not looked at from
        what got the score 0.
        """
        framed = np.full((self.values.shape[0] + 1, self.values.shape[1] + 1), outside, dtype=np.float32)
        framed[:-1, :-1] = np.where(np.isnan(self.values), np.float32(outside), self.values)
        rows = _cell_of(self.y, _middles(self.geometry, 1))
        columns = _cell_of(self.x, _middles(self.geometry, 0))
        return framed[:, columns][rows]


def average_windows(
    windows: Places, scores: NDArray[np.floating[Any]], size: int, geometry: Geometry
) -> WindowHeat:
    """Average scores [N] of square windows int64 [N, 2] (x, y) of ``size`` pixels over what they cover.

    A window adds its score at its four corners only, and running sums spread it over its cells, so that the
    work does not grow with the overlap.
    """
    if any(isinstance(step, Turn) for step in geometry.steps):
        raise ValueError("heatmaps of turned images are not supported")
    x, left, right = _edges(windows[:, 0], size)
    y, top, bottom = _edges(windows[:, 1], size)
    counts = np.zeros((len(y), len(x)), dtype=np.int64)
    sums = np.zeros((len(y), len(x)), dtype=np.float64)
    for rows, columns, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        np.add.at(counts, (rows, columns), sign)
        np.add.at(sums, (rows, columns), sign * scores.astype(np.float64))
    counts, sums = (one.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] for one in (counts, sums))
    values = np.full(counts.shape, np.nan, dtype=np.float32)
    np.divide(sums, counts, out=values, where=counts > 0, casting="same_kind")
    # Running sums and probabilities round a little, which must not lead out of 0 to 1.
    return WindowHeat(np.clip(values, 0, 1), x, y, geometry, len(windows))


def heat_boxes(
    heat: WindowHeat,
    image_id: int,
    category_id: int,
    *,
    threshold: float = 0.5,
    score: BoxScore = "max",
) -> list[dict[str, Any]]:
    """Return the hot regions as COCO results in the source frame, by falling score.

    A region is a set of cells of ``threshold`` or more that touch each other, at corners too; its box is the
    smallest around it, clipped to the image.

    Parameters
    ----------
    score:
        "max" takes the hottest cell of the region: what is reported at a higher threshold is then what holds
        such a cell, so that a FROC curve over the scores does what moving the threshold would do. "mean"
        averages over the region's area; it puts large regions with a weak margin below small ones.

    Raises
    ------
    InputError
        When the threshold is not above 0 and up to 1, or ``score`` is unknown.
    """
    if not 0 < threshold <= 1:
        raise InputError("must be above 0 and up to 1", field="threshold", value=threshold)
    if score not in ("max", "mean"):
        raise InputError("unknown choice", field="score", value=score, remedy="choose max or mean")
    if not heat.values.size:  # which OpenCV refuses
        return []
    hot = (heat.values >= threshold).astype(np.uint8)  # NaN is not hot
    count, labels, stats, _ = cv2.connectedComponentsWithStats(hot, connectivity=8)
    results = []
    for number in range(1, count):
        left, top, columns, rows = stats[number, :4]
        corners = [heat.x[left], heat.y[top], heat.x[left + columns], heat.y[top + rows]]
        (bbox,) = to_xywh(heat.geometry.boxes_to_source([corners])).tolist()
        clipped = clip_bbox(bbox, heat.geometry.source_width, heat.geometry.source_height)
        if clipped is not None:
            value = _region_score(heat, labels == number, score)
            results.append(
                {"image_id": image_id, "category_id": category_id, "bbox": clipped, "score": value}
            )
    return sorted(results, key=lambda one: -one["score"])


def _region_score(heat: WindowHeat, region: NDArray[np.bool_], score: BoxScore) -> float:
    if score == "max":
        return float(heat.values[region].max())
    area = np.diff(heat.y)[:, None] * np.diff(heat.x)[None]
    return float(np.average(heat.values[region].astype(np.float64), weights=area[region]))


def _edges(
    starts: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return all places where a window starts or ends, and which of them each window starts and ends at."""
    edges = np.unique(np.concatenate([starts, starts + size]))
    return edges, np.searchsorted(edges, starts), np.searchsorted(edges, starts + size)


def _middles(geometry: Geometry, axis: int) -> NDArray[np.float64]:
    """Return where the middles of the source frame's columns (axis 0) or rows (1) lie in the model frame."""
    length = geometry.source_height if axis else geometry.source_width
    points = np.repeat(np.arange(length)[:, None] + 0.5, 2, axis=1)
    moved: NDArray[np.float64] = geometry.points_to_model(points)[:, axis]
    return moved


def _cell_of(edges: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the cell that each place lies in, and -1, the margin of ``to_source``, for none."""
    cells = np.searchsorted(edges, at, side="right") - 1
    return np.where(cells < len(edges) - 1, cells, -1)
