"""The formats that boxes are exported to: where each puts images, boxes and lists."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree

import yaml

from mammodet.datasets.atomic import write_text
from mammodet.datasets.coco import (
    BENIGN,
    CATEGORY_NAMES,
    MALIGNANT,
    AnnotationRecord,
    ImageRecord,
    clip_bbox,
    counts,
    to_xyxy,
)

YOLO_CLASSES = {BENIGN: 0, MALIGNANT: 1}

_IMAGE_COLUMNS = (
    *("file", "width", "height", "patient_id", "study_id", "breast_id"),
    *("laterality", "view", "split", "label"),
)
_BOX_COLUMNS = ("x", "y", "width", "height", "category", "finding", "pathology", "birads", "ignore")


@dataclass(frozen=True)
class Entry:
    """One image to export.

    Parameters
    ----------
    name, file_name:
        What it is called, unique among all images, without and with suffix.
    source:
        Where its pixels lie now; ``left`` is the same seen from the folder of the export.
    """

    image: ImageRecord
    annotations: Sequence[AnnotationRecord]
    name: str
    file_name: str
    split: str
    source: Path
    left: str


class Format(Protocol):
    """What a format has to know; folders are given as paths below that of the export."""

    is_table: bool  # keeps everything as it is: lesions to ignore, images without a split

    def image_place(self, entry: Entry) -> str:
        """Return where the image goes."""

    def annotations(self, entry: Entry) -> list[tuple[AnnotationRecord, list[float]]]:
        """Return the lesions that are written, with their clipped boxes [x, y, width, height]."""

    def write_image(self, out: Path, entry: Entry) -> None:
        """Write what belongs to one image."""

    def write_tables(self, out: Path, entries: Sequence[Entry], *, placed: bool) -> None:
        """Write what belongs to all images; ``placed`` tells whether they were put into the folder."""

    def notes(self, entries: Sequence[Entry]) -> list[str]:
        """Return what to know about this export in this format."""


class Yolo:
    """images/SPLIT, labels/SPLIT and data.yaml, as Ultralytics reads them."""

    is_table = False

    def image_place(self, entry: Entry) -> str:
        """Return images/SPLIT/NAME."""
        return f"images/{entry.split}/{entry.file_name}"

    def annotations(self, entry: Entry) -> list[tuple[AnnotationRecord, list[float]]]:
        """Return the lesions that count."""
        return [pair for pair in clipped(entry) if counts(pair[0])]

    def write_image(self, out: Path, entry: Entry) -> None:
        """Write the label file, empty for an image without a lesion."""
        size = entry.image["width"], entry.image["height"]
        rows = [_yolo_row(one, bbox, *size) for one, bbox in self.annotations(entry)]
        write_text(out / "labels" / entry.split / f"{entry.name}.txt", "".join(rows))

    def write_tables(self, out: Path, entries: Sequence[Entry], *, placed: bool) -> None:
        """Write data.yaml, without ``path``, so that Ultralytics takes its own folder for it."""
        found = sorted({entry.split for entry in entries})
        order = [split for split in ("train", "val", "test") if split in found]
        content = {split: f"images/{split}" for split in dict.fromkeys([*order, *found])}
        names = {number: CATEGORY_NAMES[category] for category, number in YOLO_CLASSES.items()}
        write_text(out / "data.yaml", yaml.safe_dump({**content, "names": names}, sort_keys=False))
        write_images_table(out, entries, self, placed=placed)

    def notes(self, entries: Sequence[Entry]) -> list[str]:
        """Tell when Ultralytics will miss a split."""
        missing = [split for split in ("train", "val") if all(entry.split != split for entry in entries)]
        return [f"no image has the split {split}, which Ultralytics asks for" for split in missing]


class Voc:
    """JPEGImages, Annotations and ImageSets/Main."""

    is_table = False

    def image_place(self, entry: Entry) -> str:
        """Return JPEGImages/NAME."""
        return f"JPEGImages/{entry.file_name}"

    def annotations(self, entry: Entry) -> list[tuple[AnnotationRecord, list[float]]]:
        """Return the lesions that count."""
        return [pair for pair in clipped(entry) if counts(pair[0])]

    def write_image(self, out: Path, entry: Entry) -> None:
        """Write the XML file, without objects for an image without a lesion."""
        size = {"width": entry.image["width"], "height": entry.image["height"], "depth": 1}
        root = _element("annotation", {"folder": "JPEGImages", "filename": entry.file_name, "size": size})
        ElementTree.SubElement(root, "segmented").text = "0"
        for annotation, bbox in self.annotations(entry):
            told = {"name": CATEGORY_NAMES[annotation["category_id"]], "pose": "Unspecified"}
            told |= {"truncated": "0", "difficult": "0"}
            root.append(_element("object", {**told, "bndbox": voc_corners(bbox)}))
        ElementTree.indent(root)
        write_text(
            out / "Annotations" / f"{entry.name}.xml", ElementTree.tostring(root, encoding="unicode") + "\n"
        )

    def write_tables(self, out: Path, entries: Sequence[Entry], *, placed: bool) -> None:
        """Write a list of names per split."""
        of_split: defaultdict[str, list[str]] = defaultdict(list)
        for entry in entries:
            of_split[entry.split].append(entry.name)
        for split, names in of_split.items():
            write_text(out / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{name}\n" for name in names))
        write_images_table(out, entries, self, placed=placed)

    def notes(self, entries: Sequence[Entry]) -> list[str]:
        """Tell which boxes whole pixels cannot give to half a pixel."""
        boxes = [bbox for entry in entries for _, bbox in self.annotations(entry)]
        thin = sum(min(bbox[2:]) < 1 for bbox in boxes)
        return [f"boxes of less than a pixel, made a whole pixel wide or high: {thin}"] if thin else []


class Csv:
    """boxes.csv, a row per box."""

    is_table = True

    def image_place(self, entry: Entry) -> str:
        """Return images/NAME."""
        return f"images/{entry.file_name}"

    def annotations(self, entry: Entry) -> list[tuple[AnnotationRecord, list[float]]]:
        """Return all lesions."""
        return clipped(entry)

    def write_image(self, out: Path, entry: Entry) -> None:
        """Write nothing: all boxes go into one table."""

    def write_tables(self, out: Path, entries: Sequence[Entry], *, placed: bool) -> None:
        """Write boxes.csv: the columns of the image, then those of the box."""
        header = [*_IMAGE_COLUMNS[:1], "image_width", "image_height", *_IMAGE_COLUMNS[3:], *_BOX_COLUMNS]
        rows = [
            [*_image_cells(entry, self, placed), *_box_cells(annotation, bbox)]
            for entry in entries
            for annotation, bbox in self.annotations(entry)
        ]
        _write_table(out / "boxes.csv", header, rows)
        write_images_table(out, entries, self, placed=placed)

    def notes(self, entries: Sequence[Entry]) -> list[str]:
        """Return nothing: a table keeps everything."""
        return []


FORMATS: Mapping[str, Format] = {"yolo": Yolo(), "voc": Voc(), "csv": Csv()}


def clipped(entry: Entry) -> list[tuple[AnnotationRecord, list[float]]]:
    """Return the lesions of an image with their boxes [x, y, width, height], cut where they leave it.

    A COCO file may have boxes a hundredth of a pixel over the edge, which other trainers refuse.
    """
    size = entry.image["width"], entry.image["height"]
    pairs = ((one, clip_bbox(one["bbox"], *size)) for one in entry.annotations)
    return [(one, bbox) for one, bbox in pairs if bbox is not None]


def voc_corners(bbox: Sequence[float]) -> dict[str, int]:
    """Return the corners of a box as whole pixels counted from 1, both inside the box.

    Every edge goes to the nearest pixel edge, so it moves by half a pixel at most; a box of less than a pixel
    becomes the pixel that its middle lies in.
    """
    x1, y1, x2, y2 = to_xyxy([bbox])[0].tolist()
    left, right = _whole_edges(x1, x2)
    top, bottom = _whole_edges(y1, y2)
    return {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}


def write_images_table(out: Path, entries: Sequence[Entry], form: Format, *, placed: bool) -> None:
    """Write images.csv: a row per image with what the profile knows about it, and its number of boxes."""
    rows = [
        [*_image_cells(entry, form, placed), len(form.annotations(entry)), entry.image["file_name"]]
        for entry in entries
    ]
    _write_table(out / "images.csv", [*_IMAGE_COLUMNS, "boxes", "coco_file_name"], rows)


def _whole_edges(low: float, high: float) -> tuple[int, int]:
    first, last = math.floor(low + 0.5), math.floor(high + 0.5)
    if last > first:
        return first, last
    pixel = math.floor((low + high) / 2)
    return pixel, pixel + 1


def _yolo_row(annotation: AnnotationRecord, bbox: Sequence[float], width: int, height: int) -> str:
    """Return a row; nine decimals keep an edge to a ten-thousandth of a pixel on any image."""
    x, y, box_width, box_height = bbox
    centre = ((x + box_width / 2) / width, (y + box_height / 2) / height)
    numbers = (*centre, box_width / width, box_height / height)
    return " ".join([str(YOLO_CLASSES[annotation["category_id"]]), *(f"{n:.9f}" for n in numbers)]) + "\n"


def _element(tag: str, content: Mapping[str, Any]) -> ElementTree.Element:
    element = ElementTree.Element(tag)
    for key, value in content.items():
        if isinstance(value, Mapping):
            element.append(_element(key, value))
        else:
            ElementTree.SubElement(element, key).text = str(value)
    return element


def _image_cells(entry: Entry, form: Format, placed: bool) -> list[Any]:
    image: Mapping[str, Any] = {
        **entry.image,
        "file": form.image_place(entry) if placed else entry.left,
        "split": entry.image.get("split") if form.is_table else entry.split,
    }
    return [image.get(column) for column in _IMAGE_COLUMNS]


def _box_cells(annotation: AnnotationRecord, bbox: Sequence[float]) -> list[Any]:
    told: Mapping[str, Any] = {**annotation, "category": CATEGORY_NAMES[annotation["category_id"]]}
    rest = [told.get(column) for column in _BOX_COLUMNS[4:-1]]
    return [*bbox, *rest, 0 if counts(annotation) else 1]


def _write_table(path: Path, header: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    stream = io.StringIO(newline="")
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(header)
    table.writerows(["" if cell is None else cell for cell in row] for row in rows)
    write_text(path, stream.getvalue())
