"""The page of an audit: one HTML file with everything in it, for people."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2

from mammodet.datasets.audit.figures import anchor_figure, in_millimetres, size_figure, to_svg
from mammodet.datasets.audit.gallery import Card
from mammodet.datasets.audit.kinds import GROUPS
from mammodet.datasets.audit.report import Report
from mammodet.datasets.audit.samples import Samples
from mammodet.datasets.audit.sizes import QUANTILES, RESIZE, Sizes, percent

_TEMPLATE = Path(__file__).with_name("audit.html")
_LISTED = 200  # lines of a finding on the page; all are in the JSON file

_GROUP_TITLES = dict(
    zip(
        GROUPS,
        ("Image files", "Patients and splits", "Labels", "Boxes", "Views", "Conversion"),
        strict=True,
    )
)
_VERDICTS = {
    "warnings": "Warnings: look at them before you train on it",
    "errors": "Errors: do not train or evaluate on it as it is",
}


def render(
    report: Report, sizes: Sizes, gallery: Mapping[str, Sequence[Card]], samples: Samples, json_name: str
) -> str:
    """Return the page; names in it are escaped, whatever they hold, and it needs no network.

    Parameters
    ----------
    gallery:
        Cards by name of the finding.
    samples:
        Cards of lesions and images at random.
    json_name:
        Name of the file that holds everything, for those who look for more than the page shows.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, number=_number, size=_size)
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        record=report.to_dict(),
        tally=report.tally(_number),
        verdict=_verdict(report),
        gallery=gallery,
        samples=samples,
        groups=_GROUP_TITLES,
        figures=_figures(sizes),
        in_mm=in_millimetres(sizes),
        listed=_LISTED,
        json_name=json_name,
        quantiles=QUANTILES,
        resize=RESIZE,
        version=version("mammodet"),
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # JSON may hold halves of characters


def _verdict(report: Report) -> str:
    if report.verdict != "clean":
        return _VERDICTS[report.verdict]
    words = report.verdict_in_words
    return words[0].upper() + words[1:] + (": nothing worse than a note" if report.files == "pixels" else "")


def _figures(sizes: Sizes) -> dict[str, str]:
    figures = {"anchor": anchor_figure(sizes), "sizes": size_figure(sizes)}
    return {
        name: f"data:image/svg+xml;base64,{base64.b64encode(to_svg(figure)).decode('ascii')}"
        for name, figure in figures.items()
        if figure is not None
    }


def _number(count: int) -> str:
    """Show a count with thin spaces between the thousands."""
    return f"{count:,}".replace(",", "\u202f")


def _size(value: Any) -> str:
    """Show a length with three digits."""
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"
