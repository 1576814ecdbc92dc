"""The report of an evaluation: one self-contained HTML page, and all files beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from mammodet.datasets.atomic import write_json, write_text
from mammodet.evaluation.detection_metrics import NUMBER_NAMES
from mammodet.evaluation.error_figure import error_figure
from mammodet.evaluation.error_gallery import gallery_figure
from mammodet.evaluation.error_section import error_section
from mammodet.evaluation.error_tables import ERROR_TABLES
from mammodet.evaluation.figures import (
    calibrated_figure,
    confusion_figure,
    froc_figure,
    reliability_figure,
    roc_figure,
    save_figure,
    save_in_both,
)
from mammodet.evaluation.forest_figure import forest_figure
from mammodet.evaluation.froc import POINTS
from mammodet.evaluation.froc_intervals import SENSITIVITIES
from mammodet.evaluation.latex import performance_table
from mammodet.evaluation.operating_points import NUMBERS as POINT_NUMBERS
from mammodet.evaluation.report_gallery import Gallery, Viewer, build_viewer, page_parts, with_navigation
from mammodet.evaluation.report_images import earlier_pictures
from mammodet.evaluation.resampling import Interval, primary
from mammodet.evaluation.summary import Evaluation, metrics_document, package_versions, rules_of
from mammodet.evaluation.tables import csv_tables

REPORT = "report.html"
LATEX = "table2.tex"
_TEMPLATE = Path(__file__).with_name("report.html")
_FIGURES = {
    "roc": "ROC curves of the malignancy score; bands: images and breasts, pointwise, bootstrap by patient",
    "froc": "FROC curves: the same predictions under every hit rule",
    "subgroups": "AP50 by subgroup, with intervals by patient",
    "confusion": "Confusion matrices, true against predicted",
    "reliability": "Reliability of the malignancy score in bins of 0.1, with Wilson’s 95 % intervals",
    "reliability_calibrated": "Reliability of the malignancy score, raw (above) and calibrated (below)",
}
_MANY_PANELS = ("confusion", "reliability", "reliability_calibrated")  # too small in half the width
_ERROR_PICTURES = ("errors.png", "errors.svg", "gallery.png")
_TABLES = (
    *("coco_thresholds", "subgroups", "image_subgroups"),
    *("coco", "intervals", "froc", "froc_curves", "operating_points", "calibration", "fusion", "roc"),
    *("image", "breast", "patient", "lesion", "images", "breasts", "patients", "lesions", "comparison"),
    "calibrated",
    *ERROR_TABLES,
)


def write_report(
    evaluation: Evaluation,
    out: Path,
    inputs: Mapping[str, Any],
    gallery: Gallery | None = None,
    *,
    page: bool = True,
) -> Path:
    """Write ``metrics.json``, the CSV tables, a LaTeX table, the figures and ``report.html`` into ``out``.

    What an earlier evaluation left there under these names is removed first, so that the folder never mixes
    two evaluations.

    Parameters
    ----------
    inputs:
        What ``metrics.json`` and the report tell of the files, see ``metrics_document``.
    gallery:
        What the image viewer shows; None leaves it out, and ``detection_at_threshold`` of ``metrics.json``.
    page:
        Whether the figures and the page are wanted; the numbers are the same without.

    Returns
    -------
    Path
        The report, or without one ``metrics.json``.
    """
    for path in earlier_report(out):
        path.unlink()
    if gallery is not None and not page:
        gallery = replace(gallery, pictures="none")
    viewer = None if gallery is None else build_viewer(gallery, evaluation, out)
    document = metrics_document(evaluation, inputs)
    if viewer is not None and viewer.at_threshold is not None:
        document["detection_at_threshold"] = viewer.at_threshold
    write_json(out / "metrics.json", document)
    for name, text in csv_tables(evaluation).items():
        write_text(out / name, text)
    table = performance_table(evaluation, inputs)
    if table is not None:
        write_text(out / LATEX, table)
    if not page:
        return out / "metrics.json"
    figures = _write_figures(evaluation, out)
    write_text(out / REPORT, render(evaluation, inputs, figures, viewer))
    return out / REPORT


def _write_figures(evaluation: Evaluation, out: Path) -> dict[str, Path]:
    """Write the figures as PNG and SVG, and return those that the page embeds by their captions."""
    figures = {}
    for name, figure in (
        ("roc", roc_figure(evaluation.levels)),
        ("froc", froc_figure(evaluation.froc)),
        ("subgroups", forest_figure(evaluation.subgroups, evaluation.coco.get("all", {}).get("AP50"))),
        ("confusion", confusion_figure(evaluation.levels)),
        ("reliability", reliability_figure(evaluation.levels)),
        ("reliability_calibrated", calibrated_figure(evaluation.calibrated)),
    ):
        if figure is not None:
            caption = _FIGURES[name] + (_band(evaluation) if name == "froc" else "")
            figures[caption] = save_in_both(figure, out, name)
    if evaluation.errors is not None:
        kinds, worst = error_figure(evaluation.errors), gallery_figure(evaluation.errors)
        if kinds is not None:
            save_in_both(kinds, out, "errors")
        if worst is not None:
            save_figure(worst, out / "gallery.png")
    return figures


def render(
    evaluation: Evaluation,
    inputs: Mapping[str, Any],
    figures: Mapping[str, Path],
    viewer: Viewer | None = None,
) -> str:
    """Return the HTML page; ``figures`` maps captions to SVG files, which are embedded."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(_TEMPLATE.parent),
    )
    environment.filters["number"] = number
    environment.filters["interval"] = interval
    environment.filters["interval_of"] = _interval_of
    page = environment.get_template(_TEMPLATE.name).render(
        evaluation=evaluation,
        inputs=inputs,
        rules=rules_of(evaluation),
        versions=package_versions(),
        number_names=NUMBER_NAMES,
        froc_points=POINTS,
        froc_numbers=(*SENSITIVITIES, "cpm", "most_sensitivity", "afroc", "wafroc"),
        point_names=POINT_NUMBERS,
        error_section=error_section(evaluation.errors, {"number": number, "interval": interval}),
        figures={caption: _data_uri(path) for caption, path in figures.items()},
        many_panels=[_FIGURES[name] for name in _MANY_PANELS],
        **page_parts(viewer),
    )
    return with_navigation(page).encode("utf-8", "replace").decode("utf-8")  # JSON may hold half characters


def _band(evaluation: Evaluation) -> str:
    """Say in the caption what the band of the FROC figure is; nothing without one."""
    banded = [row.rule for row in evaluation.froc.rows if row.band is not None]
    confidence = evaluation.bootstrap.confidence * 100
    return f". Band: pointwise {confidence:g} % interval by patient of {banded[0]}" if banded else ""


def earlier_report(out: Path) -> list[Path]:
    """Return the files that an earlier evaluation left in ``out``, none of somebody else's."""
    found = earlier_pictures(out)  # also of an evaluation that was killed before its numbers were written
    if not (out / "metrics.json").is_file():
        return found  # no evaluation was written here: files of these names are somebody else's
    pictures = [f"{name}{suffix}" for name in _FIGURES for suffix in (".png", ".svg")]
    tables = (f"{table}.csv" for table in _TABLES)
    names = (REPORT, LATEX, "metrics.json", *tables, *pictures, *_ERROR_PICTURES)
    return [*found, *(out / name for name in names if (out / name).is_file())]


def number(value: float | None) -> str:
    """Show a ratio with three decimals, and n/a where there is none."""
    return "n/a" if value is None else f"{value:.3f}"


def interval(kinds: Mapping[str, Interval]) -> Markup:
    """Show the interval of a number with three decimals in small print; nothing where there is none."""
    found = primary(kinds)
    if found is None or found.low is None:
        return Markup()
    return Markup("<small>{:.3f} to {:.3f}</small>").format(found.low, found.high)


def _interval_of(intervals: Mapping[str, Mapping[str, Interval]], name: str, number: str) -> Markup:
    """Show the bootstrap interval of a COCO number; nothing without resamples."""
    return interval({"bootstrap": intervals[name][number]}) if name in intervals else Markup()


def _data_uri(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:image/svg+xml;base64,{content}"
