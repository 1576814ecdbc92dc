"""How much AP50 each kind of error costs: the AP when this kind alone is put right, less the AP as it is.

The oracles are those of TIDE (Bolya et al. 2020, section 2.3), the AP is COCO's: the same boxes, order and
precision curve as ``detection_metrics``. The differences do not add up to 1 - AP: what one kind hides shows
only when another is gone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import Params

from mammodet.datasets.coco import Coco
from mammodet.evaluation.error_matching import (
    BEYOND,
    KIND_NAMES,
    MISSED,
    NEUTRAL,
    POOR_BOX,
    RIGHT,
    WRONG_CLASS,
    BoxKinds,
)
from mammodet.evaluation.weighted_ap import MatchedClass

ALL_FALSE_POSITIVES, ALL_FALSE_NEGATIVES = "all false positives", "all false negatives"
_RECALL_POINTS = np.asarray(Params("bbox").recThrs)
_ONCE = np.ones((1, 1), dtype=np.int32)


def average_precisions(boxes: BoxKinds, coco: Coco) -> dict[str, dict[int, float]]:
    """Return the AP by what is put right ("" for nothing) and by category id, of categories with lesions.

    Put right means, for the kinds in ``KIND_NAMES``: a box of the wrong class gets the class of its lesion, a
    poor box the shape of its lesion, and finds it if no box does yet and none of this kind has a higher
    score; the other boxes of the kind go. Boxes of the other kinds go. ``missed``: lesions that neither a
    right box, nor one of the wrong class, nor a poor box is about are no longer there. Two more rows put all
    false positives right (they go) and all false negatives (lesions not found are no longer there). A
    category whose lesions are all gone has the AP 1 without a false positive, otherwise 0.
    """
    category_of = np.array([one["category_id"] for one in coco.annotations], dtype=np.int64)
    totals = _by_category(category_of[boxes.lesions])
    right = boxes.kind == RIGHT
    there = boxes.kind != BEYOND
    unfound = np.setdiff1d(boxes.lesions, boxes.found())
    missed = missed_lesions(boxes)

    def scored(
        lesions: Mapping[int, int],
        kept: NDArray[np.bool_],
        hits: NDArray[np.bool_] = right,
        category: NDArray[np.int64] = boxes.category,
    ) -> dict[int, float]:
        order = boxes.order[kept[boxes.order]]
        of_category = {number: order[category[order] == number] for number in totals}
        return {number: _ap(boxes, hits, of, lesions[number]) for number, of in of_category.items()}

    found = {"": scored(totals, there)}
    for kind, name in KIND_NAMES.items():
        wrong = boxes.kind == kind
        if kind in (WRONG_CLASS, POOR_BOX):
            chosen = _best_of_lesions(boxes, wrong, unfound)
            corrected = boxes.category.copy()
            corrected[chosen] = category_of[boxes.lesion[chosen]]
            hits = right.copy()
            hits[chosen] = True
            found[name] = scored(totals, there & (hits | ~wrong), hits, corrected)
        else:
            found[name] = scored(totals, there & ~wrong)
    found[MISSED] = scored(_less(totals, _by_category(category_of[missed])), there)
    found[ALL_FALSE_POSITIVES] = scored(totals, right | (boxes.kind == NEUTRAL))
    found[ALL_FALSE_NEGATIVES] = scored(_less(totals, _by_category(category_of[unfound])), there)
    return found


def missed_lesions(boxes: BoxKinds, score_threshold: float = 0.0) -> NDArray[np.intp]:
    """Return the lesions, places in ``coco.annotations``, that no right, wrong-class or poor box is about."""
    about = np.isin(boxes.kind, (RIGHT, WRONG_CLASS, POOR_BOX)) & (boxes.score >= score_threshold)
    return np.setdiff1d(boxes.lesions, boxes.lesion[about])


def _best_of_lesions(
    boxes: BoxKinds, wrong: NDArray[np.bool_], unfound: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the box with the highest score of those that are wrong about each lesion not found."""
    candidates = boxes.order[wrong[boxes.order]]  # of one image together, best first
    candidates = candidates[np.isin(boxes.lesion[candidates], unfound)]
    _, first = np.unique(boxes.lesion[candidates], return_index=True)
    return candidates[first]


def _ap(boxes: BoxKinds, hits: NDArray[np.bool_], chosen: NDArray[np.intp], lesions: int) -> float:
    """Return the AP of the chosen boxes, in COCO's order, over so many lesions."""
    neutral = boxes.kind[chosen] == NEUTRAL
    if not lesions:
        return float(not (~hits[chosen] & ~neutral).any())
    entry = {
        "dtScores": boxes.score[chosen],
        "dtMatches": hits[chosen],
        "dtIgnore": neutral,
        "gtIgnore": np.zeros(lesions),
    }
    matched = MatchedClass.from_images([entry], 1, 1, len(chosen))
    return float(matched.precision(_ONCE, _RECALL_POINTS)[0, 0])


def _by_category(categories: NDArray[np.int64]) -> dict[int, int]:
    numbers, sizes = np.unique(categories, return_counts=True)
    return dict(zip(numbers.tolist(), sizes.tolist(), strict=True))


def _less(totals: Mapping[int, int], gone: Mapping[int, int]) -> dict[int, int]:
    return {number: size - gone.get(number, 0) for number, size in totals.items()}
