"""Every number of a classifier as a function of weights, so that resamples of patients give its intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.evaluation.auc import WeightedAuc
from mammodet.evaluation.class_scores import ClassScores
from mammodet.evaluation.operating_points import confusion_numbers
from mammodet.evaluation.proportions import ratios

Numbers = dict[str, NDArray[np.float64]]  # by name, [r], NaN where undefined

TWO = (
    *("accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv"),
    *("f1", "mcc", "auc"),
)
MANY = ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "macro_auc")
PER_CLASS = ("sensitivity", "precision", "f1", "auc")


class ClassifierStatistics:
    """The numbers of N cases of known class for many sets of weights [r, N].

    ``names`` are those of the columns: ``TWO`` for two classes, ``MANY`` for more, then ``PER_CLASS`` of each
    class, as ``CLASS NUMBER``. The AUC of a class is that of its probability against all other classes.
    """

    def __init__(self, scores: ClassScores, verdicts: NDArray[np.int64]) -> None:
        self.classes, self.positive = scores.classes, scores.positive
        count = len(self.classes)
        truth = np.array(scores.truth, dtype=np.int64)
        self._cells = np.zeros((len(truth), count * count))
        self._cells[np.arange(len(truth)), truth * count + verdicts] = 1
        self._aucs = [WeightedAuc(truth == place, scores.probabilities[:, place]) for place in range(count)]
        self.names = [
            *(TWO if count == 2 else MANY),
            *(f"{name} {number}" for name in self.classes for number in PER_CLASS),
        ]

    def __call__(self, weights: ArrayLike) -> NDArray[np.float64]:
        """Return the numbers, [r, S]; NaN where undefined."""
        table = np.asarray(weights)
        count = len(self.classes)
        confusion = (table @ self._cells).reshape(len(table), count, count)  # [r, true, given]
        aucs = np.stack([auc(table) for auc in self._aucs], axis=1)  # [r, K]
        if count == 2:
            numbers = _of_two(confusion, self.positive) | {"auc": aucs[:, self.positive]}
        else:
            numbers = _of_many(confusion) | {"macro_auc": aucs.mean(axis=1)}
        for place, name in enumerate(self.classes):
            found = class_ratios(confusion, place) | {"auc": aucs[:, place]}
            numbers |= {f"{name} {number}": values for number, values in found.items()}
        return np.stack([numbers[name] for name in self.names], axis=1)


def class_ratios(confusion: NDArray[np.float64], place: int) -> Numbers:
    """Return sensitivity, precision and F1 of a class from confusion matrices [r, K, K]."""
    hits = confusion[:, place, place]
    support, given = confusion[:, place].sum(axis=1), confusion[:, :, place].sum(axis=1)
    return {
        "sensitivity": ratios(hits, support),
        "precision": ratios(hits, given),
        "f1": ratios(2 * hits, support + given),
    }


def _of_two(confusion: NDArray[np.float64], positive: int) -> Numbers:
    own, other = confusion[:, positive], confusion[:, 1 - positive]
    numbers = confusion_numbers(own[:, positive], other[:, positive], own.sum(axis=1), other.sum(axis=1))
    numbers["balanced_accuracy"] = (numbers["sensitivity"] + numbers["specificity"]) / 2
    return numbers


def _of_many(confusion: NDArray[np.float64]) -> Numbers:
    """Return the numbers of more than two classes.

    Balanced accuracy needs cases of every class; macro F1 leaves out classes that neither are nor are given,
    as scikit-learn does. Matthews' coefficient is that of Gorodkin 2004, of two classes the usual one.
    """
    total = confusion.sum(axis=(1, 2))
    right = np.einsum("rkk->r", confusion)
    true, given = confusion.sum(axis=2), confusion.sum(axis=1)  # [r, K]
    by_class = [class_ratios(confusion, place) for place in range(confusion.shape[1])]
    f1 = np.stack([one["f1"] for one in by_class], axis=1)
    known = np.isfinite(f1)
    spread = np.sqrt((total**2 - (true**2).sum(axis=1)) * (total**2 - (given**2).sum(axis=1)))
    return {
        "accuracy": ratios(right, total),
        "balanced_accuracy": np.stack([one["sensitivity"] for one in by_class], axis=1).mean(axis=1),
        "macro_f1": ratios(np.where(known, f1, 0).sum(axis=1), known.sum(axis=1).astype(np.float64)),
        "mcc": ratios(right * total - (true * given).sum(axis=1), spread),
    }
