"""Read PNG, TIFF and JPEG (through Pillow) and PGM into stored grey values.

Pillow, not OpenCV: it raises on files that are cut off, where the codecs behind OpenCV print to stderr and
hand out half an image.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from mammodet.datasets.errors import InputError
from mammodet.datasets.intensity import Stored

RasterKind = Literal["png", "pgm", "tiff", "jpeg"]

# Twice the largest digitised film known (43.5 micron, 24 x 30 cm) with room to spare: more is a broken header
# or a decompression bomb.
MAX_PIXELS = 2**27

_PGM_HEADER = re.compile(rb"P[25](?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s")
_LONGEST_NUMBER = 9  # digits of a number in a PGM header
_LONGEST_LINE = 2**24  # bytes of a comment, or of digits without white space
_BITS = {"1": 1, "L": 8, "LA": 8, "P": 8, "PA": 8, "RGB": 8, "RGBA": 8, "RGBX": 8, "CMYK": 8, "YCbCr": 8}
_BITS |= {"I;16": 16, "I;16B": 16, "I;16L": 16, "I;16N": 16, "I": 16}


@dataclass(frozen=True)
class Raster:
    """Stored grey values uint8 or uint16 [H, W], the value of full scale, and notes about odd things."""

    stored: Stored
    highest: int
    bit_depth: int
    inverted: bool = False
    notes: tuple[str, ...] = ()


def read_raster(path: Path, kind: RasterKind) -> Raster:
    """Read the grey values of a PNG, TIFF, JPEG or PGM file.

    Raises InputError when the file is broken, cut off, really coloured, of several pages, of more than 16
    bits per value, or larger than any mammogram.
    """
    if kind == "pgm":
        return _read_pgm(path)
    with _opened(path, kind) as image:
        _check_layout(image, path, kind)
        # Pillow turns the white-is-zero of 8-bit TIFFs, and leaves that of 16-bit ones.
        white_is_zero = image.mode.startswith("I") and _tiff_tag(image, 262) == 0
        mode, bits = image.mode, _BITS[image.mode]
        values = np.asarray(image.convert("RGB") if mode in {"P", "PA", "CMYK", "YCbCr"} else image)
    stored, notes = _to_grey(values, path)
    if mode == "1":
        stored = stored.astype(np.uint8) * np.uint8(255)
    highest = 255 if bits <= 8 else 65535
    return Raster(stored, highest, bits, white_is_zero, notes)


def raster_size(path: Path, kind: RasterKind) -> tuple[int, int]:
    """Return (width, height) from the header of a PNG, TIFF, JPEG or PGM file."""
    if kind == "pgm":
        with path.open("rb") as stream:
            width, height, _, _ = _pgm_header(stream.read(65536), path)
        return width, height
    with _opened(path, kind) as image:
        return int(image.width), int(image.height)


def check_size(width: int, height: int, path: Path) -> None:
    """Refuse a frame without pixels, or with more than any mammogram has, before memory is taken for it."""
    if width < 1 or height < 1:
        raise InputError("has no pixels", file=path, field="width x height", value=f"{width} x {height}")
    if width * height > MAX_PIXELS:
        raise InputError(
            "claims more pixels than any mammogram has",
            file=path,
            field="width x height",
            value=f"{width} x {height}",
            remedy="the header is broken or the file is no mammogram; fetch it again or leave it out",
        )


@contextmanager
def _opened(path: Path, kind: RasterKind) -> Iterator[Image.Image]:
    name = kind.upper()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, which check_size judges
            with Image.open(path, formats=[name]) as image:
                check_size(image.width, image.height, path)
                yield image
    except InputError:
        raise
    except Image.DecompressionBombError:
        problem = "claims more pixels than any mammogram has"
        raise InputError(problem, file=path, remedy="fetch the file again or leave it out") from None
    except Exception as error:  # codecs raise OSError, SyntaxError, ValueError, struct.error and more
        raise InputError(
            f"is a broken or cut-off {name} file ({error or type(error).__name__})",
            file=path,
            remedy="fetch or export the file again",
        ) from None


def _check_layout(image: Image.Image, path: Path, kind: RasterKind) -> None:
    if _has_second_page(image):
        raise InputError("holds several pages", file=path, remedy="save each page as a file of its own")
    deep_colour = kind == "png" and image.mode not in {"1", "L", "I", "I;16"} and _png_depth(path) == 16
    if image.mode not in _BITS or deep_colour:
        raise InputError(
            "has pixels of an unsuited kind",
            file=path,
            field="mode",
            value=f"16-bit {image.mode}" if deep_colour else image.mode,
            remedy="save the image as 8- or 16-bit grey PNG",
        )


def _has_second_page(image: Image.Image) -> bool:
    # Counting all pages would take minutes for a damaged TIFF file that is a chain of millions of them.
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return getattr(image, "n_frames", 1) > 1
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _png_depth(path: Path) -> int:
    with path.open("rb") as stream:
        return stream.read(25)[24]


def _tiff_tag(image: Image.Image, tag: int) -> Any:
    return image.tag_v2.get(tag) if isinstance(image, TiffImagePlugin.TiffImageFile) else None


def _to_grey(values: NDArray[Any], path: Path) -> tuple[Stored, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if values.ndim == 3:
        channels = values[..., : 3 if values.shape[2] >= 3 else 1]
        spread = channels.max(axis=2).astype(np.int16) - channels.min(axis=2)
        # JPEG rounds colours by a few levels; a coloured mark of a viewer covers more than this.
        if (spread > 16).mean() > 1e-4:
            remedy = "export the original grey image; screenshots and overlays are no mammograms"
            raise InputError("is a colour image", file=path, remedy=remedy)
        values = channels[..., channels.shape[2] // 2]
        notes = ("colour image with equal channels: taken as grey",)
    if values.dtype == np.int32:
        if values.min() < 0 or values.max() > 65535:
            remedy = "save the image as 8- or 16-bit grey PNG"
            raise InputError("has values beyond 16 bits", file=path, value=int(values.max()), remedy=remedy)
        values = values.astype(np.uint16)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("=")), notes


def _pgm_header(head: bytes, path: Path) -> tuple[int, int, int, int]:
    """Return width, height, highest value and the offset of the pixels."""
    match = _PGM_HEADER.match(head)
    if not match:
        raise InputError("has no complete PGM header", file=path, remedy="fetch the file again")
    digits = max(map(len, match.groups()))
    if digits > _LONGEST_NUMBER:
        remedy = "the header is broken; fetch the file again"
        raise InputError(f"has a number of {digits} digits", file=path, field="PGM header", remedy=remedy)
    width, height, highest = (int(group) for group in match.groups())
    check_size(width, height, path)
    if not 1 <= highest <= 65535:
        remedy = "save the image as 8- or 16-bit grey PNG"
        raise InputError("must be 1 to 65535", file=path, field="PGM maxval", value=highest, remedy=remedy)
    return width, height, highest, match.end()


def _read_pgm(path: Path) -> Raster:
    with path.open("rb") as stream:
        head = stream.read(65536)
        width, height, highest, start = _pgm_header(head, path)
        stored_type: type[Any] = np.uint8 if highest < 256 else np.uint16
        stream.seek(start)
        if head.startswith(b"P5"):
            # The two bytes of a value have the high one first (Netpbm, PGM format).
            coded = np.dtype(stored_type).newbyteorder(">")
            content = stream.read(width * height * coded.itemsize)
            found = len(content) // coded.itemsize
            values = np.frombuffer(content, coded, found).astype(stored_type)
        else:
            values = _plain_values(stream, width * height, highest, path).astype(stored_type)
    if values.size < width * height:
        raise InputError(
            f"is cut off: {values.size} of {width * height} pixels are there",
            file=path,
            remedy="fetch the file again",
        )
    stored = values[: width * height].reshape(height, width)
    return Raster(stored, highest, highest.bit_length())


def _plain_values(stream: BinaryIO, count: int, highest: int, path: Path) -> NDArray[np.uint16]:
    """Read up to ``count`` numbers, in parts: a list of all would take fifty times the memory of the file."""
    parts, found, rest = [np.empty(0, dtype=np.uint16)], 0, b""
    while found < count and (part := stream.read(2**20)):
        # A part may end within a number or a comment; the rest of its last line or word waits for the next.
        text = rest + part
        end = max(map(text.rfind, [b"\n"] if b"#" in text else [b"\n", b" ", b"\t"])) + 1
        rest = text[end:]
        if len(rest) > _LONGEST_LINE:
            raise InputError("has an endless line", file=path, remedy="fetch or export the file again")
        parts.append(_numbers(text[:end], highest, path))
        found += parts[-1].size
    if found < count:
        parts.append(_numbers(rest, highest, path))
    return np.concatenate(parts)


def _numbers(text: bytes, highest: int, path: Path) -> NDArray[np.uint16]:
    try:
        values = np.array(re.sub(rb"#[^\n]*", b"", text).split(), dtype=np.int64)
    except (ValueError, OverflowError):
        problem = "holds something else than numbers of 64 bits"
        raise InputError(problem, file=path, remedy="fetch the file again") from None
    odd = values[(values < 0) | (values > highest)]
    if odd.size:
        problem = f"has a value that is not 0 to {highest}, its PGM maxval"
        raise InputError(problem, file=path, value=int(odd[0]), remedy="fetch or export the file again")
    return values.astype(np.uint16)
