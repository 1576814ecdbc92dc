"""The error analysis as CSV tables and as the part of metrics.json."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from operator import attrgetter
from typing import Any

from mammodet.evaluation.error_analysis import ErrorAnalysis, KindRow
from mammodet.evaluation.error_cases import ErrorCase
from mammodet.evaluation.lesion_views import ViewRow
from mammodet.evaluation.resampling import Interval, primary

ERROR_TABLES = ("errors", "error_kinds", "error_places", "views")
_NOT_AVAILABLE = "n/a"  # as in the other tables
_CASE_FIELDS = (
    *("error", "kind", "image_id", "file_name", "category", "score", "prediction"),
    *("lesion", "lesion_category", "iou", "place", "place_reason"),
)
_SHARES = ("any_share", "both_share")
_VIEW_COLUMNS = (
    *(one.name for one in fields(ViewRow) if not one.name.startswith(("any_", "both_"))),
    *(f"{share}{end}" for share in _SHARES for end in ("", "_low", "_high", "_interval")),
)


def error_tables(analysis: ErrorAnalysis) -> dict[str, str]:
    """Return the CSV text of every table by file name.

    ``errors.csv`` has one row per false positive and false negative at the score threshold,
    ``error_kinds.csv`` one per category and kind, ``error_places.csv`` one per place of background boxes,
    ``views.csv`` one per category with its lesions on two views.
    """
    places = [{"place": name, "boxes": size} for name, size in analysis.places().items()]
    return {
        "errors.csv": _case_table(analysis.cases),
        "error_kinds.csv": _table(map(asdict, analysis.kinds), [one.name for one in fields(KindRow)]),
        "error_places.csv": _table(places, ("place", "boxes")),
        "views.csv": _table(map(_view_row, analysis.views), _VIEW_COLUMNS),
    }


def errors_document(analysis: ErrorAnalysis) -> dict[str, Any]:
    """Return what ``metrics.json`` holds under ``errors``; the single cases are in errors.csv."""
    return {
        "rules": asdict(analysis.rules),
        "found": analysis.found,
        "lesions": analysis.lesions,
        "ap": dict(analysis.ap),
        "kinds": [asdict(row) for row in analysis.kinds],
        "places": analysis.places(),
        "images_looked_at": analysis.looked,
        "views": [asdict(row) for row in analysis.views],
    }


def _case_table(cases: Sequence[ErrorCase]) -> str:
    """Write the cases, which may be very many; what does not apply to one is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((*_CASE_FIELDS, "x", "y", "width", "height"))
    columns = attrgetter(*_CASE_FIELDS)
    writer.writerows((*columns(case), *case.bbox) for case in cases)
    return stream.getvalue()


def _view_row(view: ViewRow) -> dict[str, Any]:
    row = {one.name: getattr(view, one.name) for one in fields(ViewRow)}
    for share in _SHARES:
        found: Interval | None = primary(row[share.replace("share", "intervals")])
        row |= {f"{share}_low": None, f"{share}_high": None, f"{share}_interval": None}
        if found is not None:
            row |= {f"{share}_low": found.low, f"{share}_high": found.high, f"{share}_interval": found.method}
    return row


def _table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_NOT_AVAILABLE if row[name] is None else row[name] for name in columns])
    return stream.getvalue()
