"""mammodet anchors: anchor sizes and ratios for the lesions of a data set.

mammodet anchors split/train.json --out anchors
mammodet train-det --config anchors/anchors.yaml --train split/train.json --out runs/first
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mammodet.datasets.anchor_boxes import FramedBoxes, frame_boxes
from mammodet.datasets.anchor_grid import DEFAULT, STRIDES, Layout
from mammodet.datasets.anchor_report import (
    BACKGROUND,
    BOX_HEAD,
    FOREGROUND,
    QUANTILES,
    AnchorReport,
    report_anchors,
)
from mammodet.datasets.atomic import write_json, write_text
from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.prepared import prepared_recipe
from mammodet.tools.command import run, write_config

_ENOUGH = 10  # lesions for each number that is fitted
_SHOWN_FREE = 5  # every so many free anchors get a line


@dataclass(frozen=True)
class Arguments:
    """Fit the detector's anchors to the lesions of a COCO file, and tell how well they cover them.

    Parameters
    ----------
    coco:
        COCO file with lesions; take the training part, so that the test part stays unseen.
    out:
        Folder for anchors.yaml, anchors.json, anchors.png and config.yaml; by default nothing is written.
    spacing_mm:
        Pixel size that training resamples to, as --recipe.spacing-mm there; by default it resamples nothing.
    assumed_spacing_mm:
        Pixel size of images that do not tell theirs, as --recipe.assumed-spacing-mm there.
    ratios:
        How many ratios to propose; by default as few as cover the lesions nearly as well as more.
    max_anchors:
        Try layouts of up to so many anchors, five for each ratio, and free anchors of up to so many.
    seed:
        Another seed starts the fit from other places.
    """

    coco: Path
    out: Path | None = None
    spacing_mm: float | None = None
    assumed_spacing_mm: float | None = None
    ratios: int | None = None
    max_anchors: int = 15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ratios is not None and self.ratios < 1:
            raise InputError("must be 1 or more", field="--ratios", value=self.ratios)
        if not len(STRIDES) <= self.max_anchors <= 100:
            raise InputError(
                f"must be {len(STRIDES)} to 100",
                field="--max-anchors",
                value=self.max_anchors,
                remedy="15 is what the default anchors are",
            )
        if self.seed < 0:
            raise InputError("must not be negative", field="--seed", value=self.seed)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet anchors`` and return its exit code."""
    return run(Arguments, anchors, argv, prog="mammodet anchors", positional=("coco",))


def anchors(arguments: Arguments) -> int:
    """Fit, print the tables and the lines of the recipe, and write them."""
    coco = read_coco(arguments.coco)
    boxes = frame_boxes(coco, arguments.spacing_mm, arguments.assumed_spacing_mm)
    report = report_anchors(
        boxes, most_anchors=arguments.max_anchors, ratios=arguments.ratios, seed=arguments.seed
    )
    for line in [*(f"warning: {note}" for note in boxes.notes), *_warnings(report)]:
        print(line, file=sys.stderr)
    recipe = recipe_lines(report.proposal.layout, arguments)
    print(
        "\n\n".join(
            [_about(coco, boxes, arguments), size_table(report), layout_table(report), level_table(report)]
        )
    )
    print(f"\nfor the recipe:\n{recipe}", end="")
    if arguments.out is not None:
        _write(arguments.out, report, recipe, arguments)
    return 0


def recipe_lines(layout: Layout, arguments: Arguments) -> str:
    """Return a layout as YAML that ``train-det --config`` reads, with the pixel size it was fitted for."""
    lines = [
        "model:",
        f"  anchor_sizes: {list(layout.sizes)}",
        f"  anchor_ratios: {list(layout.ratios)}",
    ]
    if arguments.spacing_mm is not None:
        lines += ["recipe:", f"  spacing_mm: {arguments.spacing_mm}"]
        if arguments.assumed_spacing_mm is not None:
            lines.append(f"  assumed_spacing_mm: {arguments.assumed_spacing_mm}")
    return "\n".join(lines) + "\n"


def size_table(report: AnchorReport) -> str:
    """Return sizes of lesions and the shares that are covered, by category and finding."""
    known = not np.isnan(report.boxes.side_mm).all()
    units = ["px", "mm"] if known else ["px"]
    heads = [f"{q} %" for q in QUANTILES]
    rows = [
        [
            "square root of area",
            "lesions",
            *(f"{head} {unit}" if head == heads[0] else head for unit in units for head in heads),
            "default",
            "fitted",
        ]
    ]
    for name, group in report.describe()["groups"].items():
        cells = [name, str(group["lesions"])]
        for unit in units:
            found = group[f"side_{unit}"]
            cells += ["-" if found is None else f"{found[str(q)]:.3g}" for q in QUANTILES]
        cells += [_percent(group[f"{which}_share_placed >= {BOX_HEAD}"]) for which in ("default", "proposal")]
        rows.append(cells)
    return _aligned(rows) + f"\n(default, fitted: share with an anchor of IoU >= {BOX_HEAD})"


def layout_table(report: AnchorReport) -> str:
    """Return the mean IoU of lesions with their best anchor, and shares of lesions, by layout."""
    shares = [f">= {FOREGROUND}", f">= {BOX_HEAD}", f"< {BACKGROUND}"]
    rows = [
        ["IoU of the best anchor", "anchors", "centred", "placed", "mean", "worst", *shares, "worst >= 0.5"]
    ]
    named = [("default", report.default)]
    for one in report.fitted:
        ratios = f"{len(one.layout.ratios)} ratio{'s' if len(one.layout.ratios) > 1 else ''}"
        named.append((f"fitted, {ratios}{' *' if one is report.proposal else ''}", one))
    for name, one in named:
        told = one.describe()
        rows.append(
            [
                name,
                str(told["anchors"]),
                *(f"{value:.3f}" for value in told["mean_iou"].values()),
                *(_percent(told["share_placed"][share]) for share in shares),
                _percent(told["share_worst"][f">= {BOX_HEAD}"]),
            ]
        )
    free = report.free_iou()
    for k in sorted({*range(_SHOWN_FREE, len(free) + 1, _SHOWN_FREE), len(free)}):
        iou = free[k - 1]
        rows.append(["free", str(k), f"{iou.mean():.3f}", *["-"] * 7])
    return _aligned(rows) + "\n(* proposed; free: bound to no grid and no level, what so many shapes allow)"


def level_table(report: AnchorReport) -> str:
    """Return which share of the lesions has its best anchor on which level, with the proposed anchors."""
    proposal = report.proposal.describe()
    rows = [["proposed", *(f"level {number}" for number in range(1, len(STRIDES) + 1))]]
    rows.append(["stride, px", *map(str, STRIDES)])
    rows.append(["size, px", *map(str, proposal["sizes"])])
    rows.append(["lesions", *map(_percent, proposal["share_by_level"])])
    return _aligned(rows)


def _about(coco: Coco, boxes: FramedBoxes, arguments: Arguments) -> str:
    left_out = ", ".join(f"{number} {reason}" for reason, number in boxes.left_out.items())
    lines = [
        f"lesions: {len(boxes.boxes)} on {len(coco.images)} images"
        + f" (left out: {left_out})" * bool(left_out)
    ]
    spacing = boxes.common_spacing_mm
    size = "" if spacing is None else f" of {spacing:.3g} mm"
    if prepared_recipe(coco) is not None:
        lines.append(f"frame: prepared images, pixels{size}")
    elif arguments.spacing_mm is not None:
        lines.append(f"frame: images resampled to {arguments.spacing_mm:g} mm, before the crop")
    else:
        lines.append(f"frame: image files, pixels{size}, before the crop")
    return "\n".join(lines)


def _warnings(report: AnchorReport) -> list[str]:
    layout, lesions = report.proposal.layout, len(report.boxes.boxes)
    fitted = len(layout.sizes) + len(layout.ratios)
    told = []
    if lesions < _ENOUGH * fitted:
        told.append(
            f"warning: {lesions} lesions are few to fit {fitted} numbers to; the shares below flatter the fit"
        )
    if len(report.free) < max(len(one.layout.sizes) * len(one.layout.ratios) for one in report.fitted):
        told.append(f"warning: the lesions have no more than {len(report.free)} different shapes")
    for name, members in report.boxes.groups().items():
        before, after = (
            float((one.placed[members] >= BOX_HEAD).mean()) for one in (report.default, report.proposal)
        )
        if after < before:
            told.append(
                f"warning: an anchor of IoU >= {BOX_HEAD} has {_percent(after)} of {name}, "
                f"with the default anchors {_percent(before)}"
            )
    idle = [
        str(level + 1)
        for level, share in enumerate(report.proposal.describe()["share_by_level"])
        if not share
    ]
    if idle:
        where = ", ".join(idle)
        told.append(f"note: no lesion has its best anchor on level {where}; the sizes there are no fit")
    default = len(DEFAULT.ratios)
    if len(layout.ratios) != default:
        told.append(
            f"note: start weights with {default} ratios, such as COCO's, fit all but the last layers of the "
            f"region proposals; --ratios {default} keeps these"
        )
    return told


def _write(out: Path, report: AnchorReport, recipe: str, arguments: Arguments) -> None:
    from mammodet.datasets.anchor_figure import anchor_figure, save_figure  # noqa: PLC0415  # matplotlib is slow

    content: dict[str, Any] = {
        "spacing_mm": arguments.spacing_mm,
        "seed": arguments.seed,
        **report.describe(),
    }
    write_json(out / "anchors.json", content)
    write_text(out / "anchors.yaml", recipe)
    save_figure(anchor_figure(report), out / "anchors.png")
    write_config(arguments, out / "config.yaml")
    print(out / "anchors.yaml")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join("  ".join(line).rstrip() for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
