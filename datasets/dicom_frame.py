"""From the bytes of one DICOM frame to stored values, by transfer syntax (PS3.5, 8.2 and annexes A and G).

What is compressed is read by imagecodecs (libjpeg-turbo, CharLS, OpenJPEG), after a look at the headers of
the stream: a decoder that trusts them may take all memory, or hand out half a picture. gdcm, which reads the
same, is not used, because it ends the whole process on some damaged and on some sound files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

from mammodet.datasets.intensity import Stored
from mammodet.datasets.j2k_stream import bare_codestream, check_j2k
from mammodet.datasets.jpeg_stream import check_jpeg, check_jpeg_ls, decode_complete

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_RLE_SEGMENTS = 15
_RLE_HEADER = 64


@dataclass(frozen=True)
class FrameLayout:
    """What the header of a file claims about its one grey frame; ``bits`` are those allocated, 8 or 16."""

    width: int
    height: int
    bits: int
    signed: bool = False
    big_endian: bool = False
    words: bool = False  # 8-bit values in words of 16 bits, which big-endian files turn around

    @property
    def bytes(self) -> int:
        """Bytes of the frame without compression."""
        return self.width * self.height * self.bits // 8


def only_frame(encapsulated: bytes) -> bytes:
    """Return the one frame of encapsulated pixel data, its fragments joined (PS3.5 A.4).

    Raises ValueError when the chain of items is broken or cut off, or tells of several frames.
    """
    fragments, position = [], 0
    while (tag := encapsulated[position : position + 4]) == _ITEM:
        length = int.from_bytes(encapsulated[position + 4 : position + 8], "little")
        fragment = encapsulated[position + 8 : position + 8 + length]
        if len(fragment) < length:
            raise ValueError(f"a fragment is cut off: {len(fragment)} of {length} bytes are there")
        fragments.append(fragment)
        position += 8 + length
    if tag not in {b"", _DELIMITER}:
        raise ValueError(f"the chain of fragments is broken at byte {position}")
    if len(fragments) < 2:
        raise ValueError("there is no fragment")
    if len(fragments[0]) > 4:
        raise ValueError("the offset table tells of several frames")
    return b"".join(fragments[1:])


def decode_frame(frame: bytes, syntax: UID, layout: FrameLayout) -> Stored:
    """Return the values of a frame as bit patterns, uint8 or uint16 [H, W].

    Signed values are in two's complement. Patterns have at least the bits that ``layout`` allocates.

    Raises
    ------
    KeyError
        When the transfer syntax is none of ``SYNTAXES``.
    Exception
        Whatever the decoder raises; ValueError when the frame is damaged, cut off or of another size.
    """
    values = SYNTAXES[syntax](frame, layout)
    if values.ndim != 2 or values.shape != (layout.height, layout.width):
        raise ValueError(f"{values.shape} values were coded, not those that the header claims")
    if values.dtype.itemsize > 2 or values.dtype.kind not in "iu":
        raise ValueError("values of more than 16 bits were coded")
    size = max(layout.bits // 8, values.dtype.itemsize)
    # Through the type of the same sign, so that signed values keep theirs.
    wide = np.ascontiguousarray(values.astype(f"{values.dtype.kind}{size}", copy=False))
    return wide.view(np.uint8) if size == 1 else wide.view(np.uint16)


def _native(frame: bytes, layout: FrameLayout) -> NDArray[np.generic]:
    if len(frame) < layout.bytes:
        raise ValueError(f"{len(frame)} of {layout.bytes} bytes are there")
    order = ">" if layout.big_endian else "<"
    if layout.bits == 8 and layout.words and layout.big_endian:
        even = frame[: layout.bytes + layout.bytes % 2]
        swapped = np.frombuffer(even.ljust(layout.bytes + layout.bytes % 2, b"\0"), "<u2").byteswap()
        values = swapped.view(np.uint8)[: layout.bytes]
    else:
        values = np.frombuffer(frame, f"{order}u{layout.bits // 8}", layout.width * layout.height)
    return values.astype(values.dtype.newbyteorder("=")).reshape(layout.height, layout.width)


def _rle(frame: bytes, layout: FrameLayout) -> NDArray[np.generic]:
    """Decode the byte planes of a frame, the most significant first (PS3.5 annex G)."""
    words = np.frombuffer(frame, "<u4", _RLE_SEGMENTS + 1)
    count, offsets = int(words[0]), [int(one) for one in words[1:]]
    if count != layout.bits // 8:
        raise ValueError(f"the RLE header tells {count} segments instead of {layout.bits // 8}")
    ends = [*offsets[1:count], len(frame)]
    size = layout.width * layout.height
    planes = np.empty((layout.height, layout.width, count), dtype=np.uint8)
    for index, (start, end) in enumerate(zip(offsets, ends, strict=False)):
        if not _RLE_HEADER <= start < end <= len(frame):
            raise ValueError("the RLE header has a broken table of segments")
        # One run may go beyond the last value, by a writer's padding.
        plane = imagecodecs.packbits_decode(frame[start:end], out=size + 1024)
        if len(plane) < size:
            raise ValueError(f"RLE segment {index} has {len(plane)} of {size} values")
        planes[..., count - 1 - index] = np.frombuffer(plane, np.uint8, size).reshape(planes.shape[:2])
    return planes.view("<u2" if count == 2 else "u1")[..., 0]


def _jpeg(frame: bytes, layout: FrameLayout) -> NDArray[np.generic]:
    scan = check_jpeg(frame, layout.width, layout.height)
    return decode_complete(frame, scan, imagecodecs.jpeg8_decode)


def _jpeg_ls(frame: bytes, layout: FrameLayout) -> NDArray[np.generic]:
    check_jpeg_ls(frame, layout.width, layout.height)
    return imagecodecs.jpegls_decode(frame)


def _jpeg_2000(frame: bytes, layout: FrameLayout) -> NDArray[np.generic]:
    stream = bare_codestream(frame)
    coded = check_j2k(stream, layout.width, layout.height)
    # One thread: files are read in parallel, and threads of threads only get into each other's way.
    values = imagecodecs.jpeg2k_decode(stream, numthreads=1)
    if coded.signed and not layout.signed:
        # The header of the file rules: the same bits without their sign.
        return values.astype(np.int64).astype(np.uint16) & np.uint16(2**coded.bits - 1)
    return values


Decoder = Callable[[bytes, FrameLayout], NDArray[np.generic]]

SYNTAXES: Mapping[str, Decoder] = {
    "1.2.840.10008.1.2": _native,
    "1.2.840.10008.1.2.1": _native,
    "1.2.840.10008.1.2.1.98": _native,  # encapsulated, yet not compressed
    "1.2.840.10008.1.2.1.99": _native,  # deflated, the whole data set
    "1.2.840.10008.1.2.2": _native,
    "1.2.840.10008.1.2.5": _rle,
    "1.2.840.10008.1.2.4.50": _jpeg,
    "1.2.840.10008.1.2.4.51": _jpeg,
    "1.2.840.10008.1.2.4.57": _jpeg,
    "1.2.840.10008.1.2.4.70": _jpeg,
    "1.2.840.10008.1.2.4.80": _jpeg_ls,
    "1.2.840.10008.1.2.4.81": _jpeg_ls,
    "1.2.840.10008.1.2.4.90": _jpeg_2000,
    "1.2.840.10008.1.2.4.91": _jpeg_2000,
    "1.2.840.10008.1.2.4.201": _jpeg_2000,
    "1.2.840.10008.1.2.4.202": _jpeg_2000,
    "1.2.840.10008.1.2.4.203": _jpeg_2000,
}
