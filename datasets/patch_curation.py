"""The curation list: patches that a reviewer marks as ambiguous are drawn no more (Mračko et al. 2024).

The list is a CSV file with a row per patch. A patch is found again by its address (image, window), so that a
list also fits a store that was made anew by the same rule; its id is for people.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.converters.tables import Row, read_csv
from mammodet.datasets.errors import InputError
from mammodet.datasets.patch_records import Patch
from mammodet.datasets.patch_store import PatchStore
from mammodet.datasets.patch_writer import PatchWriter

COLUMNS = ("id", "image", "file", "x", "y", "width", "height", "split", "class", "ambiguous", "remark")
_REQUIRED = ("image", "x", "y", "width", "height", "class", "ambiguous")
_YES, _NO = {"1", "true", "yes", "x"}, {"", "0", "false", "no"}


@dataclass(frozen=True)
class Curated:
    """What came of a list: rows read, and patches that are ambiguous now, turned copies included."""

    rows: int
    ambiguous: int


def curation_row(patch: Patch) -> dict[str, Any]:
    """Return the row of a patch in the list, with the columns ``COLUMNS``."""
    return {
        "id": patch.id,
        "image": patch.image,
        "file": patch.file,
        "x": patch.x,
        "y": patch.y,
        "width": patch.width,
        "height": patch.height,
        "split": patch.split,
        "class": patch.label,
        "ambiguous": int(patch.ambiguous),
        "remark": patch.remark,
    }


def write_curation(path: Path, patches: Iterable[Patch]) -> None:
    """Write the list of these patches; raises InputError when the file is there, since it may hold marks."""
    if path.exists():
        remedy = "read it with --curation and remove it, or give another folder"
        raise InputError("is there already and may hold marks", file=path, remedy=remedy)
    with atomic_path(path) as temporary:
        temporary.write_text(curation_text(patches), encoding="utf-8", newline="")


def curation_text(patches: Iterable[Patch]) -> str:
    """Return the list of these patches as CSV."""
    lines = [",".join(COLUMNS)]
    for patch in patches:
        row = curation_row(patch)
        lines.append(",".join(_cell(str(row[name])) for name in COLUMNS))
    return "\r\n".join(lines) + "\r\n"


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n;') else text


def apply_curation(path: Path, store: PatchStore, writer: PatchWriter) -> Curated:
    """Set the marks and remarks of a list in a store; patches that it does not name keep theirs.

    Raises InputError when the list is broken, names a patch twice with different marks, or names a patch that
    the store does not have or has under another class. Nothing is changed then.
    """
    rows = read_csv(path, required=_REQUIRED)
    marks: dict[int, tuple[bool, str]] = {}
    for row in rows:
        patch = _patch(row, store)
        mark = (_mark(row), row.cells.get("remark", ""))
        if marks.setdefault(patch.id, mark) != mark:
            raise row.error("ambiguous", "the patch stands in two rows with different marks", "keep one")
    writer.mark([(number, *mark) for number, mark in marks.items()])
    return Curated(len(rows), store.ambiguous())


def _patch(row: Row, store: PatchStore) -> Patch:
    x, y, width, height = (row.number(name) for name in ("x", "y", "width", "height"))
    patch = store.find(row.cells["image"], (x, y, width, height))
    if patch is None:
        remedy = "give the list that was made from this store"
        raise row.error("image", f"the store has no patch at {x:g}, {y:g} of this image", remedy)
    if patch.label != row.cells["class"]:
        raise row.error("class", f"the patch is {patch.label} in the store", "make the list again")
    return patch


def _mark(row: Row) -> bool:
    cell = row.cells["ambiguous"].lower().removesuffix(".0")
    if cell not in _YES | _NO:
        raise row.error("ambiguous", "must be 1 or 0", "mark an ambiguous patch with 1")
    return cell in _YES
