"""Figures of an audit: boxes against the smallest anchor, sizes of lesions; same numbers, same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from mammodet.datasets.audit.sizes import RESIZE, Array, Sizes, below_anchor, percent
from mammodet.datasets.figure_style import HEADED

# Okabe and Ito's colours, told apart with any colour vision; the dashes tell the curves apart in grey.
_FULL, _CROP, _WHOLE, _ANCHOR = "#0072B2", "#009E73", "#D55E00", "#333333"
_GROUPS: Mapping[str, str] = {
    "benign": "#56B4E9",
    "malignant": "#D55E00",
    "mass": "#0072B2",
    "calcification": "#E69F00",
    "distortion": "#009E73",
    "asymmetry": "#CC79A7",
    "other": "#999999",
}


def anchor_figure(sizes: Sizes) -> Figure | None:
    """Draw which share of the boxes is smaller than a size, at full resolution and as torchvision resizes.

    The smallest anchor is a line; each curve's crossing tells the share below it. None without boxes.
    """
    if not len(sizes.width):
        return None
    curves = [
        ("full resolution", sizes.side_px, _FULL, "solid"),
        (f"{RESIZE[0]}/{RESIZE[1]}, breast crop", sizes.side_px * sizes.crop, _CROP, "dashdot"),
        (f"{RESIZE[0]}/{RESIZE[1]}, whole image", sizes.side_px * sizes.whole, _WHOLE, "dashed"),
    ]
    known = [(name, values[~np.isnan(values)], colour, dash) for name, values, colour, dash in curves]
    with mpl.rc_context(HEADED):
        figure = _figure(8.6, 4.1)
        left, right = figure.subplots(1, 2, width_ratios=[1.45, 1])
        _cumulative(left, [one for one in known if len(one[1])], sizes.anchor)
        _bars(right, below_anchor(sizes), sizes.anchor)
        figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    return figure


def size_figure(sizes: Sizes) -> Figure | None:
    """Draw histograms of the boxes' longer side by category and by finding, in mm or px."""
    if not len(sizes.width):
        return None
    in_mm = in_millimetres(sizes)
    values = sizes.longer_mm if in_mm else sizes.longer_px
    unit = "mm" if in_mm else "px"
    with mpl.rc_context(HEADED):
        figure = _figure(8.6, 3.3)
        for axes, names, title in zip(
            figure.subplots(1, 2, sharey=True),
            (sizes.category, sizes.finding),
            ("By category", "By finding"),
            strict=True,
        ):
            _histogram(axes, values, names, unit)
            axes.set_title(title)
    return figure


def in_millimetres(sizes: Sizes) -> bool:
    """Tell whether ``size_figure`` draws mm: when most boxes have a pixel size; others are left out then."""
    return int((~np.isnan(sizes.longer_mm)).sum()) * 2 > len(sizes.width)


def to_svg(figure: Figure) -> bytes:
    """Return a figure as SVG without date, the same for the same numbers."""
    buffer = io.BytesIO()
    with mpl.rc_context(HEADED):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _cumulative(axes: Axes, curves: Sequence[tuple[str, Array, str, str]], anchor: int) -> None:
    everything = np.concatenate([values for _, values, _, _ in curves])
    low, high = min(everything.min(), anchor) / 1.15, max(everything.max(), anchor) * 1.15
    axes.axvspan(low, anchor, color="0.95", zorder=0)
    axes.axvline(anchor, color=_ANCHOR, linewidth=1.2)
    for name, values, colour, dash in curves:
        xs = np.concatenate([[low], np.sort(values), [high]])
        ys = np.concatenate([[0], np.arange(1, len(values) + 1) / len(values), [1]])
        axes.step(xs, ys, where="post", color=colour, linestyle=dash, linewidth=2.2, label=name)
        axes.plot(
            [anchor], [(values < anchor).mean()], "o", color=colour, markersize=7, markeredgecolor="white"
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set(xlim=(low, high), ylim=(-0.02, 1.02), xlabel="box size, square root of the area (px)")
    axes.set_ylabel("boxes smaller than that")
    axes.set_title("What the detector sees of the lesions")
    left = np.log(anchor / low) > 0.3 * np.log(high / low)  # where there is room and no curve is that high
    axes.text(
        anchor * (0.95 if left else 1.05),
        1.0,
        f"smallest anchor\n{anchor} px",
        ha="right" if left else "left",
        va="top",
        fontsize=8.5,
        color=_ANCHOR,
        bbox={"facecolor": "0.95" if left else "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)


def _bars(axes: Axes, rows: Sequence[Mapping[str, Any]], anchor: int) -> None:
    names, colours = [], []
    for row in rows:
        full = row["resize"] == "full resolution"
        names.append("full resolution" if full else f"{RESIZE[0]}/{RESIZE[1]}\n{row['frame']}")
        colours.append(_FULL if full else _CROP if row["frame"] == "breast crop" else _WHOLE)
    places = np.arange(len(rows))[::-1]
    axes.barh(places, [row["side"] for row in rows], color=colours, height=0.58)
    for place, row in zip(places, rows, strict=True):
        axes.text(row["side"] + 0.02, place, percent(row["side"]), va="center", fontweight="bold")
    axes.set_yticks(places, names)
    axes.set(xlim=(0, 1.2), ylim=(-0.6, len(rows) - 0.4))
    axes.set_title(f"Boxes below {anchor} px")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)


def _histogram(axes: Axes, values: Array, names: Sequence[str], unit: str) -> None:
    known = ~np.isnan(values)
    low, high = values[known].min(), values[known].max()
    widen = max(1.02, 2 / np.sqrt(high / low))  # a factor of 4 at least between both ends
    edges = np.geomspace(low / widen, high * widen, 18)
    groups = sorted({name for name, one in zip(names, known, strict=True) if one})
    members = [np.array([name == group for name in names]) & known for group in groups]
    axes.hist(
        [values[one] for one in members],
        bins=list(edges),
        stacked=True,
        color=[_GROUPS.get(group, "#BBBBBB") for group in groups],
        label=[f"{group} ({one.sum()})" for group, one in zip(groups, members, strict=True)],
        edgecolor="white",
        linewidth=0.6,
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=f"longer side of the box ({unit})", ylabel="boxes")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8.5, framealpha=0.95, edgecolor="0.85")


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
