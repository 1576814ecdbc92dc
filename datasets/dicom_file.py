"""Parse a DICOM file into elements, with no more memory than the file is long.

Lengths in damaged files claim gigabytes, which Python would set aside before it looks whether they are there,
and deflated files can grow a thousandfold.
"""

from __future__ import annotations

import io
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from mammodet.datasets.errors import InputError

# Four times the pixels of the largest image that is read; multi-frame files are refused by their header.
LARGEST_FILE = 2**30
_PIXEL_GROUP = 0x7FE0
_LARGE = 2**20


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from warning about odd values, whose text could hold a name."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def open_dicom(path: Path, *, header_only: bool = False) -> Dataset:
    """Parse a DICOM file; ``header_only`` stops before its pixels.

    Raises
    ------
    InputError
        When the file cannot be parsed, or is larger than any single mammogram, packed or unpacked.
    """
    try:
        with _Bounded(path) as stream:
            if stream.end > LARGEST_FILE and not header_only:
                raise _TooLarge(stream.end)
            deflated = _deflated(stream, path, header_only=header_only)
            if deflated is not None:
                return deflated
            stream.seek(0)
            return pydicom.dcmread(stream, force=True, stop_before_pixels=header_only)
    except _TooLarge as error:
        raise InputError(
            "is larger than any mammogram",
            file=path,
            field="bytes",
            value=error.args[0],
            remedy="it is broken or no mammogram; leave it out",
        ) from None
    except Exception as error:  # pydicom raises EOFError, struct.error, ValueError, NotImplementedError ...
        # Only the kind of the error is told: its text can quote values of the header.
        raise InputError(
            f"cannot be parsed as DICOM ({type(error).__name__})",
            file=path,
            remedy="fetch the file again; it is cut off or damaged",
        ) from None


class _TooLarge(Exception):
    """A file with more bytes than ``LARGEST_FILE``; carries their number."""


class _Bounded(io.BufferedReader):
    """A file that never sets aside more memory than what is left of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.end = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGE:
            size = max(0, min(size, self.end - self.tell()))
            if size > LARGEST_FILE:
                raise _TooLarge(size)
        return super().read(size)


def _deflated(stream: _Bounded, path: Path, *, header_only: bool) -> Dataset | None:
    """Return the data set of a deflated file (PS3.5 A.5); None when the file is of another kind."""
    try:
        preamble = read_preamble(stream, force=True)
        meta = FileMetaDataset(read_dataset(stream, False, True, stop_when=lambda tag, *_: tag >> 16 != 2))
    except Exception:  # whatever is odd about it, pydicom knows more ways to read it
        return None
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return None
    packed = stream.read()
    content = _header_of(packed) if header_only else None
    if content is None:
        plain = _inflated(packed, LARGEST_FILE // 2)
        if len(plain) >= LARGEST_FILE // 2:
            raise _TooLarge(len(plain))
        content = read_dataset(io.BytesIO(plain), False, True, stop_when=_is_pixels if header_only else None)
    data = FileDataset(path, content, preamble, meta, is_implicit_VR=False, is_little_endian=True)
    data.set_original_encoding(False, True, content._character_set)
    return data


def _header_of(packed: bytes) -> Dataset | None:
    """Return the elements before the pixels, without inflating those; None when more has to be inflated."""
    seen = []

    def stop(tag: BaseTag, *_: object) -> bool:
        seen.append(_is_pixels(tag))
        return seen[-1]

    content = read_dataset(io.BytesIO(_inflated(packed, _LARGE)), False, True, stop_when=stop)
    return content if seen and seen[-1] else None


def _inflated(packed: bytes, limit: int) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limit)


def _is_pixels(tag: BaseTag, *_: object) -> bool:
    return tag >> 16 == _PIXEL_GROUP
