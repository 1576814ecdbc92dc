"""What generic annotation formats share: image names from another machine, splits, patients, coordinates."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np

from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Lesion
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.header import header_keys
from mammodet.datasets.converters.shapes import Shape, fit_mask, polygon, same_shape
from mammodet.datasets.converters.texts import MOST_BYTES, read_text
from mammodet.datasets.discover import IMAGE_SUFFIXES
from mammodet.datasets.errors import InputError
from mammodet.datasets.filenames import parse_stem
from mammodet.datasets.mammogram import image_size
from mammodet.datasets.masks import mask_to_rle, segmentation_to_mask

LONGEST_NAME = 4096  # characters, also of an address
LARGEST_COORDINATE = 1e6  # pixels; far beyond any mammogram, and far from where floats lose pixels

IMAGE_FOLDERS = ("images", "jpegimages", "image", "img", "data")
_ANNOTATION_FOLDERS = frozenset({"ann", "annotation", "annotations", "json", "labels", "xml", "xmls"})
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")  # Label Studio puts it before the name of an uploaded file


def read_json(path: Path, *, most_bytes: int = MOST_BYTES) -> Any:
    """Return what a JSON file of at most ``most_bytes`` holds.

    Raises InputError, also for NaN and infinity. Lines may be of any length: exporters write one.
    """
    text = read_text(path, most_bytes=most_bytes, longest_line=None)

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        remedy = "check that it is the annotation file"
        raise InputError("is nested too deeply", file=path, remedy=remedy) from None
    except ValueError as error:  # broken JSON, NaN, an integer of more than 4300 digits
        raise InputError(f"is no JSON: {error}", file=path, remedy="check that the file is whole") from None


def file_name(value: Any, file: Path, field: str) -> str:
    """Return what an annotation calls its image; raises InputError when it can be no name of a file."""
    name = value if isinstance(value, str) else ""
    if not name.strip() or len(name) > LONGEST_NAME or any(ord(letter) < 32 for letter in name):
        raise InputError("is missing or no name of a file", file=file, field=field, value=plain(value))
    return name


def split_of(words: Iterable[str]) -> str | None:
    """Return train, val or test where one of the words, such as the folders of an image, names it."""
    return next((_SPLITS[word.lower()] for word in words if word.lower() in _SPLITS), None)


def folder_of(files: ImageFiles, path: Path) -> tuple[str, ...]:
    """Return the folders between the root of the data set and a file."""
    return PurePosixPath(files.name(path)).parts[:-1]


def image_places(folder: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the folders where the images of annotations in ``folder`` may lie, the likeliest first.

    Those are the folder itself, its mirror below a folder of images (``labels/train`` has ``images/train``),
    and a folder of images inside it or beside it.
    """
    places = [folder]
    for at in reversed(range(len(folder))):
        if folder[at].lower() in _ANNOTATION_FOLDERS:
            places += [(*folder[:at], name, *folder[at + 1 :]) for name in IMAGE_FOLDERS]
            places.append((*folder[:at], *folder[at + 1 :]))
    places += [(*base, name) for base in (folder, folder[:-1]) for name in IMAGE_FOLDERS]
    return list(dict.fromkeys(places))


class Images:
    """The images of a data set, found by what annotations call them; each may be described once.

    Only files below the root are ever returned, wherever a name points to.
    """

    def __init__(self, files: ImageFiles, audit: Audit) -> None:
        self._files, self._audit = files, audit
        self._at = {tuple(files.name(path).lower().split("/")): path for path in files.paths}
        self._described: dict[Path, str] = {}

    def find(self, name: str, *folders: tuple[str, ...]) -> Path | None:
        """Return the image that an annotation calls ``name``, often a path on the machine of who drew it.

        Looked for are, in this order: the name in each of ``folders`` (below the root), the file whose path
        ends like the name, a file of this stem, with a note. Raises InputError when several files fit.
        """
        parts = name.strip().replace("\\", "/").split("/")
        for folder in folders:
            inside = _joined(folder, parts)
            if inside in self._at:
                return self._at[inside]
        found = self._files.find_tail(name)
        if found is not None and _contradicts(parts, PurePosixPath(self._files.name(found)).parts):
            what = f"{parts[-1]}, found {self._files.name(found)}"  # the rest may tell who drew it
            self._audit.note("the annotations name another folder: found by the end of the path", what)
        if found is None and parts[-1]:
            found = self._files.find(_stem(parts[-1]))
            if found is not None and _stem(parts[-1]) != parts[-1]:
                what = f"{parts[-1]}, found {self._files.name(found)}"
                self._audit.note("the annotations name a file of another kind: found by its stem", what)
        return found

    def of_file(self, name: str, annotation: Path) -> Path | None:
        """Return the image that the annotation file of one image names, or else the one of its own stem."""
        places = image_places(folder_of(self._files, annotation))
        found = self.find(name, *places)
        if found is None:
            found = self.find(annotation.stem, *places)
            if found is not None:
                remark = "the image that an annotation file names is not there: found by the file's own name"
                self._audit.note(remark, annotation.name)
        return found

    def describe(self, image: Path, annotation: Path, where: str | None = None) -> None:
        """Remember that a file describes ``image``; raises InputError when one did before."""
        if image in self._described:
            raise InputError(
                f"describes an image that {self._described[image]} describes too",
                file=annotation,
                field=where,
                value=image.name,
                remedy="leave one of the two, or correct the name of the image",
            )
        self._described[image] = annotation.name


def _contradicts(named: Sequence[str], found: Sequence[str]) -> bool:
    """Tell whether two paths that end alike go apart above that, so that each names a folder of its own."""
    pairs = zip(reversed(named), reversed(found), strict=False)
    return any(one.lower() != other.lower() for one, other in pairs if one not in {"", ".", ".."})


def _joined(folder: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
    """Join a path to a folder, in small letters; empty when it leaves the root."""
    joined = [part.lower() for part in folder]
    for part in parts:
        if part == "..":
            if not joined:
                return ()
            joined.pop()
        elif part not in {"", "."}:
            joined.append(part.lower())
    return tuple(joined)


def _stem(name: str) -> str:
    return PurePosixPath(name).stem if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES else name


def image_keys(path: Path, audit: Audit, *, uploaded: bool = False) -> dict[str, Any]:
    """Return patient, side and view from an image's name, but for what its DICOM header knows.

    With ``uploaded`` the prefix of Label Studio is taken off the name first. None of these formats tells
    patients: one that is not known is noted, because a split by patient needs it.
    """
    stem = _stem(path.name)
    facts = parse_stem(without_upload(stem) if uploaded else stem)
    named = {"laterality": facts.laterality, "view": facts.view}
    patient = facts.rest if facts.laterality or facts.view else None
    try:
        known = header_keys(path)
    except InputError:  # the flow drops it and tells why
        return {}
    keys: dict[str, Any] = {"patient_id": patient or None, **named}
    keys = {key: value for key, value in keys.items() if value is not None and key not in known}
    if "patient_id" not in keys and "patient_id" not in known:
        audit.note("the patient is not known: a split by patient takes each such image for itself", path.name)
    return keys


def without_upload(name: str) -> str:
    """Return a file name without the eight hex digits that Label Studio puts before it."""
    return _UPLOAD.sub("", name, count=1) if _UPLOAD.match(name) else name


def number_of(value: Any) -> float:
    """Return a number, also one written as text; NaN where there is none."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def pixels(value: Any, file: Path, field: str) -> float:
    """Return a coordinate or length in pixels; raises InputError when it is no number that an image has."""
    number = number_of(value)
    if not math.isfinite(number) or abs(number) > LARGEST_COORDINATE:
        found = "nothing" if value is None else plain(value)
        raise InputError("must be a number of pixels", file=file, field=field, value=found)
    return number


def plain(value: Any) -> object:
    """Return a value for an error to show; of nested ones, which may be endless, only what they are."""
    flat = value if isinstance(value, list | tuple) and len(value) <= 8 else [value]
    if all(one is None or isinstance(one, str | int | float) for one in flat):
        return value
    return type(value).__name__


def turned_box(x: float, y: float, width: float, height: float, degrees: float) -> Shape:
    """Return a box turned clockwise about its centre, as CVAT does, as a polygon of its four corners."""
    angle = math.radians(degrees)
    across, down = np.array([-1, 1, 1, -1]) * width / 2, np.array([-1, -1, 1, 1]) * height / 2
    xs = x + width / 2 + across * math.cos(angle) - down * math.sin(angle)
    ys = y + height / 2 + across * math.sin(angle) + down * math.cos(angle)
    points = list(zip(xs.tolist(), ys.tolist(), strict=True))
    return polygon(points, provenance={"box": [x, y, width, height], "rotation": degrees})


def drawn_at(
    lesions: Sequence[Lesion], stated: tuple[int, int] | None, path: Path, audit: Audit
) -> tuple[Sequence[Lesion], tuple[int, int] | None]:
    """Return lesions and the size (width, height) that they were drawn at, as ``Film`` takes them.

    Where one is a run-length code and the file is of another size, all are rescaled here, because the flow
    cannot; images of another shape are left to the flow, which drops them.
    """
    if stated is None or not any(isinstance(lesion.shape.segmentation, dict) for lesion in lesions):
        return lesions, stated
    try:
        size = image_size(path)
    except InputError:  # the flow drops it and tells why
        return lesions, stated
    if size == stated or not same_shape(stated, size):
        return lesions, stated
    audit.note("the annotations were drawn on an image of another size: rescaled", path.name)
    across, down = size[0] / stated[0], size[1] / stated[1]
    return [replace(one, shape=_scaled(one.shape, across, down, size)) for one in lesions], size


def _scaled(shape: Shape, across: float, down: float, size: tuple[int, int]) -> Shape:
    if not isinstance(shape.segmentation, dict):
        return shape.scaled(across, down)
    height, width = shape.segmentation["size"]
    mask = fit_mask(segmentation_to_mask(shape.segmentation, width, height), size)
    assert mask is not None  # the shapes were compared before
    scaled = replace(shape, segmentation=None).scaled(across, down)
    return replace(scaled, segmentation=mask_to_rle(mask), area=float(mask.sum()))
