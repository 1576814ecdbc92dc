"""One image prepared: its key, its file of standardised pixels, and its records in the frame of that file.

The file is a 16-bit PNG. Measured on two phantoms of 4096 x 3328 and one real mammogram of 3062 x 2394, each
cropped to its breast, on one core, with the file in memory (milliseconds to write and to read, MB of each):

    .npy                                   4-9    1   9.0  12.2  6.0
    PNG level 1, filter up, run lengths   42-75  23-45  4.4   6.2  4.0   <- this one
    PNG level 1, OpenCV's own filters    134-223 29-70  4.5   6.3  4.0
    PNG level 9                          219-641 27-61  4.5   6.3  3.9
    reading the JPEG 2000 source           -   490-550  2.5   3.0

PNG halves the bytes, so that more of a data set stays in memory and a network drive needs half the time. It
costs a tenth of reading a JPEG 2000 source to write and a fifteenth to read, and any viewer or trainer opens
it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import struct
import zlib
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.coco import AnnotationRecord, Coco, ImageRecord
from mammodet.datasets.errors import InputError
from mammodet.datasets.filenames import parse_stem
from mammodet.datasets.filetype import file_kind
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.image_work import refusal
from mammodet.datasets.ledger import file_key
from mammodet.datasets.prepare_lesions import Change, move_lesions
from mammodet.datasets.prepared import FORMAT, FULL_SCALE, load_standardised
from mammodet.datasets.standardise import Recipe, Standardised

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = 33  # of the signature and the IHDR chunk (PNG specification, 11.2.2)
_LAST_CHUNK = b"\0\0\0\0IEND\xaeB`\x82"
_KEYWORD = b"mammodet\0"
_PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # before OpenCV 4.12 it tries all filters, which takes twice as long
    _PNG_OPTIONS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]


@dataclass(frozen=True)
class Outcome:
    """What became of one image; it holds no pixels, so that many can be waited for.

    ``image`` is None for a ``rejected`` one. ``written`` is False when the pixels were there. ``failed``
    holds errno, reason and folder when the pixels could not be written, which ends the run.
    """

    image_id: int
    key: str = ""
    image: ImageRecord | None = None
    annotations: list[AnnotationRecord] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    rejected: str | None = None
    written: bool = False
    failed: tuple[int, str, str] | None = None


def prepare_image(recipe: Recipe, folder: Path, source: Coco) -> Outcome:
    """Write the pixels of the one image of ``source`` to ``folder/KEY.png``, and move its lesions.

    Pixels that are there already are not read again, but for the source file's bytes, which make the key.
    An image that cannot be read is rejected with its reason. Nothing is raised.
    """
    image = source.images[0]
    path = source.image_path(image)
    standardised = None
    try:
        file_kind(path)  # refuses what cannot be read to its end, such as a pipe
        before = file_key(path)
        key = pixel_key(path, image, recipe)
        record = read_record(folder / f"{key}.png")
        if record is None or record.source_size != (image["width"], image["height"]):
            standardised = load_standardised(source, image, recipe)
            if file_key(path) != before:
                remedy = "run mammodet prepare again when nothing writes to it"
                raise InputError("was changed while it was read", file=path, remedy=remedy)
            record = PixelRecord(standardised.geometry, standardised.spacing_mm, standardised.notes)
        annotations, changes = move_lesions(source.annotations, record.geometry)
    except Exception as error:  # one file must not end a batch of thousands
        return Outcome(image["id"], rejected=refusal(path, error))
    if standardised is not None:
        try:
            write_pixels(folder / f"{key}.png", standardised, record)
        except OSError as error:
            # A full disk is told without the name of the file.
            failed = (error.errno or errno.EIO, error.strerror or str(error), str(folder))
            return Outcome(image["id"], failed=failed)
    moved = _image_record(image, record, key)
    return Outcome(
        image["id"], key, moved, annotations, changes, record.notes, written=standardised is not None
    )


def pixel_key(path: Path, image: ImageRecord, recipe: Recipe) -> str:
    """Return the SHA-256, as 64 hex digits, of all that prepared pixels depend on.

    That is the content of the source file, the recipe, what the COCO file says of pixel size and side, the
    side in the file's name, the format of prepared files and the version of mammodet, as reading may change.
    """
    said = {
        "format": FORMAT,
        "version": _version(),
        "recipe": recipe.to_dict(),
        "spacing_mm": image.get("spacing_mm"),
        "laterality": image.get("laterality"),
        "named": parse_stem(path.stem).laterality,
    }
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    with path.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


@dataclass(frozen=True)
class PixelRecord:
    """What a file of prepared pixels tells of itself, in a text chunk of the PNG."""

    geometry: Geometry
    spacing_mm: tuple[float, float] | None
    notes: tuple[str, ...]

    @property
    def source_size(self) -> tuple[int, int]:
        """Width and height of the source frame."""
        return self.geometry.source_width, self.geometry.source_height


def write_pixels(path: Path, standardised: Standardised, record: PixelRecord) -> None:
    """Write pixels in 0 to 1 as 16-bit PNG, rounded to 1/65535, with their record; raises OSError."""
    stored: NDArray[np.uint16] = np.rint(standardised.pixels * np.float32(FULL_SCALE)).astype(np.uint16)
    coded = cv2.imencode(".png", stored, _PNG_OPTIONS)[1].tobytes()
    told = {"geometry": record.geometry.to_dict(), "spacing_mm": record.spacing_mm, "notes": record.notes}
    text = b"tEXt" + _KEYWORD + json.dumps(told).encode("ascii")
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    with atomic_path(path) as temporary:
        temporary.write_bytes(coded[:_HEADER_END] + chunk + coded[_HEADER_END:])


def read_record(path: Path) -> PixelRecord | None:
    """Return the record of a whole file of prepared pixels; None when there is none or it is not whole."""
    try:
        with path.open("rb") as stream:
            head = stream.read(1 << 16)
            stream.seek(-len(_LAST_CHUNK), 2)
            whole = head.startswith(_SIGNATURE) and stream.read() == _LAST_CHUNK
        length, kind = struct.unpack_from(">I4s", head, _HEADER_END)
        start = _HEADER_END + 8
        content = head[start : start + length]
        if not whole or kind != b"tEXt" or not content.startswith(_KEYWORD):
            return None
        told: dict[str, Any] = json.loads(content[len(_KEYWORD) :])
        spacing = told["spacing_mm"]
        return PixelRecord(
            Geometry.from_dict(told["geometry"]), spacing and (spacing[0], spacing[1]), tuple(told["notes"])
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, struct.error):
        return None  # prepared anew, which mends it


def _image_record(image: ImageRecord, record: PixelRecord, key: str) -> ImageRecord:
    source = {
        "file_name": image["file_name"],
        "width": image["width"],
        "height": image["height"],
        "geometry": record.geometry.to_dict(),
        "key": key,
    }
    return {
        **image,
        "file_name": f"pixels/{key}.png",
        "width": record.geometry.width,
        "height": record.geometry.height,
        "spacing_mm": None if record.spacing_mm is None else list(record.spacing_mm),
        "provenance": {**(image.get("provenance") or {}), "prepared": source},
    }


@cache
def _version() -> str:
    return version("mammodet")
