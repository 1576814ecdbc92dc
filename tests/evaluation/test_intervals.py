"""Evaluations with intervals from end to end: what does not change, and input with little in it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.fusion import patients_of_images
from mammodet.evaluation.fusion_rules import LogisticRule
from mammodet.evaluation.fusion_table import fit_on
from mammodet.evaluation.operating_points import PointRule
from mammodet.evaluation.overview import overview
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.report import render
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import Options, evaluate, metrics_document
from mammodet.evaluation.tables import csv_tables

LEVELS = ("image", "breast", "patient", "lesion_published", "lesion_all")
ENDS = ("low", "high")
NUMBERS = ("accuracy", "auc", "auc_malignant_vs_benign", "brier", "ece", "cases", "positives")


def screening(seed=0, patients=14, known=True):
    """Patients with two breasts of two views; a detector that is often right. No two scores are equal."""
    rng = np.random.default_rng(seed)
    images, lesions, results = [], [], []
    for patient in range(patients):
        for side in "LR":
            truth = rng.choice(["normal", "benign", "malignant"])
            for view in ("CC", "MLO"):
                number = len(images) + 1
                image = {"id": number, "file_name": f"{number}.png", "width": 1000, "height": 1000}
                image |= {"label": str(truth)}
                if known:
                    image |= {"patient_id": f"p{patient}", "laterality": side, "view": view}
                images.append(image)
                boxes = [([*rng.uniform(0, 800, 2), 90.0, 80.0], int(rng.integers(1, 3)))]
                if truth != "normal":
                    category = 2 if truth == "malignant" else 1
                    bbox = [*rng.uniform(0, 800, 2), 100.0, 100.0]
                    lesions.append(
                        {"id": len(lesions) + 1, "image_id": number, "category_id": category, "bbox": bbox}
                    )
                    moved = [bbox[0] + rng.normal(0, 20), *bbox[1:]]
                    boxes += [(moved, category if rng.random() < 0.7 else 3 - category)] * 2
                results += [
                    {"image_id": number, "category_id": category, "bbox": list(map(float, bbox))}
                    for bbox, category in boxes
                ]
    for one, score in zip(results, rng.permutation(len(results)) + 1, strict=True):
        one["score"] = float(score) / (len(results) + 1)
    return Coco(images, lesions, Path("gt.json")), results


def document(coco, results, resamples=50, **options):
    evaluation = evaluate(coco, results, Protocol(), Options(Bootstrap(resamples), **options))
    text = json.dumps(metrics_document(evaluation, {}), allow_nan=False)
    overview(evaluation), csv_tables(evaluation)
    render(evaluation, {name: {"path": "x", "sha256": "0"} for name in ("ground_truth", "predictions")}, {})
    found = json.loads(text)
    shown = [value for numbers in found["coco"].values() for value in numbers.values()]
    shown += [
        one[end] for kinds in found["coco_intervals"].values() for one in kinds.values() for end in ENDS
    ]
    assert all(value is None or 0 <= value <= 1 for value in shown)
    return found


def points(found):
    """Return all point estimates that do not count cases."""
    numbers = {("coco", *key): found["coco"][key[0]][key[1]] for key in keys(found["coco"])}
    for level in LEVELS:
        numbers |= {(level, name): found[level][name] for name in NUMBERS[:5]}
        for point in found[level]["operating_points"]:
            for name, one in point["numbers"].items():
                numbers[level, point["name"], name] = one["value"]
    for row in found["fusion_rules"]:
        numbers[row["level"], row["rule"]] = row["auc"]
    return numbers


def keys(table):
    return [(one, number) for one, numbers in table.items() for number in numbers]


def again(coco, results, shift, patient=str):
    """Return the data with other ids and names of patients."""
    images = [
        {**image, "id": image["id"] + shift, "patient_id": patient(image["patient_id"])}
        for image in coco.images
    ]
    lesions = [
        {**one, "id": one["id"] + shift, "image_id": one["image_id"] + shift} for one in coco.annotations
    ]
    return images, lesions, [{**one, "image_id": one["image_id"] + shift} for one in results]


@pytest.mark.parametrize("seed", [0, 1])
def test_every_patient_twice_leaves_the_numbers_and_narrows_the_intervals(seed):
    coco, results = screening(seed)
    images, lesions, boxes = again(coco, results, 1000, "again {}".format)
    twice = replace(coco, images=coco.images + images, annotations=coco.annotations + lesions)
    one, other = document(coco, results, 200), document(twice, results + boxes, 200)
    assert points(other) == pytest.approx(points(one), abs=1e-9, nan_ok=True)
    width = [
        found["image"]["intervals"]["auc"]["bootstrap"]["high"]
        - found["image"]["intervals"]["auc"]["bootstrap"]["low"]
        for found in (one, other)
    ]
    assert width[1] < 0.9 * width[0]


def test_order_and_ids_do_not_matter():
    coco, results = screening(2)
    images, lesions, boxes = again(coco, results, 500)
    rng = np.random.default_rng(0)
    shuffled = [[part[place] for place in rng.permutation(len(part))] for part in (images, lesions, boxes)]
    other = replace(coco, images=shuffled[0], annotations=shuffled[1])
    assert points(document(other, shuffled[2], 0)) == pytest.approx(
        points(document(coco, results, 0)), abs=1e-9
    )


def test_every_interval_belongs_to_its_number():
    found = document(*screening(3), resamples=300)
    for level in LEVELS:
        for name in ("auc", "brier", "accuracy"):
            one = found[level]["intervals"][name]["bootstrap"]
            assert one["low"] <= found[level][name] <= one["high"], (level, name)
            assert set(one) == {"low", "high", "method", "resamples", "undefined", "reason"}
        assert set(found[level]["intervals"]["auc"]) == {"bootstrap", "delong", "obuchowski", "newcombe"}
        for numbers in found[level]["per_class"].values():
            assert set(numbers["intervals"]["sensitivity"]) == {"bootstrap", "wilson", "wald"}
    for one, number in keys(found["coco"]):
        interval = found["coco_intervals"][one][number]
        if found["coco"][one][number] is None:
            assert interval["reason"] == "undefined in every resample"
        else:
            assert interval["low"] - 0.1 <= found["coco"][one][number] <= interval["high"] + 0.1


def test_the_seed_repeats_the_intervals_and_no_resamples_leave_them_out():
    data = screening(4)
    first, same = document(*data), document(*data)
    assert first == same
    none = document(*data, resamples=0)
    assert none["coco_intervals"] == {}
    assert set(none["image"]["intervals"]["auc"]) == {"delong", "obuchowski", "newcombe"}
    assert points(none) == pytest.approx(points(first))


def test_the_patient_has_the_worse_breast():
    coco, results = screening(5)
    cases = evaluate(coco, results, Protocol(), Options(Bootstrap(0))).cases
    for patient in cases.patients:
        breasts = [one for one in cases.breasts if one.patient_id == patient.patient]
        assert patient.score == max(one.score for one in breasts)
        assert (patient.breasts, patient.views) == (2, 4)
        assert (patient.truth == "malignant") == any(one.truth == "malignant" for one in breasts)


def test_a_breast_is_never_shared_out_among_patients():
    images = [
        {"id": 1, "breast_id": "A", "patient_id": None},
        {"id": 2, "breast_id": "A", "patient_id": "p"},
        {"id": 3, "patient_id": "p"},
        {"id": 4},
        {"id": 5},
    ]
    patients = patients_of_images(Coco(images, [], Path("gt.json")))
    assert patients[1] == patients[2] == patients[3] == "p"
    assert len({patients[3], patients[4], patients[5]}) == 3
    assert patients_of_images(Coco(images[::-1], [], Path("gt.json"))) == patients


@pytest.mark.parametrize(
    "images",
    [
        [{"id": 1, "breast_id": "L", "patient_id": "p"}, {"id": 2, "breast_id": "L", "patient_id": "q"}],
        [  # both are 1_2_L
            {"id": 1, "patient_id": "1", "study_id": "2", "laterality": "L"},
            {"id": 2, "patient_id": "1_2", "laterality": "L"},
        ],
    ],
)
def test_a_breast_of_two_patients_is_refused(images):
    with pytest.raises(InputError, match=r"gt.json: images\[id=2\].breast_id: belongs to two patients"):
        patients_of_images(Coco(images, [], Path("gt.json")))


def test_every_fusion_rule_is_there_and_the_fitted_one_when_it_is_given():
    coco, results = screening(6, patients=30)
    evaluation = evaluate(coco, results, Protocol(), Options(Bootstrap(0)))
    rows = {row.rule: row for row in evaluation.fusion if row.level == "breast"}
    assert list(rows) == ["published", "max", "mean", "noisy-or", "logistic"]
    assert rows["published"].auc == evaluation.levels["breast"].roc.auc
    assert rows["logistic"].auc is None and "--fit-fusion" in rows["logistic"].note
    fitted = fit_on(coco, results, evaluation.cases, "val.json")
    assert isinstance(fitted, LogisticRule)
    found = document(coco, results, fitted=fitted)["fusion_rules"]
    logistic = [row for row in found if row["rule"] == "logistic"]
    assert {row["level"] for row in logistic} == {"breast", "patient"}
    assert all(0.5 < row["auc"] <= 1 for row in logistic)


def truncated(coco, results, wanted):
    images = [image for image in coco.images if wanted(image)]
    ids = {image["id"] for image in images}
    annotations = [one for one in coco.annotations if one["image_id"] in ids]
    return replace(coco, images=images, annotations=annotations), [
        one for one in results if one["image_id"] in ids
    ]


def test_little_input_gives_reasons_and_never_nan():
    coco, results = screening(7)
    nothing = document(coco, [])
    assert nothing["image"]["auc"] == 0.5
    assert nothing["coco"]["all"]["AP"] == 0
    normal = document(*truncated(coco, results, lambda image: image["label"] == "normal"))
    assert normal["image"]["auc"] is None
    assert "undefined" in normal["image"]["intervals"]["auc"]["bootstrap"]["reason"]
    assert "needs two cases of each class" in normal["image"]["intervals"]["auc"]["delong"]["reason"]
    assert "needs both classes" in normal["image"]["operating_points"][0]["reason"]
    document(*truncated(coco, results, lambda image: image["label"] == "malignant"))
    one = document(*truncated(coco, results, lambda image: image["patient_id"] == "p1"))
    assert one["coco_intervals"]["all"]["AP"]["reason"] == "needs two patients or more, there is one"
    assert one["image"]["intervals"]["accuracy"]["wilson"]["low"] is not None
    equal = document(coco, [{**box, "score": 0.5} for box in results])
    assert equal["breast"]["auc"] is not None
    document(replace(coco, images=coco.images[:1], annotations=[]), [])


def test_images_without_patient_or_breast_stand_alone():
    found = document(*screening(8, patients=5, known=False))
    assert found["counts"]["patients"] == found["counts"]["images"] == found["patient"]["cases"] == 20
    assert found["counts"]["images_without_patient"] == 20


def test_a_resample_with_one_class_is_counted():
    coco, results = screening(9, patients=6)
    rare = [{**one, "label": "malignant" if one["patient_id"] == "p0" else "benign"} for one in coco.images]
    found = document(replace(coco, images=rare), results, 400)["patient"]["intervals"]["auc"]["bootstrap"]
    assert found["undefined"] / 400 == pytest.approx((5 / 6) ** 6, abs=0.08)  # p0 is not drawn
    assert found["low"] is not None


def test_the_points_asked_for():
    rules = (PointRule("threshold", 0.25), PointRule("sensitivity", 0.5))
    found = document(*screening(10), points=rules)["image"]["operating_points"]
    assert [point["name"] for point in found] == ["threshold 0.25", "sensitivity 0.5"]
    assert found[0]["threshold"] == 0.25
    assert found[1]["numbers"]["sensitivity"]["value"] >= 0.5
