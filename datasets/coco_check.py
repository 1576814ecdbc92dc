"""Every fault of a COCO or results file, with file, id and value: nothing here stops at the first one."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mammodet.datasets.coco_records import CATEGORY_NAMES, ImageRecord
from mammodet.datasets.coco_values import (
    ANNOTATION_KEYS,
    COCO_KEYS,
    IMAGE_KEYS,
    Keys,
    is_id,
    is_name,
    is_number,
    is_text,
)
from mammodet.datasets.errors import InputError
from mammodet.datasets.masks import segmentation_problem

if TYPE_CHECKING:
    from mammodet.datasets.coco import Coco

Size = tuple[int, int]  # width, height
Add = Callable[[str, object, str], None]  # where, value, problem


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


def check_content(content: Any, path: str | os.PathLike[str], *, profile: bool = True) -> list[Fault]:
    """Return every fault of what a COCO file holds, whatever JSON that is; see ``check_coco``."""
    faults: list[Fault] = []

    def add(where: str, value: object, problem: str) -> None:
        faults.append(Fault(str(path), where, _shallow(value), problem))

    if not isinstance(content, dict):
        add("", type(content).__name__, "a COCO file is an object with images, annotations and categories")
        return faults
    lists: dict[str, list[Any]] = {}
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            add(key, content.get(key), "is missing or no list")
        lists[key] = content[key] if isinstance(content.get(key), list) else []
    _check_info(content.get("info"), add)
    known = _check_categories(lists["categories"], profile, add) if lists["categories"] else None
    if profile and isinstance(content.get("categories"), list) and not lists["categories"]:
        add("categories", [], f"must be {dict(CATEGORY_NAMES)}")
    sizes = _check_images(lists["images"], profile, add)
    _check_annotations(lists["annotations"], sizes, known, profile, add)
    _check_patients(lists["images"], add)
    return faults


def check_coco(coco: Coco, *, profile: bool = True) -> list[Fault]:
    """Return every fault of a COCO file, each with file, id and value; an empty list when there is none.

    Found are: entries that are no objects; missing, non-integer and duplicate ids; annotation id 0
    (pycocotools takes it for "no match"); images without size or name; one file under two ids; annotations of
    unknown images or categories; boxes that are no four finite numbers, have no width or height, or lie
    outside their image; segmentations that cannot be decoded or are of another size; patients in two splits.
    With ``profile`` also keys of the profile with a value of another type than the profile's, such as an
    unknown label.
    """
    content = {
        "info": coco.info,
        "images": coco.images,
        "annotations": coco.annotations,
        "categories": coco.categories,
    }
    return check_content(content, coco.path, profile=profile)


def check_files(
    coco: Coco,
    size_of: Callable[[Any], Size] | None = None,
    *,
    progress: Callable[[Iterable[ImageRecord]], Iterable[ImageRecord]] = iter,
) -> list[Fault]:
    """Return the images of ``coco`` that are not on disk or, with ``size_of``, are of another size there.

    ``size_of`` takes a path and returns (width, height), as ``mammogram.image_size`` does; what it raises as
    InputError is a fault too. ``progress`` wraps the images as they are looked at, such as tqdm. Images need
    an id and a file name only.
    """
    faults = []
    for image in progress(coco.images):
        path = coco.image_path(image)
        where = f"images[id={image['id']}].file_name"
        if not os.path.isfile(path):  # noqa: PTH113 (Path.is_file raises on names too long)
            faults.append(Fault(str(coco.path), where, str(path), "no such image file"))
            continue
        try:
            size = None if size_of is None else size_of(path)
        except InputError as error:
            reason = error.problem if error.field is None else f"{error.field}: {error.problem}"
            faults.append(Fault(str(coco.path), where, str(path), reason))
            continue
        claimed = (image.get("width"), image.get("height"))
        if size is not None and size != claimed:
            problem = f"is {size[0]} x {size[1]} on disk and {claimed[0]} x {claimed[1]} here"
            faults.append(Fault(str(coco.path), where, str(path), problem))
    return faults


def check_results(results: Any, coco: Coco, path: str | os.PathLike[str]) -> list[Fault]:
    """Return every fault of a COCO results list against its ground truth.

    pycocotools turns a NaN score into AP 1 and drops unknown categories silently, so both are named here.
    """
    faults: list[Fault] = []

    def add(where: str, value: object, problem: str) -> None:
        faults.append(Fault(str(path), where, _shallow(value), problem))

    if not isinstance(results, list):
        add("results", type(results).__name__, "a results file is a JSON list")
        return faults
    categories = {category["id"] for category in coco.categories}
    for index, result in enumerate(results):
        where = f"results[{index}]"
        if not isinstance(result, dict):
            add(where, result, "is no object")
            continue
        image_id, category, score = result.get("image_id"), result.get("category_id"), result.get("score")
        if not is_id(image_id) or image_id not in coco.image_by_id:
            add(f"{where}.image_id", image_id, "no such image")
        if not is_id(category) or category not in categories:
            problem = f"no such category, the ground truth has {sorted(categories)}"
            add(f"{where}.category_id", category, problem)
        if not is_number(score) or not 0 <= score <= 1:
            add(f"{where}.score", score, "must be a number from 0 to 1")
        for problem in _bbox_problems(result.get("bbox"), None):
            add(f"{where}.bbox", result.get("bbox"), problem)
    return faults


def _shallow(value: Any, depth: int = 3) -> object:
    """Cut what is nested deeper than any valid value, so that a fault can be shown whatever it holds."""
    if isinstance(value, dict):
        return {key: _shallow(item, depth - 1) for key, item in value.items()} if depth else "..."
    if isinstance(value, list | tuple):
        return [_shallow(item, depth - 1) for item in value[:20]] if depth else "..."
    return value


def _check_info(info: Any, add: Add) -> None:
    if info is not None and not isinstance(info, dict):
        add("info", info, "must be an object")
    elif info and info.get("root") is not None and not is_name(info["root"]):
        add("info.root", info["root"], "must be the path of a folder")


def _check_categories(categories: Sequence[Any], profile: bool, add: Add) -> set[int]:
    known: dict[int, Any] = {}
    for index, category in enumerate(categories):
        number = category.get("id") if isinstance(category, dict) else category
        if not isinstance(category, dict) or not is_id(number):
            add(f"categories[{index}].id", number, "is missing or no integer")
            continue
        if number in known:
            add(f"categories[{index}].id", number, "is used twice")
        known[number] = category.get("name")
    if profile and known != dict(CATEGORY_NAMES):
        add("categories", known, f"must be {dict(CATEGORY_NAMES)}")
    return set(known)


def _check_images(images: Sequence[Any], profile: bool, add: Add) -> dict[int, Size | None]:
    """Return (width, height) by image id, None where the size is at fault."""
    sizes: dict[int, Size | None] = {}
    names: dict[str, str] = {}
    for index, image in enumerate(images):
        if not isinstance(image, dict):
            add(f"images[{index}]", image, "is no object")
            continue
        where = _check_id(image, "images", index, sizes, add)
        name = image.get("file_name")
        if not is_name(name):
            add(f"{where}.file_name", name, "is missing or no name")
        else:
            same = os.path.normpath(name)  # a.png and ./a.png are one file
            if same in names:
                add(f"{where}.file_name", name, f"is the file of {names[same]} too")
            names.setdefault(same, where)
        width, height = image.get("width"), image.get("height")
        size = (width, height) if is_id(width) and is_id(height) and width > 0 and height > 0 else None
        if size is None:
            add(f"{where}.width, height", (width, height), "must be positive integers")
        if is_id(image.get("id")):
            sizes[image["id"]] = size
        if profile:
            _check_keys(image, where, IMAGE_KEYS, add)
    return sizes


def _check_annotations(
    annotations: Sequence[Any],
    sizes: Mapping[int, Size | None],
    categories: set[int] | None,
    profile: bool,
    add: Add,
) -> None:
    seen: dict[int, None] = {}
    for index, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            add(f"annotations[{index}]", annotation, "is no object")
            continue
        where = _check_id(annotation, "annotations", index, seen, add)
        if is_id(annotation.get("id")):
            seen[annotation["id"]] = None
            if annotation["id"] == 0:
                add(f"{where}.id", 0, "ids start at 1, pycocotools takes 0 for no match")
        image_id, category = annotation.get("image_id"), annotation.get("category_id")
        size = sizes.get(image_id) if is_id(image_id) else None
        if not is_id(image_id) or image_id not in sizes:
            add(f"{where}.image_id", image_id, "no such image")
        if not is_id(category) or (categories is not None and category not in categories):
            add(f"{where}.category_id", category, f"unknown category, known are {sorted(categories or ())}")
        for problem in _bbox_problems(annotation.get("bbox"), size):
            add(f"{where}.bbox", annotation.get("bbox"), problem)
        segmentation = annotation.get("segmentation")
        broken = None if segmentation is None else segmentation_problem(segmentation, size)
        if broken is not None:
            add(f"{where}.segmentation", segmentation, broken)
        _check_keys(annotation, where, ANNOTATION_KEYS if profile else COCO_KEYS, add)


def _check_id(record: Mapping[str, Any], key: str, index: int, seen: Mapping[int, object], add: Add) -> str:
    """Return how faults name this record: by its id where it has one, otherwise by its place."""
    number = record.get("id")
    if not is_id(number):
        add(f"{key}[{index}].id", number, "is missing or no integer")
        return f"{key}[{index}]"
    if number in seen:
        add(f"{key}[{index}].id", number, "is used twice")
    return f"{key}[id={number}]"


def _check_patients(images: Sequence[Any], add: Add) -> None:
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for image in images:
        if isinstance(image, dict) and is_text(image.get("patient_id")) and is_text(image.get("split")):
            splits[image["patient_id"]].add(image["split"])
    for patient, names in splits.items():
        if len(names) > 1:
            add(f"images[patient_id={patient!r}].split", sorted(names), "one patient is in several splits")


def _check_keys(record: Mapping[str, Any], where: str, keys: Keys, add: Add) -> None:
    for key, (fits, expected) in keys.items():
        if record.get(key) is not None and not fits(record[key]):
            add(f"{where}.{key}", record[key], f"must be {expected}")


def _bbox_problems(bbox: Any, size: Size | None) -> list[str]:
    if not isinstance(bbox, list | tuple) or len(bbox) != 4 or not all(is_number(one) for one in bbox):
        return ["must be four finite numbers [x, y, width, height]"]
    x, y, width, height = bbox
    problems = []
    if width <= 0 or height <= 0:
        problems.append("a box must have a width and a height above 0")
    tolerance = 1e-2  # COCO files round to two decimals
    if size and (
        min(x, y) < -tolerance or x + width > size[0] + tolerance or y + height > size[1] + tolerance
    ):
        problems.append(f"lies outside its image of {size[0]} x {size[1]}")
    return problems
