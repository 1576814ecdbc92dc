"""Pascal VOC: one XML file per image, as LabelImg, CVAT, Label Studio and many others write it.

    ROOT/Annotations/a.xml    ROOT/JPEGImages/a.png    ROOT/ImageSets/Main/train.txt
    ROOT/train/a.xml          ROOT/train/a.png

Corners are those of pixels counted from 1, both inside the box (VOC2007 development kit), so that a box is
``x = xmin - 1``, ``width = xmax - xmin + 1``. Some tools count from 0 all the same, or write fractions; that
is noted, their boxes begin up to a pixel too early.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Source
from mammodet.datasets.converters.classes import RULE, Classes
from mammodet.datasets.converters.documents import documents
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.generic import (
    Images,
    file_name,
    folder_of,
    image_keys,
    pixels,
    split_of,
    turned_box,
)
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.shapes import Shape, box
from mammodet.datasets.converters.texts import read_text
from mammodet.datasets.errors import InputError

MOST_BYTES = 4 * 2**20  # ten thousand objects; the tree in memory is a hundred times as large

_FLAGS = ("difficult", "truncated", "occluded")


@dataclass(frozen=True)
class _Annotation:
    """One XML file; ``objects`` are (class, shape, provenance)."""

    file: Path
    filename: str
    size: tuple[int, int] | None
    objects: Sequence[tuple[str, Shape, Mapping[str, Any]]]
    uploaded: bool


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterable[Film]:
    """Yield one film per XML file; an image without an object is normal, one without a file is left out."""
    paths = documents(files, r".*\.xml")
    read = [one for path in paths if (one := _read(path, audit)) is not None]
    if not read:
        remedy = "give the folder that holds Annotations and the images, or XML files beside their images"
        raise InputError("no Pascal VOC annotation in this folder", file=files.root, remedy=remedy)
    classes = Classes((name for one in read for name, _, _ in one.objects), options, audit, files.root)
    images, splits = Images(files, audit), _image_sets(files)
    for one in read:
        folder = folder_of(files, one.file)
        image = images.of_file(one.filename, one.file)
        film = Film(one.filename, rows=max(1, len(one.objects)), size=one.size)
        if image is None:
            yield film
            continue
        images.describe(image, one.file, "filename")
        keys = {
            **image_keys(image, audit, uploaded=one.uploaded),
            "label": classes.label([name for name, _, _ in one.objects]),
            "split": splits.get((folder[:-1], one.file.stem)) or split_of(reversed(folder)),
        }
        lesions = classes.lesions((shape, name, {"provenance": told}) for name, shape, told in one.objects)
        yield replace(film, name=files.name(image), lesions=lesions, keys=keys)


def _read(path: Path, audit: Audit) -> _Annotation | None:
    """Read one XML file; None, with a note, when it is about something else."""
    root = _parse(path)
    if root.tag != "annotation":
        audit.note("not read: an XML file that is no Pascal VOC annotation", path.name)
        return None
    filename = file_name(_text(root, "filename") or path.stem, path, "filename")
    found = [_object(one, f"object {number}", path) for number, one in enumerate(root.findall("object"), 1)]
    starts = [side for _, _, corners, _ in found for side in corners[:2]]
    if any(side < 1 for side in starts):
        audit.note("a corner lies before 1, where Pascal VOC begins: the tool may count from 0", path.name)
    elif any(side != int(side) for _, _, corners, _ in found for side in corners):
        audit.note("corners are no whole pixels: the tool may count from 0", path.name)
    objects = [(name, shape, provenance) for name, shape, _, provenance in found]
    uploaded = _text(root, "owner/name") == "Label Studio"
    return _Annotation(path, filename, _size(root, path), objects, uploaded)


def _parse(path: Path) -> ElementTree.Element:
    """Parse XML without a document type: entities, in it or fetched from elsewhere, are never needed."""
    text = read_text(path, most_bytes=MOST_BYTES, longest_line=None)
    try:
        root: ElementTree.Element = fromstring(text, forbid_dtd=True)
    except DefusedXmlException:
        problem = "has a document type or entities, which no annotation needs and attacks use"
        raise InputError(problem, file=path, remedy="remove <!DOCTYPE ...> or leave the file out") from None
    except (ElementTree.ParseError, ValueError) as error:  # ValueError: an unknown encoding
        raise InputError(f"is no XML: {error}", file=path, remedy="check that the file is whole") from None
    return root


def _object(
    element: ElementTree.Element, where: str, path: Path
) -> tuple[str, Shape, tuple[float, ...], dict[str, Any]]:
    """Return the class, the shape, the corners as they stand and the provenance of one object."""
    name = _text(element, "name")
    if name is None:
        raise InputError("has no name", file=path, field=where, remedy="give the object its class")
    corners = tuple(
        pixels(_text(element, f"bndbox/{side}"), path, f"{where}, bndbox/{side}")
        for side in ("xmin", "ymin", "xmax", "ymax")
    )
    x, y = corners[0] - 1, corners[1] - 1
    width, height = corners[2] - x, corners[3] - y
    provenance: dict[str, Any] = {flag: 1 for flag in _FLAGS if _text(element, flag) in {"1", "True", "true"}}
    provenance["bndbox"] = list(corners)
    degrees = _rotation(element, where, path)
    shape = turned_box(x, y, width, height, degrees) if degrees else box(x, y, width, height)
    return name, shape, corners, provenance


def _rotation(element: ElementTree.Element, where: str, path: Path) -> float:
    """Return by how many degrees CVAT's annotator turned the box; 0 by default."""
    for attribute in element.iterfind("attributes/attribute"):
        if _text(attribute, "name") == "rotation":
            return pixels(_text(attribute, "value"), path, f"{where}, rotation")
    return 0.0


def _size(root: ElementTree.Element, path: Path) -> tuple[int, int] | None:
    """Return (width, height) of the image that was drawn on; None where it is not told, or told as 0."""
    width, height = (
        int(pixels(_text(root, f"size/{side}") or 0, path, f"size/{side}")) for side in ("width", "height")
    )
    return (width, height) if width > 0 and height > 0 else None


def _text(element: ElementTree.Element, where: str) -> str | None:
    return (element.findtext(where) or "").strip() or None


def _image_sets(files: ImageFiles) -> dict[tuple[tuple[str, ...], str], str]:
    """Return the split of every image that ImageSets/Main names, by its base folder and stem."""
    splits: dict[tuple[tuple[str, ...], str], str] = {}
    for path in documents(files, r".*\.txt"):
        folder = folder_of(files, path)
        split = split_of([path.stem])
        if split is None or tuple(part.lower() for part in folder[-2:]) != ("imagesets", "main"):
            continue
        for line in read_text(path).splitlines():
            stem = line.strip()
            known = splits.setdefault((folder[:-2], stem), split) if stem else split
            if known != split:
                remedy = "leave it in one of the two lists"
                raise InputError(f"is in the list of {known} too", file=path, value=stem, remedy=remedy)
    return splits


SOURCE = Source(
    dataset="Pascal VOC",
    films=films,
    category_rule=f"{RULE}; an image whose XML file has no object is normal, one without a file is left out",
    reference="Everingham et al. 2010, International Journal of Computer Vision 88, 303-338",
)
