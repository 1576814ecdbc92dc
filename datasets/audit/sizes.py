"""How large the lesions are, in pixels and mm, and how many a detector's smallest anchor is too large for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.audit.pixels import Pixels
from mammodet.datasets.coco import CATEGORY_NAMES, AnnotationRecord, Coco, counts
from mammodet.datasets.standardise import Recipe

Array = NDArray[np.float64]

ANCHOR_PX = 32  # the smallest anchor of torchvision's and of most other Faster R-CNN
# torchvision.models.detection.transform.GeneralizedRCNNTransform by default: the shorter side becomes 800 px
# unless the longer one would pass 1333.
RESIZE = (800, 1333)
QUANTILES = (0, 5, 25, 50, 75, 95, 100)  # percent


@dataclass(frozen=True, eq=False)
class Sizes:
    """The boxes that count in training and evaluation, as arrays [N] in one order.

    Parameters
    ----------
    width, height:
        In pixels of the file.
    row_mm, column_mm:
        Size of a pixel, NaN where unknown.
    whole, crop:
        Factor of torchvision's default resize for the whole image and for its crop to the breast; NaN where
        the breast is not known.
    category, finding:
        Names.
    left_out:
        Boxes with ``ignore`` or ``iscrowd``, and single points.
    """

    width: Array
    height: Array
    row_mm: Array
    column_mm: Array
    whole: Array
    crop: Array
    category: tuple[str, ...]
    finding: tuple[str, ...]
    left_out: int
    anchor: int = ANCHOR_PX

    @property
    def side_px(self) -> Array:
        """Square root of the area, what anchors are compared with."""
        return np.sqrt(self.width * self.height)

    @property
    def longer_px(self) -> Array:
        """The longer side."""
        return np.maximum(self.width, self.height)

    @property
    def side_mm(self) -> Array:
        """Square root of the area in mm, NaN where unknown."""
        return np.sqrt(self.width * self.column_mm * self.height * self.row_mm)

    @property
    def longer_mm(self) -> Array:
        """The longer side in mm, NaN where unknown."""
        return np.maximum(self.width * self.column_mm, self.height * self.row_mm)

    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Return which boxes are in which group: all, categories, findings; only groups that have boxes."""
        groups = {"all": np.ones(len(self.width), dtype=bool)}
        for values in (self.category, self.finding):
            for name in sorted(set(values)):
                groups[name] = np.array([value == name for value in values], dtype=bool)
        return {name: members for name, members in groups.items() if members.any()}


def default_resize(width: float, height: float) -> float:
    """Return the factor by which torchvision's default transform resizes an image of width x height."""
    return min(RESIZE[0] / min(width, height), RESIZE[1] / max(width, height))


def measure(coco: Coco, pixels: Pixels, anchor: int = ANCHOR_PX) -> Sizes:
    """Measure the boxes of a COCO file; the crop to the breast needs the pixels."""
    lesions = [one for one in coco.annotations if counts(one) and not is_point(one)]
    rows = [_row(coco, one, pixels) for one in lesions]
    width, height, row_mm, column_mm, whole, crop = np.array(rows, dtype=np.float64).reshape(-1, 6).T
    return Sizes(
        width,
        height,
        row_mm,
        column_mm,
        whole,
        crop,
        category=tuple(CATEGORY_NAMES.get(one["category_id"], str(one["category_id"])) for one in lesions),
        finding=tuple(str(one.get("finding") or "finding unknown") for one in lesions),
        left_out=len(coco.annotations) - len(lesions),
        anchor=anchor,
    )


def is_point(annotation: AnnotationRecord) -> bool:
    """Tell whether the source gave a place without extent, whose box has no meaningful size."""
    return (annotation.get("provenance") or {}).get("point") is not None


def _row(coco: Coco, annotation: AnnotationRecord, pixels: Pixels) -> Sequence[float]:
    image = coco.image_by_id[annotation["image_id"]]
    spacing = image.get("spacing_mm") or (np.nan, np.nan)
    whole = default_resize(image["width"], image["height"])
    breast, crop = pixels.breast_of(image["id"]), np.nan
    if breast is not None:
        x, y, width, height = breast
        margin = Recipe().crop_margin_px
        left, top = max(0, x - margin), max(0, y - margin)
        right, bottom = min(image["width"], x + width + margin), min(image["height"], y + height + margin)
        if right > left and bottom > top:  # the file may be of another size than the COCO file says
            crop = default_resize(right - left, bottom - top)
    return (*annotation["bbox"][2:], *spacing, whole, crop)


def below_anchor(sizes: Sizes) -> list[dict[str, Any]]:
    """Return, for every way to feed the detector, which share of the boxes is below the smallest anchor.

    ``side`` compares the square root of the area, as anchors have it, ``longer_side`` the longer side;
    ``enlarged`` counts the boxes whose frame is smaller than what it is resized to.
    """
    ways = {
        ("full resolution", "whole image or breast crop"): np.ones(len(sizes.width)),
        (f"resized to {RESIZE[0]}/{RESIZE[1]}", "breast crop"): sizes.crop,
        (f"resized to {RESIZE[0]}/{RESIZE[1]}", "whole image"): sizes.whole,
    }
    rows = []
    for (resize, frame), scale in ways.items():
        known = ~np.isnan(scale)
        if known.any():
            side, longer = (sizes.side_px * scale)[known], (sizes.longer_px * scale)[known]
            rows.append(
                {
                    "resize": resize,
                    "frame": frame,
                    "boxes": int(known.sum()),
                    "side": float((side < sizes.anchor).mean()),
                    "longer_side": float((longer < sizes.anchor).mean()),
                    "median_side_px": float(np.median(side)),
                    "median_scale": float(np.median(scale[known])),
                    "enlarged": int((scale[known] > 1).sum()),
                }
            )
    return rows


def describe(sizes: Sizes) -> dict[str, Any]:
    """Return the sizes as plain values that JSON can hold.

    ``boxes`` and ``left_out`` (ignored, crowds, points); ``anchor_px``; ``below_anchor`` as of that function;
    ``sentence``, its gist; ``enlarging``, a sentence where the resize enlarges, else null; ``groups``: for
    all, categories and findings the quantiles, by percent, of ``side_px`` (square root of the area),
    ``longer_px``, ``side_mm`` and ``longer_mm``, null where no pixel size is known; ``histogram``: boxes by
    ``side_px`` between ``edges_px``, powers of the square root of 2.
    """
    rows = below_anchor(sizes)
    edges = _edges(sizes.side_px)
    groups = {name: _quantiles(sizes, members) for name, members in sizes.groups().items()}
    counted = {
        name: np.histogram(sizes.side_px[members], edges)[0].tolist()
        for name, members in sizes.groups().items()
    }
    return {
        "boxes": len(sizes.width),
        "left_out": sizes.left_out,
        "anchor_px": sizes.anchor,
        "below_anchor": rows,
        "sentence": _sentence(rows, sizes.anchor),
        "enlarging": _enlarging(rows),
        "groups": groups,
        "histogram": {"edges_px": edges.tolist(), "boxes": counted},
    }


def _sentence(rows: Sequence[Mapping[str, Any]], anchor: int) -> str:
    if not rows:
        return "there are no boxes to measure"
    full, last = rows[0], rows[-1]
    return (
        f"at full resolution {percent(full['side'])} of the boxes are smaller than the smallest anchor "
        f"({anchor} px); at torchvision's default resize ({RESIZE[0]}/{RESIZE[1]}) {percent(last['side'])}"
    )


def _enlarging(rows: Sequence[Mapping[str, Any]]) -> str | None:
    told = []
    for row in rows[1:][::-1]:
        frames = "breast crops" if row["frame"] == "breast crop" else "images"
        if row["enlarged"]:
            whole = row["enlarged"] == row["boxes"]
            which = (
                f"these {frames}" if whole else f"the {frames} of {row['enlarged']} of {row['boxes']} boxes"
            )
            told.append(f"{which} (median scale {row['median_scale']:.3g})")
    if not told:
        return None
    which = " and ".join(told)
    return f"torchvision's default enlarges {which}: boxes grow past the anchor, detail is not gained"


def percent(share: float) -> str:
    """Show a share so that 0 % and 100 % mean none and all."""
    if 0 < share < 0.005:
        return "< 1 %"
    if 0.995 <= share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def _quantiles(sizes: Sizes, members: NDArray[np.bool_]) -> dict[str, Any]:
    described: dict[str, Any] = {"boxes": int(members.sum())}
    for name in ("side_px", "longer_px", "side_mm", "longer_mm"):
        values = getattr(sizes, name)[members]
        known = values[~np.isnan(values)]
        if name == "side_mm":
            described["boxes_with_mm"] = len(known)
        described[name] = (
            {str(q): round(float(np.percentile(known, q)), 3) for q in QUANTILES} if len(known) else None
        )
    return described


def _edges(values: Array) -> Array:
    """Return bin edges at powers of the square root of 2 around all values."""
    if not len(values):
        return np.array([1.0, 2.0])
    low, high = np.floor(2 * np.log2(values.min())), np.floor(2 * np.log2(values.max())) + 1
    return np.asarray(2.0 ** (np.arange(low, high + 1) / 2))
