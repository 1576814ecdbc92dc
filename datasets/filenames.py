"""File names: side and view of a breast, for files without a header to tell them, and names to be shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SIDES = {"L": "L", "R": "R", "LEFT": "L", "RIGHT": "R", "LT": "L", "RT": "R"}
_VIEWS = frozenset({"CC", "MLO", "ML", "LM", "LMO", "XCCL", "XCCM", "XCC", "FB", "SIO", "AT", "CV"})
# A view that stands alone, without a side beside it, has to be one that means nothing else.
_SAFE_VIEWS = frozenset({"CC", "MLO"})
_SIDE_WORDS = frozenset({"LEFT", "RIGHT"})
_JOINED = re.compile(r"(L|R|LEFT|RIGHT)(CC|MLO|ML|LM|XCCL)")


@dataclass(frozen=True)
class NameFacts:
    """What a stem tells: ``laterality`` L, R or None, ``view`` or None, and the stem without these tokens."""

    laterality: str | None
    view: str | None
    rest: str


def parse_stem(stem: str) -> NameFacts:
    """Read side and view from the stem of a file name, cautiously.

    Taken are a side and a view side by side (``R-CC``, ``L_MLO``, ``RIGHT.MLO``, ``RCC``, ``CC_L``), a single
    word LEFT or RIGHT, and a single CC or MLO. A single letter L or R is not taken, nor anything from a stem
    that names both sides. INbreast writes ML for MLO (``22678622_..._MG_R_ML_ANON``), and only there it is
    read so.
    """
    tokens = [token for token in re.split(r"[\s_.\-]+", stem) if token]
    upper = [token.upper() for token in tokens]
    pairs = _pairs(upper)
    if len({(side, view) for _, side, view in pairs}) == 1:
        _, side, view = pairs[0]
        if view == "ML" and "MG" in upper and "ANON" in upper:
            view = "MLO"
        used = {index for positions, _, _ in pairs for index in positions}
        return NameFacts(side, view, _join(tokens, used))
    if pairs:
        return NameFacts(None, None, stem)
    return _single_words(stem, tokens, upper)


def printable(name: str) -> str:
    """Return a name to be shown: line ends, control characters and bytes that are no text are replaced."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in name)


def _pairs(upper: Sequence[str]) -> list[tuple[tuple[int, ...], str, str]]:
    """Return every side with a view beside it: (positions of the tokens, side, view)."""
    found: list[tuple[tuple[int, ...], str, str]] = []
    for index, token in enumerate(upper):
        joined = _JOINED.fullmatch(token)
        if joined:
            found.append(((index,), _SIDES[joined[1]], joined[2]))
        if token not in _VIEWS:
            continue
        if index and upper[index - 1] in _SIDES:
            found.append(((index - 1, index), _SIDES[upper[index - 1]], token))
        elif index + 1 < len(upper) and upper[index + 1] in _SIDES:
            found.append(((index, index + 1), _SIDES[upper[index + 1]], token))
    return found


def _single_words(stem: str, tokens: Sequence[str], upper: Sequence[str]) -> NameFacts:
    sides = {index: _SIDES[token] for index, token in enumerate(upper) if token in _SIDE_WORDS}
    views = {index: token for index, token in enumerate(upper) if token in _SAFE_VIEWS}
    side = next(iter(sides.values())) if len(set(sides.values())) == 1 else None
    view = next(iter(views.values())) if len(set(views.values())) == 1 else None
    used = {*(sides if side else ()), *(views if view else ())}
    return NameFacts(side, view, _join(tokens, used) if used else stem)


def _join(tokens: Sequence[str], used: set[int]) -> str:
    return "_".join(token for index, token in enumerate(tokens) if index not in used)
