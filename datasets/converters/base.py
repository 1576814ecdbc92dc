"""The flow that every converter shares: rows -> files -> boxes and masks -> COCO profile -> written file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mammodet.datasets.coco import (
    CATEGORY_NAMES,
    AnnotationRecord,
    Coco,
    ImageRecord,
    clip_bbox,
    write_coco,
)
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.header import header_keys
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.shapes import Shape, same_shape
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import image_size

_TEXTS = frozenset(
    {".csv", ".data", ".htm", ".html", ".ics", ".json", ".md", ".names", ".overlay", ".pdf", ".txt"}
    | {".xls", ".xlsx", ".xml", ".yaml", ".yml"}
)


@dataclass(frozen=True)
class Lesion:
    """One lesion of one film: its outline, its category, and further keys of the COCO annotation."""

    shape: Shape
    category_id: int
    keys: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Film:
    """One image as the source describes it.

    Parameters
    ----------
    name:
        What the source calls the file: a path below the root, a file name or a stem.
    lesions:
        Empty for a normal film.
    keys:
        Further keys of the COCO image, such as ``patient_id``, ``laterality`` and ``label``. Without a
        ``label`` the worst lesion gives it.
    rows:
        Rows of the source that this film took, for the audit.
    frames:
        (width, height) of the files that outlines were read from, such as masks; it must be the image's.
    size:
        (width, height) of the image that the annotations were drawn on, where the source states it. Boxes are
        rescaled to a file of another size with the same shape, within 1 %, and so is a ``spacing_mm`` in
        ``keys``; other films are dropped.
    """

    name: str
    lesions: Sequence[Lesion] = ()
    keys: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 1
    frames: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Source:
    """One source format.

    Parameters
    ----------
    dataset:
        Name of the data set, or of the format where it is not one data set.
    films:
        Reads the annotations and yields the films. Rows that give no film go to ``Audit.drop``.
    category_rule:
        By what lesions become benign or malignant and images normal; written into the COCO file, with the
        options beside it.
    reference:
        What to cite.
    """

    dataset: str
    films: Callable[[ImageFiles, Audit, Options], Iterable[Film]]
    category_rule: str
    reference: str = ""


def convert(
    source: Source,
    root: Path,
    out: Path,
    options: Options = Options(),  # noqa: B008 (frozen)
    *,
    progress: Callable[[Iterable[Film]], Iterable[Film]] = iter,
) -> tuple[Coco, Audit]:
    """Convert the data set in the folder ``root`` and write it to ``out``.

    Parameters
    ----------
    options:
        What the person who converts chose, such as from which BI-RADS on a finding counts as malignant.
    progress:
        Wraps the films as they are read, such as tqdm.

    Returns
    -------
    Coco, Audit
        The file as written, image names relative to its folder, and what was read, used and dropped.

    Raises
    ------
    InputError
        When the annotations are missing or malformed, a mask is of another size than its image, or no image
        could be used. Images that are missing, or whose header cannot be read, are dropped and told in the
        audit; the pixels are not read (``mammodet check --files read`` does).
    """
    files, audit = ImageFiles(root), Audit()
    _note_skipped(files, audit)
    images: list[ImageRecord] = []
    annotations: list[AnnotationRecord] = []
    taken: dict[Path, Film] = {}
    for film in progress(source.films(files, audit, options)):
        _check_film(film, source)
        found = _readable(film, files, audit, taken)
        if found is None:
            continue
        _check_frames(film, *found[1])
        image = _image_record(film, *found, out, audit)
        images.append({**image, "id": len(images) + 1, "dataset": source.dataset})
        for lesion in _distinct(film, audit):
            annotation = _annotation_record(_in_frame(lesion, film, found[1]), film, images[-1], audit)
            if annotation is not None:
                annotations.append({**annotation, "id": len(annotations) + 1})
    audit.unlisted = files.unused()
    if not images:
        reasons = "; ".join(audit.lines())
        remedy = "check that it is the folder of this data set"
        raise InputError(f"no image of this folder could be used: {reasons}", file=root, remedy=remedy)
    _part_splits(images, audit)
    coco = Coco(images, annotations, out, info=_info(source, options, audit))
    write_coco(coco)
    return coco, audit


def _note_skipped(files: ImageFiles, audit: Audit) -> None:
    """Tell what lies in the folder and cannot be read, but for the tables and texts of every data set."""
    for path, reason in files.skipped.items():
        if path.suffix.lower() not in _TEXTS:
            audit.note(f"not read: {reason}", files.name(path))


def _readable(
    film: Film, files: ImageFiles, audit: Audit, taken: dict[Path, Film]
) -> tuple[Path, tuple[int, int]] | None:
    """Return the film's file and its (width, height), or tell the audit why there is none."""
    path = files.find(film.name)
    try:
        if path is None:
            raise InputError("no such image file")
        files.use(path)
        size = image_size(path)
    except InputError as error:
        audit.drop(error.problem, film.name, film.rows)
        audit.without_pixels.append(film.name)
        return None
    first = taken.setdefault(path, film)
    if first is not film:
        if replace(film, name=first.name, rows=first.rows) != first:
            problem = "two entries of the annotations mean this file and say different things of it"
            remedy = "leave the one that is right"
            names = f"{first.name}, {film.name}"
            raise InputError(problem, file=path, field="image", value=names, remedy=remedy)
        audit.drop("a second entry of one image, the same as the first", film.name, film.rows)
        return None
    if film.size is not None and film.size != size:
        if not same_shape(film.size, size):
            what = f"{film.name} {film.size[0]} x {film.size[1]}, the file {size[0]} x {size[1]}"
            audit.drop("the annotations were drawn on an image of another shape", what, film.rows)
            return None
        audit.note("the annotations were drawn on an image of another size: rescaled", film.name)
    audit.rows_used += film.rows
    return path, size


def _image_record(film: Film, path: Path, size: tuple[int, int], out: Path, audit: Audit) -> ImageRecord:
    """Return what the source says about the image and, where it is silent, its DICOM header."""
    told = {key: value for key, value in film.keys.items() if value is not None}
    if film.size is not None and "spacing_mm" in told:  # pixels of a rescaled copy are larger or smaller
        down, across = told["spacing_mm"]
        told["spacing_mm"] = [down * film.size[1] / size[1], across * film.size[0] / size[0]]
    header = header_keys(path)
    for key in ("laterality", "view"):
        if key in told and header.get(key, told[key]) != told[key]:
            what = f"{film.name} ({told[key]}, the header {header[key]})"
            audit.note(f"the annotations and the DICOM header disagree on the {key}: annotations taken", what)
    keys: dict[str, Any] = {"laterality": None, "view": None, **header, **told}
    keys.setdefault("label", _worst(film.lesions))
    if keys.get("patient_id") is not None and keys["laterality"] is not None:
        parts = (keys["patient_id"], keys.get("study_id"), keys["laterality"])
        keys.setdefault("breast_id", "-".join(part for part in parts if part is not None))
    name = Path(os.path.relpath(path.absolute(), out.parent.absolute())).as_posix()
    return {"file_name": name, "width": size[0], "height": size[1], **keys}  # type: ignore[typeddict-item]


def _check_film(film: Film, source: Source) -> None:
    """Refuse what a converter must not yield, in the words of those who write one."""
    for lesion in film.lesions:
        if lesion.category_id not in CATEGORY_NAMES:
            raise InputError(
                "a lesion must be benign (1) or malignant (2)",
                file=f"converter {source.dataset}",
                field=f"{film.name}: category_id",
                value=str(lesion.category_id),
                remedy='give one of unknown truth as benign with {"ignore": 1}',
            )
    for key in ("patient_id", "study_id", "breast_id"):
        if not isinstance(film.keys.get(key), str | None):
            raise InputError(
                "an id must be a string",
                file=f"converter {source.dataset}",
                field=f"{film.name}: {key}",
                value=film.keys[key],
                remedy="give str(...)",
            )


def _check_frames(film: Film, width: int, height: int) -> None:
    for file, frame in film.frames.items():
        if frame != (width, height):
            raise InputError(
                f"is {frame[0]} x {frame[1]}, its image {film.name} is {width} x {height}",
                file=file,
                field="size (width x height)",
                remedy="give a mask of the size of its image",
            )


def _in_frame(lesion: Lesion, film: Film, size: tuple[int, int]) -> Lesion:
    """Return the lesion in the frame of its file, rescaled when it was drawn on a copy of another size."""
    if film.size is None or film.size == size:
        return lesion
    return replace(lesion, shape=lesion.shape.scaled(size[0] / film.size[0], size[1] / film.size[1]))


def _part_splits(images: Sequence[ImageRecord], audit: Audit) -> None:
    """Take the training images of patients who are also in another official part out of their part.

    Some makers split by lesion or by kind of lesion. The test set stays as it was made, for comparison with
    what others report; the other images keep the name of their part in ``provenance.official_split``.
    """
    parts: defaultdict[str, set[str]] = defaultdict(set)
    for image in images:
        if image.get("patient_id") is not None and image.get("split") is not None:
            parts[image["patient_id"]].add(str(image["split"]))
    for image in images:
        own = parts.get(image.get("patient_id", ""), set())
        split = image.get("split")
        if len(own) > 1 and split is not None and split != max(own, key=_last_seen):
            image["provenance"] = {**image.get("provenance", {}), "official_split": split}
            image["split"] = None
            audit.note(
                "the patient is in several official splits: taken out of the earlier one",
                f"{image['patient_id']} ({split})",
            )


def _last_seen(split: str) -> tuple[int, str]:
    """Order parts by how late a model may see them: train, anything else, val, test."""
    order = {"train": 0, "training": 0, "val": 2, "validation": 2, "test": 3}
    return order.get(split, 1), split


def _annotation_record(
    lesion: Lesion, film: Film, image: ImageRecord, audit: Audit
) -> AnnotationRecord | None:
    shape, size = lesion.shape, (image["width"], image["height"])
    bbox = clip_bbox(shape.bbox, *size)
    if bbox is None:
        audit.drop_lesion("the box is empty or lies outside its image", f"{film.name} {list(shape.bbox)}")
        return None
    provenance = {**shape.provenance, **lesion.keys.get("provenance", {})}
    if bbox != list(shape.bbox):
        audit.clipped.append(film.name)
        provenance["bbox_before_clipping"] = list(shape.bbox)
    record: dict[str, Any] = {
        "image_id": image["id"],
        "category_id": lesion.category_id,
        "bbox": bbox,
        "area": bbox[2] * bbox[3] if shape.area is None else shape.area,
        "iscrowd": 0,
        "geometry_source": shape.geometry_source,
        **lesion.keys,
        "provenance": provenance,
    }
    if shape.segmentation is not None:
        record["segmentation"] = shape.segmentation
    return record  # type: ignore[return-value]


def _distinct(film: Film, audit: Audit) -> list[Lesion]:
    """Return the lesions without repetitions: rows that stand twice in a table are one lesion."""
    distinct: dict[str, Lesion] = {}
    for lesion in film.lesions:
        if distinct.setdefault(repr(lesion), lesion) is not lesion:
            what = f"{film.name} {list(lesion.shape.bbox)}"
            audit.drop_lesion("the same lesion twice on one image: taken once", what)
    return list(distinct.values())


def _worst(lesions: Sequence[Lesion]) -> str | None:
    """Return the label of an image with these lesions; None, unknown, where nothing tells."""
    certain = [lesion.category_id for lesion in lesions if not lesion.keys.get("ignore")]
    return CATEGORY_NAMES[max(certain)] if certain else None


def _info(source: Source, options: Options, audit: Audit) -> dict[str, Any]:
    return {
        "description": f"{source.dataset}, converted by mammodet {version('mammodet')}",
        "category_rule": source.category_rule,
        "options": options.to_dict(),
        "reference": source.reference,
        "audit": audit.record(),
    }
