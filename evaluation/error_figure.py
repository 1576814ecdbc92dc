"""How often each kind of error is made, and what it costs, side by side."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mammodet.datasets.figure_style import STYLE
from mammodet.evaluation.error_analysis import KINDS, ErrorAnalysis, KindRow

# Okabe and Ito's colours, as in the other figures.
_BOXES, _LESIONS, _COST = "#0072B2", "#E69F00", "#009E73"


def error_figure(analysis: ErrorAnalysis) -> Figure | None:
    """Draw counts and AP costs of every kind as bars; None when there is neither an error nor an AP."""
    rows = [row for row in analysis.of() if row.kind in KINDS]
    ap = analysis.ap.get("all")
    if ap is None and not analysis.cases:
        return None
    rules = analysis.rules
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        counts, costs = figure.subplots(1, 2, sharey=True)
        places = np.arange(len(rows))
        _bars(counts, places - 0.2, [row.false_positives for row in rows], _BOXES, "false positives (boxes)")
        _bars(
            counts, places + 0.2, [row.false_negatives for row in rows], _LESIONS, "false negatives (lesions)"
        )
        counts.set(
            xlabel="Number of errors",
            title=f"Errors at a score of {rules.score_threshold:g} or more, IoU {rules.iou:g}",
        )
        counts.set_yticks(places, [row.kind for row in rows])
        counts.invert_yaxis()
        counts.tick_params(axis="y", length=0)
        counts.xaxis.get_major_locator().set_params(integer=True)
        counts.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="0.85", fontsize=8.5)
        _draw_costs(costs, rows, ap, rules.iou)
    return figure


def _draw_costs(axes: Axes, rows: list[KindRow], ap: float | None, iou: float) -> None:
    name = f"AP{iou * 100:g}"
    values = [row.dap or 0.0 for row in rows]
    bars = axes.barh(range(len(rows)), values, height=0.5, color=_COST)
    axes.bar_label(
        bars, ["n/a" if row.dap is None else f"{row.dap:+.3f}" for row in rows], padding=3, fontsize=8.5
    )
    low, high = min(0.0, *values), max(0.05, *values)
    axes.set(
        xlim=(low * 1.3, high * 1.25),
        xlabel=f"Gain in {name} when this kind alone is put right",
        title=f"Cost of each kind, {name} now {'n/a' if ap is None else format(ap, '.3f')}",
    )
    axes.tick_params(axis="y", length=0)
    _grid(axes)


def _bars(axes: Axes, places: np.ndarray, values: list[int], colour: str, label: str) -> None:
    bars = axes.barh(places, values, height=0.36, color=colour, label=label)
    axes.bar_label(bars, [f"{value:,}" if value else "" for value in values], padding=3, fontsize=8.5)
    axes.set_xlim(0, max(1, axes.get_xlim()[1], max(values, default=0) * 1.15))
    _grid(axes)


def _grid(axes: Axes) -> None:
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
