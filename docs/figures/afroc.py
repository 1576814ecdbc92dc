"""The picture of AFROC and wAFROC: every lesion of the example by hand against every normal image.

    python docs/figures/afroc.py docs/images/afroc.png

The shaded part of each square is the area that mammodet.evaluation.afroc computes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pictures import BLUE, save_picture

from mammodet.datasets.coco import Coco
from mammodet.datasets.figure_style import STYLE
from mammodet.evaluation.afroc import afroc_area
from mammodet.evaluation.froc_matching import FrocMatches, match_froc
from mammodet.evaluation.hit_rules import HitRule

# Two lesions on the first image, of 0.5 and missed, one of 0.3 on the second; two normal images.
IMAGES: list[Any] = [
    {"id": number, "file_name": f"{number}.png", "width": 400, "height": 400} for number in range(1, 5)
]
LESIONS: list[Any] = [
    {"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 50, 50]},
    {"id": 2, "image_id": 1, "category_id": 2, "bbox": [200, 0, 50, 50]},
    {"id": 3, "image_id": 2, "category_id": 2, "bbox": [0, 0, 50, 50]},
]
RESULTS: list[Any] = [
    {"image_id": 1, "category_id": 2, "score": 0.5, "bbox": [0, 0, 50, 50]},
    {"image_id": 2, "category_id": 2, "score": 0.3, "bbox": [0, 0, 50, 50]},
    {"image_id": 3, "category_id": 2, "score": 0.3, "bbox": [300, 300, 50, 50]},
]


def main() -> None:
    """Match, and draw a square per area."""
    matches = match_froc(Coco(IMAGES, LESIONS, Path("gt.json")), RESULTS, HitRule.parse("iou:0.5"))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.9), layout="constrained")
        first, second = figure.subplots(1, 2)
        _square(first, matches, weighted=False)
        _square(second, matches, weighted=True)
        save_picture(figure, Path(sys.argv[1]))


def _square(axes: Axes, matches: FrocMatches, *, weighted: bool) -> None:
    """Draw a row per lesion, as high as it counts, and a column per normal image."""
    worst = np.full(matches.images, -np.inf)
    wrong = matches.is_false_positive
    np.maximum.at(worst, matches.prediction_image[wrong], matches.prediction_score[wrong])
    columns = np.flatnonzero(matches.is_normal)
    share = (
        1 / np.bincount(matches.lesion_image)[matches.lesion_image] if weighted else np.ones(matches.lesions)
    )
    share = share / share.sum()
    tops = 1 - np.concatenate([[0.0], np.cumsum(share)])
    for row, score in enumerate(matches.lesion_score):
        for place, image in enumerate(columns):
            won = 1.0 if score > worst[image] else 0.5 if score == worst[image] else 0.0
            left, width, low = place / len(columns), 1 / len(columns), tops[row + 1]
            axes.add_patch(
                Rectangle((left, low), width * won, share[row], color=BLUE, alpha=0.45, linewidth=0)
            )
            axes.add_patch(Rectangle((left, low), width, share[row], fill=False, edgecolor="black"))
            word = {1.0: "higher: 1", 0.5: "equal: ½", 0.0: "lower: 0"}[won]
            axes.text(left + width / 2, low + share[row] / 2, word, ha="center", va="center")
    names = [
        f"image {image + 1}, {'missed' if np.isinf(score) else f'lesion {score:g}'}\ncounts {part:.2f}"
        for image, score, part in zip(matches.lesion_image, matches.lesion_score, share, strict=True)
    ]
    heads = [
        f"normal image {image + 1}\n"
        + ("no false positive" if np.isinf(worst[image]) else f"highest {worst[image]:g}")
        for image in columns
    ]
    axes.set_yticks((tops[:-1] + tops[1:]) / 2, names)
    axes.set_xticks((np.arange(len(columns)) + 0.5) / len(columns), heads)
    area = float(afroc_area(matches, weighted=weighted))
    name = "wAFROC: each image counts once" if weighted else "AFROC: each lesion counts once"
    axes.set(xlim=(0, 1), ylim=(0, 1), title=f"{name}\nshaded area {area:.3f}")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


if __name__ == "__main__":
    main()
