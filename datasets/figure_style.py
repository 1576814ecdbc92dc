"""The look that all figures share, so that the same numbers give the same picture on every machine."""

from __future__ import annotations

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
