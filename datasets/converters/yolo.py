"""YOLO: one text file per image, a row per box or polygon, as Ultralytics, Darknet and CVAT write them.

    ROOT/data.yaml   ROOT/images/train/a.png   ROOT/labels/train/a.txt
    ROOT/data.yaml   ROOT/train/images/a.png   ROOT/train/labels/a.txt
    ROOT/obj.names   ROOT/obj_train_data/a.png   ROOT/obj_train_data/a.txt

Rows are ``class x y width height`` (the centre) or ``class x1 y1 x2 y2 x3 y3 ...``, in parts of the width and
height of the image. Classes are numbers, named by data.yaml, classes.txt or obj.names. An image without a
label file is taken as normal, as Ultralytics does, unless no image of its folder has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Source
from mammodet.datasets.converters.classes import RULE, Classes
from mammodet.datasets.converters.documents import documents
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.generic import (
    Images,
    folder_of,
    image_keys,
    number_of,
    read_json,
    split_of,
)
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.shapes import Shape, box, polygon
from mammodet.datasets.converters.texts import read_text
from mammodet.datasets.converters.yolo_names import Names, read_names
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import image_size

TOLERANCE = 1e-3  # how far beyond the image rounding may carry a value

_IMAGE_FOLDERS = ("images", "jpegimages")
_NO_LABELS = re.compile(
    r"(classes|obj|train|val|valid|test|readme.*|license.*|requirements)\.txt", re.IGNORECASE
)
_FIRST_ROW = re.compile(r"\s*\d+(\.0*)?(\s+[-+.\deE]+){4,}\s*")


@dataclass(frozen=True)
class _Row:
    """One row: the class and the numbers after it."""

    name: str
    numbers: Sequence[float]


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterable[Film]:
    """Yield one film per image."""
    names = read_names(files)
    label_of, rows = _labels(files, names, audit)
    classes = Classes(
        (row.name for of_image in rows.values() for row in of_image), options, audit, files.root
    )
    labelled = {folder_of(files, image) for image in label_of}
    splits, uploaded = _splits(files, names, audit), _is_upload(files)
    for image in files.paths:
        keys = {**image_keys(image, audit, uploaded=uploaded), "split": splits.get(image)}
        film = Film(files.name(image), keys=keys)
        if image in label_of:
            yield _labelled(film, image, rows[label_of[image]], classes)
        elif folder_of(files, image) in labelled:
            audit.note("no label file: taken as normal, as Ultralytics does", film.name)
            yield replace(film, keys={**keys, "label": "normal"})
        else:
            audit.note("no image of the folder has a label file: label unknown", film.name)
            yield film


def _labels(files: ImageFiles, names: Names, audit: Audit) -> tuple[dict[Path, Path], dict[Path, list[_Row]]]:
    """Return the label file of every image that has one, and what these files hold."""
    texts = [path for path in documents(files, r".*\.txt") if not _NO_LABELS.fullmatch(path.name)]
    label_of = _matched(files, {tuple(files.name(path).lower().split("/")): path for path in texts})
    if not label_of:
        remedy = "give the folder that holds images and labels, or label files beside their images"
        raise InputError("no label file of an image in this folder", file=files.root, remedy=remedy)
    matched = set(label_of.values())
    for path in texts:
        if path not in matched and _is_label_file(path, files):
            rows = max(1, len(_read(path, names)))
            audit.drop("no image of this label file", files.name(path), rows)
    return label_of, {path: _read(path, names) for path in sorted(matched)}


def _labelled(film: Film, image: Path, rows: Sequence[_Row], classes: Classes) -> Film:
    """Return the film with its lesions in pixels of the image, whose header tells its size."""
    label = classes.label([row.name for row in rows])
    film = replace(film, rows=max(1, len(rows)), keys={**film.keys, "label": label})
    try:
        size = image_size(image)
    except InputError:  # the flow drops the image and tells why
        return film
    return replace(film, lesions=classes.lesions((_shape(row.numbers, *size), row.name, {}) for row in rows))


def _matched(files: ImageFiles, at: Mapping[tuple[str, ...], Path]) -> dict[Path, Path]:
    """Return the label file of every image that has one."""
    label_of: dict[Path, Path] = {}
    image_of: dict[Path, Path] = {}
    for image in files.paths:
        name = PurePosixPath(files.name(image).lower())
        folder, text = name.parts[:-1], f"{name.stem}.txt"
        places = [index for index, part in enumerate(folder) if part in _IMAGE_FOLDERS]
        beside = [(*folder[:place], "labels", *folder[place + 1 :], text) for place in reversed(places)]
        label = next((at[place] for place in [*beside, (*folder, text)] if place in at), None)
        if label is None:
            continue
        if label in image_of:
            value = ", ".join(files.name(one) for one in (image_of[label], image))
            raise InputError("two images share this label file", file=label, value=value, remedy="rename one")
        label_of[image], image_of[label] = label, image
    return label_of


def _is_label_file(path: Path, files: ImageFiles) -> bool:
    """Tell whether a text file that belongs to no image holds labels: by its folder, or by its first row."""
    if any(part.lower() == "labels" for part in folder_of(files, path)):
        return True
    with path.open("rb") as stream:
        head = stream.read(4096).decode("utf-8", "replace").lstrip("\ufeff").strip()
    return _FIRST_ROW.fullmatch(head.partition("\n")[0]) is not None


def _read(path: Path, names: Names) -> list[_Row]:
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [_row(line.split(), path, number, names) for number, line in lines if line.strip()]


def _row(words: Sequence[str], path: Path, line: int, names: Names) -> _Row:
    def error(problem: str, value: object, remedy: str) -> InputError:
        return InputError(problem, file=path, field=f"line {line}", value=value, remedy=remedy)

    if not re.fullmatch(r"\d{1,6}(\.0*)?", words[0]):
        raise error("must begin with the number of a class", words[0], "rows look like: 0 0.5 0.5 0.1 0.2")
    numbers = [number_of(word) for word in words[1:]]
    if len(numbers) == 5 or (len(numbers) > 5 and len(numbers) % 2):
        remedy = "give the label files, without confidence; predictions are evaluated, not converted"
        raise error("has a value more than a box or polygon, as predictions have", words[-1], remedy)
    if len(numbers) < 4:
        remedy = "rows look like: 0 0.5 0.5 0.1 0.2"
        raise error("must have a class and four numbers, or three or more points", len(words), remedy)
    for word, value in zip(words[1:], numbers, strict=True):
        if not -TOLERANCE <= value <= 1 + TOLERANCE:  # false for NaN
            remedy = "give parts of the width and height, not pixels"
            raise error("must be a number from 0 to 1", word, remedy)
    return _Row(names.of(int(float(words[0]))), numbers)


def _shape(numbers: Sequence[float], width: int, height: int) -> Shape:
    if len(numbers) > 4:
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        return polygon([(_mended(x * width, width), _mended(y * height, height)) for x, y in pairs])
    x, y, box_width, box_height = numbers
    left, right = (_mended((x + side * box_width / 2) * width, width) for side in (-1, 1))
    top, bottom = (_mended((y + side * box_height / 2) * height, height) for side in (-1, 1))
    return box(left, top, right - left, bottom - top)


def _mended(value: float, size: int) -> float:
    """Take back what rounding to some decimals cost: half a pixel over the edge, or next to a whole one."""
    if -0.5 < value < 0 or size < value < size + 0.5:
        return float(min(max(value, 0), size))
    return float(round(value)) if abs(value - round(value)) < 1e-3 else value


def _splits(files: ImageFiles, names: Names, audit: Audit) -> dict[Path, str]:
    """Return the split of each image: from data.yaml, its folders' names, or a list of images."""
    splits: dict[Path, str] = {}
    for image in files.paths:
        folder = tuple(part.lower() for part in folder_of(files, image))
        told = next((split for split, parts in names.folders if _holds(folder, parts)), None)
        words = [word for part in reversed(folder) for word in (part, *part.split("_"))]
        split = told or split_of(words)
        if split is not None:
            splits[image] = split
    images = Images(files, audit)
    for path in documents(files, r"(train|val|valid|test)\.txt"):
        if len(folder_of(files, path)) > 1:
            continue
        split = split_of([path.stem])
        for line in read_text(path).split("\n"):
            listed = images.find(line, folder_of(files, path)) if line.strip() else None
            if listed is not None and split is not None:
                splits[listed] = split
    return splits


def _holds(folder: Sequence[str], parts: Sequence[str]) -> bool:
    """Tell whether ``parts`` follow one another among the folders of an image."""
    size = len(parts)
    return any(tuple(folder[at : at + size]) == tuple(parts) for at in range(len(folder) - size + 1))


def _is_upload(files: ImageFiles) -> bool:
    """Tell whether Label Studio wrote the data set, as its notes.json says."""
    for path in documents(files, r"notes\.json"):
        content = read_json(path)
        info = content.get("info") if isinstance(content, dict) else None
        if isinstance(info, dict) and info.get("contributor") == "Label Studio":
            return True
    return False


SOURCE = Source(
    dataset="YOLO",
    films=films,
    category_rule=f"{RULE}; an image whose label file is empty or missing is normal, and unknown where no "
    "image of its folder has a label file",
    reference="Redmon et al. 2016, You only look once: unified, real-time object detection",
)
