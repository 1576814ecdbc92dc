"""FROC of two models on the same images: every hit rule and class, by the paired bootstrap by patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mammodet.datasets.coco import Coco
from mammodet.evaluation.comparison import Difference, paired_bootstrap
from mammodet.evaluation.froc_intervals import NUMBERS, SENSITIVITIES, froc_values
from mammodet.evaluation.froc_table import FrocTable, froc_table, match_rules
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
    protocol = table.protocol
    others = froc_table(coco, first, protocol)
    drawn = [
        froc_values(match_rules(coco, results, protocol), resamples, denominator=protocol.denominator)
        for results in (first, second)
    ]
    for other, row, one, two in zip(others.rows, table.rows, *drawn, strict=True):
        for number in COMPARED:
            place = NUMBERS.index(number)
            values = (one.numbers[:, place], two.numbers[:, place])
            yield (
                row.title,
                number,
                paired_bootstrap(other.numbers[number], row.numbers[number], values, resamples),
            )
