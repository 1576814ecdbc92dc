"""The picture of the two lesion protocols: five lesions, the box that speaks for each, and both results.

python docs/figures/lesion_protocols.py docs/images/lesion_protocols.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pictures import BLUE, GREY, ORANGE, draw_image, draw_lesion, draw_prediction, save_picture

from mammodet.datasets.coco import BENIGN, MALIGNANT, Coco
from mammodet.datasets.figure_style import STYLE
from mammodet.evaluation.cases import MISSED, LesionCase
from mammodet.evaluation.levels import Level
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import Options, evaluate

SIZE = (400, 300)
NAMES = {BENIGN: "benign", MALIGNANT: "malignant"}
IMAGE: Any = {"id": 1, "file_name": "1.png", "width": SIZE[0], "height": SIZE[1]}
LESIONS: list[Any] = [
    {"id": 1, "image_id": 1, "category_id": MALIGNANT, "bbox": [20, 45, 75, 60]},
    {"id": 2, "image_id": 1, "category_id": MALIGNANT, "bbox": [160, 45, 75, 60]},
    {"id": 3, "image_id": 1, "category_id": BENIGN, "bbox": [20, 195, 75, 60]},
    {"id": 4, "image_id": 1, "category_id": BENIGN, "bbox": [160, 195, 75, 60]},
    {"id": 5, "image_id": 1, "category_id": BENIGN, "bbox": [300, 195, 75, 60]},
]
RESULTS: list[Any] = [
    {"image_id": 1, "category_id": MALIGNANT, "score": 0.9, "bbox": [28, 53, 70, 60]},
    {"image_id": 1, "category_id": BENIGN, "score": 0.6, "bbox": [168, 53, 70, 60]},
    {"image_id": 1, "category_id": BENIGN, "score": 0.8, "bbox": [28, 203, 70, 60]},
    {"image_id": 1, "category_id": MALIGNANT, "score": 0.5, "bbox": [168, 203, 70, 60]},
]


def main() -> None:
    """Evaluate and draw."""
    coco = Coco([IMAGE], LESIONS, Path("gt.json"))
    found = evaluate(coco, RESULTS, Protocol(), Options(Bootstrap(0)))
    assert found.cases is not None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.2), layout="constrained")
        picture, table = figure.subplots(1, 2, width_ratios=(1, 1.1))
        draw_image(picture, "five true lesions, four boxes", *SIZE)
        for case, lesion in zip(found.cases.lesions, LESIONS, strict=True):
            draw_lesion(picture, lesion["bbox"])
            x, y, _, height = lesion["bbox"]
            missed = case.predicted == MISSED
            picture.text(x, y - 8, case.truth, weight="bold", fontsize=9)
            if missed:
                picture.text(x, y + height + 8, "no box", color=GREY, va="top", fontsize=9)
        for result, case in zip(RESULTS, [one for one in found.cases.lesions if one.iou > 0], strict=True):
            right = case.predicted == case.truth
            label = f"{NAMES[result['category_id']]} {result['score']}"
            draw_prediction(
                picture, result["bbox"], BLUE if right else ORANGE, label, dashed=not right, below=True
            )
        _table(table, found.cases.lesions, found.levels)
        save_picture(figure, Path(sys.argv[1]))


def _table(axes: Axes, cases: list[LesionCase], levels: dict[str, Level]) -> None:
    rows = []
    for case in cases:
        answer = f"{case.predicted}, {case.score:.1f}"
        rows.append([case.truth, "left out" if case.predicted == MISSED else answer, answer])
    published, everything = levels["lesion_published"], levels["lesion_all"]
    for name, numbers in (
        ("accuracy", [one.classification.accuracy for one in (published, everything)]),
        ("AUC", [one.roc.auc for one in (published, everything)]),
    ):
        rows.append([name, *(f"{value:.3f}" for value in numbers)])
    axes.axis("off")
    heads = ["true class", "published (matched)", "all lesions"]
    drawn = axes.table(rows, colLabels=heads, loc="center", cellLoc="left", edges="horizontal")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(9.5)
    drawn.scale(1, 1.65)
    for (row, column), cell in drawn.get_celld().items():
        cell.set_edgecolor("0.85")
        text = cell.get_text()
        if row == 0 or row > len(cases):
            text.set_fontweight("bold")
        elif "missed" in text.get_text() or "left out" in text.get_text():
            text.set_color(GREY)
        elif column and rows[row - 1][0] != text.get_text().split(",")[0]:
            text.set_color(ORANGE)


if __name__ == "__main__":
    main()
