"""What a classifier sees, as pictures: a row of panels per case, and sheets of many rows. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mammodet.datasets.drawing import draw_boxes
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.heatmap import paint
from mammodet.datasets.sheet_text import fit, font

Tone = Literal["right", "wrong", "unknown"]
Colour = tuple[int, int, int]
Size = tuple[int, int]  # width, height
Picture = NDArray[np.uint8]  # [h, w, 3], RGB

# After Okabe and Ito's palette: told apart with every kind of colour blindness.
TONES: Mapping[Tone, Colour] = {"right": (86, 180, 233), "wrong": (255, 120, 30), "unknown": (150, 154, 160)}
_GROUND, _INK, _FAINT = (17, 18, 21), (238, 238, 236), (160, 164, 170)
_GAP, _FRAME = 10, 3
_HEAD, _TITLE = 52, 26  # height of the two lines above a row, and of the line above a panel
_SMALLEST, _LARGEST = 320, 720  # longer side of a panel: smaller inputs are enlarged, larger ones reduced


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture uint8 [h, w, 3] of a row, with what is written above it; ``tone`` frames it."""

    title: str
    picture: Picture
    tone: Tone | None = None


@dataclass(frozen=True, eq=False)
class Row:
    """The panels of one case, with a line on how it was judged and a faint one on what it is."""

    head: str
    facts: str
    tone: Tone
    panels: Sequence[Panel]


def panel_size(height: int, width: int) -> Size:
    """Return width and height of the panel of an input [H, W]: its longer side is 320 to 720 px."""
    longer = max(height, width)
    scale = min(max(longer, _SMALLEST), _LARGEST) / longer
    return max(1, round(width * scale)), max(1, round(height * scale))


def case_panel(
    pixels: NDArray[np.float32],
    heat: NDArray[np.float32] | None = None,
    lesions: Sequence[Mapping[str, Any]] = (),
) -> Picture:
    """Return an input float32 [H, W] of 0 to 1 at the size of its panel, with heat [H, W] and boxes on it."""
    height, width = pixels.shape
    panel = Geometry(width, height).scale(*panel_size(height, width))
    grey = np.clip(panel.pixels_to_model(pixels), 0, 1)
    hot = np.zeros_like(grey) if heat is None else panel.pixels_to_model(heat)
    # Without the circles of their provenance, which are in the frame of the input.
    boxes = [
        {
            "bbox": _scaled(one["bbox"], panel),
            "category_id": one["category_id"],
            "ignore": one.get("ignore", 0),
        }
        for one in lesions
    ]
    return draw_boxes(paint(grey, hot), boxes, labels=False)


def draw_row(row: Row, cell: Size | None = None) -> Picture:
    """Draw a row; every panel gets a place of ``cell`` (width, height), by default that of the largest."""
    width, height = cell or largest([row])
    size = (len(row.panels) * (width + _GAP) + _GAP, _HEAD + _TITLE + height + _GAP)
    image = Image.new("RGB", size, _GROUND)
    draw = ImageDraw.Draw(image)
    room = size[0] - 2 * _GAP
    draw.rectangle((_GAP, 12, _GAP + 12, 24), fill=TONES[row.tone])
    draw.text((_GAP + 20, 8), fit(row.head, font(16, bold=True), room - 20), _INK, font(16, bold=True))
    draw.text((_GAP, 32), fit(row.facts, font(13), room), _FAINT, font(13))
    for number, panel in enumerate(row.panels):
        left, top = _GAP + number * (width + _GAP), _HEAD + _TITLE
        draw.text((left, top - 21), fit(panel.title, font(14), width, keep_end=False), _INK, font(14))
        _paste(image, draw, panel, (left, top), (width, height))
    return np.asarray(image, dtype=np.uint8)


def panels_of(picture: Picture, count: int) -> list[Picture]:
    """Cut the ``count`` panels out of the picture of a row whose panels are all of one size."""
    width = (picture.shape[1] - _GAP) // count - _GAP
    lefts = [_GAP + number * (width + _GAP) for number in range(count)]
    return [picture[_HEAD + _TITLE : -_GAP, left : left + width] for left in lefts]


def draw_sheet(columns: Sequence[tuple[str, Sequence[Row]]], title: str, longest: int = 200) -> Picture:
    """Draw rows below each other, in columns with a name each, under a title.

    No panel becomes larger than ``longest`` px.
    """
    rows = [row for _, column in columns for row in column]
    cell = largest(rows, longest)
    drawn = [(name, [draw_row(row, cell) for row in column]) for name, column in columns]
    widths = [max([one.shape[1] for one in column] + [_GAP]) for _, column in drawn]
    heights = [sum(one.shape[0] for one in column) for _, column in drawn]
    image = Image.new("RGB", (max(sum(widths) + _GAP, 640), 84 + max(heights)), _GROUND)
    draw = ImageDraw.Draw(image)
    room = image.width - 2 * _GAP
    draw.text((_GAP, 12), fit(title, font(20, bold=True), room, keep_end=False), _INK, font(20, bold=True))
    left = 0
    for (name, column), width in zip(drawn, widths, strict=True):
        draw.text((left + _GAP, 50), fit(name, font(16), max(width, 200)), _FAINT, font(16))
        top = 80
        for one in column:
            image.paste(Image.fromarray(one), (left, top))
            top += one.shape[0]
        left += width + _GAP
    return np.asarray(image, dtype=np.uint8)


def largest(rows: Sequence[Row], longest: int | None = None) -> Size:
    """Return the width and the height that hold every panel, when none is larger than ``longest`` px."""
    sizes = [_shrunk(panel.picture.shape, longest) for row in rows for panel in row.panels]
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def _shrunk(shape: tuple[int, ...], longest: int | None) -> Size:
    scale = 1.0 if longest is None else min(1.0, longest / max(shape[:2]))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _paste(
    image: Image.Image, draw: ImageDraw.ImageDraw, panel: Panel, place: tuple[int, int], cell: Size
) -> None:
    """Put a panel into the middle of its place, reduced to fit."""
    height, width = panel.picture.shape[:2]
    scale = min(1.0, cell[0] / width, cell[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = (
        panel.picture
        if scale == 1
        else cv2.resize(np.ascontiguousarray(panel.picture), size, interpolation=cv2.INTER_AREA)
    )
    left, top = place[0] + (cell[0] - size[0]) // 2, place[1] + (cell[1] - size[1]) // 2
    image.paste(Image.fromarray(np.ascontiguousarray(picture)), (left, top))
    if panel.tone is not None:
        corners = (left, top, left + size[0] - 1, top + size[1] - 1)
        draw.rectangle(corners, outline=TONES[panel.tone], width=_FRAME)


def _scaled(bbox: Sequence[float], panel: Geometry) -> list[float]:
    x, y, width, height = bbox
    x1, y1, x2, y2 = panel.boxes_to_model([[x, y, x + width, y + height]])[0].tolist()
    return [x1, y1, x2 - x1, y2 - y1]
