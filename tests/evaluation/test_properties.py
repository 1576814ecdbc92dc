"""What must hold for a whole evaluation, whatever the study: order, names, copies and normal images."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from mammodet.datasets.coco import Coco
from mammodet.evaluation.detection_metrics import match_boxes
from mammodet.evaluation.froc_table import FrocProtocol
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import Options, evaluate, metrics_document

CASE_LEVELS = ("image", "breast", "patient")
LEVELS = (*CASE_LEVELS, "lesion_published", "lesion_all")
BY_CLASS = Protocol(froc=FrocProtocol(("center", "iou:0.2", "duke"), class_aware=True))
TOGETHER = Protocol(froc=FrocProtocol(("center", "iou:0.2", "duke"), "patient"))
PROTOCOLS = {"together": TOGETHER, "by class": BY_CLASS}

every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
few = settings(max_examples=8, deadline=None)


@st.composite
def studies(draw, ties=True, known=False):
    """Draw a study: one to four patients of up to three images with lesions and boxes on and beside them.

    With ``ties`` scores are often equal; ``known`` gives every image a patient and a side. No two boxes overlap
    a lesion by the same IoU, because each is shifted by another fraction of a pixel.
    """
    images, lesions, results = [], [], []
    shift = itertools.count(1)
    category = st.integers(1, 2)
    for patient in range(draw(st.integers(1, 4))):
        for _ in range(draw(st.integers(1, 3))):
            number = len(images) + 1
            image = {"id": number, "file_name": f"{number}.png", "width": 1000, "height": 1000}
            image["label"] = draw(st.sampled_from([None, "normal", "benign", "malignant"]))
            if known or draw(st.booleans()):
                image |= {"patient_id": f"p{patient}", "laterality": draw(st.sampled_from("LR"))}
            images.append(image)
            places = [0] if image["label"] == "normal" else range(draw(st.integers(0, 2)) + 1)
            for place in places:
                if place:
                    lesion = {"id": 10 + len(lesions), "image_id": number, "category_id": draw(category)}
                    if draw(st.integers(0, 5)) == 5:
                        lesion["ignore"] = 1
                    lesions.append({**lesion, "bbox": [200.0 * place, 100.0, 120.0, 90.0]})
                for _ in range(draw(st.integers(0, 2))):
                    box = [200.0 * place + next(shift) * 0.37, 104.0, 110.0, 95.0]
                    results.append({"image_id": number, "category_id": draw(category), "bbox": box})
    scores = st.lists(
        st.integers(0, 8 if ties else 1000), min_size=len(results), max_size=len(results), unique=not ties
    )
    for one, score in zip(results, draw(scores), strict=True):
        one["score"] = score / (8 if ties else 1000)
    return images, lesions, results


def evaluated(study, protocol=TOGETHER, resamples=6):
    images, lesions, results = study
    coco = Coco(list(images), list(lesions), Path("gt.json"))
    return evaluate(coco, results, protocol, Options(Bootstrap(resamples)))


def document(study, protocol=TOGETHER, resamples=6):
    """Return what metrics.json holds, without what tells of files and packages."""
    found = metrics_document(evaluated(study, protocol, resamples), {})
    found = json.loads(json.dumps(found, allow_nan=False))
    return {name: found[name] for name in found if name not in ("versions", "inputs", "protocol")}


def leaves(node, path=()):
    """Return every number and text of a document by where it stands."""
    if isinstance(node, dict | list):
        parts = node.items() if isinstance(node, dict) else enumerate(node)
        return {place: leaf for key, part in parts for place, leaf in leaves(part, (*path, key)).items()}
    return {path: node}


def assert_same(one, other):
    one, other = leaves(one), leaves(other)
    assert one.keys() == other.keys()
    for path, value in one.items():
        found = other[path]
        numbers = isinstance(value, float) and isinstance(found, float)
        assert found == (pytest.approx(value, abs=1e-9) if numbers else value), path


# COCO ranks boxes of equal scores by the id of their image and their place in the file, as pycocotools does.
RANKED = ("coco", "coco_intervals", "coco_thresholds", "subgroups", "errors")


def without(found, *names):
    return {key: value for key, value in found.items() if key not in names}


def without_draws(node):
    """Leave out what hangs on which patient is drawn when."""
    if isinstance(node, list):
        return [without_draws(one) for one in node]
    if isinstance(node, dict):
        drawn = str(node.get("method", "")).startswith("bootstrap")
        return "drawn" if drawn else {key: without_draws(one) for key, one in node.items()}
    return node


def renamed(study, step=-7):
    """Return the study with other ids of images and annotations, in another order of ids."""
    images, lesions, results = study
    new = {one["id"]: 1000 + step * one["id"] for one in images}
    return (
        [{**one, "id": new[one["id"]]} for one in images],
        [{**one, "id": 900 - one["id"], "image_id": new[one["image_id"]]} for one in lesions],
        [{**one, "image_id": new[one["image_id"]]} for one in results],
    )


def shuffled(study, chance):
    parts = [list(part) for part in study]
    for part in parts:
        chance.shuffle(part)
    return tuple(parts)


def with_normal(study, scores):
    """Add a patient of her own with one normal image and such false boxes on it."""
    images, lesions, results = study
    image = {"id": 500, "file_name": "new.png", "width": 1000, "height": 1000, "label": "normal"}
    image |= {"patient_id": "new", "laterality": "L"}
    boxes = [
        {
            "image_id": 500,
            "category_id": 1 + place % 2,
            "bbox": [50.0, 600.0 - 40 * place, 30.0, 30.0],
            "score": score,
        }
        for place, score in enumerate(scores)
    ]
    return [*images, image], lesions, [*results, *boxes]


def twice(study):
    """Return the study with every patient a second time, under other names."""
    images, lesions, results = study
    more = [{**one, "id": one["id"] + 500} for one in images]
    for one in more:
        if "patient_id" in one:
            one["patient_id"] += " again"
    return (
        [*images, *more],
        [*lesions, *({**one, "id": one["id"] + 500, "image_id": one["image_id"] + 500} for one in lesions)],
        [*results, *({**one, "image_id": one["image_id"] + 500} for one in results)],
    )


# --- curves ---


@every_protocol
@few
@given(study=studies())
def test_froc_and_roc_curves_rise(protocol, study):
    found = evaluated(study, protocol)
    for row in found.froc.rows:
        curve = row.curve
        assert (np.diff(curve.false_positives) >= 0).all() and (np.diff(curve.sensitivity) >= 0).all()
        assert (np.diff(curve.thresholds) < 0).all()
        at = [one for one in row.sensitivity if one is not None]
        assert at == sorted(at)
        assert row.most_sensitivity is None or all(one <= row.most_sensitivity for one in at)
    for level in found.levels.values():
        curve = level.roc
        if curve.auc is None:
            assert curve.note and not curve.thresholds.size
            continue
        x, y = curve.false_positive_rate, curve.true_positive_rate
        assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all() and (np.diff(curve.thresholds) < 0).all()
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert metrics.auc(x, y) == pytest.approx(curve.auc)


@few
@given(study=studies())
def test_precision_never_rises_with_recall(study):
    images, lesions, results = study
    matched = match_boxes(Coco(images, lesions, Path("gt.json")), results)
    matched.numbers()
    precision = np.asarray(matched.evaluator.eval["precision"])  # [IoU, recall, class, area, boxes]
    assert (np.diff(precision, axis=1) <= 1e-12).all()  # -1 everywhere where there is no lesion


# --- what must not change a number ---


@every_protocol
@few
@given(study=studies(ties=False), chance=st.randoms(use_true_random=False))
def test_no_order_of_images_annotations_or_predictions_matters(protocol, study, chance):
    assert_same(document(study, protocol), document(shuffled(study, chance), protocol))


@few
@given(study=studies(), chance=st.randoms(use_true_random=False))
def test_no_order_matters_with_equal_scores_but_to_coco(study, chance):
    # pycocotools ranks boxes of equal scores by image id and place in the file, and so do its numbers here.
    expected, found = (without(document(one), *RANKED) for one in (study, shuffled(study, chance)))
    assert_same(expected, found)


@every_protocol
@few
@given(study=studies(ties=False, known=True))
def test_other_ids_of_images_and_annotations_change_nothing(protocol, study):
    assert_same(document(study, protocol), document(renamed(study), protocol))


@few
@given(study=studies())
def test_other_ids_change_no_estimate_where_patients_are_unknown_and_scores_equal(study):
    expected, found = (without_draws(without(document(one), *RANKED)) for one in (study, renamed(study)))
    assert_same(expected, found)


@every_protocol
@few
@given(study=studies(ties=False))
def test_every_patient_twice_doubles_the_counts_and_changes_no_estimate(protocol, study):
    once, both = (leaves(document(one, protocol, resamples=0)) for one in (study, twice(study)))
    settings_of = ("bootstrap", "schema")
    for path, value in once.items():
        if path[0] in settings_of or "intervals" in path:
            continue
        found = both[path]
        if isinstance(value, float):
            assert found == pytest.approx(value, abs=1e-9), path
        elif isinstance(value, int) and not isinstance(value, bool) and path[:2] != ("froc", "points"):
            assert found == 2 * value, path
        elif value is None:
            assert found is None, path


@few
@given(study=studies(ties=False))
def test_swapped_classes_swap_the_rows_of_detection(study):
    images, lesions, results = study
    label = {"benign": "malignant", "malignant": "benign"}
    swapped = (
        [{**one, "label": label.get(one["label"], one["label"])} for one in images],
        [{**one, "category_id": 3 - one["category_id"]} for one in lesions],
        [{**one, "category_id": 3 - one["category_id"]} for one in results],
    )
    one, other = document(study, BY_CLASS), document(swapped, BY_CLASS)
    for name, counterpart in (("benign", "malignant"), ("malignant", "benign"), ("all", "all")):
        assert_same(one["coco"][name], other["coco"][counterpart])
        rows, counterparts = (
            [without(row, "classes", "notes") for row in found["froc"]["rows"] if row["classes"] == wanted]
            for found, wanted in ((one, name), (other, counterpart))
        )
        assert_same(rows, counterparts)


# --- a normal image more ---


def at_thresholds(row):
    """Return the sensitivity of a FROC row by threshold, where it rises."""
    return dict(zip(row.curve.thresholds.tolist(), row.curve.sensitivity.tolist(), strict=True))


@every_protocol
@few
@given(study=studies(), scores=st.lists(st.integers(0, 8).map(lambda score: score / 8), max_size=3))
def test_a_normal_image_raises_no_sensitivity(protocol, study, scores):
    before, after = evaluated(study, protocol, 0), evaluated(with_normal(study, scores), protocol, 0)
    for old, new in zip(before.froc.rows, after.froc.rows, strict=True):
        assert new.most_sensitivity == old.most_sensitivity
        first, second = at_thresholds(old), at_thresholds(new)
        assert all(second[one] == first[one] for one in first.keys() & second.keys())
        assert new.lesions == old.lesions and new.positive_images == old.positive_images
    for name in CASE_LEVELS:
        old, new = (one.levels[name].classification.per_class["malignant"] for one in (before, after))
        assert (new.support, new.sensitivity) == (old.support, old.sensitivity)
        fixed = [one.levels[name].points[-1] for one in (before, after)]
        assert fixed[0].name == fixed[1].name == "threshold 0.5"
        assert fixed[1].numbers["sensitivity"].value == fixed[0].numbers["sensitivity"].value
    assert metrics_document(after, {})["lesion_all"] == metrics_document(before, {})["lesion_all"]
    for name, numbers in before.coco.items():
        for number, value in numbers.items():
            found = after.coco[name][number]
            assert (found is None) == (value is None)
            assert value is None or found <= value + 1e-9, (name, number)  # its boxes are all wrong


@few
@given(study=studies(known=True))
def test_a_loud_normal_image_never_raises_afroc_and_a_clean_one_never_lowers_it(study):
    rows = [
        evaluated(one, resamples=0).froc.rows
        for one in (with_normal(study, [1.0]), study, with_normal(study, []))
    ]
    for loud, now, clean in zip(*rows, strict=True):
        for area in ("afroc", "wafroc"):
            low, middle, high = (getattr(row, area) for row in (loud, now, clean))
            if middle is not None:
                assert low <= middle + 1e-12 and middle <= high + 1e-12
            elif now.lesions:  # no normal image before: now there is one to compare with
                assert low is not None and low <= high
