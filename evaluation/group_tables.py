"""The CSV tables of groups of lesions and images, and of COCO numbers at other thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mammodet.evaluation.coco_thresholds import ThresholdRow
from mammodet.evaluation.csv_text import csv_text
from mammodet.evaluation.image_subgroups import ImageSubgroup
from mammodet.evaluation.resampling import Interval
from mammodet.evaluation.subgroups import SubgroupRow


def threshold_table(rows: Sequence[ThresholdRow]) -> str:
    """Return one row per class, number of boxes and IoU threshold; ``mean`` is that over the thresholds."""
    return csv_text(
        {
            "class": row.classes,
            "max_dets": row.max_dets,
            "iou": "mean" if row.iou is None else row.iou,
            "lesions": row.lesions,
            **_with_limits("AP", row.ap, row.ap_interval),
            **_with_limits("AR", row.ar, row.ar_interval),
            "reason": row.reason or "",
        }
        for row in rows
    )


def subgroup_table(rows: Sequence[SubgroupRow]) -> str:
    """Return one row per group, value and class."""
    records = []
    for row in rows:
        record: dict[str, Any] = {"group": row.group, "value": row.value, "class": row.classes}
        record |= {name: getattr(row, name) for name in ("images", "patients", "lesions", "found")}
        for name, value in row.numbers.items():
            record |= _with_limits(name, value, row.intervals.get(name))
        reasons = [row.reason, *(one.reason for one in row.intervals.values())]
        record["false_positives"] = row.false_positives
        records.append(record | {"reason": next((one for one in reasons if one), "")})
    return csv_text(records)


def image_subgroup_table(rows: Sequence[ImageSubgroup]) -> str:
    """Return one row per group and value of the images."""
    records = []
    for row in rows:
        names = ("group", "value", "images", "patients", "malignant")
        record: dict[str, Any] = {name: getattr(row, name) for name in names}
        for name, value in row.numbers.items():
            record |= _with_limits(name, value, row.intervals.get(name))
        records.append(record | {"note": row.note or ""})
    return csv_text(records, None if records else ("group", "value", "images", "patients", "malignant"))


def _with_limits(name: str, value: float | None, interval: Interval | None) -> dict[str, float | None]:
    limits = (None, None) if interval is None else (interval.low, interval.high)
    return {name: value, f"{name} low": limits[0], f"{name} high": limits[1]}
