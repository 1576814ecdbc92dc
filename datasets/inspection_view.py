"""Which view a DICOM mammogram is, with its modifiers, and what is odd about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom import Dataset

from mammodet.datasets.dicom import VIEW_CODES, items, text
from mammodet.datasets.problem import Problem, problem

_SCREENING_VIEWS = frozenset({"CC", "MLO"})
_KNOWN_VIEWS = frozenset({*VIEW_CODES.values(), "XCC", "AT", "CV", "RL", "RM", "TAN"})
# What consoles append to the view, such as CCID.
_SUFFIXES: Mapping[str, str] = {"ID": "implant displaced", "M": "magnification", "S": "spot compression"}

# PS3.16 CID 4015 View Modifier: SNOMED CT code and its old SNOMED-RT code.
_MODIFIERS: Mapping[str, str] = {
    "399163009": "magnification", "R-102D6": "magnification",
    "399055006": "spot compression", "R-102D7": "spot compression",
    "399209000": "implant displaced", "R-102D5": "implant displaced",
    "399161006": "cleavage", "R-102D2": "cleavage",
    "399011000": "axillary tail", "R-102D1": "axillary tail",
    "399110001": "tangential", "R-102C2": "tangential",
    "399197002": "rolled", "R-102D3": "rolled", "399226006": "rolled", "R-102D4": "rolled",
    "414493004": "rolled", "R-102CA": "rolled", "415670009": "rolled", "R-102C9": "rolled",
}  # fmt: skip


def view_problems(data: Dataset, facts: Mapping[str, Any]) -> list[Problem]:
    """Return what is odd about the view; ``facts`` are those of ``header_facts``."""
    view, coded = facts.get("view"), _coded_view(data)
    told, _ = split_view(text(data, "ViewPosition") and facts.get("view"))
    modifiers = set(facts.get("view_modifiers", ()))
    found = []
    if told and coded and told != coded:
        found.append(problem("view-conflict", f"View Position {told[:16]}, View Code Sequence {coded}"))
    if text(data, "ViewPosition") and (facts.get("view_source") != "header" or view not in _KNOWN_VIEWS):
        found.append(problem("odd-view", "View Position is none that is known"))
    elif view and view not in _SCREENING_VIEWS:
        found.append(problem("special-view", f"view {view}"))
    special = modifiers - {"magnification", "implant displaced"}
    if special:
        found.append(problem("special-view", f"view modifier {', '.join(sorted(special))}"))
    factor = facts.get("magnification_factor")
    if "magnification" in modifiers:
        found.append(problem("magnification", f"magnified{f' {factor:g} times' if factor else ''}"))
    if facts.get("implant") or "implant displaced" in modifiers:
        displaced = ", displaced" if "implant displaced" in modifiers else ""
        found.append(problem("implant", f"breast with an implant{displaced}"))
    return found


def split_view(view: str | None) -> tuple[str | None, str | None]:
    """Return a view without the modifier that consoles append, and the modifier: "CCID" is CC."""
    if view is None or view in _KNOWN_VIEWS:
        return view, None
    for suffix, modifier in _SUFFIXES.items():
        if view.removesuffix(suffix) in _SCREENING_VIEWS | {"ML", "LM"}:
            return view.removesuffix(suffix), modifier
    return view, None


def _coded_view(data: Dataset) -> str | None:
    codes = (text(item, "CodeValue") or "" for item in items(data, "ViewCodeSequence"))
    return next((VIEW_CODES[code] for code in codes if code in VIEW_CODES), None)


def view_modifiers(data: Dataset) -> set[str]:
    """Return the names of the view modifiers that a header codes, such as "magnification"."""
    nested = [
        code for view in items(data, "ViewCodeSequence") for code in items(view, "ViewModifierCodeSequence")
    ]
    nested += items(data, "ViewModifierCodeSequence")
    values = (text(code, "CodeValue") or "" for code in nested)
    return {_MODIFIERS[value] for value in values if value in _MODIFIERS}
