"""What the values of a COCO file must be: ids, numbers, names, and the keys of the profile."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from mammodet.datasets.coco_records import FINDINGS, GEOMETRY_SOURCES, LABELS

Rule = tuple[Callable[[Any], bool], str]  # whether a value fits, and what is expected
Keys = Mapping[str, Rule]  # the rule of each optional key; null is always allowed


def is_id(value: Any) -> TypeGuard[int]:
    """Tell whether a value is an integer that other COCO readers can hold (64 bits)."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether a value is a finite number that fits a double."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 1e308


def is_text(value: Any) -> TypeGuard[str]:
    """Tell whether a value is a string."""
    return isinstance(value, str)


def is_name(value: Any) -> TypeGuard[str]:
    """Tell whether a value can be the name of a file or folder."""
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_spacing(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(is_number(v) and v > 0 for v in value)


def _one_of(*choices: str) -> Rule:
    return lambda value: isinstance(value, str) and value in choices, " or ".join([*choices, "null"])


_TEXT = (is_text, "a string or null")
_OBJECT = (lambda value: isinstance(value, dict), "an object or null")
_FLAG = (lambda value: is_id(value) and value in (0, 1), "0 or 1")
_AMOUNT = (lambda value: is_number(value) and value >= 0, "a finite number from 0")

IMAGE_KEYS: Keys = {
    **dict.fromkeys(
        ("patient_id", "study_id", "breast_id", "view", "manufacturer", "dataset", "split"), _TEXT
    ),
    "sop_instance_uid": _TEXT,
    "laterality": _one_of("L", "R"),
    "density": _one_of("A", "B", "C", "D"),
    "label": _one_of(*LABELS),
    "age": _AMOUNT,
    "spacing_mm": (_is_spacing, "two positive numbers [row, column] or null"),
    "provenance": _OBJECT,
}
COCO_KEYS: Keys = {
    "area": _AMOUNT,
    "iscrowd": _FLAG,
    "ignore": _FLAG,
}
ANNOTATION_KEYS: Keys = {
    **COCO_KEYS,
    **dict.fromkeys(("lesion_id", "pathology", "birads"), _TEXT),
    "finding": _one_of(*FINDINGS),
    "geometry_source": _one_of(*GEOMETRY_SOURCES),
    "subtype": _OBJECT,
    "provenance": _OBJECT,
}
