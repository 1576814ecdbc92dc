"""The figure of fitted anchors: shapes of lesions with the anchors among them, and recall by their number."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from mammodet.datasets.anchor_report import BOX_HEAD, FOREGROUND, AnchorReport
from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.figure_style import HEADED

# Okabe and Ito's colours, told apart with any colour vision; the markers tell the anchors apart in grey.
_CATEGORY = {"benign": "#56B4E9", "malignant": "#D55E00"}
_DEFAULT, _FITTED, _FREE = "#777777", "#000000", "#009E73"
_STYLE = {**HEADED, "savefig.dpi": 150}


def anchor_figure(report: AnchorReport) -> Figure:
    """Draw lesions and anchors by width and height (left), and the shares covered by anchor count (right)."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10.5, 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=[1.05, 1])
        _shapes(left, report)
        _recall(right, report)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically as PNG, the same bytes for the same numbers."""
    with mpl.rc_context(_STYLE), atomic_path(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _shapes(axes: Axes, report: AnchorReport) -> None:
    boxes = report.boxes
    for name in sorted(set(boxes.category)):
        own = boxes.shapes[np.array([one == name for one in boxes.category])]
        axes.scatter(
            own[:, 0],
            own[:, 1],
            s=16,
            alpha=0.65,
            linewidths=0,
            color=_CATEGORY.get(name, "#999999"),
            label=f"{name} ({len(own)})",
        )
    default, fitted = (one.layout.shapes().reshape(-1, 2) for one in (report.default, report.proposal))
    axes.scatter(
        default[:, 0],
        default[:, 1],
        marker="s",
        s=60,
        facecolors="none",
        edgecolors=_DEFAULT,
        label=f"default anchors ({report.default.layout.count})",
    )
    axes.scatter(
        fitted[:, 0],
        fitted[:, 1],
        marker="+",
        s=130,
        linewidths=2,
        color=_FITTED,
        label=f"proposed anchors ({report.proposal.layout.count})",
    )
    everything = np.concatenate([boxes.shapes, default, fitted])
    limits = (float(everything.min()) / 1.2, float(everything.max()) * 1.2)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="width (px)", ylabel="height (px)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(base=2, numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    spacing = boxes.common_spacing_mm
    if spacing is not None:
        scale = spacing
        other = axes.secondary_xaxis(
            "top", functions=(lambda px: np.asarray(px) * scale, lambda mm: np.asarray(mm) / scale)
        )
        other.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=12))
        other.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        other.xaxis.set_minor_formatter(NullFormatter())
        other.set_xlabel(f"width (mm, at {spacing:.3g} mm per pixel)")
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", fontsize=8.5, framealpha=0.95, edgecolor="0.85")
    axes.set_title("Lesions and anchors")


def _recall(axes: Axes, report: AnchorReport) -> None:
    free = report.free_iou()
    counts = np.arange(1, len(free) + 1)
    fitted = [one.layout.count for one in report.fitted]
    for threshold, dash, fill in ((BOX_HEAD, "solid", True), (FOREGROUND, "dashed", False)):
        axes.plot(
            counts,
            [_share(iou, threshold) for iou in free],
            color=_FREE,
            linestyle=dash,
            linewidth=1.6,
            label=f"free anchors, centred, IoU ≥ {threshold}",
        )
        axes.plot(
            fitted,
            [_share(one.placed, threshold) for one in report.fitted],
            color=_FITTED,
            linestyle=dash,
            linewidth=1.6,
            marker="o",
            markersize=7,
            markerfacecolor=_FITTED if fill else "white",
            label=f"fitted, placed, IoU ≥ {threshold}",
        )
        axes.plot(
            [report.default.layout.count],
            [_share(report.default.placed, threshold)],
            color=_DEFAULT,
            linestyle="none",
            marker="s",
            markersize=11,
            markerfacecolor=_DEFAULT if fill else "white",
            label=f"default, placed, IoU ≥ {threshold}",
        )
    axes.axvline(report.proposal.layout.count, color="0.8", linewidth=6, zorder=0)
    axes.text(
        report.proposal.layout.count, 1.035, "proposed", ha="center", va="bottom", fontsize=8.5, color="0.35"
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set(xlim=(0, max(counts[-1], fitted[-1], report.default.layout.count) + 1), ylim=(-0.02, 1.03))
    axes.set(xlabel="number of anchors", ylabel="lesions with such an anchor")
    axes.grid(color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", fontsize=8.5, framealpha=0.95, edgecolor="0.85")
    axes.set_title("How many lesions an anchor reaches", pad=22)


def _share(iou: NDArray[np.float64], threshold: float) -> float:
    return float((iou >= threshold).mean())
