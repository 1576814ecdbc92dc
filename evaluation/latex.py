"""Tables for a LaTeX paper, in the layouts of tables 2 and 3 of Lin et al. 2023.

They need ``\\usepackage{booktabs}`` and nothing else, whatever the names of files are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from mammodet.evaluation.cross_validation import HEADS, UNDEFINED, Block, table_rows
from mammodet.evaluation.levels import Level
from mammodet.evaluation.resampling import PERCENTILE, Interval, primary
from mammodet.evaluation.summary import Evaluation

MISSING = "--"
_FOLDS_IN_SMALL = 5  # more of them fit on a page in smaller print
_LEVELS = {
    "image": ("Image level", "images"),
    "breast": ("Breast level", "breasts"),
    "patient": ("Patient level", "patients"),
    "lesion_published": ("Lesion level, matched lesions", "lesions"),
    "lesion_all": ("Lesion level, all lesions", "lesions"),
}
_HEAD = ("Class", "$n$", "Precision", "Sensitivity", "F1", "Accuracy", "AUC")
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "-": "-{}",  # two of them stay two
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    "ß": r"{\ss}",
    "ø": r"{\o}",
    "Ø": r"{\O}",
    "æ": r"{\ae}",
    "Æ": r"{\AE}",
    "ł": r"{\l}",
    "Ł": r"{\L}",
    "ı": r"{\i}",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}


def escape(text: str) -> str:
    """Return ``text`` so that LaTeX prints it: one line, no commands, accents as commands.

    What the fonts of plain LaTeX do not have, such as other scripts, becomes a question mark.
    """
    found: list[str] = []
    for sign in unicodedata.normalize("NFD", " ".join(text.split())):
        if sign in _ACCENTS and found and found[-1].isalpha():
            found[-1] = f"\\{_ACCENTS[sign]}{{{found[-1]}}}"
        elif sign in _SPECIAL:
            found.append(_SPECIAL[sign])
        else:
            found.append(sign if " " <= sign <= "~" else "?")
    return "".join(found)


def performance_table(evaluation: Evaluation, inputs: Mapping[str, Any]) -> str | None:
    """Return ``table2.tex``: precision, sensitivity and F1 of each class, accuracy and AUC, by level.

    Below each number stands its interval, as ``resampling.primary`` chooses it.

    Parameters
    ----------
    inputs:
        As in ``summary.metrics_document``; the name of the predictions stands in the caption.

    Returns
    -------
    str | None
        None where the categories are not benign and malignant, so that there are no levels.
    """
    if not evaluation.levels:
        return None
    rows: list[str] = []
    marked = False
    for name, level in evaluation.levels.items():
        title, what = _LEVELS[name]
        heading = f"{title}, {level.classification.cases} {what}"
        if what != "patients":
            heading += f" of {level.patients} patients"
        rows += [r"\midrule", rf"\multicolumn{{{len(_HEAD)}}}{{@{{}}l}}{{\textit{{{escape(heading)}}}}} \\"]
        for cells, limits in _class_rows(level):
            rows.append(table_row(cells))
            if any(limits):
                rows.append(table_row(limits) + r"[2pt]")
                marked |= any("*" in one for one in limits)
    return table_float(
        _caption(evaluation, inputs, marked),
        "tab:mammodet-performance",
        [rf"\begin{{tabular}}{{@{{}}lr{'c' * (len(_HEAD) - 2)}@{{}}}}", r"\toprule", table_row(_HEAD), *rows],
    )


def cross_validation_table(table: Sequence[Block]) -> str:
    """Return ``table3.tex``: the numbers of every fold, average and standard deviation.

    Levels stand in one table, boxes, which have other columns, in a second one.
    """
    folds = table[0].folds
    caption = (
        f"Cross-validation with {folds} folds. The standard deviation is that of the sample "
        f"($n - 1$); {MISSING}: undefined in this fold and left out."
    )
    size = r"\small" if folds <= _FOLDS_IN_SMALL else r"\scriptsize"
    parts: dict[tuple[str, ...], list[str]] = {}
    for block in table:
        rows = table_rows(block, "{:.3f}".format, counted=False)
        columns = tuple(rows[0])
        if columns not in parts:
            heads = ["", *(_capital(escape(HEADS.get(name, name))) for name in columns[1:])]
            start = rf"\begin{{tabular}}{{@{{}}l{'r' * (len(columns) - 1)}@{{}}}}"
            parts[columns] = [start, r"\toprule", table_row(heads)]
        title = rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\textit{{{escape(block.title)}}}}} \\"
        parts[columns] += [r"\midrule", title]
        for row in rows:
            first, *values = (MISSING if value == UNDEFINED else escape(value) for value in row.values())
            parts[columns].append(table_row([_capital(first), *values]))
    return "\n".join(
        table_float(caption, f"tab:mammodet-folds-{number}", body, size)
        for number, body in enumerate(parts.values(), start=1)
    )


def _class_rows(level: Level) -> list[tuple[list[str], list[str]]]:
    """Return for each class its numbers and the intervals below them."""
    table, found = level.classification, []
    for place, name in enumerate(table.classes):
        numbers = table.per_class[name]
        values: list[float | None] = [numbers.precision, numbers.sensitivity, numbers.f1]
        kinds = [
            level.class_intervals.get(name, {}).get(one, {}) for one in ("precision", "sensitivity", "f1")
        ]
        cells = [_capital(escape(name)), str(numbers.support), *map(number_cell, values)]
        limits = ["", "", *map(limits_cell, map(primary, kinds))]
        if place == 0:  # accuracy and AUC are of both classes together
            cells += [number_cell(table.accuracy), number_cell(level.roc.auc)]
            limits += [limits_cell(primary(level.intervals.get(one, {}))) for one in ("accuracy", "auc")]
        found.append((cells, limits))
    return found


def _caption(evaluation: Evaluation, inputs: Mapping[str, Any], marked: bool) -> str:
    protocol, bootstrap = evaluation.protocol, evaluation.bootstrap
    path = inputs.get("predictions", {}).get("path")
    told = [f"Performance{'' if path is None else f' of {escape(PurePath(path).name)}'} by level."]
    if evaluation.without_boxes is None:
        told.append(
            f"Boxes with a score of at least {protocol.score_threshold:g} count; a benign box is dropped "
            f"when its IoU with a malignant one is above {protocol.suppression_iou:g}; a box speaks for a "
            f"lesion when their IoU is above {protocol.lesion_iou:g}. All lesions: a lesion without a box is "
            "a wrong answer of score 0."
        )
    else:
        told.append(f"An image with a score of at least {protocol.image_threshold:g} is called malignant.")
    if bootstrap.resamples:
        told.append(
            rf"Below each number its {bootstrap.confidence * 100:g}\,\% interval "
            f"({bootstrap.resamples} bootstrap resamples of patients)."
        )
    if marked:
        told.append("$^{*}$: where the bootstrap has no width, Wilson's interval, of an AUC Newcombe's.")
    return " ".join([*told, f"{MISSING}: undefined."])


def table_float(caption: str, label: str, body: Sequence[str], size: str = r"\small") -> str:
    """Return a table of the lines ``body``, which begin its tabular, with what all tables share around it."""
    lines = [
        r"% made by mammodet; needs \usepackage{booktabs}",
        r"\begin{table}",
        rf"\centering{size}\setlength{{\tabcolsep}}{{3pt}}",
        rf"\caption{{{caption}}}",
        r"\smallskip",
        rf"\label{{{label}}}",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def table_row(cells: Iterable[str]) -> str:
    """Return one row of LaTeX cells."""
    return " & ".join(cells) + r" \\"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def number_cell(value: float | None) -> str:
    """Return a number with three digits, or the sign for none."""
    return MISSING if value is None else _digits(value)


def limits_cell(found: Interval | None) -> str:
    """Return an interval for the row below its number; empty without one, or without width."""
    if found is None or found.low is None or found.high is None or found.low == found.high:
        return ""  # one without width says nothing about new cases
    mark = "" if found.method == PERCENTILE else "$^{*}$"
    return rf"{{\scriptsize {_digits(found.low)}--{_digits(found.high)}{mark}}}"


def _digits(value: float) -> str:
    return f"{value:.3f}".replace("-", "$-$")  # else a hyphen
