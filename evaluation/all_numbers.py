"""Every number of an evaluation by level, with its intervals: one list for tables and documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mammodet.evaluation.levels import Level
from mammodet.evaluation.resampling import Interval
from mammodet.evaluation.summary import Evaluation


class EvaluatedNumber(NamedTuple):
    """A number (None: it does not exist) and its intervals by kind, such as bootstrap and wilson."""

    level: str
    number: str
    value: float | None
    kinds: Mapping[str, Interval]


def all_numbers(evaluation: Evaluation) -> Iterator[EvaluatedNumber]:
    """Yield COCO (level ``coco``, the class in ``number``), FROC (the title of its row) and the levels."""
    for one, numbers in evaluation.coco.items():
        intervals = evaluation.coco_intervals.get(one, {})
        for number, value in numbers.items():
            kinds = {"bootstrap": intervals[number]} if number in intervals else {}
            yield EvaluatedNumber("coco", f"{one} {number}", value, kinds)
    for row in evaluation.froc.rows:
        for number, value in row.numbers.items():
            yield EvaluatedNumber(row.title, number, value, row.kinds(number))
    for name, level in evaluation.levels.items():
        yield from _of_level(name, level)


def _of_level(name: str, level: Level) -> Iterator[EvaluatedNumber]:
    values = {
        "auc": level.roc.auc,
        "brier": level.brier,
        "ece": level.ece,
        "accuracy": level.classification.accuracy,
    }
    if level.without_normals is not None:
        values["auc_malignant_vs_benign"] = level.without_normals.auc
    for number, kinds in level.intervals.items():
        yield EvaluatedNumber(name, number, values[number], kinds)
    for one, numbers in level.class_intervals.items():
        for number, kinds in numbers.items():
            value = getattr(level.classification.per_class[one], number)
            yield EvaluatedNumber(name, f"{one} {number}", value, kinds)
