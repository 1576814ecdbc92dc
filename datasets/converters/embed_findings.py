"""The clinical table of EMBED: what is known of the breasts of an exam, from tissue and from BI-RADS.

One row is one finding; a finding with several rows (the same ``numfind``), such as biopsy and surgery, takes
the worst. A row counts for the breast of its ``side``; B, or none, is both. Its tissue counts for the breast
of ``bside`` where that is given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.tables import Row, iter_csv

BIRADS = {"A": "0", "N": "1", "B": "2", "P": "3", "S": "4", "M": "5", "K": "6", "X": None}
TISSUE = {"0": "malignant", "1": "malignant", **dict.fromkeys("2345", "benign"), "6": None}
DENSITY = {"1": "A", "2": "B", "3": "C", "4": "D"}  # 5 is a normal male breast

_REQUIRED = ("empi_anon", "acc_anon", "side", "asses", "path_severity")
_OPTIONAL = ("numfind", "bside", "tissueden", "desc", "age_at_study")
_DESCRIPTORS = ("massshape", "massmargin", "massdens", "calcfind", "calcdistri", "calcnumber")
_CODES = {"side": "LRB", "bside": "LRB", "asses": BIRADS, "path_severity": TISSUE}  # what may stand there


@dataclass(frozen=True)
class Finding:
    """What all rows of one finding say of one breast.

    Parameters
    ----------
    label:
        normal, benign, malignant, or None where neither tissue nor BI-RADS decides.
    tissue:
        Whether the label comes from tissue.
    kinds:
        calcification, mass, distortion, asymmetry.
    """

    label: str | None
    tissue: bool
    birads: str | None
    kinds: frozenset[str]


@dataclass
class Exam:
    """One exam: the rows of its findings by side and number, keys of its images, whether of both breasts."""

    rows: Mapping[str, dict[str, list[Row]]] = field(default_factory=lambda: {"L": {}, "R": {}})
    keys: dict[str, Any] = field(default_factory=dict)
    bilateral: bool = False

    def findings(self, side: str, options: Options) -> list[Finding]:
        """Return the findings of the breast ``side``; none when no row speaks of it."""
        return [_finding(rows, side, options) for rows in self.rows.get(side, {}).values()]


def read_exams(path: Path, audit: Audit) -> dict[tuple[str, str], Exam]:
    """Read the clinical table: exams by (``empi_anon``, ``acc_anon``); raises InputError."""
    exams: defaultdict[tuple[str, str], Exam] = defaultdict(Exam)
    for row in iter_csv(path, required=_REQUIRED, keep=(*_REQUIRED, *_OPTIONAL, *_DESCRIPTORS)):
        exam = exams[row.code("empi_anon"), row.code("acc_anon")]
        for column, known in _CODES.items():
            if row.code(column) not in {"", *known}:
                what = f"{row.code(column)} (line {row.line})"
                audit.note(f"unknown code in {column}: taken as missing", what)
        for side, findings in exam.rows.items():
            if side in _sides(row, "side") or (
                row.code("path_severity") and side in _sides(row, "bside", "side")
            ):
                findings.setdefault(row.code("numfind") or f"line {row.line}", []).append(row)
        exam.bilateral |= "bilat" in row.code("desc").lower()
        age = int(row.number("age_at_study")) if row.code("age_at_study") else None
        told = {"density": DENSITY.get(row.code("tissueden")), "age": age}
        exam.keys |= {key: value for key, value in told.items() if value is not None}
    return dict(exams)


def worst(labels: Iterable[str | None]) -> str | None:
    """Return the worst of several labels; an unknown one is worse than benign, and none at all is unknown."""
    found = set(labels)
    return next((label for label in ("malignant", None, "benign", "normal") if label in found), None)


def _sides(row: Row, *columns: str) -> str:
    """Return the breasts that the first of these columns with a known side stands for."""
    known = [row.code(column) for column in columns if row.code(column) in {"L", "R", "B"}]
    return known[0] if known and known[0] != "B" else "LR"


def _finding(rows: Sequence[Row], side: str, options: Options) -> Finding:
    severities = [row.code("path_severity") for row in rows if side in _sides(row, "bside", "side")]
    tissue = [TISSUE[severity] for severity in severities if severity in TISSUE]
    birads = {BIRADS.get(row.code("asses")) for row in rows if side in _sides(row, "side")}
    label = worst(tissue or map(options.label_of, birads))
    kinds = frozenset(kind for row in rows for kind in _kinds(row))
    return Finding(label, bool(tissue), birads.pop() if len(birads) == 1 else None, kinds)


def _kinds(row: Row) -> Iterable[str]:
    """Yield the kinds of finding that the descriptors of a row stand for, as in the makers' notebook."""
    shape = row.code("massshape") or "none"
    if shape in "GROXNYDL" or row.code("massmargin") or row.code("massdens"):
        yield "mass"
    if shape in "TBSFV":
        yield "asymmetry"
    if shape in "QA":
        yield "distortion"
    if row.code("calcfind") or row.code("calcdistri") or row.code("calcnumber") not in {"", "0"}:
        yield "calcification"
