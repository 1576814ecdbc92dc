"""What mammodet classify writes and prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mammodet.classification.task import Task
from mammodet.evaluation.class_scores import ClassScores
from mammodet.evaluation.classifier_numbers import ClassifierNumbers
from mammodet.evaluation.classifier_report import FIGURES, FILES, classifier_overview
from mammodet.tools.classify_arguments import Arguments
from mammodet.tools.classify_cases import IMAGE_COLUMNS, PATCH_COLUMNS, ScoredCase
from mammodet.tools.classify_lesions import LESION_COLUMNS
from mammodet.tools.evaluation_arguments import file_source
from mammodet.tools.score_tables import write_csv

SCORES = "scores.csv"
_COLUMNS = {"images": IMAGE_COLUMNS, "patches": PATCH_COLUMNS, "lesions": LESION_COLUMNS}
_DIGITS = 9  # of a probability: fewer would make scores equal that are not


def class_scores(task: Task, cases: Sequence[ScoredCase]) -> ClassScores:
    """Return the probabilities of cases beside the class that each is."""
    return ClassScores(
        classes=task.names,
        truth=[task.index(case.label) for case in cases],
        probabilities=np.array([case.probabilities for case in cases], dtype=np.float64),
        patients=[case.patient for case in cases],
        positive=task.names.index(task.score_class),
    )


def score_column(task: Task) -> str:
    """Return ``score``, which evaluate reads as that of malignant, or for another class another name."""
    of_images = task.source == "images" and task.classes[task.score_class] != ("malignant",)
    return f"score_of_{task.score_class}" if of_images else "score"


def write_scores(
    path: Path, task: Task, cases: Sequence[ScoredCase], scores: ClassScores, threshold: float | None
) -> None:
    """Write one row per case: which it is, its class and the one it was given, score and probabilities."""
    shares = [f"p_{name}" for name in task.names]
    rows = []
    for case, truth, verdict in zip(cases, scores.truth, scores.verdicts(threshold), strict=True):
        shown = [round(float(one), _DIGITS) for one in case.probabilities]
        told = {
            "truth": "" if truth is None else task.names[truth],
            "predicted": task.names[verdict],
            score_column(task): shown[scores.positive],
        }
        rows.append({**case.row, **told, **dict(zip(shares, shown, strict=True))})
    write_csv(path, [*_COLUMNS[task.source], "truth", "predicted", score_column(task), *shares], rows)


def input_sources(arguments: Arguments, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Return path and SHA-256 of what was read."""
    models = [
        {"name": name, **file_source(Path(one))} for name, one in zip(folders, arguments.model, strict=True)
    ]
    found: dict[str, Any] = {"data": file_source(Path(arguments.paths[0])), "models": models}
    if arguments.detections is not None:
        found["detections"] = file_source(arguments.detections)
    return {**found, "split": arguments.split}


def earlier_results(out: Path) -> list[Path]:
    """Return what an earlier run may have left and this one may not write again."""
    names = [*FILES, *(f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg")), SCORES]
    return [path for name in names if (path := out / name).is_file()]


def summary_lines(
    arguments: Arguments,
    task: Task,
    models: Sequence[ClassifierNumbers],
    scored: Mapping[str, Sequence[ScoredCase]],
) -> list[str]:
    """Return the lines to print: how many cases, the tables, and how each network is beside chance."""
    counts = {name: len(cases) for name, cases in scored.items()}
    lines = [f"{max(counts.values())} {task.source} classified"]
    lines += [
        f"{name}: {count} of them, see its rejected.csv"
        for name, count in counts.items()
        if count < max(counts.values())
    ]
    cases = next(iter(scored.values()))
    splits = sorted({str(one) for case in cases if (one := case.row.get("split"))})
    if len(splits) > 1:
        lines.append(f"note: splits {', '.join(splits)} together; a network knows the cases it learned from")
    if not models:
        labels = Counter(case.label for case in cases if case.label is not None)
        told = ", ".join(f"{count} {label}" for label, count in labels.most_common()) or "none at all"
        return [*lines, f"no metrics: no case has a label of {', '.join(task.names)} (there are: {told})"]
    report = ", ".join(str(arguments.out / name) for name in FILES)
    return [*lines, "", *classifier_overview(models), "", f"results: {report}"]
