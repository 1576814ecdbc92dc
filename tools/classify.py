"""mammodet classify: run trained classifiers on data, and say how good they are.

    mammodet classify test.json --model sppnet.safetensors --out classified      # whole images
    mammodet classify patches.sqlite --split test --out classified \\
        --model alexnet.safetensors resnet18.safetensors resnet34.safetensors     # patches, a row each
    mammodet classify test.json --model er.safetensors --out classified          # lesions, by their subtype

OUT gets scores.csv (with several models in a folder of each) and, where the data say what is true,
metrics.json, table.csv, table.tex, numbers.csv, roc and confusion as PNG and SVG; of images and lesions also
rejected.csv and skipped.csv; and config.yaml. A run on images that was killed goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mammodet.classification.predict import Predictor
from mammodet.datasets.errors import InputError
from mammodet.evaluation.classifier_numbers import ClassifierNumbers, classifier_numbers
from mammodet.evaluation.classifier_report import write_classifier_report
from mammodet.tools.cases import allowing, cases_of_split
from mammodet.tools.classify_arguments import Arguments, model_folders, one_task
from mammodet.tools.classify_cases import (
    PROG,
    ImageScorer,
    ScoredCase,
    Scoring,
    image_cases,
    score_images,
    score_patches,
)
from mammodet.tools.classify_lesions import LesionScorer, boxes_name, lesion_boxes, lesion_cases
from mammodet.tools.classify_output import (
    SCORES,
    class_scores,
    earlier_results,
    input_sources,
    summary_lines,
    write_scores,
)
from mammodet.tools.command import BAD_INPUT, run, write_config
from mammodet.tools.evaluation_output import check_outputs, new_results
from mammodet.tools.score_tables import write_csv


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet classify`` and return its exit code."""
    return run(Arguments, classify, argv, prog=PROG, positional=("paths",))


def classify(arguments: Arguments) -> int:
    """Run every model on the cases, write what came out, and print the tables."""
    others = ("intervals.csv", "comparison.json")  # of evaluate and of compare
    check_outputs(arguments.out, {}, arguments.read, others=others)
    task, folders = one_task(arguments), model_folders(arguments)
    scored: dict[str, list[ScoredCase]] = {}
    for (name, folder), model in zip(folders.items(), arguments.model, strict=True):
        scored[name] = _score(arguments, model, folder)
        if not scored[name]:
            return BAD_INPUT
    scores = {name: class_scores(task, cases) for name, cases in scored.items()}
    models: list[ClassifierNumbers] = []
    if all(len(one.labelled.truth) for one in scores.values()):
        how = arguments.bootstrap, arguments.threshold
        models = [classifier_numbers(name, one, *how) for name, one in scores.items()]
    with new_results(arguments.out, earlier_results, arguments.read) as staging:
        for name, folder in folders.items():
            path = staging / folder.relative_to(arguments.out) / SCORES
            write_scores(path, task, scored[name], scores[name], arguments.threshold)
        if models:
            inputs, data = input_sources(arguments, folders), Path(arguments.paths[0]).name
            write_classifier_report(models, staging, inputs, arguments.bootstrap, data)
        write_config(arguments, staging / "config.yaml")
    print("\n".join(summary_lines(arguments, task, models, scored)))
    print("scores: " + ", ".join(str(folder / SCORES) for folder in folders.values()))
    return 0


def _score(arguments: Arguments, model: str, folder: Path) -> list[ScoredCase]:
    """Run one model on all cases; nothing is returned when none could be done, which was told then."""
    predictor = Predictor.load(Path(model), device=arguments.device, precision=arguments.precision)
    if predictor.header.task.source == "patches":
        return score_patches(predictor, Path(arguments.paths[0]), arguments.split, arguments.batch)
    recipe = allowing(predictor.header.recipe, arguments)
    cases, skipped = cases_of_split(arguments.paths, arguments.split, recipe)
    write_csv(arguments.out / "skipped.csv", ["file", "reason"], skipped)
    chosen = arguments.detections, arguments.min_score
    scoring = Scoring(
        model,
        arguments.id,
        arguments.allow_for_processing,
        arguments.allow_secondary_capture,
        arguments.precision,
        arguments.device,
        boxes_name(*chosen),
    )
    if predictor.header.task.source == "images":
        scorer = ImageScorer(predictor, recipe, arguments.id)
        return image_cases(score_images(scorer.score, cases, scoring, folder))
    boxes = lesion_boxes(Path(arguments.paths[0]), predictor.header.task, *chosen)
    work = LesionScorer(predictor, recipe, arguments.id, boxes)
    with_boxes = [case for case in cases if case.image_id in boxes]
    if not with_boxes:
        remedy = "give another split, or none"
        raise InputError("no image of it has a box", field="--split", value=arguments.split, remedy=remedy)
    done = score_images(work.score, with_boxes, scoring, folder)
    found, left_out = lesion_cases(done, boxes)
    if done and not found:
        raise InputError(f"no lesion could be cut out; the first: {left_out[0]}", file=arguments.paths[0])
    for line in left_out:
        print(f"{PROG}: note: a lesion is left out: {line}", file=sys.stderr)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
