"""``mammodet evaluate``: predictions of any detector against a COCO file -> numbers, tables, figures, report.

mammodet evaluate --ground-truth gt.json --predictions dt.json --out results
mammodet evaluate --ground-truth gt.json --predictions boxes.csv --categories malignant=all --out results
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mammodet.datasets.errors import InputError
from mammodet.tools.command import run, write_config

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
        hit_rules: FROC, one row each: center, iou:T, center-distance:R (100px, 5mm), duke, overlap
        froc_denominator: FROC, false positives per image (all), positive or normal image, breast, patient
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
        images: pictures in the report's viewer: auto (all up to 200, else the 200 worst), all, errors (those
            with one at the score threshold), none, or how many of the worst; the others are frames with boxes
        image_root: folder that the file names start from, if it is not that of the ground truth
    """

    ground_truth: Path
    predictions: Path
    out: Path
    score_threshold: float = 0.3
    suppression_iou: float = 0.5
    lesion_iou: float = 0.0
    hit_rules: tuple[str, ...] = ("center", "iou:0.1", "iou:0.2", "iou:0.5", "duke")
    froc_denominator: Literal["all", "positive", "normal", "breast", "patient"] = "all"
    class_aware: bool = False
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
    images: Literal["auto", "all", "errors", "none"] | int = "auto"
    image_root: Path | None = None

    def __post_init__(self) -> None:
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
    from mammodet.datasets.atomic import write_text  # noqa: PLC0415
    from mammodet.datasets.coco import read_coco  # noqa: PLC0415
    from mammodet.evaluation.froc_table import FrocProtocol  # noqa: PLC0415
    from mammodet.evaluation.fusion_rules import LogisticRule  # noqa: PLC0415
    from mammodet.evaluation.fusion_table import fit_on  # noqa: PLC0415
    from mammodet.evaluation.model_comparison import compare_models, comparison_csv  # noqa: PLC0415
    from mammodet.evaluation.operating_points import PointRule  # noqa: PLC0415
    from mammodet.evaluation.overview import overview  # noqa: PLC0415
    from mammodet.evaluation.protocol import Protocol  # noqa: PLC0415
    from mammodet.evaluation.report import write_report  # noqa: PLC0415
    from mammodet.evaluation.report_gallery import Gallery  # noqa: PLC0415
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
    protocol = Protocol(arguments.score_threshold, arguments.suppression_iou, arguments.lesion_iou, froc)
    coco = read_coco(arguments.ground_truth, profile=False)
    if not coco.images:
        raise InputError(
            "has no image", file=arguments.ground_truth, field="images", remedy="give a file with images"
        )
    results = _read(arguments, arguments.predictions, coco)
    other = None if arguments.compare is None else _read(arguments, Path(arguments.compare), coco)
    gallery = Gallery(coco, results, arguments.images, arguments.image_root, _bar)
    evaluation = evaluate(coco, results, protocol, Options(bootstrap, points, fitted))
    if arguments.fit_fusion is not None:
        if evaluation.cases is None:
            raise InputError(
                f"no fusion rule can be fitted: {evaluation.reason}",
                file=arguments.ground_truth,
                remedy="leave --fit-fusion out",
            )
        fit_on(coco, results, evaluation.cases, str(arguments.ground_truth)).save(Path(arguments.fit_fusion))
    inputs = {name: _source(getattr(arguments, name)) for name in ("ground_truth", "predictions")}
    write_report(evaluation, arguments.out, inputs, gallery)
    lines = overview(evaluation)
    if other is not None:
        rows = compare_models(coco, other, results, evaluation)
        write_text(arguments.out / COMPARISON, comparison_csv(rows))
        lines += ["", f"differences to {arguments.compare}: {arguments.out / COMPARISON}"]
    write_config(arguments, arguments.out / "config.yaml")
    return lines


def _evaluate(arguments: Arguments) -> int:
    print("\n".join(evaluate_files(arguments)))
    from mammodet.evaluation.report import REPORT  # noqa: PLC0415

    print(f"\nreport: {arguments.out / REPORT}")
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


def _bar(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    """Wrap what is worked through into a progress bar with rate and time left."""
    from tqdm import tqdm  # noqa: PLC0415

    wrapped: Iterable[Any] = tqdm(items, desc=what, total=total, unit="image", disable=None)
    return wrapped


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
