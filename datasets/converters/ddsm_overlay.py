"""The .OVERLAY files of DDSM: what was marked on one film, with outlines as chain codes (Heath et al. 2001).

A chain starts at the column and row of a pixel and goes on from pixel to pixel: 0 up, 1 up and right, 2
right, and so on clockwise to 7; ``#`` ends it. Every abnormality has a BOUNDARY, and may have COREs inside.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mammodet.datasets.converters.shapes import Shape
from mammodet.datasets.converters.texts import read_text
from mammodet.datasets.errors import InputError

MOST_BYTES = 2**22  # the largest overlay has some hundred kilobytes

_FIELDS = ("LESION_TYPE", "ASSESSMENT", "SUBTLETY", "PATHOLOGY", "TOTAL_OUTLINES")
_RIGHT = np.array([0, 1, 1, 1, 0, -1, -1, -1])
_DOWN = np.array([-1, -1, 0, 1, 1, 1, 0, -1])
_START = re.compile(r"-?[0-9]{1,6}")
_REMEDY = "an outline looks like: 1000 2000 2 2 4 4 6 6 0 0 #"


@dataclass
class Chain:
    """One outline as it stands in the file: the line of its keyword, its words, and whether ``#`` ends it."""

    line: int
    words: list[str] = field(default_factory=list)
    ended: bool = False


@dataclass
class Abnormality:
    """One ABNORMALITY: the text after every keyword, in the order of the file, and its outlines."""

    number: str
    fields: dict[str, list[str]] = field(default_factory=dict)
    boundaries: list[Chain] = field(default_factory=list)
    cores: list[Chain] = field(default_factory=list)

    def text(self, keyword: str) -> str:
        """Return what the file says after a keyword, "" when it says nothing."""
        return " ".join(self.fields.get(keyword, ()))


@dataclass(frozen=True)
class Overlay:
    """One file: its abnormalities, and how many it claims to have."""

    path: Path
    told: str
    abnormalities: Sequence[Abnormality]


def read_overlay(path: Path) -> Overlay:
    """Read an .OVERLAY file; raises InputError, with the line, for one that is none."""
    told, found, chain = "", [], None
    for number, line in enumerate(read_text(path, most_bytes=MOST_BYTES).split("\n"), start=1):
        keyword, *rest = line.split() or [""]
        if keyword == "TOTAL_ABNORMALITIES":
            told = " ".join(rest)
        elif keyword == "ABNORMALITY":
            found.append(Abnormality(" ".join(rest)))
            chain = None
        elif found and keyword in _FIELDS:
            found[-1].fields.setdefault(keyword, []).append(" ".join(rest))
        elif found and keyword in {"BOUNDARY", "CORE"}:
            chain = Chain(number)
            (found[-1].boundaries if keyword == "BOUNDARY" else found[-1].cores).append(chain)
            _extend(chain, rest)
        elif chain is not None and not chain.ended:
            _extend(chain, line.split())
        elif keyword:
            problem = "is no line of a DDSM overlay"
            raise InputError(problem, file=path, field=f"line {number}", value=line, remedy=_REMEDY)
    return Overlay(path, told, found)


def _extend(chain: Chain, words: Sequence[str]) -> None:
    """Take the words of a line up to ``#``; nothing but blanks is known to follow it."""
    end = words.index("#") if "#" in words else len(words)
    chain.words += words[:end]
    chain.ended = end < len(words)


def chain_shape(chain: Chain, path: Path) -> tuple[Shape, int]:
    """Return the outline of a chain, and how far its end lies from its start.

    The pixels of the chain belong to the lesion: the box holds them all, and the area is the number of pixels
    on and inside the closed outline (Pick's theorem). The polygon runs through their centres.

    Returns
    -------
    Shape, int
        The gap is in pixels, the greater of columns and rows: up to 1 for a closed outline.

    Raises
    ------
    InputError
        When the chain has no start, or a step that is none of 0 to 7.
    """
    start, steps = chain.words[:2], chain.words[2:]
    wrong = [word for word in start if not _START.fullmatch(word)]
    wrong += [word for word in steps if word not in "01234567" or len(word) != 1]
    if wrong or len(start) < 2:
        problem = "must be a column, a row and steps of 0 to 7"
        value = wrong[0] if wrong else " ".join(start)
        raise InputError(
            problem, file=path, field=f"outline at line {chain.line}", value=value, remedy=_REMEDY
        )
    directions = np.array(steps, dtype=np.int64)
    xs = int(start[0]) + np.concatenate([[0], np.cumsum(_RIGHT[directions])])
    ys = int(start[1]) + np.concatenate([[0], np.cumsum(_DOWN[directions])])
    turns = np.flatnonzero(np.diff(directions, prepend=-1, append=-1))  # straight runs need no points
    points = np.stack([xs[turns], ys[turns]], axis=1) + 0.5
    drawn = [points.reshape(-1).tolist()] if len(points) > 2 else None
    twice = abs(int(np.sum(xs * np.roll(ys, -1) - np.roll(xs, -1) * ys)))  # the shoelace formula
    across, along = int(xs[-1] - xs[0]), int(ys[-1] - ys[0])
    on_line = len(steps) + math.gcd(across, along)  # a gap is closed by a straight line
    x, y = int(xs.min()), int(ys.min())
    around = (float(x), float(y), float(int(xs.max()) + 1 - x), float(int(ys.max()) + 1 - y))
    return Shape(around, "chain-code", (twice + on_line) / 2 + 1, drawn), max(abs(across), abs(along))
