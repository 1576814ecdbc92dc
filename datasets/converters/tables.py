"""CSV files whose faults are told by row and column."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammodet.datasets.converters.texts import encoding_of
from mammodet.datasets.errors import InputError

MOST_COLUMNS = 10_000


@dataclass(frozen=True)
class Row:
    """One row: the line of the file that it ends on, and its cells by column name, stripped."""

    file: Path
    line: int
    cells: Mapping[str, str]

    def error(self, column: str, problem: str, remedy: str | None = None) -> InputError:
        """Return the error that names this row, this column and its cell."""
        where = f"row at line {self.line}, column {column}"
        return InputError(problem, file=self.file, field=where, value=self.cells.get(column), remedy=remedy)

    def code(self, column: str) -> str:
        """Return a cell without the ``.0`` that pandas adds to numbers; "" for ``nan``, or no such column."""
        cell = self.cells.get(column, "").removesuffix(".0")
        return "" if cell.lower() in {"nan", "null", "none", "<na>"} else cell

    def number(self, column: str) -> float:
        """Return the finite number in a cell; raises InputError when there is none."""
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(column, "must be a number")
        return value


def read_csv(
    path: Path, *, delimiter: str = ",", required: Sequence[str] = (), keep: Sequence[str] | None = None
) -> list[Row]:
    """Read a CSV file with a header row; newlines inside quotes and a byte order mark are allowed.

    Columns without a name of their own are called ``column N``. Empty lines are skipped. With ``keep`` rows
    hold only those columns that are among them, for tables of which little is needed.

    Raises InputError when the file is not there, is no UTF-8 or no CSV, lacks a ``required`` column, or has
    more columns than any table.
    """
    return list(iter_csv(path, delimiter=delimiter, required=required, keep=keep))


def iter_csv(
    path: Path, *, delimiter: str = ",", required: Sequence[str] = (), keep: Sequence[str] | None = None
) -> Iterator[Row]:
    """Yield the rows of ``read_csv`` one by one, for tables that should not be held in memory."""
    encoding = encoding_of(path)
    try:
        with path.open(encoding=encoding, newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            yield from _rows(reader, path, required, None if keep is None else frozenset(keep))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is no CSV in UTF-8: {error}", file=path, remedy="save it as CSV UTF-8") from None


def _rows(reader: Any, path: Path, required: Sequence[str], keep: frozenset[str] | None) -> Iterator[Row]:
    lines = ((reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells))
    _, header = next(lines, (0, None))
    if header is None:
        raise InputError("is empty", file=path, remedy="give a table with a header row")
    columns = _column_names(header)
    for name in required:
        if name not in columns:
            raise InputError("has no such column", file=path, field=name, value=columns)
    kept = _kept(columns, keep)
    for line, cells in lines:
        if len(cells) > len(columns):
            columns += [f"column {number + 1}" for number in range(len(columns), len(cells))]
            kept = _kept(columns, keep)
        if len(columns) > MOST_COLUMNS:
            problem = f"has {len(cells)} cells, more than any table has columns"
            remedy = "check that the file is whole"
            raise InputError(problem, file=path, field=f"line {line}", remedy=remedy)
        row = {name: cells[index].strip() if index < len(cells) else "" for index, name in kept}
        yield Row(path, line, row)


def _column_names(header: Sequence[str]) -> list[str]:
    names: list[str] = []
    for index, cell in enumerate(header):
        name = cell.strip()
        names.append(name if name and name not in names else f"column {index + 1}")
    return names


def _kept(columns: Sequence[str], keep: frozenset[str] | None) -> list[tuple[int, str]]:
    return [(index, name) for index, name in enumerate(columns) if keep is None or name in keep]
