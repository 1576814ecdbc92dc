"""Lesions seen on both standard views of a breast: found on both, on one, on none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import AnnotationRecord, Coco, counts
from mammodet.evaluation.fusion import breast_name, patients_of_images
from mammodet.evaluation.proportions import wilson_interval
from mammodet.evaluation.resampling import Interval, PatientResamples

VIEWS = ("CC", "MLO")
Rule = Literal["lesion_id", "alone"]


@dataclass(frozen=True)
class LesionPair:
    """One lesion on both views, with its annotations there by id.

    ``rule`` says why they are one: the same ``lesion_id`` in one breast, or "alone", each the only lesion of
    its class on its view of the breast.
    """

    breast: str
    patient: str
    category_id: int
    rule: Rule
    cc: tuple[int, ...]
    mlo: tuple[int, ...]


@dataclass(frozen=True)
class ViewRow:
    """How the lesions of one category, or of all, are found on their views.

    ``lesions`` is ``by_lesion_id`` + ``alone``, and ``both`` + ``cc_only`` + ``mlo_only`` + ``none``.
    ``unpaired`` counts the true boxes that are on one view only, or cannot be told to be the same as another;
    ``unpaired_found`` how many of them are found. The intervals, by kind, are of ``any_share``, found on at
    least one view, and ``both_share``; the shares are None without a lesion.
    """

    category: str
    lesions: int
    by_lesion_id: int
    alone: int
    both: int
    cc_only: int
    mlo_only: int
    none: int
    unpaired: int
    unpaired_found: int
    any_share: float | None
    any_intervals: Mapping[str, Interval]
    both_share: float | None
    both_intervals: Mapping[str, Interval]


def lesion_pairs(coco: Coco) -> list[LesionPair]:
    """Return the lesions that can be told to be on a CC and an MLO image of one breast.

    Lesions of one breast with the same ``lesion_id`` are one lesion; a class that differs between the views
    is taken from the CC view. Of those without a partner by ``lesion_id``, two are one when each is the only
    such lesion of its class on its view and no ``lesion_id`` says otherwise. Lesions left out of the
    evaluation do not count.
    """
    view_of = {image["id"]: (breast_name(image), image.get("view")) for image in coco.images}
    patient_of = patients_of_images(coco)
    seen: dict[str, dict[str, list[AnnotationRecord]]] = defaultdict(lambda: {view: [] for view in VIEWS})
    for one in coco.annotations:
        breast, view = view_of[one["image_id"]]
        if view in VIEWS and counts(one):
            seen[breast][view].append(one)
    pairs = []
    for breast, views in seen.items():
        for category, rule, cc, mlo in _pairs_of_breast(views["CC"], views["MLO"]):
            patient = patient_of[cc[0]["image_id"]]
            ids = (tuple(one["id"] for one in cc), tuple(one["id"] for one in mlo))
            pairs.append(LesionPair(breast, patient, category, rule, *ids))
    return pairs


def _pairs_of_breast(
    cc: Sequence[AnnotationRecord], mlo: Sequence[AnnotationRecord]
) -> list[tuple[int, Rule, list[AnnotationRecord], list[AnnotationRecord]]]:
    found: list[tuple[int, Rule, list[AnnotationRecord], list[AnnotationRecord]]] = []
    by_id = [_grouped(view) for view in (cc, mlo)]
    common = [number for number in by_id[0] if number in by_id[1]]
    for number in common:
        first, second = by_id[0][number], by_id[1][number]
        found.append((first[0]["category_id"], "lesion_id", first, second))
    rest = [[one for one in view if one.get("lesion_id") not in common] for view in (cc, mlo)]
    for category in sorted({one["category_id"] for view in rest for one in view}):
        first, second = ([one for one in view if one["category_id"] == category] for view in rest)
        if len(first) == len(second) == 1:
            named = [one[0].get("lesion_id") for one in (first, second)]
            if None in named:  # two different names are two lesions
                found.append((category, "alone", first, second))
    return found


def _grouped(lesions: Sequence[AnnotationRecord]) -> dict[str, list[AnnotationRecord]]:
    groups: defaultdict[str, list[AnnotationRecord]] = defaultdict(list)
    for one in lesions:
        if one.get("lesion_id") is not None:
            groups[str(one["lesion_id"])].append(one)
    return groups


def view_table(
    coco: Coco, found: Collection[int], names: Mapping[int, str], resamples: PatientResamples
) -> tuple[ViewRow, ...]:
    """Return one row for all lesions and one per category; empty without a CC and an MLO lesion.

    Parameters
    ----------
    found:
        Ids of the annotations that a right box finds.
    names:
        Categories by id.
    """
    pairs = lesion_pairs(coco)
    view_of = {image["id"]: image.get("view") for image in coco.images}
    on_views = [one for one in coco.annotations if counts(one) and view_of[one["image_id"]] in VIEWS]
    if {view_of[one["image_id"]] for one in on_views} != set(VIEWS):
        return ()
    paired = {number for pair in pairs for number in (*pair.cc, *pair.mlo)}
    unpaired = [one for one in on_views if one["id"] not in paired]
    rows = []
    for category, name in ((None, "all"), *sorted(names.items())):
        chosen = [pair for pair in pairs if category in (None, pair.category_id)]
        single = [one["id"] for one in unpaired if category in (None, one["category_id"])]
        if chosen or single or category is None:
            rows.append(_row(name, chosen, single, found, resamples))
    return tuple(rows)


def _row(
    name: str,
    pairs: Sequence[LesionPair],
    unpaired: Sequence[int],
    found: Collection[int],
    resamples: PatientResamples,
) -> ViewRow:
    hits = np.array(
        [[any(one in found for one in view) for view in (pair.cc, pair.mlo)] for pair in pairs], dtype=bool
    ).reshape(-1, 2)  # [N, view]
    either, both = hits[:, 0] | hits[:, 1], hits[:, 0] & hits[:, 1]
    rules = [pair.rule for pair in pairs]
    patients = [pair.patient for pair in pairs]
    return ViewRow(
        category=name,
        lesions=len(pairs),
        by_lesion_id=rules.count("lesion_id"),
        alone=rules.count("alone"),
        both=int(both.sum()),
        cc_only=int((hits[:, 0] & ~hits[:, 1]).sum()),
        mlo_only=int((hits[:, 1] & ~hits[:, 0]).sum()),
        none=int((~either).sum()),
        unpaired=len(unpaired),
        unpaired_found=sum(one in found for one in unpaired),
        any_share=float(either.mean()) if len(pairs) else None,
        any_intervals=_intervals(either, patients, resamples),
        both_share=float(both.mean()) if len(pairs) else None,
        both_intervals=_intervals(both, patients, resamples),
    )


def _intervals(
    hits: NDArray[np.bool_], patients: Sequence[str], resamples: PatientResamples
) -> dict[str, Interval]:
    if not len(hits):
        return {}
    found = {}
    if resamples.resamples:

        def share(weights: NDArray[np.int32]) -> NDArray[np.float64]:
            total = weights.sum(axis=1).astype(np.float64)
            return np.divide(weights @ hits, total, out=np.full(len(total), np.nan), where=total > 0)

        codes = resamples.codes_of(patients)
        found["bootstrap"] = resamples.interval(resamples.values(share, codes), len(np.unique(codes)))
    return found | {"wilson": wilson_interval(int(hits.sum()), len(hits), resamples.confidence)}
