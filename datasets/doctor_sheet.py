"""Contact sheets: one tile per file, with its name, its side and view, and its problems written on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mammodet.datasets.problem import Problem, Severity
from mammodet.datasets.sheet_text import fit, font

PER_SHEET = 60

Colour = tuple[int, int, int]
Label = tuple[str, Severity | None]  # what stands on it, and its colour
# After Okabe and Ito's palette: told apart with every kind of colour blindness.
COLOURS: Mapping[str, Colour] = {
    "error": (230, 92, 52),
    "warning": (240, 200, 60),
    "note": (86, 180, 233),
    "clean": (60, 180, 140),
}
_GROUND, _PAPER, _INK, _FAINT = (17, 18, 21), (29, 31, 36), (238, 238, 236), (160, 164, 170)
_PICTURE, _PAD, _GAP, _FRAME = 256, 10, 14, 3
_TILE = _PICTURE + 2 * _PAD
_MOST_LINES = 4  # rows of labels below a picture
_LINE = 21
_TEXT = 46  # height of file name and facts
_HEAD = 66


@dataclass(frozen=True, eq=False)
class Tile:
    """One file on a sheet.

    Parameters
    ----------
    name:
        What to write below the picture.
    facts:
        A second line, such as "R-MLO  2394 x 3062".
    problems:
        Worst first.
    picture:
        uint8 [h, w], at most 256 x 256; None for a file that could not be read.
    chest_side:
        Marked by a bar at that side of the picture when the file has the problem "mirrored".
    """

    name: str
    facts: str
    problems: Sequence[Problem]
    picture: NDArray[np.uint8] | None
    chest_side: str | None = None


def draw_sheet(tiles: Sequence[Tile], title: str) -> NDArray[np.uint8]:
    """Draw up to 60 tiles as one picture, uint8 [H, W, 3] RGB.

    The frame of a tile tells its worst problem: orange-red error, yellow warning, blue note, green nothing.
    """
    labels = [_labels(tile.problems) for tile in tiles]
    height = _PICTURE + _TEXT + max(len(rows) for rows in labels) * _LINE + 3 * _PAD
    columns = max(4, min(10, math.ceil(math.sqrt(len(tiles) * 1.5 * height / _TILE))))
    size = (columns * (_TILE + _GAP) + _GAP, math.ceil(len(tiles) / columns) * (height + _GAP) + _GAP + _HEAD)
    sheet = Image.new("RGB", size, _GROUND)
    _draw_head(ImageDraw.Draw(sheet), title, size[0])
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        place = (_GAP + column * (_TILE + _GAP), _HEAD + _GAP + row * (height + _GAP))
        sheet.paste(_draw_tile(tile, labels[index], height), place)
    return np.asarray(sheet, dtype=np.uint8)


def _draw_head(draw: ImageDraw.ImageDraw, title: str, width: int) -> None:
    legend = [(name, COLOURS[name]) for name in ("error", "warning", "note", "clean")]
    right = width - _GAP
    for name, colour in reversed(legend):
        length = round(font(15).getlength(name))
        right -= length
        draw.text((right, 42), name, font=font(15), fill=_FAINT)
        right -= 20
        draw.rectangle((right, 45, right + 12, 57), fill=colour)
        right -= 18
    draw.text((_GAP + 2, 12), fit(title, font(20, bold=True), width - 2 * _GAP), _INK, font(20, bold=True))


def _draw_tile(tile: Tile, labels: Sequence[Sequence[Label]], height: int) -> Image.Image:
    colour = COLOURS[tile.problems[0].severity if tile.problems else "clean"]
    image = Image.new("RGB", (_TILE, height), _PAPER)
    draw = ImageDraw.Draw(image)
    _draw_picture(image, draw, tile)
    top = 2 * _PAD + _PICTURE
    draw.text((_PAD, top - 4), fit(tile.name, font(15, bold=True), _PICTURE), _INK, font(15, bold=True))
    draw.text((_PAD, top + 17), fit(tile.facts, font(13), _PICTURE, keep_end=False), _FAINT, font(13))
    for row, line in enumerate(labels):
        _draw_labels(draw, line, top + _TEXT - 4 + row * _LINE)
    draw.rectangle((0, 0, _TILE - 1, height - 1), outline=colour, width=_FRAME)
    return image


def _draw_picture(image: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile) -> None:
    if tile.picture is None:
        draw.rectangle((_PAD, _PAD, _PAD + _PICTURE - 1, _PAD + _PICTURE - 1), fill=(70, 72, 78))
        draw.text(
            (_PAD + _PICTURE // 2, _PAD + _PICTURE // 2),
            "no picture",
            (190, 192, 196),
            font(18),
            anchor="mm",
        )
        return
    picture = Image.fromarray(tile.picture)
    scale = min(_PICTURE / picture.width, _PICTURE / picture.height, 4.0)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    left, top = _PAD + (_PICTURE - size[0]) // 2, _PAD + (_PICTURE - size[1]) // 2
    image.paste(picture.convert("RGB"), (left, top))
    if tile.chest_side and any(one.kind == "mirrored" for one in tile.problems):
        x = left if tile.chest_side == "L" else left + size[0] - 5
        draw.rectangle((x, top, x + 4, top + size[1] - 1), fill=COLOURS["warning"])


def _labels(problems: Sequence[Problem]) -> list[list[Label]]:
    """Break the kinds of problems into at most four rows; the last label tells how many found no room."""
    kinds = list({one.kind: one.severity for one in problems}.items())
    rows: list[list[Label]] = [[]]
    for index, (kind, severity) in enumerate(kinds):
        more = (f"+{len(kinds) - index} more", None)
        if _width([*rows[-1], (kind, severity)]) > _PICTURE:
            rows.append([])
        last = index == len(kinds) - 1
        if len(rows) == _MOST_LINES and not last and _width([*rows[-1], (kind, severity), more]) > _PICTURE:
            rows[-1].append(more)
            break
        rows[-1].append((kind, severity))
    return rows if kinds else []


def _width(labels: Sequence[Label]) -> int:
    return sum(_length(text) + 6 for text, _ in labels) - 6


def _length(text: str) -> int:
    return round(font(13, bold=True).getlength(text)) + 12


def _draw_labels(draw: ImageDraw.ImageDraw, labels: Sequence[Label], top: int) -> None:
    left = _PAD
    for text, severity in labels:
        box = (left, top, left + _length(text), top + 18)
        if severity is not None:
            draw.rounded_rectangle(box, radius=4, fill=COLOURS[severity])
        ink = _FAINT if severity is None else (16, 17, 20)
        draw.text((left + 6, top + 9), text, ink, font(13, bold=True), anchor="lm")
        left += _length(text) + 6
