"""What chance alone gives: the stochastic baseline, and whether a classifier is better than it.

The stochastic baseline (Lin et al. 2023, section 3.4) draws the class of every case at random, as often as
the classes are among the cases. Its expected numbers need no simulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from mammodet.evaluation.classifier_numbers import ClassifierNumbers
from mammodet.evaluation.operating_points import Estimate
from mammodet.evaluation.resampling import Interval, primary

# Measured on scores of pure noise, as many patients of each class, 1000 studies each: from 5 on, 2 to 4 % of
# the intervals lie above 0.5, as they should (2.5 %), with 3 it is more than 5 %.
FEWEST_PATIENTS = 5


@dataclass(frozen=True)
class Baseline:
    """Expected numbers of drawing classes at random, with the keys of ``ClassifierNumbers``.

    A number that does not exist, such as the specificity without a negative case, is None.
    """

    numbers: Mapping[str, float | None]
    per_class: Mapping[str, Mapping[str, float | None]]


def stochastic_baseline(support: Sequence[int], classes: Sequence[str], positive: int) -> Baseline:
    """Return the expected numbers of classes drawn at random, each with its share of the cases.

    With q the share of a class, every case independently gets it with the chance q. Then the expected
    sensitivity and, where the class is given at all, precision are q; the accuracy is the sum of q squared;
    the balanced accuracy 1 / K; Matthews' coefficient 0; the AUC 1/2, since the draws know nothing of the
    case. F1 is the sum over how often the class may be given, of which no simpler form is known to us.

    Parameters
    ----------
    support:
        Cases of each class.
    positive:
        Index of the class of which sensitivity, PPV and F1 of two classes are.
    """
    total = sum(support)
    shares = [count / total if total else 0.0 for count in support]
    all_there = all(support)
    area = 0.5 if all_there else None
    per_class: dict[str, dict[str, float | None]] = {}
    for name, count, share in zip(classes, support, shares, strict=True):
        there = share if count else None
        per_class[name] = {
            "sensitivity": there,
            "precision": there,
            "f1": _expected_f1(count, total) if count else None,
            "auc": 0.5 if 0 < count < total else None,
        }
    several = sum(count > 0 for count in support) > 1
    numbers: dict[str, float | None] = {
        "accuracy": sum(share**2 for share in shares) if total else None,
        "balanced_accuracy": 1 / len(support) if all_there else None,
        "mcc": 0.0 if several else None,
    }
    if len(support) > 2:
        f1 = [one["f1"] for one in per_class.values() if one["f1"] is not None]
        numbers |= {"macro_f1": sum(f1) / len(f1) if f1 else None, "macro_auc": area}
        return Baseline(numbers, per_class)
    own, other = per_class[classes[positive]], per_class[classes[1 - positive]]
    return Baseline(
        numbers
        | {
            "sensitivity": own["sensitivity"],
            "specificity": other["sensitivity"],
            "ppv": own["precision"],
            "npv": other["precision"],
            "f1": own["f1"],
            "auc": area,
        },
        per_class,
    )


def chance_sentence(found: ClassifierNumbers) -> str:
    """Return in words whether a classifier is better than chance, or why that cannot be said.

    Of two classes the AUC is compared with 0.5, of more the balanced accuracy with 1 / K, by the interval
    that tables show; without resamples by Obuchowski's.
    """
    for name in found.classes:
        patients = found.patients_of_class[name]
        if patients < FEWEST_PATIENTS:
            told = {0: "no case", 1: "cases of one patient only"}.get(
                patients, f"cases of {patients} patients only"
            )
            return (
                f"too few cases to compare with chance: {told} of class {name}, {FEWEST_PATIENTS} are needed"
            )
    two = len(found.classes) == 2
    number, chance = ("auc", 0.5) if two else ("balanced_accuracy", 1 / len(found.classes))
    title = "AUC" if two else "balanced accuracy"
    interval = _interval(found.numbers[number])
    if interval is None or interval.low is None or interval.high is None:
        why = "no resamples were drawn" if interval is None else interval.reason
        return f"cannot be compared with chance: no interval of the {title}: {why}"
    ends = f"{interval.low:.3f} to {interval.high:.3f}"
    limits = f"the {found.confidence * 100:g} % interval of the {title}, {ends},"
    if interval.low > chance:
        return f"better than chance: {limits} lies above {chance:.3g}"
    if interval.high < chance:
        return f"worse than chance: {limits} lies below {chance:.3g}; are the classes the wrong way round?"
    return f"no better than chance: {limits} covers {chance:.3g}"


def _interval(estimate: Estimate) -> Interval | None:
    return primary(estimate.intervals) or estimate.intervals.get("obuchowski")


def _expected_f1(count: int, total: int) -> float:
    """Return the mean of 2 hits / (count + given): given is binomial, count / total of them hits."""
    given = np.arange(total + 1)
    chances = binom.pmf(given, total, count / total)
    return float(chances @ (2 * given * (count / total) / (count + given)))
