"""LabelMe: one JSON file per image with polygons, rectangles, circles, masks, points and lines.

Points and lines tell where something is and enclose nothing: they are kept with ``ignore: 1``, and the image
keeps the label of their class. The picture that LabelMe can write into the file (``imageData``) is not read.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mammodet.datasets.coco_values import is_id
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Source
from mammodet.datasets.converters.classes import RULE, Classes
from mammodet.datasets.converters.documents import documents
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.generic import (
    Images,
    drawn_at,
    file_name,
    folder_of,
    image_keys,
    pixels,
    plain,
    read_json,
    split_of,
)
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.shapes import Shape, circle, corners, point, polygon, whole_mask
from mammodet.datasets.errors import InputError
from mammodet.datasets.raster import check_size

Points = Sequence[tuple[float, float]]

_LARGEST_MASK = 2**24  # characters of base64; a mask of one bit per pixel has kilobytes


@dataclass(frozen=True)
class _Annotation:
    """One JSON file; ``shapes`` are (class, shape, keys)."""

    file: Path
    image: str
    size: tuple[int, int] | None
    shapes: Sequence[tuple[str, Shape, Mapping[str, Any]]]


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterable[Film]:
    """Yield one film per LabelMe file; an image without a shape is normal, one without a file left out."""
    read = [one for path in documents(files, r".*\.json") if (one := _read(path, audit)) is not None]
    if not read:
        remedy = "give the folder that holds the JSON files of LabelMe and their images"
        raise InputError("no LabelMe annotation in this folder", file=files.root, remedy=remedy)
    classes = Classes((name for one in read for name, _, _ in one.shapes), options, audit, files.root)
    images = Images(files, audit)
    for one in read:
        folder = folder_of(files, one.file)
        image = images.of_file(one.image, one.file)
        rows = max(1, len(one.shapes))
        if image is None:
            yield Film(one.image, rows=rows)
            continue
        images.describe(image, one.file, "imagePath")
        lesions, size = drawn_at(
            classes.lesions((shape, name, keys) for name, shape, keys in one.shapes), one.size, image, audit
        )
        keys = {
            **image_keys(image, audit),
            "label": classes.label([name for name, _, _ in one.shapes]),
            "split": split_of(reversed(folder)) or split_of(reversed(folder_of(files, image))),
        }
        yield Film(files.name(image), lesions, keys, rows, size=size)


def _read(path: Path, audit: Audit) -> _Annotation | None:
    """Read one JSON file; None, with a note, when it is about something else."""
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        audit.note("not read: a JSON file that is no LabelMe annotation", path.name)
        return None
    name = file_name(content.get("imagePath"), path, "imagePath")
    size = _size(content, path)
    shapes = [
        shape
        for number, one in enumerate(content["shapes"])
        if (shape := _Drawn(one, f"shapes[{number}]", path, size, audit).read()) is not None
    ]
    return _Annotation(path, name, size, shapes)


def _size(content: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    width, height = content.get("imageWidth"), content.get("imageHeight")
    if width is None and height is None:
        return None
    if not is_id(width) or not is_id(height):
        value = f"{plain(width)} x {plain(height)}"
        raise InputError("must be whole numbers", file=path, field="imageWidth, imageHeight", value=value)
    check_size(width, height, path)
    return width, height


@dataclass(frozen=True)
class _Drawn:
    """One entry of ``shapes``, and where it stands."""

    entry: Any
    where: str
    file: Path
    size: tuple[int, int] | None
    audit: Audit

    def read(self) -> tuple[str, Shape, Mapping[str, Any]] | None:
        """Return the class, the shape and further keys; None for an empty mask, with a note."""
        entry = self.entry
        if not isinstance(entry, dict) or not isinstance(entry.get("label"), str) or not entry["label"]:
            raise self.error("label", "a shape must have a label, its class", None)
        kind = entry.get("shape_type") or "polygon"  # files of the first versions tell none
        drawn = self._points(kind)
        keys: dict[str, Any] = {"provenance": {"shape_type": kind, **self._told()}}
        if kind in {"point", "line", "linestrip"}:
            keys["ignore"] = 1
            self.audit.note("a point or line encloses nothing: kept with ignore 1", self.file.name)
        shape = self._shape(kind, drawn)
        if shape is None:
            self.audit.note("the mask is empty", f"{self.file.name} {self.where}")
            return None
        return entry["label"], shape, keys

    def _shape(self, kind: str, drawn: Points) -> Shape | None:
        if kind == "circle":
            (x, y), (edge_x, edge_y) = drawn
            return circle(x, y, math.hypot(edge_x - x, edge_y - y))
        if kind == "point":
            return point(*drawn[0])
        if kind == "mask":
            return self._mask(drawn)
        if kind in {"rectangle", "line", "linestrip"}:
            (x1, y1), (x2, y2) = np.min(drawn, axis=0).tolist(), np.max(drawn, axis=0).tolist()
            around = corners(x1, y1, x2, y2)
            if kind == "rectangle":
                return around
            x, y, width, height = around.bbox  # a straight line has no width or no height: take its pixels
            told = {kind: [list(one) for one in drawn]}
            return replace(around, bbox=(x, y, max(1.0, width), max(1.0, height)), provenance=told)
        return polygon(drawn)

    def _points(self, kind: object) -> Points:
        counts = {
            "polygon": (3, 100_000),
            "oriented_rectangle": (4, 4),
            "rectangle": (2, 4),  # two corners, or all four
            "circle": (2, 2),
            "point": (1, 1),
            "line": (2, 2),
            "linestrip": (2, 100_000),
            "mask": (2, 2),
        }
        if not isinstance(kind, str) or kind not in counts:
            raise self.error("shape_type", f"must be one of {', '.join(counts)}", kind)
        points = self.entry.get("points")
        fewest, most = counts[kind]
        if not isinstance(points, list) or not fewest <= len(points) <= most:
            count = len(points) if isinstance(points, list) else None
            raise self.error("points", f"a {kind} must have {fewest} to {most} points [x, y]", count)
        return [self._point(one) for one in points]

    def _point(self, one: Any) -> tuple[float, float]:
        if not isinstance(one, list) or len(one) != 2 or any(isinstance(side, str) for side in one):
            raise self.error("points", "a point must be [x, y]", None)

        where = f"{self.where}.points"
        return pixels(one[0], self.file, where), pixels(one[1], self.file, where)

    def _mask(self, drawn: Points) -> Shape | None:
        """Put the mask that lies in the box of two corners, both inside, into the frame of the image."""
        if self.size is None:
            raise self.error("mask", "needs imageWidth and imageHeight", None)
        width, height = self.size
        (x1, y1), (x2, y2) = drawn
        x, y = int(min(x1, x2)), int(min(y1, y2))
        inside = self._decoded((int(max(x1, x2)) - x + 1, int(max(y1, y2)) - y + 1))
        whole = np.zeros((height, width), dtype=bool)
        top, left = max(0, y), max(0, x)
        seen = inside[top - y : max(0, height - y), left - x : max(0, width - x)]
        whole[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
        return whole_mask(whole, f"{self.file.name} {self.where}")

    def _decoded(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the mask; nothing is decoded unless it has the ``size`` (width, height) of its box."""
        text = self.entry.get("mask")
        if not isinstance(text, str) or len(text) > _LARGEST_MASK:
            raise self.error("mask", "must be a PNG in base64", None)
        check_size(*size, self.file)
        try:
            with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
                if image.size != size:
                    found = f"{image.width} x {image.height}"
                    raise self.error("mask", f"must be as large as its box, {size[0]} x {size[1]}", found)
                return np.asarray(image.convert("L")) > 0
        except InputError:
            raise
        except Exception as error:  # codecs raise OSError, SyntaxError, struct.error and more
            reason = str(error) or type(error).__name__
            raise self.error("mask", f"must be a PNG in base64: {reason}", None) from None

    def _told(self) -> dict[str, Any]:
        """Return what else the entry tells that names nobody: its group and the flags that are set."""
        told: dict[str, Any] = {}
        if is_id(self.entry.get("group_id")):
            told["group_id"] = self.entry["group_id"]
        flags = self.entry.get("flags")
        set_flags = (
            sorted(name for name, on in flags.items() if on is True) if isinstance(flags, dict) else []
        )
        if set_flags:
            told["flags"] = set_flags
        return told

    def error(self, field: str, problem: str, value: object) -> InputError:
        """Return the error that names this entry."""
        return InputError(problem, file=self.file, field=f"{self.where}.{field}", value=plain(value))


SOURCE = Source(
    dataset="LabelMe",
    films=films,
    category_rule=f"{RULE}; an image whose file has no shape is normal, one without a file is left out; "
    "points and lines are kept with ignore 1",
    reference="Wada, LabelMe: image polygonal annotation with Python",
)
