"""COCO detection files as CVAT, Label Studio and others export them, and those of this project.

    ROOT/annotations/instances_default.json   ROOT/images/a.png
    ROOT/result.json                          ROOT/images/8d2f1a3c-a.png

Several files of one folder are parts of one data set: ``instances_train.json`` is its split ``train``. Images
are found by name wherever they lie below the root, whatever server or folder the file names. Keys of the COCO
profile, such as ``patient_id`` and ``finding``, pass through. Boxes that were turned in CVAT (``rotation``)
become polygons of their four corners.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mammodet.datasets.coco_values import ANNOTATION_KEYS, IMAGE_KEYS, Keys, is_id, is_name
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Source
from mammodet.datasets.converters.classes import RULE, Classes
from mammodet.datasets.converters.coco_shapes import shape_of
from mammodet.datasets.converters.documents import documents
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.generic import (
    Images,
    drawn_at,
    file_name,
    folder_of,
    image_keys,
    image_places,
    plain,
    read_json,
    split_of,
    without_upload,
)
from mammodet.datasets.converters.options import Options
from mammodet.datasets.errors import InputError
from mammodet.datasets.raster import check_size

MOST_BYTES = 2**30  # one file holds all masks of a data set

_LISTS = ("images", "annotations", "categories")
# whole numbers in the files of others
_IDS = ("patient_id", "study_id", "breast_id", "lesion_id", "birads")
_ATTRIBUTES = ("occluded", "truncated", "difficult", "rotation")  # the rest may hold anything, names too
_OWN = frozenset(ANNOTATION_KEYS) - {"area", "geometry_source"}


@dataclass(frozen=True)
class _File:
    """One COCO file, checked as far as reading needs it."""

    path: Path
    images: Sequence[Mapping[str, Any]]
    annotations_of: Mapping[Hashable, Sequence[Mapping[str, Any]]]
    class_names: Mapping[Hashable, str]
    uploaded: bool  # by Label Studio

    def error(self, where: str, problem: str, value: object = None) -> InputError:
        return InputError(problem, file=self.path, field=where, value=plain(value))


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterable[Film]:
    """Yield one film per image of every COCO file; an image without annotation is normal."""
    read = _read_all(files, audit)
    used = (one.class_names[a["category_id"]] for one in read for a in _annotations(one))
    classes = Classes(used, options, audit, files.root)
    images = Images(files, audit)
    for one in read:
        for number, record in enumerate(one.images):
            yield _Image(one, record, f"images[{number}]", files, audit).film(images, classes)


def _read_all(files: ImageFiles, audit: Audit) -> list[_File]:
    contents: dict[Path, dict[str, Any]] = {}
    for path in documents(files, r".*\.json"):
        content = read_json(path, most_bytes=MOST_BYTES)
        if isinstance(content, dict) and all(isinstance(content.get(key), list) for key in _LISTS):
            contents[path] = content
        else:
            audit.note("not read: a JSON file that is no COCO detection file", path.name)
    if len(contents) > 1:  # written into the folder by an earlier conversion
        for path in [path for path, content in contents.items() if _is_converted(content)]:
            del contents[path]
            audit.note("not read: written by mammodet convert, beside other COCO files", path.name)
    if not contents:
        remedy = "give the folder that holds one, such as instances_default.json, and the images"
        raise InputError("no COCO detection file in this folder", file=files.root, remedy=remedy)
    return [_checked(path, content) for path, content in contents.items()]


def _is_converted(content: Mapping[str, Any]) -> bool:
    info = content.get("info")
    return isinstance(info, dict) and "audit" in info and "category_rule" in info


def _checked(path: Path, content: Mapping[str, Any]) -> _File:
    """Check ids and names; raises InputError that names the record at fault."""
    info = content.get("info")
    uploaded = isinstance(info, dict) and info.get("contributor") == "Label Studio"
    class_names: dict[Hashable, str] = {}
    annotations_of: defaultdict[Hashable, list[Mapping[str, Any]]] = defaultdict(list)
    one = _File(path, content["images"], annotations_of, class_names, uploaded)
    for number, record in enumerate(content["categories"]):
        where = f"categories[{number}]"
        key = _id(one, record, where, class_names)
        name = record.get("name")
        if not isinstance(name, str) or not name.strip():
            raise one.error(f"{where}.name", "a category must have a name", name)
        class_names[key] = name
    known: dict[Hashable, None] = {}
    for number, record in enumerate(content["images"]):
        known[_id(one, record, f"images[{number}]", known)] = None
        file_name(record.get("file_name"), path, f"images[{number}].file_name")
    for number, record in enumerate(content["annotations"]):
        where = f"annotations[{number}]"
        if not isinstance(record, dict):
            raise one.error(where, "is no object")
        for key, ids, what in (("image_id", known, "image"), ("category_id", class_names, "category")):
            if not _is_key(record.get(key)) or record[key] not in ids:
                raise one.error(f"{where}.{key}", f"no such {what}", record.get(key))
        annotations_of[record["image_id"]].append({**record, "where": where})
    return one


def _id(one: _File, record: Any, where: str, known: Mapping[Hashable, object]) -> Hashable:
    if not isinstance(record, dict):
        raise one.error(where, "is no object")
    key = record.get("id")
    if not _is_key(key):
        raise one.error(f"{where}.id", "is missing or no number", key)
    if key in known:
        raise one.error(f"{where}.id", "is used twice", key)
    assert isinstance(key, Hashable)
    return key


def _is_key(value: object) -> bool:
    return is_id(value) or isinstance(value, str)


def _annotations(one: _File) -> Iterable[Mapping[str, Any]]:
    return (annotation for group in one.annotations_of.values() for annotation in group)


@dataclass(frozen=True)
class _Image:
    """One image of a COCO file, and where it stands."""

    one: _File
    record: Mapping[str, Any]
    where: str
    files: ImageFiles
    audit: Audit

    def film(self, images: Images, classes: Classes) -> Film:
        """Return the film with its lesions in the frame that they were drawn in."""
        annotations = self.one.annotations_of.get(self.record["id"], [])
        rows = max(1, len(annotations))
        path = self._find(images)
        if path is None:
            return Film(self.record["file_name"], rows=rows)
        images.describe(path, self.one.path, f"{self.where}.file_name")
        stated = self._size()
        outlines = []
        for annotation in annotations:
            keys = _passed(self.one, annotation, annotation["where"], _OWN, ANNOTATION_KEYS)
            told = _attributes(annotation)
            keys["provenance"] = {**({"attributes": told} if told else {}), **keys.get("provenance", {})}
            shape = shape_of(annotation, stated, told.get("rotation", 0), self.one.path, self.audit)
            outlines.append((shape, self.one.class_names[annotation["category_id"]], keys))
        drawn, size = drawn_at(classes.lesions(outlines), stated, path, self.audit)
        return Film(self.files.name(path), drawn, self._keys(path, annotations, classes), rows, size=size)

    def _find(self, images: Images) -> Path | None:
        """Look for the file by its name, decoded from an address, and as it was before the upload."""
        name = self.record["file_name"]
        places, split = image_places(folder_of(self.files, self.one.path)), self._split()
        inner = [(*place, split) for place in places if split is not None]
        decoded = unquote(name.partition("?d=")[2] or name)  # Label Studio's address of a local file
        candidates = dict.fromkeys([name, decoded])
        if self.one.uploaded:
            parts = re.split(r"[\\/]", decoded)
            candidates |= dict.fromkeys(["/".join([*parts[:-1], without_upload(parts[-1])])])
        found = (images.find(one, *places, *inner) for one in candidates if is_name(one))
        return next((path for path in found if path is not None), None)

    def _split(self) -> str | None:
        return split_of(re.split(r"[^a-z]+", self.one.path.stem.lower()))

    def _size(self) -> tuple[int, int] | None:
        width, height = self.record.get("width"), self.record.get("height")
        if width is None and height is None:
            return None
        if not is_id(width) or not is_id(height) or not 0 < width < 10**6 or not 0 < height < 10**6:
            raise self.one.error(f"{self.where}.width, height", "must be whole numbers", (width, height))
        check_size(width, height, self.one.path)
        return width, height

    def _keys(self, path: Path, annotations: Sequence[Mapping[str, Any]], classes: Classes) -> dict[str, Any]:
        """Return the file's own keys of the profile, and where it is silent what names and classes tell."""
        own = _passed(self.one, self.record, self.where, frozenset(IMAGE_KEYS), IMAGE_KEYS)
        dataset = own.pop("dataset", None)
        if dataset is not None:
            own["provenance"] = {**own.get("provenance", {}), "dataset": dataset}
        quiet = Audit() if own.get("patient_id") is not None else self.audit
        keys = {**image_keys(path, quiet, uploaded=self.one.uploaded), **own}
        keys.setdefault("split", self._split())
        if "label" not in self.record:
            certain = [one["category_id"] for one in annotations if not one.get("ignore")]
            if certain or not annotations:
                keys["label"] = classes.label([self.one.class_names[key] for key in certain])
            if not annotations:
                self.audit.note("no annotation: taken as normal", self.files.name(path))
        return keys


def _passed(
    one: _File, record: Mapping[str, Any], where: str, names: frozenset[str], rules: Keys
) -> dict[str, Any]:
    """Return the keys of the profile that a record has; raises InputError where one is of another type."""
    passed = {}
    for key in sorted(names & record.keys()):
        fits, expected = rules[key]
        value = str(record[key]) if key in _IDS and is_id(record[key]) else record[key]
        if value is None:
            continue
        if not fits(value):
            raise one.error(f"{where}.{key}", f"must be {expected}", value)
        passed[key] = value
    return passed


def _attributes(annotation: Mapping[str, Any]) -> dict[str, Any]:
    told = annotation.get("attributes")
    if not isinstance(told, dict):
        return {}
    return {key: told[key] for key in _ATTRIBUTES if told.get(key)}


SOURCE = Source(
    dataset="COCO export",
    films=films,
    category_rule=f"{RULE}; an image without annotation is normal unless the file gives its label",
    reference="Lin et al. 2014, Microsoft COCO: common objects in context",
)
