"""Contact sheets of a patch store: pages to mark ambiguous patches on, and the list to start from.

DIR/page-1.html    up to 200 patches with a box to tick each; "save" downloads curation-1.csv
DIR/curation.csv   all patches, for those who rather mark in a spreadsheet
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import jinja2
from markupsafe import Markup

from mammodet.datasets.atomic import write_text
from mammodet.datasets.patch_curation import COLUMNS, curation_row, write_curation
from mammodet.datasets.patch_records import Patch, preview
from mammodet.datasets.patch_sheet_page import PAGE
from mammodet.datasets.patch_store import PatchStore

PER_PAGE = 200
_SIDE = 448  # px of a picture; a patch of 112 px keeps its pixels, one of 674 px is reduced


@dataclass(frozen=True)
class Card:
    """One patch on a page: its place in the page's rows, its picture as a data URI, its row, and a remark."""

    number: int
    uri: str
    row: dict[str, Any]
    more: str


def write_sheets(store: PatchStore, folder: Path) -> list[Path]:
    """Write the pages and the list of a store's patches, without turned copies; return the pages' paths.

    Patches stand by split, class and id. Raises InputError when the list is there already, before anything is
    written: it may hold marks.
    """
    patches = sorted(store.patches(turned=False), key=lambda one: (one.split, one.label, one.id))
    write_curation(folder / "curation.csv", patches)
    pages = max(1, -(-len(patches) // PER_PAGE))
    paths = []
    for page in range(1, pages + 1):
        mine = patches[(page - 1) * PER_PAGE : page * PER_PAGE]
        paths.append(folder / f"page-{page}.html")
        write_text(paths[-1], render_sheet(store, mine, page, pages, len(patches)))
    return paths


def render_sheet(store: PatchStore, patches: Sequence[Patch], page: int, pages: int, total: int) -> str:
    """Return one page; names in it are escaped, whatever they hold, and it needs no network."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    cards = list(_cards(store, patches))
    groups = [
        (f"{label}{f', {split}' if split else ''}", list(members))
        for (split, label), members in groupby(cards, key=lambda one: (one.row["split"], one.row["class"]))
    ]
    rows = {
        "columns": COLUMNS,
        "name": f"curation-{page}.csv",
        "rows": [card.row for card in cards],
    }
    text = environment.from_string(PAGE).render(
        store=store.path.name,
        page=page,
        pages=pages,
        shown=len(patches),
        total=total,
        groups=groups,
        rows=_script_json(rows),
        version=version("mammodet"),
    )
    return text.encode("utf-8", "replace").decode("utf-8")  # JSON may hold halves of characters


def _script_json(value: Any) -> Markup:
    """Return JSON that can stand in a script element: no ``<`` ends it or starts a comment."""
    return Markup(json.dumps(value).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _cards(store: PatchStore, patches: Sequence[Patch]) -> Iterator[Card]:
    for number, patch in enumerate(patches):
        pixels = store.pixels([patch.id])[0]
        coded = cv2.imencode(".jpg", preview(pixels, _SIDE), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        uri = f"data:image/jpeg;base64,{base64.b64encode(coded.tobytes()).decode('ascii')}"
        more = "" if patch.annotation is None else f", annotation {patch.annotation}"
        yield Card(number, uri, curation_row(patch), more)
