"""The waterfall of mammodet bench: what every step from stock torchvision to ours brought."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mammodet.datasets.atomic import atomic_path

_STOCK, _OURS, _OTHER = "#8a8a8a", "#2166ac", "#b2b2b2"


def draw_waterfall(table: Mapping[str, Any], machine: Mapping[str, Any], path: Path) -> None:
    """Write a PNG with one bar per row of an inference table of ``bench.json``."""
    rows = table["rows"]
    figure = Figure(figsize=(8, 0.45 * len(rows) + 1.4), layout="constrained")
    axes = figure.subplots()
    for number, row in enumerate(rows):
        instead = "instead of" in row["step"]
        colour = _STOCK if number == 0 else _OTHER if instead else _OURS
        axes.barh(number, row["seconds"], color=colour, height=0.7)
        ratio = "" if row["ratio"] is None else f"  ({row['ratio']:.1f} times faster)"
        axes.text(row["seconds"], number, f"  {row['seconds']:.2f} s{ratio}", va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [row["step"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(row["seconds"] for row in rows))
    axes.set_xlabel("seconds for one image")
    axes.spines[["top", "right"]].set_visible(False)
    title = f"{table['height']} x {table['width']} px, {machine['processor']}, {machine['cores']} cores"
    axes.set_title(title, fontsize=10, loc="left")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
