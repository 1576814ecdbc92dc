"""The picture of the hit rules: the same four predictions around one lesion, judged by each rule.

    python docs/figures/hit_rules.py docs/images/hit_rules.png

Blue predictions hit, orange ones do not; what is grey is where the centre of a prediction must lie.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from mammodet.evaluation.figures import save_figure
from mammodet.evaluation.hit_rules import DEFAULT_RULES, DUKE_PIXELS, HitRule

RULES = (*DEFAULT_RULES, "overlap")
LESION = [100.0, 100.0, 220.0, 190.0]  # x1, y1, x2, y2 in pixels: 120 x 90, half its diagonal is 75
PREDICTIONS = {
    "A": [115.0, 90.0, 230.0, 180.0],
    "B": [125.0, 165.0, 185.0, 205.0],
    "C": [195.0, 62.0, 295.0, 142.0],
    "D": [15.0, 30.0, 85.0, 110.0],
}


def main() -> None:
    """Draw one panel per rule and write the PNG."""
    with mpl.rc_context({"font.size": 10, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(10.5, 6.4), layout="constrained")
        for axes, rule in zip(figure.subplots(2, 3).flat, RULES, strict=True):
            _draw(axes, HitRule.parse(rule))
        save_figure(figure, Path(sys.argv[1]))


def _draw(axes: Axes, rule: HitRule) -> None:
    x1, y1, x2, y2 = LESION
    middle = ((x1 + x2) / 2, (y1 + y2) / 2)
    if rule.kind == "center":
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, color="0.88"))
    if rule.kind == "duke":
        axes.add_patch(Circle(middle, max(DUKE_PIXELS, np.hypot(x2 - x1, y2 - y1) / 2), color="0.88"))
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, linewidth=3, edgecolor="black"))
    hits, _ = rule.compare(list(PREDICTIONS.values()), LESION)
    overlap = HitRule.parse("overlap").compare(list(PREDICTIONS.values()), LESION)[1]
    for (name, box), hit, iou in zip(PREDICTIONS.items(), hits, overlap, strict=True):
        colour = "#0072B2" if hit else "#D55E00"
        axes.add_patch(
            Rectangle(
                (box[0], box[1]),
                box[2] - box[0],
                box[3] - box[1],
                fill=False,
                edgecolor=colour,
                linewidth=1.8,
                linestyle="solid" if hit else "dashed",
            )
        )
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        axes.plot(*centre, marker="+", color=colour, markersize=9, markeredgewidth=1.8)
        label = f"{name} {iou:.2f}" if rule.kind in ("iou", "overlap") else name
        below = name == "B"
        height = box[3] + 4 if below else box[1] - 4
        axes.text(box[0], height, label, color=colour, weight="bold", va="top" if below else "bottom")
    axes.set(xlim=(5, 315), ylim=(250, 5), aspect="equal", xticks=[], yticks=[])
    axes.set_title(rule.name)


if __name__ == "__main__":
    main()
