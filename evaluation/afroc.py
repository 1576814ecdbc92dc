"""Areas under the alternative FROC curves of Chakraborty: lesions against the worst false positive per case.

A case is rated by its highest false positive, minus infinity without one; a missed lesion is rated minus
infinity. The area is the chance that a lesion is rated above a case, equal ratings count half (the Wilcoxon
form, which is the trapezoid under the empirical curve with its straight line to (1, 1)). Without any
prediction it is 0.5.

- ``afroc``: every lesion counts the same, the cases are the normal ones (Chakraborty and Winter 1990).
- ``wafroc``: the lesions of one case share the weight 1, so that a case with many does not count for more
  (Chakraborty and Zhai 2016).
- ``afroc1``, ``wafroc1``: the false positives of positive cases count too. Chakraborty advises these only for
  sets without normal cases. A case that is neither positive nor normal, such as one with ignored lesions
  only, is left out of all four.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.evaluation.froc_matching import FrocMatches
from mammodet.evaluation.image_weights import (
    Floats,
    Weights,
    group_means,
    row_chunks,
    running_sums,
    weight_rows,
)

Case = Literal["image", "breast", "patient"]
Cases = Literal["normal", "all"]

AREAS = ("afroc", "wafroc", "afroc1", "wafroc1")


def afroc_area(
    matches: FrocMatches,
    *,
    weighted: bool = False,
    false_positives_of: Cases = "normal",
    case: Case = "image",
    lesion_weights: ArrayLike | None = None,
    count_duplicates: bool = False,
    image_weights: ArrayLike | None = None,
) -> Floats:
    """Return the area, 0 to 1, [] or [R]; NaN without a lesion or without a case to compare with.

    Parameters
    ----------
    weighted:
        Whether each case with lesions counts once (``wafroc``) or each lesion (``afroc``).
    false_positives_of:
        ``normal`` cases, or ``all`` of them (``afroc1`` and ``wafroc1``).
    case:
        What a case is. A breast or patient is positive with any positive image, and normal when all its
        images are; it counts with the mean weight of its images.
    lesion_weights:
        [L], importance of each lesion, adding up to 1 in every case; only for ``weighted``. By default the
        lesions of a case share 1 equally.
    count_duplicates, image_weights:
        As in ``froc``.
    """
    pairs = _Pairs.of(matches, false_positives_of, case, count_duplicates)
    importance = _importance(pairs.lesion_case, pairs.cases, weighted, lesion_weights)
    weights, single = weight_rows(image_weights, matches.images)
    areas = np.empty(len(weights))
    for rows in row_chunks(len(weights), 2 * matches.images + 4 * matches.lesions):
        areas[rows] = pairs.areas(group_means(weights[rows], pairs.group), importance[:, None])[:, 0]
    return areas[0] if single else areas


def resampled_areas(matches: FrocMatches) -> Callable[[Weights], Floats]:
    """Return the four ``AREAS`` by image of weights [r, I] as a function that gives [r, 4].

    What does not depend on weights is done once, and areas that compare the same cases share their sums.
    """
    every = [_Pairs.of(matches, compared, "image", count_duplicates=False) for compared in ("normal", "all")]
    importance = np.stack(
        [_importance(every[0].lesion_case, every[0].cases, weighted, None) for weighted in (False, True)],
        axis=1,
    )

    def values(weights: Weights) -> Floats:
        found = np.empty((len(weights), len(AREAS)))
        for rows in row_chunks(len(weights), 2 * matches.images + 4 * matches.lesions):
            found[rows] = np.concatenate([one.areas(weights[rows], importance) for one in every], axis=1)
        return found

    return values


@dataclass(frozen=True)
class _Pairs:
    """Lesions against the cases that they are compared with, from the lowest rating to the highest.

    A lesion beats ``below`` of them, and ties with those up to ``up_to``.
    """

    group: NDArray[np.int64]  # [I] the case of each image
    cases: int
    lesion_case: NDArray[np.int64]  # [L]
    compared: NDArray[np.int64]  # [C]
    below: NDArray[np.int64]  # [L]
    up_to: NDArray[np.int64]  # [L]

    @classmethod
    def of(
        cls, matches: FrocMatches, false_positives_of: Cases, case: Case, count_duplicates: bool
    ) -> _Pairs:
        group = _case_of(matches, case)
        cases = int(group.max(initial=-1)) + 1
        lesion_case = group[matches.lesion_image]
        compared = np.ones(cases, dtype=bool)
        compared[group[~matches.is_normal]] = False
        if false_positives_of == "all":
            compared[lesion_case] = True
        rating = _highest_false_positive(matches, group, cases, count_duplicates)
        places = np.flatnonzero(compared)
        places = places[np.argsort(rating[places], kind="stable")]
        below, up_to = (
            np.searchsorted(rating[places], matches.lesion_score, "left"),
            np.searchsorted(rating[places], matches.lesion_score, "right"),
        )
        return cls(group, cases, lesion_case, places, below, up_to)

    def areas(self, of_case: Weights, importance: Floats) -> Floats:
        """Return the areas [R, K] for weights of cases [R, cases] and ``importance`` [L, K] of lesions."""
        of_lesion = of_case[:, self.lesion_case]  # [R, L]
        sums = running_sums(of_case, self.compared)
        beaten = (np.take(sums, self.below, axis=1) + np.take(sums, self.up_to, axis=1)) / 2
        whole = sums[:, -1:] * (of_lesion @ importance)
        total = (beaten * of_lesion) @ importance
        return np.divide(total, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _case_of(matches: FrocMatches, case: Case) -> NDArray[np.int64]:
    if case == "image":
        return np.arange(matches.images)
    return matches.breast if case == "breast" else matches.patient


def _highest_false_positive(
    matches: FrocMatches, group: NDArray[np.int64], cases: int, count_duplicates: bool
) -> Floats:
    wrong = matches.is_false_positive | (matches.is_duplicate & count_duplicates)
    rating = np.full(cases, -np.inf)
    np.maximum.at(rating, group[matches.prediction_image[wrong]], matches.prediction_score[wrong])
    return rating


def _importance(
    lesion_case: NDArray[np.int64], cases: int, weighted: bool, lesion_weights: ArrayLike | None
) -> Floats:
    """Return what each lesion counts within its case, [L]."""
    if not weighted:
        if lesion_weights is not None:
            raise ValueError("lesion_weights belong to the weighted area: give weighted=True")
        return np.ones(len(lesion_case))
    if lesion_weights is None:
        return np.asarray(1.0 / np.bincount(lesion_case, minlength=cases)[lesion_case])
    given = np.asarray(lesion_weights, dtype=np.float64)
    if given.shape != lesion_case.shape or (given < 0).any():
        raise ValueError(f"lesion_weights must be {len(lesion_case)} numbers of at least 0")
    totals = np.bincount(lesion_case, given, cases)[lesion_case]
    if not np.allclose(totals, 1.0, rtol=0, atol=1e-6):
        raise ValueError("lesion_weights must add up to 1 in every case with lesions")
    return given
