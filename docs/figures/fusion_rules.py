"""The picture of the fusion rules: four breasts, each with the boxes of CC and MLO, under every rule.

python docs/figures/fusion_rules.py docs/images/fusion_rules.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from pictures import BLUE, GREEN, ORANGE, save_picture

from mammodet.datasets.coco import BENIGN, MALIGNANT, Coco
from mammodet.datasets.figure_style import STYLE
from mammodet.evaluation.fusion import fuse
from mammodet.evaluation.fusion_rules import RULES, view_scores, views_of_breasts

# Of each breast: the boxes of CC, those of MLO; a class and a score.
BREASTS: dict[str, tuple[list[tuple[int, float]], list[tuple[int, float]]]] = {
    "A": ([(MALIGNANT, 0.8)], [(MALIGNANT, 0.6)]),
    "B": ([(MALIGNANT, 0.8)], [(BENIGN, 0.7)]),
    "C": ([(MALIGNANT, 0.45)], [(MALIGNANT, 0.2), (BENIGN, 0.9)]),
    "D": ([(BENIGN, 0.4)], [(BENIGN, 0.4)]),
}
COLOURS = {"published": "black", "max": BLUE, "mean": ORANGE, "noisy-or": GREEN}
HATCHES = {"published": "", "max": "", "mean": "//", "noisy-or": ".."}


def main() -> None:
    """Fuse and draw."""
    coco, results = _views()
    scores = {"published": {name: one.score for name, one in fuse(coco, results).breasts.items()}}
    views = views_of_breasts(coco, view_scores(coco, results))
    scores |= {rule: {name: score(views[name]) for name in views} for rule, score in RULES.items()}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.9), layout="constrained")
        axes = figure.subplots()
        width = 0.2
        for place, (rule, found) in enumerate(scores.items()):
            x = np.arange(len(BREASTS)) + (place - 1.5) * width
            values = [found[name] for name in BREASTS]
            bars = axes.bar(
                x,
                values,
                width * 0.92,
                color=COLOURS[rule],
                hatch=HATCHES[rule],
                edgecolor="white",
                linewidth=0,
                label=rule,
            )
            axes.bar_label(bars, [f"{value:.2f}" for value in values], fontsize=8.5, padding=2)
        axes.set_xticks(range(len(BREASTS)), [_told(name) for name in BREASTS])
        axes.tick_params(axis="x", length=0)
        axes.set(ylim=(0, 1.12), ylabel="Malignancy score of the breast")
        axes.set_yticks([0, 0.5, 1])
        axes.axhline(0.5, color="0.85", linewidth=1, zorder=0)
        axes.legend(ncols=4, loc="upper right", frameon=False)
        save_picture(figure, Path(sys.argv[1]))


def _views() -> tuple[Coco, list[Any]]:
    images: list[Any] = []
    results: list[Any] = []
    for name, views in BREASTS.items():
        for boxes in views:
            number = len(images) + 1
            images.append(
                {"id": number, "file_name": f"{number}.png", "width": 999, "height": 999, "breast_id": name}
            )
            for place, (category, score) in enumerate(boxes):
                bbox = [100.0 * place, 0.0, 50.0, 50.0]
                results.append({"image_id": number, "category_id": category, "score": score, "bbox": bbox})
    return Coco(images, [], Path("views.json")), results


def _told(name: str) -> str:
    lines = []
    for view, boxes in zip(("CC", "MLO"), BREASTS[name], strict=True):
        told = [f"{'malignant' if category == MALIGNANT else 'benign'} {score}" for category, score in boxes]
        lines.append(f"{view}: {', '.join(told) or 'no box'}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
