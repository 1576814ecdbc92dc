"""What the image viewer of ``report.html`` needs, as plain values: images, boxes, and who found what.

The page decides nothing by itself. One matching per hit rule serves all thresholds (see ``froc_matching``),
so the lesion that a prediction finds stands beside it; and a benign box is suppressed at every threshold up
to the highest score of the malignant boxes that overlap it, so that score stands beside it too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import MALIGNANT, AnnotationRecord, Coco, ImageRecord, counts, to_xyxy
from mammodet.datasets.truth import image_truth
from mammodet.evaluation.froc import Denominator, units
from mammodet.evaluation.froc_cases import froc_cases
from mammodet.evaluation.froc_matching import FrocMatches, match_cases
from mammodet.evaluation.hit_rules import HitRule, parse_rules
from mammodet.evaluation.image_scores import ImageScores
from mammodet.evaluation.matching import iou_matrix
from mammodet.evaluation.protocol import Protocol

MOST_BOXES = 200_000  # on one page, the surest ones: about 20 MB of text
FALSE_POSITIVE, NEITHER, OTHER_CLASS = -1, -2, -3  # what stands in place of the lesion that a box finds
NEVER = -1.0  # below every score


@dataclass(frozen=True)
class MatchedRule:
    """One hit rule and class; ``places`` [N] are the places of its predictions among all results."""

    matches: FrocMatches
    rule: HitRule
    places: NDArray[np.int64]
    category: int | None

    def counts_false_positives(self, denominator: Denominator) -> NDArray[np.bool_]:
        """Return the images whose false positives count, [I]."""
        if denominator == "positive":
            return self.matches.is_positive
        if denominator == "normal":
            return self.matches.is_normal
        return np.ones(self.matches.images, dtype=bool)


def match_rules(coco: Coco, results: Sequence[Mapping[str, Any]], protocol: Protocol) -> list[MatchedRule]:
    """Match checked ``results`` under every hit rule and class of the protocol, in the order of its table."""
    categories: list[int | None] = [None]
    if protocol.froc.class_aware:
        categories = [category["id"] for category in coco.categories]
    found = []
    for category in categories:
        cases = froc_cases(coco, results, category)
        places = [n for n, one in enumerate(results) if category in (None, one["category_id"])]
        for rule in parse_rules(protocol.froc.hit_rules):
            matched = match_cases(cases, rule)
            found.append(MatchedRule(matched, rule, np.array(places, dtype=np.int64), category))
    return found


def detection_at(rules: Sequence[MatchedRule], protocol: Protocol, threshold: float) -> dict[str, Any]:
    """Return lesion sensitivity and false positives of boxes with a score of at least ``threshold``.

    One row per hit rule and class; a ratio whose denominator is 0 is None.
    """
    denominator, rows = protocol.froc.denominator, []
    for one in rules:
        matches = one.matches
        wrong = matches.is_false_positive & (matches.prediction_score >= threshold)
        wrong &= one.counts_false_positives(denominator)[matches.prediction_image]
        found, false_positives = int((matches.lesion_score >= threshold).sum()), int(wrong.sum())
        number = float(units(matches, denominator))
        rows.append(
            {
                "rule": matches.rule,
                "classes": matches.classes,
                "lesions": matches.lesions,
                "found": found,
                "sensitivity": found / matches.lesions if matches.lesions else None,
                "false_positives": false_positives,
                "units": round(number),
                "false_positives_per_unit": false_positives / number if number else None,
            }
        )
    return {"threshold": threshold, "denominator": denominator, "rows": rows}


def suppressors(results: Sequence[Mapping[str, Any]], iou_threshold: float) -> list[float]:
    """Return for each box the highest score of the malignant boxes that suppress it, ``NEVER`` without.

    The published rule (``fusion.suppress_benign``) drops a benign box when a malignant one that reaches the
    threshold overlaps it: at every threshold up to the number given here.
    """
    benign: defaultdict[int, list[int]] = defaultdict(list)
    malignant: defaultdict[int, list[int]] = defaultdict(list)
    for place, one in enumerate(results):
        (malignant if one["category_id"] == MALIGNANT else benign)[one["image_id"]].append(place)
    found = [NEVER] * len(results)
    for image_id in benign.keys() & malignant.keys():
        weak, strong = benign[image_id], malignant[image_id]
        overlaps = iou_matrix(_corners(results, weak), _corners(results, strong)) > iou_threshold
        scores = np.array([results[place]["score"] for place in strong], dtype=np.float64)
        highest = np.where(overlaps, scores, NEVER).max(axis=1)
        for place, score in zip(weak, highest.tolist(), strict=True):
            found[place] = score
    return found


def viewer_data(
    coco: Coco,
    results: Sequence[Mapping[str, Any]],
    protocol: Protocol,
    rules: Sequence[MatchedRule],
    *,
    judged: bool,
) -> dict[str, Any]:
    """Return images, boxes, lesions and hits for the page, columns by name; pictures are added later.

    Parameters
    ----------
    rules:
        What ``match_rules`` gives for the same data.
    judged:
        Whether images have a verdict: the categories are benign and malignant.

    Returns
    -------
    dict[str, Any]
        Values that JSON can hold. Of more than ``MOST_BOXES`` boxes the surest are kept, and ``lowest`` is
        the lowest threshold at which none is missing. ``rules[].found`` has for each box the place of the
        lesion that it finds, or a negative number: false positive, neither, of another class. ``scored`` is
        false: what is judged are boxes.
    """
    place = {image["id"]: number for number, image in enumerate(coco.images)}
    scores = np.array([one["score"] for one in results], dtype=np.float64)
    kept, lowest = _surest(scores)
    drop = suppressors(results, protocol.suppression_iou) if judged else [NEVER] * len(results)
    return {
        "threshold": protocol.score_threshold,
        "lowest": lowest,
        "dropped": len(results) - len(kept),
        "unit": protocol.froc.unit,
        "judged": judged,
        "scored": False,
        **_truth(coco, judged),
        "boxes": {
            **_columns([results[number] for number in kept], place),
            "score": scores[kept].tolist(),
            "suppressor": [drop[number] for number in kept],
        },
        "rules": [_rule(one, coco, kept, len(results), protocol) for one in rules],
    }


def score_viewer_data(coco: Coco, scores: ImageScores, protocol: Protocol) -> dict[str, Any]:
    """Return what ``viewer_data`` does where images have scores: no boxes, no rules, ``images[].score``."""
    data = {
        "threshold": protocol.image_threshold,
        "lowest": 0.0,
        "dropped": 0,
        "unit": protocol.froc.unit,
        "judged": True,
        "scored": True,
        **_truth(coco, judged=True),
        "boxes": {**_columns([], {}), "score": [], "suppressor": []},
        "rules": [],
    }
    for image, record in zip(data["images"], coco.images, strict=True):
        image["score"] = scores.of_image[record["id"]]
    return data


def _truth(coco: Coco, judged: bool) -> dict[str, Any]:
    place = {image["id"]: number for number, image in enumerate(coco.images)}
    return {
        "categories": {str(one["id"]): str(one.get("name", one["id"])) for one in coco.categories},
        "images": [_image(one, coco.annotations_of[one["id"]], judged) for one in coco.images],
        "lesions": {
            **_columns(coco.annotations, place),
            "ignored": [int(not counts(one)) for one in coco.annotations],
            "finding": [str(one.get("finding") or "") for one in coco.annotations],
        },
    }


def _surest(scores: NDArray[np.float64]) -> tuple[list[int], float]:
    """Return the places of the boxes to show, and the lowest threshold at which none is missing."""
    if len(scores) <= MOST_BOXES:
        return list(range(len(scores))), 0.0
    limit = np.sort(scores)[-MOST_BOXES - 1]  # boxes that score the same stay or go together
    kept = np.flatnonzero(scores > limit)
    return kept.tolist(), float(scores[kept].min(initial=1.0))


def _image(image: ImageRecord, annotations: Sequence[AnnotationRecord], judged: bool) -> dict[str, Any]:
    truth = image_truth(image, annotations) if judged else image.get("label")
    view = " ".join(str(image[key]) for key in ("laterality", "view") if image.get(key))
    shown = {"id": image["id"], "name": image["file_name"], "patient": image.get("patient_id")}
    shown |= {"view": view, "truth": truth, "manufacturer": image.get("manufacturer")}
    texts = {key: None if value is None else str(value) for key, value in shown.items()}
    return {**texts, "width": image["width"], "height": image["height"]}


def _columns(records: Sequence[Mapping[str, Any]], place: Mapping[int, int]) -> dict[str, list[Any]]:
    boxes = [[round(float(value), 2) for value in one["bbox"]] for one in records]
    return {
        "image": [place[one["image_id"]] for one in records],
        "category": [one["category_id"] for one in records],
        **{name: [box[number] for box in boxes] for number, name in enumerate(("x", "y", "w", "h"))},
    }


def _rule(one: MatchedRule, coco: Coco, kept: list[int], boxes: int, protocol: Protocol) -> dict[str, Any]:
    matches, denominator = one.matches, protocol.froc.denominator
    judged = [
        number
        for number, lesion in enumerate(coco.annotations)
        if counts(lesion) and one.category in (None, lesion["category_id"])
    ]
    own = matches.prediction_lesion
    answer = np.where(matches.is_false_positive, FALSE_POSITIVE, NEITHER)
    if judged:
        answer = np.where(own >= 0, np.array(judged)[own], answer)
    found = np.full(boxes, OTHER_CLASS, dtype=np.int64)
    found[one.places] = answer
    counted = one.counts_false_positives(denominator)
    return {
        "name": matches.rule,
        "classes": matches.classes,
        "text": one.rule.describe(),
        "lesions": judged,
        "units": round(float(units(matches, denominator))),
        "found": found[kept].tolist(),
        "counted": None if counted.all() else counted.astype(int).tolist(),
    }


def _corners(results: Sequence[Mapping[str, Any]], places: Sequence[int]) -> NDArray[np.float64]:
    return to_xyxy([results[place]["bbox"] for place in places])
