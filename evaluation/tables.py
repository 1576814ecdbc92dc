"""The CSV tables of an evaluation. ``n/a``, which pandas reads as missing, is a number that is not there."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from mammodet.evaluation.cases import BreastCase, ImageCase, LesionCase
from mammodet.evaluation.detection_metrics import NUMBER_NAMES
from mammodet.evaluation.summary import Evaluation, Level

NOT_AVAILABLE = "n/a"


def csv_tables(evaluation: Evaluation) -> dict[str, str]:
    """Return the CSV text of every table by file name.

    ``coco.csv`` has one row per class; ``image.csv``, ``breast.csv`` and ``lesion.csv`` one per class with
    its row of the confusion matrix, and one for all; ``images.csv``, ``breasts.csv`` and ``lesions.csv`` one
    per case; ``roc.csv`` one per point of each curve.
    """
    tables = {"coco.csv": _coco_table(evaluation.coco)}
    if evaluation.cases is None:
        return tables
    levels, cases = evaluation.levels, evaluation.cases
    lesions = {"matched": levels["lesion_published"], "all": levels["lesion_all"]}
    return tables | {
        "image.csv": _table(_level_rows(levels["image"])),
        "breast.csv": _table(_level_rows(levels["breast"])),
        "lesion.csv": _table(
            [{"lesions": name, **row} for name, level in lesions.items() for row in _level_rows(level)]
        ),
        "images.csv": _case_table(ImageCase, cases.images),
        "breasts.csv": _case_table(BreastCase, cases.breasts),
        "lesions.csv": _case_table(LesionCase, cases.lesions),
        "roc.csv": _roc_table(levels),
    }


def _coco_table(numbers: Mapping[str, Mapping[str, float | None]]) -> str:
    return _table([{"class": name, **values} for name, values in numbers.items()], ("class", *NUMBER_NAMES))


def _level_rows(level: Level) -> list[dict[str, Any]]:
    table = level.classification
    rows: list[dict[str, Any]] = []
    for name, answers in zip(table.classes, table.confusion, strict=True):
        given = {f"predicted {answer}": count for answer, count in zip(table.answers, answers, strict=True)}
        rows.append({"class": name, **asdict(table.per_class[name]), **given})
    without_normals = {"auc_malignant_vs_benign": level.without_normals.auc} if level.without_normals else {}
    overall = {"support": table.cases, "accuracy": table.accuracy, "auc": level.roc.auc}
    return [*rows, {"class": "all", **overall, **without_normals}]


def _roc_table(levels: Mapping[str, Level]) -> str:
    columns = ("curve", "false_positive_rate", "true_positive_rate", "threshold")
    rows = []
    for name, level in levels.items():
        curve = level.roc
        points = zip(curve.false_positive_rate, curve.true_positive_rate, curve.thresholds, strict=True)
        rows += [dict(zip(columns, (name, *map(float, point)), strict=True)) for point in points]
    return _table(rows, columns)


def _case_table(kind: type[Any], cases: Sequence[Any]) -> str:
    return _table([asdict(case) for case in cases], [field.name for field in fields(kind)])


def _table(rows: Sequence[Mapping[str, Any]], columns: Iterable[str] | None = None) -> str:
    """Write rows as CSV; without ``columns`` those of all rows in order of appearance."""
    names = list(columns or dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: NOT_AVAILABLE if value is None else value for name, value in row.items()})
    return text.getvalue()
