"""What is odd about many files together: copies, studies that do not add up, mixtures."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mammodet.datasets.filenames import printable
from mammodet.datasets.fingerprint import Sketch, copies
from mammodet.datasets.inspection import Inspection
from mammodet.datasets.problem import SEVERITIES, Problem, Severity, problem

_LATERAL = frozenset({"MLO", "ML", "LM", "LMO"})
_SPECIAL = frozenset(
    {"spot compression", "magnification", "cleavage", "axillary tail", "tangential", "rolled"}
)
_SHOWN = 4


@dataclass(frozen=True)
class Group:
    """A problem that several files have together."""

    problem: Problem
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What was found in a set of files: about each (``inspections``) and about several (``groups``)."""

    inspections: Sequence[Inspection]
    groups: Sequence[Group]

    @cached_property
    def problems(self) -> Mapping[Path, tuple[Problem, ...]]:
        """All problems of each file, its own first, then those it shares; each kind worst first."""
        found = {one.path: list(one.problems) for one in self.inspections}
        for group in self.groups:
            if group.problem.kind in _OF_THE_SET:
                continue
            for path in group.paths:
                if not any(known.kind == group.problem.kind for known in found[path]):
                    found[path].append(group.problem)
        return {
            path: tuple(sorted(several, key=lambda one: SEVERITIES.index(one.severity)))
            for path, several in found.items()
        }

    @cached_property
    def kinds(self) -> Mapping[tuple[Severity, str], tuple[Path, ...]]:
        """The files that have a kind of problem, by severity and kind; the worst and most frequent first."""
        files: defaultdict[tuple[Severity, str], dict[Path, None]] = defaultdict(dict)
        for path, several in self.problems.items():
            for one in several:
                files[one.severity, one.kind][path] = None
        for group in self.groups:
            files[group.problem.severity, group.problem.kind].update(dict.fromkeys(group.paths))
        order = sorted(files, key=lambda key: (SEVERITIES.index(key[0]), -len(files[key]), key[1]))
        return {key: tuple(files[key]) for key in order}

    @property
    def worst(self) -> Severity | None:
        """The worst severity that occurs; None when nothing is odd."""
        return next(
            (severity for severity in SEVERITIES if any(key[0] == severity for key in self.kinds)), None
        )

    @property
    def readable(self) -> list[Inspection]:
        """The inspections of files whose pixels could be read."""
        return [one for one in self.inspections if one.width]

    def counts(self) -> dict[str, Any]:
        """Return how many files, patients, studies, views, vendors and pixel sizes there are."""
        readable = self.readable
        return {
            "files": len(self.inspections),
            "readable": len(readable),
            "ids_from_names": bool(readable) and not any(map(_has_header, readable)),
            "patients": len({one.facts.get("patient_id") for one in readable} - {None}),
            "studies": len({_study(one) for one in readable} - {None}),
            "views": dict(sorted(Counter(map(view_name, readable)).items())),
            "manufacturers": _counted(one.facts.get("manufacturer") for one in readable),
            "spacing_mm": _counted(_spacing(one) for one in readable),
            "sizes": _counted(f"{one.width} x {one.height}" for one in readable),
            "bit_depths": _counted(one.facts.get("bit_depth") for one in readable),
        }


def diagnose(inspections: Iterable[Inspection]) -> Diagnosis:
    """Compare files with each other, and keep what was found about each without its thumbnail.

    Copies are looked for by hash and confirmed by the detail of the thumbnails; what is kept of them takes
    9 kB per file.
    """
    kept: list[Inspection] = []
    sketches: dict[Path, Sketch] = {}
    for one in inspections:
        detail = one.sketch()
        if detail is not None:
            sketches[one.path] = detail
        kept.append(replace(one, thumbnail=None))
    readable = [one for one in kept if one.width]
    groups = [*_copies(readable, sketches), *_studies(readable), *_mixtures(readable)]
    return Diagnosis(tuple(kept), tuple(groups))


def view_name(inspection: Inspection) -> str:
    """Return side and view, such as "R-MLO", with a question mark for one that is not known."""
    side, view = inspection.facts.get("laterality"), inspection.facts.get("view")
    return f"{side or '?'}-{view or '?'}" if side or view else "unknown"


def short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the paths below the folder that all share, to be shown."""
    if not paths:
        return {}
    absolute = {path: path.absolute() for path in paths}
    root = os.path.commonpath([path.parent for path in absolute.values()])
    return {path: printable(whole.relative_to(root).as_posix()) for path, whole in absolute.items()}


_OF_THE_SET = frozenset({"mixed-vendors", "mixed-spacing", "mixed-photometric"})


def _copies(readable: Sequence[Inspection], sketches: Mapping[Path, Sketch]) -> list[Group]:
    groups = []
    explained: set[frozenset[Path]] = set()
    for several in _by(readable, lambda one: one.facts.get("sop_instance")):
        paths = _paths(several)
        explained.add(frozenset(paths))
        if len({one.pixel_digest for one in several}) == 1:
            found = f"{len(paths)} files hold one SOP instance, with the same pixels"
            groups.append(Group(problem("duplicate-instance", found), paths))
        else:
            found = f"{len(paths)} files with one SOP Instance UID hold different pixels"
            groups.append(Group(problem("uid-clash", found), paths))
    for several in _by(readable, lambda one: one.pixel_digest):
        paths = _paths(several)
        if frozenset(paths) not in explained:
            patients = len({one.facts.get("patient_id") for one in several})
            whose = f", under {patients} patients" if patients > 1 else ""
            groups.append(
                Group(problem("duplicate-pixels", f"{len(paths)} files hold one picture{whose}"), paths)
            )
    return groups + _near_copies(readable, sketches)


def _near_copies(readable: Sequence[Inspection], sketches: Mapping[Path, Sketch]) -> list[Group]:
    first: dict[str, Inspection] = {}
    for one in readable:
        if one.pixel_digest is not None:
            first.setdefault(one.pixel_digest, one)
    unique = list(first.values())
    hashes = [one.difference_hash for one in unique]
    details = [sketches.get(one.path) for one in unique]
    groups = []
    upright: set[tuple[int, int]] = set()
    for kind, found in (
        ("near-duplicate", "looks like another file"),
        ("mirrored-copy", "looks like another file mirrored"),
    ):
        for i, j in copies(hashes, details, mirrored=kind == "mirrored-copy"):
            if (i, j) not in upright:
                groups.append(Group(problem(kind, found), _paths((unique[i], unique[j]))))
                upright.add((i, j))
    return groups


def _studies(readable: Sequence[Inspection]) -> list[Group]:
    groups = []
    for several in _by(readable, lambda one: one.facts.get("study_id") if _has_header(one) else None):
        patients = {one.facts.get("patient_id") for one in several}
        if len(patients) > 1:
            found = f"{len(patients)} patients share one Study Instance UID"
            groups.append(Group(problem("study-shared", found), _paths(several)))
    for several in _by(readable, _study, at_least=1):
        views = [one for one in several if not _SPECIAL & set(one.facts.get("view_modifiers", ()))]
        groups += _missing(several, views) + _repeated(views)
    return groups


def _missing(several: Sequence[Inspection], views: Sequence[Inspection]) -> list[Group]:
    if any("laterality" not in one.facts or "view" not in one.facts for one in several):
        return []
    have = {
        (one.facts["laterality"], "MLO" if one.facts["view"] in _LATERAL else one.facts["view"])
        for one in views
    }
    missing = [f"{side}-{view}" for side in "LR" for view in ("CC", "MLO") if (side, view) not in have]
    if not missing:
        return []
    return [Group(problem("missing-views", f"the study has no {', '.join(missing)}"), _paths(several))]


def _repeated(views: Sequence[Inspection]) -> list[Group]:
    """Tell of several images of one side and view; a raw and a processed one of it are not the same."""

    def key(one: Inspection) -> Hashable:
        facts = one.facts
        if "laterality" not in facts or "view" not in facts:
            return None
        modifiers = tuple(facts.get("view_modifiers", ()))
        return facts["laterality"], facts["view"], facts.get("presentation_intent"), modifiers

    unique = {one.pixel_digest or str(one.path): one for one in views}  # copies are told elsewhere
    return [
        Group(
            problem("repeated-view", f"the study has {len(several)} of {view_name(several[0])}"),
            _paths(several),
        )
        for several in _by(unique.values(), key)
    ]


def _mixtures(readable: Sequence[Inspection]) -> list[Group]:
    groups = []
    for kind, name, value in (
        ("mixed-vendors", "manufacturers", lambda one: one.facts.get("manufacturer")),
        ("mixed-spacing", "pixel sizes", _spacing),
        ("mixed-photometric", "photometric interpretations", lambda one: one.facts.get("photometric")),
    ):
        counted = _counted(value(one) for one in readable)
        if len(counted) > 1:
            shown = ", ".join(f"{one} {count}" for one, count in list(counted.items())[:_SHOWN])
            found = f"{len(counted)} {name}: {shown}{', ...' if len(counted) > _SHOWN else ''}"
            rarest = min(counted, key=lambda one: counted[one])
            paths = tuple(one.path for one in readable if str(value(one)) == rarest)
            groups.append(Group(problem(kind, found), paths))
    return groups


def _by(
    inspections: Iterable[Inspection], key: Callable[[Inspection], Hashable], at_least: int = 2
) -> list[list[Inspection]]:
    """Return the groups of inspections with one key; None is no key."""
    groups: defaultdict[Hashable, list[Inspection]] = defaultdict(list)
    for one in inspections:
        value = key(one)
        if value is not None:
            groups[value].append(one)
    return [several for several in groups.values() if len(several) >= at_least]


def _study(one: Inspection) -> Hashable:
    study = one.facts.get("study_id")
    return None if study is None else (one.facts.get("patient_id"), study)


def _has_header(one: Inspection) -> bool:
    return one.facts.get("file_kind") == "dicom"


def _spacing(one: Inspection) -> str | None:
    names = ("imager_pixel_spacing_mm", "pixel_spacing_mm", "scanned_pixel_spacing_mm")
    spacing = next((one.facts[name] for name in names if name in one.facts), None)
    return None if spacing is None else f"{spacing[0]:.4g}"


def _counted(values: Iterable[Any]) -> dict[str, int]:
    return {str(value): count for value, count in Counter(values).most_common() if value is not None}


def _paths(several: Sequence[Inspection]) -> tuple[Path, ...]:
    return tuple(one.path for one in several)
