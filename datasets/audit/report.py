"""What an audit found, as a value: cases grouped into findings, counts, sizes, and what was not looked at.

``Report.to_dict`` is the content of ``coco.audit.json``:

- ``schema``: "mammodet-audit-1"; ``coco``: name of the audited file; ``version``: of mammodet;
- ``verdict``: "clean", "warnings" or "errors"; ``counts``: cases by severity;
- ``files``: how far image files were looked at, "pixels", "headers" or "no"; ``not_checked``: what that
  leaves out;
- ``folder``: what the names of all images begin with, left out of the texts of cases;
- ``overview``: images, patients, lesions; ``splits``: one row per part; ``images_per_patient``;
- ``completeness``: by key of the profile, ``{"known": int, "of": int}``;
- ``sizes``: see ``sizes.describe``;
- ``conversion``: ``info.audit`` as the converter wrote it, or null;
- ``findings``: worst first, each ``{"kind", "severity", "title", "remedy", "count", "images",
  "annotations", "cases"}`` with every case as ``{"text", "count", "images", "annotations"}``; images and
  annotations are ids.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any, Literal

from mammodet.datasets.audit.kinds import FILE_PROBLEM, GROUPS, KINDS, Kind
from mammodet.datasets.problem import KINDS as FILE_KINDS
from mammodet.datasets.problem import SEVERITIES

SCHEMA = "mammodet-audit-1"
Files = Literal["pixels", "headers", "no"]
_CLEAN: Mapping[Files, str] = {
    "pixels": "clean",
    "headers": "clean as far as headers tell; pixels were not read",
    "no": "clean as far as the COCO file tells; image files were not looked at",
}


@dataclass(frozen=True)
class Case:
    """One thing that was found.

    Parameters
    ----------
    kind:
        A key of ``KINDS``, or ``FILE_PROBLEM`` and the kind of a problem of ``inspection``.
    text:
        One line for people that names it.
    images, annotations:
        Ids of what it concerns.
    count:
        How many it stands for, where it has no ids, such as the rows that were dropped for one reason.
    """

    kind: str
    text: str
    images: tuple[int, ...] = ()
    annotations: tuple[int, ...] = ()
    count: int = 1


@dataclass(frozen=True)
class Finding:
    """All cases of one kind."""

    name: str
    kind: Kind
    cases: tuple[Case, ...]

    @property
    def count(self) -> int:
        """Number of what was found."""
        return sum(case.count for case in self.cases)

    @cached_property
    def images(self) -> list[int]:
        """Ids of all images concerned, each once."""
        return list(dict.fromkeys(number for case in self.cases for number in case.images))

    @cached_property
    def annotations(self) -> list[int]:
        """Ids of all annotations concerned, each once."""
        return list(dict.fromkeys(number for case in self.cases for number in case.annotations))

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values that JSON can hold."""
        return {
            "kind": self.name,
            "severity": self.kind.severity,
            "title": self.kind.title,
            "remedy": self.kind.remedy,
            "count": self.count,
            "images": self.images,
            "annotations": self.annotations,
            "cases": [
                {
                    "text": case.text,
                    "count": case.count,
                    "images": list(case.images),
                    "annotations": list(case.annotations),
                }
                for case in self.cases
            ],
        }


@dataclass(frozen=True)
class Report:
    """The whole audit; the module's head describes its keys."""

    coco: str
    folder: str
    files: Files
    not_checked: tuple[str, ...]
    findings: tuple[Finding, ...]
    overview: Mapping[str, Any]
    splits: tuple[Mapping[str, Any], ...]
    images_per_patient: Mapping[int, int]
    completeness: Mapping[str, Mapping[str, int]]
    sizes: Mapping[str, Any]
    conversion: Mapping[str, Any] | None

    @property
    def counts(self) -> dict[str, int]:
        """Number of cases by severity."""
        counted: Counter[str] = Counter()
        for finding in self.findings:
            counted[finding.kind.severity] += finding.count
        return {severity: counted[severity] for severity in SEVERITIES}

    @property
    def verdict(self) -> Literal["clean", "warnings", "errors"]:
        """The worst that was found; notes are clean."""
        counts = self.counts
        return "errors" if counts["error"] else "warnings" if counts["warning"] else "clean"

    @property
    def verdict_in_words(self) -> str:
        """The verdict for people: what was not looked at is not called clean."""
        return _CLEAN[self.files] if self.verdict == "clean" else self.verdict

    def tally(self, shown: Callable[[int], str] = str) -> str:
        """Return how many errors and warnings there are, and of how many kinds and images the notes are.

        Notes on every image would else be counted in hundreds where nothing is wrong. ``shown`` formats a
        number.
        """
        serious = [
            _plural(self.counts[severity], severity, shown) for severity in SEVERITIES if severity != "note"
        ]
        notes = [one for one in self.findings if one.kind.severity == "note"]
        images = {number for one in notes for number in one.images}
        told = f"{_plural(len(notes), 'kind', shown)} of notes" if notes else _plural(0, "note", shown)
        on = f" on {_plural(len(images), 'image', shown)}" if images else ""
        return ", ".join([*serious, told + on])

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that JSON can hold."""
        return {
            "schema": SCHEMA,
            "coco": self.coco,
            "folder": self.folder,
            "version": version("mammodet"),
            "verdict": self.verdict,
            "counts": self.counts,
            "files": self.files,
            "not_checked": list(self.not_checked),
            "overview": dict(self.overview),
            "splits": [dict(row) for row in self.splits],
            "images_per_patient": {str(images): count for images, count in self.images_per_patient.items()},
            "completeness": {key: dict(known) for key, known in self.completeness.items()},
            "sizes": dict(self.sizes),
            "conversion": None if self.conversion is None else dict(self.conversion),
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def lines(self) -> list[str]:
        """Return a few lines for the terminal: the verdict, the worst findings, the sizes."""
        report = [f"audit: {self.verdict_in_words} ({self.tally()})"]
        serious = [one for one in self.findings if one.kind.severity != "note"]
        report += [f"  {one.kind.severity}: {one.kind.title}: {one.count}" for one in serious[:_LINES]]
        if len(serious) > _LINES:
            more = _plural(len(serious) - _LINES, "more kind")
            report.append(f"  and {more} of errors and warnings, all in the report")
        if self.sizes["below_anchor"]:
            report.append(f"  {self.sizes['sentence']}")
        return report


_LINES = 4


def group(cases: Iterable[Case], folder: str = "") -> tuple[Finding, ...]:
    """Return the cases by kind, errors first, then in the order of ``GROUPS`` and ``KINDS``.

    ``folder``, where all images lie, is left out of the file names in their lines.
    """
    grouped: defaultdict[tuple[str, Kind], list[Case]] = defaultdict(list)
    before = re.compile(rf"(?<!\S){re.escape(folder)}/") if folder else None
    for case in cases:
        text = case.text if before is None else before.sub("", case.text)
        grouped[case.kind, _kind_of(case)].append(replace(case, text=text))
    order = {name: place for place, name in enumerate(KINDS)}
    findings = [Finding(name, kind, tuple(found)) for (name, kind), found in grouped.items()]
    return tuple(
        sorted(
            findings,
            key=lambda one: (
                SEVERITIES.index(one.kind.severity),
                GROUPS.index(one.kind.group),
                order.get(one.name, len(order)),
                one.name,
            ),
        )
    )


def _kind_of(case: Case) -> Kind:
    if case.kind in KINDS:
        return KINDS[case.kind]
    name = case.kind.removeprefix(FILE_PROBLEM)
    severity, advice = FILE_KINDS[name]
    return Kind(
        "files", severity, f"files with the remark “{name.replace('-', ' ')}”", advice, severity != "note"
    )


def _plural(number: int, name: str, shown: Callable[[int], str] = str) -> str:
    return f"{shown(number)} {name}{'' if number == 1 else 's'}"
