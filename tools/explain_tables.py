"""The table, the sums and the sheet of the cases that mammodet explain was asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mammodet.classification.case_pictures import Panel, Row, draw_sheet, panels_of
from mammodet.datasets.atomic import write_json
from mammodet.datasets.drawing import write_png
from mammodet.tools.case_views import ClassifierCase
from mammodet.tools.explain_case import Outcome, facts, tone, verdict
from mammodet.tools.score_tables import write_csv


@dataclass(frozen=True, eq=False)
class Explained:
    """A case that was explained: what there is to tell, and its features float32 [D]."""

    case: ClassifierCase
    outcome: Outcome
    features: NDArray[np.float32]


def write_cases(
    out: Path, explained: Sequence[Explained], classes: Sequence[str], score_class: str, method: str
) -> list[str]:
    """Write cases.csv and explain.json, and return the lines that sum them up."""
    outcomes = [one.outcome for one in explained]
    told = {"method": method, "classes": list(classes), "score_class": score_class, **summary(outcomes)}
    write_json(out / "explain.json", {**told, "results": outcomes})
    columns = [*_COLUMNS[:9], *(f"p_{name}" for name in classes), *_COLUMNS[9:]]
    write_csv(out / "cases.csv", columns, [_row(one, score_class) for one in outcomes])
    return _lines(told)


def write_sheet(out: Path, explained: Sequence[Explained], examples: int) -> Path:
    """Write sheet.png, the first and the last ``examples`` cases beside each other, and return its path."""
    worst = explained[: min(examples, -(-len(explained) // 2))]
    best = list(reversed(explained[len(worst) :]))[:examples]
    columns = [(f"the {len(worst)} worst", [_small(out, one.outcome) for one in worst])]
    if best:
        columns.append((f"the {len(best)} best", [_small(out, one.outcome) for one in best]))
    sums = summary([one.outcome for one in explained])
    judged = f", {sums['right']} of {sums['known']} right" if sums["known"] else ""
    write_png(out / "sheet.png", draw_sheet(columns, f"{len(explained)} cases{judged}"))
    return out / "sheet.png"


def summary(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many cases there are, how many were judged right, and how heat and lesions fall together.

    ``lesions`` is None when no case has a lesion of its true class; in it are means over its images.
    """
    known = [one for one in outcomes if one["truth"] is not None]
    by_class = {
        name: {"cases": len(mine), "right": sum(one["predicted"] == name for one in mine)}
        for name in (outcomes[0]["probabilities"] if outcomes else ())
        for mine in [[one for one in known if one["truth"] == name]]
    }
    found = [one["in_lesions"] for one in outcomes if "in_lesions" in one]
    lesions = None
    if found:
        lesions = {
            "images": len(found),
            "peak_inside": sum(one["peak_inside"] for one in found),
            **{key: float(np.mean([one[key] for one in found])) for key in ("heat", "area")},
        }
    right = sum(one["right"] for one in by_class.values())
    return {
        "cases": len(outcomes),
        "known": len(known),
        "right": right,
        "by_class": by_class,
        "lesions": lesions,
    }


_COLUMNS = [
    "id",
    "file",
    "image",
    "x",
    "y",
    "width",
    "height",
    "truth",
    "predicted",
    "score",
    "explained",
    "peak_x",
    "peak_y",
    "lesions",
    "peak_in_lesion",
    "heat_in_lesions",
    "area_of_lesions",
    "picture",
    "notes",
]


def _row(outcome: Mapping[str, Any], score_class: str) -> dict[str, Any]:
    """Return the row of cases.csv; what is not known stays empty."""
    row = {
        name: outcome[name] for name in ("id", "file", "image", "truth", "predicted", "explained", "lesions")
    }
    row |= {
        name: round(value, 3)
        for name, value in zip(("x", "y", "width", "height"), outcome["frame"], strict=True)
    }
    row |= {f"p_{name}": value for name, value in outcome["probabilities"].items()}
    row |= {"score": outcome["probabilities"][score_class], "picture": outcome["files"]["panels"]}
    row["notes"] = "; ".join(outcome["notes"])
    if outcome["peak"] is not None:
        row["peak_x"], row["peak_y"] = outcome["peak"]
    if "in_lesions" in outcome:
        inside = outcome["in_lesions"]
        row["peak_in_lesion"] = inside["peak_inside"]
        row["heat_in_lesions"] = round(inside["heat"], 6)
        row["area_of_lesions"] = round(inside["area"], 6)
    return row


def _lines(told: Mapping[str, Any]) -> list[str]:
    if not told["known"]:
        lines = [f"{told['cases']} cases, whose truth is not known"]
    else:
        unknown = told["cases"] - told["known"]
        by_class = ", ".join(
            f"{name} {one['right']} of {one['cases']}"
            for name, one in told["by_class"].items()
            if one["cases"]
        )
        lines = [
            f"{told['cases']} cases, {told['right']} of {told['known']} right ({by_class})"
            + (f", {unknown} of unknown truth" if unknown else "")
        ]
        empty = [name for name, one in told["by_class"].items() if not one["cases"]]
        lines += [f"no case of class {name}" for name in empty]
    if told["lesions"] is not None:
        one = told["lesions"]
        lines.append(
            f"hottest pixel in a lesion: {one['peak_inside']} of {one['images']} images with one of their "
            f"class; {one['heat']:.0%} of the heat on {one['area']:.1%} of the area"
        )
    return lines


def _small(out: Path, outcome: Mapping[str, Any]) -> Row:
    """Return the row of a case from its picture, which holds the panels at full size."""
    with Image.open(out / outcome["files"]["panels"]) as opened:
        picture = np.asarray(opened.convert("RGB"), dtype=np.uint8)
    titles = outcome["titles"]
    panels = [
        Panel(title, panel) for title, panel in zip(titles, panels_of(picture, len(titles)), strict=True)
    ]
    return Row(verdict(outcome), facts(outcome), tone(outcome), panels)
