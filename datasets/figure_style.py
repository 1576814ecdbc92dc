"""The look that all figures share, so that the same numbers give the same picture on every machine."""

from __future__ import annotations

import unicodedata
from typing import Any

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "mammodet",
    "savefig.dpi": 200,
}
HEADED: dict[Any, Any] = {**STYLE, "axes.titleweight": "bold", "axes.titlelocation": "left"}


def shown_name(name: str, most: int = 24) -> str:
    """Return a user's name as matplotlib may write it: short, without control characters and formulas.

    Half characters, which the names of files may hold, are left out too, since no file of a figure can hold
    them; and a name that begins with ``_`` would be no label.
    """
    plain = "".join(" " if unicodedata.category(one)[0] == "C" else one for one in name).strip()
    short = plain if len(plain) <= most else f"{plain[: most - 1]}…"
    return (f" {short}" if short.startswith("_") else short).replace("$", r"\$")
