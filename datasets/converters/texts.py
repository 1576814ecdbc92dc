"""Text files of strangers: their encoding told from their bytes, their size bounded."""

from __future__ import annotations

import codecs
from pathlib import Path

from mammodet.datasets.errors import InputError

MOST_BYTES = 64 * 2**20  # the largest annotation file of one image, or list of them, has a few megabytes
LONGEST_LINE = 2**20  # a polygon has kilobytes

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def encoding_of(path: Path) -> str:
    """Return the encoding that a byte order mark tells, UTF-8 without one; raises InputError."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
    except FileNotFoundError:
        raise InputError("no such file", file=path, remedy="give the folder of the data set") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"cannot be opened: {reason}", file=path, remedy="check its permissions") from None
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "utf-8")


def read_text(path: Path, *, most_bytes: int = MOST_BYTES, longest_line: int | None = LONGEST_LINE) -> str:
    r"""Return the text of a file, in UTF-8 or as its byte order mark says, with ``\n`` line ends.

    Raises InputError when the file is not there, is larger than ``most_bytes``, has a line of more than
    ``longest_line`` characters, holds a zero character, or is in another encoding.
    """
    encoding = encoding_of(path)
    size = path.stat().st_size
    if size > most_bytes:
        problem = f"has {size} bytes, more than the {most_bytes} of any annotation file"
        raise InputError(problem, file=path, remedy="check that it is the annotation file")
    try:
        text = path.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        where = f"byte {error.start}"
        raise InputError(
            "is no text in UTF-8", file=path, field=where, remedy="save it in the encoding UTF-8"
        ) from None
    if "\0" in text:
        raise InputError("holds zero characters", file=path, remedy="check that it is a text file")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if longest_line is not None:
        for number, line in enumerate(text.split("\n"), start=1):
            if len(line) > longest_line:
                problem = f"has {len(line)} characters, more than any row has"
                raise InputError(
                    problem, file=path, field=f"line {number}", remedy="check that the file is whole"
                )
    return text
