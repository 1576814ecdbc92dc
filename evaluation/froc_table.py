"""The same predictions under every hit rule: one row each, and what a protocol must say beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import numpy as np

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.afroc import afroc_area
from mammodet.evaluation.froc import (
    CPM_POINTS,
    DENOMINATORS,
    POINTS,
    Denominator,
    FrocCurve,
    froc_curve,
    mean_sensitivity,
    sensitivity_at,
    units,
)
from mammodet.evaluation.froc_cases import ANY_CLASS, froc_cases
from mammodet.evaluation.froc_intervals import NUMBERS, SENSITIVITIES, FrocBand, FrocValues, froc_values
from mammodet.evaluation.froc_matching import FrocMatches, match_cases
from mammodet.evaluation.hit_rules import DEFAULT_RULES, parse_rules
from mammodet.evaluation.proportions import wilson_interval
from mammodet.evaluation.resampling import Interval, PatientResamples


@dataclass(frozen=True)
class FrocProtocol:
    """Which rows the table has, and what the false positives are divided by."""

    hit_rules: tuple[str, ...] = DEFAULT_RULES
    denominator: Denominator = "all"
    class_aware: bool = False

    def __post_init__(self) -> None:
        parse_rules(self.hit_rules)
        if self.denominator not in get_args(Denominator):
            raise InputError(
                "is no denominator of false positives",
                field="froc_denominator",
                value=self.denominator,
                remedy=f"choose from {', '.join(DENOMINATORS)}",
            )

    @property
    def unit(self) -> str:
        """What one unit of the denominator is: image, positive image, normal image, breast or patient."""
        return DENOMINATORS[self.denominator]


@dataclass(frozen=True)
class FrocRow:
    """One hit rule and class. A number that does not exist is None, and ``notes`` say why.

    ``sensitivity`` is given at ``POINTS`` false positives per unit, ``cpm`` is its mean at ``CPM_POINTS``.
    ``most_sensitivity`` and ``most_false_positives`` are those of all predictions. ``intervals`` has one by
    patient for each of ``numbers``, none without resamples; ``wilson`` has one for each sensitivity, which
    takes lesions as independent and the threshold as given. ``band`` is the interval of the curve, of the
    first rule of a class only.
    """

    rule: str
    classes: str
    lesions: int
    positive_images: int
    normal_images: int
    units: int
    sensitivity: tuple[float | None, ...]
    cpm: float | None
    most_sensitivity: float | None
    most_false_positives: float | None
    double_hits: int
    afroc: float | None
    wafroc: float | None
    afroc1: float | None
    wafroc1: float | None
    notes: tuple[str, ...]
    curve: FrocCurve = field(repr=False)
    intervals: Mapping[str, Interval] = field(default_factory=dict, repr=False)
    wilson: Mapping[str, Interval] = field(default_factory=dict, repr=False)
    band: FrocBand | None = field(default=None, repr=False)

    @property
    def title(self) -> str:
        """The level under which the other tables name the row."""
        return f"froc {self.rule} {self.classes}"

    @property
    def numbers(self) -> dict[str, float | None]:
        """Every number that has an interval, by the name of the interval."""
        at = dict(zip(SENSITIVITIES, self.sensitivity, strict=True))
        return at | {name: getattr(self, name) for name in NUMBERS if name not in at}

    def kinds(self, number: str) -> dict[str, Interval]:
        """Return the intervals of a number by kind, as other tables hold them."""
        found = {"bootstrap": self.intervals, "wilson": self.wilson}
        return {kind: intervals[number] for kind, intervals in found.items() if number in intervals}


@dataclass(frozen=True)
class FrocTable:
    """Rows by class and rule; the classes in the order of the file."""

    protocol: FrocProtocol
    rows: tuple[FrocRow, ...]

    @property
    def classes(self) -> list[str]:
        """The classes, each once."""
        return list(dict.fromkeys(row.classes for row in self.rows))

    def of(self, classes: str) -> list[FrocRow]:
        """Return the rows of one class, one per rule."""
        return [row for row in self.rows if row.classes == classes]


def froc_table(
    coco: Coco,
    results: Sequence[Mapping[str, Any]],
    protocol: FrocProtocol,
    resamples: PatientResamples | None = None,
) -> FrocTable:
    """Match and count checked ``results`` under every rule of the protocol.

    Parameters
    ----------
    resamples:
        Of the patients of the images, as ``summary.resamples_of`` makes them; None leaves intervals out.

    Raises
    ------
    InputError
        For a rule in mm when an image with lesions has no spacing.
    """
    return table_of(match_rules(coco, results, protocol), protocol, resamples)


def table_of(
    matches: Sequence[FrocMatches], protocol: FrocProtocol, resamples: PatientResamples | None = None
) -> FrocTable:
    """Return the table of what ``match_rules`` matched under the same protocol, as ``froc_table`` does."""
    values: Sequence[FrocValues | None] = [None] * len(matches)
    if resamples is not None and resamples.resamples:
        first = parse_rules(protocol.hit_rules)[0].name
        bands = [one.rule == first for one in matches]
        values = froc_values(matches, resamples, denominator=protocol.denominator, band_of=bands)
    rows = [_row(*one, protocol, resamples) for one in zip(matches, values, strict=True)]
    return FrocTable(protocol, tuple(rows))


def match_rules(
    coco: Coco, results: Sequence[Mapping[str, Any]], protocol: FrocProtocol
) -> list[FrocMatches]:
    """Match checked ``results`` under every rule of the protocol: in the order of the table's rows."""
    chosen: dict[int | None, list[Mapping[str, Any]]] = {None: list(results)}
    if protocol.class_aware:
        chosen = {category["id"]: [] for category in coco.categories}
        for one in results:
            chosen[one["category_id"]].append(one)
    rules = parse_rules(protocol.hit_rules)
    cases = (froc_cases(coco, some, category) for category, some in chosen.items())
    return [match_cases(one, rule) for one in cases for rule in rules]


def froc_document(table: FrocTable) -> dict[str, Any]:
    """Return the table for ``metrics.json``, without the curves."""
    return {
        "denominator": table.protocol.denominator,
        "class_aware": table.protocol.class_aware,
        "points": list(POINTS),
        "cpm_points": list(CPM_POINTS),
        "rows": [row_record(row) for row in table.rows],
    }


def row_record(row: FrocRow) -> dict[str, Any]:
    """Return a row for JSON: ``sensitivity`` by false positives per unit, no curve, band and ``wilson``."""
    record = {name: value for name, value in vars(row).items() if name not in ("curve", "band", "wilson")}
    at = {f"{point:g}": value for point, value in zip(POINTS, row.sensitivity, strict=True)}
    intervals = {number: asdict(interval) for number, interval in row.intervals.items()}
    return record | {"sensitivity": at, "notes": list(row.notes), "intervals": intervals}


def corners(curve: FrocCurve) -> FrocCurve:
    """Return the points at which the sensitivity rises, the first and the last: the steps are the same."""
    if not np.isfinite(curve.false_positives).all() or not np.isfinite(curve.sensitivity).all():
        none = np.empty(0)
        return FrocCurve(none, none, none)
    kept = np.append(True, np.diff(curve.sensitivity) > 0)
    kept[-1] = True
    return FrocCurve(curve.thresholds[kept], curve.false_positives[kept], curve.sensitivity[kept])


def _row(
    matches: FrocMatches,
    values: FrocValues | None,
    protocol: FrocProtocol,
    resamples: PatientResamples | None,
) -> FrocRow:
    curve = froc_curve(matches, denominator=protocol.denominator)
    sensitivity = [_known(one) for one in sensitivity_at(matches, POINTS, denominator=protocol.denominator)]
    most = _known(curve.sensitivity[-1])
    areas = {
        f"{'w' if weighted else ''}afroc{'1' if compared == 'all' else ''}": _known(
            afroc_area(matches, weighted=weighted, false_positives_of=compared)
        )
        for weighted in (False, True)
        for compared in ("normal", "all")
    }
    return FrocRow(
        rule=matches.rule,
        classes=matches.classes,
        lesions=matches.lesions,
        positive_images=int(matches.is_positive.sum()),
        normal_images=int(matches.is_normal.sum()),
        units=round(float(units(matches, protocol.denominator))),
        sensitivity=tuple(sensitivity),
        cpm=_known(mean_sensitivity(matches, denominator=protocol.denominator)),
        most_sensitivity=most,
        most_false_positives=_known(curve.false_positives[-1]),
        double_hits=int(matches.is_duplicate.sum()),
        **areas,
        notes=_notes(matches, protocol),
        curve=corners(curve),
        intervals=values.intervals(resamples) if values and resamples else {},
        wilson=_wilson([*sensitivity, most], matches.lesions, resamples),
        band=values.band_interval(resamples) if values and resamples else None,
    )


def _notes(matches: FrocMatches, protocol: FrocProtocol) -> tuple[str, ...]:
    what = "lesion" if matches.classes == ANY_CLASS else f"{matches.classes} lesion"
    if not matches.lesions:
        return (f"no sensitivity: there is no {what}",)
    notes = []
    if not units(matches, protocol.denominator):
        notes.append(f"no FROC: there is no {protocol.unit}")
    if not matches.is_normal.any():
        notes.append(f"no AFROC: there is no image without {what}s; AFROC1 compares with the positive ones")
    return tuple(notes)


def _wilson(
    shares: Sequence[float | None], lesions: int, resamples: PatientResamples | None
) -> dict[str, Interval]:
    """Return Wilson's interval of each sensitivity that there is."""
    if resamples is None:
        return {}
    named = zip((*SENSITIVITIES, "most_sensitivity"), shares, strict=True)
    return {
        name: wilson_interval(round(share * lesions), lesions, resamples.confidence)
        for name, share in named
        if share is not None
    }


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
