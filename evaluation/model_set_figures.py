"""Figures of several models: ROC and FROC curves laid over each other, differences with their intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mammodet.datasets.figure_style import STYLE, shown_name
from mammodet.evaluation.comparison import Difference
from mammodet.evaluation.figures import roc_axes
from mammodet.evaluation.froc import POINTS
from mammodet.evaluation.froc_cases import ANY_CLASS
from mammodet.evaluation.froc_table import FrocRow
from mammodet.evaluation.model_set import ModelSet
from mammodet.evaluation.model_set_tables import LEVEL_TITLES, headlines
from mammodet.evaluation.resampling import Interval, primary

# Okabe and Ito's colours in the order of the models; dashes and marks tell them apart in grey.
MODEL_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES: tuple[Any, ...] = ("solid", "dashed", "dashdot", "dotted", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
_MARKS = "osD^vP"
_PANELS = 4  # hit rules shown at most
_MANY = 2  # later models: with more the forest plot shows the headlines alone
LEGEND: dict[str, Any] = {
    "frameon": True,
    "framealpha": 0.9,
    "edgecolor": "0.85",
    "fontsize": 8,
    "title_fontsize": 8,
    "alignment": "left",
    "handlelength": 3,
}


def models_roc_figure(models: ModelSet) -> Figure | None:
    """Draw one square per level with the ROC curves of all models; None when no model has a curve."""
    levels = [name for name in models.levels if any(True for _ in _rocs(models, name))]
    if not levels:
        return None
    with mpl.rc_context(STYLE):
        figure, panels = _panels(len(levels), 4.9, 4.9)
        for axes, name in zip(panels, levels, strict=False):
            cases = 0
            handles = []
            axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (1, 3)))
            for place, level in _rocs(models, name):
                cases = level.classification.cases
                label = f"{shown_name(models.models[place].name)}: {level.roc.auc:.3f}"
                label += _limits(primary(level.intervals.get("auc", {})))
                curve = level.roc
                handles += axes.plot(
                    curve.false_positive_rate, curve.true_positive_rate, label=label, **curve_line(place)
                )
            roc_axes(axes, f"{LEVEL_TITLES[name].capitalize()} (n = {cases})")
            axes.legend(handles=handles, title=_legend_title(models, "AUC"), loc="lower right", **LEGEND)
    return figure


def models_froc_figure(models: ModelSet) -> Figure | None:
    """Draw one panel per hit rule (and class), four at most, with the FROC curves of all models."""
    titles = list(
        dict.fromkeys(
            row.title
            for one in models.models
            for row in one.evaluation.froc.rows
            if row.curve.thresholds.size
        )
    )[:_PANELS]
    if not titles:
        return None
    table = next(one.evaluation.froc for one in models.models if one.evaluation.froc.rows)
    first, last = POINTS[0] / 2, POINTS[-1] * 2
    ticks = [point for point in POINTS if point != 0.3]
    with mpl.rc_context(STYLE):
        figure, panels = _panels(len(titles), 5.4, 4.2)
        for axes, title in zip(panels, titles, strict=False):
            handles, shown = [], None
            for place, row in _frocs(models, title):
                shown = row
                handles.append(_draw_froc(axes, models, place, row))
            axes.set(
                xscale="log",
                xlabel=f"False positives per {table.protocol.unit}",
                ylabel="Sensitivity (lesions found)",
                xlim=(first, last),
                ylim=(-0.02, 1.02),
                title="" if shown is None else f"{_rule_title(shown)} (n = {shown.lesions} lesions)",
            )
            axes.set_xticks(ticks, [f"1/{1 / point:g}" if point < 1 else f"{point:g}" for point in ticks])
            axes.minorticks_off()
            _grid(axes)
            axes.legend(handles=handles, title=_legend_title(models, "CPM"), loc="best", **LEGEND)
    return figure


def differences_figure(models: ModelSet) -> Figure | None:
    """Draw the differences of every later model to the first with their bootstrap intervals.

    Above 0 the later model is better, in every number shown. None when nothing could be compared.
    """
    numbers = [one for one in _forest_numbers(models) if any(found for _, found in _found(models, *one[1:]))]
    if not numbers:
        return None
    later = len(models.later)
    step = later + 0.8
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 1.5 + 0.2 * step * len(numbers)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.axvline(0, color="0.35", linewidth=1)
        told, places = [], []
        for group, (_, level, number) in enumerate(numbers):
            if group % 2 == 0:
                axes.axhspan(group * step - 0.9, (group + 1) * step - 0.9, color="0.96", linewidth=0)
            for place, found in _found(models, level, number):
                y = group * step + place - 1
                places.append(y)
                told.append("n/a" if found is None else _told(found))
                if found is not None:
                    _draw_difference(axes, found, y, place)
        middles = [group * step + (later - 1) / 2 for group in range(len(numbers))]
        axes.set_yticks(middles, [title for title, _, _ in numbers])
        axes.set_ylim(len(numbers) * step - 0.9, -0.9)
        axes.tick_params(axis="y", length=0)
        confidence = models.first.evaluation.bootstrap.confidence * 100
        axes.set_xlabel(
            f"Difference to {shown_name(models.first.name)}, {confidence:g} % interval by patient; "
            "above 0 is better"
        )
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
        values = axes.secondary_yaxis("right")
        values.set_yticks(places, told, fontsize=8)
        values.tick_params(length=0)
        values.spines[:].set_visible(False)
        handles = [
            Line2D(
                [], [], color=_colour(place), marker=_MARKS[place % len(_MARKS)], label=shown_name(one.name)
            )
            for place, one in enumerate(models.models)
            if place
        ]
        figure.legend(
            handles=handles, loc="outside upper center", ncols=min(len(handles), 3), frameon=False, fontsize=9
        )
    return figure


def _forest_numbers(models: ModelSet) -> Iterator[tuple[str, str, str]]:
    """Yield title, level and number of the rows of the forest plot; fewer with many models."""
    if len(models.later) > _MANY:
        yield from ((one.title, one.level, one.number) for one in headlines(models))
        return
    yield "AP", "coco", "all AP"
    yield "AP50", "coco", "all AP50"
    rows = {row.title: row for one in models.models for row in one.evaluation.froc.rows}
    for title, row in list(rows.items())[:_PANELS]:
        of_class = "" if row.classes == ANY_CLASS else f", {shown_name(row.classes)}"
        yield f"CPM {row.rule}{of_class}", title, "cpm"
    for level in models.levels:
        yield f"AUC {LEVEL_TITLES[level]}", level, "auc"
    for level in models.levels:
        yield f"Accuracy {LEVEL_TITLES[level]}", level, "accuracy"


def _found(models: ModelSet, level: str, number: str) -> Iterator[tuple[int, Difference | None]]:
    """Yield the place of each later model and its difference by the bootstrap, None without an interval."""
    for place, one in enumerate(models.later, start=1):
        row = models.compared(one.name, level, number)
        known = row is not None and row.found.interval.low is not None and row.found.difference is not None
        yield place, row.found if row is not None and known else None


def _draw_difference(axes: Axes, found: Difference, y: float, place: int) -> None:
    middle, *ends = np.array([found.difference, found.interval.low, found.interval.high], dtype=np.float64)
    axes.plot(ends, [y, y], color=_colour(place), linewidth=1.6, solid_capstyle="butt")
    mark = _MARKS[place % len(_MARKS)]
    axes.plot([middle], [y], color=_colour(place), marker=mark, markersize=5.5, linestyle="none")


def _told(found: Difference) -> str:
    low, high = found.interval.low, found.interval.high
    return f"{found.difference:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")


def _rocs(models: ModelSet, name: str) -> Iterator[tuple[int, Any]]:
    for place, one in enumerate(models.models):
        level = one.evaluation.levels.get(name)
        if level is not None and level.roc.auc is not None:
            yield place, level


def _frocs(models: ModelSet, title: str) -> Iterator[tuple[int, FrocRow]]:
    for place, one in enumerate(models.models):
        for row in one.evaluation.froc.rows:
            if row.title == title and row.curve.thresholds.size:
                yield place, row


def _draw_froc(axes: Axes, models: ModelSet, place: int, row: FrocRow) -> Line2D:
    curve = row.curve
    label = f"{shown_name(models.models[place].name)}: {row.cpm:.3f}" + _limits(row.intervals.get("cpm"))
    lines = axes.step(
        [*np.maximum(curve.false_positives, POINTS[0] / 4), POINTS[-1] * 2],
        [*curve.sensitivity, curve.sensitivity[-1]],
        where="post",
        label=label,
        **curve_line(place),
    )
    return lines[0]


def _rule_title(row: FrocRow) -> str:
    of_class = "" if row.classes == ANY_CLASS else f", class {shown_name(row.classes)}"
    return f"Hit rule {row.rule}{of_class}"


def _legend_title(models: ModelSet, number: str) -> str:
    bootstrap = models.first.evaluation.bootstrap
    return f"{number} [{bootstrap.confidence * 100:g} % interval]" if bootstrap.resamples else number


def _limits(interval: Interval | None) -> str:
    if interval is None or interval.low is None:
        return ""
    return f" [{interval.low:.3f}, {interval.high:.3f}]"


def curve_line(place: int) -> dict[str, Any]:
    """Return colour, dashes and width of the curve of a model, by its place among the models."""
    return {"color": _colour(place), "linestyle": _DASHES[place % len(_DASHES)], "linewidth": 2.0}


def _colour(place: int) -> str:
    return MODEL_COLOURS[place % len(MODEL_COLOURS)]


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    figure.set_layout_engine("constrained", wspace=0.06, hspace=0.06)
    FigureCanvasAgg(figure)
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels


def _grid(axes: Axes) -> None:
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
