"""FROC of two models on the same images: every hit rule and class, by the paired bootstrap by patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mammodet.datasets.coco import Coco
from mammodet.evaluation.comparison import Difference, Drawn, compare_drawn
from mammodet.evaluation.froc_intervals import NUMBERS, SENSITIVITIES, froc_values
from mammodet.evaluation.froc_table import FrocProtocol, FrocTable, match_rules, table_of
from mammodet.evaluation.resampling import PatientResamples

# Neither those of all predictions, which grow with how many boxes a model gives, nor AFROC1.
COMPARED = (*SENSITIVITIES, "cpm", "afroc", "wafroc")


def compare_froc(
    coco: Coco,
    first: Sequence[Mapping[str, Any]],
    second: Sequence[Mapping[str, Any]],
    table: FrocTable,
    resamples: PatientResamples,
) -> Iterator[tuple[str, str, Difference]]:
    """Yield the title of a row, one of ``COMPARED``, and the difference of ``second`` less ``first``.

    Parameters
    ----------
    first, second:
        Checked results.
    table:
        The FROC of ``second``; its protocol holds for both.
    resamples:
        As ``summary.resamples_of`` makes them of ``coco``.
    """
    pairs = zip(
        draw_froc(coco, first, table.protocol, resamples),
        draw_froc(coco, second, table.protocol, resamples, table),
        strict=True,
    )
    for (title, number, one), (_, _, other) in pairs:
        yield title, number, compare_drawn(one, other, resamples)


def draw_froc(
    coco: Coco,
    results: Sequence[Mapping[str, Any]],
    protocol: FrocProtocol,
    resamples: PatientResamples,
    table: FrocTable | None = None,
) -> Iterator[tuple[str, str, Drawn]]:
    """Yield title, number and the number in every resample, row by row; ``table``: that of the results."""
    matches = match_rules(coco, results, protocol)
    table = table or table_of(matches, protocol)
    values = froc_values(matches, resamples, denominator=protocol.denominator)
    for row, found in zip(table.rows, values, strict=True):
        for number in COMPARED:
            place = NUMBERS.index(number)
            yield row.title, number, Drawn(row.numbers[number], found.numbers[:, place])
