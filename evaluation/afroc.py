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

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.evaluation.froc_matching import FrocMatches
from mammodet.evaluation.image_weights import Floats, group_means, row_chunks, weight_rows

Case = Literal["image", "breast", "patient"]
Cases = Literal["normal", "all"]


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
    group = _case_of(matches, case)  # [I]
    cases = int(group.max(initial=-1)) + 1
    lesion_case = group[matches.lesion_image]
    positive = np.zeros(cases, dtype=bool)
    positive[lesion_case] = True
    compared = np.ones(cases, dtype=bool)
    compared[group[~matches.is_normal]] = False
    if false_positives_of == "all":
        compared |= positive
    rating = _highest_false_positive(matches, group, cases, count_duplicates)[compared]
    importance = _importance(lesion_case, cases, weighted, lesion_weights)
    weights, single = weight_rows(image_weights, matches.images)
    areas = np.empty(len(weights))
    order = np.argsort(rating, kind="stable")
    below, up_to = (np.searchsorted(rating[order], matches.lesion_score, side) for side in ("left", "right"))
    for rows in row_chunks(len(weights), 2 * matches.images + 4 * matches.lesions):
        of_case = group_means(weights[rows], group)  # [r, cases]
        of_lesion = of_case[:, lesion_case] * importance  # [r, L]
        sums = np.zeros((len(of_case), len(rating) + 1))
        np.cumsum(of_case[:, compared][:, order], axis=1, out=sums[:, 1:])
        beaten = (sums[:, below] + sums[:, up_to]) / 2
        whole = sums[:, -1] * of_lesion.sum(axis=1)
        total = (beaten * of_lesion).sum(axis=1)
        areas[rows] = np.divide(total, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return areas[0] if single else areas


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
