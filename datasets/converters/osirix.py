"""Outlines as OsiriX writes them: property lists with a name and the points of every region of interest."""

from __future__ import annotations

import math
import plistlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammodet.datasets.converters.texts import read_text
from mammodet.datasets.errors import InputError

FARTHEST_PX = 1e5  # no point of a mammogram lies farther from its corner

_NUMBER = r"\s*([-+.\deE]{1,30})\s*"
_POINT = re.compile(rf"\({_NUMBER},{_NUMBER}(?:,{_NUMBER})?\)")


@dataclass(frozen=True)
class Roi:
    """One region of interest: its name, possibly empty, and its points (x, y) in pixels."""

    name: str
    points: Sequence[tuple[float, float]]


def read_rois(path: Path) -> list[Roi]:
    """Return the regions of interest of a property list in XML; plistlib refuses entities.

    Raises InputError when the file is too large for one (``texts.read_text``), or none of this layout.
    """
    content = read_text(path).encode()
    try:
        images = plistlib.loads(content, fmt=plistlib.FMT_XML)["Images"]
        return [_roi(roi) for image in images for roi in image["ROIs"]]
    except Exception as error:  # expat's, plistlib's own, and those of a list in the place of a dict
        reason = str(error)[:200] or type(error).__name__
        problem = f"is no property list with outlines of OsiriX ({type(error).__name__}: {reason})"
        raise InputError(problem, file=path, remedy="fetch the file again") from None


def _roi(entry: Any) -> Roi:
    points = [_point(text) for text in entry["Point_px"]]
    claimed = entry.get("NumberOfPoints", len(points))
    if claimed != len(points):
        raise ValueError(f"{len(points)} points where NumberOfPoints says {claimed}")
    return Roi(entry.get("Name", "").strip(), points)


def _point(text: str) -> tuple[float, float]:
    match = _POINT.fullmatch(text.strip())
    x, y = (float(match[1]), float(match[2])) if match else (math.nan, math.nan)
    if not max(abs(x), abs(y)) <= FARTHEST_PX:  # false for NaN
        raise ValueError(f"no point (x, y) in pixels: {text[:40]!r}")
    return x, y
