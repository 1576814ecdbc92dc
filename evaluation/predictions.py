"""Predictions of any model, in any usual format: a checked COCO results list, or checked scores of images."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from mammodet.datasets.coco import Coco, read_json
from mammodet.datasets.errors import InputError
from mammodet.evaluation.image_scores import ImageScores, check_image_scores
from mammodet.evaluation.prediction_check import SCALES, Notice, Scale, check_predictions
from mammodet.evaluation.prediction_files import (
    is_boxes_per_image,
    label_files,
    read_boxes_per_image,
    read_coco_results,
    read_yolo_folder,
)
from mammodet.evaluation.prediction_layouts import LAYOUTS, Layout
from mammodet.evaluation.prediction_rows import PredictionError, PredictionFault, Rows
from mammodet.evaluation.prediction_tables import read_table

Format = Literal["auto", "coco", "csv", "yolo", "torchvision"]
Predictions = list[dict[str, Any]] | ImageScores

__all__ = [
    "Format",
    "ImageScores",
    "Layout",
    "Notice",
    "PredictionError",
    "PredictionFault",
    "Predictions",
    "Scale",
    "is_table",
    "read_predictions",
]


def read_predictions(
    path: str | os.PathLike[str],
    coco: Coco,
    *,
    format: Format = "auto",
    columns: Mapping[str, str] | None = None,
    categories: Mapping[str, str | int] | None = None,
    boxes: Layout | Literal["auto"] = "auto",
    scores: Scale = "unit",
    tell: Callable[[Notice], None] | None = None,
) -> Predictions:
    """Read the predictions of any detector, or of a classifier, and check them against ``coco``.

    Parameters
    ----------
    path:
        A file, or a folder of YOLO text files.
    format:
        "coco" (results list), "csv" (table with named columns, TSV too), "yolo" (folder), "torchvision"
        (JSON with boxes, scores and labels per image), or "auto": a folder is YOLO, a file that starts as
        JSON does is JSON, any other one a table.
    columns:
        For a table: role -> column, see ``prediction_columns.ROLES``; the usual names need none.
    categories:
        Category of ``coco`` (name or id; ``none`` leaves out) -> what the predictions call it (several with
        commas; ``all`` for every one). Needed where the predictions number their classes.
    boxes:
        What the four numbers are; "auto" takes what the format or the columns say.
    scores:
        "unit" 0 to 1, "percent" 0 to 100, "logit" any number, of which the sigmoid is taken.
    tell:
        Called with every notice: what is allowed but odd, and how a file other than COCO results was read.

    Returns
    -------
    list[dict[str, Any]] | ImageScores
        ``[{image_id, category_id, bbox, score}]`` in the order of the file; ``bbox`` is
        ``[x, y, width, height]`` in pixels of the source frame, scores are 0 to 1. Of a table without any
        column of a box the scores of all images; ``categories`` and ``boxes`` then say nothing.

    Raises
    ------
    PredictionError
        With every kind of fault: unknown or ambiguous images, unknown categories, scores that are no number
        from 0 to 1, boxes of another layout or frame or without a size, rows cut off; an image without a
        score, or with two, in a table of them.
    InputError
        When the file cannot be read, has no such columns, or an option does not fit.
    """
    path = Path(path)
    for option, value, known in (
        ("--format", format, get_args(Format)),
        ("--boxes", boxes, ("auto", *LAYOUTS)),
        ("--scores", scores, SCALES),
    ):
        if value not in known:
            raise InputError(
                "no such choice", field=option, value=value, remedy=f"known are {', '.join(known)}"
            )
    with _no_collections():
        kind, rows = _read(path, format, columns or {}, boxes)
        found: Predictions
        if rows.has_boxes:
            found, notices = check_predictions(rows, coco, categories or {}, scores)
            notices = [*_summary(path, kind, rows, coco, found), *notices]
        else:
            found, notices = check_image_scores(rows, coco, scores, path)
    if tell is not None:
        for notice in notices:
            tell(notice)
    return found


def is_table(path: Path, format: str = "auto") -> bool:
    """Tell whether a file of predictions is read as a table; False also where there is no file."""
    if not path.exists() or path.is_dir():
        return False
    return format == "csv" or (format == "auto" and not _starts_as_json(path))


@contextmanager
def _no_collections() -> Iterator[None]:
    """Hold the garbage collector: going over millions of new cells again and again doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(path: Path, format: str, columns: Mapping[str, str], boxes: str) -> tuple[str, Rows]:
    """Return the format that a file is of, and what it holds."""
    if not path.exists():
        raise InputError("no such file", file=path, remedy="check the path")
    if columns and (path.is_dir() or format not in {"auto", "csv"}):
        raise InputError("are for tables only", field="--columns", remedy="leave the option out")
    if path.is_dir():
        return "yolo", _folder(path, format, boxes)
    if format == "yolo":
        raise InputError("is no folder", file=path, remedy="give the folder of the text files")
    if is_table(path, format):
        return "csv", read_table(path, columns, boxes)
    if columns:
        raise InputError(
            "are for tables only", field="--columns", remedy=f"{path} is JSON; leave the option out"
        )
    content = read_json(path)
    if format == "torchvision" or (format == "auto" and is_boxes_per_image(content)):
        return "torchvision", read_boxes_per_image(content, path, boxes)
    return "coco", read_coco_results(content, path, boxes)


def _folder(path: Path, format: str, boxes: str) -> Rows:
    if format not in {"auto", "yolo"}:
        raise InputError("is a folder", file=path, remedy=f"give the file, or leave --format {format} out")
    if format == "auto" and not label_files(path):
        remedy = "give the folder of the predictions; --format yolo takes it as no predictions"
        raise InputError("holds no text file", file=path, remedy=remedy)
    return read_yolo_folder(path, boxes)


def _starts_as_json(path: Path) -> bool:
    with path.open("rb") as stream:
        start = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return path.suffix.lower() == ".json" or start.startswith((b"[", b"{"))


def _summary(path: Path, kind: str, rows: Rows, coco: Coco, results: list[dict[str, Any]]) -> list[Notice]:
    """Tell how a file was read; COCO results need no telling."""
    if not results:
        return [Notice("warning", f"{path} holds no prediction")]
    if kind == "coco":
        return []
    found = len({one["image_id"] for one in results})
    without = len(coco.images) - found
    told = f"{path}: {len(results)} boxes on {found} of {len(coco.images)} images, {without} without any"
    return [Notice("note", f"{told}; read as {kind}, boxes {rows.layout}")]
