"""Which cases are alike to a classifier: the map of all cases, and what the worst errors were taken for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.classification.case_pictures import Panel, Row, case_panel, draw_sheet
from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.drawing import write_png
from mammodet.evaluation.feature_figure import feature_figure
from mammodet.evaluation.feature_space import Neighbour, feature_map, nearest
from mammodet.evaluation.figures import save_in_both
from mammodet.tools.case_views import ClassifierCase
from mammodet.tools.explain_case import facts, tone
from mammodet.tools.explain_tables import Explained
from mammodet.tools.score_tables import write_csv

_COLUMNS = ["id", "x", "y", "truth", "predicted", "probability"]
_NEIGHBOUR_COLUMNS = [
    "id",
    "file",
    "truth",
    "predicted",
    "probability",
    "rank",
    "neighbour_id",
    "neighbour_file",
    "neighbour_image",
    "neighbour_truth",
    "distance",
]

Told = tuple[list[str], list[Path]]  # lines for people, files written


@dataclass(frozen=True, eq=False)
class Known:
    """A case of known truth among which neighbours are looked for, and its features float32 [D]."""

    case: ClassifierCase
    features: NDArray[np.float32]


def write_features(out: Path, explained: Sequence[Explained], classes: Sequence[str]) -> Told:
    """Write features.npz, and the map as features.csv, .png and .svg, or say why there is no map."""
    features = np.stack([one.features for one in explained])
    with atomic_path(out / "features.npz") as temporary:
        np.savez(temporary, ids=np.array([one.case.id for one in explained]), features=features)
    placed = feature_map(features)
    if isinstance(placed, str):
        return [f"no map of the features: {placed}"], []
    rows = [
        {
            "id": one.case.id,
            "x": round(float(x), 4),
            "y": round(float(y), 4),
            "truth": one.outcome["truth"],
            "predicted": one.outcome["predicted"],
            "probability": one.outcome["probabilities"][one.outcome["predicted"]],
        }
        for one, (x, y) in zip(explained, placed.points, strict=True)
    ]
    write_csv(out / "features.csv", _COLUMNS, rows)
    predicted = [classes.index(one.outcome["predicted"]) for one in explained]
    figure = feature_figure(placed, classes, [one.case.truth for one in explained], predicted)
    save_in_both(figure, out, "features")
    return [], [out / "features.png"]


def write_neighbours(
    out: Path,
    explained: Sequence[Explained],
    references: Sequence[Known] | None,
    classes: Sequence[str],
    *,
    examples: int,
    count: int,
) -> Told:
    """Write neighbours.csv and neighbours.png: the surest errors, each with the cases nearest to it.

    ``references`` None takes the other explained cases of known truth. No case of an error's own patient is
    its neighbour.
    """
    wrong = [one for one in explained if tone(one.outcome) == "wrong"]
    wrong = sorted(wrong, key=_certainty, reverse=True)[:examples]
    if not wrong:
        write_csv(out / "neighbours.csv", _NEIGHBOUR_COLUMNS, [])
        return ["no errors, so there are no neighbours of errors"], []
    known = references
    if known is None:
        known = [Known(one.case, one.features) for one in explained if one.case.truth is not None]
    if not known:
        return ["no neighbours of errors: none of the reference cases could be read"], []
    found = nearest(
        np.stack([one.features for one in wrong]),
        [one.case.patient for one in wrong],
        np.stack([one.features for one in known]),
        [one.case.patient for one in known],
        count,
    )
    rows: list[dict[str, Any]] = []
    pictures = []
    for one, mine in zip(wrong, found, strict=True):
        rows += [_row(one, rank, near, known, classes) for rank, near in enumerate(mine, start=1)]
        pictures.append(_picture(one, mine, known, classes))
    write_csv(out / "neighbours.csv", _NEIGHBOUR_COLUMNS, rows)
    if not rows:
        return ["no neighbours of errors: there are no cases of other patients"], []
    title = "the surest errors, and the cases of other patients that are nearest by their features"
    legend = "class and cosine distance; blue frame: the true class of the error, orange frame: another class"
    write_png(out / "neighbours.png", draw_sheet([(legend, pictures)], title))
    return [], [out / "neighbours.png"]


def _certainty(one: Explained) -> float:
    return float(one.outcome["probabilities"][one.outcome["predicted"]])


def _row(
    one: Explained, rank: int, near: Neighbour, known: Sequence[Known], classes: Sequence[str]
) -> dict[str, Any]:
    other = known[near.index].case
    return {
        "id": one.case.id,
        "file": one.case.file,
        "truth": one.outcome["truth"],
        "predicted": one.outcome["predicted"],
        "probability": _certainty(one),
        "rank": rank,
        "neighbour_id": other.id,
        "neighbour_file": other.file,
        "neighbour_image": other.image,
        "neighbour_truth": _truth(other, classes),
        "distance": round(near.distance, 6),
    }


def _picture(
    one: Explained, mine: Sequence[Neighbour], known: Sequence[Known], classes: Sequence[str]
) -> Row:
    """Return an error and its neighbours; a frame is blue where a neighbour has the error's true class."""
    truth, predicted = one.outcome["truth"], one.outcome["predicted"]
    panels = [Panel("the error", case_panel(one.case.read().shown, None, one.case.lesions))]
    for near in mine:
        other = known[near.index].case
        label = _truth(other, classes)
        picture = case_panel(other.read().shown, None, other.lesions)
        panels.append(Panel(f"{label}  {near.distance:.3f}", picture, "right" if label == truth else "wrong"))
    head = f"{truth}, taken for {predicted} {_certainty(one):.3f}"
    return Row(head, facts(one.outcome), "wrong", panels)


def _truth(case: ClassifierCase, classes: Sequence[str]) -> str:
    return "" if case.truth is None else classes[case.truth]
