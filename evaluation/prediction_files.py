"""Predictions as COCO results, as boxes per image in JSON, or as a folder of YOLO text files."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mammodet.datasets.converters.texts import read_text
from mammodet.datasets.errors import InputError
from mammodet.evaluation.prediction_rows import (
    Part,
    Place,
    PredictionFault,
    Rows,
    key,
    number,
    shallow,
)

_COCO_KEYS: dict[Part, str] = {
    "image": "image_id",
    "category": "category_id",
    "box": "bbox",
    "score": "score",
}
_LIST = "a results file is a JSON list"
_NAMES = ("image_id", "image", "file_name")
_CUT_OFF = "check that the file is whole"
# Text files that lie beside labels: names of classes, lists of images, notes.
_NO_LABELS = re.compile(
    r"(classes|labels|obj|train|val|valid|test|readme.*|license.*|requirements)\.txt", re.I
)
_NAN = [math.nan] * 4


def read_coco_results(content: Any, path: Path, boxes: str) -> Rows:
    """Read a COCO results list ``[{image_id, category_id, bbox, score}]``; ids may be file names or stems."""
    if not isinstance(content, list):
        raise InputError(
            _LIST, file=path, field="results", value=type(content).__name__, remedy="give the list itself"
        )
    entries = [one if isinstance(one, dict) else {} for one in content]

    def place(index: int, part: Part) -> Place:
        if not isinstance(content[index], dict):
            return str(path), f"results[{index}]", shallow(content[index])
        name = _COCO_KEYS[part]
        return str(path), f"results[{index}].{name}", shallow(entries[index].get(name))

    rows = Rows(
        _keys([one.get("image_id") for one in entries]),
        _keys([one.get("category_id") for one in entries]),
        _boxes([one.get("bbox") for one in entries]),
        _numbers([one.get("score") for one in entries]),
        "xywh" if boxes == "auto" else boxes,
        place,
        numbers_are_ids=True,
    )
    broken = [index for index, one in enumerate(content) if not isinstance(one, dict)]
    if broken:
        rows.faults.append(
            rows.fault(broken, "image", "is no object", "give image_id, category_id, bbox and score")
        )
    return rows


def is_boxes_per_image(content: Any) -> bool:
    """Tell JSON that holds boxes per image from a COCO results list."""
    entries = list(content.values()) if isinstance(content, dict) else content
    return (
        isinstance(entries, list)
        and bool(entries)
        and isinstance(entries[0], dict)
        and _box_key(entries[0]) is not None
    )


def read_boxes_per_image(content: Any, path: Path, boxes: str) -> Rows:
    """Read what torchvision's detectors return, per image.

    Either ``{"a.png": {"boxes": [[x1, y1, x2, y2]], "scores": [...], "labels": [...]}}`` or a list of such
    objects with ``image_id`` or ``file_name``. Labels may be missing.

    Raises InputError when it is something else.
    """
    if not isinstance(content, dict | list):
        remedy = "give boxes, scores and labels by image"
        raise InputError("is no object and no list", file=path, value=shallow(content), remedy=remedy)
    images: list[Any] = []
    labels: list[Any] = []
    found: list[Any] = []
    scores: list[Any] = []
    places: list[tuple[str, int]] = []
    faults: list[PredictionFault] = []
    told = False
    named = isinstance(content, dict)
    entries: Iterable[tuple[Any, Any]] = content.items() if isinstance(content, dict) else enumerate(content)
    for where, entry in entries:
        shown = f"[{where!r}]"
        problem, columns = _columns(entry)
        if problem:
            faults.append(PredictionFault(str(path), shown, shallow(entry), problem, _CUT_OFF))
            continue
        name = key(where) if named else next((key(entry[one]) for one in _NAMES if one in entry), None)
        told = told or columns[2] is not None
        images += [name] * len(columns[0])
        found += columns[0]
        scores += columns[1]
        labels += [None] * len(columns[0]) if columns[2] is None else map(key, columns[2])
        places += [(shown, index) for index in range(len(columns[0]))]
    names: dict[Part, str] = {"box": "boxes", "score": "scores", "category": "labels"}

    def place(index: int, part: Part) -> Place:
        where, row = places[index]
        value = {"image": images, "box": found, "score": scores, "category": labels}[part][index]
        return str(path), where if part == "image" else f"{where}.{names[part]}[{row}]", shallow(value)

    layout = "xyxy" if boxes == "auto" else boxes
    told_labels = labels if told or not images else None
    return Rows(images, told_labels, _boxes(found), _numbers(scores), layout, place, faults=_merged(faults))


def read_yolo_folder(folder: Path, boxes: str) -> Rows:
    """Read a folder of YOLO text files, a row ``class x y width height confidence`` per box.

    Files lie at any depth and are called as the images are; an image without a file has no predictions. Rows
    are as Ultralytics writes them with ``save_txt=True save_conf=True``: the centre and the size in parts of
    the image.

    Raises InputError for a file that is no text.
    """
    images: list[Any] = []
    numbers: list[list[float]] = []
    labels: list[str] = []
    places: list[tuple[str, int, str]] = []
    faults: list[PredictionFault] = []
    for file in label_files(folder):
        name = file.relative_to(folder).as_posix()[: -len(file.suffix)]
        for line, row in enumerate(read_text(file).split("\n"), start=1):
            cells = row.split()
            if not cells:
                continue
            if len(cells) != 6:
                faults.append(_wrong_length(file, line, row.strip(), len(cells)))
                continue
            images.append(name)
            labels.append(cells[0])
            numbers.append([_cell(cell) for cell in cells[1:]])
            places.append((str(file), line, row.strip()))

    def place(index: int, part: Part) -> Place:
        file, line, row = places[index]
        cells = row.split()
        where = {"image": "", "category": ", class", "score": ", confidence", "box": ", box"}[part]
        value = {"image": images[index], "category": cells[0], "score": cells[5], "box": " ".join(cells[1:5])}
        return file, f"line {line}{where}", value[part]

    values = np.array(numbers, dtype=np.float64).reshape(-1, 5)
    layout = "cxcywh-relative" if boxes == "auto" else boxes
    return Rows(images, labels, values[:, :4], values[:, 4], layout, place, faults=_merged(faults))


def label_files(folder: Path) -> list[Path]:
    """Return the text files of a YOLO folder that may hold predictions, in order, hidden ones left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() == ".txt"
        and not _NO_LABELS.fullmatch(path.name)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _wrong_length(file: Path, line: int, row: str, count: int) -> PredictionFault:
    if count == 5:
        problem, remedy = "has no confidence", "predict with save_conf=True, or add it as the sixth number"
    else:
        problem = f"has {count} numbers instead of 6"
        remedy = "write class, centre x, centre y, width, height, confidence"
    return PredictionFault(str(file), f"line {line}", row, problem, remedy)


def _merged(faults: Sequence[PredictionFault]) -> list[PredictionFault]:
    """Return the first fault of each kind, with how many there are."""
    kinds: dict[str, list[PredictionFault]] = {}
    for fault in faults:
        kinds.setdefault(fault.problem, []).append(fault)
    return [
        PredictionFault(one[0].file, one[0].where, one[0].value, problem, one[0].remedy, len(one))
        for problem, one in kinds.items()
    ]


def _columns(entry: Any) -> tuple[str | None, tuple[list[Any], list[Any], list[Any] | None]]:
    """Return what is wrong with the predictions of an image, or None, and their boxes, scores and labels."""
    nothing: tuple[list[Any], list[Any], list[Any] | None] = ([], [], None)
    if not isinstance(entry, dict) or (name := _box_key(entry)) is None:
        return "holds no boxes", nothing
    boxes, scores, labels = entry[name], entry.get("scores"), entry.get("labels")
    if not isinstance(boxes, list) or not isinstance(scores, list) or not isinstance(labels, list | None):
        return "boxes, scores and labels must be lists", nothing
    if len(boxes) != len(scores) or (labels is not None and len(labels) != len(boxes)):
        told = "" if labels is None else f" and {len(labels)} labels"
        return f"has {len(boxes)} boxes, {len(scores)} scores{told}", nothing
    return None, (boxes, scores, labels)


def _box_key(entry: Any) -> str | None:
    return next((one for one in ("boxes", "bboxes") if one in entry), None)


def _keys(values: list[Any]) -> list[Any]:
    return values if set(map(type, values)) <= {int} else list(map(key, values))


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """Return numbers [N], NaN where there is none."""
    if set(map(type, values)) <= {int, float}:
        with contextlib.suppress(OverflowError):
            return np.array(values, dtype=np.float64)
    return np.array(list(map(number, values)), dtype=np.float64)


def _boxes(values: Sequence[Any]) -> np.ndarray:
    """Return boxes [N, 4], NaN where there are no four numbers."""
    if set(map(type, values)) <= {list} and set(map(len, values)) <= {4}:
        return _numbers(list(itertools.chain.from_iterable(values))).reshape(-1, 4)
    rows = [list(map(number, one)) if isinstance(one, list) and len(one) == 4 else _NAN for one in values]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _cell(cell: str) -> float:
    try:
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan
