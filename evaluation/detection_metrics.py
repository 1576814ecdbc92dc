"""The twelve COCO numbers of bounding boxes through pycocotools, overall and per class."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mammodet.datasets.coco import Coco


class _Rule(NamedTuple):
    """Which part of COCOeval's arrays a number averages; ``iou`` None means all IoU thresholds."""

    kind: str
    iou: float | None
    area: str
    boxes: int  # per image and class


_RULES: Mapping[str, _Rule] = {
    "AP": _Rule("precision", None, "all", 100),
    "AP50": _Rule("precision", 0.5, "all", 100),
    "AP75": _Rule("precision", 0.75, "all", 100),
    "AP_small": _Rule("precision", None, "small", 100),
    "AP_medium": _Rule("precision", None, "medium", 100),
    "AP_large": _Rule("precision", None, "large", 100),
    "AR_1": _Rule("recall", None, "all", 1),
    "AR_10": _Rule("recall", None, "all", 10),
    "AR_100": _Rule("recall", None, "all", 100),
    "AR_small": _Rule("recall", None, "small", 100),
    "AR_medium": _Rule("recall", None, "medium", 100),
    "AR_large": _Rule("recall", None, "large", 100),
}
NUMBER_NAMES = tuple(_RULES)


class _Evaluator(COCOeval):
    """COCOeval that honours ``ignore: 1``, which pycocotools overwrites with ``iscrowd``."""

    def _prepare(self) -> None:
        super()._prepare()
        for lesions in self._gts.values():
            for lesion in lesions:
                lesion["ignore"] = int(bool(lesion["iscrowd"] or lesion["left_out"]))


def coco_metrics(coco: Coco, results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return the twelve COCO numbers of ``results``, by class name, ``all`` first.

    ``iscrowd`` lesions are handled as COCO does. An ``ignore: 1`` lesion has no true class, so a box of any
    class that finds it is neither right nor wrong. Neither argument is changed.

    Parameters
    ----------
    coco, results:
        Any COCO ground truth and checked results, not only those of the profile; results may be empty.

    Returns
    -------
    dict[str, dict[str, float | None]]
        ``NUMBER_NAMES`` each 0 to 1; None where the ground truth has no such box (pycocotools' -1). The key
        of a class is its name, with its id added where two classes share one or it is ``all``.
    """
    evaluator = _Evaluator(_truth(coco), _predictions(coco, results), "bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
    numbers = {"all": _summary(evaluator, slice(None))}
    for category in sorted(coco.categories, key=lambda one: one["id"]):
        place = list(evaluator.params.catIds).index(category["id"])
        numbers[_unused_name(category, numbers)] = _summary(evaluator, slice(place, place + 1))
    return numbers


def _truth(coco: Coco) -> COCO:
    lesions = [_box(one, left_out=bool(one.get("ignore"))) for one in coco.annotations]
    unused = itertools.count(1 + max((one["id"] for one in lesions), default=0))
    others = [
        {**lesion, "id": next(unused), "category_id": category["id"]}
        for lesion in lesions
        if lesion["left_out"]
        for category in coco.categories
        if category["id"] != lesion["category_id"]
    ]
    return _index(coco, lesions + others)


def _predictions(coco: Coco, results: Sequence[Mapping[str, Any]]) -> COCO:
    # pycocotools' own loadRes crashes on an empty list and writes into the dicts it is given.
    return _index(
        coco,
        [{**_box(one), "id": number, "score": one["score"]} for number, one in enumerate(results, start=1)],
    )


def _box(record: Mapping[str, Any], left_out: bool = False) -> dict[str, Any]:
    bbox = [float(number) for number in record["bbox"]]
    area = record.get("area") if "score" not in record else None
    return {
        "id": record.get("id"),
        "image_id": record["image_id"],
        "category_id": record["category_id"],
        "bbox": bbox,
        "area": bbox[2] * bbox[3] if area is None else area,
        "iscrowd": int(bool(record.get("iscrowd"))),
        "left_out": left_out,
    }


def _index(coco: Coco, annotations: Sequence[Mapping[str, Any]]) -> COCO:
    indexed = COCO()
    indexed.dataset = {
        "images": [{"id": image["id"]} for image in coco.images],
        "annotations": list(annotations),
        "categories": [dict(category) for category in coco.categories],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        indexed.createIndex()
    return indexed


def _summary(evaluator: COCOeval, classes: slice) -> dict[str, float | None]:
    return {name: _number(evaluator, classes, rule) for name, rule in _RULES.items()}


def _number(evaluator: COCOeval, classes: slice, rule: _Rule) -> float | None:
    """Average as COCOeval.summarize does, over the given classes and without printing."""
    params = evaluator.params
    values: NDArray[Any] = evaluator.eval[rule.kind]  # [IoU, (recall,) class, area, boxes]
    values = values[..., classes, params.areaRngLbl.index(rule.area), params.maxDets.index(rule.boxes)]
    if rule.iou is not None:
        values = values[np.isclose(params.iouThrs, rule.iou)]
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _unused_name(category: Mapping[str, Any], taken: Iterable[str]) -> str:
    name = str(category.get("name", category["id"]))
    return f"{name} ({category['id']})" if name in taken else name
