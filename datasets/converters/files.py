"""The image files of a data set, found again by whatever name its annotations call them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mammodet.datasets.discover import search_folder
from mammodet.datasets.errors import InputError


class ImageFiles:
    """The image files below ``root``, hidden ones left out, what was ``skipped``, and which files were used.

    Raises InputError when ``root`` is no folder or holds no image file.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            problem = "is no folder" if root.exists() else "no such folder"
            raise InputError(problem, file=root, remedy="give the folder of the data set")
        self.root = root
        found = search_folder(root)  # annotations may call one file by the names of several links
        self.paths, self.skipped = found.images, found.skipped
        self._used: set[Path] = set()
        self._by_folder: defaultdict[str, list[Path]] | None = None
        self._by_name: defaultdict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            relative = path.relative_to(root)
            for name in {relative.as_posix(), relative.name, relative.stem.strip()}:
                self._by_name[name.lower()].append(path)

    def find(self, name: str) -> Path | None:
        """Return the file that the annotations call ``name``: a path below the root, a file name or a stem.

        Case, slashes and surrounding spaces do not matter; an exact path goes first. Returns None when there
        is no such file, and raises InputError when there are several.
        """
        key = name.strip().replace("\\", "/").removeprefix("./")
        found = [path for path in self._by_name.get(key.lower(), []) if self.name(path) == key]
        found = found or self._by_name.get(key.lower(), [])
        if len(found) > 1:
            raise self._several(name, found)
        return found[0] if found else None

    def find_tail(self, name: str) -> Path | None:
        """Return the file whose path ends like ``name``, a path on the machine of those who made the table.

        The longest ending that some file has decides. Raises InputError when several files share it.
        """
        parts = [part for part in name.strip().replace("\\", "/").split("/") if part not in {"", ".", ".."}]
        for start in range(len(parts)):
            ending = tuple(part.lower() for part in parts[start:])
            called = self._by_name.get(ending[-1], [])
            found = [path for path in called if self._parts(path)[-len(ending) :] == ending]
            if len(found) > 1:
                raise self._several(name, found)
            if found:
                return found[0]
        return None

    def below(self, folder: str) -> list[Path]:
        """Return the files that lie below a folder of this name, however deep the folder itself lies."""
        if self._by_folder is None:
            self._by_folder = defaultdict(list)
            for path in self.paths:
                for part in set(self._parts(path)[:-1]):
                    self._by_folder[part].append(path)
        return list(self._by_folder.get(folder.strip().lower(), []))

    def _parts(self, path: Path) -> tuple[str, ...]:
        return tuple(part.lower() for part in path.relative_to(self.root).parts)

    def _several(self, name: str, found: Sequence[Path]) -> InputError:
        return InputError(
            "the annotations name one file and the folder has several of that name",
            file=self.root,
            field=name,
            value=", ".join(self.name(path) for path in found),
            remedy="leave one of them in the folder",
        )

    def name(self, path: Path) -> str:
        """Return how the audit names a file: its path below the root."""
        return Path(os.path.relpath(path, self.root)).as_posix()

    def use(self, path: Path) -> None:
        """Remember that a file was needed, as an image or as a mask."""
        self._used.add(path)

    def unused(self) -> list[str]:
        """Return the names of the files that nothing needed."""
        return [self.name(path) for path in self.paths if path not in self._used]
