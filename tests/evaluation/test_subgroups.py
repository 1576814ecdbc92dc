"""Subgroups: each group's numbers are those of a file cut down to it by hand."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.box_matching import class_boxes
from mammodet.evaluation.detection_metrics import coco_metrics
from mammodet.evaluation.fusion import patients_of_images
from mammodet.evaluation.group_tables import subgroup_table
from mammodet.evaluation.resampling import PatientResamples
from mammodet.evaluation.subgroups import subgroups

IMAGES = 16


def study(seed=0, classes=2):
    """Random lesions and boxes; two images a patient; image 1 has no spacing, vendor or density."""
    rng = np.random.default_rng(seed)
    images, lesions, results = [], [], []
    for number in range(1, IMAGES + 1):
        record = {"id": number, "file_name": f"{number}.png", "width": 1000, "height": 1000}
        record |= {"patient_id": str((number - 1) // 2), "view": ("CC", "MLO")[number % 2]}
        if number > 1:
            record |= {"spacing_mm": [0.1, 0.05], "density": "ABCD"[number % 4]}
            record["manufacturer"] = ("X", "Y")[number % 3 == 0]
        images.append(record)
        for _ in range(rng.integers(0, 4)):
            lesion = {
                "id": len(lesions) + 1,
                "image_id": number,
                "category_id": int(rng.integers(classes)) + 1,
            }
            lesion["bbox"] = [*rng.uniform(0, 700, 2).tolist(), *rng.uniform(15, 250, 2).tolist()]
            lesion["finding"] = ["mass", "calcification", None][rng.integers(3)]
            lesions.append(lesion)
            for _ in range(rng.integers(0, 3)):
                moved = (np.array(lesion["bbox"]) * rng.normal(1, 0.05, 4)).tolist()
                results.append({"image_id": number, "category_id": lesion["category_id"], "bbox": moved})
        for _ in range(rng.integers(0, 4)):
            bbox = [*rng.uniform(0, 700, 2).tolist(), *rng.uniform(15, 250, 2).tolist()]
            results.append({"image_id": number, "category_id": int(rng.integers(classes)) + 1, "bbox": bbox})
    for one, score in zip(results, rng.permutation(len(results)), strict=True):
        one["score"] = float(score + 1) / (len(results) + 1)
    categories = [{"id": 1, "name": "benign"}, {"id": 2, "name": "malignant"}][:classes]
    return Coco(images, lesions, Path("gt.json"), categories), results


def rows_of(coco, results, resamples=0, **options):
    patient_of = patients_of_images(coco)
    drawn = PatientResamples([patient_of[one["id"]] for one in coco.images], resamples, 0)
    rows = subgroups(coco, class_boxes(coco, results), patient_of, drawn, **options)
    return {(row.group, row.value, row.classes): row for row in rows}


def assert_numbers(row, expected, ap50="AP50", ap="AP", ar="AR_100"):
    for name, key in (("AP50", ap50), ("AP", ap), ("AR", ar)):
        if key is not None:
            assert row.numbers[name] == (
                None if expected[key] is None else pytest.approx(expected[key], abs=1e-12)
            )


@pytest.mark.parametrize("seed", range(3))
def test_sizes_in_pixels_are_those_of_coco(seed):
    coco, results = study(seed)
    rows, expected = rows_of(coco, results), coco_metrics(coco, results)
    for size in ("small", "medium", "large"):
        for name, numbers in expected.items():
            assert_numbers(rows["size in px", size, name], numbers, None, f"AP_{size}", f"AR_{size}")


@pytest.mark.parametrize("key", ["view", "density", "manufacturer"])
def test_a_group_of_images_has_the_numbers_of_a_file_of_these_images(key):
    coco, results = study(1)
    rows = {place: row for place, row in rows_of(coco, results).items() if place[0] == key}
    for value in dict.fromkeys(one.get(key) for one in coco.images):
        some = [one for one in coco.images if one.get(key) == value]
        ids = {one["id"] for one in some}
        part = replace(
            coco, images=some, annotations=[one for one in coco.annotations if one["image_id"] in ids]
        )
        boxes = [one for one in results if one["image_id"] in ids]
        for name, numbers in coco_metrics(part, boxes).items():
            row = rows.pop((key, value or "unknown", name))
            assert_numbers(row, numbers)
            assert row.images == len(some)
            if name == "all":
                assert row.lesions == len(part.annotations)
    assert not rows


def longest_mm(coco, lesion):
    image = next(one for one in coco.images if one["id"] == lesion["image_id"])
    width, height = lesion["bbox"][2:]
    return None if "spacing_mm" not in image else max(width * 0.05, height * 0.1)


GROUPS = {
    ("size in mm", "< 5"): lambda size, finding: size is not None and size < 5,
    ("size in mm", "5 to 12"): lambda size, finding: size is not None and 5 <= size < 12,
    ("size in mm", ">= 12"): lambda size, finding: size is not None and size >= 12,
    ("size in mm", "unknown"): lambda size, finding: size is None,
    ("finding", "mass"): lambda size, finding: finding == "mass",
    ("finding", "calcification"): lambda size, finding: finding == "calcification",
    ("finding", "unknown"): lambda size, finding: finding is None,
}


@pytest.mark.parametrize("seed", range(3))
def test_a_group_of_lesions_has_the_numbers_of_a_file_in_which_the_others_are_ignored(seed):
    coco, results = study(seed, classes=1)
    rows = rows_of(coco, results, size_bins_mm=(5, 12))
    assert {place[:2] for place in rows if place[0] in ("size in mm", "finding")} == set(GROUPS)
    for (group, value), chosen in GROUPS.items():
        there = [chosen(longest_mm(coco, one), one["finding"]) for one in coco.annotations]
        cut = [{**one, "ignore": int(not own)} for one, own in zip(coco.annotations, there, strict=True)]
        row = rows[group, value, "all"]
        assert_numbers(row, coco_metrics(replace(coco, annotations=cut), results)["all"])
        with_lesion = {one["image_id"] for one, own in zip(coco.annotations, there, strict=True) if own}
        assert (row.lesions, row.images) == (sum(there), len(with_lesion))
        assert row.patients == len({(image - 1) // 2 for image in with_lesion})


def test_every_lesion_that_counts_is_in_one_group_of_each_kind():
    coco, results = study(2)
    coco.annotations[0]["ignore"] = coco.annotations[1]["iscrowd"] = 1
    rows = rows_of(coco, results)
    totals = {}
    for (group, _, name), row in rows.items():
        totals[group, name] = totals.get((group, name), 0) + row.lesions
        assert row.found <= row.lesions
    assert {total for (_, name), total in totals.items() if name == "all"} == {len(coco.annotations) - 2}
    assert len({group for group, _ in totals}) == 6


def test_a_group_without_a_lesion_has_a_reason_and_no_number():
    coco, results = study(0)
    rows = rows_of(coco, results, 20, size_bins_mm=(5, 10, 500))
    row = rows["size in mm", ">= 500", "all"]
    assert row.lesions == 0 and set(row.numbers.values()) == {None} and "no such lesion" in row.reason
    assert all(one.low is None and one.reason for one in row.intervals.values())
    text = subgroup_table(rows.values())
    assert ",nan" not in text and "-1" not in text
    assert ">= 500,all,0,0,0,0,n/a,n/a,n/a" in text
    json.dumps([asdict(one) for one in rows.values()], allow_nan=False)


def test_intervals_are_by_patient_and_one_patient_has_none():
    coco, results = study(0)
    rows = rows_of(coco, results, 200)
    row = rows["view", "CC", "all"]
    interval = row.intervals["AP50"]
    assert interval.low <= row.numbers["AP50"] <= interval.high and interval.low < interval.high
    for lesion in coco.annotations:  # the only mass is that of one patient
        lesion["finding"] = "other"
    coco.annotations[0]["finding"] = "mass"
    row = rows_of(coco, results, 200)["finding", "mass", "all"]
    assert row.lesions == row.patients == 1
    assert row.intervals["AP50"].low is None and "one" in row.intervals["AP50"].reason


def test_a_false_positive_is_wrong_in_every_group_of_lesions():
    coco, results = study(0)
    worst = [
        {"image_id": 2, "category_id": one, "bbox": [900.0, 900.0, 20.0, 20.0], "score": 1.0}
        for one in (1, 2)
    ]
    before, after = rows_of(coco, results), rows_of(coco, [*results, *worst])
    found = [place for place, row in before.items() if place[0] == "finding" and row.found]
    assert {place[1] for place in found} == {"mass", "calcification", "unknown"}
    for place in found:
        assert after[place].numbers["AP50"] < before[place].numbers["AP50"]


def test_nothing_known_gives_unknown_alone():
    coco = Coco([{"id": 7, "file_name": "a.png", "width": 9, "height": 9}], [], Path("gt.json"))
    rows = rows_of(coco, [], 10)
    assert {place[:2] for place in rows if place[0] != "size in px"} == {
        (group, "unknown") for group in ("view", "density", "manufacturer")
    }


@pytest.mark.parametrize("bins", [(), (5, 5), (10, 5), (0, 5), (float("nan"),)])
def test_limits_that_do_not_rise_are_refused(bins):
    with pytest.raises(InputError, match="size_bins_mm"):
        rows_of(*study(), size_bins_mm=bins)
