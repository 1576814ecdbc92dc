"""The CSV tables of mammodet score: one row per image, one per breast."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.coco import Coco
from mammodet.evaluation.fusion import Fusion

Table = tuple[Sequence[str], Sequence[dict[str, Any]]]  # columns, rows

IMAGE_COLUMNS = [
    "image_id",
    "file",
    "patient_id",
    "study_id",
    "breast_id",
    "laterality",
    "view",
    "width",
    "height",
    "status",
    "malignancy_score",
    "boxes",
    "notes",
]
BREAST_COLUMNS = [
    "breast_id",
    "patient_id",
    "study_id",
    "laterality",
    "views",
    "status",
    "malignancy_score",
    "boxes",
]


def image_rows(coco: Coco, fusion: Fusion, notes: dict[int, str]) -> list[dict[str, Any]]:
    """Return one row per image, with the columns ``IMAGE_COLUMNS``."""
    rows = []
    for image in coco.images:
        verdict = fusion.images[image["id"]]
        rows.append(
            {
                **{name: image.get(name) for name in ("patient_id", "study_id", "laterality", "view")},
                "image_id": image["id"],
                "file": str(coco.image_path(image)),
                "breast_id": fusion.breast_of[image["id"]],
                "width": image["width"],
                "height": image["height"],
                "status": _status(verdict.malignant, verdict.boxes),
                "malignancy_score": round(verdict.score, 6),
                "boxes": verdict.boxes,
                "notes": notes[image["id"]],
            }
        )
    return rows


def breast_rows(coco: Coco, fusion: Fusion) -> list[dict[str, Any]]:
    """Return one row per breast, with the columns ``BREAST_COLUMNS``."""
    first = {fusion.breast_of[image["id"]]: image for image in reversed(coco.images)}
    rows = []
    for breast, verdict in fusion.breasts.items():
        rows.append(
            {
                **{name: first[breast].get(name) for name in ("patient_id", "study_id", "laterality")},
                "breast_id": breast,
                "views": verdict.views,
                "status": _status(verdict.malignant, verdict.boxes),
                "malignancy_score": round(verdict.score, 6),
                "boxes": verdict.boxes,
            }
        )
    return rows


def with_probabilities(
    columns: Sequence[str], rows: Sequence[dict[str, Any]], probabilities: NDArray[np.float64] | None
) -> Table:
    """Return columns and rows with ``probability`` after the score; None leaves it empty.

    ``probabilities`` [N] are in the order of the rows.
    """
    place = columns.index("malignancy_score") + 1
    shown: Sequence[Any] = (
        [""] * len(rows) if probabilities is None else [round(float(one), 6) for one in probabilities]
    )
    filled = [{**row, "probability": one} for row, one in zip(rows, shown, strict=True)]
    return [*columns[:place], "probability", *columns[place:]], filled


def _status(malignant: bool, boxes: int) -> str:
    if malignant:
        return "malignant"
    return "benign" if boxes else "nothing found"


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV, atomically; the header is there even without rows."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
