"""What the converter wrote about rows, lesions and files that it did not use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mammodet.datasets.audit.report import Case
from mammodet.datasets.coco import Coco

_BY_REASON = {
    "rows_dropped": "rows-dropped",
    "lesions_dropped": "lesions-dropped",
    "notes": "conversion-note",
}
_NAMED = {"images_without_pixels": "images-without-pixels", "files_without_row": "files-without-row"}
_FIRST = 5


def conversion_of(coco: Coco) -> dict[str, Any] | None:
    """Return the record of the conversion, ``info.audit``, or None in a file that has none.

    The keys are those of ``Audit.record``; entries that are none, in a file of another hand, become empty.
    """
    record = coco.info.get("audit")
    if not isinstance(record, dict) or not _is_count(record.get("rows_read")):
        return None
    kept: dict[str, Any] = {
        key: record[key] for key in ("rows_read", "rows_used") if _is_count(record.get(key))
    }
    for key in _BY_REASON:
        entries = record.get(key)
        reasons = entries.items() if isinstance(entries, dict) else ()
        kept[key] = {str(reason): _entry(entry) for reason, entry in reasons}
    return kept | {key: _entry(record.get(key)) for key in (*_NAMED, "boxes_clipped")}


def conversion_cases(record: Mapping[str, Any] | None) -> Iterator[Case]:
    """Yield what the conversion dropped and remarked; clipped boxes are told one by one in ``boxes``."""
    if record is None:
        yield Case("not-converted", "info.audit is missing: the file was not written by mammodet convert")
        return
    for key, kind in _BY_REASON.items():
        for reason, entry in record[key].items():
            yield Case(kind, f"{reason} ({_shown(entry)})", count=entry["count"])
    for key, kind in _NAMED.items():
        if record[key]["count"]:
            yield Case(kind, _shown(record[key]), count=record[key]["count"])


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _entry(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or not _is_count(entry.get("count")):
        return {"count": 0, "first": []}
    first = entry.get("first")
    return {"count": entry["count"], "first": list(map(str, first)) if isinstance(first, list) else []}


def _shown(entry: Mapping[str, Any]) -> str:
    names: Sequence[str] = entry["first"][:_FIRST]
    more = entry["count"] - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
