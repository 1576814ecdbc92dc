"""Tables and texts of a data set, found by their file name wherever they lie below its folder."""

from __future__ import annotations

import re
from pathlib import Path

from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.errors import InputError


def documents(files: ImageFiles, pattern: str) -> list[Path]:
    """Return the files that are no images and whose whole name matches a regular expression, in any case."""
    name = re.compile(pattern, re.IGNORECASE)
    return [path for path in files.skipped if name.fullmatch(path.name) and path.is_file()]


def document(files: ImageFiles, name: str) -> Path | None:
    """Return the one file of this name, in any case; None when there is none, InputError for several."""
    found = documents(files, re.escape(name))
    if len(found) > 1:
        raise InputError(
            "there are several files of this name",
            file=files.root,
            field=name,
            value=", ".join(files.name(path) for path in found),
            remedy="leave one of them in the folder",
        )
    return found[0] if found else None
