"""Whether the headers of a JPEG stream hold together, checked before a decoder that may abort sees it.

gdcm, the only decoder for JPEG Lossless, ends the whole process on some damaged headers; a batch must not
die of one file.
"""

from __future__ import annotations

_START, _END, _SCAN, _TABLES = 0xD8, 0xD9, 0xDA, 0xC4
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_KNOWN = _FRAMES | {_TABLES, 0xCC, _SCAN, 0xDB, 0xDC, 0xDD, 0xFE} | set(range(0xE0, 0xF0))


def check_jpeg(stream: bytes, width: int, height: int) -> None:
    """Raise ValueError when a grey JPEG stream of ``width`` x ``height`` pixels is damaged before its scan.

    Checked are the chain of segments up to the scan, the frame's size and its number of components, the
    Huffman tables, and the end marker (ITU-T T.81, annex B).
    """
    if stream[:2] != bytes([0xFF, _START]):
        raise ValueError("the JPEG stream does not begin with its start marker")
    if bytes([0xFF, _END]) not in stream[-16:]:
        raise ValueError("the JPEG stream has no end marker")
    position, frames, tables = 2, 0, 0
    while position + 4 <= len(stream):
        marker, length = stream[position + 1], int.from_bytes(stream[position + 2 : position + 4], "big")
        segment = stream[position + 4 : position + 2 + length]
        if stream[position] != 0xFF or marker not in _KNOWN or len(segment) != length - 2:
            raise ValueError(f"the JPEG stream has a broken segment at byte {position}")
        if marker == _SCAN:
            if frames != 1 or not tables or len(segment) != 6 or segment[0] != 1:
                raise ValueError("the JPEG stream has a broken scan header")
            return
        if marker in _FRAMES and not _is_frame_of(segment, width, height):
            raise ValueError("the JPEG stream is of another size or kind than the header claims")
        if marker == _TABLES and not _are_tables(segment):
            raise ValueError("the JPEG stream has a broken Huffman table")
        frames, tables = frames + (marker in _FRAMES), tables + (marker == _TABLES)
        position += 2 + length
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
