"""Which prediction found which lesion, once per hit rule, as plain arrays that every resample shares.

The rule of one prediction per lesion, whatever the hit rule:

- Predictions take lesions in the order of their scores. Each takes, of the lesions that it hits and that are
  not taken, the one that it hits best; so a prediction finds one lesion at most, and a lesion is found once.
- A prediction that hits lesions which are all taken is a double hit: no second hit and, unless a caller asks
  for it, no false positive.
- A prediction that hits nothing but ignored lesions (``ignore`` or ``iscrowd``) is neither hit nor false
  positive. A prediction that hits nothing is a false positive.

Lowering the threshold only adds predictions at the end of this order, so one matching serves all thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import Coco
from mammodet.evaluation.froc_cases import Boxes, FrocCases, froc_cases
from mammodet.evaluation.hit_rules import HitRule
from mammodet.evaluation.image_pairs import pairs_of_one_image

Several = Literal["one", "all"]


@dataclass(frozen=True)
class FrocMatches:
    """Predictions against lesions under one hit rule; the order of images is that of the COCO file.

    ``classes`` is ``any`` or the name of the one category that counts. [N] predictions, [L] lesions that
    count, [I] images.
    """

    rule: str
    classes: str
    prediction_score: NDArray[np.float64]  # [N]
    prediction_image: NDArray[np.int64]  # [N] place of the image
    prediction_lesion: NDArray[np.int64]  # [N] place of the lesion found, -1 without
    is_false_positive: NDArray[np.bool_]  # [N]
    is_duplicate: NDArray[np.bool_]  # [N] hits only lesions that others took
    lesion_score: NDArray[np.float64]  # [L] of the prediction that found it, -inf when missed
    lesion_image: NDArray[np.int64]  # [L]
    is_positive: NDArray[np.bool_]  # [I] has a lesion that counts
    is_normal: NDArray[np.bool_]  # [I] has no lesion of the class, and no label that says so
    breast: NDArray[np.int64]  # [I] 0 to the number of breasts - 1
    patient: NDArray[np.int64]  # [I] 0 to the number of patients - 1

    @cached_property
    def by_score(self) -> NDArray[np.int64]:
        """Places of the predictions from the highest score to the lowest, [N]."""
        return np.argsort(-self.prediction_score, kind="stable")

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.is_positive)

    @property
    def lesions(self) -> int:
        """Number of lesions that count."""
        return len(self.lesion_score)


def match_froc(
    coco: Coco,
    results: Sequence[Mapping[str, Any]],
    rule: HitRule,
    category: int | None = None,
    *,
    several: Several = "one",
) -> FrocMatches:
    """Match checked ``results`` with the lesions of ``coco``; for several rules ``match_cases`` reads once.

    Parameters
    ----------
    category:
        None takes every prediction and every lesion, whatever their class. An id takes the predictions and
        lesions of this category alone; a lesion of another one is then no lesion, and an image without any of
        this one is normal. Ignored lesions have no true class, so they are ignored for every one.
    several:
        ``one``: as told at the top of this module. ``all``: a prediction finds every lesion that it hits, as
        papers do that count a lesion as found when any prediction hits it.

    Raises
    ------
    InputError
        When the rule is in mm and an image with lesions has no ``spacing_mm``.
    """
    return match_cases(froc_cases(coco, results, category), rule, several=several)


def match_cases(cases: FrocCases, rule: HitRule, *, several: Several = "one") -> FrocMatches:
    """Match what ``froc_cases`` read; otherwise as ``match_froc``."""
    spacing = cases.spacing(rule)
    found, lesions = cases.predictions, cases.lesions
    pairs = _hits(rule, found, lesions, spacing, np.zeros(len(lesions.image), dtype=bool))
    near_ignored = np.zeros(len(found.image), dtype=bool)
    near_ignored[_hits(rule, found, cases.ignored, spacing, cases.is_crowd)[0]] = True
    own, lesion_score, hit = _assign(pairs, cases.score, found.box, lesions.box, several)
    return FrocMatches(
        rule=rule.name,
        classes=cases.classes,
        prediction_score=cases.score,
        prediction_image=found.image,
        prediction_lesion=own,
        is_false_positive=~hit & ~near_ignored,
        is_duplicate=hit & (own < 0),
        lesion_score=lesion_score,
        lesion_image=lesions.image,
        is_positive=cases.is_positive,
        is_normal=cases.is_normal,
        breast=cases.breast,
        patient=cases.patient,
    )


Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def _hits(
    rule: HitRule,
    found: Boxes,
    lesions: Boxes,
    spacing: NDArray[np.float64] | None,
    crowd: NDArray[np.bool_],
) -> Pairs:
    """Return prediction, lesion and quality of every hit, in chunks that bound the memory."""
    kept: list[Pairs] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for prediction, lesion in pairs_of_one_image(found.image, lesions.image):
        hit, quality = rule.compare(
            found.box[prediction],
            lesions.box[lesion],
            spacing_mm=None if spacing is None else spacing[lesions.image[lesion]],
            crowd=crowd[lesion],
        )
        kept.append((prediction[hit], lesion[hit], quality[hit]))
    predictions, places, qualities = zip(*kept, strict=True)
    return np.concatenate(predictions), np.concatenate(places), np.concatenate(qualities)


def _assign(
    pairs: Pairs,
    score: NDArray[np.float64],
    prediction_box: NDArray[np.float64],
    lesion_box: NDArray[np.float64],
    several: Several,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return the lesion of every prediction [N], the score of every lesion [L], and who hits any [N]."""
    prediction, lesion, quality = pairs
    own = np.full(len(score), -1, dtype=np.int64)
    lesion_score = np.full(len(lesion_box), -np.inf)
    hit = np.zeros(len(score), dtype=bool)
    hit[prediction] = True
    best = np.full(len(score), -np.inf)
    np.maximum.at(best, prediction, quality)
    # Equal scores go by quality, then by where the boxes lie, so that no order of files decides.
    keys = (
        *lesion_box[lesion].T,
        -quality,
        prediction,
        *prediction_box[prediction].T,
        -best[prediction],
        -score[prediction],
    )
    ordered = np.lexsort(keys)
    for row, column in zip(prediction[ordered].tolist(), lesion[ordered].tolist(), strict=True):
        if lesion_score[column] == -np.inf and (several == "all" or own[row] < 0):
            lesion_score[column] = score[row]
            if own[row] < 0:
                own[row] = column
    return own, lesion_score, hit
