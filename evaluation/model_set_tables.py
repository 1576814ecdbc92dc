"""Tables of several models: every number by model, the differences to the first, the cases in dispute."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mammodet.datasets.errors import InputError
from mammodet.evaluation.all_numbers import EvaluatedNumber, all_numbers
from mammodet.evaluation.froc_cases import ANY_CLASS
from mammodet.evaluation.model_comparison import ComparedNumber
from mammodet.evaluation.model_disagreements import IMAGE, LESION, Disagreement
from mammodet.evaluation.model_set import Model, ModelSet
from mammodet.evaluation.model_set_pictures import DisputedPicture
from mammodet.evaluation.resampling import Interval, primary
from mammodet.evaluation.summary import package_versions

SCHEMA = "mammodet.comparison/1"
NOT_AVAILABLE = "n/a"
TABLES = ("summary.csv", "models.csv", "comparison.csv", "disagreements.csv")
SHOWN, NOT_SHOWN = "shown", "not among the cases shown"
LEVEL_TITLES = {"image": "images", "breast": "breasts", "patient": "patients", "lesion_all": "lesions"}


@dataclass(frozen=True)
class Headline:
    """A column of the summary: a number of a level, and the test whose p value stands below it."""

    title: str
    level: str
    number: str
    test: str


@dataclass(frozen=True)
class SummaryCell:
    """A number of one model with the interval to show, and of a later one its test against the first.

    ``of_model`` is False for a number that the model's kind has not, such as AP of scores of images.
    """

    value: float | None
    interval: Interval | None
    compared: ComparedNumber | None
    of_model: bool = True


def headlines(models: ModelSet) -> list[Headline]:
    """Return the columns of the summary that a model has: AP50, CPM of the first hit rule, AUCs, accuracy.

    AUCs are compared by Obuchowski's test, which allows for patients, those of patients by DeLong's.
    """
    found = []
    if any(one.evaluation.coco for one in models.models):
        found.append(Headline("AP50", "coco", "all AP50", "bootstrap"))
    row = next((row for one in models.models for row in one.evaluation.froc.rows), None)
    if row is not None:
        of_class = "" if row.classes == ANY_CLASS else f" {row.classes}"
        found.append(Headline(f"CPM {row.rule}{of_class}", row.title, "cpm", "bootstrap"))
    tests = {"image": "Obuchowski", "breast": "Obuchowski", "patient": "DeLong"}
    found += [
        Headline(f"AUC {LEVEL_TITLES[level]}", level, "auc", test)
        for level, test in tests.items()
        if level in models.levels
    ]
    if "lesion_all" in models.levels:
        found.append(Headline("Accuracy lesions", "lesion_all", "accuracy", "bootstrap"))
    return found


def summary(models: ModelSet) -> dict[str, list[SummaryCell]]:
    """Return a row of cells per model, by its name, in the order of ``headlines``."""
    columns = headlines(models)
    return {one.name: [_cell(models, one, column) for column in columns] for one in models.models}


def model_set_csv(models: ModelSet, pictures: Sequence[DisputedPicture] = ()) -> dict[str, str]:
    """Return the text of ``TABLES`` by file name.

    ``summary.csv`` has a row per model; ``models.csv`` one per number, with a value, ``low`` and ``high`` of
    every model; ``comparison.csv`` one per later model, number and test; ``disagreements.csv`` one per later
    model and case, whose ``picture`` tells whether the page shows it. ``n/a`` is a number that is not there.

    Raises
    ------
    InputError
        When names of models make columns that cannot be told apart.
    """
    columns = ["level", "number"]
    for one in models.models:
        columns += [one.name, f"{one.name} low", f"{one.name} high"]
    for name in columns:
        if columns.count(name) > 1:
            remedy = "give the models other names with --names"
            raise InputError("names two columns of models.csv", field="names", value=name, remedy=remedy)
    texts = (
        _csv(_summary_columns(models), _summary_rows(models)),
        _csv(columns, _number_rows(models)),
        _csv(_COMPARED, (record.values() for record in difference_records(models))),
        _csv(
            _DISPUTED,
            ([record[name] for name in _DISPUTED] for record in disagreement_records(models, pictures)),
        ),
    )
    return dict(zip(TABLES, texts, strict=True))


def comparison_document(
    models: ModelSet, inputs: Mapping[str, Any], pictures: Sequence[DisputedPicture] = ()
) -> dict[str, Any]:
    """Return what ``comparison.json`` holds; a number that does not exist is null.

    Keys: ``schema``; ``inputs`` (``ground_truth`` and ``predictions``, a list with ``name``, ``path`` and
    ``sha256``); ``versions``; ``protocol`` (with ``rules`` in words); ``bootstrap``; ``counts`` of the data;
    ``models`` (``name``, ``without_boxes``, null or why numbers of boxes are missing, and ``numbers``:
    ``level``, ``number``, ``value`` and its ``interval``, null without one); ``differences`` and
    ``disagreements``, the rows of the CSV files of these names; ``disputed``, how many images and lesions
    each later model and the first disagree on.
    """
    evaluation = models.first.evaluation
    return {
        "schema": SCHEMA,
        "inputs": dict(inputs),
        "versions": package_versions(),
        "protocol": {**asdict(models.protocol), "rules": models.rules()},
        "bootstrap": asdict(evaluation.bootstrap),
        "counts": {
            name: evaluation.counts.get(name) for name in ("images", "breasts", "patients", "lesions")
        },
        "models": [
            {
                "name": one.name,
                "without_boxes": one.evaluation.without_boxes,
                "numbers": [_number_record(number) for number in all_numbers(one.evaluation)],
            }
            for one in models.models
        ],
        "differences": list(difference_records(models)),
        "disputed": {one.name: disputed_counts(models, one.name) for one in models.later},
        "disagreements": list(disagreement_records(models, pictures)),
    }


def told_without_boxes(models: ModelSet) -> str | None:
    """Return why some models have no numbers of boxes, in one sentence; None when all have."""
    names = [one.name for one in models.models if not one.has_boxes]
    if not names:
        return None
    threshold = f"malignant from {models.protocol.image_threshold:g} on"
    return f"{', '.join(names)}: scores of images, {threshold}; without boxes no number of boxes and lesions"


def disputed_counts(models: ModelSet, name: str) -> dict[str, int]:
    """Return on how many images and lesions model ``name`` and the first disagree, and who is right."""
    found = {}
    for kind, title in ((IMAGE, "images"), (LESION, "lesions")):
        rows = [row for row in models.disagreements[name] if row.kind == kind]
        found[title] = len(rows)
        found[f"{title}_first_right"] = sum(row.first_right for row in rows)
    return found


_COMPARED = (
    *("model", "level", "number", "test", "first", "this"),
    *("difference", "low", "high", "p", "reason"),
)
_DISPUTED = (
    *("model", "kind", "image_id", "file_name", "annotation_id", "truth", "first", "this"),
    *("first_score", "this_score", "apart", "right", "picture"),
)


def difference_records(models: ModelSet) -> Iterator[dict[str, Any]]:
    """Yield the differences of all later models as records with the columns of ``comparison.csv``."""
    for name, rows in models.differences.items():
        for row in rows:
            found = row.found
            values = (found.test, found.first, found.second, found.difference)
            limits = (found.interval.low, found.interval.high, found.p, found.reason)
            yield dict(zip(_COMPARED, (name, row.level, row.number, *values, *limits), strict=True))


def disagreement_records(
    models: ModelSet, pictures: Sequence[DisputedPicture] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the disagreements of all later models as records with the columns of ``disagreements.csv``."""
    told = {one.image.image_id: one.reason or SHOWN for one in pictures}
    for rows in models.disagreements.values():
        for row in rows:
            record = asdict(row)
            del record["first_right"]
            yield record | {"right": right(models, row), "picture": told.get(row.image_id, NOT_SHOWN)}


def right(models: ModelSet, row: Disagreement) -> str:
    """Return the name of the model that is right about a case in dispute."""
    return models.first.name if row.first_right else row.model


def numbers_by_model(models: ModelSet) -> dict[tuple[str, str], list[EvaluatedNumber | None]]:
    """Return every number that any model has, by level and number: one per model, None where it has none."""
    found = [
        {(one.level, one.number): one for one in all_numbers(model.evaluation)} for model in models.models
    ]
    keys = dict.fromkeys(key for some in found for key in some)
    order = {level: place for place, level in enumerate(dict.fromkeys(level for level, _ in keys))}
    return {key: [some.get(key) for some in found] for key in sorted(keys, key=lambda key: order[key[0]])}


def _cell(models: ModelSet, model: Model, column: Headline) -> SummaryCell:
    known = (
        one
        for one in all_numbers(model.evaluation)
        if (one.level, one.number) == (column.level, column.number)
    )
    number = next(known, None)
    compared = models.compared(model.name, column.level, column.number, column.test)
    return SummaryCell(
        None if number is None else number.value,
        None if number is None else primary(number.kinds),
        compared,
        of_model=number is not None or model.has_boxes,
    )


def _summary_columns(models: ModelSet) -> list[str]:
    ends = ("", " low", " high", " difference", " p", " test")
    return ["model", *(f"{column.title}{end}" for column in headlines(models) for end in ends)]


def _summary_rows(models: ModelSet) -> Iterator[list[Any]]:
    for name, cells in summary(models).items():
        row: list[Any] = [name]
        for cell in cells:
            found = None if cell.compared is None else cell.compared.found
            row += [cell.value, *_ends(cell.interval)]
            row += ["", "", ""] if name == models.first.name else _tested(found)
        yield row


def _tested(found: Any) -> list[Any]:
    return [None, None, None] if found is None else [found.difference, found.p, found.test]


def _number_rows(models: ModelSet) -> Iterator[list[Any]]:
    for key, numbers in numbers_by_model(models).items():
        row: list[Any] = list(key)
        for one in numbers:
            row += [None, None, None] if one is None else [one.value, *_ends(primary(one.kinds))]
        yield row


def _number_record(number: EvaluatedNumber) -> dict[str, Any]:
    shown = primary(number.kinds)
    interval = None if shown is None else asdict(shown)
    return {"level": number.level, "number": number.number, "value": number.value, "interval": interval}


def _ends(interval: Interval | None) -> list[float | None]:
    return [None, None] if interval is None else [interval.low, interval.high]


def _csv(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([NOT_AVAILABLE if value is None else value for value in row])
    return text.getvalue()
