"""``mammodet evaluate``: predictions of any model against a COCO file -> numbers, tables, figures, report.

mammodet evaluate --ground-truth gt.json --predictions dt.json --out results
mammodet evaluate --ground-truth gt.json --predictions boxes.csv --categories malignant=all --out results
mammodet evaluate --ground-truth gt.json --predictions scores.csv --out results
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mammodet.datasets.errors import InputError
from mammodet.tools.command import run, write_config
from mammodet.tools.evaluation_arguments import (
    Arguments,
    evaluation_options,
    evaluation_protocol,
    file_source,
    read_ground_truth,
    read_results,
)
from mammodet.tools.evaluation_output import check_outputs, new_results

COMPARISON = "comparison.csv"
GROUP_TABLES = ("subgroups.csv", "image_subgroups.csv")  # of boxes, of scores of images
_INPUTS = ("ground_truth", "predictions", "compare", "fusion", "calibration")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run(Arguments, _evaluate, argv, prog="mammodet evaluate")


def evaluate_files(arguments: Arguments) -> list[str]:
    """Evaluate the predictions, write everything into ``arguments.out``, and return the lines to print."""
    # Imported here, because scikit-learn and matplotlib would make --help slow; jsonargparse also runs what
    # stands below TYPE_CHECKING.
    from mammodet.datasets.atomic import write_text  # noqa: PLC0415
    from mammodet.evaluation.fusion_rules import LogisticRule  # noqa: PLC0415
    from mammodet.evaluation.fusion_table import fit_on  # noqa: PLC0415
    from mammodet.evaluation.model_comparison import compare_models, comparison_csv  # noqa: PLC0415
    from mammodet.evaluation.overview import overview  # noqa: PLC0415
    from mammodet.evaluation.report import earlier_report, write_report  # noqa: PLC0415
    from mammodet.evaluation.report_gallery import Gallery  # noqa: PLC0415
    from mammodet.evaluation.summary import evaluate  # noqa: PLC0415

    protocol = evaluation_protocol(arguments)
    fitted = None if arguments.fusion is None else LogisticRule.load(Path(arguments.fusion))
    calibration = _calibration(arguments)
    coco = read_ground_truth(arguments)
    results, other = _read(arguments, coco)
    if calibration is not None:
        threshold, suppression_iou, scores_of = _made_with(protocol, results)
        calibration.require(threshold, suppression_iou, Path(str(arguments.calibration)), scores_of)
    options = replace(
        evaluation_options(arguments),
        fitted=fitted,
        calibration=calibration,
        error_images=arguments.error_images,
        progress=lambda images: _bar(images, "looking at errors"),
    )
    gallery = Gallery(coco, results, arguments.images, _bar)
    evaluation = evaluate(coco, results, protocol, options)
    if arguments.fit_fusion is not None:
        if evaluation.cases is None:
            raise InputError(
                f"no fusion rule can be fitted: {evaluation.reason}",
                file=arguments.ground_truth,
                remedy="leave --fit-fusion out",
            )
        fit_on(coco, results, evaluation.cases, str(arguments.ground_truth)).save(Path(arguments.fit_fusion))
    named = {name: getattr(arguments, name) for name in _INPUTS}
    inputs = {name: file_source(Path(path)) for name, path in named.items() if path is not None}
    if calibration is not None and _same_data(calibration.inputs, inputs):
        _warn(f"{arguments.calibration} was fitted on this very ground truth: its numbers flatter")
    made = _fit_calibration(arguments, evaluation, results, inputs)
    lines = [*overview(evaluation), *made]
    with new_results(arguments.out, earlier_report, _read_files(arguments)) as folder:
        write_report(evaluation, folder, inputs, gallery, page=arguments.report)
        if other is not None:
            rows = compare_models(coco, other, results, evaluation)
            write_text(folder / COMPARISON, comparison_csv(rows))
            lines += ["", f"differences to {arguments.compare}: {arguments.out / COMPARISON}"]
        write_config(arguments, folder / "config.yaml")
    return lines


def _evaluate(arguments: Arguments) -> int:
    written = {"--fit-fusion": arguments.fit_fusion, "--fit-calibration": arguments.fit_calibration}
    others = ("comparison.json", "numbers.csv")  # of compare and of classify
    check_outputs(arguments.out, written, _read_files(arguments), others=others)
    if arguments.compare is not None and Path(arguments.compare).resolve() == arguments.predictions.resolve():
        _warn(f"{arguments.compare} is compared with itself: all differences are 0")
    print("\n".join(evaluate_files(arguments)))
    from mammodet.evaluation.report import REPORT  # noqa: PLC0415

    groups = next(out for name in GROUP_TABLES if (out := arguments.out / name).is_file())
    made = (
        f"report: {arguments.out / REPORT}"
        if arguments.report
        else f"numbers: {arguments.out / 'metrics.json'}"
    )
    print(f"\nsubgroups: {groups}\n{made}")
    return 0


def _read(arguments: Arguments, coco: Any) -> tuple[Any, Any]:
    """Return the predictions, boxes or scores of images, and those of ``--compare``, None without."""
    from mammodet.evaluation.image_scores import ImageScores  # noqa: PLC0415

    path, other = arguments.predictions, None
    paths = [path] if arguments.compare is None else [path, Path(arguments.compare)]
    results = read_results(arguments, path, coco, others=paths)
    if isinstance(results, ImageScores):
        for option in ("fusion", "fit_fusion"):
            if getattr(arguments, option) is not None:
                told = f"is of boxes, and {path} holds scores of images"
                field = "--" + option.replace("_", "-")
                raise InputError(told, field=field, remedy="leave the option out")
    if len(paths) > 1:
        other = read_results(arguments, paths[1], coco, others=paths)
    return results, other


def _made_with(protocol: Any, results: Any) -> tuple[float, float, str]:
    """Return what a score calibration must fit: threshold, suppression IoU, and what the scores are of."""
    from mammodet.evaluation.image_scores import ImageScores  # noqa: PLC0415

    if isinstance(results, ImageScores):
        return protocol.image_threshold, protocol.suppression_iou, "images"
    return protocol.score_threshold, protocol.suppression_iou, "boxes"


def _calibration(arguments: Arguments) -> Any:
    """Return the score calibration of ``--calibration``; None without."""
    from mammodet.evaluation.score_calibration import ScoreCalibration  # noqa: PLC0415

    if arguments.calibration is None:
        return None
    return ScoreCalibration.load(Path(arguments.calibration))


def _fit_calibration(
    arguments: Arguments, evaluation: Any, results: Any, inputs: dict[str, dict[str, str]]
) -> list[str]:
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
    threshold, suppression_iou, scores_of = _made_with(evaluation.protocol, results)
    kind, cases = arguments.calibration_kind, evaluation.cases
    found = fit_score_calibration(kind, cases, threshold, suppression_iou, inputs, scores_of=scores_of)
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


def _bar(items: Iterable[Any], what: str, total: int | None = None) -> Iterable[Any]:
    """Wrap what is worked through into a progress bar with rate and time left."""
    from tqdm import tqdm  # noqa: PLC0415

    wrapped: Iterable[Any] = tqdm(items, desc=what, total=total, unit="image", disable=None)
    return wrapped


if __name__ == "__main__":
    sys.exit(main())
