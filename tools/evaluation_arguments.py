"""What mammodet evaluate and mammodet compare can be told, and what they read by it.

The room of the evaluation is imported where it is used, because scikit-learn and matplotlib would make
``--help`` slow; jsonargparse also runs what stands below TYPE_CHECKING.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mammodet.datasets.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Evaluate the predictions of any detector or classifier against a COCO file.

    Writes metrics.json, CSV tables, ROC, FROC and confusion figures (PNG, SVG), report.html and config.yaml.
    Image, breast and lesion numbers need the categories 1 benign and 2 malignant; other files get the COCO
    and FROC numbers. A table without boxes holds scores of images, which get the image, breast and patient
    numbers.

    Args:
        ground_truth: COCO file with images, annotations and categories
        predictions: of any detector, in the frame of the images: COCO results, a CSV or TSV table with named
            columns, a folder of YOLO text files, or boxes, scores and labels per image in JSON; of a
            classifier, a CSV or TSV table with the probability of malignant of every image
        out: folder for the results; made when it is not there
        score_threshold: boxes below this do not count for images, breasts and lesions, COCO AP uses all;
            images with a score below this are not malignant; null takes 0.3 of boxes, 0.5 of scores of images
        suppression_iou: a benign box that overlaps a malignant one by more than this IoU is dropped
        lesion_iou: a box speaks for a true lesion when their IoU is above this
        report: whether the figures and the page are wanted; --no-report writes the same numbers in a fraction
            of the time
        images: pictures in the report's viewer: auto (all up to 200, else the 200 worst), all, errors (those
            with one at the score threshold), none, or how many of the worst; the others are frames with boxes
        image_root: folder that the file names start from, if it is not that of the ground truth
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
    score_threshold: float | None = None
    suppression_iou: float = 0.5
    lesion_iou: float = 0.0
    report: bool = True
    images: Literal["auto", "all", "errors", "none"] | int = "auto"
    image_root: Path | None = None
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
        if not self.report and self.images not in ("auto", "none"):
            told = "are of the report, which --no-report leaves out"
            raise InputError(told, field="--images", value=self.images, remedy="leave one of them out")
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


def evaluation_protocol(arguments: Arguments) -> Any:
    """Return the ``Protocol`` that the options give."""
    from mammodet.evaluation.froc_table import FrocProtocol  # noqa: PLC0415
    from mammodet.evaluation.protocol import Protocol  # noqa: PLC0415

    given = arguments.score_threshold
    return Protocol(
        suppression_iou=arguments.suppression_iou,
        lesion_iou=arguments.lesion_iou,
        froc=FrocProtocol(arguments.hit_rules, arguments.froc_denominator, arguments.class_aware),
        error_iou=arguments.error_iou,
        error_background_iou=arguments.error_background_iou,
        **({} if given is None else {"score_threshold": given, "image_threshold": given}),
    )


def evaluation_options(arguments: Arguments) -> Any:
    """Return the ``Options`` that need no file: intervals, operating points, thresholds, sizes of lesions."""
    from mammodet.evaluation.coco_thresholds import ThresholdProtocol  # noqa: PLC0415
    from mammodet.evaluation.operating_points import PointRule  # noqa: PLC0415
    from mammodet.evaluation.resampling import Bootstrap  # noqa: PLC0415
    from mammodet.evaluation.summary import Options  # noqa: PLC0415

    points = (
        PointRule("sensitivity", arguments.at_sensitivity),
        PointRule("specificity", arguments.at_specificity),
        PointRule("youden"),
        PointRule("threshold", arguments.at_threshold),
    )
    return Options(
        Bootstrap(arguments.resamples, arguments.confidence, arguments.seed),
        points,
        thresholds=ThresholdProtocol(arguments.iou_thresholds, arguments.max_dets),
        size_bins_mm=arguments.size_bins_mm,
    )


def read_ground_truth(arguments: Arguments) -> Any:
    """Return the COCO file of the ground truth; InputError when it has no image, or the root is no folder."""
    from mammodet.datasets.coco import read_coco  # noqa: PLC0415

    root = arguments.image_root
    if root is not None and not root.is_dir():
        raise InputError(
            "no such folder", field="--image-root", value=str(root), remedy="check the path, or leave it out"
        )
    coco = read_coco(arguments.ground_truth, profile=False)
    if not coco.images:
        raise InputError(
            "has no image", file=arguments.ground_truth, field="images", remedy="give a file with images"
        )
    return coco if root is None else replace(coco, info={**coco.info, "root": str(root.absolute())})


def read_results(
    arguments: Arguments,
    path: Path,
    coco: Any,
    *,
    prog: str = "mammodet evaluate",
    others: Iterable[Path] = (),
) -> Any:
    """Return the checked predictions of ``path``, read by the options of ``--predictions``.

    ``others`` are read by the same options: with a table among them the columns are of tables alone.
    """
    from mammodet.evaluation.predictions import is_table, read_predictions  # noqa: PLC0415

    columns, form = arguments.columns, arguments.format
    if columns and not is_table(path, form) and any(is_table(one, form) for one in others):
        columns = {}
    return read_predictions(
        path,
        coco,
        format=form,
        columns=columns,
        categories=arguments.categories,
        boxes=arguments.boxes,
        scores=arguments.scores,
        tell=lambda notice: print(f"{prog}: {notice.severity}: {notice.text}", file=sys.stderr),
    )


def file_source(path: Path) -> dict[str, str]:
    """Return path and SHA-256 of a file; of a folder, that of the names and SHA-256 of its files."""
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file())
        told = "".join(f"{file_source(one)['sha256']}  {one.relative_to(path).as_posix()}\n" for one in files)
        return {
            "path": str(path),
            "sha256": hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest(),
        }
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
