"""Predictions as a file holds them, before anything is checked, and what can be wrong with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco_values import is_number
from mammodet.datasets.errors import InputError

Part = Literal["image", "category", "score", "box"]
Place = tuple[str, str, object]  # file, where in it, and the value that is written there


@dataclass(frozen=True)
class PredictionFault:
    """One kind of fault: where it comes first, with what value, and on how many predictions."""

    file: str
    where: str
    value: object
    problem: str
    remedy: str
    count: int = 1

    def __str__(self) -> str:
        return str(self.error())

    def error(self, remedy: str | None = None) -> InputError:
        """Return it as an error of its own, with another remedy when one is given."""
        more = "" if self.count == 1 else f", as in {self.count - 1} more"
        problem, told = self.problem + more, self.remedy if remedy is None else remedy
        return InputError(problem, file=self.file, field=self.where, value=self.value, remedy=told)


class PredictionError(InputError):
    """Predictions with faults: one for each kind in ``faults``, and all of them in one line."""

    def __init__(self, faults: Sequence[PredictionFault]) -> None:
        self.faults = list(faults)
        first, *others = faults
        told = [str(fault).removeprefix(f"{first.file}: ") for fault in others]
        line = first.error("; also ".join([first.remedy, *told]))
        super().__init__(line.problem, file=line.file, field=line.field, value=line.value, remedy=line.remedy)


@dataclass(frozen=True)
class Rows:
    """The predictions of a file as they are written: columns of one length N.

    Parameters
    ----------
    images:
        What names the image: an id (int), a name (str), an ``ExamKey``, or None where nothing does.
    categories:
        What names the class (int or str, None where nothing does); None when the file tells no classes.
    boxes:
        [N, 4] float64 in ``layout``; NaN where there is no number.
    scores:
        [N] float64; NaN where there is no number.
    layout:
        What the four numbers are, one of ``LAYOUTS``; empty when the file holds scores of images.
    place:
        Tells where a part of prediction ``index`` stands, and what is written there.
    numbers_are_ids:
        Whether a number that names a class is an id of the ground truth, as it is in COCO results.
    faults:
        What could not be read at all, and is not among the columns.
    columns, unread:
        Of a table with scores of images: the columns that are read, and one of classes, which is not.
    """

    images: list[Any]
    categories: list[Any] | None
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    layout: str
    place: Callable[[int, Part], Place]
    numbers_are_ids: bool = False
    faults: list[PredictionFault] = field(default_factory=list)
    columns: Sequence[str] = ()
    unread: str | None = None

    @property
    def has_boxes(self) -> bool:
        """Whether the file holds boxes; otherwise scores of images."""
        return bool(self.layout)

    def fault(self, indices: Sequence[int], part: Part, problem: str, remedy: str) -> PredictionFault:
        """Return the fault that the predictions ``indices`` have, named after the first of them."""
        file, where, value = self.place(int(indices[0]), part)
        return PredictionFault(file, where, value, problem, remedy, len(indices))


def number(value: Any) -> float:
    """Return a value of a JSON file as a number, NaN where it is none."""
    return float(value) if is_number(value) else math.nan


def key(value: Any) -> int | str | None:
    """Return what can name an image or a class: an integer (also 2.0) or a text that is not empty."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float) and value.is_integer():  # as pandas writes a column that once had a gap
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def shallow(value: Any) -> object:
    """Return a JSON value to be shown, without what it holds where that is more than a short list."""
    if isinstance(value, list) and len(value) <= 8 and not any(isinstance(one, list | dict) for one in value):
        return value
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, list | dict) else value
