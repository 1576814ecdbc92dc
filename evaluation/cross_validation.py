"""The table of a cross-validation: the numbers of every fold, their mean and standard deviation.

The layout is that of table 3 of Lin et al. 2023: one block per level, one row per fold, then average and
standard deviation.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

Number = float | None  # None: undefined, such as the AUC of a fold with one class only

UNDEFINED = "-"
_LEVELS = {
    "image": "Image level",
    "breast": "Breast level",
    "lesion_published": "Lesion level, matched lesions",
    "lesion_all": "Lesion level, all lesions",
}
_COCO_NUMBERS = ("AP", "AP50", "AP75", "AR_100")
HEADS = {
    "cases": "cases",
    "positives": "positive",
    "auc": "AUC",
    "accuracy": "accuracy",
    "sensitivity": "sens.",
    "specificity": "spec.",
    "precision": "precision",
    "f1": "F1",
    "AR_100": "AR100",
}


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1 in the denominator) of one metric over the folds.

    ``folds`` is how many folds have the metric; the others are left out. ``mean`` is None without any,
    ``standard_deviation`` with fewer than two.
    """

    mean: Number
    standard_deviation: Number
    folds: int


@dataclass(frozen=True)
class Block:
    """One level of the table.

    ``counts`` and ``metrics`` hold one value per fold under each name; counts are told, metrics averaged.
    """

    name: str
    title: str
    counts: Mapping[str, tuple[int, ...]]
    metrics: Mapping[str, tuple[Number, ...]]

    @property
    def folds(self) -> int:
        """How many folds there are."""
        return len(next(iter(self.metrics.values())))

    def spread(self, metric: str) -> Spread:
        """Return mean and standard deviation of a metric."""
        return spread(self.metrics[metric])


def spread(values: Sequence[Number]) -> Spread:
    """Return mean and sample standard deviation of the values that are there."""
    known = [value for value in values if value is not None]
    return Spread(
        fmean(known) if known else None,
        stdev(known) if len(known) > 1 else None,
        len(known),
    )


def blocks(documents: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Return the levels image and breast, and of boxes lesion (both protocols) and COCO boxes.

    Parameters
    ----------
    documents:
        What ``summary.metrics_document`` gives for every fold, as ``metrics.json`` holds it; at least one.
        They are all of boxes, or all of scores of images.
    """
    levels = [_level_block(name, documents) for name in _LEVELS if name in documents[0]]
    if "without_boxes" in documents[0]:
        return levels
    boxes = {name: tuple(one["coco"]["all"][name] for one in documents) for name in _COCO_NUMBERS}
    lesions = {"lesions": tuple(_truths(one) for one in documents)}
    return [*levels, Block("coco", "Boxes (COCO)", lesions, boxes)]


def summary(table: Sequence[Block]) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Return ``{level: {metric: {mean, standard_deviation, folds}}}``, for JSON."""
    return {block.name: {metric: vars(block.spread(metric)) for metric in block.metrics} for block in table}


def table_csv(table: Sequence[Block]) -> str:
    """Return the table as CSV with one row per level and fold, then average, standard deviation and folds.

    The row ``folds averaged`` counts the folds that average and standard deviation are of. Numbers have full
    precision; an undefined one is ``-``, a column that a level has not is empty.
    """
    columns = dict.fromkeys(name for block in table for name in [*block.counts, *block.metrics])
    text = io.StringIO()
    writer = csv.DictWriter(text, ["level", "fold", *columns], restval="", lineterminator="\n")
    writer.writeheader()
    for block in table:
        for row in table_rows(block, repr, counted=True):
            writer.writerow({"level": block.name, **row})
    return text.getvalue()


def table_markdown(table: Sequence[Block]) -> str:
    """Return the table as Markdown, a heading and a table per level, with three decimals."""
    return "\n".join("\n".join(_markdown(block)) + "\n" for block in table)


def table_text(table: Sequence[Block]) -> str:
    """Return the table in aligned columns for a terminal, with three decimals."""
    return "\n\n".join("\n".join(_text(block)) for block in table)


def table_rows(block: Block, shown: Callable[[float], str], *, counted: bool) -> list[dict[str, str]]:
    """Return the rows as text by column; the number of folds when ``counted`` or some were left out."""
    rows = []
    for place in range(block.folds):
        row = {name: str(values[place]) for name, values in block.counts.items()}
        row |= {name: _cell(values[place], shown) for name, values in block.metrics.items()}
        rows.append({"fold": f"fold {place + 1}", **row})
    spreads = {name: block.spread(name) for name in block.metrics}
    nothing = dict.fromkeys(block.counts, "")
    means = {name: _cell(one.mean, shown) for name, one in spreads.items()}
    deviations = {name: _cell(one.standard_deviation, shown) for name, one in spreads.items()}
    rows.append({"fold": "average", **nothing, **means})
    rows.append({"fold": "standard deviation", **nothing, **deviations})
    if counted or any(one.folds < block.folds for one in spreads.values()):
        folds = {name: str(one.folds) for name, one in spreads.items()}
        rows.append({"fold": "folds averaged", **nothing, **folds})
    return rows


def _level_block(name: str, documents: Sequence[Mapping[str, Any]]) -> Block:
    numbers = [_level_numbers(document[name]) for document in documents]
    return Block(
        name,
        _LEVELS[name],
        {key: tuple(document[name][key] for document in documents) for key in ("cases", "positives")},
        {metric: tuple(one[metric] for one in numbers) for metric in numbers[0]},
    )


def _level_numbers(level: Mapping[str, Any]) -> dict[str, Number]:
    """Return the metrics of one level; the specificity for cancer is the sensitivity of the other class."""
    other, malignant = (level["per_class"][name] for name in level["confusion"]["classes"])
    return {
        "auc": level["auc"],
        "accuracy": level["accuracy"],
        "sensitivity": malignant["sensitivity"],
        "specificity": other["sensitivity"],
        "precision": malignant["precision"],
        "f1": malignant["f1"],
    }


def _truths(document: Mapping[str, Any]) -> int:
    return int(document["counts"]["lesions"])


def _cell(value: Number, shown: Callable[[float], str]) -> str:
    return UNDEFINED if value is None else shown(value)


def _markdown(block: Block) -> list[str]:
    rows = table_rows(block, "{:.3f}".format, counted=False)
    heads = ["", *(HEADS.get(name, name) for name in list(rows[0])[1:])]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *(list(row.values()) for row in rows)]
    return [f"### {block.title}", "", *(f"| {' | '.join(cells)} |" for cells in lines)]


def _text(block: Block) -> list[str]:
    rows = table_rows(block, "{:.3f}".format, counted=False)
    heads = [block.title, *(HEADS.get(name, name) for name in list(rows[0])[1:])]
    lines = [heads, *(list(row.values()) for row in rows)]
    return [f"{name:<29}" + "".join(f"{cell:>10}" for cell in cells).rstrip() for name, *cells in lines]
