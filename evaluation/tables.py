"""The CSV tables of an evaluation. ``n/a``, which pandas reads as missing, is a number that is not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from mammodet.evaluation.all_numbers import all_numbers
from mammodet.evaluation.calibrated_levels import NUMBERS, Calibrated
from mammodet.evaluation.cases import BreastCase, ImageCase, LesionCase, PatientCase
from mammodet.evaluation.csv_text import csv_text
from mammodet.evaluation.detection_metrics import NUMBER_NAMES
from mammodet.evaluation.error_tables import error_tables
from mammodet.evaluation.froc_table import FrocTable, row_record
from mammodet.evaluation.fusion_table import FusionRow
from mammodet.evaluation.group_tables import image_subgroup_table, subgroup_table, threshold_table
from mammodet.evaluation.levels import Level
from mammodet.evaluation.resampling import Interval
from mammodet.evaluation.summary import Evaluation

_INTERVAL_COLUMNS = ("level", "number", "value", "interval", *(one.name for one in fields(Interval)))
_POINT_COLUMNS = (
    *("level", "point", "threshold", "number", "value"),
    *(f"{kind} {end}" for kind in ("bootstrap", "wilson") for end in ("low", "high")),
    "reason",
)
_CALIBRATED_COLUMNS = (
    *("level", "number", "cases", "positives", "raw", "calibrated", "difference"),
    *(f"{what} {end}" for what in ("raw", "calibrated", "difference") for end in ("low", "high")),
    "note",
)
_FUSION_COLUMNS = (
    *("level", "rule", "cases", "positives", "auc"),
    *(
        f"{kind} {end}"
        for kind in ("bootstrap", "delong", "obuchowski", "newcombe")
        for end in ("low", "high")
    ),
    "note",
)


def csv_tables(evaluation: Evaluation) -> dict[str, str]:
    """Return the CSV text of every table by file name.

    ``coco.csv`` has one row per class, ``coco_thresholds.csv`` (where asked for) one per class, number of
    boxes and IoU threshold, ``subgroups.csv`` one per group, value and class; ``froc.csv`` one per hit rule
    and class, ``froc_curves.csv`` one per
    point at which a FROC curve rises; ``image.csv``, ``breast.csv``, ``patient.csv`` and ``lesion.csv`` one
    per class with its row of the confusion matrix, and one for all; ``images.csv``, ``breasts.csv``,
    ``patients.csv`` and ``lesions.csv`` one per case; ``roc.csv`` one per point of each curve;
    ``operating_points.csv`` one per level, point and number; ``calibration.csv`` one per level and bin;
    ``fusion.csv`` one per fusion rule and level; ``intervals.csv`` one per number and kind of interval. With
    a score calibration ``calibrated.csv`` has one row per level and number, and cases a ``probability``.
    ``errors.csv``, ``error_kinds.csv``, ``error_places.csv`` and ``views.csv`` are as ``error_tables`` tells.

    Scores of images have none of the tables about boxes and lesions, and ``image_subgroups.csv`` with a row
    per group and value.
    """
    tables = {"intervals.csv": _interval_table(evaluation)}
    if evaluation.without_boxes is None:
        tables |= _box_tables(evaluation)
    else:
        tables["image_subgroups.csv"] = image_subgroup_table(evaluation.image_subgroups)
    return tables | _level_tables(evaluation)


def _box_tables(evaluation: Evaluation) -> dict[str, str]:
    tables = {
        "coco.csv": _coco_table(evaluation.coco),
        "froc.csv": _froc_table(evaluation.froc),
        "froc_curves.csv": _froc_curves(evaluation.froc),
        "subgroups.csv": subgroup_table(evaluation.subgroups),
    }
    if evaluation.coco_thresholds:
        tables["coco_thresholds.csv"] = threshold_table(evaluation.coco_thresholds)
    if evaluation.errors is not None:
        tables |= error_tables(evaluation.errors)
    if evaluation.cases is not None:
        levels = evaluation.levels
        lesions = {"matched": levels["lesion_published"], "all": levels["lesion_all"]}
        rows = [{"lesions": name, **row} for name, level in lesions.items() for row in _level_rows(level)]
        tables |= {
            "lesion.csv": csv_text(rows),
            "lesions.csv": _case_table(LesionCase, evaluation.cases.lesions),
        }
    return tables


def _level_tables(evaluation: Evaluation) -> dict[str, str]:
    if evaluation.cases is None:
        return {}
    levels, cases, tables = evaluation.levels, evaluation.cases, {}
    without = () if evaluation.without_boxes is None else ("boxes",)
    calibrated = evaluation.calibrated
    if calibrated is not None:
        tables["calibrated.csv"] = csv_text(_calibrated_rows(calibrated), _CALIBRATED_COLUMNS)
    chances = {} if calibrated is None else calibrated.probabilities
    return tables | {
        "image.csv": csv_text(_level_rows(levels["image"])),
        "breast.csv": csv_text(_level_rows(levels["breast"])),
        "patient.csv": csv_text(_level_rows(levels["patient"])),
        "images.csv": _case_table(ImageCase, cases.images, chances.get("image", ()), without),
        "breasts.csv": _case_table(BreastCase, cases.breasts, chances.get("breast", ()), without),
        "patients.csv": _case_table(PatientCase, cases.patients, chances.get("patient", ()), without),
        "roc.csv": _roc_table(levels),
        "operating_points.csv": csv_text(_point_rows(levels), _POINT_COLUMNS),
        "calibration.csv": csv_text(_reliability_rows(levels, calibrated)),
        "fusion.csv": csv_text(_fusion_rows(evaluation.fusion), _FUSION_COLUMNS),
    }


def _coco_table(numbers: Mapping[str, Mapping[str, float | None]]) -> str:
    return csv_text([{"class": name, **values} for name, values in numbers.items()], ("class", *NUMBER_NAMES))


def _froc_table(table: FrocTable) -> str:
    rows = []
    for record in map(row_record, table.rows):
        at = {f"sensitivity at {point}": value for point, value in record.pop("sensitivity").items()}
        intervals = record.pop("intervals")
        record["notes"] = "; ".join(record["notes"])
        shown: dict[str, Any] = {"denominator": table.protocol.denominator}
        for name, value in (record | at).items():
            shown[name] = value
            if name in intervals:
                shown |= {f"{name} {end}": intervals[name][end] for end in ("low", "high")}
        rows.append(shown)
    return csv_text(rows)


def _froc_curves(table: FrocTable) -> str:
    columns = ("rule", "classes", "false_positives", "sensitivity", "threshold")
    rows = []
    for row in table.rows:
        curve = row.curve
        points = zip(curve.false_positives, curve.sensitivity, curve.thresholds, strict=True)
        rows += [
            dict(zip(columns, (row.rule, row.classes, *map(float, point)), strict=True)) for point in points
        ]
    return csv_text(rows, columns)


def _level_rows(level: Level) -> list[dict[str, Any]]:
    table = level.classification
    rows: list[dict[str, Any]] = []
    for name, answers in zip(table.classes, table.confusion, strict=True):
        given = {f"predicted {answer}": count for answer, count in zip(table.answers, answers, strict=True)}
        rows.append({"class": name, **asdict(table.per_class[name]), **given})
    without_normals = {"auc_malignant_vs_benign": level.without_normals.auc} if level.without_normals else {}
    overall = {
        "support": table.cases,
        "accuracy": table.accuracy,
        "auc": level.roc.auc,
        "brier": level.brier,
        "ece": level.ece,
    }
    return [*rows, {"class": "all", **overall, **without_normals}]


def _roc_table(levels: Mapping[str, Level]) -> str:
    columns = ("curve", "false_positive_rate", "true_positive_rate", "threshold")
    rows = []
    for name, level in levels.items():
        curve = level.roc
        points = zip(curve.false_positive_rate, curve.true_positive_rate, curve.thresholds, strict=True)
        rows += [dict(zip(columns, (name, *map(float, point)), strict=True)) for point in points]
    return csv_text(rows, columns)


def _interval_table(evaluation: Evaluation) -> str:
    rows = [
        {"level": one.level, "number": one.number, "value": one.value, "interval": kind, **asdict(interval)}
        for one in all_numbers(evaluation)
        for kind, interval in one.kinds.items()
    ]
    return csv_text(rows, _INTERVAL_COLUMNS)


def _point_rows(levels: Mapping[str, Level]) -> Iterator[dict[str, Any]]:
    for name, level in levels.items():
        for point in level.points:
            start = {"level": name, "point": point.name, "threshold": point.threshold}
            if point.reason is not None:
                yield {**start, "reason": point.reason}
            for number, estimate in point.numbers.items():
                row = {**start, "number": number, "value": estimate.value}
                yield row | {
                    f"{kind} {end}": getattr(one, end)
                    for kind, one in estimate.intervals.items()
                    for end in ("low", "high")
                }


def _reliability_rows(levels: Mapping[str, Level], calibrated: Calibrated | None) -> Iterator[dict[str, Any]]:
    for name, level in levels.items():
        yield from ({"level": name, "scores": "raw", **asdict(one)} for one in level.reliability)
        if calibrated is not None and name in calibrated.levels:
            bins = calibrated.levels[name].calibrated
            yield from ({"level": name, "scores": "calibrated", **asdict(one)} for one in bins)


def _calibrated_rows(calibrated: Calibrated) -> Iterator[dict[str, Any]]:
    for name, level in calibrated.levels.items():
        start = {"level": name, "cases": level.cases, "positives": level.positives}
        for number in NUMBERS:
            found = level.numbers.get(number)
            if found is None:
                yield {**start, "number": number, "note": level.reason}
                continue
            row = {what: getattr(found, what) for what in ("raw", "calibrated", "difference")}
            for what in tuple(row):
                one = getattr(found, f"{what}_interval")
                row |= {
                    f"{what} {end}": None if one is None else getattr(one, end) for end in ("low", "high")
                }
            yield {**start, "number": number, **row}
        if level.reason is None:
            aucs = {"raw": level.auc, "calibrated": level.auc_calibrated}
            yield {**start, "number": "auc", **aucs, "note": level.auc_note or ""}


def _fusion_rows(rows: Sequence[FusionRow]) -> Iterator[dict[str, Any]]:
    for row in rows:
        shown = {name: getattr(row, name) for name in ("level", "rule", "cases", "positives", "auc", "note")}
        yield shown | {
            f"{kind} {end}": getattr(one, end)
            for kind, one in row.intervals.items()
            for end in ("low", "high")
        }


def _case_table(
    kind: type[Any],
    cases: Sequence[Any],
    chances: Sequence[float] | None = (),
    without: Sequence[str] = (),
) -> str:
    """Write one row per case; with ``chances``, None for none that could be had, their column at the end."""
    columns = [field.name for field in fields(kind) if field.name not in without]
    rows = [{name: value for name, value in asdict(case).items() if name in columns} for case in cases]
    if chances is None or len(chances):
        columns.append("probability")
        for place, row in enumerate(rows):
            row["probability"] = None if chances is None else chances[place]
    return csv_text(rows, columns)
