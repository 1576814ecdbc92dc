"""Tiles of images that are too large for the memory, and the boxes of their tiles put together again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_area

from mammodet.datasets.errors import InputError
from mammodet.detection.bands import CELL

# Two tiles place the centre of a lesion a little differently: so much of their overlap counts for both.
SLACK = 1 / 16
# A box that ends so near (in pixels) to an edge that its tile shares with others may be a piece of a lesion.
EDGE_PX = 16
# A piece falls to a larger box that holds at least this share of it ...
HELD_SHARE = 0.5
# ... and has at least this share of its score: a box of no weight must not make a lesion vanish.
SCORE_SHARE = 0.5


@dataclass(frozen=True)
class Tiles:
    """How an image is cut into tiles.

    Args:
        size: height and width of a tile in pixels, a multiple of 32, the coarsest stride of the network.
        overlap: pixels that neighbours share at least, a multiple of 32 below size. A lesion that is not
            larger lies whole in one tile at least.
    """

    size: int
    overlap: int

    def __post_init__(self) -> None:
        given = f"{self.size},{self.overlap}"
        if self.size < CELL or self.size % CELL:
            remedy = f"give a multiple of {CELL}, such as 1024"
            raise InputError(
                "size of a tile does not fit the network", field="tiles", value=given, remedy=remedy
            )
        if self.overlap < 0 or self.overlap % CELL or self.overlap >= self.size:
            raise InputError(
                "overlap of tiles does not fit",
                field="tiles",
                value=given,
                remedy=f"give a multiple of {CELL} that is smaller than the size, such as 1024,256",
            )

    @classmethod
    def parse(cls, text: str) -> Tiles:
        """Read ``"SIZE,OVERLAP"``, such as ``"1024,256"``; raises InputError for anything else."""
        size, comma, overlap = (part.strip() for part in text.partition(","))
        if not (comma and size.isdecimal() and overlap.isdecimal()):
            raise InputError(
                "is no size and overlap in pixels",
                field="tiles",
                value=text,
                remedy="give SIZE,OVERLAP, such as 1024,256",
            )
        return cls(int(size), int(overlap))


@dataclass(frozen=True)
class Window:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of an image, half-open, in pixels."""

    top: int
    bottom: int
    left: int
    right: int


def tile_windows(height: int, width: int, size: int, overlap: int) -> list[Window]:
    """Return the tiles of an image of ``height`` x ``width`` pixels, row by row.

    They cover every pixel, and neighbours share ``overlap`` pixels or more: the last ones of a row and of a
    column are moved inwards rather than padded. An image that is smaller than ``size`` along an axis has
    tiles of its own length there.
    """
    rows, columns = _spans(height, size, overlap), _spans(width, size, overlap)
    return [Window(top, bottom, left, right) for top, bottom in rows for left, right in columns]


def _spans(length: int, size: int, overlap: int) -> list[tuple[int, int]]:
    if length <= size:
        return [(0, length)]
    last = length - size
    return [(start, start + size) for start in (*range(0, last, size - overlap), last)]


def merge_tiles(
    outputs: Sequence[dict[str, Tensor]],
    windows: Sequence[Window],
    height: int,
    width: int,
    *,
    nms_threshold: float,
    max_detections: int,
) -> dict[str, Tensor]:
    """Put the boxes of all tiles of an image together.

    Every place belongs to the tile that sees most around it: neighbours share their overlap out along its
    middle. A box counts when its centre lies in its tile's own part. A lesion that is not larger than the
    overlap is whole in the tile that owns its centre, and its pieces in other tiles, which are shorter than
    the overlap, have their centres in parts of others. Of a lesion that is larger, a piece longer than the
    overlap stays. Around the middle, where two tiles may both take a lesion for theirs or neither might, a
    strip belongs to both: there a box that ends at an inner edge is dropped when another tile has a larger
    box of its class that holds at least half of it, with at least half of its score, and what two tiles found
    alike falls to the detector's own suppression.

    Parameters
    ----------
    outputs:
        Of each tile, in its own frame: ``boxes`` [N, 4] as [x1, y1, x2, y2], ``labels`` [N], ``scores`` [N].
    windows:
        Where each tile lies in the image.
    height, width:
        Of the image, in pixels.
    nms_threshold, max_detections:
        As in ``DetectorConfig``; they hold for the image as a whole.

    Returns
    -------
    dict
        ``boxes``, ``labels`` and ``scores`` in the frame of the image, by falling score.
    """
    rows = _parts([(one.top, one.bottom) for one in windows])
    columns = _parts([(one.left, one.right) for one in windows])
    boxes, labels, scores, tiles, cut = [], [], [], [], []
    for number, (output, window) in enumerate(zip(outputs, windows, strict=True)):
        moved = output["boxes"] + torch.tensor([window.left, window.top] * 2)
        own = _centred(moved, rows[window.top, window.bottom], columns[window.left, window.right])
        boxes.append(moved[own])
        labels.append(output["labels"][own])
        scores.append(output["scores"][own])
        tiles.append(torch.full((len(moved[own]),), number))
        cut.append(_ends_inside(moved[own], window, height, width))
    found = torch.cat(boxes), torch.cat(labels), torch.cat(scores)
    whole = ~_pieces(*found, torch.cat(tiles), torch.cat(cut))
    merged = dict(zip(("boxes", "labels", "scores"), (one[whole] for one in found), strict=True))
    return suppress(merged, nms_threshold, max_detections)


def suppress(found: dict[str, Tensor], nms_threshold: float, max_detections: int) -> dict[str, Tensor]:
    """Return what the detector's own suppression leaves of ``found``, by falling score."""
    best = batched_nms(found["boxes"], found["scores"], found["labels"], nms_threshold)[:max_detections]
    return {name: values[best] for name, values in found.items()}


def no_boxes() -> dict[str, Tensor]:
    """Return what a detector returns where it finds nothing."""
    return {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "scores": torch.zeros(0),
    }


def _parts(spans: Sequence[tuple[int, int]]) -> dict[tuple[int, int], tuple[float, float]]:
    """Return for each span along one axis what is its own, from and to, with the strips it shares."""
    ordered = sorted(set(spans))
    own = {span: [-math.inf, math.inf] for span in ordered}
    for before, after in pairwise(ordered):
        middle, slack = (before[1] + after[0]) / 2, (before[1] - after[0]) * SLACK
        own[before][1], own[after][0] = middle + slack, middle - slack
    return {span: (low, high) for span, (low, high) in own.items()}


def _centred(boxes: Tensor, rows: tuple[float, float], columns: tuple[float, float]) -> Tensor:
    """Return which boxes [N, 4] have their centre within rows and columns, bool [N]."""
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2).unbind(dim=1)
    return (x >= columns[0]) & (x <= columns[1]) & (y >= rows[0]) & (y <= rows[1])


def _ends_inside(boxes: Tensor, window: Window, height: int, width: int) -> Tensor:
    """Return which boxes [N, 4] of a tile end at one of its edges that is no edge of the image, bool [N]."""
    ends = torch.zeros(len(boxes), dtype=torch.bool)
    for side, edge, border in (
        (0, window.left, 0),
        (1, window.top, 0),
        (2, window.right, width),
        (3, window.bottom, height),
    ):
        if edge != border:
            ends |= (boxes[:, side] - edge).abs() <= EDGE_PX
    return ends


def _pieces(boxes: Tensor, labels: Tensor, scores: Tensor, tile: Tensor, cut: Tensor) -> Tensor:
    """Return which boxes are pieces of a larger box of another tile, bool [N]."""
    pieces = torch.zeros_like(cut)
    area = box_area(boxes)
    for index in torch.nonzero(cut).flatten().tolist():
        corners = torch.maximum(boxes[:, :2], boxes[index, :2]), torch.minimum(boxes[:, 2:], boxes[index, 2:])
        shared = (corners[1] - corners[0]).clamp(min=0).prod(dim=1)
        pieces[index] = (
            (tile != tile[index])
            & (labels == labels[index])
            & (area > area[index])
            & (shared >= HELD_SHARE * area[index])
            & (scores >= SCORE_SHARE * scores[index])
        ).any()
    return pieces
