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
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco_check import (
    CocoError,
    Fault,
    check_coco,
    check_content,
    check_files,
    check_results,
)
from mammodet.datasets.coco_records import (
    BENIGN,
    CATEGORY_NAMES,
    FINDINGS,
    GEOMETRY_SOURCES,
    LABELS,
    MALIGNANT,
    AnnotationRecord,
    CategoryRecord,
    ImageRecord,
    profile_categories,
)
from mammodet.datasets.errors import InputError

__all__ = [
    "BENIGN",
    "CATEGORY_NAMES",
    "FINDINGS",
    "GEOMETRY_SOURCES",
    "LABELS",
    "MALIGNANT",
    "AnnotationRecord",
    "CategoryRecord",
    "Coco",
    "CocoError",
    "Fault",
    "ImageRecord",
    "check_coco",
    "check_content",
    "check_files",
    "check_results",
    "clip_bbox",
    "counts",
    "profile_categories",
    "read_coco",
    "read_json",
    "read_results",
    "to_xywh",
    "to_xyxy",
    "write_coco",
]


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
            images = [{**image, "file_name": self._name_from(image, path.parent)} for image in images]
        return Coco(images, annotations, path, self.categories, dict(self.info))

    def _name_from(self, image: ImageRecord, folder: Path) -> str:
        return Path(os.path.relpath(self.image_path(image).absolute(), folder.absolute())).as_posix()


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
        With every fault that ``check_content`` finds; a subclass of InputError.
    InputError
        When the file is not there or is no JSON.
    """
    path = Path(path)
    content = read_json(path)
    faults = check_content(content, path, profile=profile)
    if faults:
        raise CocoError(faults, _remedy(content, path, len(faults)))
    return Coco(
        content["images"], content["annotations"], path, content["categories"], content.get("info") or {}
    )


def _remedy(content: Any, path: Path, count: int) -> str:
    if isinstance(content, list):
        return "give a ground truth file (a JSON list is a results file)"
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        return "give a COCO detection file, as mammodet convert writes it"
    if corners := _boxes_given_as_corners(content):
        return corners
    return "correct it in the file" if count == 1 else f"mammodet check {path} lists them all"


def _boxes_given_as_corners(content: Mapping[str, Any]) -> str | None:
    """Recognise ``[x1, y1, x2, y2]`` in place of ``[x, y, width, height]``, the commonest slip of all.

    Some such boxes lie inside their image all the same; when a fifth of all lie outside, and every one of
    them would be a box of its image by its corners, it is no slip of a few.
    """
    try:
        sizes = {one["id"]: (one["width"], one["height"]) for one in content["images"]}
        boxes = [(*one["bbox"], *sizes[one["image_id"]]) for one in content["annotations"]]
        corners = np.array(boxes, dtype=np.float64).reshape(-1, 6)
    except (TypeError, ValueError, KeyError, OverflowError):
        return None  # has other faults
    x1, y1, x2, y2, width, height = corners.T
    leaves = (x1 + x2 > width) | (y1 + y2 > height)
    fits = (x1 < x2) & (x2 <= width) & (y1 < y2) & (y2 <= height)
    outside, fitting, total = int(leaves.sum()), int((leaves & fits).sum()), len(corners)
    if not outside or outside < 0.2 * total or fitting < outside:
        return None
    return (
        f"{outside} of {total} boxes lie outside their image and would fit as corners [x1, y1, x2, y2]; "
        "write [x, y, width, height]"
    )


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file; raises InputError with line and column when it is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError("no such file", file=path, remedy="check the path") from None
    except IsADirectoryError:
        remedy = "give the file itself, such as coco.json in it"
        raise InputError("is a folder, not a JSON file", file=path, remedy=remedy) from None
    except RecursionError:
        raise InputError("is nested too deeply", file=path, remedy="check that it is a COCO file") from None
    except ValueError as error:  # broken UTF-8, broken JSON, an integer of more than 4300 digits
        raise InputError(f"is no JSON: {error}", file=path, remedy="check that the file is whole") from None


def write_coco(coco: Coco, path: str | os.PathLike[str] | None = None) -> Path:
    """Check and write a COCO file atomically to ``path`` (by default ``coco.path``); return the path.

    Raises CocoError instead of writing a file with faults.
    """
    target = coco if path is None else coco.subset(coco.image_by_id, Path(path))
    faults = check_coco(target)
    if faults:
        raise CocoError(faults, "nothing was written")
    content = {
        "info": target.info,
        "images": target.images,
        "annotations": target.annotations,
        "categories": target.categories,
    }
    try:
        write_json(target.path, content)
    except ValueError as error:  # NaN where the profile allows anything, such as in provenance
        raise InputError(f"cannot be JSON: {error}", file=target.path, remedy="nothing was written") from None
    return target.path


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


def counts(annotation: AnnotationRecord) -> bool:
    """Return whether a lesion is learned and judged: neither ``ignore`` nor ``iscrowd`` is set."""
    return not annotation.get("ignore") and not annotation.get("iscrowd")


def clip_bbox(bbox: Sequence[float], width: int, height: int) -> list[float] | None:
    """Clip an ``[x, y, width, height]`` box to its image; None when nothing is left."""
    x1, y1, x2, y2 = to_xyxy([bbox])[0]
    x1, x2 = np.clip([x1, x2], 0, width).tolist()
    y1, y2 = np.clip([y1, y2], 0, height).tolist()
    return [x1, y1, x2 - x1, y2 - y1] if x2 > x1 and y2 > y1 else None
