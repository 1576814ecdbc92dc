"""The picture of counting: seven predictions on two images, and the FROC curve that they give, step by step.

python docs/figures/counting.py docs/images/froc_counting.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pictures import BLUE, GREY, ORANGE, draw_image, draw_lesion, draw_prediction, save_picture

from mammodet.datasets.coco import Coco
from mammodet.datasets.figure_style import STYLE
from mammodet.evaluation.froc import froc_curve
from mammodet.evaluation.froc_matching import FrocMatches, match_froc
from mammodet.evaluation.hit_rules import HitRule

SIZE = (200, 240)
IMAGES: list[Any] = [
    {"id": number, "file_name": f"{number}.png", "width": SIZE[0], "height": SIZE[1]} for number in (1, 2)
]
LESIONS: list[Any] = [
    {"id": 1, "image_id": 1, "category_id": 2, "bbox": [20, 30, 70, 55]},
    {"id": 2, "image_id": 1, "category_id": 2, "bbox": [120, 95, 55, 50]},
    {"id": 3, "image_id": 1, "category_id": 2, "bbox": [25, 165, 70, 50], "ignore": 1},
]
RESULTS: list[Any] = [
    {"image_id": 1, "category_id": 2, "score": 0.9, "bbox": [28, 38, 66, 54]},
    {"image_id": 1, "category_id": 2, "score": 0.8, "bbox": [14, 24, 60, 50]},
    {"image_id": 2, "category_id": 2, "score": 0.7, "bbox": [40, 60, 55, 50]},
    {"image_id": 1, "category_id": 2, "score": 0.6, "bbox": [36, 172, 66, 52]},
    {"image_id": 1, "category_id": 2, "score": 0.5, "bbox": [126, 101, 56, 50]},
    {"image_id": 2, "category_id": 2, "score": 0.4, "bbox": [105, 150, 60, 50]},
    {"image_id": 1, "category_id": 2, "score": 0.3, "bbox": [112, 185, 50, 38]},
]


def main() -> None:
    """Match and draw."""
    matches = match_froc(Coco(IMAGES, LESIONS, Path("gt.json")), RESULTS, HitRule.parse("iou:0.2"))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.1), layout="constrained")
        first, second, curve = figure.subplots(1, 3, width_ratios=(1, 1, 1.45))
        draw_image(first, "positive image", *SIZE)
        draw_image(second, "normal image", *SIZE)
        for lesion in LESIONS:
            draw_lesion(first, lesion["bbox"], ignored=bool(lesion.get("ignore")))
        first.text(60, 190, "ignored", color=GREY, ha="center", va="center", fontsize=8.5)
        for place, one in enumerate(RESULTS):
            word, colour = _told(matches, place)
            axes = first if one["image_id"] == 1 else second
            below = one["score"] in (0.9, 0.6, 0.5)
            label = f"{one['score']} {word}"
            draw_prediction(axes, one["bbox"], colour, label, dashed=colour != BLUE, below=below)
        _curve(curve, matches)
        save_picture(figure, Path(sys.argv[1]))


def _told(matches: FrocMatches, place: int) -> tuple[str, str]:
    """Return what a prediction is, and its colour."""
    if matches.prediction_lesion[place] >= 0:
        return "hit", BLUE
    if matches.is_false_positive[place]:
        return "false positive", ORANGE
    return "double hit" if matches.is_duplicate[place] else "neither", GREY


def _curve(axes: Axes, matches: FrocMatches) -> None:
    curve = froc_curve(matches)
    axes.step(curve.false_positives, curve.sensitivity, where="post", color="black", linewidth=2)
    axes.plot(curve.false_positives, curve.sensitivity, "o", color="black")
    scores = [one["score"] for one in RESULTS]
    points: dict[tuple[float, float], list[float]] = {(0.0, 0.0): []}
    for score in scores:  # a double hit and a hit on an ignored lesion move nothing
        kept = curve.thresholds >= score
        point = float(curve.false_positives[kept][-1]), float(curve.sensitivity[kept][-1])
        points.setdefault(point, []).append(score)
    for (x, y), here in points.items():
        text = ", ".join(f"{score}" for score in here) if here else "none"
        axes.annotate(text, (x, y), xytext=(7, -13), textcoords="offset points", fontsize=9)
    axes.set(
        xlim=(-0.08, 1.85),
        ylim=(-0.12, 1.12),
        xlabel="False positives per image (2 images)",
        ylabel="Sensitivity (2 lesions)",
        title="every score is a threshold",
        xticks=[0, 0.5, 1, 1.5],
        yticks=[0, 0.5, 1],
    )
    axes.grid(color="0.92")
    axes.set_axisbelow(True)


if __name__ == "__main__":
    main()
