"""Whether a JPEG 2000 codestream holds together, checked before a decoder sees it (ITU-T T.800, annex A).

A header of 50 bytes can make a decoder take gigabytes for tiles, precincts and code blocks, so they are
counted first. High-throughput streams (T.814) have the same headers.
"""

from __future__ import annotations

from dataclasses import dataclass

# JP2 files begin with this box; some writers put them into DICOM, which wants the bare stream (PS3.5 A.4.4).
_JP2_BOX = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_START = b"\xff\x4f\xff\x51"
_SIZE, _CODING, _COMPONENT_CODING, _TILE_PART, _DATA, _END = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93, 0xFFD9
# Far more than any encoder makes of 2**27 pixels, and little enough for the memory of a small computer.
_MOST_TILES = 2**14
_MOST_PRECINCTS = 2**18
_MOST_BLOCKS = 2**21
_MOST_PACKETS = 2**22


@dataclass(frozen=True)
class J2kFrame:
    """What a checked codestream says of its values, and the tiling behind its checks."""

    bits: int
    signed: bool
    width: int
    height: int
    tile_width: int
    tile_height: int

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return -(-self.width // self.tile_width) * -(-self.height // self.tile_height)


def bare_codestream(frame: bytes) -> bytes:
    """Return the codestream of a frame that may be a whole JP2 file."""
    return frame[max(0, frame.find(_START)) :] if frame.startswith(_JP2_BOX) else frame


def check_j2k(stream: bytes, width: int, height: int) -> J2kFrame:
    """Check a grey JPEG 2000 codestream of ``width`` x ``height`` pixels.

    Raises ValueError when a header is damaged, asks for more tiles, precincts or code blocks than any
    mammogram has, when a tile is missing, or when the stream is cut off.
    """
    if not stream.startswith(_START):
        raise ValueError("the JPEG 2000 stream does not begin with its start marker")
    position, segment = _segment(stream, 2)
    frame = _frame_of(segment, width, height)
    coded = False
    while (marker := _marker(stream, position)) != _TILE_PART:
        after, segment = _segment(stream, position)
        coded |= _check_coding(marker, segment, frame)
        position = after
    if not coded:
        raise ValueError("the JPEG 2000 stream does not tell how it is coded")
    _check_tile_parts(stream, position, frame)
    return frame


def _check_tile_parts(stream: bytes, position: int, frame: J2kFrame) -> None:
    """Follow the lengths of the tile-parts to the end marker."""
    seen = set()
    while (marker := _marker(stream, position)) == _TILE_PART:
        header, segment = _segment(stream, position)
        if len(segment) != 8:
            raise ValueError("the JPEG 2000 stream has a broken tile-part header")
        tile, length = int.from_bytes(segment[:2], "big"), int.from_bytes(segment[2:6], "big")
        end = position + length if length else stream.rfind(b"\xff\xd9")
        while (marker := _marker(stream, header)) != _DATA:
            after, segment = _segment(stream, header)
            _check_coding(marker, segment, frame)
            header = after
        if tile >= frame.tiles or not header + 2 <= end <= len(stream):
            raise ValueError("the JPEG 2000 stream has a broken tile-part, or is cut off")
        seen.add(tile)
        position = end
    if marker != _END or len(seen) < frame.tiles:
        raise ValueError(f"the JPEG 2000 stream is cut off: {len(seen)} of {frame.tiles} tiles are there")


def _marker(stream: bytes, position: int) -> int:
    return int.from_bytes(stream[position : position + 2], "big")


def _segment(stream: bytes, position: int) -> tuple[int, bytes]:
    """Return where the marker segment at ``position`` ends, and its content after the length."""
    marker, length = _marker(stream, position), int.from_bytes(stream[position + 2 : position + 4], "big")
    segment = stream[position + 4 : position + 2 + length]
    if not 0xFF4F <= marker <= 0xFF92 or length < 2 or len(segment) != length - 2:
        raise ValueError(f"the JPEG 2000 stream has a broken segment at byte {position}")
    return position + 2 + length, segment


def _frame_of(segment: bytes, width: int, height: int) -> J2kFrame:
    """Read the SIZ segment (A.5.1)."""
    words = [int.from_bytes(segment[start : start + 4], "big") for start in range(2, 34, 4)]
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = words
    components = segment[34:36]
    if len(segment) != 39 or components != b"\x00\x01" or segment[37:39] != b"\x01\x01":
        raise ValueError("the JPEG 2000 stream is of another kind than one grey image")
    if (right - left, bottom - top) != (width, height):
        raise ValueError("the JPEG 2000 stream is of another size than the header claims")
    if any((left, top, tile_left, tile_top)):
        raise ValueError("the JPEG 2000 stream has an offset, which no mammogram has")
    bits, signed = (segment[36] & 0x7F) + 1, bool(segment[36] & 0x80)
    frame = J2kFrame(bits, signed, width, height, min(tile_width, width), min(tile_height, height))
    if not tile_width or not tile_height or frame.tiles > _MOST_TILES or bits > 16:
        raise ValueError("the JPEG 2000 stream has more tiles or bits than any mammogram")
    return frame


def _check_coding(marker: int, segment: bytes, frame: J2kFrame) -> bool:
    """Check a COD or COC segment (A.6.1, A.6.2); tell whether it was a COD."""
    if marker not in {_CODING, _COMPONENT_CODING}:
        return False
    if len(segment) < (10 if marker == _CODING else 7):
        raise ValueError("the JPEG 2000 stream has a broken coding segment")
    style = segment[0] if marker == _CODING else segment[1]
    layers = int.from_bytes(segment[2:4], "big") if marker == _CODING else 1
    levels, block_width, block_height, *_ = coding = segment[5 if marker == _CODING else 2 :]
    precincts = coding[5:]
    if levels > 32 or block_width > 8 or block_height > 8 or (style & 1 and len(precincts) != levels + 1):
        raise ValueError("the JPEG 2000 stream has a broken coding segment")
    blocks = -(-frame.width * frame.height // 2 ** (block_width + block_height + 4))
    number = frame.tiles * sum(
        _precincts_of(frame, levels - level, precincts[level] if style & 1 else 0xFF)
        for level in range(levels + 1)
    )
    if number > _MOST_PRECINCTS or blocks > _MOST_BLOCKS or number * layers > _MOST_PACKETS:
        raise ValueError("the JPEG 2000 stream has more precincts or code blocks than any mammogram")
    return marker == _CODING


def _precincts_of(frame: J2kFrame, halvings: int, exponents: int) -> int:
    """Return how many precincts one tile has at a resolution, from their packed exponents (table A.21)."""
    across = -(-frame.tile_width // 2 ** (halvings + (exponents & 0x0F)))
    down = -(-frame.tile_height // 2 ** (halvings + (exponents >> 4)))
    return across * down
