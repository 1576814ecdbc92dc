"""What classifiers say of cases: the probability of every class, beside what the cases are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.errors import InputError


@dataclass(frozen=True, eq=False)
class ClassScores:
    """The probabilities that one classifier gives N cases, and their truth.

    Parameters
    ----------
    classes:
        Names of the K outputs, two or more.
    truth:
        Of each case the index of its class; None where it is unknown, or none of the classes.
    probabilities:
        float64 [N, K], 0 to 1; rows add up to 1.
    patients:
        Of each case; cases of one patient are not independent.
    positive:
        Index of the class whose probability is the score.

    Raises
    ------
    InputError
        When a probability is not a number from 0 to 1.
    ValueError
        When lengths or indices do not fit together.
    """

    classes: tuple[str, ...]
    truth: Sequence[int | None]
    probabilities: NDArray[np.float64]
    patients: Sequence[str]
    positive: int

    def __post_init__(self) -> None:
        shape = (len(self.truth), len(self.classes))
        if self.probabilities.shape != shape or len(self.patients) != shape[0]:
            raise ValueError(f"probabilities {self.probabilities.shape} or patients do not fit {shape}")
        places = {self.positive, *(one for one in self.truth if one is not None)}
        if len(self.classes) < 2 or not places <= set(range(len(self.classes))):
            raise ValueError(f"places {sorted(places)} do not fit the classes {self.classes}")
        odd = self.probabilities[~((self.probabilities >= 0) & (self.probabilities <= 1))]  # NaN too
        if odd.size:
            problem = "the network gives probabilities that are not 0 to 1"
            remedy = "train it again; its weights are not finite"
            raise InputError(problem, field="probabilities", value=float(odd[0]), remedy=remedy)

    @property
    def score(self) -> NDArray[np.float64]:
        """The probability of the positive class, [N]."""
        return self.probabilities[:, self.positive]

    @property
    def labelled(self) -> ClassScores:
        """The cases whose class is known."""
        known = [place for place, truth in enumerate(self.truth) if truth is not None]
        return replace(
            self,
            truth=[self.truth[place] for place in known],
            probabilities=self.probabilities[known],
            patients=[self.patients[place] for place in known],
        )

    def verdicts(self, threshold: float | None = None) -> NDArray[np.int64]:
        """Return the class that each case is given, int64 [N]: the most probable, of equal ones the first.

        With ``threshold``, for two classes, the positive one from this score on, as an operating point that
        was chosen on other data has it. Raises InputError for a threshold of more classes, or beyond 0 to 1.
        """
        if threshold is None:
            return self.probabilities.argmax(axis=1).astype(np.int64)
        if len(self.classes) != 2:
            remedy = "leave it out: the most probable class counts"
            raise InputError("is for two classes", field="threshold", value=threshold, remedy=remedy)
        if not 0 <= threshold <= 1:
            raise InputError("must be 0 to 1", field="threshold", value=threshold)
        return np.where(self.score >= threshold, self.positive, 1 - self.positive).astype(np.int64)
