"""Tables of classifiers, one row each: CSV, Markdown, LaTeX, and all numbers one by one.

The columns are those of table 2 of Pesapane et al. 2023 (accuracy, sensitivity, specificity, PPV, NPV, AUC)
and those that Mračko et al. 2024 report (accuracy, F1, MCC, sensitivity, specificity). The last row is what
drawing classes at random gives.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from mammodet.evaluation.chance import Baseline, stochastic_baseline
from mammodet.evaluation.classifier_numbers import ClassifierNumbers
from mammodet.evaluation.latex import MISSING, escape, limits_cell, number_cell, table_float, table_row
from mammodet.evaluation.operating_points import Estimate
from mammodet.evaluation.resampling import PERCENTILE, Interval, primary

BASELINE = "drawn at random"
NOT_AVAILABLE = "n/a"
STARRED = "* where the bootstrap has no width: Wilson's interval, of an AUC Newcombe's"
PESAPANE = ("accuracy", "sensitivity", "specificity", "ppv", "npv", "auc")
MRACKO = ("accuracy", "f1", "mcc", "sensitivity", "specificity", "balanced_accuracy")
_ALL_OF_MANY = ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "macro_auc")
_TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "auc": "AUC",
    "f1": "F1",
    "mcc": "MCC",
    "macro_f1": "Macro F1",
    "macro_auc": "Macro AUC",
}
_NUMBER_COLUMNS = ("network", "class", "number", "value", "interval", *(one.name for one in fields(Interval)))

Columns = Mapping[str, str]  # key of the number -> title


def baseline_of(found: ClassifierNumbers) -> Baseline:
    """Return the stochastic baseline on the cases of a classifier."""
    support = [found.table.per_class[name].support for name in found.classes]
    return stochastic_baseline(support, found.classes, found.classes.index(found.positive))


def csv_table(models: Sequence[ClassifierNumbers]) -> str:
    """Return ``table.csv``: all columns, every cell ``value (low-high)``."""
    columns = {key: title for one in _layouts(models[0]) for key, title in one.items()}
    return _csv([["Network", "Cases", "Patients", *columns.values()], *_text_rows(models, columns)])


def markdown_tables(models: Sequence[ClassifierNumbers]) -> list[str]:
    """Return the lines of two tables, in the layouts of both papers, an empty line between them."""
    lines: list[str] = []
    for columns in _layouts(models[0]):
        rows = [["Network", "Cases", "Patients", *columns.values()]]
        rows += [[_plain(one) for one in row] for row in _text_rows(models, columns)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        shown = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
        lines += [shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:], ""]
    if any(")*" in line for line in lines):
        return [*lines, STARRED]
    return lines[:-1]


def latex_tables(models: Sequence[ClassifierNumbers], data: str) -> str:
    """Return ``table.tex``: both layouts, below each number its interval; ``data`` stands in the captions."""
    parts = []
    for place, columns in enumerate(_layouts(models[0]), start=1):
        head = table_row(["Network", "$n$", *(escape(title) for title in columns.values())])
        rows, marked = [], False
        for one in models:
            estimates = [_estimate(one, key) for key in columns]
            limits = [limits_cell(primary(estimate.intervals)) for estimate in estimates]
            cells = [escape(one.name), str(one.cases), *(number_cell(x.value) for x in estimates)]
            rows.append(table_row(cells))
            if any(limits):
                rows.append(table_row(["", "", *limits]) + r"[2pt]")
                marked |= any("*" in limit for limit in limits)
        chance = [_expected(baseline_of(models[0]), key) for key in columns]
        rows += [r"\midrule", table_row([BASELINE, str(models[0].cases), *map(number_cell, chance)])]
        start = rf"\begin{{tabular}}{{@{{}}lr{'c' * len(columns)}@{{}}}}"
        body = [start, r"\toprule", head, r"\midrule", *rows]
        label = f"tab:mammodet-classifiers-{place}"
        parts.append(table_float(_caption(models[0], data, marked), label, body))
    return "\n".join(parts)


def numbers_table(models: Sequence[ClassifierNumbers]) -> str:
    """Return ``numbers.csv``: one row per network, number and kind of interval, in full precision."""
    rows: list[list[Any]] = [list(_NUMBER_COLUMNS)]
    for one in models:
        for name, number, estimate in all_estimates(one):
            kinds: Mapping[str, Interval | None] = estimate.intervals or {"": None}
            for kind, interval in kinds.items():
                limits = [""] * len(fields(Interval)) if interval is None else asdict(interval).values()
                cells = [one.name, name, number, estimate.value, kind, *limits]
                rows.append([NOT_AVAILABLE if cell is None else cell for cell in cells])
    return _csv(rows)


def all_estimates(found: ClassifierNumbers) -> Iterator[tuple[str, str, Estimate]]:
    """Yield class ("all" first), number and its estimate."""
    for number, estimate in found.numbers.items():
        yield "all", number, estimate
    for name, own in found.per_class.items():
        for number, estimate in own.items():
            yield name, number, estimate


def _layouts(found: ClassifierNumbers) -> list[Columns]:
    if len(found.classes) == 2:
        return [{key: _TITLES[key] for key in keys} for keys in (PESAPANE, MRACKO)]
    of_classes = {f"{name}\0auc": f"AUC {name}" for name in found.classes}
    return [{key: _TITLES[key] for key in _ALL_OF_MANY}, of_classes]


def _estimate(found: ClassifierNumbers, key: str) -> Estimate:
    name, mark, number = key.partition("\0")
    return found.per_class[name][number] if mark else found.numbers[key]


def _expected(baseline: Baseline, key: str) -> float | None:
    name, mark, number = key.partition("\0")
    return baseline.per_class[name][number] if mark else baseline.numbers[key]


def _text_rows(models: Sequence[ClassifierNumbers], columns: Columns) -> Iterator[list[str]]:
    for one in models:
        cells = [_cell(_estimate(one, key)) for key in columns]
        yield [one.name, str(one.cases), str(one.patients), *cells]
    baseline, first = baseline_of(models[0]), models[0]
    expected = (_expected(baseline, key) for key in columns)
    cells = [NOT_AVAILABLE if value is None else f"{value:.3f}" for value in expected]
    yield [BASELINE, str(first.cases), str(first.patients), *cells]


def _cell(estimate: Estimate) -> str:
    if estimate.value is None:
        return NOT_AVAILABLE
    found = primary(estimate.intervals)
    if found is None or found.low is None or found.high is None or found.low == found.high:
        return f"{estimate.value:.3f}"  # an interval without width says nothing about new cases
    mark = "" if found.method == PERCENTILE else "*"
    return f"{estimate.value:.3f} ({found.low:.3f}-{found.high:.3f}){mark}"


def _caption(found: ClassifierNumbers, data: str, marked: bool) -> str:
    told = [f"Classifiers on {escape(data)}: {found.cases} cases of {found.patients} patients."]
    if len(found.classes) == 2:
        told.append(f"Positive: {escape(found.positive)}.")
    boot = next(iter(found.numbers.values())).intervals.get("bootstrap")
    if boot is not None:
        percent = rf"{found.confidence * 100:g}\,\%"
        told.append(f"Below each number its {percent} interval ({boot.resamples} resamples of patients).")
    if marked:
        told.append("$^{*}$: where the bootstrap has no width, Wilson's interval, of an AUC Newcombe's.")
    told.append(
        f"{BASELINE.capitalize()}: expected of classes drawn as often as they are. {MISSING}: undefined."
    )
    return " ".join(told)


def _plain(text: str) -> str:
    """Return text that does not break a Markdown table."""
    return " ".join(text.split()).replace("|", r"\|")


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
