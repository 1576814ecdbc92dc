"""Which files of a folder are mammograms worth opening."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mammodet.datasets.errors import InputError

IMAGE_SUFFIXES = frozenset({".dcm", ".dicom", ".png", ".pgm", ".tif", ".tiff", ".jpg", ".jpeg"})


def find_mammograms(paths: Sequence[Path]) -> list[Path]:
    """Return the image files among ``paths``.

    Files are taken as given, whatever they are called. Folders are searched with their sub-folders, in sorted
    order, for image suffixes (in any case) and for DICOM files without suffix; hidden files and DICOMDIR are
    skipped. A file that is reached twice is returned once.

    Raises
    ------
    InputError
        When a path does not exist, or a folder holds no image file.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(_images_in(path))
            if not inside:
                remedy = f"give a folder with DICOM files or images ({', '.join(sorted(IMAGE_SUFFIXES))})"
                raise InputError("no mammograms in this folder", file=path, remedy=remedy)
            found.update(dict.fromkeys(inside))
        elif path.exists():
            found[path] = None
        else:
            raise InputError("no such file or folder", file=path, remedy="check the path")
    if not found:
        raise InputError("no file or folder was given", remedy="give at least one file or folder")
    return list(found)


def _images_in(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.name.upper() == "DICOMDIR" or not path.is_file():
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES or _has_preamble(path):
            yield path


def _has_preamble(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False
