"""CSV files whose faults are told by row and column."""

from __future__ import annotations

import ast
import csv
import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mammodet.datasets.converters.texts import LONGEST_LINE, encoding_of
from mammodet.datasets.errors import InputError

MOST_COLUMNS = 10_000
LONGEST_LITERAL = 1000  # a box has some 80 characters, ten categories 200


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

    def literal(self, column: str, longest: int = LONGEST_LITERAL) -> Any:
        """Return the Python literal in a cell, such as a list of names; never ``eval``.

        None where there is none, and for cells of more than ``longest`` characters: far longer literals can
        exhaust the parser.
        """
        cell = self.cells[column]
        if len(cell) > longest:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd literals, such as "1is 2"
                return ast.literal_eval(cell)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None

    def number(self, column: str) -> float:
        """Return the finite number in a cell; raises InputError when there is none."""
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(column, "must be a number", "write decimals with a point, such as 12.5")
        return value


def read_csv(path: Path, *, required: Sequence[str] = (), keep: Sequence[str] | None = None) -> list[Row]:
    """Read a CSV file with a header row; newlines inside quotes and a byte order mark are allowed.

    Columns without a name of their own are called ``column N``. Empty lines are skipped. Cells are
    separated by commas or, where the header has none, by ``;`` or tabs, as spreadsheets save them. With
    ``keep`` rows hold only those columns that are among them, for tables of which little is needed.

    Raises InputError when the file is not there, is no UTF-8 or no CSV, lacks a ``required`` column, has a
    row that ends before one, or has longer lines or more columns than any table.
    """
    return list(iter_csv(path, required=required, keep=keep))


def iter_csv(path: Path, *, required: Sequence[str] = (), keep: Sequence[str] | None = None) -> Iterator[Row]:
    """Yield the rows of ``read_csv`` one by one, for tables that should not be held in memory."""
    encoding = encoding_of(path)
    try:
        with path.open(encoding=encoding, newline="") as stream:
            lines = _lines(stream, path)
            head: list[str] = []
            while not head or not head[-1].strip():  # blank lines may come before the header
                line = next(lines, None)
                if line is None:
                    break
                head.append(line)
            separator = _separator(head[-1] if head else "")
            reader = csv.reader(itertools.chain(head, lines), delimiter=separator, strict=True)
            yield from _rows(reader, path, required, None if keep is None else frozenset(keep))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is no CSV in UTF-8: {error}", file=path, remedy="save it as CSV UTF-8") from None


def _separator(header: str) -> str:
    found = [one for one in (";", "\t") if one in header]
    return found[0] if found and "," not in header else ","


def _lines(stream: TextIO, path: Path) -> Iterator[str]:
    """Yield the lines, none of them longer than memory should hold; csv takes what else is wrong."""
    for number in itertools.count(1):
        line = stream.readline(LONGEST_LINE + 1)
        problem = None
        if len(line) > LONGEST_LINE:
            problem = f"has more than {LONGEST_LINE} characters, more than any row has"
        elif "\0" in line:
            problem = "holds zero characters"
        if problem is not None:
            remedy = "check that the file is whole"
            raise InputError(problem, file=path, field=f"line {number}", remedy=remedy)
        if not line:
            return
        yield line


def _rows(reader: Any, path: Path, required: Sequence[str], keep: frozenset[str] | None) -> Iterator[Row]:
    lines = ((reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells))
    _, header = next(lines, (0, None))
    if header is None:
        raise InputError("is empty", file=path, remedy="give a table with a header row")
    _check_width(header, path, reader.line_num)
    columns = _column_names(header)
    for name in required:
        if name not in columns:
            remedy = "columns keep the names that they were published with, and the same separator"
            raise InputError("has no such column", file=path, field=name, value=columns, remedy=remedy)
    fewest = max((columns.index(name) + 1 for name in required), default=0)
    kept = _kept(columns, keep)
    for line, cells in lines:
        _check_width(cells, path, line)
        if len(cells) < fewest:
            problem = f"ends after {len(cells)} of {len(columns)} cells"
            remedy = "check that the file is whole"
            raise InputError(problem, file=path, field=f"row at line {line}", remedy=remedy)
        if len(cells) > len(columns):
            columns += [f"column {number + 1}" for number in range(len(columns), len(cells))]
            kept = _kept(columns, keep)
        row = {name: cells[index].strip() if index < len(cells) else "" for index, name in kept}
        yield Row(path, line, row)


def _check_width(cells: Sequence[str], path: Path, line: int) -> None:
    if len(cells) > MOST_COLUMNS:
        problem = f"has {len(cells)} cells, more than any table has columns"
        remedy = "check that the file is whole"
        raise InputError(problem, file=path, field=f"line {line}", remedy=remedy)


def _column_names(header: Sequence[str]) -> list[str]:
    names: list[str] = []
    for index, cell in enumerate(header):
        name = cell.strip()
        names.append(name if name and name not in names else f"column {index + 1}")
    return names


def _kept(columns: Sequence[str], keep: frozenset[str] | None) -> list[tuple[int, str]]:
    return [(index, name) for index, name in enumerate(columns) if keep is None or name in keep]
