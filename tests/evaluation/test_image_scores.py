"""Scores of images: how a table of them is read, and that they are judged by the code of the boxes."""

import csv
import io
import json
import math
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.image_scores import ImageScores
from mammodet.evaluation.metrics_schema import metrics_schema
from mammodet.evaluation.model_comparison import compare_models
from mammodet.evaluation.overview import overview
from mammodet.evaluation.predictions import PredictionError, read_predictions
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.report import render, write_report
from mammodet.evaluation.report_gallery import Gallery
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import Options, evaluate, metrics_document
from mammodet.evaluation.tables import csv_tables

INPUTS = {name: {"path": f"{name}.json", "sha256": "0" * 64} for name in ("ground_truth", "predictions")}
OBEYED = jsonschema.Draft202012Validator(metrics_schema())
LABELS = ("malignant", "malignant", "benign", "normal", "benign", "normal", "malignant", None)


def image(number, label, patient=None, view="CC"):
    return {
        "id": number,
        "file_name": f"set/p{number}.png",
        "width": 500,
        "height": 400,
        "patient_id": str((number + 1) // 2) if patient is None else patient,
        "laterality": "L",
        "view": view,
        "label": label,
    }


def truth(labels=LABELS, lesions=(), **changes):
    """A breast of two views for every two labels."""
    images = [image(n, label, view=("MLO", "CC")[n % 2]) for n, label in enumerate(labels, start=1)]
    return Coco(images, list(lesions), Path("gt.json"), **changes)


def evaluated(coco, scores, resamples=20, **protocol):
    found = ImageScores({one["id"]: score for one, score in zip(coco.images, scores, strict=True)})
    return evaluate(coco, found, Protocol(**protocol), Options(Bootstrap(resamples)))


def document(*arguments, **options):
    found = json.loads(
        json.dumps(metrics_document(evaluated(*arguments, **options), INPUTS), allow_nan=False)
    )
    OBEYED.validate(found)
    return found


# --- reading ---


def read(tmp_path, text, coco=None, **options):
    (tmp_path / "scores.csv").write_text(text)
    told = []
    found = read_predictions(tmp_path / "scores.csv", coco or truth(LABELS[:2]), tell=told.append, **options)
    return found, [(one.severity, one.text.removeprefix(f"{tmp_path}/")) for one in told]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("image_id,score\n1,0.9\n2,0.2\n", {}),
        ("image_id,score\n2,0.2\n1.0,0.9\n", {}),
        (
            "file_name,score,width,height,truth,boxes\np1.png,0.9,500,400,malignant,0\np2.png,0.2,9,9,x,0\n",
            {},
        ),
        ("Probability;File Name\n0,9;set/p1.png\n0,2;P2.PNG\n", {}),
        ("fn\tp\nset\\p1\t0.9\nset\\p2\t0.2\n", {"columns": {"image": "fn", "score": "p"}}),
        ("image,score\n1,90\n2,20\n", {"scores": "percent"}),
        (f"image,score\n1,{math.log(9)}\n2,{-math.log(4)}\n", {"scores": "logit"}),
        ("PatientID,View,score\n1,LCC,0.9\n1,LMLO,0.2\n", {}),
        ("image,score\n1,0.9\n2,0.2\n", {"categories": {"malignant": 1}, "boxes": "xyxy"}),  # of boxes
    ],
)
def test_a_table_without_boxes_holds_scores_of_images(tmp_path, text, options):
    found, told = read(tmp_path, text, **options)
    assert isinstance(found, ImageScores)
    assert found.of_image == {1: pytest.approx(0.9), 2: pytest.approx(0.2)}
    (notice,) = told
    assert notice[0] == "note"
    assert notice[1].startswith("scores.csv: scores of 2 of 2 images, no boxes; read from columns ")


def test_a_column_of_classes_is_not_taken_for_what_the_score_is_of(tmp_path):
    found, told = read(tmp_path, "image,class,score\n1,benign,0.9\n2,benign,0.2\n")
    assert found.of_image == {1: 0.9, 2: 0.2}
    assert told[1] == (
        "warning",
        "column class is not read: every score is taken as that of malignant",
    )


MISSING = (
    "scores.csv: has no score for 1 of the 2 images of gt.json (found 'set/p2.png'); every image needs one; "
    "leave images out of the ground truth that are not judged"
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("image,score\n1,0.9\n", MISSING),
        ("image,score\n", "has no score for 2 of the 2 images of gt.json (found 'set/p1.png')"),
        (
            "image,score\n1,0.9\n2,0.2\n1,0.9\n",
            "line 4, column image: has a score already (found '1'); give one",
        ),
        (
            "image,score\n1,0.9\n1,0.8\n1,0.9\n2,1\n",
            "line 3, column image: has a score already, as in 1 more",
        ),
        ("image,score\n1,0.9\n2,0.2\n7,0.5\n", "line 4, column image: no such image (found '7')"),
        ("image,score\n1,0.9\n2,\n", "line 3, column score: must be a number from 0 to 1 (found '')"),
        (
            "image,score\n1,0.9\n2,nan\n",
            "must be a number from 0 to 1 (found 'nan'); a score is the probability",
        ),
        ("image,score\n1,90\n2,20\n", "these look like percentages: --scores percent divides them by 100"),
        ("image,score\n1,-3\n2,2\n", "these look like logits: --scores logit takes the sigmoid of each"),
        ("image,score\n1,0.9\n2", "line 3: ends after 1 of 2 cells"),
        ("name,score\n1,0.9\n", "has no column for image"),
        ("image,x1,score\n1,5,0.9\n2,5,0.2\n", "has no column for x1 y1 x2 y2"),
    ],
)
def test_faults_are_told_with_their_place(tmp_path, text, problem):
    with pytest.raises(InputError, match=re.escape(problem)):
        read(tmp_path, text)


def test_all_kinds_of_faults_are_told_together(tmp_path):
    with pytest.raises(PredictionError) as raised:
        read(tmp_path, "image,score\n1,2\n1,0.5\n1,0.5\n")
    told = [(one.problem.partition(" for ")[0], one.count) for one in raised.value.faults]
    assert told == [("must be a number from 0 to 1", 1), ("has a score already", 2), ("has no score", 1)]


# --- numbers ---


def test_golden_numbers_of_images_and_breasts():
    scores = [0.9, 0.6, 0.8, 0.3, 0.2, 0.1, 0.4, 0.7]
    found = evaluated(truth(), scores)
    known = [(label == "malignant", score) for label, score in zip(LABELS, scores, strict=True) if label]
    golden = roc_auc_score(*zip(*known, strict=True))
    assert found.levels["image"].roc.auc == pytest.approx(golden, abs=1e-15)
    # By hand: 0.9 of two malignant views, 0.8 above 0.5 of two that differ, 0.1 of two that are not, 0.7.
    breasts = [(case.truth, case.predicted, case.score) for case in found.cases.breasts]
    assert breasts == [
        ("malignant", "malignant", 0.9),
        ("benign", "malignant", 0.8),
        ("benign", "not malignant", 0.1),
        ("malignant", "malignant", 0.7),
    ]
    golden = roc_auc_score([True, False, False, True], [0.9, 0.8, 0.1, 0.7])
    assert found.levels["breast"].roc.auc == pytest.approx(golden, abs=1e-15) == 0.75
    assert found.levels["image"].classification.confusion == ((3, 1), (1, 2))


def test_an_image_is_malignant_from_the_threshold_on():
    scores = [0.5, 0.49, 0.3, 0.1]
    usual, low = (evaluated(truth(LABELS[:4]), scores, **one) for one in ({}, {"image_threshold": 0.3}))
    called = [[case.predicted == "malignant" for case in one.cases.images] for one in (usual, low)]
    assert called == [[True, False, False, False], [True, True, True, False]]
    assert usual.levels["image"].roc.auc == low.levels["image"].roc.auc
    boxes = evaluated(truth(LABELS[:4]), scores, score_threshold=0.3)  # of boxes, which there are none of
    assert [case.predicted for case in boxes.cases.images] == [case.predicted for case in usual.cases.images]
    rules = metrics_document(low, INPUTS)["protocol"]["rules"]
    assert "with a score of at least 0.3, and" in rules["scores of images"]
    assert set(rules) == {"scores of images", "breast", "truth", "subgroups of images"}


def test_subgroups_hold_the_numbers_of_their_images():
    labels = ("malignant", "normal", "malignant", "benign")
    coco = truth(labels)
    rows = {(row.group, row.value): row for row in evaluated(coco, [0.9, 0.2, 0.4, 0.6]).image_subgroups}
    assert set(rows) == {("view", "CC"), ("view", "MLO")}  # no image tells density and manufacturer
    assert rows["view", "CC"].note == "needs both classes, there are 2 positive and 0 negative cases"
    assert rows["view", "CC"].numbers == {"AUC": None, "sensitivity": 0.5, "specificity": None}
    assert rows["view", "MLO"].numbers == {"AUC": None, "sensitivity": None, "specificity": 0.5}
    assert rows["view", "CC"].images == rows["view", "CC"].patients == 2


LESION = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 10, 80, 80], "iscrowd": 0}
STUDIES = {
    "as it should be": (truth(), [0.9, 0.6, 0.8, 0.3, 0.2, 0.1, 0.4, 0.7]),
    "lesions without labels": (truth((None, None), [LESION]), [0.9, 0.1]),
    "all malignant": (truth(["malignant"] * 4), [0.9, 0.1, 0.5, 0.2]),
    "all normal": (truth(["normal"] * 4), [0.9, 0.1, 0.5, 0.2]),
    "unknown labels": (truth([None] * 4), [0.9, 0.1, 0.5, 0.2]),
    "one patient": (truth(LABELS[1:3]), [0.9, 0.1]),
    "one image": (truth(LABELS[:1]), [0.9]),
    "all scores alike": (truth(), [0.5] * 8),
    "all scores 0": (truth(), [0.0] * 8),
    "all scores 1": (truth(), [1.0] * 8),
}


@pytest.mark.parametrize("resamples", [0, 1, 20])
@pytest.mark.parametrize("name", STUDIES)
def test_every_number_makes_sense_or_has_a_reason(name, resamples):
    found = document(*STUDIES[name], resamples=resamples)
    assert found["coco"] == found["coco_intervals"] == {}
    assert found["froc"]["rows"] == found["subgroups"] == found["coco_thresholds"] == []
    assert "without boxes" in found["without_boxes"]
    assert not {"errors", "lesion_all", "lesion_published", "reason", "detection_at_threshold"} & set(found)
    for level in (found[one] for one in ("image", "breast", "patient")):
        assert (level["auc"] is None) == bool(level["auc_note"])
        assert (level["cases"] == 0) == (level["brier"] is None) == (level["accuracy"] is None)
    for row in found["image_subgroups"]:
        assert (row["numbers"]["AUC"] is None) == bool(row["note"])
    assert {(row["level"], row["rule"]) for row in found["fusion_rules"]} == {
        *(
            (level, rule)
            for level in ("breast", "patient")
            for rule in ("published", "max", "mean", "noisy-or")
        ),
        ("image", "published"),
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda found: found.pop("without_boxes"),
        lambda found: found.pop("patient"),
        lambda found: found.update(lesion_all=found["image"]),
        lambda found: found.update(coco={"all": {}}),
        lambda found: found.update(reason="another one"),
        lambda found: found["image_subgroups"][0].update(lesions=3),
    ],
)
def test_a_document_that_pretends_to_have_boxes_is_against_the_schema(damage):
    found = document(*STUDIES["as it should be"], resamples=0)
    damage(found)
    assert not OBEYED.is_valid(found)


@pytest.mark.parametrize("name", STUDIES)
def test_every_table_and_page_can_be_read(name):
    evaluation = evaluated(*STUDIES[name])
    texts = csv_tables(evaluation)
    assert not {"coco.csv", "froc.csv", "lesion.csv", "lesions.csv", "errors.csv", "subgroups.csv"} & set(
        texts
    )
    page = re.sub(r"<(style|script)[^>]*>.*?</\1>", "", render(evaluation, INPUTS, {}), flags=re.DOTALL)
    for file, text in (texts | {"page": page, "terminal": "\n".join(overview(evaluation))}).items():
        shown = text.replace(",inf\n", ",\n") if file == "roc.csv" else text
        assert not re.search(r"\b(nan|inf|None)\b|(?<![\w.-])-1(\.0+)?(?![\w.])", shown), file
    for file, text in texts.items():
        rows = list(csv.reader(io.StringIO(text)))
        assert {len(row) for row in rows} == {len(rows[0])}, file
    assert "boxes" not in texts["images.csv"].splitlines()[0].split(",")


def test_what_is_written(tmp_path):
    coco, scores = STUDIES["as it should be"]
    found = ImageScores({one["id"]: score for one, score in zip(coco.images, scores, strict=True)})
    evaluation = evaluate(coco, found, Protocol(), Options(Bootstrap(20)))
    write_report(evaluation, tmp_path, INPUTS, Gallery(coco, found, pictures="none"))
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"roc.png", "confusion.png", "reliability.png"}
    OBEYED.validate(json.loads((tmp_path / "metrics.json").read_text()))
    table = (tmp_path / "table2.tex").read_text()
    assert "Image level, 7 images" in table and "Breast level, 4 breasts" in table
    assert "An image with a score of at least 0.5 is called malignant." in table and "esion" not in table
    page = (tmp_path / "report.html").read_text()
    for absent in ("FROC)</h2>", "COCO)</h2>", "predicted boxes", "COCO AP"):
        assert absent not in page
    assert page.count("<figure") == 3


def test_other_categories_have_no_truth():
    coco = truth(LABELS[:2], categories=[{"id": 1, "name": "mass"}])
    with pytest.raises(InputError, match=r"categories: scores of images are judged by what is malignant"):
        evaluated(coco, [0.9, 0.1])


# --- properties ---

unit = st.floats(0, 1, allow_nan=False, width=32)
cases = st.lists(
    st.tuples(st.sampled_from(["malignant", "benign", "normal", None]), unit), min_size=1, max_size=12
)
quick = settings(max_examples=15, deadline=None)


def numbers_of(found):
    """The numbers of a document that no name of an image can change."""
    return {name: found[name] for name in ("image", "breast", "patient", "fusion_rules", "counts")}


@quick
@given(cases, st.randoms(use_true_random=False))
def test_neither_order_nor_names_of_images_change_a_number(drawn, random):
    coco = truth([label for label, _ in drawn])
    first = document(coco, [score for _, score in drawn], resamples=5)
    order = list(range(len(drawn)))
    random.shuffle(order)
    images = [{**coco.images[place], "id": 100 - place, "file_name": f"x{place}.dcm"} for place in order]
    renamed = Coco(images, [], Path("other.json"))
    second = document(renamed, [drawn[place][1] for place in order], resamples=5)
    assert_same(numbers_of(first), numbers_of(second))


def assert_same(one, other):
    """Equal up to the order in which numbers are added up."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_same(first, second)
    else:
        assert one == (pytest.approx(other, abs=1e-12) if isinstance(other, float) else other)


box = st.tuples(st.sampled_from([1, 2]), st.floats(0.51, 1), st.integers(0, 4))
views = st.lists(
    st.tuples(st.sampled_from(["malignant", "benign", "normal"]), st.lists(box, max_size=3)),
    min_size=2,
    max_size=8,
)


@quick
@given(views)
def test_a_detectors_own_image_scores_give_the_detectors_numbers(drawn):
    """With all scores above 0.5 the verdicts agree: a malignant box gives more than 0.5, a benign one less."""
    coco = truth([label for label, _ in drawn])
    results = [
        {"image_id": number, "category_id": category, "bbox": [90 * place, 10, 60, 60], "score": score}
        for number, (_, boxes) in enumerate(drawn, start=1)
        for category, score, place in boxes
    ]
    options = Options(Bootstrap(5), error_images=0)
    detector = evaluate(coco, results, Protocol(), options)
    classifier = evaluated(coco, [case.score for case in detector.cases.images], resamples=5)
    for level in ("image", "breast", "patient"):
        one, other = detector.levels[level], classifier.levels[level]
        assert one.roc.auc == other.roc.auc
        assert one.classification == other.classification
        assert one.intervals == other.intervals
    scores = ImageScores({case.image_id: case.score for case in detector.cases.images})
    for rows in (
        compare_models(coco, results, scores, classifier),
        compare_models(coco, scores, results, detector),
    ):
        assert {row.level for row in rows} == {"image", "breast", "patient"}
        assert {row.found.difference for row in rows} <= {0, None}


@quick
@given(cases)
def test_the_auc_is_that_of_the_same_scores_as_boxes_when_no_verdict_differs(drawn):
    """One malignant box per image with the score of the image, counted at any score, is the same model."""
    coco = truth([label for label, _ in drawn])
    results = [
        {"image_id": number, "category_id": 2, "bbox": [10, 10, 60, 60], "score": score}
        for number, (_, score) in enumerate(drawn, start=1)
    ]
    detector = evaluate(coco, results, Protocol(score_threshold=0.0), Options(Bootstrap(0)))
    classifier = evaluated(coco, [score for _, score in drawn], resamples=0, image_threshold=0.0)
    for level in ("image", "breast", "patient"):
        assert detector.levels[level].roc.auc == classifier.levels[level].roc.auc
        assert detector.levels[level].classification == classifier.levels[level].classification
