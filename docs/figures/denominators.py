"""The picture of the denominators: the same predictions, their false positives divided by five numbers.

python docs/figures/denominators.py docs/images/froc_denominators.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from pictures import BLUE, GREEN, ORANGE, PINK, save_picture

from mammodet.datasets.coco import Coco
from mammodet.datasets.figure_style import STYLE
from mammodet.evaluation.froc import DENOMINATORS, Denominator, froc_curve, sensitivity_at, units
from mammodet.evaluation.froc_matching import match_froc
from mammodet.evaluation.hit_rules import HitRule

AT = 0.3
COLOURS = (BLUE, ORANGE, GREEN, PINK, "black")
DASHES = ("solid", "dashed", "dashdot", "dotted", (0, (5, 1, 1, 1, 1, 1)))


def main() -> None:
    """Match once and draw one curve per denominator."""
    matches = match_froc(*_study(), HitRule.parse("center"))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 4.2), layout="constrained")
        axes = figure.subplots()
        for name, colour, dashes in zip(get_args(Denominator), COLOURS, DASHES, strict=True):
            curve = froc_curve(matches, denominator=name)
            found = float(sensitivity_at(matches, [AT], denominator=name)[0])
            label = f"{name}: {units(matches, name):.0f} {DENOMINATORS[name]}s, {found:.2f} at {AT}"
            axes.step(
                curve.false_positives,
                curve.sensitivity,
                where="post",
                color=colour,
                linestyle=dashes,
                linewidth=2,
                label=label,
            )
        axes.axvline(AT, color="0.6", linewidth=1)
        axes.set(
            xlim=(0, 2),
            ylim=(0, 1.02),
            xlabel="False positives per unit",
            ylabel=f"Sensitivity ({matches.lesions} lesions)",
        )
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
        axes.legend(title="--froc-denominator", loc="lower right", frameon=False)
        save_picture(figure, Path(sys.argv[1]))


def _study() -> tuple[Coco, list[Any]]:
    """Return a screening of 30 women with two views of both breasts; every fifth breast has a lesion."""
    rng = np.random.default_rng(1)
    images: list[Any] = []
    lesions: list[Any] = []
    results: list[Any] = []
    for woman in range(30):
        for side in "LR":
            ill = rng.random() < 0.2
            for view in ("CC", "MLO"):
                number = len(images) + 1
                image = {"id": number, "file_name": f"{number}.png", "width": 1000, "height": 1000}
                images.append({**image, "patient_id": f"{woman}", "laterality": side, "view": view})
                for _ in range(rng.poisson(1.6 if ill else 0.7)):
                    place = [*rng.uniform(300, 900, 2).tolist(), 60.0, 60.0]
                    results.append(_box(number, place, rng.beta(2, 4)))
                if ill:
                    lesions.append({**_box(number, [100.0, 100.0, 90.0, 90.0]), "id": len(lesions) + 1})
                    if rng.random() < 0.92:
                        results.append(_box(number, [110.0, 105.0, 80.0, 80.0], rng.beta(4, 2.5)))
    return Coco(images, lesions, Path("gt.json")), results


def _box(image: int, bbox: list[float], score: float | None = None) -> dict[str, Any]:
    scored = {} if score is None else {"score": float(score)}
    return {"image_id": image, "category_id": 2, "bbox": bbox, **scored}


if __name__ == "__main__":
    main()
