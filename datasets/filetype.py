"""What a file is, told by its content: suffixes of medical images lie too often."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from mammodet.datasets.errors import InputError

Kind = Literal["dicom", "png", "pgm", "tiff", "jpeg"]

NAMES: Mapping[str, str] = {"dicom": "DICOM", "png": "PNG", "pgm": "PGM", "tiff": "TIFF", "jpeg": "JPEG"}
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "dicom": (".dcm", ".dicom"),
    "png": (".png",),
    "pgm": (".pgm",),
    "tiff": (".tif", ".tiff"),
    "jpeg": (".jpg", ".jpeg"),
}
_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"P5", "pgm"),
    (b"P2", "pgm"),
)


def file_kind(path: Path) -> Kind:
    """Return what kind of image a file holds.

    Raises
    ------
    InputError
        When the file is not there, is empty, is no image of a known kind, or is of another kind than its
        suffix says: such a file was renamed or mixed up, and other programs would misread it.
    """
    head = _head(path)
    kind = _kind_of(head)
    if kind is None:
        raise InputError(
            "is no DICOM, PNG, PGM, TIFF or JPEG file",
            file=path,
            field="first bytes",
            value=head[:8],
            remedy="give image files only; a file cut off by a broken download has to be fetched again",
        )
    claimed = next((name for name, suffixes in SUFFIXES.items() if path.suffix.lower() in suffixes), kind)
    if claimed != kind:
        problem = f"is a {NAMES[kind]} file, not {NAMES[claimed]}"
        raise InputError(problem, file=path, remedy=f"rename it to {SUFFIXES[kind][0]}")
    return kind


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise InputError("is a folder, not an image", file=path, remedy="give the files in it")
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise InputError("is no regular file", file=path, remedy="give image files only")
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except FileNotFoundError:
        raise InputError("no such file", file=path, remedy="check the path") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"cannot be opened: {reason}", file=path, remedy="check its permissions") from None
    if not head:
        raise InputError("is empty (0 bytes)", file=path, remedy="fetch the file again")
    return head


def _kind_of(head: bytes) -> Kind | None:
    if head[128:132] == b"DICM" or _starts_like_a_data_set(head):
        return "dicom"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            # "P5" alone could begin any text: a header goes on with white space or a comment.
            if kind == "pgm" and head[2:3] not in {b" ", b"\n", b"\r", b"\t", b"#"}:
                continue
            return kind
    return None


def _starts_like_a_data_set(head: bytes) -> bool:
    """Tell whether a file without preamble begins with a DICOM element of group 0002 or 0008."""
    if len(head) < 8 or head[1] != 0 or head[0] not in {2, 8} or head[3] != 0:
        return False
    explicit = all(chr(byte) in string.ascii_uppercase for byte in head[4:6])
    return explicit or int.from_bytes(head[4:8], "little") <= 256
