"""The headlines of several models as plain text, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from mammodet.evaluation.model_set import ModelSet
from mammodet.evaluation.model_set_pictures import DisputedPicture
from mammodet.evaluation.model_set_tables import (
    SummaryCell,
    disputed_counts,
    headlines,
    summary,
    told_without_boxes,
)

NOT_OF_MODEL = "-"
_WIDTH, _NAME = 13, 22


def model_set_overview(models: ModelSet, pictures: Sequence[DisputedPicture] = ()) -> list[str]:
    """Return the summary of all models as lines, then on how many cases they disagree."""
    heads = [column.title.partition(" ") for column in headlines(models)]
    lines = [
        " " * _NAME + "".join(f"{head[part][: _WIDTH - 1]:>{_WIDTH}}" for head in heads) for part in (0, 2)
    ]
    for name, cells in summary(models).items():
        lines.append(f"{_shown(name):<{_NAME}}" + "".join(f"{_number(cell):>{_WIDTH}}" for cell in cells))
        for title, told in (("  interval", _interval), ("  p against the first", _p)):
            values = [told(cell) for cell in cells]
            if any(values):
                lines.append(f"{title:<{_NAME}}" + "".join(f"{value:>{_WIDTH}}" for value in values))
    if (why := told_without_boxes(models)) is not None:
        mixed = any(one.has_boxes for one in models.models)
        lines.append(f"{NOT_OF_MODEL} {why}" if mixed else why)
    lines.append("")
    evaluation = models.first.evaluation
    if evaluation.cases is None:
        return [*lines, str(evaluation.reason)]
    for one in models.later:
        found = disputed_counts(models, one.name)
        line = f"{_shown(one.name)} and {_shown(models.first.name)} disagree on {found['images']} images"
        both = one.has_boxes and models.first.has_boxes
        lines.append(f"{line} and {found['lesions']} lesions" if both else line)
    unread = [one for one in pictures if one.reason is not None]
    if unread:
        first = unread[0]
        lines.append(
            f"warning: {len(unread)} of {len(pictures)} disputed images could not be read, first "
            f"{first.image.file_name}: {first.reason}"
        )
    return lines


def _shown(name: str) -> str:
    return name if len(name) < _NAME else f"{name[: _NAME - 4]}..."


def _number(cell: SummaryCell) -> str:
    if not cell.of_model:
        return NOT_OF_MODEL
    return "n/a" if cell.value is None else f"{cell.value:.3f}"


def _interval(cell: SummaryCell) -> str:
    if cell.interval is None or cell.interval.low is None:
        return ""
    return f"{cell.interval.low:.3f}-{cell.interval.high:.3f}"


def _p(cell: SummaryCell) -> str:
    if cell.compared is None:
        return ""
    p = cell.compared.found.p
    if p is None:
        return "n/a"
    return "<0.001" if p < 0.001 else f"{p:.3f}"
