"""Rows of a table as the text of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

NOT_AVAILABLE = "n/a"  # which pandas reads as missing: a number that is not there


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Iterable[str] | None = None) -> str:
    """Write rows as CSV; without ``columns`` those of all rows in order of appearance."""
    rows = list(rows)
    names = list(columns or dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: NOT_AVAILABLE if value is None else value for name, value in row.items()})
    return text.getvalue()
