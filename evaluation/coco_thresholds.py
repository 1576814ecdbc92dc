"""COCO's AP and AR at any IoU thresholds and any number of boxes per image, per class, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.box_matching import IOU_THRESHOLDS, LOWEST_IOU, class_boxes, image_ids, match_class
from mammodet.evaluation.detection_metrics import class_names, mean_of_defined
from mammodet.evaluation.resampling import Interval, PatientResamples
from mammodet.evaluation.weighted_ap import averages

NO_LESION = "the ground truth has no such lesion that counts"


@dataclass(frozen=True)
class ThresholdProtocol:
    """Which rows the table has: IoU thresholds from 0.1 to 1, and how many boxes per image and class count.

    With one of them alone the other is COCO's: 0.50 to 0.95, or 100 boxes. Without both there is no table.
    """

    iou_thresholds: tuple[float, ...] = ()
    max_dets: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for value in self.iou_thresholds:
            if not LOWEST_IOU <= value <= 1:  # NaN fails too
                raise InputError(
                    f"must be from {LOWEST_IOU:g} to 1",
                    field="iou_thresholds",
                    value=value,
                    remedy="0.1, 0.2 and 0.5 are usual in mammography; --hit-rules has other rules",
                )
        for most in self.max_dets:
            if most < 1:
                raise InputError("must be 1 or more", field="max_dets", value=most, remedy="COCO's is 100")

    @property
    def asked(self) -> bool:
        """Whether there is a table."""
        return bool(self.iou_thresholds or self.max_dets)


@dataclass(frozen=True)
class ThresholdRow:
    """AP and AR of one class; None, with a ``reason``, without a lesion.

    ``iou`` None is the mean over all thresholds of the table. ``max_dets`` is how many boxes per image and
    class count. ``lesions`` are those that count. The row of all classes is the mean over the classes that
    have lesions.
    """

    classes: str
    max_dets: int
    iou: float | None
    lesions: int
    ap: float | None
    ar: float | None
    ap_interval: Interval | None
    ar_interval: Interval | None
    reason: str | None


def coco_thresholds(
    coco: Coco,
    results: Sequence[Mapping[str, Any]],
    protocol: ThresholdProtocol,
    patient_of: Mapping[int, str],
    resamples: PatientResamples,
) -> list[ThresholdRow]:
    """Return the rows by class (``all`` first), number of boxes and IoU, the mean over the IoUs first.

    Parameters
    ----------
    coco, results:
        Any COCO ground truth and checked results.
    patient_of:
        The patient of each image by its id.
    """
    if not protocol.asked:
        return []
    ious = np.array(sorted(set(protocol.iou_thresholds)) or IOU_THRESHOLDS, dtype=np.float64)
    mosts = sorted(set(protocol.max_dets)) or [100]
    boxes = class_boxes(coco, results, mosts[-1])
    tables = [match_class(one, ious, most=most) for most in mosts for one in boxes]
    shape = (len(mosts), len(boxes))

    def columns(weights: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return [r, all and classes, M, mean and ious, AP and AR]."""
        found = np.array([np.stack(one, axis=-1) for one in averages(tables, weights)])
        found = found.reshape(*shape, len(weights), len(ious), 2)  # [M, K, r, T, 2]
        found = np.concatenate([found.mean(axis=3, keepdims=True), found], axis=3)
        found = np.moveaxis(found, 1, 0)
        return np.moveaxis(np.concatenate([mean_of_defined(found)[None], found]), 2, 0)

    point = columns(np.ones((1, len(coco.images)), dtype=np.int32))[0]
    codes = resamples.codes_of([patient_of[image] for image in image_ids(coco)])
    drawn = resamples.values(columns, codes) if resamples.resamples else None
    lesions = [table.lesions for table in tables[: len(boxes)]]
    owners = [codes[table.lesion_images] for table in tables[: len(boxes)]]
    rows = []
    for place, name in enumerate(("all", *class_names(coco))):
        total = sum(lesions) if not place else lesions[place - 1]
        own = owners if not place else owners[place - 1 : place]
        patients = len(np.unique(np.concatenate([np.empty(0, np.intp), *own])))
        for row, most in enumerate(mosts):
            for column, iou in enumerate((None, *ious.tolist())):
                ap, ar = (_known(value) for value in point[place, row, column])
                of_ap, of_ar = (
                    None
                    if drawn is None
                    else resamples.interval(drawn[:, place, row, column, number], patients)
                    for number in (0, 1)
                )
                reason = None if total else NO_LESION
                rows.append(ThresholdRow(name, most, iou, total, ap, ar, of_ap, of_ar, reason))
    return rows


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
