"""The COCO profile for people who train elsewhere: YOLO, Pascal VOC, or plain tables.

All three formats share one folder layout for images, unique names, and ``images.csv``, which tells what no
other format keeps: patient, breast, side, view and label of every image.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from mammodet.datasets.atomic import atomic_path, write_json
from mammodet.datasets.coco import Coco, ImageRecord, counts, read_json
from mammodet.datasets.discover import IMAGE_SUFFIXES
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError
from mammodet.datasets.export_formats import FORMATS, Entry, Format
from mammodet.datasets.filetype import SUFFIXES, file_kind
from mammodet.datasets.mammogram import image_size, read_mammogram
from mammodet.datasets.standardise import Recipe

FormatName = Literal["yolo", "voc", "csv"]
ImageMode = Literal["link", "copy", "png", "none"]

# 256 grey values are few: two bright markers must not cost the breast most of them.
PNG_RECIPE = Recipe(crop=False, intensity="percentile")

MANIFEST = "export.json"
_LONGEST_NAME = 180
_SPLITS = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


class UnreadableError(InputError):
    """An image whose pixels cannot be read."""


@dataclass
class Exported:
    """What an export wrote.

    Parameters
    ----------
    images, boxes:
        How many.
    splits:
        Images by split.
    notes:
        What the people who train on it should know, one line each.
    """

    images: int = 0
    boxes: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def export(
    coco: Coco,
    out: Path,
    format_name: FormatName,
    images: ImageMode = "link",
    *,
    progress: Callable[[Iterable[Entry]], Iterable[Entry]] = iter,
) -> Exported:
    """Write the boxes of ``coco``, and its images, to the folder ``out``.

    Boxes are clipped to their image. YOLO and VOC know no ``ignore``: such lesions, and crowds, are left out
    of them and counted in the notes; tables keep them with their flag.

    Parameters
    ----------
    format_name:
        "yolo" writes images/SPLIT, labels/SPLIT and data.yaml with the classes 0 benign and 1 malignant;
        "voc" writes JPEGImages, Annotations and ImageSets/Main, corners as whole pixels counted from 1;
        "csv" writes boxes.csv. All write images.csv.
    images:
        "link" links the files, "copy" copies them, "png" writes 8-bit grey PNG of the whole frame
        (``PNG_RECIPE``) for trainers that read no DICOM or 16-bit files, "none" leaves them where they are.
    progress:
        Wraps the images as they are written, such as tqdm.

    Raises
    ------
    InputError
        When images are missing or of another size than the file says, or ``out`` holds anything but an
        earlier, also unfinished, export of the same images in the same way. With "png", images that cannot be
        read are left out and named in the notes.
    """
    entries, notes = _entries(coco, out, images)
    done = Exported(notes=notes)
    form = FORMATS[format_name]
    if images != "none":
        _check_there(entries, coco)
    _claim(out, entries, format_name, images)
    written = []
    for entry in progress(entries):
        if images != "none":
            _check_size(entry)
        try:
            _place(entry.source, out / form.image_place(entry), images)
        except UnreadableError as error:
            done.notes.append(f"left out: {error}")
            continue
        form.write_image(out, entry)
        written.append(entry)
        done.boxes += len(form.annotations(entry))
        done.splits[entry.split] += 1
    done.images = len(written)
    if not written:
        raise InputError(
            "no image could be exported", file=coco.path, remedy="; ".join(done.notes[:3]) or None
        )
    form.write_tables(out, written, placed=images != "none")
    done.notes += _notes(written, form)
    return done


def join_parts(parts: Sequence[Coco]) -> Coco:
    """Return the parts of one split, such as train.json and val.json, as one data set again.

    Raises InputError when two parts have an image id in common: then they are no parts of one split.
    """
    path, known = parts[0].path, {image["id"]: part.path for part in parts for image in part.images}
    if len(known) < sum(len(part.images) for part in parts):
        twice = next(one for part in parts for one in part.image_by_id if known[one] != part.path)
        raise InputError(
            f"shares image ids with {known[twice]}",
            file=next(part.path for part in parts if twice in part.image_by_id),
            field=f"images[id={twice}]",
            remedy="give parts of one split, as mammodet split writes them",
        )
    moved = [part.subset(part.image_by_id, path) for part in parts]
    images = [image for part in moved for image in part.images]
    annotations = [one for part in moved for one in part.annotations]
    root = {key: value for key, value in parts[0].info.items() if key != "split"}
    return Coco(images, annotations, path, parts[0].categories, root)


def unique_names(coco: Coco) -> dict[int, str]:
    """Return a name without suffix for every image id, unique in any case.

    It is the stem of the file. Where several images share one, the folders above are put before it, as many
    as tell them apart (``patient7/R-CC.png`` becomes ``patient7_R-CC``), and the id after it when none does.
    White space and signs that lists and shells misread become ``_``.
    """
    parts = {image["id"]: _name_parts(image["file_name"]) for image in coco.images}
    names = {number: _clean(stem[-1:]) for number, stem in parts.items()}
    for depth in range(2, max(map(len, parts.values()), default=1) + 1):
        shared = _shared(names)
        if not shared:
            break
        names |= {number: _clean(parts[number][-depth:]) for number in shared}
    while shared := _shared(names):
        names |= {number: f"{names[number]}_{number}" for number in shared}
    return names


def _shared(names: Mapping[int, str]) -> list[int]:
    """Return the ids whose name is another's too, in any case."""
    used = Counter(name.lower() for name in names.values())
    return [number for number, name in names.items() if used[name.lower()] > 1]


def _name_parts(file_name: str) -> tuple[str, ...]:
    parts = [part for part in re.split(r"[\\/]", file_name) if part not in {"", ".", ".."}] or ["image"]
    suffix = PurePosixPath(parts[-1]).suffix
    known = suffix.lower() in IMAGE_SUFFIXES
    return (*parts[:-1], parts[-1].removesuffix(suffix) if known else parts[-1])


def _clean(parts: Sequence[str]) -> str:
    name = re.sub(r"[^\w.+-]", "_", "_".join(parts))
    short = name.encode()[-_LONGEST_NAME:].decode(errors="ignore")  # file systems count bytes
    return short.lstrip(".") or "image"


def _entries(coco: Coco, out: Path, images: ImageMode) -> tuple[list[Entry], list[str]]:
    names = unique_names(coco)
    entries = []
    for image in coco.images:
        name, source = names[image["id"]], coco.image_path(image)
        suffix = ".png" if images == "png" else _suffix(source)
        left = Path(os.path.relpath(source.absolute(), out.absolute())).as_posix()
        split = _split(image)
        annotations = coco.annotations_of.get(image["id"], [])
        entries.append(Entry(image, annotations, name, name + suffix, split, source, left))
    renamed = sum(entry.name != _name_parts(entry.image["file_name"])[-1] for entry in entries)
    notes = [f"images with a new name, which images.csv tells: {renamed}"] if renamed else []
    return entries, notes


def _split(image: ImageRecord) -> str:
    split = image.get("split") or "train"
    return _SPLITS.get(split.lower(), _clean([split]))


def _suffix(source: Path) -> str:
    """Return the suffix that tells other programs what the file is."""
    if source.suffix.lower() in IMAGE_SUFFIXES:
        return source.suffix
    try:
        return SUFFIXES[file_kind(source)][0]
    except InputError:  # told later where the file is needed
        return ".dcm"


def _check_there(entries: Sequence[Entry], coco: Coco) -> None:
    missing = [entry for entry in entries if not entry.source.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(entries)} images are not there",
            file=coco.path,
            value=missing[0].image["file_name"],
            remedy="mammodet check --files lists them all",
        )


def _check_size(entry: Entry) -> None:
    """Refuse an image of another size than the COCO file says: its boxes would be wrong."""
    claimed, size = (entry.image["width"], entry.image["height"]), image_size(entry.source)
    if size != claimed:
        problem = f"is {size[0]} x {size[1]}, the COCO file says {claimed[0]} x {claimed[1]}"
        raise InputError(problem, file=entry.source, remedy="mammodet check --files lists all such images")


def _claim(out: Path, entries: Sequence[Entry], format_name: str, images: str) -> None:
    """Take a folder for this export, or refuse one that holds something else."""
    listed = [(one.name, one.split, one.image["file_name"]) for one in entries]
    digest = hashlib.sha256(json.dumps(sorted(listed)).encode()).hexdigest()
    mine = {"format": format_name, "images": images, "content": digest}
    if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        known = read_json(out / MANIFEST) if (out / MANIFEST).is_file() else None
        if not isinstance(known, dict) or {key: known.get(key) for key in mine} != mine:
            held = "an export of other images or of another kind" if known else "other files"
            remedy = "give another folder with --out, or remove this one first"
            raise InputError(f"holds {held}, which would stay among the new files", file=out, remedy=remedy)
    elif out.exists() and not out.is_dir():
        raise InputError("is a file, not a folder", file=out, field="--out", remedy="give a folder")
    write_json(out / MANIFEST, {**mine, "mammodet": version("mammodet")})


def _place(source: Path, target: Path, images: ImageMode) -> None:
    """Put one image in its place unless a killed run already did."""
    if images == "none":
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if images == "link":
        _link(source, target)
    elif images == "copy":
        known = target.stat() if target.is_file() and not target.is_symlink() else None
        own = source.stat()
        if known is None or (known.st_size, known.st_mtime_ns) != (own.st_size, own.st_mtime_ns):
            with atomic_path(target) as temporary:
                shutil.copy2(source, temporary)
    elif not target.is_file() or target.stat().st_mtime_ns < source.stat().st_mtime_ns:
        try:
            pixels = read_mammogram(source, PNG_RECIPE).pixels
        except InputError as error:
            raise UnreadableError(str(error)) from None
        write_png(target, (np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))


def _link(source: Path, target: Path) -> None:
    leads_to = os.path.relpath(source.absolute(), target.parent.absolute())
    if target.is_symlink() and os.readlink(target) == leads_to:  # noqa: PTH115 (Path.readlink returns a Path)
        return
    try:
        with atomic_path(target) as temporary:
            temporary.symlink_to(leads_to)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        remedy = "give --images copy where links are not allowed"
        raise InputError(f"cannot be linked: {reason}", file=target, remedy=remedy) from None


def _notes(written: Sequence[Entry], form: Format) -> list[str]:
    notes = []
    left_out = [one for entry in written for one in entry.annotations if not counts(one)]
    if left_out and not form.is_table:
        notes.append(
            f"lesions with ignore or iscrowd, left out because the format knows neither: {len(left_out)}"
        )
    if not form.is_table:
        without = sum(not entry.image.get("split") for entry in written)
        if without:
            remedy = "mammodet split makes one by patient; give its parts together"
            notes.append(f"images without a split, put into train: {without} ({remedy})")
        hidden = [one for one in written if not form.annotations(one) and one.image.get("label") != "normal"]
        if hidden:
            what = "images without a box that are not known to be normal, and look so to a trainer"
            notes.append(f"{what}: {len(hidden)}")
    notes += form.notes(written)
    return notes
