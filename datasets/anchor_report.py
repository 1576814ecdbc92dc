"""How well anchors cover the lesions of a data set: default, fitted and free ones in one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.anchor_boxes import FramedBoxes
from mammodet.datasets.anchor_fit import FOREGROUND, choose, fit_layouts, free_anchors, score
from mammodet.datasets.anchor_grid import (
    DEFAULT,
    STRIDES,
    Layout,
    best_spread_iou,
    placed_iou,
    shape_iou,
)
from mammodet.datasets.errors import InputError

Array = NDArray[np.float64]

BACKGROUND = 0.3  # its rpn_bg_iou_thresh: an anchor below learns that it is none, if not a lesion's best one
BOX_HEAD = 0.5  # its box_fg_iou_thresh: a proposal from here on is a lesion for the box head
QUANTILES = (5, 25, 50, 75, 95)  # percent
_CHUNK = 4096  # boxes measured at a time


@dataclass(frozen=True, eq=False)
class Coverage:
    """The best anchor's IoU with each lesion [N], by what is known of where the lesion stands.

    Parameters
    ----------
    centred:
        Anchor and lesion around one centre: what the shapes alone allow.
    placed:
        At the lesion's place in its frame. A crop or an augmentation moves it.
    mean, worst:
        Over 49 positions on the grid of the levels.
    level:
        Which level the best anchor of ``placed`` lies on, from 0.
    """

    layout: Layout
    centred: Array
    placed: Array
    mean: Array
    worst: Array
    level: NDArray[np.int64]

    def describe(self) -> dict[str, Any]:
        """Return the layout, means of IoU and shares of lesions, as plain values that JSON can hold."""
        return {
            "sizes": list(self.layout.sizes),
            "ratios": list(self.layout.ratios),
            "anchors": self.layout.count,
            "mean_iou": {
                name: float(getattr(self, name).mean()) for name in ("centred", "placed", "mean", "worst")
            },
            "share_placed": {
                f">= {FOREGROUND}": float((self.placed >= FOREGROUND).mean()),
                f">= {BOX_HEAD}": float((self.placed >= BOX_HEAD).mean()),
                f"< {BACKGROUND}": float((self.placed < BACKGROUND).mean()),
            },
            "share_worst": {f">= {BOX_HEAD}": float((self.worst >= BOX_HEAD).mean())},
            "share_by_level": [float((self.level == level).mean()) for level in range(len(STRIDES))],
        }


@dataclass(frozen=True, eq=False)
class AnchorReport:
    """Default anchors, fitted ones with 1, 2, ... ratios, the proposal among these, and free ones."""

    boxes: FramedBoxes
    default: Coverage
    fitted: tuple[Coverage, ...]
    proposal: Coverage
    free: tuple[Array, ...]

    def free_iou(self) -> list[Array]:
        """Return the IoU [N] of each lesion with the best of k free anchors around its centre, for each k."""
        return [shape_iou(self.boxes.shapes, anchors).max(axis=1) for anchors in self.free]

    def describe(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold."""
        return {
            "lesions": len(self.boxes.boxes),
            "left_out": self.boxes.left_out,
            "notes": list(self.boxes.notes),
            "groups": {name: self._group(members) for name, members in self.boxes.groups().items()},
            "default": self.default.describe(),
            "fitted": [one.describe() for one in self.fitted],
            "proposal": self.proposal.describe(),
            "free": [
                {
                    "anchors": len(anchors),
                    "width_height": anchors.round(2).tolist(),
                    "mean_iou_centred": float(iou.mean()),
                    f"share_centred >= {BOX_HEAD}": float((iou >= BOX_HEAD).mean()),
                    f"share_centred >= {FOREGROUND}": float((iou >= FOREGROUND).mean()),
                }
                for anchors, iou in zip(self.free, self.free_iou(), strict=True)
            ],
        }

    def _group(self, members: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "lesions": int(members.sum()),
            "side_px": _quantiles(self.boxes.side_px[members]),
            "side_mm": _quantiles(self.boxes.side_mm[members]),
            "ratio": _quantiles((self.boxes.shapes[:, 1] / self.boxes.shapes[:, 0])[members]),
            f"default_share_placed >= {BOX_HEAD}": float((self.default.placed[members] >= BOX_HEAD).mean()),
            f"proposal_share_placed >= {BOX_HEAD}": float((self.proposal.placed[members] >= BOX_HEAD).mean()),
        }


def cover(boxes: FramedBoxes, layout: Layout) -> Coverage:
    """Measure how well a layout covers lesions."""
    shapes = layout.shapes()
    by_level = placed_iou(boxes.boxes, boxes.frames, shapes)
    mean, worst = [], []
    for start in range(0, len(boxes.boxes), _CHUNK):
        spread = best_spread_iou(boxes.shapes[start : start + _CHUNK], layout)
        mean.append(spread.mean(axis=(1, 2)))
        worst.append(spread.min(axis=(1, 2)))
    return Coverage(
        layout,
        centred=shape_iou(boxes.shapes, shapes.reshape(-1, 2)).max(axis=1),
        placed=by_level.max(axis=1),
        mean=np.concatenate(mean),
        worst=np.concatenate(worst),
        level=by_level.argmax(axis=1),
    )


def report_anchors(
    boxes: FramedBoxes, *, most_anchors: int = 15, ratios: int | None = None, seed: int = 0
) -> AnchorReport:
    """Fit anchors to lesions and measure them beside the default ones.

    Parameters
    ----------
    most_anchors:
        Fitted layouts have up to so many (five for every ratio), and so have the free anchors.
    ratios:
        How many ratios the proposal has; None lets ``choose`` decide.

    Raises
    ------
    InputError
        For fewer than five lesions, or fewer anchors than the proposal has.
    """
    levels = len(STRIDES)
    if most_anchors < levels * (ratios or 1):
        remedy = f"give {levels} or more for each ratio"
        raise InputError("is too few", field="--max-anchors", value=most_anchors, remedy=remedy)
    if len(boxes.boxes) < levels:
        raise InputError(
            f"are fewer than the {levels} sizes to fit",
            field="lesions",
            value=len(boxes.boxes),
            remedy="give more lesions, or keep the default anchors",
        )
    fitted = [cover(boxes, one) for one in fit_layouts(boxes.shapes, most_anchors // levels, seed=seed)]
    layouts = [one.layout for one in fitted]
    chosen = layouts[ratios - 1] if ratios else choose(layouts, [score(boxes.shapes, one) for one in layouts])
    starts = [one.shapes().reshape(-1, 2) for one in (*layouts, DEFAULT)]
    return AnchorReport(
        boxes,
        default=cover(boxes, DEFAULT),
        fitted=tuple(fitted),
        proposal=fitted[layouts.index(chosen)],
        free=tuple(free_anchors(boxes.shapes, most_anchors, seed=seed, starts=starts)),
    )


def _quantiles(values: Array) -> Mapping[str, float] | None:
    """Return quantiles by percent of the values that are known; None where none is."""
    known: Sequence[float] | Array = values[~np.isnan(values)]
    if not len(known):
        return None
    return {str(q): round(float(np.percentile(known, q)), 3) for q in QUANTILES}
