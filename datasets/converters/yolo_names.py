"""What YOLO's class numbers are called, and where its splits lie: data.yaml, classes.txt, obj.names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mammodet.datasets.converters.documents import documents
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.generic import split_of
from mammodet.datasets.converters.texts import read_text
from mammodet.datasets.errors import InputError

MOST_BYTES = 2**20
_REMEDY = "give names as Ultralytics has them, names: {0: benign, 1: malignant}"


@dataclass(frozen=True)
class Names:
    """Class names by number, and the folders of splits as lower-case parts of their paths."""

    by_number: Mapping[int, str] = field(default_factory=dict)
    folders: Sequence[tuple[str, tuple[str, ...]]] = ()

    def of(self, number: int) -> str:
        """Return the name of a class, or its number where no file names it."""
        return self.by_number.get(number, str(number))


def read_names(files: ImageFiles) -> Names:
    """Read the names of the classes; without any file that names them, numbers stay numbers.

    Raises InputError when files disagree, or are malformed.
    """
    found: dict[Path, Names] = {}
    for path in documents(files, r".*\.ya?ml"):
        names = _from_yaml(path)
        if names is not None:
            found[path] = names
    for path in documents(files, r"classes\.txt|.*\.names"):
        lines = [line.strip() for line in read_text(path, most_bytes=MOST_BYTES).split("\n")]
        while lines and not lines[-1]:
            lines.pop()
        found[path] = Names(dict(enumerate(lines)))
    if not found:
        return Names()
    (first, names), *others = found.items()
    for path, other in others:
        if other.by_number != names.by_number:
            remedy = "leave the one that belongs to these labels in the folder"
            raise InputError(f"names other classes than {files.name(first)}", file=path, remedy=remedy)
    return Names(names.by_number, [one for names in found.values() for one in names.folders])


def _from_yaml(path: Path) -> Names | None:
    """Read a data set's YAML; None when it names no classes and so is about something else."""
    content = _load(path)
    if not isinstance(content, dict) or "names" not in content:
        return None
    if "kpt_shape" in content:
        remedy = "export boxes or polygons"
        raise InputError("is a data set of key points", file=path, field="kpt_shape", remedy=remedy)
    names = content["names"]
    pairs = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else ()
    by_number: dict[int, str] = {}
    for key, name in pairs:
        number = str(key)
        if not number.isascii() or not number.isdigit() or len(number) > 6 or not isinstance(name, str):
            raise InputError(
                "is no number with a name", file=path, field=f"names.{number[:40]}", remedy=_REMEDY
            )
        by_number[int(number)] = name.strip()
    if not by_number:
        raise InputError("holds no names", file=path, field="names", remedy=_REMEDY)
    return Names(by_number, list(_folders(content)))


def _load(path: Path) -> Any:
    text = read_text(path, most_bytes=MOST_BYTES)
    try:
        # BaseLoader builds strings, lists and dicts only: no objects, and a class called "no" or "1" keeps
        # its name. Nothing of the content is shown in errors: aliases can make it endless.
        return yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark is not None else None
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "broken"
        raise InputError(f"is no YAML: {problem}", file=path, field=where, remedy=_REMEDY) from None
    except (RecursionError, ValueError):
        raise InputError("is no YAML of a data set", file=path, remedy=_REMEDY) from None


def _folders(content: Mapping[Any, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Return which folders hold which split; lists of images (.txt) are read elsewhere."""
    folders = []
    for key in ("train", "val", "valid", "test"):
        value = content.get(key)
        for entry in value if isinstance(value, list) else [value]:
            if not isinstance(entry, str) or entry.lower().endswith(".txt"):
                continue
            parts = [
                part for part in entry.replace("\\", "/").lower().split("/") if part not in {"", ".", ".."}
            ]
            split = split_of([key])
            if parts and split is not None:
                folders.append((split, tuple(parts)))
    return folders
