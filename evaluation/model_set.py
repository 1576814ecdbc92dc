"""Several models on the same cases: each evaluated by itself, and each after the first compared with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.image_scores import ImageScores
from mammodet.evaluation.model_comparison import (
    LEVELS,
    ComparedNumber,
    compare_drawn_models,
    draw_model,
)
from mammodet.evaluation.model_disagreements import (
    Disagreement,
    DisputedImage,
    disagreements,
    disputed_images,
)
from mammodet.evaluation.protocol import Protocol, statements
from mammodet.evaluation.summary import Evaluation, Options, evaluate, resamples_of

Progress = Callable[[Sequence[str]], Iterable[str]]


@dataclass(frozen=True)
class Model:
    """One model: what it is called, its evaluation, and its checked results.

    ``results`` is None of a model without boxes, such as a classifier of images: its evaluation has no COCO
    and FROC numbers, and only some levels.
    """

    name: str
    evaluation: Evaluation
    results: Sequence[Mapping[str, Any]] | None = None

    @property
    def has_boxes(self) -> bool:
        """Whether the model predicts boxes; otherwise scores of images."""
        return self.evaluation.without_boxes is None


@dataclass(frozen=True)
class ModelSet:
    """Models on the images of ``coco``, the first of which the others are compared with.

    ``differences`` and ``disagreements`` by the name of a later model: its numbers less those of the first.
    """

    coco: Coco
    models: tuple[Model, ...]
    differences: Mapping[str, Sequence[ComparedNumber]]
    disagreements: Mapping[str, Sequence[Disagreement]]

    @property
    def first(self) -> Model:
        """The model that the others are compared with."""
        return self.models[0]

    @property
    def later(self) -> tuple[Model, ...]:
        """The models that are compared with the first one."""
        return self.models[1:]

    @property
    def protocol(self) -> Protocol:
        """The rules, the same for all models."""
        return self.first.evaluation.protocol

    @property
    def levels(self) -> list[str]:
        """The levels of cases that any model has and all could be compared on, in their usual order."""
        return [name for name in LEVELS if any(name in one.evaluation.levels for one in self.models)]

    def rules(self) -> dict[str, str]:
        """Return the rules in words that the models are judged by, by topic."""
        boxes = [one.has_boxes for one in self.models]
        return statements(self.protocol, boxes=any(boxes), scores=not all(boxes))

    def disputed(self) -> list[DisputedImage]:
        """Return the images on which a model disagrees with the first, the widest apart first."""
        rows = [row for some in self.disagreements.values() for row in some]
        cases = self.first.evaluation.cases
        truth = {} if cases is None else {case.image_id: case.truth for case in cases.images}
        return disputed_images(rows, truth)

    def compared(self, name: str, level: str, number: str, test: str = "bootstrap") -> ComparedNumber | None:
        """Return the difference of ``name`` by the test whose name starts so; None when there is none."""
        fitting = (
            row
            for row in self.differences.get(name, ())
            if (row.level, row.number) == (level, number) and row.found.test.startswith(test)
        )
        return next(fitting, None)


def evaluate_models(
    coco: Coco,
    results: Mapping[str, Sequence[Mapping[str, Any]] | ImageScores],
    protocol: Protocol,
    options: Options | None = None,
    progress: Progress = iter,
) -> ModelSet:
    """Evaluate the checked results of every model, by its name, and compare all with the first.

    Results are boxes or scores of images; models of both kinds are compared on images, breasts and patients.
    ``progress`` is given the names and yields them.

    Raises
    ------
    InputError
        Without two models or more.
    """
    require_names(list(results))
    models = (_model(coco, name, results[name], protocol, options) for name in progress(list(results)))
    return compare_set(coco, models)


def _model(
    coco: Coco,
    name: str,
    results: Sequence[Mapping[str, Any]] | ImageScores,
    protocol: Protocol,
    options: Options | None,
) -> Model:
    evaluation = evaluate(coco, results, protocol, options)
    return Model(name, evaluation, None if isinstance(results, ImageScores) else results)


def compare_set(coco: Coco, models: Iterable[Model]) -> ModelSet:
    """Compare models that are evaluated already, on ``coco`` under one protocol and bootstrap.

    The draws of the first model are made once and kept, those of the others one after the other.

    Raises
    ------
    InputError
        Without two models or more, and when two have one name.
    ValueError
        When protocol or bootstrap differ.
    """
    found = tuple(models)
    require_names([one.name for one in found])
    first = found[0]
    if any(
        (one.evaluation.protocol, one.evaluation.bootstrap)
        != (first.evaluation.protocol, first.evaluation.bootstrap)
        for one in found
    ):
        raise ValueError("the models are evaluated under other protocols or resamples")
    resamples = resamples_of(coco, first.evaluation.bootstrap)
    drawn = draw_model(coco, first.results, first.evaluation, resamples)
    differences: dict[str, Sequence[ComparedNumber]] = {}
    disputes: dict[str, Sequence[Disagreement]] = {}
    for one in found[1:]:
        other = draw_model(coco, one.results, one.evaluation, resamples)
        differences[one.name] = compare_drawn_models(drawn, other, resamples)
        cases, others = first.evaluation.cases, one.evaluation.cases
        disputes[one.name] = []
        if cases is not None and others is not None:
            disputes[one.name] = disagreements(cases, others, one.name)
    return ModelSet(coco, found, differences, disputes)


def require_names(names: Sequence[str]) -> None:
    """Refuse fewer than two models and names that are not there or there twice."""
    if len(names) < 2:
        remedy = "give the predictions of another model on the same images too"
        raise InputError("must be two or more", field="predictions", value=len(names), remedy=remedy)
    for name in names:
        if not name.strip():
            raise InputError("must not be empty", field="names", value=name, remedy="give every model a name")
        if names.count(name) > 1:
            raise InputError("is there twice", field="names", value=name, remedy="give models other names")
