"""``mammodet evaluate``: predictions of any detector against a COCO file -> numbers, tables, figures, report.

mammodet evaluate --ground-truth gt.json --predictions dt.json --out results
mammodet evaluate --ground-truth gt.json --predictions boxes.csv --categories malignant=all --out results
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mammodet.datasets.errors import InputError
from mammodet.tools.command import run, write_config
from mammodet.tools.evaluation_output import check_outputs, new_results

COMPARISON = "comparison.csv"


@dataclass(frozen=True)
class Arguments:
    """Evaluate the predictions of any detector against a COCO file.

    Writes metrics.json, CSV tables, ROC, FROC and confusion figures (PNG, SVG), report.html and config.yaml.
    Image, breast and lesion numbers need the categories 1 benign and 2 malignant; other files get the COCO
    and FROC numbers.

    Args:
        ground_truth: COCO file with images, annotations and categories
        predictions: of any detector, in the frame of the images: COCO results, a CSV or TSV table with named
            columns, a folder of YOLO text files, or boxes, scores and labels per image in JSON
        out: folder for the results; made when it is not there
        score_threshold: boxes below this do not count for images, breasts and lesions; COCO AP uses all
        suppression_iou: a benign box that overlaps a malignant one by more than this IoU is dropped
        lesion_iou: a box speaks for a true lesion when their IoU is above this
        error_iou: errors, a box finds a lesion of its class from this IoU
        error_background_iou: errors, a box below this IoU with every lesion is background
        error_images: images read at most, for the places of background boxes and the pictures of the worst
            errors; 0 reads none
        hit_rules: FROC, one row each: center, iou:T, center-distance:R (100px, 5mm), duke, overlap
        froc_denominator: FROC, false positives per image (all), positive or normal image, breast, patient
        iou_thresholds: COCO AP and AR at each of these (0.1 to 1) and their mean: coco_thresholds.csv
        max_dets: COCO AP and AR with at most so many boxes per image and class too
        size_bins_mm: limits between the sizes of lesions, longest side in mm, in the table of subgroups
        class_aware: FROC of every class by itself; otherwise any box may find any lesion
        format: what the predictions are; auto tells it from the file
        columns: of a table, such as image=fn score=p x1=x0 y1=y0 x2=x1 y2=y1; the usual names need none
        categories: of the ground truth, and what the predictions call them, such as benign=0 malignant=1,2;
            malignant=all takes every box as malignant, none=3 leaves class 3 out
        boxes: what the four numbers of a box are; auto takes what the format or the columns say
        scores: 0 to 1 (unit), 0 to 100 (percent), or any number, of which the sigmoid is taken (logit)
        resamples: bootstrap resamples of patients for the intervals; 0 leaves the intervals out
        confidence: of every interval
        seed: of the resamples
        at_sensitivity: operating point with at least this sensitivity
        at_specificity: operating point with at least this specificity
        at_threshold: operating point at this malignancy score
        fusion: logistic fusion rule that --fit-fusion wrote on other data
        compare: predictions of another model on the same images, read by the same options; the differences to
            it go to comparison.csv
        fit_fusion: fit the logistic fusion rule on the breasts of this data and write it to this file
        calibration: score calibration that --fit-calibration wrote on other data: malignancy scores become
            probabilities, shown beside the raw ones
        fit_calibration: fit maps of malignancy scores to probabilities on this data, write them to this file
        calibration_kind: the map that --fit-calibration fits
    """

    ground_truth: Path
    predictions: Path
    out: Path
    score_threshold: float = 0.3
    suppression_iou: float = 0.5
    lesion_iou: float = 0.0
    error_iou: float = 0.5
    error_background_iou: float = 0.1
    error_images: int = 200
    hit_rules: tuple[str, ...] = ("center", "iou:0.1", "iou:0.2", "iou:0.5", "duke")
    froc_denominator: Literal["all", "positive", "normal", "breast", "patient"] = "all"
    class_aware: bool = False
    iou_thresholds: tuple[float, ...] = ()
    max_dets: tuple[int, ...] = ()
    size_bins_mm: tuple[float, ...] = (5.0, 10.0, 20.0)
    format: Literal["auto", "coco", "csv", "yolo", "torchvision"] = "auto"
    columns: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str | int] = field(default_factory=dict)
    boxes: Literal["auto", "xywh", "xyxy", "cxcywh", "xywh-relative", "xyxy-relative", "cxcywh-relative"] = (
        "auto"
    )
    scores: Literal["unit", "percent", "logit"] = "unit"
    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0
    at_sensitivity: float = 0.9
    at_specificity: float = 0.9
    at_threshold: float = 0.5
    fusion: str | None = None
    fit_fusion: str | None = None
    compare: str | None = None
    calibration: str | None = None
    fit_calibration: str | None = None
    calibration_kind: Literal["platt", "isotonic", "temperature"] = "platt"

    def __post_init__(self) -> None:
        if self.error_images < 0:
            raise InputError(
                "must not be negative", field="--error-images", value=self.error_images, remedy="0 reads none"
            )
        if self.calibration is not None and self.fit_calibration is not None:
            raise InputError(
                "cannot go with --fit-calibration",
                field="--calibration",
                value=self.calibration,
                remedy="fit on validation data, then use the file on test data",
            )
        if self.fusion is not None and self.fit_fusion is not None:
            raise InputError(
                "cannot go with --fit-fusion",
                field="--fusion",
                value=self.fusion,
                remedy="fit on validation data, then use the file on test data",
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run(Arguments, _evaluate, argv, prog="mammodet evaluate")


def evaluate_files(arguments: Arguments) -> list[str]:
    """Evaluate the predictions, write everything into ``arguments.out``, and return the lines to print."""
    # Imported here, because scikit-learn and matplotlib would make --help slow; jsonargparse also runs what
    # stands below TYPE_CHECKING.
    from tqdm import tqdm  # noqa: PLC0415

    from mammodet.datasets.atomic import write_text  # noqa: PLC0415
    from mammodet.datasets.coco import read_coco  # noqa: PLC0415
    from mammodet.evaluation.coco_thresholds import ThresholdProtocol  # noqa: PLC0415
    from mammodet.evaluation.froc_table import FrocProtocol  # noqa: PLC0415
    from mammodet.evaluation.fusion_rules import LogisticRule  # noqa: PLC0415
    from mammodet.evaluation.fusion_table import fit_on  # noqa: PLC0415
    from mammodet.evaluation.model_comparison import compare_models, comparison_csv  # noqa: PLC0415
    from mammodet.evaluation.operating_points import PointRule  # noqa: PLC0415
    from mammodet.evaluation.overview import overview  # noqa: PLC0415
    from mammodet.evaluation.protocol import Protocol  # noqa: PLC0415
    from mammodet.evaluation.report import _remove_earlier, write_report  # noqa: PLC0415
    from mammodet.evaluation.resampling import Bootstrap  # noqa: PLC0415
    from mammodet.evaluation.summary import Options, evaluate  # noqa: PLC0415

    points = (
        PointRule("sensitivity", arguments.at_sensitivity),
        PointRule("specificity", arguments.at_specificity),
        PointRule("youden"),
        PointRule("threshold", arguments.at_threshold),
    )
    bootstrap = Bootstrap(arguments.resamples, arguments.confidence, arguments.seed)
    fitted = None if arguments.fusion is None else LogisticRule.load(Path(arguments.fusion))
    froc = FrocProtocol(arguments.hit_rules, arguments.froc_denominator, arguments.class_aware)
    calibration = _calibration(arguments)
    protocol = Protocol(
        arguments.score_threshold,
        arguments.suppression_iou,
        arguments.lesion_iou,
        froc,
        error_iou=arguments.error_iou,
        error_background_iou=arguments.error_background_iou,
    )
    coco = read_coco(arguments.ground_truth, profile=False)
    if not coco.images:
        raise InputError(
            "has no image", file=arguments.ground_truth, field="images", remedy="give a file with images"
        )
    results = _read(arguments, arguments.predictions, coco)
    other = None if arguments.compare is None else _read(arguments, Path(arguments.compare), coco)
    options = Options(
        bootstrap,
        points,
        fitted,
        calibration,
        thresholds=ThresholdProtocol(arguments.iou_thresholds, arguments.max_dets),
        size_bins_mm=arguments.size_bins_mm,
        error_images=arguments.error_images,
        progress=lambda images: tqdm(images, unit="image", desc="looking at errors", disable=None),
    )
    evaluation = evaluate(coco, results, protocol, options)
    if arguments.fit_fusion is not None:
        if evaluation.cases is None:
            raise InputError(
                f"no fusion rule can be fitted: {evaluation.reason}",
                file=arguments.ground_truth,
                remedy="leave --fit-fusion out",
            )
        fit_on(coco, results, evaluation.cases, str(arguments.ground_truth)).save(Path(arguments.fit_fusion))
    inputs = {name: _source(getattr(arguments, name)) for name in ("ground_truth", "predictions")}
    if calibration is not None and _same_data(calibration.inputs, inputs):
        _warn(f"{arguments.calibration} was fitted on this very ground truth: its numbers flatter")
    made = _fit_calibration(arguments, evaluation, inputs)
    lines = [*overview(evaluation), *made]
    with new_results(arguments.out, _remove_earlier, _read_files(arguments)) as folder:
        write_report(evaluation, folder, inputs)
        if other is not None:
            rows = compare_models(coco, other, results, evaluation)
            write_text(folder / COMPARISON, comparison_csv(rows))
            lines += ["", f"differences to {arguments.compare}: {arguments.out / COMPARISON}"]
        write_config(arguments, folder / "config.yaml")
    return lines


def _evaluate(arguments: Arguments) -> int:
    written = {"--fit-fusion": arguments.fit_fusion, "--fit-calibration": arguments.fit_calibration}
    check_outputs(arguments.out, written, _read_files(arguments))
    if arguments.compare is not None and Path(arguments.compare).resolve() == arguments.predictions.resolve():
        _warn(f"{arguments.compare} is compared with itself: all differences are 0")
    print("\n".join(evaluate_files(arguments)))
    from mammodet.evaluation.report import REPORT  # noqa: PLC0415

    print(f"\nsubgroups: {arguments.out / 'subgroups.csv'}\nreport: {arguments.out / REPORT}")
    return 0


def _read(arguments: Arguments, path: Path, coco: Any) -> Any:
    """Return the checked predictions of ``path``, read by the options of ``--predictions``."""
    from mammodet.evaluation.predictions import read_predictions  # noqa: PLC0415

    return read_predictions(
        path,
        coco,
        format=arguments.format,
        columns=arguments.columns,
        categories=arguments.categories,
        boxes=arguments.boxes,
        scores=arguments.scores,
        tell=lambda notice: print(f"mammodet evaluate: {notice.severity}: {notice.text}", file=sys.stderr),
    )


def _calibration(arguments: Arguments) -> Any:
    """Return the score calibration of ``--calibration``, which must fit the protocol; None without."""
    from mammodet.evaluation.score_calibration import ScoreCalibration  # noqa: PLC0415

    if arguments.calibration is None:
        return None
    path = Path(arguments.calibration)
    found = ScoreCalibration.load(path)
    found.require(arguments.score_threshold, arguments.suppression_iou, path)
    return found


def _fit_calibration(arguments: Arguments, evaluation: Any, inputs: dict[str, dict[str, str]]) -> list[str]:
    """Fit and write what ``--fit-calibration`` asks for; return the lines to print."""
    from mammodet.evaluation.score_calibration import fit_score_calibration  # noqa: PLC0415

    if arguments.fit_calibration is None:
        return []
    if evaluation.cases is None:
        raise InputError(
            f"no score calibration can be fitted: {evaluation.reason}",
            file=arguments.ground_truth,
            remedy="leave --fit-calibration out",
        )
    rules = (arguments.score_threshold, arguments.suppression_iou)
    found = fit_score_calibration(arguments.calibration_kind, evaluation.cases, *rules, inputs)
    found.save(Path(arguments.fit_calibration))
    for doubt in found.warnings:
        _warn(f"score calibration, {doubt}")
    fitted = ", ".join(level for level, one in found.maps.items() if one is not None)
    return ["", f"score calibration ({found.kind}) of {fitted}: {arguments.fit_calibration}"]


def _read_files(arguments: Arguments) -> dict[str, str | Path | None]:
    """Return the inputs by option."""
    names = ("ground_truth", "predictions", "compare", "fusion", "calibration")
    return {"--" + name.replace("_", "-"): getattr(arguments, name) for name in names}


def _warn(text: str) -> None:
    print(f"mammodet evaluate: warning: {text}", file=sys.stderr)


def _same_data(fitted: Mapping[str, Any], inputs: Mapping[str, Mapping[str, str]]) -> bool:
    return fitted.get("ground_truth", {}).get("sha256") == inputs["ground_truth"]["sha256"]


def _source(path: Path) -> dict[str, str]:
    """Return path and SHA-256 of a file; of a folder, that of the names and SHA-256 of its files."""
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file())
        told = "".join(f"{_source(one)['sha256']}  {one.relative_to(path).as_posix()}\n" for one in files)
        return {
            "path": str(path),
            "sha256": hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest(),
        }
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


if __name__ == "__main__":
    sys.exit(main())
