"""BI-RADS as categories: the convention, its bounds, and spellings."""

from __future__ import annotations

import pytest

from mammodet.datasets.coco import BENIGN, MALIGNANT
from mammodet.datasets.converters.options import BIRADS, Options, parse_birads
from mammodet.datasets.errors import InputError


@pytest.mark.parametrize(
    ("text", "birads"),
    [
        ("4a", "4A"), ("BI-RADS 4", "4"), ("Bi-Rads: 5", "5"), ("6", "6"), ("0", "0"), ("3$2", "3"), ("2$4C", "4C"),
        ("4 b", "4B"), ("3A", "3"), ("", None), ("NaN", None), ("7", None), ("12", None), ("2.5", None),
    ],
)  # fmt: skip
def test_spellings(text: str, birads: str | None) -> None:
    assert parse_birads(text) == birads


def categories(options: Options) -> str:
    letters = {None: "-", BENIGN: "b", MALIGNANT: "m"}
    return "".join(letters[options.category_of(birads)] for birads in ("0", *BIRADS))


@pytest.mark.parametrize(
    ("benign_up_to", "malignant_from", "expected"),  # of 0, 1, 2, 3, 4A, 4, 4B, 4C, 5, 6
    [
        ("3", "4", "--bbmmmmmm"),
        ("2", "4", "--b-mmmmmm"),
        ("3", "4B", "--bb--mmmm"),
        ("4A", "4B", "--bbb-mmmm"),
        ("4", "5", "--bbbbbbmm"),
        ("2", "5", "--b-----mm"),
    ],
)
def test_bounds(benign_up_to: str, malignant_from: str, expected: str) -> None:
    assert categories(Options(benign_up_to, malignant_from)) == expected


def test_labels_of_images() -> None:
    labels = [Options().label_of(birads) for birads in ("0", "1", "2", "4", None)]
    assert labels == [None, "normal", "benign", "malignant", None]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"benign_up_to": "4", "malignant_from": "4B"}, "benign must end below malignant"),
        ({"benign_up_to": "x"}, "benign_up_to: is no BI-RADS"),
        ({"classes": {"calc": "bad"}}, "classes.calc: unknown meaning"),
    ],
)
def test_choices_that_make_no_sense_are_refused(keys: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Options(**keys)  # type: ignore[arg-type]
