"""Predictions as a table, CSV or TSV: a row per box, or per image with its score; columns by their names."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.converters.texts import read_text
from mammodet.datasets.errors import InputError
from mammodet.evaluation.prediction_columns import Columns, choose_columns, known_columns
from mammodet.evaluation.prediction_images import ExamKey
from mammodet.evaluation.prediction_rows import Part, Place, PredictionFault, Rows

_DELIMITERS = (",", "\t", ";", "|")
_MOST_BYTES = 4 * 2**30
_READ: tuple[Part, ...] = ("image", "score")
_CUT_OFF = "write every row to its end; check that the file is whole"


@dataclass(frozen=True)
class _Table:
    """The cells of a table by columns; ``numbers`` [N] tells which row of the text each of them is from."""

    header: Sequence[str]
    cells: Sequence[Sequence[str]]
    numbers: Sequence[int]
    text: str
    delimiter: str

    def column(self, name: str) -> Sequence[str]:
        return self.cells[self.header.index(name)]

    def line(self, index: int) -> str:
        return f"line {_line(self.text, self.delimiter, self.numbers[index])}"


def read_table(path: Path, columns: Mapping[str, str], boxes: str) -> Rows:
    """Read the predictions of a table with a header row.

    Cells are separated by commas, tabs, semicolons or bars, whichever makes most columns of the header known.
    Numbers have a decimal point; a decimal comma is read where commas do not separate. UTF-8 or UTF-16 with
    a byte order mark. An empty file has no predictions. Without any column of a box the rows are scores of
    images, and their ``layout`` is empty.

    Parameters
    ----------
    columns:
        Role (see ``ROLES``) -> column of the file; other roles are found by the usual names.
    boxes:
        Layout of the boxes, or "auto": pixels, as the columns are called.

    Raises
    ------
    InputError
        When it is no text or no table, or a column is missing.
    """
    text = read_text(path, most_bytes=_MOST_BYTES)
    delimiter = _delimiter(text, columns)
    try:
        header, rows = _split(text, delimiter)
    except csv.Error as error:
        remedy = "check that the file is whole and its quotes are closed"
        raise InputError(f"is no table: {error}", file=path, remedy=remedy) from None
    if header is None:
        return _nothing(path)
    chosen = choose_columns(header, columns, boxes, path)
    width = 1 + max(header.index(name) for name in chosen.names())
    lengths = list(map(len, rows))
    short = [number for number, length in enumerate(lengths) if length < width]
    numbers: Sequence[int] = range(len(rows))
    if short:
        numbers = [number for number, length in enumerate(lengths) if length >= width]
    # Rows of other lengths are cut to the shortest one, which still holds all columns that are read.
    cells = list(zip(*(rows[number] for number in numbers), strict=False)) or [()] * len(header)
    result = _rows(_Table(header, cells, numbers, text, delimiter), chosen, path)
    if short:
        line, ended = _line(text, delimiter, short[0]), rows[short[0]]
        problem = f"ends after {len(ended)} of {len(header)} cells"
        result.faults.append(
            PredictionFault(str(path), f"line {line}", ended[-1], problem, _CUT_OFF, len(short))
        )
    return result


def _rows(table: _Table, columns: Columns, path: Path) -> Rows:
    def place(index: int, part: Part) -> Place:
        names = columns.part(part)
        values = [table.column(name)[index] for name in names]
        where = f", {'column' if len(names) == 1 else 'columns'} {', '.join(names)}" if names else ""
        return str(path), table.line(index) + where, values[0] if len(values) == 1 else values

    comma = table.delimiter != ","
    box = [_numbers(table.column(name), decimal_comma=comma) for name in columns.box]
    return Rows(
        _images(table, columns),
        None if columns.category is None else _keys(table.column(columns.category)),
        np.stack(box, axis=1) if box else np.full((len(table.numbers), 4), np.nan),
        _numbers(table.column(columns.score), decimal_comma=comma),
        columns.layout,
        place,
        numbers_are_ids=columns.category_is_id,
        columns=[name for part in _READ for name in columns.part(part)],
        unread=columns.unread,
    )


def _images(table: _Table, columns: Columns) -> list[object]:
    if columns.image is not None:
        return _keys(table.column(columns.image))
    roles = ("patient", "study", "side", "view")
    cells = {role: table.column(columns.exam[role]) for role in roles if role in columns.exam}
    nothing = [None] * len(table.numbers)
    told = list(zip(*(cells.get(role, nothing) for role in roles), strict=True))
    keys = {one: ExamKey.of(*one) for one in set(told)}
    return [keys[one] for one in told]


def _nothing(path: Path) -> Rows:
    return Rows([], [], np.zeros((0, 4)), np.zeros(0), "xywh", lambda index, part: (str(path), "", None))


def _keys(cells: Sequence[str]) -> list[object]:
    stripped = {cell: cell.strip() or None for cell in set(cells)}
    return list(map(stripped.__getitem__, cells))


def _split(text: str, delimiter: str) -> tuple[list[str] | None, list[list[str]]]:
    """Return the header, None when there is none, and the rows that are not blank."""
    rows = _filled(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    header = next(rows, None)
    return None if header is None else [cell.strip() for cell in header], list(rows)


def _line(text: str, delimiter: str, number: int) -> int:
    """Return the line on which row ``number`` below the header ends."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    next(itertools.islice(_filled(reader), number + 1, None))
    return int(reader.line_num)


def _filled(reader: Iterable[list[str]]) -> Iterator[list[str]]:
    return (cells for cells in reader if cells and any(map(str.strip, cells)))


def _delimiter(text: str, columns: Mapping[str, str]) -> str:
    """Return the delimiter that makes most columns of the header known, and most columns among equals."""
    start = text.lstrip()
    first = start[: start.find("\n") if "\n" in start else None]

    def rank(delimiter: str) -> tuple[int, int]:
        try:
            header = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
        except csv.Error:
            return 0, 0
        return known_columns(header, columns), len(header)

    return max(_DELIMITERS, key=rank)


def _numbers(cells: Sequence[str], *, decimal_comma: bool) -> NDArray[np.float64]:
    """Return the numbers of a column, NaN where there is none."""
    joined = "".join(cells)
    if "_" not in joined:  # float() takes 1_000
        try:
            return np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            pass
    comma = decimal_comma and "." not in joined
    return np.array([_number(cell.replace(",", ".") if comma else cell) for cell in cells], dtype=np.float64)


def _number(cell: str) -> float:
    try:
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan
