"""The map of cases by their features, coloured by class, with the errors marked."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mammodet.datasets.figure_style import STYLE, shown_name
from mammodet.evaluation.feature_space import FeatureMap

# Okabe and Ito's colours, told apart with any colour vision; the shapes tell the classes apart in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_SHAPES = ("o", "^", "s", "D", "v", "P")
_UNKNOWN, _WRONG = "#999999", "#000000"


def feature_figure(
    placed: FeatureMap, classes: Sequence[str], truth: Sequence[int | None], predicted: Sequence[int]
) -> Figure:
    """Draw cases [N] where a map lays them: colour and shape by true class, a black ring around errors.

    ``truth`` and ``predicted`` [N] count from 0 in ``classes``; a truth that is None is not known, grey.
    """
    known = np.array([-1 if one is None else one for one in truth])
    wrong = (known >= 0) & (known != np.asarray(predicted))
    size = float(np.clip(4000 / max(len(known), 1), 12, 46))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 6.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for number in sorted(set(known.tolist()), key=lambda one: (one < 0, one)):
            mine = known == number
            name = "truth unknown" if number < 0 else shown_name(classes[number])
            colour = _UNKNOWN if number < 0 else _COLOURS[number % len(_COLOURS)]
            axes.scatter(
                placed.points[mine, 0],
                placed.points[mine, 1],
                s=size,
                color=colour,
                marker="x" if number < 0 else _SHAPES[number % len(_SHAPES)],
                alpha=0.8,
                linewidths=1.0 if number < 0 else 0,
                label=f"{name} ({mine.sum()})",
            )
        if wrong.any():
            axes.scatter(
                placed.points[wrong, 0],
                placed.points[wrong, 1],
                s=3.2 * size,
                facecolors="none",
                edgecolors=_WRONG,
                linewidths=1.3,
                label=f"classified wrong ({wrong.sum()})",
            )
        axes.set(
            xticks=[],
            yticks=[],
            title=f"Features of {len(known)} cases (t-SNE, perplexity {placed.perplexity:.3g})",
        )
        axes.set_aspect("equal", adjustable="datalim")
        axes.spines[:].set_visible(False)
        legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, frameon=False)
        for handle in legend.legend_handles:
            handle.set_sizes([42])  # type: ignore[union-attr]
    return figure
