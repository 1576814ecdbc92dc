"""mammodet cross-validate: train, score and evaluate fold by fold, and make the table of a paper.

    mammodet cross-validate coco.json --out cv --folds 5 --config configs/demo.yaml
    mammodet cross-validate coco.json --out cv --folds 5 --config configs/demo.yaml   # goes on after a kill
    mammodet cross-validate coco.json --out cv_sppnet --method train-cls --config configs/sppnet.yaml

OUT gets folds/ (COCO files), fold_N/ (train, scores and report of each fold), predictions.json (every image
by the model that has not seen it; of classifiers scores.csv), report/ (their evaluation),
cross_validation.json, table3.csv, table3.md, table3.tex and config.yaml.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from mammodet.datasets.atomic import write_json, write_text
from mammodet.datasets.coco import Coco, read_coco, read_json
from mammodet.datasets.errors import InputError
from mammodet.datasets.prepared import prepared_recipe, require_recipe
from mammodet.datasets.sole_run import sole_run
from mammodet.evaluation.cross_validation import blocks, summary, table_csv, table_markdown, table_text
from mammodet.evaluation.latex import cross_validation_table
from mammodet.evaluation.protocol import Protocol
from mammodet.tools.child_process import Stopped
from mammodet.tools.command import INTERRUPTED, early_option, given_fields, given_options, plain_options, run
from mammodet.tools.cross_validation_folds import Fold, planned_folds, require_same_settings, write_folds
from mammodet.tools.cross_validation_methods import METHODS, Method, check_weight_files, check_weights
from mammodet.tools.cross_validation_steps import StepFailed, Steps

_PROG = "mammodet cross-validate"
SCHEMA = "mammodet.cross_validation/1"
# After a kill the child of the run before still saves its state.
_WAIT_S = 60.0


@dataclass(frozen=True)
class Arguments:
    """Train, score and evaluate fold by fold, each patient being tested once.

    All options of the command that trains can be given too, on the command line or in the recipe.

    Args:
        coco: COCO file with all images.
        out: folder for everything; the same command with the same folder goes on after an interruption.
        training: the options of the training.
        method: the command that trains, a detector or a classifier of whole images; its options are added to
            these.
        folds: number of folds; each is the test set once.
        val_share: fraction of the patients outside the test fold that choose the best weights; with 5 folds
            the default leaves 0.7, 0.1 and 0.2 of the patients for training, validation and test. 0 keeps the
            last weights.
        split_seed: another seed gives other folds (--seed is that of the trainings).
        pixels: whether to read all images first and refuse folds that share pixels under two names.
        score_threshold: boxes below this do not count for images, breasts and lesions, COCO AP uses all;
            images with a score below this are not malignant; null takes 0.3 of boxes, 0.5 of images.
        suppression_iou: a benign box that overlaps a malignant one by more than this IoU is dropped.
        lesion_iou: a box speaks for a true lesion when their IoU is above this.
    """

    coco: Path
    out: Path
    training: Any
    method: Literal["train-det", "train-cls"] = "train-det"
    folds: int = 5
    val_share: float = 0.125
    split_seed: int = 0
    pixels: bool = True
    score_threshold: float | None = None
    suppression_iou: float = 0.5
    lesion_iou: float = 0.0

    def __post_init__(self) -> None:
        # Refuses thresholds that the evaluation would refuse after the first training.
        self.protocol(Protocol().score_threshold)

    def protocol(self, score_threshold: float) -> Protocol:
        """Return the thresholds, with this one unless another is given."""
        given = score_threshold if self.score_threshold is None else self.score_threshold
        return Protocol(given, self.suppression_iou, self.lesion_iou)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet cross-validate`` and return its exit code."""
    # Which options there are depends on it. An unknown one is refused when all options are parsed.
    method = METHODS.get(early_option(argv, "method") or "", METHODS["train-det"])
    how: dict[str, Any] = {"prog": _PROG, "positional": ("coco",), "passed_on": method.options}

    def work(arguments: Arguments) -> int:
        if arguments.method != method.train:  # abbreviated, or in a recipe given as text
            remedy = f"give --method {arguments.method} on the command line, in full"
            raise InputError("was not understood", field="--method", value=arguments.method, remedy=remedy)
        return cross_validate(
            arguments, method, given_fields(given_options(Arguments, argv, **how), "recipe")
        )

    return run(Arguments, work, argv, **how)


def cross_validate(arguments: Arguments, method: Method, given_recipe: Collection[str]) -> int:
    """Do what is not done yet, write and print the table.

    ``given_recipe`` names the fields of the recipe that were asked for; the others follow prepared images.
    """
    coco = read_coco(arguments.coco)
    protocol = arguments.protocol(method.score_threshold)
    method.check(arguments.training, protocol)
    planned = planned_folds(arguments.out, arguments.folds, arguments.val_share)
    waiting = [fold for fold in planned if not fold.is_trained]
    check_weight_files(arguments.training.weights, waiting)
    training = _with_recipe(arguments.training, coco, given_recipe)
    arguments = replace(arguments, training=training, score_threshold=protocol.score_threshold)
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    try:
        with sole_run(out, wait_s=_WAIT_S) as lock:
            options = plain_options(arguments, method.options)
            require_same_settings(arguments.coco, out, options, method.changeable)
            write_text(out / "config.yaml", yaml.safe_dump(options, sort_keys=False))
            folds = write_folds(
                coco,
                out,
                folds=arguments.folds,
                val_share=arguments.val_share,
                seed=arguments.split_seed,
                pixels=arguments.pixels,
            )
            held = () if lock is None else (lock,)
            steps = Steps(out, arguments.folds, method, arguments.training, protocol, held)
            if warning := check_weights(arguments.training.weights, waiting):
                print(f"{_PROG}: warning: {warning}", file=sys.stderr)
            told = [steps.run(fold) for fold in folds]
            _write(steps, coco, folds, told)
    except Stopped:
        print(f"\n{_PROG}: interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except StepFailed as error:
        print(f"{_PROG}: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _with_recipe(training: Any, coco: Coco, given: Collection[str]) -> Any:
    """Return the options of the training, with the recipe of prepared images where they are."""
    own = prepared_recipe(coco)
    if own is None:
        return training
    wanted = replace(own, **{name: getattr(training.recipe, name) for name in given})
    require_recipe(coco, wanted)
    return replace(training, recipe=wanted)


def _write(steps: Steps, coco: Coco, folds: Sequence[Fold], told: Sequence[dict[str, Any]]) -> None:
    """Write the pooled results with their report, and the table; print it."""
    out, method = steps.out, steps.method
    results = out / method.results
    method.pool([fold.scores for fold in folds], out)
    steps.evaluate(*method.judged(coco, out), out / "report")
    table = blocks([fold["metrics"] for fold in told])
    write_json(
        out / "cross_validation.json",
        {
            "schema": SCHEMA,
            "method": method.train,
            "standard_deviation": "of the sample: n - 1 in the denominator, n = folds that have the metric",
            "summary": summary(table),
            "pooled": read_json(out / "report" / "metrics.json"),
            "folds": told,
        },
    )
    write_text(out / "table3.csv", table_csv(table))
    write_text(out / "table3.md", table_markdown(table))
    write_text(out / "table3.tex", cross_validation_table(table))
    print(f"\n{table_text(table)}\n")
    unread, others = (sum(fold["test"][name] for fold in told) for name in ("unread", "not_judged"))
    if unread:
        print(f"{unread} images could not be read and {method.unread}")
    if others:
        print(f"{others} images of classes that the task does not know are left out")
    tables = ", ".join(str(out / f"table3.{suffix}") for suffix in ("csv", "md", "tex"))
    print(f"table: {tables}; all numbers: {out / 'cross_validation.json'}")
    print(f"all images, each by the model that has not seen it: {results}, {out / 'report'}")


if __name__ == "__main__":
    raise SystemExit(main())
