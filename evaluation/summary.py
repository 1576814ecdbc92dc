"""One evaluation from end to end: checked ground truth and predictions -> all numbers, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from mammodet.datasets.coco import CATEGORY_NAMES, Coco, counts
from mammodet.evaluation.cases import MISSED, NOT_MALIGNANT, Cases, LesionCase, collect_cases
from mammodet.evaluation.classification_metrics import Classification, classify
from mammodet.evaluation.detection_metrics import coco_metrics
from mammodet.evaluation.protocol import Protocol, statements
from mammodet.evaluation.roc import Roc, roc

SCHEMA = "mammodet.metrics/1"
_PACKAGES = ("mammodet", "pycocotools", "scikit-learn", "numpy", "matplotlib")


@dataclass(frozen=True)
class Level:
    """The numbers of the images, of the breasts, or of the lesions under one protocol.

    ``without_normals`` is the ROC of malignant against benign alone, None without normals to leave out.
    """

    title: str
    classification: Classification
    roc: Roc
    without_normals: Roc | None = None


@dataclass(frozen=True)
class Evaluation:
    """Everything one evaluation gives.

    ``coco`` holds the twelve numbers by class, "all" first. ``levels`` has the keys image, breast,
    lesion_published and lesion_all; it is empty and ``cases`` None when the categories are not benign and
    malignant, and ``reason`` says so.
    """

    protocol: Protocol
    counts: dict[str, int]
    coco: dict[str, dict[str, float | None]]
    levels: dict[str, Level]
    cases: Cases | None
    reason: str | None


def evaluate(coco: Coco, results: Sequence[Mapping[str, Any]], protocol: Protocol) -> Evaluation:
    """Evaluate checked COCO ``results`` against ``coco``, which may be any COCO file, profile or not."""
    numbers = coco_metrics(coco, results)
    known = {category["id"]: category.get("name") for category in coco.categories}
    if known != dict(CATEGORY_NAMES):
        reason = (
            f"image, breast and lesion tables need the categories {_listed(dict(CATEGORY_NAMES))}; "
            f"this file has {_listed(known)}"
        )
        return Evaluation(protocol, _base_counts(coco, results), numbers, {}, None, reason)
    cases = collect_cases(coco, results, protocol)
    levels = {
        "image": _malignant_or_not("Images", [(c.truth, c.predicted, c.score) for c in cases.images]),
        "breast": _malignant_or_not("Breasts", [(c.truth, c.predicted, c.score) for c in cases.breasts]),
        "lesion_published": _lesions(
            "Lesions, matched", [case for case in cases.lesions if case.predicted != MISSED], ()
        ),
        "lesion_all": _lesions("Lesions, all", cases.lesions, (MISSED,)),
    }
    tally = _base_counts(coco, results) | _case_counts(cases, results, protocol)
    return Evaluation(protocol, tally, numbers, levels, cases, None)


def metrics_document(evaluation: Evaluation, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``metrics.json`` holds; a number that does not exist is null.

    Keys: ``schema``; ``inputs`` (path and SHA-256 of both files); ``versions``; ``protocol`` (the thresholds,
    and ``rules`` in words); ``counts``; ``coco`` (class -> the twelve numbers); ``image``, ``breast``,
    ``lesion_published`` and ``lesion_all``, absent with a ``reason`` when the categories are not those of
    the profile. Each of these has ``cases``, ``positives``, ``accuracy``, ``auc``, ``auc_note``,
    ``auc_malignant_vs_benign`` (null without normals), ``per_class`` (support, precision, sensitivity, f1)
    and ``confusion`` (``classes`` = rows, ``answers`` = columns, ``counts``).
    """
    document = {
        "schema": SCHEMA,
        "inputs": dict(inputs),
        "versions": package_versions(),
        "protocol": {**asdict(evaluation.protocol), "rules": statements(evaluation.protocol)},
        "counts": evaluation.counts,
        "coco": evaluation.coco,
    }
    if evaluation.reason is not None:
        document["reason"] = evaluation.reason
    return document | {name: _level_document(level) for name, level in evaluation.levels.items()}


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that the numbers come from."""
    return {name: version(name) for name in _PACKAGES}


def _malignant_or_not(title: str, cases: Sequence[tuple[str | None, str, float]]) -> Level:
    known = [(truth, predicted, score) for truth, predicted, score in cases if truth is not None]
    truths = ["malignant" if truth == "malignant" else NOT_MALIGNANT for truth, _, _ in known]
    table = classify(truths, [predicted for _, predicted, _ in known], (NOT_MALIGNANT, "malignant"))
    lesioned = [(truth, score) for truth, _, score in known if truth != "normal"]
    without_normals = _roc(lesioned) if len(lesioned) < len(known) else None
    return Level(title, table, _roc([(truth, score) for truth, _, score in known]), without_normals)


def _lesions(title: str, cases: Sequence[LesionCase], other_answers: Sequence[str]) -> Level:
    table = classify(
        [case.truth for case in cases],
        [case.predicted for case in cases],
        ("benign", "malignant"),
        other_answers,
    )
    return Level(title, table, _roc([(case.truth, case.score) for case in cases]))


def _roc(cases: Sequence[tuple[str, float]]) -> Roc:
    return roc([truth == "malignant" for truth, _ in cases], [score for _, score in cases])


def _base_counts(coco: Coco, results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    predicted = {one["image_id"] for one in results}
    return {
        "images": len(coco.images),
        "images_without_prediction": sum(image["id"] not in predicted for image in coco.images),
        "lesions": sum(counts(one) for one in coco.annotations),
        "lesions_ignored": sum(not counts(one) for one in coco.annotations),
        "predictions": len(results),
    }


def _case_counts(cases: Cases, results: Sequence[Mapping[str, Any]], protocol: Protocol) -> dict[str, int]:
    above = sum(one["score"] >= protocol.score_threshold for one in results)
    kept = sum(len(boxes) for boxes in cases.fusion.detections.values())
    tally = {"predictions_above_threshold": above, "predictions_suppressed": above - kept}
    for name, truths in (
        ("images", Counter(case.truth for case in cases.images)),
        ("breasts", Counter(case.truth for case in cases.breasts)),
    ):
        tally |= {f"{name}_{truth}": truths[truth] for truth in ("malignant", "benign", "normal")}
        tally[f"{name}_unknown"] = truths[None]
    tally["breasts"] = len(cases.breasts)
    for truth in ("malignant", "benign"):
        tally[f"lesions_{truth}"] = sum(case.truth == truth for case in cases.lesions)
    missed = Counter(case.truth for case in cases.lesions if case.predicted == MISSED)
    tally |= {"lesions_missed": missed.total(), "lesions_missed_benign": missed["benign"]}
    return tally


def _level_document(level: Level) -> dict[str, Any]:
    table = level.classification
    return {
        "cases": table.cases,
        "positives": level.roc.positives,
        "accuracy": table.accuracy,
        "auc": level.roc.auc,
        "auc_note": level.roc.note,
        "auc_malignant_vs_benign": level.without_normals.auc if level.without_normals else None,
        "per_class": {name: asdict(numbers) for name, numbers in table.per_class.items()},
        "confusion": {"classes": table.classes, "answers": table.answers, "counts": table.confusion},
    }


def _listed(categories: Mapping[int, Any]) -> str:
    shown = [f"{number} {name}" for number, name in list(categories.items())[:4]]
    return ", ".join(shown) + (f" and {len(categories) - 4} more" if len(categories) > 4 else "") or "none"
