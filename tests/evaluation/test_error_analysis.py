"""What each box is, and what each kind of error costs: cases by hand, the definition, and pycocotools."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco, counts, read_coco, read_results, to_xyxy
from mammodet.datasets.errors import InputError
from mammodet.evaluation.detection_metrics import coco_metrics
from mammodet.evaluation.error_analysis import ALL_KINDS, ErrorRules, analyse_errors
from mammodet.evaluation.error_costs import average_precisions, missed_lesions
from mammodet.evaluation.error_matching import (
    BACKGROUND,
    BEYOND,
    BOTH,
    DUPLICATE,
    KIND_NAMES,
    MISSED,
    NEUTRAL,
    POOR_BOX,
    RIGHT,
    WRONG_CLASS,
    box_kinds,
)
from mammodet.evaluation.matching import iou_matrix
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.resampling import PatientResamples
from mammodet.evaluation.summary import evaluate, metrics_document
from mammodet.evaluation.tables import csv_tables

BENIGN, MALIGNANT = 1, 2
NAMES = {BENIGN: "benign", MALIGNANT: "malignant"}


def image(number, **more):
    return {"id": number, "file_name": f"{number}.png", "width": 2000, "height": 2000, **more}


def lesion(number, category, x, **more):
    """A square of 100 px; one that is moved by d px overlaps it by IoU (100 - d) / (100 + d)."""
    return {"id": number, "image_id": 1, "category_id": category, "bbox": [x, 0, 100, 100], **more}


def box(category, score, x, **more):
    return {"image_id": 1, "category_id": category, "score": score, "bbox": [x, 0, 100, 100], **more}


def case(lesions, categories=None):
    more = {} if categories is None else {"categories": categories}
    return Coco([image(1)], lesions, Path("gt.json"), **more)


def analysed(coco, results, threshold=0.3, names=NAMES):
    resamples = PatientResamples([str(one["id"]) for one in coco.images], 0)
    return analyse_errors(coco, results, ErrorRules(threshold), names, resamples)


def costs(analysis, category="all"):
    return {row.kind: row.dap for row in analysis.of(category)}


def test_the_kind_of_every_box():
    coco = case([lesion(1, MALIGNANT, 0), lesion(2, BENIGN, 500), lesion(3, MALIGNANT, 1000, ignore=1)])
    results = [
        box(MALIGNANT, 0.9, 20),  # IoU 2/3
        box(MALIGNANT, 0.8, 0),  # the lesion is found already
        box(BENIGN, 0.7, 10),
        box(BENIGN, 0.6, 550),  # IoU 1/3
        box(MALIGNANT, 0.5, 550),
        box(MALIGNANT, 0.4, 590),  # IoU 1/19
        box(MALIGNANT, 0.3, 1500),
        box(BENIGN, 0.9, 1000),  # an ignored lesion has no class
        box(BENIGN, 0.8, 1000),  # and may be found once by each class
    ]
    found = box_kinds(coco, results)
    kinds = [RIGHT, DUPLICATE, WRONG_CLASS, POOR_BOX, BOTH, BACKGROUND, BACKGROUND, NEUTRAL, DUPLICATE]
    assert found.kind.tolist() == kinds
    assert found.lesion.tolist() == [0, 0, 0, 1, 1, 1, -1, 2, 2]
    assert found.iou.tolist() == pytest.approx([2 / 3, 1, 9 / 11, 1 / 3, 1 / 3, 1 / 19, 0, 1, 1])
    assert found.found().tolist() == [0]
    assert missed_lesions(found).tolist() == []  # the benign one has a poor box
    assert missed_lesions(found, 0.65).tolist() == [1]


def test_more_overlap_comes_first():
    coco = case([lesion(1, MALIGNANT, 0), lesion(2, BENIGN, 60)])
    # IoU 1 with the benign lesion, 1/4 with the malignant one
    assert box_kinds(coco, [box(MALIGNANT, 0.9, 60)]).kind.tolist() == [WRONG_CLASS]


def test_costs_of_boxes_of_one_class_by_hand():
    coco = case([lesion(1, MALIGNANT, 0), lesion(2, MALIGNANT, 300)])
    results = [
        box(MALIGNANT, 0.9, 1500),  # background
        box(MALIGNANT, 0.8, 0),  # right
        box(MALIGNANT, 0.7, 350),  # poor box
        box(MALIGNANT, 0.6, 0),  # duplicate
    ]
    analysis = analysed(coco, results)
    half = 51 / 101  # recall points up to one of two lesions
    base = 0.5 * half  # wrong, right
    assert analysis.ap == {"all": pytest.approx(base), "benign": None, "malignant": pytest.approx(base)}
    assert costs(analysis) == {
        "wrong class": 0,
        "poor box": pytest.approx(2 / 3 - base),  # wrong, right, right: 2/3 at every recall
        "both": 0,
        "duplicate": 0,  # comes after the last lesion found
        "background": pytest.approx(half - base),
        "missed": 0,
        "all false positives": pytest.approx(half - base),
        "all false negatives": pytest.approx(0.5 - base),  # wrong, right, of one lesion
    }
    assert costs(analysis, "benign") == dict.fromkeys(ALL_KINDS)


def test_costs_of_a_wrong_class_and_of_a_missed_lesion_by_hand():
    coco = case([lesion(1, MALIGNANT, 0), lesion(2, BENIGN, 300), lesion(3, MALIGNANT, 600)])
    results = [box(BENIGN, 0.9, 0), box(BENIGN, 0.8, 300)]
    analysis = analysed(coco, results)
    assert analysis.ap == pytest.approx({"all": 0.25, "benign": 0.5, "malignant": 0})
    found = costs(analysis)
    assert found["wrong class"] == pytest.approx((1 + 51 / 101) / 2 - 0.25)
    assert found["missed"] == 0  # one malignant lesion is left, and not found
    assert found["all false negatives"] == pytest.approx((0.5 + 1) / 2 - 0.25)  # no malignant one is left
    kinds = [(one.error, one.kind, one.lesion, one.score) for one in analysis.cases]
    assert kinds == [
        ("false negative", "wrong class", 1, 0.9),
        ("false positive", "wrong class", 1, 0.9),
        ("false negative", "missed", 3, None),
    ]


def test_only_the_best_of_several_wrong_boxes_is_put_right_and_none_on_a_found_lesion():
    coco = case([lesion(1, MALIGNANT, 0), lesion(2, MALIGNANT, 300)])
    results = [
        box(MALIGNANT, 0.5, 0),
        box(MALIGNANT, 0.9, 50),  # poor, of the lesion found
        box(MALIGNANT, 0.8, 350),  # poor, the best of the other lesion
        box(MALIGNANT, 0.7, 360),
    ]
    analysis = analysed(coco, results)
    # Two right boxes are left.
    assert analysis.ap["all"] + costs(analysis)["poor box"] == pytest.approx(1)


def test_cases_are_those_at_the_threshold_and_costs_over_all_boxes():
    coco = case([lesion(1, MALIGNANT, 0), lesion(2, MALIGNANT, 300)])
    results = [box(MALIGNANT, 0.2, 0), box(MALIGNANT, 0.1, 310), box(BENIGN, 0.3, 900)]
    analysis = analysed(coco, results)
    assert [(one.error, one.kind) for one in analysis.cases] == [
        ("false positive", "background"),
        ("false negative", "missed"),
        ("false negative", "missed"),
    ]
    rows = {row.kind: row for row in analysis.of()}
    assert (rows["missed"].false_negatives, rows["missed"].lesions) == (2, 0)
    assert analysis.found == 0
    assert analysis.ap["malignant"] == pytest.approx(1)


def test_boxes_past_the_hundred_best_do_not_count():
    coco = case([lesion(1, MALIGNANT, 0)])
    results = [box(MALIGNANT, 0.9 - number / 1000, 1500) for number in range(100)]
    results += [box(MALIGNANT, 0.4, 0), box(BENIGN, 0.4, 0)]
    assert box_kinds(coco, results).kind.tolist() == [BACKGROUND] * 100 + [BEYOND, WRONG_CLASS]
    analysis = analysed(coco, results)
    assert analysis.ap["all"] == coco_metrics(coco, results)["all"]["AP50"] == 0
    assert len(analysis.cases) == 102  # with the lesion


@pytest.mark.parametrize("lesions", [[], [lesion(1, BENIGN, 0, ignore=1)]])
def test_nothing_to_find(lesions):
    analysis = analysed(case(lesions), [box(MALIGNANT, 0.9, 500)])
    assert analysis.ap == {"all": None, "benign": None, "malignant": None}
    assert set(costs(analysis).values()) == {None}
    assert [one.kind for one in analysis.cases] == ["background"]


def test_no_predictions_and_everything_missed():
    analysis = analysed(case([lesion(1, BENIGN, 0), lesion(2, MALIGNANT, 0)]), [])
    assert analysis.ap["all"] == 0
    assert costs(analysis)["missed"] == 1
    assert {one.kind for one in analysis.cases} == {MISSED}
    assert (analysis.found, analysis.lesions) == (0, 2)


def study(seed, images=8):
    """Random lesions and boxes of three classes, some ignored and crowds, no equal scores."""
    rng = np.random.default_rng(seed)
    lesions, results = [], []
    for number in range(1, images + 1):
        for _ in range(rng.integers(0, 4)):
            side = float(rng.choice([20, 60, 150]))
            bbox = [*rng.uniform(0, 500, 2).round().tolist(), side, side]
            lesions.append(
                {
                    "id": len(lesions) + 1,
                    "image_id": number,
                    "category_id": int(rng.integers(1, 4)),
                    "bbox": bbox,
                }
            )
            lesions[-1] |= {"ignore": 1} if rng.random() < 0.1 else {"iscrowd": int(rng.random() < 0.1)}
            for _ in range(rng.integers(0, 5)):
                x, y, width, height = bbox
                moved = [x + rng.normal(0, width / 3), y, width * rng.uniform(0.7, 1.4), height]
                category = lesions[-1]["category_id"] if rng.random() < 0.7 else int(rng.integers(1, 4))
                results.append({"image_id": number, "category_id": category, "bbox": moved})
        for _ in range(rng.integers(0, 3)):
            bbox = [*rng.uniform(0, 500, 2), *rng.uniform(15, 160, 2)]
            results.append({"image_id": number, "category_id": int(rng.integers(1, 4)), "bbox": bbox})
    for one, score in zip(results, rng.permutation(len(results)) + 1, strict=True):
        one["score"] = float(score) / (len(results) + 1)
    categories = [{"id": number, "name": f"c{number}"} for number in (1, 2, 3)]
    return Coco(
        [image(number + 1) for number in range(images)], lesions, Path("gt.json"), categories
    ), results


def by_hand(coco, results, kind, boxes):
    """Return ground truth and results with one kind of error put right in the files themselves."""
    if kind == MISSED:
        gone = set(missed_lesions(boxes).tolist())
        kept = [one for place, one in enumerate(coco.annotations) if place not in gone]
        return replace(coco, annotations=kept), results
    kept, settled = [], set(boxes.found().tolist())
    for place in sorted(range(len(results)), key=lambda place: -results[place]["score"]):
        if KIND_NAMES.get(int(boxes.kind[place])) != kind:
            kept.append(results[place])
        elif kind in ("wrong class", "poor box") and int(boxes.lesion[place]) not in settled:
            settled.add(int(boxes.lesion[place]))
            about = coco.annotations[boxes.lesion[place]]
            kept.append({**results[place], "bbox": about["bbox"], "category_id": about["category_id"]})
    return coco, kept


@given(seed=st.integers(0, 100_000))
@settings(max_examples=30, deadline=None)
def test_costs_are_those_of_files_that_are_put_right(seed):
    coco, results = study(seed)
    boxes = box_kinds(coco, results)
    found = average_precisions(boxes, coco)
    for kind in ("", *KIND_NAMES.values(), MISSED):
        reference = coco_metrics(*((coco, results) if not kind else by_hand(coco, results, kind, boxes)))
        for number, ap in found[kind].items():
            expected = reference[f"c{number}"]["AP50"]
            if expected is not None:  # all its lesions are gone
                assert ap == pytest.approx(expected, abs=1e-12), kind
            assert ap >= found[""][number] - 1e-12


@given(seed=st.integers(0, 100_000), threshold=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_counts_add_up_whatever_the_order(seed, threshold):
    coco, results = study(seed)
    names = {1: "c1", 2: "c2", 3: "c3"}
    analysis = analysed(coco, results, threshold, names)
    boxes = box_kinds(coco, results)
    above = boxes.score >= threshold
    wrong = int((above & ~np.isin(boxes.kind, (RIGHT, NEUTRAL, BEYOND))).sum())
    right = int((above & (boxes.kind == RIGHT)).sum())
    assert right == analysis.found  # no lesion is found twice
    errors = [one.error for one in analysis.cases]
    assert errors.count("false positive") == wrong
    assert errors.count("false negative") + analysis.found == analysis.lesions
    for name in ("all", *names.values()):
        rows = {row.kind: row for row in analysis.of(name)}
        chosen = [one for one in analysis.cases if name in ("all", one.category)]
        for kind in (*KIND_NAMES.values(), MISSED):
            told = (rows[kind].false_positives, rows[kind].false_negatives)
            assert told == tuple(
                sum(one.kind == kind and one.error == error for one in chosen)
                for error in ("false positive", "false negative")
            )
    order = np.random.default_rng(seed).permutation(len(results)).tolist()
    other = analysed(coco, [results[place] for place in order], threshold, names)
    assert [replace(one, prediction=None) for one in other.cases] == [
        replace(one, prediction=None) for one in analysis.cases
    ]
    assert other.kinds == analysis.kinds


def test_every_false_positive_of_the_published_files_is_of_one_kind(shared_data):
    coco = read_coco(shared_data / "coco" / "instances_val2014_100.json", profile=False)
    results = read_results(shared_data / "coco" / "instances_val2014_fakebbox100_results.json", coco)
    # The fake boxes have good classes and shapes: give some of them others.
    for place, one in enumerate(results):
        if place % 5 == 1:
            one["bbox"] = [one["bbox"][0] + 0.5 * one["bbox"][2], *one["bbox"][1:]]
        if place % 7 == 1:
            one["category_id"] = 1
    boxes = box_kinds(coco, results)
    metrics = coco_metrics(coco, results)
    found = average_precisions(boxes, coco)
    assert np.mean(list(found[""].values())) == pytest.approx(metrics["all"]["AP50"], abs=1e-12)
    tally = dict.fromkeys(KIND_NAMES, 0)
    for place, one in enumerate(results):
        kind = int(boxes.kind[place])
        if kind not in KIND_NAMES:
            continue
        tally[kind] += 1
        lesions = [other for other in coco.annotations_of[one["image_id"]] if counts(other)]
        overlaps = iou_matrix(to_xyxy([one["bbox"]]), to_xyxy([other["bbox"] for other in lesions]))[0]
        same = np.array([other["category_id"] == one["category_id"] for other in lesions], dtype=bool)
        own, other = max(overlaps[same], default=0), max(overlaps[~same], default=0)
        assert kind == (
            DUPLICATE if own >= 0.5
            else WRONG_CLASS if other >= 0.5
            else POOR_BOX if own >= 0.1
            else BOTH if other >= 0.1
            else BACKGROUND
        )  # fmt: skip
    assert min(tally[kind] for kind in (WRONG_CLASS, POOR_BOX, BOTH, DUPLICATE)) > 0
    right, neutral = (boxes.kind == RIGHT).sum(), (boxes.kind == NEUTRAL).sum()
    assert sum(tally.values()) + right + neutral == len(results)


def test_the_evaluation_holds_the_errors_of_any_file():
    coco = case([lesion(1, 7, 0)], [{"id": 7, "name": "all"}, {"id": 9, "name": "mass"}])
    evaluation = evaluate(coco, [box(9, 0.9, 0), box(7, 0.9, 500)], Protocol(error_iou=0.4))
    assert {row.category for row in evaluation.errors.kinds} == {"all", "all (7)", "mass"}
    document = json.loads(json.dumps(metrics_document(evaluation, {}), allow_nan=False))
    assert document["errors"]["rules"] == {"score_threshold": 0.3, "iou": 0.4, "background_iou": 0.1}
    assert document["errors"]["places"] == {"unknown: image not looked at": 1}
    tables = csv_tables(evaluation)
    assert tables["errors.csv"].splitlines()[1].startswith("false negative,wrong class,1,1.png,all (7),0.9")
    assert tables["views.csv"].count("\n") == 1


@pytest.mark.parametrize("pair", [(0.5, 0.6), (0.5, 0), (1.5, 0.1), (float("nan"), 0.1)])
def test_thresholds_that_make_no_sense_are_refused(pair):
    with pytest.raises(InputError, match="error_background_iou"):
        Protocol(error_iou=pair[0], error_background_iou=pair[1])
