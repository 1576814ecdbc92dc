"""The section of report.html about errors, a block of HTML by itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
import matplotlib as mpl
from markupsafe import Markup

from mammodet.datasets.figure_style import STYLE
from mammodet.evaluation.error_analysis import KINDS, ErrorAnalysis, ErrorPicture
from mammodet.evaluation.error_costs import ALL_FALSE_NEGATIVES, ALL_FALSE_POSITIVES
from mammodet.evaluation.error_figure import error_figure
from mammodet.evaluation.error_gallery import decoded, legend
from mammodet.evaluation.error_matching import KIND_NAMES, MISSED, POOR_BOX, WRONG_CLASS

_TEMPLATE = Path(__file__).with_name("error_section.html")
_CATEGORIES_SHOWN = 4  # all and three more


@dataclass(frozen=True)
class _Shown:
    """A picture of the gallery as the page holds it."""

    uri: str
    caption: tuple[str, ...]
    width: int
    height: int


def error_section(errors: ErrorAnalysis | None, filters: Mapping[str, Callable[..., Any]]) -> Markup:
    """Return the section as HTML, empty without an analysis; ``filters`` are ``number`` and ``interval``."""
    if errors is None:
        return Markup()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= filters
    known = [name for name, value in errors.ap.items() if name == "all" or value is not None]
    if len(known) == 2:
        known = known[:1]  # all and the only class are the same
    pictures: dict[str, list[_Shown]] = {}
    for picture in errors.gallery:
        kind = errors.cases[picture.case].kind
        title = "missed lesions" if kind == MISSED else f"false positives: {kind}"
        pictures.setdefault(title, []).append(_shown(picture))
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        errors=errors,
        categories=known[:_CATEGORIES_SHOWN],
        more_categories=max(0, len(known) - _CATEGORIES_SHOWN),
        gains={
            (row.category, row.kind): "n/a" if row.dap is None else f"{row.dap:+.3f}" for row in errors.kinds
        },
        ap_name=f"AP{errors.rules.iou * 100:g}",
        kinds=KINDS,
        positive_kinds=(*KIND_NAMES.values(), ALL_FALSE_POSITIVES),
        negative_kinds=(KIND_NAMES[WRONG_CLASS], KIND_NAMES[POOR_BOX], MISSED, ALL_FALSE_NEGATIVES),
        places=errors.places(),
        figure=_figure_uri(errors),
        pictures=pictures,
        legend=legend(errors),
    )
    return Markup(text)


def _figure_uri(errors: ErrorAnalysis) -> str | None:
    figure = error_figure(errors)
    if figure is None:
        return None
    content = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def _shown(picture: ErrorPicture) -> _Shown:
    """Turn a PNG into a JPEG of a quarter of its size; the PNG is in gallery.png."""
    pixels = decoded(picture)
    coded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    uri = f"data:image/jpeg;base64,{base64.b64encode(coded).decode('ascii')}"
    return _Shown(uri, tuple(picture.caption), pixels.shape[1], pixels.shape[0])
