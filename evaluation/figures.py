"""Figures for a paper: ROC curves and confusion matrices as PNG and SVG; same numbers, same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mammodet.datasets.atomic import atomic_path
from mammodet.evaluation.classification_metrics import Classification
from mammodet.evaluation.summary import Level

# Okabe and Ito's colours, told apart with any colour vision; the dashes tell the curves apart in grey.
_LINES: Mapping[str, tuple[str, str]] = {
    "image": ("#0072B2", "solid"),
    "breast": ("#D55E00", "dashed"),
    "lesion_published": ("#009E73", "dashdot"),
    "lesion_all": ("#CC79A7", "dotted"),
}
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so the figure is the same on every machine
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "mammodet",
    "savefig.dpi": 200,
}


def roc_figure(levels: Mapping[str, Level]) -> Figure | None:
    """Draw the ROC curves of all levels in one square, AUC in the legend; None when no level has a curve."""
    curves = {name: level for name, level in levels.items() if level.roc.auc is not None}
    if not curves:
        return None
    with mpl.rc_context(_STYLE):
        figure = _figure(5.2, 5.2)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (1, 3)))
        for name, level in curves.items():
            colour, dashes = _LINES[name]
            curve = level.roc
            label = f"{level.title} (n = {level.classification.cases}): AUC {curve.auc:.3f}"
            axes.plot(
                curve.false_positive_rate,
                curve.true_positive_rate,
                color=colour,
                linestyle=dashes,
                linewidth=2.2,
                label=label,
            )
        axes.set(
            xlabel="False positive rate (1 − specificity)",
            ylabel="True positive rate (sensitivity)",
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            aspect="equal",
            title="ROC of the malignancy score",
        )
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
        axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="0.85", fontsize=8.5)
    return figure


def confusion_figure(levels: Mapping[str, Level]) -> Figure | None:
    """Draw the confusion matrix of every level that has cases, side by side; None when none has."""
    filled = [level for level in levels.values() if level.classification.cases]
    if not filled:
        return None
    columns = min(len(filled), 2)
    rows = -(-len(filled) // columns)
    with mpl.rc_context(_STYLE):
        figure = _figure(4.2 * columns, 3.7 * rows)
        figure.set_layout_engine("constrained", wspace=0.08, hspace=0.08)
        panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, level in zip(panels, filled, strict=False):
            _draw_confusion(axes, level.classification)
            axes.set_title(f"{level.title} (n = {level.classification.cases})")
        for axes in panels[len(filled) :]:
            axes.set_visible(False)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically as PNG or SVG by the suffix of ``path``, without date and version inside."""
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with mpl.rc_context(_STYLE), atomic_path(path) as temporary:
        figure.savefig(temporary, metadata=metadata)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw_confusion(axes: Axes, table: Classification) -> None:
    counts = np.array(table.confusion, dtype=float)  # [true, answer]
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        percent = f"\n{share:.0%}" if totals[row] else ""
        axes.text(
            column,
            row,
            f"{counts[row, column]:.0f}{percent}",
            ha="center",
            va="center",
            color="white" if share > 0.7 else "black",
        )
    axes.set_xticks(range(len(table.answers)), [_broken(name) for name in table.answers])
    axes.set_yticks(range(len(table.classes)), [_broken(name) for name in table.classes])
    axes.set_xticks(np.arange(0.5, len(table.answers) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(table.classes) - 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.set(xlabel="Predicted", ylabel="True (rows add up to 100%)")
    axes.yaxis.labelpad = 8
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def _broken(name: str) -> str:
    return name.replace(" ", "\n")
