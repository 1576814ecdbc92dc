"""One evaluation from end to end on a few images whose numbers are worked out by hand."""

import json
from pathlib import Path

import pytest
from sklearn import metrics

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.truth import image_truth
from mammodet.evaluation.cases import collect_cases
from mammodet.evaluation.protocol import Protocol, statements
from mammodet.evaluation.summary import evaluate, metrics_document

BENIGN, MALIGNANT = 1, 2
PATH = Path("gt.json")


def image(number, breast, label, **more):
    return {
        "id": number,
        "file_name": f"{number}.png",
        "width": 1000,
        "height": 1000,
        "breast_id": breast,
        "label": label,
        **more,
    }


def lesion(number, image_id, category, *bbox, **more):
    return {"id": number, "image_id": image_id, "category_id": category, "bbox": list(bbox), **more}


def box(image_id, category, score, *bbox):
    return {"image_id": image_id, "category_id": category, "score": score, "bbox": list(bbox)}


@pytest.fixture
def screening():
    """Five breasts: malignant (two views), benign, normal, one of unknown truth, and a benign one missed."""
    coco = Coco(
        [
            image(1, "A", "malignant"),
            image(2, "A", "malignant"),
            image(3, "B", "benign"),
            image(4, "C", "normal"),
            image(5, "D", None),
            image(6, "E", None),  # its lesion tells that it is benign
        ],
        [
            lesion(1, 1, MALIGNANT, 100, 100, 100, 100),
            lesion(2, 2, MALIGNANT, 100, 100, 100, 100),
            lesion(3, 3, BENIGN, 100, 100, 100, 100),
            lesion(4, 6, BENIGN, 100, 100, 100, 100),
            lesion(5, 3, MALIGNANT, 700, 700, 100, 100, ignore=1),
            lesion(6, 4, BENIGN, 700, 700, 100, 100, iscrowd=1),
        ],
        PATH,
    )
    results = [
        box(1, MALIGNANT, 0.9, 100, 100, 100, 100),
        box(2, BENIGN, 0.6, 100, 100, 100, 100),  # the lesion of the second view is taken for benign
        box(3, BENIGN, 0.8, 100, 100, 100, 100),
        box(3, MALIGNANT, 0.2, 100, 100, 100, 100),  # below the threshold
        box(4, MALIGNANT, 0.4, 500, 500, 50, 50),  # a false alarm on a normal image
        box(6, BENIGN, 0.7, 900, 900, 50, 50),  # beside the lesion
    ]
    return coco, results


def test_image_table(screening):
    level = evaluate(*screening, Protocol()).levels["image"]
    # truth: 1, 2 malignant; 3, 6 benign; 4 normal; 5 unknown. predicted malignant: 1 and 4.
    assert level.classification.confusion == ((2, 1), (1, 1))
    assert level.classification.accuracy == pytest.approx(3 / 5)
    truth, scores = [1, 1, 0, 0, 0], [0.9, 0.4, 0.2, 0.3, 0.4]
    assert level.roc.auc == pytest.approx(metrics.roc_auc_score(truth, scores)) == pytest.approx(5.5 / 6)
    assert level.without_normals.auc == pytest.approx(1.0)


def test_breast_table(screening):
    evaluation = evaluate(*screening, Protocol())
    level = evaluation.levels["breast"]
    # A: malignant 0.9 against benign 0.4 -> malignant 0.9; B 0.2; C malignant 0.4; D unknown; E 0.3
    assert level.classification.confusion == ((2, 1), (0, 1))
    assert level.roc.auc == pytest.approx(1.0)
    assert {case.breast: case.truth for case in evaluation.cases.breasts} == {
        "A": "malignant",
        "B": "benign",
        "C": "normal",
        "D": None,
        "E": "benign",
    }


def test_lesion_tables_of_both_protocols(screening):
    levels = evaluate(*screening, Protocol()).levels
    published, everything = levels["lesion_published"], levels["lesion_all"]
    assert published.classification.confusion == ((1, 0), (1, 1))
    assert published.classification.accuracy == pytest.approx(2 / 3)
    assert published.roc.auc == pytest.approx(1.0)  # benign 0.2 below malignant 0.4 and 0.9
    assert everything.classification.answers == ("benign", "malignant", "missed")
    assert everything.classification.confusion == ((1, 0, 1), (1, 1, 0))
    assert everything.classification.accuracy == pytest.approx(2 / 4)


def test_what_is_left_out_is_counted(screening):
    counts = evaluate(*screening, Protocol()).counts
    expected = {
        "images": 6,
        "images_malignant": 2,
        "images_benign": 2,
        "images_normal": 1,
        "images_unknown": 1,
        "images_without_prediction": 1,
        "breasts": 5,
        "breasts_unknown": 1,
        "lesions": 4,
        "lesions_malignant": 2,
        "lesions_benign": 2,
        "lesions_ignored": 2,
        "lesions_missed": 1,
        "lesions_missed_benign": 1,
        "predictions": 6,
        "predictions_above_threshold": 5,
        "predictions_suppressed": 0,
    }
    assert {name: counts[name] for name in expected} == expected


def test_the_score_threshold_moves_the_tables_and_not_the_coco_numbers(screening):
    low, high = (evaluate(*screening, Protocol(score_threshold=value)) for value in (0.1, 0.95))
    assert low.coco == high.coco
    # At 0.1 the weak malignant box of image 3 suppresses the benign one.
    assert low.counts["predictions_suppressed"] == 1
    assert low.levels["image"].classification.confusion == ((1, 2), (1, 1))
    assert high.levels["image"].classification.confusion == ((3, 0), (2, 0))
    assert high.levels["lesion_published"].classification.cases == 0


@pytest.mark.parametrize(
    ("label", "lesions", "truth"),
    [
        ("normal", [], "normal"),
        ("benign", [MALIGNANT], "benign"),  # the label comes first
        (None, [BENIGN, MALIGNANT], "malignant"),
        (None, [BENIGN], "benign"),
        (None, [], None),
    ],
)
def test_image_truth(label, lesions, truth):
    annotations = [{"category_id": category} for category in lesions]
    assert image_truth({"label": label}, annotations) == truth
    assert image_truth({"label": None}, [{"category_id": MALIGNANT, "ignore": 1}]) is None


def test_one_class_only_is_said_and_gives_no_auc():
    coco = Coco([image(1, "A", "normal"), image(2, "B", "normal")], [], PATH)
    document = metrics_document(evaluate(coco, [], Protocol()), {})
    assert document["image"]["auc"] is None
    assert "0 positive and 2 negative" in document["image"]["auc_note"]
    assert document["image"]["accuracy"] == 1.0
    assert document["lesion_all"]["cases"] == 0
    assert document["lesion_all"]["accuracy"] is None
    assert document["coco"]["all"]["AP"] is None


def test_other_categories_give_the_coco_numbers_and_the_reason():
    coco = Coco([image(1, "A", None)], [lesion(1, 1, 1, 0, 0, 9, 9)], PATH, [{"id": 1, "name": "mass"}])
    document = metrics_document(evaluate(coco, [box(1, 1, 0.5, 0, 0, 9, 9)], Protocol()), {})
    assert document["coco"]["mass"]["AP"] == pytest.approx(1.0)
    assert "1 mass" in document["reason"]
    assert "image" not in document


def test_the_metrics_document_is_json_and_tells_its_protocol(screening):
    inputs = {"predictions": {"path": "dt.json", "sha256": "0"}}
    document = metrics_document(evaluate(*screening, Protocol()), inputs)
    document = json.loads(json.dumps(document, allow_nan=False))
    assert document["schema"] == "mammodet.metrics/1"
    assert document["protocol"]["score_threshold"] == 0.3
    assert "at least 0.3" in document["protocol"]["rules"]["boxes"]
    assert "perfect negative" in document["protocol"]["rules"]["lesion warning"]
    assert document["inputs"] == inputs
    assert {"mammodet", "pycocotools", "scikit-learn"} <= set(document["versions"])
    assert document["lesion_all"]["confusion"] == {
        "classes": ["benign", "malignant"],
        "answers": ["benign", "malignant", "missed"],
        "counts": [[1, 0, 1], [1, 1, 0]],
    }


def test_lesion_cases_tell_the_box_that_decided(screening):
    cases = {case.annotation_id: case for case in collect_cases(*screening, Protocol()).lesions}
    assert set(cases) == {1, 2, 3, 4}
    assert (cases[2].truth, cases[2].predicted, cases[2].iou) == ("malignant", "benign", 1.0)
    assert (cases[4].predicted, cases[4].score, cases[4].iou) == ("missed", 0.0, 0.0)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(value):
    with pytest.raises(InputError, match=r"score_threshold: must be from 0 to 1"):
        Protocol(score_threshold=value)


def test_the_sentences_name_the_thresholds_in_use():
    rules = statements(Protocol(score_threshold=0.05, suppression_iou=0.7, lesion_iou=0.1))
    assert "0.05" in rules["boxes"]
    assert "0.7" in rules["boxes"]
    assert "0.1" in rules["lesion"]
