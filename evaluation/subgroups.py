"""COCO's AP and AR by lesion size, finding, view, density and vendor, each with its patient bootstrap.

Groups of lesions (size, finding): the other lesions are ignored, so a box that finds one of them is neither
right nor wrong. A box that finds nothing is wrong in every group, because a false positive has no finding. By
size in pixels COCO's own rule holds: of the boxes that find nothing only those of this size are wrong, so the
rows are AP_small, AP_medium and AP_large.

Groups of images (view, density, manufacturer): only the images of the group, with their lesions and boxes.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import FINDINGS, Coco, counts
from mammodet.datasets.errors import InputError
from mammodet.evaluation.box_matching import ClassBoxes, Selection, image_ids, match_class
from mammodet.evaluation.coco_thresholds import NO_LESION
from mammodet.evaluation.detection_metrics import class_names, mean_of_defined
from mammodet.evaluation.resampling import Interval, PatientResamples, percentile_interval
from mammodet.evaluation.weighted_ap import MatchedClass, averages, sharing

NUMBERS = ("AP50", "AP", "AR")
SIZE_BINS_MM = (5.0, 10.0, 20.0)
UNKNOWN = "unknown"
SIZES_PX = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}  # COCO's
_EVERY_BOX, _OF_SIZE, _OF_IMAGES = "every box", "boxes of this size", "boxes of these images"


@dataclass(frozen=True)
class SubgroupRow:
    """One class in one group. ``numbers`` are ``NUMBERS``, None with a ``reason`` without a lesion.

    ``false_positives`` tells which boxes that find nothing are wrong. ``images`` are those of the group, for
    a group of lesions those with such a lesion; ``patients`` are those with one; ``found`` of the ``lesions``
    have a box of their class at IoU 0.5, whatever its score. ``intervals`` are empty without resamples.
    """

    group: str
    value: str
    classes: str
    false_positives: str
    images: int
    patients: int
    lesions: int
    found: int
    numbers: Mapping[str, float | None]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    reason: str | None = None


class _Group(NamedTuple):
    name: str
    value: str
    selection: Selection
    false_positives: str


class _Estimates(NamedTuple):
    point: NDArray[np.float64]  # [NUMBERS]
    drawn: NDArray[np.float64] | None  # [R, NUMBERS]
    patient: NDArray[np.intp]  # [I]
    confidence: float


def check_size_bins(bins: Sequence[float]) -> None:
    """Raise InputError unless the limits in millimetres are above 0 and rise."""
    array = np.asarray(bins, dtype=np.float64)
    if not len(array) or not np.isfinite(array).all() or (array <= 0).any() or (np.diff(array) <= 0).any():
        remedy = "give rising limits above 0, such as [5, 10, 20]"
        raise InputError("must rise and be above 0", field="size_bins_mm", value=list(bins), remedy=remedy)


def subgroups(
    coco: Coco,
    boxes: Sequence[ClassBoxes],
    patient_of: Mapping[int, str],
    resamples: PatientResamples,
    size_bins_mm: Sequence[float] = SIZE_BINS_MM,
) -> list[SubgroupRow]:
    """Return the rows by group, and in a group ``all`` first (the mean over the classes with lesions).

    Parameters
    ----------
    boxes:
        What ``class_boxes`` read from ``coco`` and the results, at most 100 boxes per image and class.
    patient_of:
        The patient of each image by its id.
    size_bins_mm:
        Rising limits between the sizes in millimetres; a size is the longest side of the box.
    """
    check_size_bins(size_bins_mm)
    groups = [*_lesion_groups(coco, size_bins_mm), *_image_groups(coco)]
    tables = _tables(groups, boxes)  # [group][class]
    flat = [table for row in tables for table in row]

    def columns(weights: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return [r, groups, all and classes, NUMBERS]."""
        found = np.array(
            [
                [one.precision[:, 0], one.precision.mean(axis=1), one.recall.mean(axis=1)]
                for one in averages(flat, weights)
            ]
        ).reshape(len(groups), len(boxes), len(NUMBERS), len(weights))
        by_class = np.moveaxis(found, 1, 0)
        return np.moveaxis(
            np.concatenate([mean_of_defined(by_class)[None], by_class]), (1, 0, 2, 3), (1, 2, 3, 0)
        )

    point = columns(np.ones((1, len(coco.images)), dtype=np.int32))[0]
    codes = resamples.codes_of([patient_of[image] for image in image_ids(coco)])
    drawn = resamples.values(columns, codes) if resamples.resamples else None
    rows = []
    for place, (group, row) in enumerate(zip(groups, tables, strict=True)):
        for column, name in enumerate(("all", *class_names(coco))):
            own = row if not column else row[column - 1 : column]
            values = None if drawn is None else drawn[:, place, column]
            found = _Estimates(point[place, column], values, codes, resamples.confidence)
            rows.append(_row(group, name, own, found))
    return rows


def _row(group: _Group, classes: str, tables: Sequence[MatchedClass], found: _Estimates) -> SubgroupRow:
    with_lesion = np.unique(np.concatenate([np.empty(0, np.intp), *(one.lesion_images for one in tables)]))
    patients = len(np.unique(found.patient[with_lesion]))
    shown, lesions = group.selection.images, sum(one.lesions for one in tables)
    intervals = {}
    if found.drawn is not None:
        for place, name in enumerate(NUMBERS):
            intervals[name] = percentile_interval(found.drawn[:, place], found.confidence, patients=patients)
    return SubgroupRow(
        group=group.name,
        value=group.value,
        classes=classes,
        false_positives=group.false_positives,
        images=len(with_lesion) if shown is None else int(shown.sum()),
        patients=patients,
        lesions=lesions,
        found=sum(one.lesions_found[0] for one in tables),
        numbers={
            name: float(value) if np.isfinite(value) else None
            for name, value in zip(NUMBERS, found.point, strict=True)
        },
        intervals=intervals,
        reason=None if lesions else NO_LESION,
    )


def _tables(groups: Sequence[_Group], boxes: Sequence[ClassBoxes]) -> list[list[MatchedClass]]:
    """Match every group and class; groups in which every box counts share their running sums."""
    by_class = []
    for one in boxes:
        tables = [match_class(one, selection=group.selection) for group in groups]
        every = [place for place, group in enumerate(groups) if group.false_positives == _EVERY_BOX]
        for place, table in zip(every, sharing([tables[place] for place in every]), strict=True):
            tables[place] = table
        by_class.append(tables)
    return [[tables[place] for tables in by_class] for place in range(len(groups))]


def _lesion_groups(coco: Coco, size_bins_mm: Sequence[float]) -> list[_Group]:
    limits = [0.0, *size_bins_mm, np.inf]
    names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(limits)]
    names[0], names[-1] = f"< {limits[1]:g}", f">= {limits[-2]:g}"
    spacing = {image["id"]: image.get("spacing_mm") for image in coco.images}
    sizes = []
    for one in coco.annotations:
        known, (_, _, width, height) = spacing[one["image_id"]], one["bbox"]
        # The spacing is that of rows, then of columns.
        longest = None if known is None else max(width * known[1], height * known[0])
        sizes.append(UNKNOWN if longest is None else names[bisect.bisect_right(limits, longest) - 1])
    bins = names if any(one != UNKNOWN for one in sizes) else []
    there = [counts(one) for one in coco.annotations]
    findings = [_text(one.get("finding")) for one in coco.annotations]
    groups = [
        _Group("size in mm", name, Selection(lesions=mask), _EVERY_BOX)
        for name, mask in _masks(sizes, there, bins)
    ]
    groups += [
        _Group("size in px", name, Selection(area=limits_px), _OF_SIZE)
        for name, limits_px in SIZES_PX.items()
    ]
    return groups + [
        _Group("finding", name, Selection(lesions=mask), _EVERY_BOX)
        for name, mask in _masks(findings, there, [one for one in FINDINGS if one in findings])
    ]


def values_of_images(coco: Coco) -> dict[str, dict[int, str]]:
    """Return by group the value of every image by its id, ``unknown`` where the file does not say."""
    return {
        name: {image["id"]: _text(image.get(name)) for image in coco.images}
        for name in ("view", "density", "manufacturer")
    }


def _image_groups(coco: Coco) -> list[_Group]:
    order = sorted(image["id"] for image in coco.images)
    return [
        _Group(name, value, Selection(images=mask), _OF_IMAGES)
        for name, values in values_of_images(coco).items()
        for value, mask in _masks([values[one] for one in order], [True] * len(order), ())
    ]


def _masks(
    values: Sequence[str], there: Sequence[bool], first: Sequence[str]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return who has each value: those of ``first``, other values that are ``there``, then unknown."""
    seen = {value for value, counted in zip(values, there, strict=True) if counted}
    order = [*first, *sorted(seen - {*first, UNKNOWN}), *([UNKNOWN] if UNKNOWN in seen else [])]
    array = np.array(values, dtype=object)
    return [(value, np.asarray(array == value, dtype=bool)) for value in order]


def _text(value: Any) -> str:
    text = "" if value is None else str(value).strip()
    return text or UNKNOWN
