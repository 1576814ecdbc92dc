"""What a cross-validation does in every fold: train, score, evaluate, each step once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mammodet.datasets.atomic import write_json, write_text
from mammodet.datasets.coco import read_coco, read_json
from mammodet.datasets.errors import InputError
from mammodet.datasets.splits import group_by_patient
from mammodet.evaluation.protocol import Protocol
from mammodet.tools import evaluate
from mammodet.tools.child_process import Stopped, run_child
from mammodet.tools.command import plain_options
from mammodet.tools.cross_validation_folds import Fold
from mammodet.tools.cross_validation_methods import Method, weights_of_fold
from mammodet.tools.training_loop import LAST_CHECKPOINT, MODEL_NAME, STOPPED_NAME


class StepFailed(Exception):
    """A command of a fold ended with an error, which it has told itself.

    Parameters
    ----------
    what:
        The fold and the step, in words.
    code:
        The exit code of the command, negative when a signal ended it.
    remedy:
        What the user can do.
    """

    def __init__(self, what: str, code: int, remedy: str) -> None:
        self.exit_code = code if code > 0 else 128 - code
        ended = f"exit code {code}" if code > 0 else f"signal {-code} (9: out of memory, perhaps)"
        super().__init__(f"{what} ended with {ended}; {remedy}")


@dataclass(frozen=True)
class Steps:
    """The three steps of a fold. Each leaves a marker when it is done, and a rerun skips what has one.

    Parameters
    ----------
    out:
        The folder of the cross-validation.
    folds:
        How many there are.
    method, training:
        The commands, and the options of the one that trains.
    protocol:
        The thresholds of the evaluation.
    keep_open:
        The descriptor of the lock, which the commands that are started hold as well.
    """

    out: Path
    folds: int
    method: Method
    training: Any
    protocol: Protocol
    keep_open: tuple[int, ...]

    def run(self, fold: Fold) -> dict[str, Any]:
        """Do what is not done yet of one fold and return its entry for cross_validation.json."""
        sizes = _sizes(fold)
        shown = ", ".join(f"{name} {one['images']} images" for name, one in sizes.items())
        patients = ", ".join(str(one["patients"]) for one in sizes.values())
        self._say(fold, f"{shown} ({patients} patients)")
        model = fold.folder / "train" / MODEL_NAME
        self._step(fold, "training", "trained", model, self._train)
        self._step(fold, "scoring", "scored", self._results(fold), self._score)
        self._step(fold, "evaluation", "evaluated", fold.folder / "report" / "metrics.json", self._evaluate)
        metrics = read_json(fold.folder / "report" / "metrics.json")
        sizes["test"] |= {name: metrics["counts"][name] for name in ("breasts", "lesions")}
        scored, judged = self.method.scored(fold.scores), metrics["counts"]["images"]
        sizes["test"] |= {"unread": sizes["test"]["images"] - scored, "not_judged": max(0, scored - judged)}
        return {"fold": fold.number, **sizes, "metrics": metrics}

    def evaluate(self, truth: Path, results: Path, out: Path) -> None:
        """Evaluate as ``mammodet evaluate`` does, with the thresholds of this cross-validation."""
        rules = self.protocol
        thresholds = (rules.score_threshold, rules.suppression_iou, rules.lesion_iou)
        evaluate.evaluate_files(evaluate.Arguments(truth, results, out, *thresholds))

    def _step(self, fold: Fold, name: str, done: str, product: Path, work: Callable[[Fold], None]) -> None:
        marker = fold.marker(done)
        if marker.is_file() and product.is_file():
            self._say(fold, f"{name} is done")
            return
        self._say(fold, name)
        work(fold)
        if not product.is_file():
            raise InputError(
                f"the {name} of fold {fold.number} left no such file",
                file=product,
                remedy=f"delete {fold.folder} to repeat this fold",
            )
        write_json(marker, {"product": product.relative_to(self.out).as_posix()})

    def _train(self, fold: Fold) -> None:
        out = fold.folder / "train"
        files = {"train": fold.train, "val": fold.val, "out": out}
        # Absolute, since the configuration that the training keeps is read wherever the rerun is started.
        paths = {name: str(path.absolute()) for name, path in files.items() if path is not None}
        options = plain_options(self.training)
        if (out / LAST_CHECKPOINT).is_file():
            changed = paths | {name: str(options[name]) for name in self.method.changeable}
            words = ["--config", str(out / "config.yaml"), *_options(changed), "--resume"]
        else:
            recipe = fold.folder / "recipe.yaml"
            wanted = {name: options[name] for name in self.method.options.names()}
            wanted["weights"] = weights_of_fold(wanted["weights"], fold)
            write_text(recipe, yaml.safe_dump({**paths, **wanted}, sort_keys=False))
            words = ["--config", str(recipe)]
        self._command(fold, out, [self.method.train, *words])
        if (out / STOPPED_NAME).is_file():
            raise Stopped  # by a signal to the training alone, which then ends with exit code 0

    def _score(self, fold: Fold) -> None:
        options = plain_options(self.training)
        given = {name: str(options[name]) for name in self.method.for_score}
        given |= {"model": str(fold.folder / "train" / MODEL_NAME), "out": str(fold.scores)}
        given |= self.method.score_options(self.protocol)
        self._command(fold, fold.scores, [self.method.score, str(fold.test), *_options(given)])

    def _evaluate(self, fold: Fold) -> None:
        truth, results = self.method.judged(read_coco(fold.test), fold.scores)
        self.evaluate(truth, results, fold.folder / "report")

    def _results(self, fold: Fold) -> Path:
        return fold.scores / self.method.results

    def _command(self, fold: Fold, out: Path, words: Sequence[str]) -> None:
        code = run_child(words, keep_open=self.keep_open)
        if code:
            remedy = f"the same command goes on; delete {out} to start this step again"
            raise StepFailed(f"fold {fold.number}: {words[0]}", code, remedy)

    def _say(self, fold: Fold, line: str) -> None:
        print(f"fold {fold.number} of {self.folds}: {line}", flush=True)


def _options(values: Mapping[str, str]) -> Iterator[str]:
    return (word for name, value in values.items() for word in (f"--{name}", value))


def _sizes(fold: Fold) -> dict[str, dict[str, int]]:
    parts = {"train": fold.train, "val": fold.val, "test": fold.test}
    cocos = {name: read_coco(path) for name, path in parts.items() if path is not None}
    return {
        name: {"patients": len(group_by_patient(coco)), "images": len(coco.images)}
        for name, coco in cocos.items()
    }
