"""Figures of classifiers: ROC curves with their bands, confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mammodet.datasets.figure_style import STYLE, shown_name
from mammodet.evaluation.classifier_numbers import ClassifierNumbers
from mammodet.evaluation.figures import confusion_figure, roc_axes
from mammodet.evaluation.levels import Level
from mammodet.evaluation.model_set_figures import LEGEND, curve_line
from mammodet.evaluation.resampling import primary

_BANDS = 3  # more of them on each other would show none


def classifiers_roc_figure(models: Sequence[ClassifierNumbers]) -> Figure | None:
    """Draw the ROC curves of all networks, with the band of the first three; None without a curve.

    Two classes have one square, of the positive one; more have a square for each class against all others.
    """
    names = [name for name in models[0].rocs if any(one.rocs[name].auc is not None for one in models)]
    if not names:
        return None
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.0 * columns, 5.0 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        for axes, name in zip(panels, names, strict=False):
            _draw(axes, name, models)
    return figure


def classifiers_confusion_figure(models: Sequence[ClassifierNumbers]) -> Figure | None:
    """Draw the confusion matrix of every network; None without cases."""
    shown = {}
    for one in models:
        names = tuple(shown_name(name, 14) for name in one.classes)
        table = replace(one.table, classes=names, answers=names)
        shown[one.name] = Level(shown_name(one.name), table, next(iter(one.rocs.values())))
    return confusion_figure(shown)


def _draw(axes: Axes, name: str, models: Sequence[ClassifierNumbers]) -> None:
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (1, 3)))
    handles = []
    for place, one in enumerate(models):
        curve, line = one.rocs[name], curve_line(place)
        if curve.auc is None:
            continue
        found = primary(one.per_class[name]["auc"].intervals)
        label = f"{shown_name(one.name)}: {curve.auc:.3f}"
        if found is not None and found.low is not None:
            label += f" [{found.low:.3f}, {found.high:.3f}]"
        band = one.bands.get(name)
        if band is not None and place < _BANDS:
            axes.fill_between(
                band.false_positive_rate, band.low, band.high, color=line["color"], alpha=0.13, linewidth=0
            )
        handles += axes.plot(curve.false_positive_rate, curve.true_positive_rate, label=label, **line)
    support = models[0].table.per_class[name].support
    roc_axes(axes, f"{shown_name(name)} (n = {support} of {models[0].cases})")
    drawn = any(primary(one.per_class[name]["auc"].intervals) for one in models)
    title = f"AUC [{models[0].confidence * 100:g} % interval]" if drawn else "AUC"
    axes.legend(handles=handles, title=title, loc="lower right", **LEGEND)
