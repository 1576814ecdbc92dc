"""The report of several models: ``compare.html``, one page without scripts, and all files beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from mammodet.datasets.atomic import write_json, write_text
from mammodet.evaluation.figures import save_in_both
from mammodet.evaluation.model_comparison import ComparedNumber
from mammodet.evaluation.model_set import ModelSet
from mammodet.evaluation.model_set_cases import disputed_case
from mammodet.evaluation.model_set_figures import (
    MODEL_COLOURS,
    differences_figure,
    models_froc_figure,
    models_roc_figure,
)
from mammodet.evaluation.model_set_pictures import DisputedPicture
from mammodet.evaluation.model_set_tables import (
    LEVEL_TITLES,
    TABLES,
    comparison_document,
    disputed_counts,
    headlines,
    model_set_csv,
    numbers_by_model,
    summary,
    told_without_boxes,
)
from mammodet.evaluation.report import interval, number
from mammodet.evaluation.summary import package_versions

REPORT, DOCUMENT = "compare.html", "comparison.json"
_TEMPLATE = Path(__file__).with_name("compare.html")
_FIGURES = {
    "compare_differences": "Differences to the first model with their intervals by patient",
    "compare_roc": "ROC curves of the malignancy score",
    "compare_froc": "FROC curves, a panel per hit rule",
}
_LEVEL_NUMBERS = {
    "auc": "AUC",
    "auc_malignant_vs_benign": "AUC, malignant vs benign only",
    "accuracy": "accuracy",
    "malignant sensitivity": "sensitivity",
    "not malignant sensitivity": "specificity",
    "benign sensitivity": "sensitivity, benign",
    "malignant precision": "precision",
    "brier": "Brier score",
    "ece": "calibration error",
}
_RULES_SHOWN = (
    "detection",
    "boxes",
    "scores of images",
    "image",
    "breast",
    "truth",
    "lesion",
    "ignored",
    "froc",
    "afroc",
)


def write_comparison(
    models: ModelSet, out: Path, inputs: Mapping[str, Any], pictures: Sequence[DisputedPicture] = ()
) -> Path:
    """Write ``comparison.json``, the CSV tables, the figures and ``compare.html`` into ``out``.

    What an earlier comparison left there under these names is removed first, so that the folder never mixes
    two comparisons.

    Parameters
    ----------
    inputs:
        ``ground_truth`` (``path``, ``sha256``) and ``predictions``, a list of the same with ``name``, in the
        order of the models.
    pictures:
        Of the disputed images that the page shows.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        When names of models make columns that cannot be told apart.
    """
    tables = model_set_csv(models, pictures)
    for path in earlier_comparison(out):
        path.unlink()
    write_json(out / DOCUMENT, comparison_document(models, inputs, pictures))
    for name, text in tables.items():
        write_text(out / name, _whole(text))
    figures = {}
    drawn = (differences_figure(models), models_roc_figure(models), models_froc_figure(models))
    for (name, caption), figure in zip(_FIGURES.items(), drawn, strict=True):
        if figure is not None:
            figures[caption] = save_in_both(figure, out, name)
    write_text(out / REPORT, render(models, inputs, figures, pictures))
    return out / REPORT


def render(
    models: ModelSet,
    inputs: Mapping[str, Any],
    figures: Mapping[str, Path],
    pictures: Sequence[DisputedPicture] = (),
) -> str:
    """Return the HTML page; ``figures`` maps captions to SVG files, which are embedded."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "interval": interval, "signed": signed, "p": p_value}
    rules = models.rules()
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    styles = Markup(_model_styles(len(models.models)))
    style = "".join(template.blocks["style"](template.new_context({"model_styles": styles})))
    page = template.render(
        models=models,
        inputs=inputs,
        model_styles=styles,
        policy=_policy(style),
        columns=headlines(models),
        without_boxes=told_without_boxes(models),
        summary=summary(models),
        sentences={one.name: _sentences(models, one.name) for one in models.later},
        figures={caption: _data_uri(path.read_bytes(), "svg+xml") for caption, path in figures.items()},
        level_titles=LEVEL_TITLES,
        level_rows=_level_rows(models),
        box_rows=_box_rows(models),
        froc_points=_froc_rows(models),
        differences=_differences_by_level(models),
        disputed=models.disputed(),
        disputed_counts={one.name: disputed_counts(models, one.name) for one in models.later},
        shown=[disputed_case(models, one) for one in pictures],
        unread=[one for one in pictures if one.reason is not None],
        profile=models.first.evaluation.cases is not None,
        rules={topic: rules[topic] for topic in _RULES_SHOWN if topic in rules},
        versions=package_versions(),
    )
    return _whole(page)


def signed(value: float | None) -> str:
    """Show a difference with its sign and three decimals, and n/a where there is none."""
    return "n/a" if value is None else f"{value:+.3f}".replace("-", "−")


def p_value(value: float | None) -> str:
    """Show a p value with three decimals, below 0.001 as that, and n/a where there is none."""
    if value is None:
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _sentences(models: ModelSet, name: str) -> list[str]:
    """Tell in words in which headlines a later model is above, below, or not told apart from the first."""
    groups: dict[str, list[str]] = {"higher in": [], "lower in": [], "no difference beyond chance in": []}
    for column in headlines(models):
        row = models.compared(name, column.level, column.number)
        if row is None or row.found.interval.low is None or row.found.interval.high is None:
            continue
        above, below, neither = groups.values()
        chosen = above if row.found.interval.low > 0 else below if row.found.interval.high < 0 else neither
        chosen.append(column.title)
    return [f"{told} {', '.join(titles)}" for told, titles in groups.items() if titles]


def _level_rows(models: ModelSet) -> dict[str, list[tuple[str, list[Any]]]]:
    """Return by level the numbers of its table, each with one entry per model (None: it has none)."""
    numbers = numbers_by_model(models)
    rows: dict[str, list[tuple[str, list[Any]]]] = {}
    for level in models.levels:
        found = [
            (title, numbers[level, key]) for key, title in _LEVEL_NUMBERS.items() if (level, key) in numbers
        ]
        rows[level] = found
    return rows


def _box_rows(models: ModelSet) -> list[tuple[str, list[Any]]]:
    """Return the COCO numbers of all classes, and AP50 of each."""
    numbers = numbers_by_model(models)
    wanted = {f"all {name}": name.replace("_", "") for name in ("AP", "AP50", "AP75", "AR_100")}
    of_classes = [number for level, number in numbers if level == "coco" and number.endswith(" AP50")][1:5]
    wanted |= {number: number for number in of_classes}
    return [(told, numbers["coco", one]) for one, told in wanted.items() if ("coco", one) in numbers]


def _froc_rows(models: ModelSet) -> list[tuple[str, list[Any]]]:
    """Return of every hit rule (and class) the sensitivity at 1 false positive per unit, CPM and wAFROC."""
    numbers = numbers_by_model(models)
    titles = dict.fromkeys(row.title for one in models.models for row in one.evaluation.froc.rows)
    names = {"sensitivity at 1": "sensitivity at 1", "cpm": "CPM", "wafroc": "wAFROC"}
    return [
        (f"{title.removeprefix('froc ').removesuffix(' any')}, {told}", numbers[title, key])
        for title in list(titles)[:20]
        for key, told in names.items()
    ]


def _differences_by_level(models: ModelSet) -> list[tuple[str, list[tuple[str, list[ComparedNumber]]]]]:
    """Return the headline numbers with all their tests, by later model."""
    wanted = {(one.level, one.number): one.title for one in headlines(models)}
    wanted |= {(level, "auc"): f"AUC {LEVEL_TITLES[level]}" for level in models.levels}
    wanted |= {(level, "accuracy"): f"Accuracy {LEVEL_TITLES[level]}" for level in models.levels}
    return [
        (
            one.name,
            [
                (title, rows)
                for key, title in wanted.items()
                if (rows := [row for row in models.differences[one.name] if (row.level, row.number) == key])
            ],
        )
        for one in models.later
    ]


def _model_styles(count: int) -> str:
    """Return one rule per model for the mark in its colour, which no style attribute could set."""
    colours = (MODEL_COLOURS[place % len(MODEL_COLOURS)] for place in range(count))
    return "\n".join(f".m{place} {{ background: {colour}; }}" for place, colour in enumerate(colours))


def _policy(style: str) -> str:
    """Let the page run nothing and load nothing: its own style by its SHA-256, pictures from inside it."""
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def earlier_comparison(out: Path) -> list[Path]:
    """Return the files that an earlier comparison left in ``out``; others are somebody else's."""
    if not (out / DOCUMENT).is_file():
        return []  # no comparison was written here: files of these names are somebody else's
    figures = [f"{name}{suffix}" for name in _FIGURES for suffix in (".png", ".svg")]
    return [out / name for name in (REPORT, DOCUMENT, *TABLES, *figures) if (out / name).is_file()]


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")  # names of files may hold half characters


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
