"""The COCO profile: one JSON file per data set that any COCO reader opens, with the keys of mammography.

Boxes on disk are ``[x, y, width, height]`` in the pixel frame of the original file: x to the right, y down,
origin at the outer corner of the top-left pixel, half-open. In memory boxes are ``[x1, y1, x2, y2]``.
``to_xyxy`` and ``to_xywh`` are the only places that convert.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.datasets.atomic import write_json
from mammodet.datasets.errors import InputError

BENIGN = 1
MALIGNANT = 2
CATEGORY_NAMES: Mapping[int, str] = {BENIGN: "benign", MALIGNANT: "malignant"}


class ImageRecord(TypedDict, total=False):
    """One image. ``id``, ``file_name``, ``width`` and ``height`` are always there; the rest where known."""

    id: int
    file_name: str  # relative to the COCO file's folder, or to info["root"] when that is given
    width: int
    height: int
    patient_id: str
    study_id: str
    breast_id: str  # patient, study and side
    laterality: str | None  # "L", "R" or None
    view: str | None  # "CC", "MLO", another code or None
    spacing_mm: list[float] | None  # [row, column]
    density: str | None  # "A" to "D"
    age: int | None
    manufacturer: str | None
    dataset: str
    split: str | None
    label: str | None  # "normal", "benign", "malignant"; None = unknown
    sop_instance_uid: str | None
    provenance: dict[str, Any]


class AnnotationRecord(TypedDict, total=False):
    """One lesion on one image. ``id`` (from 1), ``image_id``, ``category_id`` and ``bbox`` are always there."""

    id: int
    image_id: int
    category_id: int
    bbox: list[float]  # [x, y, width, height], source frame
    area: float
    iscrowd: int
    ignore: int
    segmentation: dict[str, Any] | list[list[float]]
    finding: str  # calcification, mass, distortion, asymmetry, other
    lesion_id: str  # the same lesion in two views has the same one
    pathology: str | None
    birads: str | None
    subtype: dict[str, Any]
    geometry_source: str  # mask, box, polygon, circle, chain-code
    provenance: dict[str, Any]


class CategoryRecord(TypedDict):
    """One class of lesions."""

    id: int
    name: str


def profile_categories() -> list[CategoryRecord]:
    """Return the two categories of the profile: 1 benign, 2 malignant."""
    return [{"id": number, "name": name} for number, name in CATEGORY_NAMES.items()]


@dataclass(frozen=True)
class Coco:
    """A COCO file in memory.

    ``path`` is the file it was read from or will be written to; image names are relative to its folder unless
    ``info["root"]`` names an absolute one.
    """

    images: list[ImageRecord]
    annotations: list[AnnotationRecord]
    path: Path
    categories: list[CategoryRecord] = field(default_factory=profile_categories)
    info: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def image_by_id(self) -> dict[int, ImageRecord]:
        """Images by their id."""
        return {image["id"]: image for image in self.images}

    @cached_property
    def annotations_of(self) -> Mapping[int, list[AnnotationRecord]]:
        """Annotations by image id; an empty list for a normal image."""
        grouped: defaultdict[int, list[AnnotationRecord]] = defaultdict(list)
        for annotation in self.annotations:
            grouped[annotation["image_id"]].append(annotation)
        return grouped

    def image_path(self, image: ImageRecord) -> Path:
        """Return where the pixels of ``image`` lie."""
        return Path(self.info.get("root") or self.path.parent, image["file_name"])

    def subset(self, image_ids: Iterable[int], path: Path) -> Coco:
        """Return the images with these ids and their annotations, ids unchanged, to be written to ``path``.

        File names are made relative to the folder of ``path``, so that a split may lie elsewhere.
        """
        wanted = set(image_ids)
        images = [image for image in self.images if image["id"] in wanted]
        annotations = [one for one in self.annotations if one["image_id"] in wanted]
        if not self.info.get("root"):
            images = [{**image, "file_name": self._name_from(image, path.parent)} for image in images]  # type: ignore[misc]
        return Coco(images, annotations, path, self.categories, dict(self.info))

    def _name_from(self, image: ImageRecord, folder: Path) -> str:
        return Path(os.path.relpath(self.image_path(image).absolute(), folder.absolute())).as_posix()


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a COCO or results file: where, what value, and why it is wrong."""

    file: str
    where: str
    value: object
    problem: str

    def __str__(self) -> str:
        return str(InputError(self.problem, file=self.file, field=self.where, value=self.value))


class CocoError(InputError):
    """A COCO or results file with faults; ``faults`` holds them all, the message the first ones."""

    def __init__(self, faults: Sequence[Fault], remedy: str) -> None:
        self.faults = list(faults)
        first = faults[0]
        count = "" if len(faults) == 1 else f" (and {len(faults) - 1} more faults)"
        super().__init__(
            first.problem + count, file=first.file, field=first.where, value=first.value, remedy=remedy
        )


def read_coco(path: str | os.PathLike[str], *, profile: bool = True) -> Coco:
    """Read and check a COCO file.

    Parameters
    ----------
    profile:
        Whether the file must follow the profile (categories 1 benign and 2 malignant). False reads any COCO
        detection file, such as COCO val2014.

    Raises
    ------
    CocoError
        With every fault that ``check_coco`` finds.
    InputError
        When the file is not there, is no JSON object, or lacks ``images`` or ``annotations``.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(
            "a COCO file is a JSON object with images, annotations and categories",
            file=path,
            value=type(content).__name__,
            remedy="give a ground truth file (a JSON list is a results file)",
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise InputError(
                "is missing or no list",
                file=path,
                field=key,
                remedy="give a COCO detection file, as mammodet convert writes it",
            )
    coco = Coco(
        content["images"], content["annotations"], path, content["categories"], content.get("info") or {}
    )
    faults = check_coco(coco, profile=profile)
    if faults:
        raise CocoError(faults, f"mammodet check {path} lists them all")
    return coco


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file; raises InputError with line and column when it is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", file=path, remedy="check the path") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"is no JSON: {error}", file=path, remedy="check that the file is whole") from None


def write_coco(coco: Coco, path: str | os.PathLike[str] | None = None) -> Path:
    """Check and write a COCO file atomically to ``path`` (by default ``coco.path``); return the path.

    Raises CocoError instead of writing a file with faults.
    """
    target = coco if path is None else coco.subset(coco.image_by_id, Path(path))
    faults = check_coco(target)
    if faults:
        raise CocoError(faults, "nothing was written")
    write_json(
        target.path,
        {
            "info": target.info,
            "images": target.images,
            "annotations": target.annotations,
            "categories": target.categories,
        },
    )
    return target.path


def check_coco(coco: Coco, *, profile: bool = True) -> list[Fault]:
    """Return every fault of a COCO file, each with file, id and value; an empty list when there is none.

    Found are: missing, non-integer and duplicate ids, annotation id 0 (pycocotools takes it for "no match"),
    images without size or name, one file under two ids, annotations of unknown images or categories, boxes that
    are no four finite numbers, have no width or height, or lie outside their image, segmentations of another
    size, unknown labels, and patients in two splits.
    """
    file = str(coco.path)
    faults: list[Fault] = []

    def add(where: str, value: object, problem: str) -> None:
        faults.append(Fault(file, where, value, problem))

    categories = _check_categories(coco.categories, profile, add)
    sizes = _check_images(coco.images, add)
    _check_annotations(coco.annotations, sizes, categories, add)
    _check_patients(coco.images, add)
    return faults


def check_results(results: Any, coco: Coco, path: str | os.PathLike[str]) -> list[Fault]:
    """Return every fault of a COCO results list against its ground truth.

    pycocotools turns a NaN score into AP 1 and drops unknown categories silently, so both are named here.
    """
    file = str(path)
    if not isinstance(results, list):
        return [Fault(file, "results", type(results).__name__, "a results file is a JSON list")]
    faults: list[Fault] = []
    categories = {category["id"] for category in coco.categories}
    for index, result in enumerate(results):
        where = f"results[{index}]"
        if not isinstance(result, dict):
            faults.append(Fault(file, where, result, "is no object"))
            continue
        if not _is_id(result.get("image_id")) or result["image_id"] not in coco.image_by_id:
            faults.append(Fault(file, f"{where}.image_id", result.get("image_id"), "no such image"))
        if not _is_id(result.get("category_id")) or result["category_id"] not in categories:
            problem = f"no such category, the ground truth has {sorted(categories)}"
            faults.append(Fault(file, f"{where}.category_id", result.get("category_id"), problem))
        score = result.get("score")
        if not _is_number(score) or not 0 <= score <= 1:
            faults.append(Fault(file, f"{where}.score", score, "must be a number from 0 to 1"))
        if problem := _bbox_problem(result.get("bbox"), None):
            faults.append(Fault(file, f"{where}.bbox", result.get("bbox"), problem))
    return faults


def read_results(path: str | os.PathLike[str], coco: Coco) -> list[dict[str, Any]]:
    """Read a COCO results list ``[{image_id, category_id, bbox, score}]`` and check it against ``coco``."""
    results = read_json(path)
    faults = check_results(results, coco, path)
    if faults:
        raise CocoError(faults, f"the images and categories must be those of {coco.path}")
    return list(results)


def to_xyxy(boxes: ArrayLike) -> NDArray[np.float64]:
    """Turn ``[x, y, width, height]`` [N, 4] into ``[x1, y1, x2, y2]`` [N, 4]; an empty input gives [0, 4]."""
    xywh = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def to_xywh(boxes: ArrayLike) -> NDArray[np.float64]:
    """Turn ``[x1, y1, x2, y2]`` [N, 4] into ``[x, y, width, height]`` [N, 4]; an empty input gives [0, 4]."""
    xyxy = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)


def clip_bbox(bbox: Sequence[float], width: int, height: int) -> list[float] | None:
    """Clip an ``[x, y, width, height]`` box to its image; None when nothing is left."""
    x1, y1, x2, y2 = to_xyxy([bbox])[0]
    x1, x2 = np.clip([x1, x2], 0, width).tolist()
    y1, y2 = np.clip([y1, y2], 0, height).tolist()
    return [x1, y1, x2 - x1, y2 - y1] if x2 > x1 and y2 > y1 else None


_Add = Any  # Callable[[str, object, str], None]


def _check_categories(categories: Sequence[Any], profile: bool, add: _Add) -> set[int]:
    known: dict[int, Any] = {}
    for index, category in enumerate(categories):
        number = category.get("id") if isinstance(category, dict) else None
        if not _is_id(number):
            add(f"categories[{index}].id", number, "is missing or no integer")
        elif number in known:
            add(f"categories[{index}].id", number, "is used twice")
        else:
            known[number] = category.get("name")
    if profile and known != dict(CATEGORY_NAMES):
        add("categories", known, f"must be {dict(CATEGORY_NAMES)}")
    return set(known)


def _check_images(images: Sequence[Any], add: _Add) -> dict[int, tuple[int, int] | None]:
    """Return (width, height) by image id, None where the size is at fault."""
    sizes: dict[int, tuple[int, int] | None] = {}
    names: dict[str, int] = {}
    for index, image in enumerate(images):
        if not isinstance(image, dict) or not _is_id(image.get("id")):
            add(f"images[{index}].id", image.get("id") if isinstance(image, dict) else image, "is missing or no integer")
            continue
        number = image["id"]
        where = f"images[id={number}]"
        if number in sizes:
            add(f"{where}.id", number, "is used twice")
        name = image.get("file_name")
        if not isinstance(name, str) or not name:
            add(f"{where}.file_name", name, "is missing")
        elif name in names:
            add(f"{where}.file_name", name, f"is the file of image {names[name]} too")
        else:
            names[name] = number
        width, height = image.get("width"), image.get("height")
        if _is_id(width) and _is_id(height) and width > 0 and height > 0:
            sizes[number] = (width, height)
        else:
            add(f"{where}.width, height", (width, height), "must be positive integers")
            sizes[number] = None
        if image.get("label") not in {None, "normal", "benign", "malignant"}:
            add(f"{where}.label", image["label"], "must be normal, benign, malignant or null")
    return sizes


def _check_annotations(
    annotations: Sequence[Any], sizes: Mapping[int, tuple[int, int] | None], categories: set[int], add: _Add
) -> None:
    seen: set[int] = set()
    for index, annotation in enumerate(annotations):
        number = annotation.get("id") if isinstance(annotation, dict) else None
        if not _is_id(number):
            add(f"annotations[{index}].id", number, "is missing or no integer")
            if not isinstance(annotation, dict):
                continue
            where = f"annotations[{index}]"
        else:
            where = f"annotations[id={number}]"
            if number == 0:
                add(f"{where}.id", 0, "ids start at 1, pycocotools takes 0 for no match")
            if number in seen:
                add(f"{where}.id", number, "is used twice")
            seen.add(number)
        image_id = annotation.get("image_id")
        size = None
        if not _is_id(image_id) or image_id not in sizes:
            add(f"{where}.image_id", image_id, "no such image")
        else:
            size = sizes[image_id]
        category = annotation.get("category_id")
        if not _is_id(category) or category not in categories:
            add(f"{where}.category_id", category, f"unknown category, known are {sorted(categories)}")
        if problem := _bbox_problem(annotation.get("bbox"), size):
            add(f"{where}.bbox", annotation.get("bbox"), problem)
        segmentation = annotation.get("segmentation")
        if isinstance(segmentation, dict) and size and list(segmentation.get("size", ())) != [size[1], size[0]]:
            problem = f"is of another size than the image, [height, width] = {[size[1], size[0]]}"
            add(f"{where}.segmentation.size", segmentation.get("size"), problem)


def _check_patients(images: Sequence[Any], add: _Add) -> None:
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for image in images:
        if isinstance(image, dict) and image.get("patient_id") is not None and image.get("split") is not None:
            splits[str(image["patient_id"])].add(str(image["split"]))
    for patient, names in splits.items():
        if len(names) > 1:
            add(f"images[patient_id={patient}].split", sorted(names), "one patient is in several splits")


def _bbox_problem(bbox: Any, size: tuple[int, int] | None) -> str | None:
    if not isinstance(bbox, list | tuple) or len(bbox) != 4 or not all(_is_number(one) for one in bbox):
        return "must be four finite numbers [x, y, width, height]"
    x, y, width, height = bbox
    if width <= 0 or height <= 0:
        return "a box must have a width and a height above 0"
    if size is None:
        return None
    tolerance = 1e-2  # COCO files round to two decimals
    if x < -tolerance or y < -tolerance or x + width > size[0] + tolerance or y + height > size[1] + tolerance:
        return f"lies outside its image of {size[0]} x {size[1]}"
    return None


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
