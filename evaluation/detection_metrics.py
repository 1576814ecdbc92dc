"""The twelve COCO numbers of bounding boxes through pycocotools, overall and per class."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mammodet.datasets.coco import Coco
from mammodet.evaluation import fast_coco
from mammodet.evaluation.box_matching import ClassBoxes, Selection, class_boxes, match_class
from mammodet.evaluation.weighted_ap import MatchedClass, averages


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
    return match_boxes(coco, results).numbers()


@dataclass(frozen=True)
class MatchedBoxes:
    """The boxes of one data set, matched with its lesions; ``image_ids`` [I] is the order of the images.

    ``classes`` are the names of the classes by their place in the evaluator.
    """

    evaluator: COCOeval | fast_coco.FastEvaluator
    image_ids: tuple[int, ...]
    classes: Mapping[str, int]
    coco: Coco = field(repr=False)
    results: Sequence[Mapping[str, Any]] = field(repr=False)

    @cached_property
    def boxes(self) -> list[ClassBoxes]:
        """Boxes and lesions as arrays, by place of the class; at most 100 boxes per image and class."""
        return class_boxes(self.coco, self.results, max(self.evaluator.params.maxDets))

    def numbers(self) -> dict[str, dict[str, float | None]]:
        """Return the twelve numbers by class name, as ``coco_metrics`` does."""
        if not self.evaluator.eval:
            with contextlib.redirect_stdout(io.StringIO()):
                self.evaluator.accumulate()
        places = {"all": slice(None)}
        places |= {name: slice(place, place + 1) for name, place in self.classes.items()}
        return {name: _summary(self.evaluator, classes) for name, classes in places.items()}

    def weighted(self) -> WeightedNumbers:
        """Return the same numbers as a function of how often each image counts."""
        params = self.evaluator.params
        boxes = max(params.maxDets)
        tables: dict[tuple[str, int, int], MatchedClass] = {}
        for place, one in enumerate(self.boxes):
            for area, limits in zip(params.areaRngLbl, params.areaRng, strict=True):
                selection = Selection(area=(limits[0], limits[1]))
                for most in params.maxDets if area == "all" else [boxes]:
                    tables[area, most, place] = match_class(
                        one, params.iouThrs, selection=selection, most=most
                    )
        return WeightedNumbers(tables, self.classes, params.iouThrs, params.recThrs)


@dataclass(frozen=True)
class WeightedNumbers:
    """The twelve COCO numbers as a function of image weights.

    ``tables`` holds the matched boxes by size, boxes per image and place of the class.
    """

    tables: Mapping[tuple[str, int, int], MatchedClass]
    classes: Mapping[str, int]
    iou_thresholds: NDArray[np.float64]
    recall_points: NDArray[np.float64]

    def __call__(self, weights: NDArray[np.int32]) -> dict[str, dict[str, NDArray[np.float64]]]:
        """Return the numbers [r] by class name, ``all`` first, for weights [r, I]; NaN where undefined."""
        numbers: dict[str, dict[str, NDArray[np.float64]]] = {name: {} for name in ("all", *self.classes)}
        ranked = [
            (rule.area, rule.boxes, place)
            for rule in dict.fromkeys(one._replace(iou=None) for one in _RULES.values())
            if rule.kind == "precision"
            for place in self.classes.values()
        ]
        chosen = [self.tables[key] for key in ranked]
        found = dict(zip(ranked, averages(chosen, weights, self.recall_points), strict=True))
        recalls = {key: one.recall for key, one in found.items()}
        recalls |= {key: table.recall(weights) for key, table in self.tables.items() if key not in found}
        for name, rule in _RULES.items():
            keys = [(rule.area, rule.boxes, place) for place in self.classes.values()]
            of_rule = [found[key].precision if rule.kind == "precision" else recalls[key] for key in keys]
            if rule.iou is not None:
                of_rule = [one[:, np.isclose(self.iou_thresholds, rule.iou)] for one in of_rule]
            # A class has a value at every threshold or at none.
            by_class = np.array([one.mean(axis=1) for one in of_rule]).reshape(-1, len(weights))
            for place, one in enumerate(self.classes):
                numbers[one][name] = by_class[place]
            numbers["all"][name] = mean_of_defined(by_class)
        return numbers

    def lesion_images(self, name: str, number: str) -> NDArray[np.intp]:
        """Return the places of the images with lesions that a number of one class, or of all, is about."""
        rule = _RULES[number]
        places = self.classes.values() if name == "all" else [self.classes[name]]
        found = [self.tables[rule.area, rule.boxes, place].lesion_images for place in places]
        return np.unique(np.concatenate([np.empty(0, np.intp), *found]))


def mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the first axis of what is not NaN; NaN where nothing is."""
    defined = np.isfinite(values)
    total, count = np.where(defined, values, 0).sum(axis=0), defined.sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def class_names(coco: Coco) -> list[str]:
    """Return a name for every category by rising id: its own, with the id where two share it or it is all."""
    names: list[str] = []
    for category in sorted(coco.categories, key=lambda one: one["id"]):
        names.append(_unused_name(category, {"all", *names}))
    return names


def match_boxes(coco: Coco, results: Sequence[Mapping[str, Any]], engine: str | None = None) -> MatchedBoxes:
    """Match ``results`` with the lesions of ``coco``, at every IoU threshold and size of COCO.

    Parameters
    ----------
    engine:
        ``pycocotools`` (the reference), ``hotcoco``, or None for the fastest that gives the same numbers:
        hotcoco where it is installed, no lesion has ``ignore: 1``, and ids are below 2**53.
    """
    names = {name: place for place, name in enumerate(class_names(coco))}
    unknown = any(one.get("ignore") for one in coco.annotations) or any(
        abs(image["id"]) >= 2**53 for image in coco.images
    )
    if engine is None:
        engine = "hotcoco" if fast_coco.available() and not unknown else "pycocotools"
    evaluator: COCOeval | fast_coco.FastEvaluator
    if engine == "hotcoco":
        if unknown:
            raise ValueError("hotcoco knows neither ignore: 1 nor ids from 2**53; use pycocotools")
        evaluator = fast_coco.FastEvaluator(_truth(coco).dataset, results)
    else:
        evaluator = _Evaluator(_truth(coco), _predictions(coco, results), "bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
    return MatchedBoxes(evaluator, tuple(map(int, evaluator.params.imgIds)), names, coco, results)


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


def _summary(evaluator: COCOeval | fast_coco.FastEvaluator, classes: slice) -> dict[str, float | None]:
    return {name: _number(evaluator, classes, rule) for name, rule in _RULES.items()}


def _number(evaluator: COCOeval | fast_coco.FastEvaluator, classes: slice, rule: _Rule) -> float | None:
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
