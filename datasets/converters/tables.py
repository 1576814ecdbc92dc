"""CSV files whose faults are told by row and column."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mammodet.datasets.errors import InputError


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


def read_csv(path: Path, *, delimiter: str = ",", required: Sequence[str] = ()) -> list[Row]:
    """Read a CSV file with a header row; newlines inside quotes and a byte order mark are allowed.

    Columns without a name of their own are called ``column N``. Empty lines are skipped. Raises InputError
    when the file is not there, is no UTF-8 or no CSV, or lacks a ``required`` column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except FileNotFoundError:
        raise InputError("no such file", file=path, remedy="give the folder of the data set") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is no CSV in UTF-8: {error}", file=path, remedy="save it as CSV UTF-8") from None
    if not lines:
        raise InputError("is empty", file=path, remedy="give a table with a header row")
    columns = _column_names(lines[0][1], max(len(cells) for _, cells in lines))
    for name in required:
        if name not in columns:
            raise InputError("has no such column", file=path, field=name, value=columns)
    return [Row(path, line, _cells(columns, cells)) for line, cells in lines[1:]]


def _column_names(header: Sequence[str], count: int) -> list[str]:
    names: list[str] = []
    for index in range(count):
        name = header[index].strip() if index < len(header) else ""
        names.append(name if name and name not in names else f"column {index + 1}")
    return names


def _cells(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    padded = [*cells, *[""] * (len(columns) - len(cells))]
    return {name: cell.strip() for name, cell in zip(columns, padded, strict=True)}
