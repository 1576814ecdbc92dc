"""The pictures of ``report.html``: thumbnails and full-size images in levels, 8 bits, from the files.

Level 1 is the image pixel for pixel as lossless PNG: JPEG of quality 95 is a third smaller, but errs by up to
10 of 255 grey levels around small bright spots, which calcifications are. Further levels have half the sides
each, as JPEG, so that a far view decodes little.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.errors import InputError
from mammodet.datasets.isolation import Casualty, map_isolated
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.standardise import Recipe

FOLDER = "report_images"
EMBEDDED_BYTES = 30 * 2**20  # of all full-size pictures; more are written beside the page
THUMBNAIL_PX = 256  # longer side

Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]

_CODING: Mapping[str, list[int]] = {
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 4],
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 80],
}
_SMALLEST_PX = 512  # longer side from which on no smaller level is made
_LEVELS = (1, 2, 4, 8)
_NAME = re.compile(r"\d{6}_[1248]\.(png|jpg)")
_LIMIT_S = 120.0
# Whatever a detector was run on is shown, raw images and scans of films too.
_RECIPE = Recipe(allow_for_processing=True, allow_secondary_capture=True)


@dataclass(frozen=True)
class Task:
    """One file to read, and the size that its boxes refer to."""

    path: str
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """One image as coded files: a WebP thumbnail, levels by divisor; or the ``problem`` alone."""

    thumbnail: bytes = b""
    levels: tuple[tuple[int, bytes], ...] = ()
    problem: str | None = None


def code_picture(task: Task) -> Picture:
    """Read one file and code its pictures; a file that cannot be read gives its problem, never an error."""
    try:
        pixels = read_mammogram(task.path, _RECIPE).pixels
    except InputError as error:
        return Picture(problem=error.problem)
    except (OSError, MemoryError) as error:
        return Picture(problem=f"cannot be read: {error}")
    height, width = pixels.shape
    if (width, height) != (task.width, task.height):
        told = f"the file has {width} x {height} pixels, the ground truth says {task.width} x {task.height}"
        return Picture(problem=told)
    grey = to_8_bit(pixels)
    levels = []
    for divisor in _LEVELS:
        if divisor == 1 or max(width, height) * 2 > _SMALLEST_PX * divisor:
            levels.append((divisor, _coded(_reduced(grey, divisor), _kind(divisor))))
    scale = THUMBNAIL_PX / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    thumbnail = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return Picture(_coded(thumbnail, ".webp"), tuple(levels))


def to_8_bit(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn float [H, W], 0 to 1, into uint8 of the same size; values beyond are clipped."""
    return np.asarray((np.clip(np.nan_to_num(pixels), 0, 1) * 255).round().astype(np.uint8))


def add_pictures(
    images: Sequence[dict[str, Any]], tasks: Mapping[int, Task], out: Path, progress: Progress
) -> None:
    """Read the files of ``tasks``, by place in ``images``, and add their pictures to those records.

    ``thumbnail`` is a data URI, ``levels`` pairs of divisor and address: data URIs while all of them together
    stay below 30 MB, otherwise files in ``report_images/`` below ``out``, which are written as they come.
    ``problem`` tells why an image has none.
    """
    kept: dict[int, Picture] = {}
    total, beside = 0, False
    there = {place: task for place, task in tasks.items() if _is_file(task.path)}
    for place in tasks.keys() - there.keys():
        images[place]["problem"] = "no such file"
    for place, picture in zip(there, _coded_pictures(list(there.values()), progress), strict=True):
        if picture.problem is not None:
            images[place]["problem"] = picture.problem
            continue
        images[place]["thumbnail"] = _uri(picture.thumbnail, ".webp")
        kept[place] = picture
        total += sum(len(content) for _, content in picture.levels)
        beside = beside or total > EMBEDDED_BYTES
        if beside:
            for number in list(kept):
                images[number]["levels"] = _written(out, number, kept.pop(number))
    for place, picture in kept.items():
        images[place]["levels"] = [
            [divisor, _uri(content, _kind(divisor))] for divisor, content in picture.levels
        ]


def _coded_pictures(tasks: Sequence[Task], progress: Progress) -> Iterator[Picture]:
    """Yield the picture of every task in its order, read by processes of their own."""
    done = 0
    try:
        coded = map_isolated(code_picture, tasks, limit_s=_LIMIT_S)
        for outcome in progress(coded, "pictures of the report", len(tasks)) if tasks else ():
            done += 1
            died = isinstance(outcome, Casualty)
            yield Picture(problem=f"the reader {outcome.how} on this file") if died else outcome
    except InputError as error:  # no process starts: the numbers are worth more than the pictures
        for _ in tasks[done:]:
            yield Picture(problem=error.problem)


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # a name too long, a zero byte in it, a folder that may not be searched
        return False


def earlier_pictures(out: Path) -> list[Path]:
    """Return the pictures that an earlier evaluation left; others in their folder are somebody else's."""
    folder = out / FOLDER
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if _NAME.fullmatch(path.name)]


def _written(out: Path, place: int, picture: Picture) -> list[list[Any]]:
    """Write the levels; names are numbers, so that no name of a patient's file becomes one here."""
    levels = []
    for divisor, content in picture.levels:
        name = f"{place:06d}_{divisor}{_kind(divisor)}"
        with atomic_path(out / FOLDER / name) as temporary:
            temporary.write_bytes(content)
        levels.append([divisor, f"{FOLDER}/{name}"])
    return levels


def _reduced(grey: NDArray[np.uint8], divisor: int) -> NDArray[np.uint8]:
    if divisor == 1:
        return grey
    size = max(1, -(-grey.shape[1] // divisor)), max(1, -(-grey.shape[0] // divisor))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _kind(divisor: int) -> str:
    return ".png" if divisor == 1 else ".jpg"


def _coded(grey: NDArray[Any], suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, grey, _CODING[suffix])[1].tobytes())


def _uri(content: bytes, suffix: str) -> str:
    kind = suffix[1:].replace("jpg", "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
