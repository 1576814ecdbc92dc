"""Words on contact sheets: one font, the same on every machine, and texts that fit their place."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import ImageFont

from mammodet.datasets.filenames import printable


@lru_cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font that comes with matplotlib, ``size`` px high, which has the letters of most names."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def fit(text: str, style: ImageFont.FreeTypeFont, width: int, *, keep_end: bool = True) -> str:
    """Return text shortened to a width: in its middle, since names differ at their ends, or at its end."""
    text = printable(text)
    if style.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        tail = kept - kept // 3 if keep_end else 0
        shown = f"{text[: kept - tail]}…{text[len(text) - tail :]}"
        if style.getlength(shown) <= width:
            return shown
    return ""
