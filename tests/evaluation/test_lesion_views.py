"""Lesions on a CC and an MLO view: which are one, and how many are found where."""

from pathlib import Path

import pytest

from mammodet.datasets.coco import Coco
from mammodet.evaluation.lesion_views import lesion_pairs, view_table
from mammodet.evaluation.resampling import PatientResamples

BENIGN, MALIGNANT = 1, 2
NAMES = {BENIGN: "benign", MALIGNANT: "malignant"}


def study(*lesions, patients=3):
    """Each patient has L CC, L MLO and R CC, as images 1, 2, 3; 4, 5, 6; ...; a lesion is image, class, id."""
    views = [("L", "CC"), ("L", "MLO"), ("R", "CC")]
    images = [
        {
            "id": 3 * patient + place + 1,
            "file_name": "a.png",
            "width": 500,
            "height": 500,
            "patient_id": str(patient),
            "laterality": side,
            "view": view,
        }
        for patient in range(patients)
        for place, (side, view) in enumerate(views)
    ]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": [0, 0, 9, 9],
            "lesion_id": name,
            **more,
        }
        for number, (image, category, name, more) in enumerate(
            ((*one, {})[:4] if len(one) == 3 else one for one in lesions), start=1
        )
    ]
    return Coco(images, annotations, Path("gt.json"))


def table(coco, found, resamples=0):
    patients = PatientResamples([one["patient_id"] for one in coco.images], resamples)
    return {row.category: row for row in view_table(coco, found, NAMES, patients)}


def pairs(coco):
    return [(one.rule, one.cc, one.mlo) for one in lesion_pairs(coco)]


def test_lesions_with_one_name_in_one_breast_are_one():
    coco = study((1, BENIGN, "a"), (1, BENIGN, "b"), (2, BENIGN, "b"), (2, BENIGN, "a"), (3, BENIGN, "a"))
    assert pairs(coco) == [("lesion_id", (1,), (4,)), ("lesion_id", (2,), (3,))]


def test_without_a_name_the_only_lesions_of_their_class_are_one():
    coco = study((1, BENIGN, None), (2, BENIGN, None), (1, MALIGNANT, None), (2, MALIGNANT, None))
    assert pairs(coco) == [("alone", (1,), (2,)), ("alone", (3,), (4,))]
    assert pairs(study((1, BENIGN, None), (2, BENIGN, None), (2, BENIGN, None))) == []
    assert pairs(study((1, BENIGN, None), (2, MALIGNANT, None))) == []
    assert pairs(study((1, BENIGN, "a"), (2, BENIGN, "b"))) == []  # two names, two lesions
    assert pairs(study((1, BENIGN, "a"), (2, BENIGN, None))) == [("alone", (1,), (2,))]
    assert pairs(study((1, BENIGN, None), (2, BENIGN, None, {"ignore": 1}))) == []
    assert pairs(study((1, BENIGN, None), (5, BENIGN, None))) == []  # of two patients


def test_rows_by_hand():
    coco = study(
        *[(1, BENIGN, "a"), (2, BENIGN, "a"), (4, BENIGN, "a"), (5, BENIGN, "a")],  # 1 to 4
        *[(7, MALIGNANT, None), (8, MALIGNANT, None), (1, MALIGNANT, "m"), (2, MALIGNANT, "m")],  # 5 to 8
        (3, MALIGNANT, "r"),  # 9
    )
    rows = table(coco, {1, 2, 3, 6, 9})
    every = rows["all"]
    assert (every.lesions, every.by_lesion_id, every.alone) == (4, 3, 1)
    assert (every.both, every.cc_only, every.mlo_only, every.none) == (1, 1, 1, 1)
    assert (every.any_share, every.both_share) == (0.75, 0.25)
    assert (every.unpaired, every.unpaired_found) == (1, 1)
    assert (rows["benign"].lesions, rows["benign"].both, rows["benign"].cc_only) == (2, 1, 1)
    assert (rows["malignant"].mlo_only, rows["malignant"].none) == (1, 1)
    assert "bootstrap" not in every.any_intervals


def test_intervals_are_those_of_patients():
    lesions = [(3 * patient + place, BENIGN, "a") for patient in range(12) for place in (1, 2)]
    coco = study(*lesions, patients=12)
    row = table(coco, {number for number in range(1, 25) if number % 4 in (1, 2)}, 500)["all"]
    assert row.any_share == row.both_share == 0.5
    interval = row.any_intervals["bootstrap"]
    # Six of twelve patients: a binomial share, 0.5 +- 1.96 sqrt(0.25 / 12) = 0.22 to 0.78.
    assert interval.low == pytest.approx(0.22, abs=0.06)
    assert interval.high == pytest.approx(0.78, abs=0.06)


def test_one_view_alone_gives_no_table():
    assert table(study((1, BENIGN, "a"), (3, BENIGN, "a")), {1}) == {}
    assert table(study(), set()) == {}
