"""What a comparison of classifiers leaves in its folder, and the lines that a terminal gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mammodet.datasets.atomic import write_json, write_text
from mammodet.evaluation.chance import chance_sentence
from mammodet.evaluation.classifier_figures import classifiers_confusion_figure, classifiers_roc_figure
from mammodet.evaluation.classifier_numbers import ClassifierNumbers
from mammodet.evaluation.classifier_tables import (
    baseline_of,
    csv_table,
    latex_tables,
    markdown_tables,
    numbers_table,
)
from mammodet.evaluation.figures import save_in_both
from mammodet.evaluation.operating_points import Estimate
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import package_versions

SCHEMA = "mammodet.classification/1"
METRICS = "metrics.json"
FILES = (METRICS, "table.csv", "table.tex", "numbers.csv")
FIGURES = ("roc", "confusion")  # as PNG and SVG


def write_classifier_report(
    models: Sequence[ClassifierNumbers],
    folder: Path,
    inputs: Mapping[str, Any],
    bootstrap: Bootstrap,
    data: str,
) -> None:
    """Write the numbers of networks of one task on the same cases: JSON, tables, figures.

    Parameters
    ----------
    inputs:
        What was read, by name: path and SHA-256 of the data, and of each model.
    data:
        What the data are called in the caption of ``table.tex``.
    """
    write_json(folder / METRICS, metrics_document(models, inputs, bootstrap))
    write_text(folder / "table.csv", csv_table(models))
    write_text(folder / "table.tex", latex_tables(models, data))
    write_text(folder / "numbers.csv", numbers_table(models))
    drawn = (classifiers_roc_figure(models), classifiers_confusion_figure(models))
    for name, figure in zip(FIGURES, drawn, strict=True):
        if figure is not None:
            save_in_both(figure, folder, name)


def metrics_document(
    models: Sequence[ClassifierNumbers], inputs: Mapping[str, Any], bootstrap: Bootstrap
) -> dict[str, Any]:
    """Return what ``metrics.json`` holds; a number that does not exist is null."""
    return {
        "schema": SCHEMA,
        "inputs": dict(inputs),
        "versions": package_versions(),
        "bootstrap": asdict(bootstrap),
        "classes": list(models[0].classes),
        "positive": models[0].positive,
        "networks": {one.name: _document(one) for one in models},
        "stochastic_baseline": asdict(baseline_of(models[0])),
    }


def classifier_overview(models: Sequence[ClassifierNumbers]) -> list[str]:
    """Return the tables as Markdown, what could not be given, and how each network is beside chance."""
    lines = [*markdown_tables(models), ""]
    first = models[0]
    for name in first.empty_classes:
        lines.append(f"no case of class {name}: numbers that need one are n/a")
    if first.unlabelled:
        lines.append(f"{first.unlabelled} cases of unknown or other class are left out")
    return [*lines, *(f"{one.name}: {chance_sentence(one)}" for one in models)]


def _document(found: ClassifierNumbers) -> dict[str, Any]:
    return {
        "cases": found.cases,
        "patients": found.patients,
        "unlabelled": found.unlabelled,
        "threshold": found.threshold,
        "chance": chance_sentence(found),
        "numbers": {name: _estimate(one) for name, one in found.numbers.items()},
        "per_class": {
            name: {
                "cases": found.table.per_class[name].support,
                "patients": found.patients_of_class[name],
                **{number: _estimate(one) for number, one in own.items()},
            }
            for name, own in found.per_class.items()
        },
        "confusion": {"classes": list(found.classes), "counts": found.table.confusion},
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    kinds = {kind: asdict(interval) for kind, interval in estimate.intervals.items()}
    return {"value": estimate.value, "intervals": kinds}
