"""The boxes of a COCO file in the frame of a detector, from the file alone: no image is read.

Of what a recipe does, only resampling changes the size of a box; crop and mirror move it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.audit.sizes import is_point
from mammodet.datasets.coco import CATEGORY_NAMES, AnnotationRecord, Coco, ImageRecord, counts, to_xyxy
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.prepared import prepared_recipe
from mammodet.datasets.standardise import Recipe, resample

Array = NDArray[np.float64]
Spacing = tuple[float, float]  # row, column


@dataclass(frozen=True, eq=False)
class FramedBoxes:
    """Lesions in the frame of a detector, as arrays in one order.

    Parameters
    ----------
    boxes:
        ``[x1, y1, x2, y2]`` [N, 4], clipped to the frame.
    frames:
        (width, height) [N, 2] of each lesion's image.
    spacing_mm:
        Pixel size (row, column) [N, 2] of the frame, NaN where unknown.
    category, finding:
        Names.
    left_out:
        How many boxes were left out, by reason.
    notes:
        What makes the boxes hard to compare, one sentence each.
    """

    boxes: Array
    frames: Array
    spacing_mm: Array
    category: tuple[str, ...]
    finding: tuple[str, ...]
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def shapes(self) -> Array:
        """(width, height) [N, 2] in pixels of the frame."""
        return self.boxes[:, 2:] - self.boxes[:, :2]

    @property
    def side_px(self) -> Array:
        """Square root of the area [N], what anchor sizes are compared with."""
        return np.sqrt(self.shapes.prod(axis=1))

    @property
    def side_mm(self) -> Array:
        """Square root of the area in mm [N], NaN where unknown."""
        return self.side_px * np.sqrt(self.spacing_mm.prod(axis=1))

    @property
    def common_spacing_mm(self) -> float | None:
        """Side of the frame's pixels in mm where they are square and the same everywhere (1 %), else None."""
        low, high = self.spacing_mm.min(), self.spacing_mm.max()
        return float(np.median(self.spacing_mm)) if high <= 1.01 * low else None  # NaN compares as False

    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Return which lesions are in which group: all, categories, findings; only groups that have any."""
        groups = {"all": np.ones(len(self.boxes), dtype=bool)}
        for values in (self.category, self.finding):
            for name in sorted(set(values)):
                groups[name] = np.array([value == name for value in values], dtype=bool)
        return groups


def frame_boxes(
    coco: Coco, spacing_mm: float | None = None, assumed_spacing_mm: float | None = None
) -> FramedBoxes:
    """Bring the lesions that count into the frame of a detector.

    Parameters
    ----------
    spacing_mm:
        The recipe's: images are resampled to square pixels of this size; None keeps their own pixels. The
        images of a prepared file are in the model's frame already.
    assumed_spacing_mm:
        The recipe's: pixel size of images that do not tell theirs.

    Raises
    ------
    InputError
        When a pixel size is needed and unknown, when a prepared file is asked for another one than it has, or
        when no box is left.
    """
    recipe = Recipe(spacing_mm=spacing_mm, assumed_spacing_mm=assumed_spacing_mm)
    prepared = prepared_recipe(coco)
    if prepared is not None:
        recipe = _as_prepared(coco, recipe, prepared)
    lesions, left_out = _learnable(coco)
    frames = {
        number: _frame(coco, coco.image_by_id[number], recipe)
        for number in {one["image_id"] for one in lesions}
    }
    rows, kept = [], []
    for one in lesions:
        geometry, spacing = frames[one["image_id"]]
        size = (geometry.width, geometry.height)
        box = np.clip(geometry.boxes_to_model(to_xyxy([one["bbox"]]))[0], 0, [*size, *size])
        if min(box[2] - box[0], box[3] - box[1]) < 1:  # no training box either
            left_out["under a pixel"] += 1
            continue
        rows.append((*box, *size, *(spacing or (np.nan, np.nan))))
        kept.append(one)
    if not kept:
        raise InputError(
            f"holds no box to fit anchors to ({_told(left_out) or 'it has no annotations'})",
            file=coco.path,
            field="annotations",
            remedy="give a COCO file with lesions, such as the training part",
        )
    table = np.array(rows, dtype=np.float64)
    return FramedBoxes(
        table[:, :4],
        table[:, 4:6],
        table[:, 6:],
        category=tuple(CATEGORY_NAMES.get(one["category_id"], str(one["category_id"])) for one in kept),
        finding=tuple(str(one.get("finding") or "finding unknown") for one in kept),
        left_out=dict(left_out),
        notes=() if recipe.spacing_mm is not None else tuple(_mixed(table[:, 6:])),
    )


def _learnable(coco: Coco) -> tuple[list[AnnotationRecord], Counter[str]]:
    """Return the lesions whose boxes have a meaningful size, and how many others there are by reason."""
    lesions, left_out = [], Counter[str]()
    for one in coco.annotations:
        if one.get("iscrowd"):
            left_out["crowd"] += 1
        elif not counts(one):
            left_out["ignored"] += 1
        elif is_point(one):
            left_out["single points"] += 1
        else:
            lesions.append(one)
    return lesions, left_out


def _told(left_out: Counter[str]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in left_out.items())


def _frame(coco: Coco, image: ImageRecord, recipe: Recipe) -> tuple[Geometry, Spacing | None]:
    geometry = Geometry(image["width"], image["height"])
    told = image.get("spacing_mm")
    spacing = (told[0], told[1]) if told else None
    if spacing is None and recipe.assumed_spacing_mm is not None:
        spacing = (recipe.assumed_spacing_mm, recipe.assumed_spacing_mm)
    if recipe.spacing_mm is None:
        return geometry, spacing
    if spacing is None:
        raise InputError(
            "the pixel size is not known, so its boxes cannot be resampled",
            file=coco.path,
            field=f"images[id={image['id']}].spacing_mm",
            remedy="give --assumed-spacing-mm, or leave --spacing-mm out",
        )
    return resample(geometry, spacing, recipe.spacing_mm)


def _as_prepared(coco: Coco, asked: Recipe, prepared: Recipe) -> Recipe:
    """Refuse another pixel size than that of the prepared images; they are not resampled again."""
    if asked.spacing_mm not in {None, prepared.spacing_mm}:
        raise InputError(
            f"its images were prepared with {prepared.spacing_mm!r}",
            file=coco.path,
            field="--spacing-mm",
            value=asked.spacing_mm,
            remedy="leave it out, or prepare the images again with this one",
        )
    return replace(asked, spacing_mm=None)


def _mixed(spacing: Sequence[Spacing] | Array) -> list[str]:
    """Return a warning where pixels are of several sizes, in which one lesion has several sizes too."""
    known = np.asarray(spacing)[~np.isnan(spacing).any(axis=1)]
    notes = []
    if len(known) and known.max() > 1.01 * known.min():
        notes.append(
            f"pixels are {known.min():.4g} to {known.max():.4g} mm, so lesions of one size differ in px; "
            "--spacing-mm fits anchors for one pixel size, as --recipe.spacing-mm trains"
        )
    if 0 < len(known) < len(spacing):
        notes.append(f"the pixel size of {len(spacing) - len(known)} of {len(spacing)} lesions is unknown")
    return notes
