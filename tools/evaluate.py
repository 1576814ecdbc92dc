"""``mammodet evaluate``: predictions of any detector against a COCO file -> numbers, tables, figures, report.

mammodet evaluate --ground-truth gt.json --predictions dt.json --out results
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mammodet.datasets.errors import InputError
from mammodet.tools.command import run, write_config


@dataclass(frozen=True)
class Arguments:
    """Evaluate the predictions of any detector against a COCO file.

    Writes metrics.json, CSV tables, ROC and confusion figures (PNG, SVG), report.html and config.yaml. Image,
    breast and lesion numbers need the categories 1 benign and 2 malignant; other files get the COCO numbers.

    Args:
        ground_truth: COCO file with images, annotations and categories
        predictions: COCO results list, [{image_id, category_id, bbox, score}], in the frame of the images
        out: folder for the results; made when it is not there
        score_threshold: boxes below this do not count for images, breasts and lesions; COCO AP uses all
        suppression_iou: a benign box that overlaps a malignant one by more than this IoU is dropped
        lesion_iou: a box speaks for a true lesion when their IoU is above this
    """

    ground_truth: Path
    predictions: Path
    out: Path
    score_threshold: float = 0.3
    suppression_iou: float = 0.5
    lesion_iou: float = 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run(Arguments, _evaluate, argv, prog="mammodet evaluate")


def _evaluate(arguments: Arguments) -> int:
    # Imported here, because scikit-learn and matplotlib would make --help slow.
    from mammodet.datasets.coco import read_coco, read_results  # noqa: PLC0415
    from mammodet.evaluation.overview import overview  # noqa: PLC0415
    from mammodet.evaluation.protocol import Protocol  # noqa: PLC0415
    from mammodet.evaluation.report import write_report  # noqa: PLC0415
    from mammodet.evaluation.summary import evaluate  # noqa: PLC0415

    protocol = Protocol(arguments.score_threshold, arguments.suppression_iou, arguments.lesion_iou)
    coco = read_coco(arguments.ground_truth, profile=False)
    if not coco.images:
        raise InputError(
            "has no image", file=arguments.ground_truth, field="images", remedy="give a file with images"
        )
    results = read_results(arguments.predictions, coco)
    evaluation = evaluate(coco, results, protocol)
    inputs = {name: _source(getattr(arguments, name)) for name in ("ground_truth", "predictions")}
    report = write_report(evaluation, arguments.out, inputs)
    write_config(arguments, arguments.out / "config.yaml")
    print("\n".join(overview(evaluation)))
    print(f"\nreport: {report}")
    return 0


def _source(path: Path) -> dict[str, str]:
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


if __name__ == "__main__":
    sys.exit(main())
