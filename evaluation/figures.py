"""Figures for a paper: ROC and FROC curves, confusion matrices as PNG and SVG; same numbers, same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.figure_style import STYLE, shown_name
from mammodet.evaluation.calibrated_levels import Calibrated
from mammodet.evaluation.calibration import ReliabilityBin
from mammodet.evaluation.classification_metrics import Classification
from mammodet.evaluation.froc import POINTS
from mammodet.evaluation.froc_table import FrocRow, FrocTable
from mammodet.evaluation.levels import Level
from mammodet.evaluation.proportions import wilson_interval
from mammodet.evaluation.resampling import primary

# Okabe and Ito's colours, told apart with any colour vision; the dashes tell the curves apart in grey.
_LINES: Mapping[str, tuple[str, Any]] = {
    "image": ("#0072B2", "solid"),
    "breast": ("#D55E00", "dashed"),
    "patient": ("#E69F00", (0, (5, 1, 1, 1, 1, 1))),
    "lesion_published": ("#009E73", "dashdot"),
    "lesion_all": ("#CC79A7", "dotted"),
}
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("solid", "dashed", "dashdot", "dotted", (0, (5, 1, 1, 1, 1, 1)))
_BANDS = ("image", "breast")  # five bands on each other would show none
_PANELS = 4  # classes that the FROC figure shows at most


def roc_figure(levels: Mapping[str, Level]) -> Figure | None:
    """Draw the ROC curves of all levels in one square, AUC in the legend; None when no level has a curve."""
    curves = {name: level for name, level in levels.items() if level.roc.auc is not None}
    if not curves:
        return None
    with mpl.rc_context(STYLE):
        figure = _figure(5.2, 5.2)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (1, 3)))
        for name, level in curves.items():
            colour, dashes = _LINES[name]
            curve = level.roc
            label = f"{level.title} (n = {level.classification.cases}): AUC {curve.auc:.3f}"
            interval = primary(level.intervals.get("auc", {}))
            if interval is not None and interval.low is not None:
                label += f" [{interval.low:.3f}, {interval.high:.3f}]"
            band = level.band if name in _BANDS else None
            if band is not None:
                axes.fill_between(
                    band.false_positive_rate, band.low, band.high, color=colour, alpha=0.13, linewidth=0
                )
            axes.plot(
                curve.false_positive_rate,
                curve.true_positive_rate,
                color=colour,
                linestyle=dashes,
                linewidth=2.2,
                label=label,
            )
        roc_axes(axes, "ROC of the malignancy score")
        axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="0.85", fontsize=8.5)
    return figure


def froc_figure(table: FrocTable) -> Figure | None:
    """Draw one FROC curve per hit rule, a panel per class; None when no class has a curve.

    The false positives are on a logarithmic axis from half the first point to twice the last; what a detector
    finds with fewer is where the curve enters from the left. The first rule has its pointwise interval as a
    band; bands of all rules would hide each other.
    """
    drawn = [name for name in table.classes if any(row.curve.thresholds.size for row in table.of(name))]
    if not drawn:
        return None
    drawn = drawn[:_PANELS]
    first, last = POINTS[0] / 2, POINTS[-1] * 2
    with mpl.rc_context(STYLE):
        columns = min(len(drawn), 2)
        rows = -(-len(drawn) // columns)
        figure = _figure(5.8 * columns, 4.8 * rows)
        panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in panels[len(drawn) :]:
            axes.set_visible(False)
        for axes, name in zip(panels, drawn, strict=False):
            for number, row in enumerate(table.of(name)):
                _draw_froc(axes, row, number, first, last)
            ticks = [point for point in POINTS if point != 0.3]
            axes.set(
                xscale="log",
                xlabel=f"False positives per {table.protocol.unit}",
                ylabel="Sensitivity (lesions found)",
                xlim=(first, last),
                ylim=(-0.02, 1.02),
                title=f"FROC by hit rule, class {shown_name(name)} (n = {table.of(name)[0].lesions} lesions)",
            )
            axes.set_xticks(ticks, [_fraction(point) for point in ticks])
            axes.minorticks_off()
            axes.grid(color="0.92")
            axes.set_axisbelow(True)
            axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="0.85", fontsize=8.5)
    return figure


def confusion_figure(levels: Mapping[str, Level]) -> Figure | None:
    """Draw the confusion matrix of every level that has cases, side by side; None when none has."""
    filled = [level for level in levels.values() if level.classification.cases]
    if not filled:
        return None
    with mpl.rc_context(STYLE):
        figure, panels = _panels(len(filled), 4.2, 3.7)
        for axes, level in zip(panels, filled, strict=False):
            _draw_confusion(axes, level.classification)
            axes.set_title(f"{level.title} (n = {level.classification.cases})")
    return figure


def reliability_figure(levels: Mapping[str, Level]) -> Figure | None:
    """Draw the share of malignant cases against the mean score of each bin; None when there are no cases.

    The area of a point goes with the number of its cases; the lines are Wilson's intervals of 95 %.
    """
    filled = {name: level for name, level in levels.items() if level.classification.cases}
    if not filled:
        return None
    with mpl.rc_context(STYLE):
        figure, panels = _panels(len(filled), 4.0, 4.4)
        for axes, (name, level) in zip(panels, filled.items(), strict=False):
            title = f"{level.title} (n = {level.classification.cases}): ECE {level.ece:.3f}"
            _draw_reliability(axes, level.reliability, title, _LINES[name][0])
    return figure


def calibrated_figure(calibrated: Calibrated | None) -> Figure | None:
    """Draw the reliability of the raw scores above that of the probabilities, a column per level.

    None without a calibration or when no level has numbers.
    """
    levels = {} if calibrated is None else calibrated.levels
    filled = {name: level for name, level in levels.items() if level.reason is None}
    if calibrated is None or not filled:
        return None
    with mpl.rc_context(STYLE):
        figure = _figure(4.0 * len(filled), 8.4)
        figure.set_layout_engine("constrained", wspace=0.08, hspace=0.08)
        panels = figure.subplots(2, len(filled), squeeze=False)
        for column, (name, level) in enumerate(filled.items()):
            colour, ece = _LINES[name][0], level.numbers["ece"]
            before = f"{level.title} (n = {level.cases}), raw: ECE {ece.raw:.3f}"
            after = f"{level.title}, by {calibrated.kind}: ECE {ece.calibrated:.3f}"
            _draw_reliability(panels[0][column], level.raw, before, colour)
            _draw_reliability(panels[1][column], level.calibrated, after, colour, "probability")
    return figure


def roc_axes(axes: Axes, title: str) -> None:
    """Give matplotlib's axes the ends, names and grid of a ROC curve."""
    _unit_square(axes, 0.02)
    axes.set(
        xlabel="False positive rate (1 − specificity)", ylabel="True positive rate (sensitivity)", title=title
    )


def _unit_square(axes: Axes, margin: float) -> None:
    """Show 0 to 1 and a margin along both axes, equally long, with a grid below what is drawn."""
    ends = (-margin, 1 + margin)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically as PNG or SVG by the suffix of ``path``, without date and version inside."""
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with mpl.rc_context(STYLE), atomic_path(path) as temporary:
        figure.savefig(temporary, metadata=metadata)


def save_in_both(figure: Figure, folder: Path, name: str) -> Path:
    """Write a figure as PNG and, with the same layout, as SVG; return the SVG file."""
    save_figure(figure, folder / f"{name}.png")
    figure.set_layout_engine("none")  # that of the PNG stays: finding one takes longer than drawing
    path = folder / f"{name}.svg"
    save_figure(figure, path)
    return path


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels in rows of two or three; those beyond ``count`` are hidden."""
    columns = min(count, 2 if count == 4 else 3)
    rows = -(-count // columns)
    figure = _figure(width * columns, height * rows)
    figure.set_layout_engine("constrained", wspace=0.08, hspace=0.08)
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw_froc(axes: Axes, row: FrocRow, number: int, first: float, last: float) -> None:
    curve = row.curve
    if not curve.thresholds.size:
        return
    if row.band is not None:
        axes.fill_between(
            row.band.false_positives,
            row.band.low,
            row.band.high,
            color=_COLOURS[number % len(_COLOURS)],
            alpha=0.18,
            linewidth=0,
        )
    label = f"{row.rule}: CPM {row.cpm:.3f}"
    interval = row.intervals.get("cpm")
    if interval is not None and interval.low is not None:
        label += f" [{interval.low:.3f}, {interval.high:.3f}]"
    axes.step(
        [*np.maximum(curve.false_positives, first / 2), last],
        [*curve.sensitivity, curve.sensitivity[-1]],
        where="post",
        color=_COLOURS[number % len(_COLOURS)],
        linestyle=_DASHES[number % len(_DASHES)],
        linewidth=2.0,
        label=label,
    )


def _fraction(point: float) -> str:
    return f"1/{1 / point:g}" if point < 1 else f"{point:g}"


def _draw_reliability(
    axes: Axes, bins: Sequence[ReliabilityBin], title: str, colour: str, what: str = "score"
) -> None:
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (1, 3)))
    total = sum(one.cases for one in bins)
    for one in bins:
        if one.mean_score is None or one.share_malignant is None:
            continue
        limits = wilson_interval(round(one.share_malignant * one.cases), one.cases)
        axes.vlines(one.mean_score, limits.low or 0, limits.high or 1, color=colour, linewidth=1.2, alpha=0.6)
        size = 20 + 300 * one.cases / total
        axes.scatter([one.mean_score], [one.share_malignant], s=size, color=colour, alpha=0.8, linewidths=0)
    _unit_square(axes, 0.03)
    axes.set(xlabel=f"Mean {what} of the bin", ylabel="Share malignant", title=title)


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
