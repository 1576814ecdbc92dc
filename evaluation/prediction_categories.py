"""Which category of the ground truth a prediction's class is: never guessed from a number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.prediction_rows import PredictionFault, Rows

UNKNOWN = None
ALL = "all"  # every class that is not named
NONE = "none"  # predictions of these classes are left out
LEFT_OUT = -(2**63) - 1  # no id of any category
OPTION = "--categories"

_WHOLE = re.compile(r"([+-]?[0-9]+)\.0+")


def find_categories(
    rows: Rows, coco: Coco, mapping: Mapping[str, str | int]
) -> tuple[list[int | None], list[PredictionFault], list[str]]:
    """Return the category id of every prediction, faults, and notes on the mapping.

    Parameters
    ----------
    mapping:
        From a name or id of the ground truth, or ``none``, to what the predictions call it: a name or number,
        several with commas, or ``all``. Without a mapping names must be those of the ground truth, and
        numbers must be ids in a file where numbers are ids.

    Returns
    -------
    tuple
        Ids (None where unknown, LEFT_OUT for ``none``), faults, and notes such as a class that never occurs.

    Raises
    ------
    InputError
        When the mapping names no category of the ground truth, or one class twice.
    """
    wanted = _wanted(mapping, coco)
    if rows.categories is None:
        return _without_classes(rows, coco, wanted)
    if not wanted:
        wanted = {str(one.get("name", "")).strip().lower(): one["id"] for one in coco.categories}
        if rows.numbers_are_ids:
            wanted |= {str(one["id"]): one["id"] for one in coco.categories}
    distinct = {
        one: wanted.get(_label(one), wanted.get(ALL) if mapping else None) for one in set(rows.categories)
    }
    ids = list(map(distinct.__getitem__, rows.categories))
    unknown = [index for index, found in enumerate(ids) if found is None] if None in distinct.values() else []
    notes = []
    if mapping and rows.images:
        present = {_label(one) for one in distinct}
        absent = [label for label in wanted if label != ALL and label not in present]
        notes = [f"no prediction is of class {', '.join(absent)} of {OPTION}"] if absent else []
    return ids, [_unknown(rows, coco, unknown, mapping)] if unknown else [], notes


def _wanted(mapping: Mapping[str, str | int], coco: Coco) -> dict[str, int]:
    """Return the category id by what the predictions call it."""
    targets = {str(one.get("name", "")).strip().lower(): one["id"] for one in coco.categories}
    targets = {str(one["id"]): one["id"] for one in coco.categories} | targets
    wanted: dict[str, int] = {}
    for ours, theirs in mapping.items():
        target = targets.get(_label(ours), LEFT_OUT if _label(ours) == NONE else None)
        if target is None:
            turned = _label(ours) == ALL or _label(str(theirs)) in targets
            remedy = f"the name of the ground truth comes first: {theirs}={ours}" if turned else "NAME=CLASS"
            problem = f"no such category, the ground truth has {_known(coco)}"
            raise InputError(problem, field=OPTION, value=str(ours), remedy=remedy)
        for label in map(_label, str(theirs).split(",")):
            if wanted.get(label, target) != target:
                remedy = "give every class of the predictions once"
                raise InputError("is given to two categories", field=OPTION, value=label, remedy=remedy)
            wanted[label] = target
    return wanted


def _label(value: Any) -> str:
    """Return a class as it is compared: 1, "1" and "1.0" are one, names in any case."""
    text = str(value).strip().lower()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _without_classes(
    rows: Rows, coco: Coco, wanted: Mapping[str, int]
) -> tuple[list[int | None], list[PredictionFault], list[str]]:
    only = coco.categories[0]["id"] if len(coco.categories) == 1 and not wanted else None
    category = wanted.get(ALL, only)
    faults = []
    if category is None and rows.images:
        problem = f"the predictions tell no class, the ground truth has {_known(coco)}"
        some = coco.categories[-1].get("name", coco.categories[-1]["id"]) if coco.categories else "malignant"
        remedy = f"--columns category=COLUMN names it, or {OPTION} {some}=all takes all predictions as {some}"
        faults.append(rows.fault(range(len(rows.images)), "category", problem, remedy))
    return [category] * len(rows.images), faults, []


def _unknown(
    rows: Rows, coco: Coco, unknown: Sequence[int], mapping: Mapping[str, str | int]
) -> PredictionFault:
    labels = Counter("none" if (one := rows.categories[index]) is None else str(one) for index in unknown)  # type: ignore[index]
    told = ", ".join(f"{label[:40]!r} x {count}" for label, count in labels.most_common(5))
    more = f" and {len(labels) - 5} others" if len(labels) > 5 else ""
    if mapping:
        given = " ".join(f"{ours}={theirs}" for ours, theirs in mapping.items())
        remedy = f"{OPTION} {given} does not name it; add it, or none={next(iter(labels))} to leave it out"
    else:
        remedy = f"say what they are, such as {OPTION} {_example(labels, coco)}"
    return rows.fault(
        unknown, "category", f"no such category ({told}{more}), the ground truth has {_known(coco)}", remedy
    )


def _example(labels: Mapping[str, int], coco: Coco) -> str:
    called = sorted(labels, key=lambda label: (not label.isdecimal(), len(label), label))
    names = [str(one.get("name", one["id"])) for one in coco.categories]
    pairs = [f"{name}={label}" for name, label in zip(names, called, strict=False)]
    return " ".join(pairs[:3]) or "malignant=all"


def _known(coco: Coco) -> str:
    told = [f"{one['id']} {one.get('name', '')}".strip() for one in coco.categories[:5]] or ["none"]
    return ", ".join(told) + (f" and {len(coco.categories) - 5} more" if len(coco.categories) > 5 else "")
