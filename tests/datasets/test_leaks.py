"""Leaks between the parts of a split: each kind is found, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.leaks import check_leaks, find_leaks

UID = "1.2.840.113619.2.1"


def part(name: str, *images: dict[str, Any]) -> Coco:
    size = {"width": 4, "height": 4}
    return Coco([{**size, **image} for image in images], [], Path(name) / "coco.json")  # type: ignore[typeddict-item]


def test_clean_parts_have_no_leak() -> None:
    train = part("t", {"id": 1, "file_name": "a.png", "patient_id": "p", "study_id": "1"})
    val = part("v", {"id": 2, "file_name": "a.png", "patient_id": "q", "study_id": "1"})
    assert find_leaks({"train": train, "val": val}, {1: "x", 2: "y"}) == []
    check_leaks({"train": train, "val": val})


@pytest.mark.parametrize(
    ("kind", "one", "other", "digests"),
    [
        ("patient", {"patient_id": "p"}, {"patient_id": "p"}, {}),
        ("study", {"patient_id": "p", "study_id": UID}, {"study_id": UID}, {}),
        ("file", {"file_name": "../same/a.png"}, {"file_name": "../same/a.png"}, {}),
        ("pixels", {}, {}, {1: "abc", 2: "abc"}),
    ],
)
def test_what_parts_share_is_found(
    kind: str, one: dict[str, Any], other: dict[str, Any], digests: dict[int, str]
) -> None:
    train = part("t", {"id": 1, "file_name": "a.png", **one})
    val = part("v", {"id": 2, "file_name": "b.png", **other}, {"id": 3, "file_name": "c.png"})
    (leak,) = find_leaks({"train": train, "val": val}, digests)
    assert leak.kind == kind
    assert leak.images == {"train": (train.images[0]["file_name"],), "val": (val.images[0]["file_name"],)}
    with pytest.raises(InputError, match=r"in several parts .*train: .*val: "):
        check_leaks({"train": train, "val": val}, digests)


def test_several_leaks_are_counted_and_the_patient_is_named_first() -> None:
    same = {"patient_id": "p", "study_id": UID, "file_name": "/x/a.png"}
    parts = {name: part(name, {"id": number, **same}) for number, name in enumerate("ab")}
    assert [leak.kind for leak in find_leaks(parts, {0: "s", 1: "s"})] == [
        "patient",
        "study",
        "file",
        "pixels",
    ]
    with pytest.raises(InputError, match=r"patient p in several parts .* \(and 3 more leaks\)"):
        check_leaks(parts, {0: "s", 1: "s"})


def test_the_same_pixels_inside_one_part_are_no_leak() -> None:
    train = part("t", {"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"})
    assert find_leaks({"train": train, "val": part("v")}, {1: "s", 2: "s"}) == []
