"""Whether a JPEG or JPEG-LS stream holds together, checked before a decoder sees it.

Decoders take memory for the size that a stream claims, run for minutes on sizes that make no sense, and fill
up what is missing with grey. Both kinds are chains of marker segments (ITU-T T.81, annex B; T.87, annex C).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_START, _END, _SCAN, _TABLES = 0xD8, 0xD9, 0xDA, 0xC4
_JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC3})  # baseline, extended sequential, lossless; each Huffman-coded
_JPEG_LS_FRAME, _JPEG_LS_PRESETS = 0xF7, 0xF8
_OTHERS = frozenset({_TABLES, _SCAN, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_RESTARTS = range(0xD0, 0xD8)
# In JPEG data 0xFF is followed by 0x00; in JPEG-LS data by a byte below 0x80. Everything else is a marker.
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_JPEG_LS_MARKER = re.compile(rb"\xff+[\x80-\xfe]")
# Codes of every length begin in these bytes, and few of them stand for "no difference".
_PROBE = bytes([0xA5, 0x3C, 0x96, 0x71, 0xD2, 0x4B, 0xE8, 0x1D]) * 8


@dataclass(frozen=True)
class Scan:
    """Where the coded pixels of a checked stream begin, and the markers in and after them, by offset."""

    start: int
    markers: tuple[int, ...]


def check_jpeg(stream: bytes, width: int, height: int) -> Scan:
    """Return the scan of a grey JPEG stream; raise ValueError when the stream is damaged.

    Checked are the chain of segments up to the scan, the kind and size of the frame against ``width`` and
    ``height``, the Huffman tables, the order of the restart markers and the end marker.
    """
    start = _check_headers(stream, width, height, _JPEG_FRAMES)
    found = [(match.start(), stream[match.end() - 1]) for match in _JPEG_MARKER.finditer(stream, start)]
    markers: list[int] = []
    for count, (position, marker) in enumerate(found):
        markers.append(position)
        if marker == _END:
            return Scan(start, tuple(markers))
        if marker != _RESTARTS[count % 8]:
            raise ValueError(f"the JPEG stream has a wrong marker in its pixels, at byte {position}")
    raise ValueError("the JPEG stream has no end marker")


def check_jpeg_ls(stream: bytes, width: int, height: int) -> None:
    """Raise ValueError when a grey JPEG-LS stream is damaged, or of another size than ``width`` x ``height``.

    Whether its pixels are complete is told by its decoder.
    """
    start = _check_headers(stream, width, height, frozenset({_JPEG_LS_FRAME}))
    for match in _JPEG_LS_MARKER.finditer(stream, start):
        if stream[match.end() - 1] == _END:
            return
        if stream[match.end() - 1] not in _RESTARTS:
            raise ValueError(f"the JPEG-LS stream has a wrong marker in its pixels, at byte {match.start()}")
    raise ValueError("the JPEG-LS stream has no end marker")


def decode_complete(
    stream: bytes, scan: Scan, decoder: Callable[[bytes], NDArray[np.generic]]
) -> NDArray[np.generic]:
    """Return what ``decoder`` makes of a JPEG stream; raise ValueError when pixels are missing in it.

    libjpeg does not tell whether it ran out of data: it goes on with "no difference" to the end of the image,
    or to the next restart marker. So more data are put before each marker: a decoder that has all its pixels
    never looks at them, and one that lacks some makes them into other pixels.
    """
    values = decoder(stream)
    probed, position = [], 0
    for marker in scan.markers:
        probed += [stream[position:marker], _PROBE]
        position = marker
    if not np.array_equal(values, decoder(b"".join([*probed, stream[position:]]))):
        raise ValueError("the JPEG stream ends before the last pixel")
    return values


def _check_headers(stream: bytes, width: int, height: int, kinds: frozenset[int]) -> int:
    """Check the segments up to the first scan; return where its data begin."""
    if stream[:2] != bytes([0xFF, _START]):
        raise ValueError("the JPEG stream does not begin with its start marker")
    is_ls = _JPEG_LS_FRAME in kinds
    known = kinds | _OTHERS | ({_JPEG_LS_PRESETS} if is_ls else set())
    position, frames, tables = 2, 0, 0
    while position + 4 <= len(stream):
        if stream[position] == 0xFF and stream[position + 1] == 0xFF:  # fill byte
            position += 1
            continue
        marker, length = stream[position + 1], int.from_bytes(stream[position + 2 : position + 4], "big")
        segment = stream[position + 4 : position + 2 + length]
        if stream[position] != 0xFF or marker not in known or len(segment) != length - 2:
            raise ValueError(f"the JPEG stream has a broken or unsuited segment at byte {position}")
        position += 2 + length
        if marker == _SCAN:
            if frames != 1 or not (tables or is_ls) or len(segment) != 6 or segment[0] != 1:
                raise ValueError("the JPEG stream has a broken scan header")
            return position
        if marker in kinds and not _is_frame_of(segment, width, height):
            raise ValueError("the JPEG stream is of another size or kind than the header claims")
        if marker == _TABLES and not _are_tables(segment):
            raise ValueError("the JPEG stream has a broken Huffman table")
        frames, tables = frames + (marker in kinds), tables + (marker == _TABLES)
    raise ValueError("the JPEG stream has no scan")


def _is_frame_of(segment: bytes, width: int, height: int) -> bool:
    """Tell whether a frame header has the size wanted, one component, and 2 to 16 bits."""
    size = (int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[1:3], "big"))
    return len(segment) == 9 and segment[5] == 1 and size == (width, height) and 2 <= segment[0] <= 16


def _are_tables(segment: bytes) -> bool:
    """Tell whether Huffman tables fill their segment: class and number, 16 counts, as many values."""
    position = 0
    while position < len(segment):
        counts = segment[position + 1 : position + 17]
        if (
            len(counts) != 16
            or sum(counts) > 256
            or segment[position] & 0x0F > 3
            or segment[position] >> 4 > 1
        ):
            return False
        # More codes of a length than it has room for would make a decoder run out of its table.
        room = 1
        for count in counts:
            room = 2 * room - count
            if room < 0:
                return False
        position += 17 + sum(counts)
    return position == len(segment)
