"""Which files of a folder are mammograms worth opening, and what else lies there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mammodet.datasets.errors import InputError
from mammodet.datasets.filetype import file_kind

IMAGE_SUFFIXES = frozenset({".dcm", ".dicom", ".png", ".pgm", ".tif", ".tiff", ".jpg", ".jpeg"})


@dataclass
class Found:
    """What a search came upon.

    Parameters
    ----------
    images:
        Files worth opening, each once, in the order of the paths that were searched.
    skipped:
        Everything else, with the reason: files of other kinds, empty files, folders that cannot be opened,
        links that are not followed.
    """

    images: list[Path] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)


def search(paths: Sequence[Path]) -> Found:
    """Return the image files among ``paths``, and what was skipped.

    Files are taken as given, whatever they are called. Folders are searched with their sub-folders, in sorted
    order, for files with an image suffix (in any case) and for files of any name whose first bytes are those
    of an image; hidden files and DICOMDIR are left out. A file that is reached twice, also by another
    spelling of its path or by a link, is returned once, as it was reached first.

    Raises
    ------
    InputError
        When a path does not exist, or a folder cannot be opened or holds no image file.
    """
    found = Found()
    known: dict[Path, Path] = {}  # the resolved path, and how it was first spelled
    for path in map(Path, paths):
        if path.is_dir():
            inside = search_folder(path)
            found.skipped.update(inside.skipped)
        elif path.exists():
            inside = Found([path])
        else:
            raise InputError("no such file or folder", file=path, remedy="check the path")
        for image in inside.images:
            first = known.setdefault(image.resolve(), image)
            if first != image and image.is_symlink():
                found.skipped[image] = f"is a link to {first}"
    if not known:
        raise InputError("no file or folder was given", remedy="give at least one file or folder")
    found.images = list(known.values())
    return found


def search_folder(folder: Path) -> Found:
    """Search one folder like ``search``, but keep every name of a file that several links lead to."""
    found = Found()

    def refused(error: OSError) -> None:
        path, reason = Path(error.filename or folder), error.strerror or type(error).__name__
        if path == folder:
            raise InputError(f"cannot be opened: {reason}", file=folder, remedy="check its permissions")
        found.skipped[path] = f"cannot be opened: {reason}"

    for parent, folders, files in os.walk(folder, onerror=refused):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [path for path in (Path(parent, name) for name in folders) if path.is_symlink()]
        found.skipped.update(dict.fromkeys(links, "is a link to a folder, give that folder itself"))
        for name in files:
            if name.startswith(".") or name.upper() == "DICOMDIR":
                continue
            problem = _problem(Path(parent, name))
            if problem is None:
                found.images.append(Path(parent, name))
            else:
                found.skipped[Path(parent, name)] = problem
    if not found.images:
        raise InputError("no mammograms in this folder", file=folder, remedy=_remedy(found))
    return Found(sorted(found.images), dict(sorted(found.skipped.items())))


def _remedy(found: Found) -> str:
    links = [path.name for path in found.skipped if path.is_dir()]
    if links:  # to folders, which are not followed: they may lead in circles
        return f"links to folders are not followed ({links[0]}); give the folders that they lead to"
    return f"give a folder with DICOM files or images ({', '.join(sorted(IMAGE_SUFFIXES))})"


def _problem(path: Path) -> str | None:
    """Return why a file of a folder is not worth opening; None when it is."""
    if not path.is_file():
        return "is a broken link" if path.is_symlink() else "is no regular file"
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return None  # whatever it holds: a broken one is told by its reader
    try:
        file_kind(path)
    except InputError as error:
        return error.problem
    return None
