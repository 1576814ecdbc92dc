"""Confusion matrix, accuracy, precision, sensitivity and F1 per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ClassNumbers:
    """How well one class came out; a ratio is None where its denominator is 0."""

    support: int  # true cases of the class
    precision: float | None
    sensitivity: float | None  # of the class "not malignant" this is the specificity for cancer
    f1: float | None


@dataclass(frozen=True)
class Classification:
    """A confusion matrix and what follows from it.

    ``confusion[i][j]`` counts the cases of true class ``classes[i]`` that were given ``answers[j]``;
    ``answers`` starts with ``classes`` and may hold more, such as "missed", which are always wrong.
    """

    classes: tuple[str, ...]
    answers: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    per_class: dict[str, ClassNumbers]
    accuracy: float | None
    cases: int


def classify(
    truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str], other_answers: Sequence[str] = ()
) -> Classification:
    """Compare the true with the predicted class of N cases.

    Raises
    ------
    ValueError
        When the two have different lengths, or hold a class that is not among those named.
    """
    answers = (*classes, *other_answers)
    if unknown := (set(truth) - set(classes)) | (set(predicted) - set(answers)):
        raise ValueError(f"unknown classes {sorted(unknown)}; known are {list(answers)}")
    counts = Counter(zip(truth, predicted, strict=True))
    confusion = tuple(tuple(counts[true, answer] for answer in answers) for true in classes)
    right = [confusion[place][place] for place in range(len(classes))]
    given = [sum(column) for column in zip(*confusion, strict=True)]
    per_class = {
        name: _class_numbers(right[place], sum(confusion[place]), given[place])
        for place, name in enumerate(classes)
    }
    return Classification(
        tuple(classes), answers, confusion, per_class, _ratio(sum(right), len(truth)), len(truth)
    )


def _class_numbers(right: int, support: int, given: int) -> ClassNumbers:
    return ClassNumbers(
        support=support,
        precision=_ratio(right, given),
        sensitivity=_ratio(right, support),
        f1=_ratio(2 * right, support + given),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
