"""A forest plot of subgroups: one number per row with its interval, beside that of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mammodet.datasets.figure_style import STYLE, shown_name
from mammodet.evaluation.subgroups import SubgroupRow

NUMBER = "AP50"
_LONGEST = 34  # characters of a value, such as a manufacturer's name


def forest_figure(rows: Sequence[SubgroupRow], overall: float | None, number: str = NUMBER) -> Figure | None:
    """Draw ``number`` of every subgroup that has one, of all classes together; None when none has.

    Parameters
    ----------
    overall:
        The number of all lesions, drawn as a line; None draws none.
    """
    shown = [row for row in rows if row.classes == "all" and row.numbers.get(number) is not None]
    if not shown:
        return None
    groups = list(dict.fromkeys(row.group for row in shown))
    heights: list[float] = []
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.1 + 0.3 * (len(shown) + len(groups))), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        place, labels = 0.0, []
        for group in groups:
            heights.append(place)
            labels.append(group)
            for row in (one for one in shown if one.group == group):
                place += 1
                heights.append(place)
                labels.append(f"{shown_name(row.value, _LONGEST)} ({row.lesions})")
                _draw(axes, row, number, place)
            place += 1.4
        xlabel = number
        if overall is not None:
            xlabel += f" (dotted: all, {overall:.3f})"
            axes.axvline(overall, color="0.55", linewidth=1, linestyle=(0, (2, 3)), zorder=0)
        axes.set(xlim=(-0.02, 1.02), ylim=(place - 0.7, -0.8), xlabel=xlabel)
        axes.set_yticks(heights, labels)
        for tick, label in zip(axes.get_yticklabels(), labels, strict=True):
            if label in groups:
                tick.set_fontweight("bold")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="0.92")
        axes.set_axisbelow(True)
        axes.set_title(f"{number} by subgroup (lesions)")
    return figure


def _draw(axes: Axes, row: SubgroupRow, number: str, place: float) -> None:
    value: Any = row.numbers[number]
    interval = row.intervals.get(number)
    if interval is not None and interval.low is not None:
        axes.hlines(place, interval.low, interval.high or interval.low, color="#0072B2", linewidth=1.6)
    axes.plot([value], [place], marker="s", color="#0072B2", markersize=5)
