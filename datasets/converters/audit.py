"""What a conversion read, used and dropped: nothing disappears without a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SHOWN = 5
_RECORDED = 50


@dataclass
class Audit:
    """The report of one conversion; rows are those of the source: lines, table rows or mask files."""

    rows_used: int = 0
    dropped: dict[str, Counter[str]] = field(default_factory=dict)  # reason -> what -> rows
    lesions_dropped: dict[str, Counter[str]] = field(default_factory=dict)
    without_pixels: list[str] = field(default_factory=list)
    clipped: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)  # image files that no row names
    notes: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def rows_dropped(self) -> int:
        """Rows that left nothing in the COCO file."""
        return sum(counted.total() for counted in self.dropped.values())

    @property
    def rows_read(self) -> int:
        """All rows: those used and those dropped."""
        return self.rows_used + self.rows_dropped

    def drop(self, reason: str, what: str, rows: int = 1) -> None:
        """Count rows that are not used, such as those of a film without a file."""
        self.dropped.setdefault(reason, Counter())[what] += rows

    def drop_lesion(self, reason: str, what: str) -> None:
        """Count a lesion of a film that is used without it."""
        self.lesions_dropped.setdefault(reason, Counter())[what] += 1

    def note(self, remark: str, what: str) -> None:
        """Count something that is used but should be known."""
        self.notes.setdefault(remark, Counter())[what] += 1

    def record(self) -> dict[str, Any]:
        """Return the report for the COCO file's ``info``: exact counts, with the first names of every group.

        Groups by reason (``rows_dropped``, ``lesions_dropped``, ``notes``) and those without
        (``images_without_pixels``, ``boxes_clipped``, ``files_without_row``) hold
        ``{"count": int, "first": [str, ...]}``.
        """
        return {
            "rows_read": self.rows_read,
            "rows_used": self.rows_used,
            "rows_dropped": _records(self.dropped),
            "lesions_dropped": _records(self.lesions_dropped),
            "images_without_pixels": _record(self.without_pixels),
            "boxes_clipped": _record(self.clipped),
            "files_without_row": _record(self.unlisted),
            "notes": _records(self.notes),
        }

    def lines(self) -> list[str]:
        """Return the report for people, with the first names of every group."""
        report = [f"rows: {self.rows_read} read, {self.rows_used} used, {self.rows_dropped} dropped"]
        report += _group("rows dropped", self.dropped)
        report += _group("lesions dropped", self.lesions_dropped)
        named = {
            "images without pixels": self.without_pixels,
            "boxes clipped to their image": self.clipped,
            "image files that no row names": self.unlisted,
        }
        report += [f"{title}: {len(names)} ({_first(names)})" for title, names in named.items() if names]
        return report + _group("note", self.notes)


def _record(names: Sequence[str], count: int | None = None) -> dict[str, Any]:
    return {"count": len(names) if count is None else count, "first": list(names[:_RECORDED])}


def _records(reasons: Mapping[str, Counter[str]]) -> dict[str, Any]:
    return {reason: _record(list(counted), counted.total()) for reason, counted in reasons.items()}


def _group(title: str, reasons: Mapping[str, Counter[str]]) -> list[str]:
    return [
        f"{title}: {counted.total()}: {reason} ({_first(list(counted))})"
        for reason, counted in reasons.items()
    ]


def _first(names: list[str]) -> str:
    return ", ".join(map(_printable, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")


def _printable(name: str) -> str:
    """Return a name that stays on one line of any terminal: files may be called by any bytes."""
    return "".join(sign if sign.isprintable() else "?" for sign in name)
