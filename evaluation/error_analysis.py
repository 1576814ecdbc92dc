"""Every false positive and false negative of an evaluation, of what kind it is, and what each kind costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import Coco
from mammodet.evaluation.error_cases import UNKNOWN, ErrorCase, error_cases, negatives
from mammodet.evaluation.error_costs import (
    ALL_FALSE_NEGATIVES,
    ALL_FALSE_POSITIVES,
    average_precisions,
)
from mammodet.evaluation.error_matching import (
    KIND_NAMES,
    MISSED,
    BoxKinds,
    box_kinds,
)
from mammodet.evaluation.lesion_views import ViewRow, view_table
from mammodet.evaluation.resampling import PatientResamples

KINDS = (*KIND_NAMES.values(), MISSED)
ALL_KINDS = (*KINDS, ALL_FALSE_POSITIVES, ALL_FALSE_NEGATIVES)


@dataclass(frozen=True)
class ErrorRules:
    """From which score, IoU with a lesion, and IoU that is no longer background, boxes are judged."""

    score_threshold: float
    iou: float = 0.5
    background_iou: float = 0.1


@dataclass(frozen=True)
class KindRow:
    """One kind of error of one category, or of all.

    ``false_positives`` and ``false_negatives`` are those at the score threshold, ``boxes`` and ``lesions``
    over all predictions; ``dap`` is the AP when this kind alone is put right, over all predictions, less the
    AP as it is; None without a lesion.
    """

    category: str
    kind: str
    false_positives: int
    false_negatives: int
    boxes: int
    lesions: int
    dap: float | None


@dataclass(frozen=True)
class ErrorPicture:
    """One case of the gallery: its place in ``cases``, a PNG of its surroundings, and what stands below."""

    case: int
    png: bytes = field(repr=False)
    caption: tuple[str, ...]


@dataclass(frozen=True)
class ErrorAnalysis:
    """The errors of one evaluation.

    Parameters
    ----------
    found, lesions:
        How many lesions a right box finds at the score threshold, and how many count.
    ap:
        At the IoU of ``rules``, by category, "all" first; None without a lesion.
    kinds:
        One row per category ("all" first) and kind in ``ALL_KINDS``.
    cases:
        By falling score, lesions without a box last, the larger first.
    views:
        Lesions on both views, empty when no two views have lesions.
    looked:
        How many images were read for the places of background boxes and the gallery.
    gallery:
        Pictures of the worst cases; empty unless images were looked at.
    """

    rules: ErrorRules
    found: int
    lesions: int
    ap: Mapping[str, float | None]
    kinds: Sequence[KindRow]
    cases: Sequence[ErrorCase]
    views: Sequence[ViewRow] = ()
    looked: int = 0
    gallery: Sequence[ErrorPicture] = ()

    def of(self, category: str = "all") -> list[KindRow]:
        """Return the rows of one category."""
        return [row for row in self.kinds if row.category == category]

    def places(self) -> dict[str, int]:
        """Return how many background boxes lie where, those of unknown place by reason."""
        named = Counter(
            f"{one.place}: {one.place_reason}" if one.place == UNKNOWN else str(one.place)
            for one in self.cases
            if one.place is not None
        )
        return dict(sorted(named.items(), key=lambda item: (item[0].startswith(UNKNOWN), -item[1], item[0])))


def analyse_errors(
    coco: Coco,
    results: Sequence[Mapping[str, Any]],
    rules: ErrorRules,
    names: Mapping[int, str],
    resamples: PatientResamples,
) -> ErrorAnalysis:
    """Return the errors of checked ``results``; no image is read.

    Parameters
    ----------
    names:
        Categories by id, each name once.
    resamples:
        Of the patients of ``coco``, for the intervals of the lesions on two views.
    """
    boxes = box_kinds(coco, results, rules.iou, rules.background_iou)
    found = boxes.found(rules.score_threshold)
    precisions = average_precisions(boxes, coco)
    return ErrorAnalysis(
        rules=rules,
        found=len(found),
        lesions=len(boxes.lesions),
        ap=_by_name(precisions[""], names),
        kinds=_kind_rows(coco, boxes, rules.score_threshold, precisions, names),
        cases=error_cases(coco, results, boxes, rules.score_threshold, names),
        views=view_table(coco, {coco.annotations[place]["id"] for place in found}, names, resamples),
    )


def _by_name(found: Mapping[int, float], names: Mapping[int, str]) -> dict[str, float | None]:
    mean = float(np.mean(list(found.values()))) if found else None
    return {"all": mean} | {name: found.get(number) for number, name in sorted(names.items())}


def _kind_rows(
    coco: Coco,
    boxes: BoxKinds,
    threshold: float,
    precisions: Mapping[str, Mapping[int, float]],
    names: Mapping[int, str],
) -> tuple[KindRow, ...]:
    category_of = np.array([one["category_id"] for one in coco.annotations], dtype=np.int64)
    above = boxes.score >= threshold
    positives = [_tally(boxes.kind, boxes.category, chosen) for chosen in (above, np.ones_like(above))]
    lost = [
        Counter(
            (kind, number)
            for place, (kind, _) in negatives(boxes, least).items()
            for number in ("all", int(category_of[place]))
        )
        for least in (threshold, 0.0)
    ]
    rows = []
    for key, name in (("all", "all"), *sorted(names.items())):
        base = _by_name(precisions[""], names)[name]
        for kind in ALL_KINDS:
            fixed = _by_name(precisions[kind], names)[name]
            wanted = KINDS if kind in (ALL_FALSE_POSITIVES, ALL_FALSE_NEGATIVES) else (kind,)
            boxes_of = (0, 0) if kind == ALL_FALSE_NEGATIVES else _sums(positives, wanted, key)
            lesions_of = (0, 0) if kind == ALL_FALSE_POSITIVES else _sums(lost, wanted, key)
            dap = None if base is None or fixed is None else fixed - base
            rows.append(KindRow(name, kind, boxes_of[0], lesions_of[0], boxes_of[1], lesions_of[1], dap))
    return tuple(rows)


def _sums(tallies: Sequence[Counter[Any]], kinds: Sequence[str], key: Any) -> tuple[int, int]:
    first, second = (sum(tally[kind, key] for kind in kinds) for tally in tallies)
    return first, second


def _tally(kind: NDArray[np.int8], category: NDArray[np.int64], chosen: NDArray[np.bool_]) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for number, name in KIND_NAMES.items():
        sizes = np.unique(category[chosen & (kind == number)], return_counts=True)
        for one, size in zip(*(part.tolist() for part in sizes), strict=True):
            found[name, one] = size
            found[name, "all"] += size
    return found
