"""One evaluation from end to end: checked ground truth and predictions -> all numbers, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any

from mammodet.datasets.coco import CATEGORY_NAMES, Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation import fast_coco
from mammodet.evaluation.calibrated_levels import Calibrated, calibrated_document, calibrated_levels
from mammodet.evaluation.case_levels import (
    case_levels,
    data_counts,
    lesion_counts,
    lesion_levels,
    truth_counts,
)
from mammodet.evaluation.cases import Cases, collect_cases
from mammodet.evaluation.coco_intervals import coco_intervals
from mammodet.evaluation.coco_thresholds import ThresholdProtocol, ThresholdRow, coco_thresholds
from mammodet.evaluation.detection_metrics import match_boxes
from mammodet.evaluation.error_analysis import ErrorAnalysis, ErrorRules, analyse_errors
from mammodet.evaluation.error_pixels import Progress, look_at_images
from mammodet.evaluation.error_tables import errors_document
from mammodet.evaluation.froc_table import FrocTable, froc_document, froc_table
from mammodet.evaluation.fusion import patients_of_images
from mammodet.evaluation.fusion_rules import LogisticRule
from mammodet.evaluation.fusion_table import FusionRow, fusion_table
from mammodet.evaluation.ground_truth_check import check_ground_truth
from mammodet.evaluation.image_scores import WITHOUT_BOXES, ImageScores, require_truth
from mammodet.evaluation.image_subgroups import ImageSubgroup, image_subgroups
from mammodet.evaluation.levels import Intervals, Level, Uncertainty
from mammodet.evaluation.operating_points import DEFAULT_RULES, PointRule
from mammodet.evaluation.protocol import Protocol, statements
from mammodet.evaluation.resampling import Bootstrap, Interval, PatientResamples
from mammodet.evaluation.score_calibration import ScoreCalibration
from mammodet.evaluation.subgroups import SIZE_BINS_MM, SubgroupRow, check_size_bins, subgroups

SCHEMA = "mammodet.metrics/1"
_PACKAGES = ("mammodet", "pycocotools", "scikit-learn", "scipy", "numpy", "matplotlib")


@dataclass(frozen=True)
class Options:
    """How an evaluation is made beside its protocol: intervals, operating points, what was fitted before.

    ``error_images`` is how many images are read at most for the places and pictures of errors; ``progress``
    is given their ids and yields them. ``thresholds`` asks for COCO numbers beyond the twelve;
    ``size_bins_mm`` are the limits between the sizes of lesions in millimetres.
    """

    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    points: Sequence[PointRule] = DEFAULT_RULES
    fitted: LogisticRule | None = None
    calibration: ScoreCalibration | None = None
    error_images: int = 0
    progress: Progress = iter
    thresholds: ThresholdProtocol = field(default_factory=ThresholdProtocol)
    size_bins_mm: Sequence[float] = SIZE_BINS_MM

    def __post_init__(self) -> None:
        check_size_bins(self.size_bins_mm)


@dataclass(frozen=True)
class Evaluation:
    """Everything one evaluation gives.

    ``coco`` holds the twelve numbers by class, "all" first, ``froc`` one row per hit rule. ``levels`` has the
    keys image, breast, patient, lesion_published and lesion_all; it is empty and ``cases`` None when the
    categories are not benign and malignant, and ``reason`` says so. ``fusion`` compares the rules that fuse
    boxes into a score. ``calibrated`` is there with a score calibration only, ``coco_thresholds`` has COCO
    numbers beyond the twelve where they were asked for, ``subgroups`` those by lesion size, finding, view,
    density and vendor.

    Scores of images have the levels image, breast and patient and ``image_subgroups``; what is of boxes is
    empty, ``errors`` None, and ``without_boxes`` says why.
    """

    protocol: Protocol
    counts: dict[str, int]
    coco: dict[str, dict[str, float | None]]
    froc: FrocTable
    levels: dict[str, Level]
    cases: Cases | None
    reason: str | None
    coco_intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    fusion: Sequence[FusionRow] = ()
    bootstrap: Bootstrap = field(default_factory=lambda: Bootstrap(resamples=0))
    calibrated: Calibrated | None = None
    errors: ErrorAnalysis | None = None
    coco_thresholds: Sequence[ThresholdRow] = ()
    subgroups: Sequence[SubgroupRow] = ()
    image_subgroups: Sequence[ImageSubgroup] = ()
    without_boxes: str | None = None


def evaluate(
    coco: Coco,
    results: Sequence[Mapping[str, Any]] | ImageScores,
    protocol: Protocol,
    options: Options | None = None,
) -> Evaluation:
    """Evaluate checked COCO ``results``, or scores of images, against ``coco``.

    Boxes are judged on any COCO file, profile or not.

    Raises
    ------
    InputError
        For scores of images when the categories are not those of the profile, or ``options`` hold a fusion
        rule, which is fitted on boxes.
    """
    check_ground_truth(coco)
    options = options or Options()
    if isinstance(results, ImageScores):
        return _evaluate_scores(coco, results, protocol, options)
    return _evaluate_boxes(coco, results, protocol, options)


def _evaluate_scores(coco: Coco, scores: ImageScores, protocol: Protocol, options: Options) -> Evaluation:
    require_truth(coco)
    if options.fitted is not None:
        problem = "a logistic fusion rule is fitted on boxes, and scores of images have none"
        raise InputError(problem, remedy="leave --fusion out")
    resamples, calibration = resamples_of(coco, options.bootstrap), options.calibration
    cases = collect_cases(coco, scores, protocol)
    return Evaluation(
        protocol=protocol,
        counts=data_counts(coco) | {"patients": resamples.patients} | truth_counts(cases),
        coco={},
        froc=FrocTable(protocol.froc, ()),
        levels=case_levels(cases, Uncertainty(resamples, options.points)),
        cases=cases,
        reason=None,
        fusion=fusion_table(coco, scores, cases, None, resamples),
        bootstrap=options.bootstrap,
        calibrated=None if calibration is None else calibrated_levels(cases, calibration, resamples),
        image_subgroups=image_subgroups(coco, cases, resamples),
        without_boxes=WITHOUT_BOXES,
    )


def _evaluate_boxes(
    coco: Coco, results: Sequence[Mapping[str, Any]], protocol: Protocol, options: Options
) -> Evaluation:
    bootstrap = options.bootstrap
    patient_of, resamples = patients_of_images(coco), resamples_of(coco, bootstrap)
    matched = match_boxes(coco, results)
    numbers = matched.numbers()
    froc = froc_table(coco, results, protocol.froc, resamples)
    intervals = coco_intervals(matched, patient_of, resamples)
    tally = _base_counts(coco, results) | {"patients": resamples.patients}
    known = {category["id"]: category.get("name") for category in coco.categories}
    rules = ErrorRules(protocol.score_threshold, protocol.error_iou, protocol.error_background_iou)
    names = dict(zip(sorted(known), matched.classes, strict=True))
    errors = analyse_errors(coco, results, rules, names, resamples)
    errors = look_at_images(coco, results, errors, options.error_images, options.progress)
    found = Evaluation(
        protocol=protocol,
        counts=tally,
        coco=numbers,
        froc=froc,
        levels={},
        cases=None,
        reason=None,
        coco_intervals=intervals,
        coco_thresholds=coco_thresholds(coco, results, options.thresholds, patient_of, resamples),
        subgroups=subgroups(coco, matched.boxes, patient_of, resamples, options.size_bins_mm),
        bootstrap=bootstrap,
        errors=errors,
    )
    if known != dict(CATEGORY_NAMES):
        reason = (
            f"image, breast and lesion tables need the categories {_listed(dict(CATEGORY_NAMES))}; "
            f"this file has {_listed(known)}"
        )
        return replace(found, reason=reason)
    cases, calibration = collect_cases(coco, results, protocol), options.calibration
    uncertainty = Uncertainty(resamples, options.points)
    return replace(
        found,
        counts=tally | _case_counts(cases, results, protocol),
        levels=case_levels(cases, uncertainty) | lesion_levels(cases, uncertainty),
        cases=cases,
        fusion=fusion_table(coco, results, cases, options.fitted, resamples),
        calibrated=None if calibration is None else calibrated_levels(cases, calibration, resamples),
    )


def resamples_of(coco: Coco, bootstrap: Bootstrap) -> PatientResamples:
    """Return the resamples of the patients of ``coco``, the same for every number and every model."""
    patient_of = patients_of_images(coco)
    return PatientResamples(
        [patient_of[image["id"]] for image in coco.images],
        bootstrap.resamples,
        bootstrap.seed,
        confidence=bootstrap.confidence,
    )


def metrics_document(evaluation: Evaluation, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``metrics.json`` holds; a number that does not exist is null.

    ``metrics_schema`` tells every key; ``detection_at_threshold`` is added with the gallery of the report.
    """
    document = {
        "schema": SCHEMA,
        "inputs": dict(inputs),
        "versions": package_versions(),
        "protocol": {**asdict(evaluation.protocol), "rules": rules_of(evaluation)},
        "counts": evaluation.counts,
        "coco": evaluation.coco,
        "froc": froc_document(evaluation.froc),
        "coco_intervals": {
            name: {number: asdict(interval) for number, interval in numbers.items()}
            for name, numbers in evaluation.coco_intervals.items()
        },
        "coco_thresholds": [asdict(row) for row in evaluation.coco_thresholds],
        "subgroups": [asdict(row) for row in evaluation.subgroups],
        "bootstrap": asdict(evaluation.bootstrap),
    }
    if evaluation.errors is not None:
        document["errors"] = errors_document(evaluation.errors)
    if evaluation.without_boxes is not None:
        document["without_boxes"] = evaluation.without_boxes
        document["image_subgroups"] = [asdict(row) for row in evaluation.image_subgroups]
    if evaluation.reason is not None:
        document["reason"] = evaluation.reason
    document |= {name: _level_document(level) for name, level in evaluation.levels.items()}
    if evaluation.calibrated is not None:
        document["calibrated"] = calibrated_document(evaluation.calibrated)
    return document | {"fusion_rules": [asdict(row) for row in evaluation.fusion]}


def rules_of(evaluation: Evaluation) -> dict[str, str]:
    """Return the rules of an evaluation in words, by topic."""
    scores = evaluation.without_boxes is not None
    return statements(evaluation.protocol, boxes=not scores, scores=scores)


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that the numbers come from."""
    names = (*_PACKAGES, "hotcoco") if fast_coco.available() else _PACKAGES
    return {name: version(name) for name in names}


def _base_counts(coco: Coco, results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    predicted = {one["image_id"] for one in results}
    return {
        **data_counts(coco),
        "images_without_prediction": sum(image["id"] not in predicted for image in coco.images),
        "predictions": len(results),
    }


def _case_counts(cases: Cases, results: Sequence[Mapping[str, Any]], protocol: Protocol) -> dict[str, int]:
    above = sum(one["score"] >= protocol.score_threshold for one in results)
    kept = sum(len(boxes) for boxes in cases.fusion.detections.values())
    tally = {"predictions_above_threshold": above, "predictions_suppressed": above - kept}
    return tally | truth_counts(cases) | lesion_counts(cases)


def _level_document(level: Level) -> dict[str, Any]:
    table = level.classification
    return {
        "cases": table.cases,
        "positives": level.roc.positives,
        "patients": level.patients,
        "accuracy": table.accuracy,
        "auc": level.roc.auc,
        "auc_note": level.roc.note,
        "auc_malignant_vs_benign": level.without_normals.auc if level.without_normals else None,
        "brier": level.brier,
        "ece": level.ece,
        "reliability": [asdict(one) for one in level.reliability],
        "intervals": _interval_document(level.intervals),
        "per_class": {
            name: asdict(numbers) | {"intervals": _interval_document(level.class_intervals[name])}
            for name, numbers in table.per_class.items()
        },
        "operating_points": [asdict(point) for point in level.points],
        "confusion": {"classes": table.classes, "answers": table.answers, "counts": table.confusion},
    }


def _interval_document(intervals: Intervals) -> dict[str, Any]:
    return {
        number: {kind: asdict(interval) for kind, interval in kinds.items()}
        for number, kinds in intervals.items()
    }


def _listed(categories: Mapping[int, Any]) -> str:
    shown = [f"{number} {name}" for number, name in list(categories.items())[:4]]
    return ", ".join(shown) + (f" and {len(categories) - 4} more" if len(categories) > 4 else "") or "none"
