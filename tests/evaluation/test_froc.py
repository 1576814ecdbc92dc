"""FROC: the rule of one prediction per lesion, every threshold, weights, and what must not change a number."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.froc import (
    CPM_POINTS,
    DENOMINATORS,
    POINTS,
    froc_curve,
    mean_sensitivity,
    sensitivity_at,
    units,
)
from mammodet.evaluation.froc_matching import match_froc
from mammodet.evaluation.froc_reference import camelyon_curve, camelyon_score
from mammodet.evaluation.hit_rules import HitRule

PLACES = (0, 100, 200, 300)  # lesions and predictions lie on a line; those of other places never meet
SIDE = 40

every_denominator = pytest.mark.parametrize("denominator", DENOMINATORS)


def image(number, **more):
    return {"id": number, "file_name": f"{number}.png", "width": 500, "height": 500, **more}


def lesion(number, image_id, place, category=2, **more):
    bbox = [place, 0, SIDE, SIDE]
    return {"id": number, "image_id": image_id, "category_id": category, "bbox": bbox, **more}


def box(image_id, place, score, category=2, shift=0):
    bbox = [place + shift, 0, SIDE, SIDE]
    return {"image_id": image_id, "category_id": category, "bbox": bbox, "score": score}


def matched(images, lesions, results, rule="iou:0.3", category=None, **more):
    coco = Coco(list(images), list(lesions), Path("gt.json"))
    return match_froc(coco, results, HitRule.parse(rule), category, **more)


@st.composite
def scenes(draw):
    """Draw images of some patients, lesions (some ignored) and predictions whose scores often are equal."""
    images, lesions, results = [], [], []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        patient, side = draw(st.integers(1, 3)), draw(st.sampled_from("LR"))
        images.append(image(number, patient_id=str(patient), laterality=side))
        for place in draw(st.lists(st.sampled_from(PLACES), max_size=3, unique=True)):
            more = draw(st.sampled_from([{}, {}, {}, {"ignore": 1}]))
            wide = {"bbox": [place, 0, SIDE + draw(st.integers(0, 90)), SIDE]}
            category = draw(st.sampled_from([1, 2]))
            lesions.append(lesion(len(lesions) + 1, number, place, category) | wide | more)
        for place in draw(st.lists(st.sampled_from(PLACES), max_size=6)):
            score, shift = draw(st.integers(0, 10)) / 10, draw(st.integers(0, 60))
            results.append(box(number, place, score, draw(st.sampled_from([1, 2])), shift))
    return images, lesions, results


# --- matching ---


def test_one_lesion_one_hit_no_false_positive_is_sensitivity_1_at_0():
    found = matched([image(1)], [lesion(1, 1, 0)], [box(1, 0, 0.3)])
    curve = froc_curve(found)
    assert curve.thresholds.tolist() == [np.inf, 0.3]
    assert curve.false_positives.tolist() == [0, 0]
    assert curve.sensitivity.tolist() == [0, 1]
    assert sensitivity_at(found, [0.0, *POINTS]).tolist() == [1] * 9
    assert mean_sensitivity(found) == 1


def test_several_predictions_on_one_lesion_find_it_once():
    found = matched([image(1)], [lesion(1, 1, 0)], [box(1, 0, 0.5, shift=5), box(1, 0, 0.9), box(1, 0, 0.2)])
    assert found.prediction_lesion.tolist() == [-1, 0, -1]
    assert found.is_duplicate.tolist() == [True, False, True]
    assert not found.is_false_positive.any()
    assert found.lesion_score.tolist() == [0.9]
    assert froc_curve(found).false_positives.tolist() == [0, 0]
    assert froc_curve(found, count_duplicates=True).false_positives.tolist() == [0, 0, 1, 2]


def test_a_prediction_on_two_lesions_finds_the_better_one_or_on_request_both():
    wide = {"bbox": [0, 0, 100, 40]}
    lesions = [lesion(1, 1, 0) | wide, lesion(2, 1, 60)]
    results = [box(1, 60, 0.9, shift=-5)]
    assert matched([image(1)], lesions, results, "center").lesion_score.tolist() == [-np.inf, 0.9]
    assert matched([image(1)], lesions, results, "center", several="all").lesion_score.tolist() == [0.9, 0.9]


def test_a_prediction_takes_the_next_best_lesion_when_a_higher_score_has_the_best():
    lesions = [lesion(1, 1, 0), lesion(2, 1, 20)]
    found = matched([image(1)], lesions, [box(1, 0, 0.8, shift=4), box(1, 0, 0.9)], "overlap")
    assert found.prediction_lesion.tolist() == [1, 0]


def test_only_an_ignored_lesion_hit_is_neither_hit_nor_false_positive():
    for mark in ({"ignore": 1}, {"iscrowd": 1}):
        lesions = [lesion(1, 1, 0, **mark), lesion(2, 1, 100)]
        found = matched([image(1), image(2)], lesions, [box(1, 0, 0.9), box(1, 100, 0.8), box(1, 200, 0.7)])
        assert found.lesions == 1
        assert found.is_false_positive.tolist() == [False, False, True]
        assert not found.is_duplicate.any()
        # Its image is no normal one, even without another lesion.
        alone = matched([image(1), image(2)], lesions[:1], [])
        assert alone.is_positive.tolist() == [False, False]
        assert alone.is_normal.tolist() == [False, True]


def test_classes_together_or_one_alone():
    lesions = [lesion(1, 1, 0, 1), lesion(2, 2, 0, 2)]
    results = [box(1, 0, 0.9, 2), box(2, 0, 0.8, 2), box(2, 0, 0.7, 1)]
    images = [image(1), image(2), image(3, label="malignant")]
    both = matched(images, lesions, results)
    assert both.classes == "any"
    assert both.lesion_score.tolist() == [0.9, 0.8]
    assert both.is_normal.tolist() == [
        False,
        False,
        False,
    ]  # the third has a lesion, though nobody knows where
    malignant = matched(images, lesions, results, category=2)
    assert malignant.classes == "malignant"
    assert malignant.prediction_score.tolist() == [0.9, 0.8]
    assert malignant.is_false_positive.tolist() == [True, False]
    assert malignant.is_normal.tolist() == [True, False, False]


def test_breasts_and_patients_and_images_that_know_neither():
    images = [
        image(1, patient_id="7", laterality="L"),
        image(2, patient_id="7", laterality="L"),
        image(3, patient_id="7", laterality="R"),
        image(4),
        image(5),
        image(6, breast_id="b"),
        image(7, breast_id="b"),
        image(8, breast_id="c"),
        image(9, breast_id="c", patient_id="7"),
    ]
    found = matched(images, [lesion(1, 1, 0)], [])
    assert found.breast.tolist() == [0, 0, 1, 2, 3, 4, 4, 5, 5]
    # As the bootstrap counts them: an image without a patient takes that of its breast.
    assert found.patient.tolist() == [0, 0, 0, 1, 2, 3, 3, 0, 0]
    sizes = {name: float(units(found, name)) for name in DENOMINATORS}
    assert sizes == {
        "all": 9,
        "positive": 1,
        "normal": 8,
        "breast": pytest.approx(6),
        "patient": pytest.approx(4),
    }


def test_millimetres_need_the_spacing_of_images_with_lesions():
    images = [image(3, spacing_mm=[0.1, 0.1]), image(4)]
    rule = "center-distance:2mm"
    found = matched(images, [lesion(1, 3, 0)], [box(3, 0, 0.5, shift=20), box(3, 0, 0.4, shift=21)], rule)
    assert found.prediction_lesion.tolist() == [0, -1]
    with pytest.raises(InputError, match=r"gt.json: images\[id=4\].spacing_mm: is needed by .*2mm"):
        matched(images, [lesion(1, 4, 0)], [], rule)


def plain_matching(images, lesions, results, rule):
    """Match as the rule is told, one prediction after the other."""
    rule = HitRule.parse(rule)
    status = {}
    scores = {}
    for one in images:
        here = [a for a in lesions if a["image_id"] == one["id"]]
        judged = [a for a in here if not a.get("ignore")]

        def compare(result, annotation):
            corners = [[*b[:2], b[0] + b[2], b[1] + b[3]] for b in (result["bbox"], annotation["bbox"])]
            hit, quality = rule.compare(*corners)
            return (float(quality), [-v for v in annotation["bbox"]]) if hit else None

        numbered = [(n, r) for n, r in enumerate(results) if r["image_id"] == one["id"]]
        hits = {n: {a["id"]: q for a in judged if (q := compare(r, a))} for n, r in numbered}
        best = {n: max((q[0] for q in hits[n].values()), default=-np.inf) for n, _ in numbered}
        for number, result in sorted(numbered, key=lambda x: (-x[1]["score"], -best[x[0]], x[1]["bbox"])):
            free = {a: q for a, q in hits[number].items() if a not in scores}
            if free:
                scores[max(free, key=free.get)] = result["score"]
                status[number] = "hit"
            elif hits[number]:
                status[number] = "duplicate"
            else:
                near = any(compare(result, a) for a in here if a.get("ignore"))
                status[number] = "ignored" if near else "false"
    return scores, status


@settings(max_examples=25, deadline=None)
@given(scenes(), st.sampled_from(["center", "iou:0.2", "duke", "overlap", "center-distance:45px"]))
def test_the_matching_is_that_of_the_rule_told(scene, rule):
    images, lesions, results = scene
    found = matched(images, lesions, results, rule)
    scores, status = plain_matching(images, lesions, results, rule)
    judged = [one["id"] for one in lesions if not one.get("ignore")]
    assert found.lesion_score.tolist() == [scores.get(number, -np.inf) for number in judged]
    told = [status[number] for number in range(len(results))]
    assert found.is_false_positive.tolist() == [one == "false" for one in told]
    # Of two equal predictions either may be the double hit, so their number counts.
    assert found.is_duplicate.sum() == told.count("duplicate")
    assert (found.prediction_lesion >= 0).sum() == told.count("hit")


# --- curves and points ---


def test_equal_scores_stand_or_fall_together():
    images = [image(1), image(2)]
    results = [box(1, 0, 0.5), box(1, 100, 0.5), box(2, 0, 0.5), box(2, 100, 0.2)]
    found = matched(images, [lesion(1, 1, 0)], results)
    curve = froc_curve(found)
    assert curve.thresholds.tolist() == [np.inf, 0.5, 0.2]
    assert curve.false_positives.tolist() == [0, 1, 1.5]
    assert curve.sensitivity.tolist() == [0, 1, 1]
    assert sensitivity_at(found, [0.0, 0.999, 1.0, 8.0]).tolist() == [0, 0, 1, 1]
    assert sensitivity_at(found, [0.0, 0.25, 1.0], interpolation="linear").tolist() == [0, 0.25, 1]


def test_denominators_by_hand():
    images = [
        image(1, patient_id="a", laterality="L"),
        image(2, patient_id="a", laterality="L"),
        image(3, patient_id="a", laterality="R"),
        image(4, patient_id="b", laterality="R"),
    ]
    results = [box(1, 0, 0.9), *(box(number, 200, 0.5) for number in (1, 3, 3, 4))]
    found = matched(images, [lesion(1, 1, 0)], results)
    last = {name: froc_curve(found, denominator=name).false_positives[-1] for name in DENOMINATORS}
    # 4 false positives: 1 on the positive image, 3 on the three normal ones, 3 breasts, 2 patients
    assert last == {"all": 1, "positive": 1, "normal": 1, "breast": pytest.approx(4 / 3), "patient": 2}


def test_monai_is_reproduced_under_its_own_rules():
    # tests/metrics/test_compute_froc.py of MONAI: three of the seven lesions are left out and have the score 0
    wrong, scores = [0.8, 0.6], [1, 1, 0, 0, 0.8, 0.8, 0]
    curve = camelyon_curve(wrong, scores, lesions=4, images=2)
    assert camelyon_score(curve) == pytest.approx(0.95833333, abs=1e-8)
    assert camelyon_score(curve, [0.25]) == 0.75
    # The same detections here: the lesions left out are no lesions. At 1/4 no threshold reaches 0.75: it is 0.5
    # with scores above 0.8, where there is no false positive, and 1 with 0.8, where there is half a one.
    places = dict(zip(PLACES, (1, 1, 0.8, 0.8), strict=True))
    lesions = [lesion(number, 1, place) for number, place in enumerate(places, start=1)]
    results = [box(1, place, score) for place, score in places.items()]
    found = matched([image(1), image(2)], lesions, [*results, box(2, 0, 0.8), box(2, 100, 0.6)])
    points = (0.25, 0.5, 1, 2, 4, 8)
    assert sensitivity_at(found, points).tolist() == [0.5, 1, 1, 1, 1, 1]
    assert mean_sensitivity(found, points) == pytest.approx(5.5 / 6)
    assert mean_sensitivity(found, points, interpolation="linear") == pytest.approx(0.95833333, abs=1e-8)


def test_the_reference_code_loses_the_lowest_threshold():
    curve = camelyon_curve([], [0.9], lesions=1, images=1)
    assert camelyon_score(curve) == 0  # a perfect detector; see the first test for what it is here


def steps_of(curve, points):
    """Read a step curve by the definition."""
    return [max(curve.sensitivity[curve.false_positives <= point + 1e-9]) for point in points]


@every_denominator
@settings(max_examples=25, deadline=None)
@given(scene=scenes(), duplicates=st.booleans())
def test_curves_rise_and_the_points_lie_on_them(denominator, scene, duplicates):
    found = matched(*scene)
    options = {"denominator": denominator, "count_duplicates": duplicates}
    curve = froc_curve(found, **options)
    steps = sensitivity_at(found, [0.0, *POINTS], **options)
    if not found.lesions or not units(found, denominator):
        assert np.isnan(steps).all()
        return
    assert (np.diff(curve.false_positives) >= 0).all() and (np.diff(curve.sensitivity) >= 0).all()
    assert (np.diff(curve.thresholds) < 0).all()
    assert steps.tolist() == pytest.approx(steps_of(curve, [0.0, *POINTS]))
    assert (np.diff(steps) >= 0).all()
    linear = sensitivity_at(found, [0.0, *POINTS], interpolation="linear", **options)
    assert (linear >= steps - 1e-12).all()
    assert mean_sensitivity(found, **options) == pytest.approx(np.mean(steps_of(curve, CPM_POINTS)))


# --- what must not change a number ---


def numbers(found, **more):
    """Return everything that a table shows, for all denominators."""
    return np.concatenate([sensitivity_at(found, denominator=name, **more) for name in DENOMINATORS], axis=-1)


def same(one, other):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12, equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(scenes(), st.randoms(use_true_random=False), st.sampled_from(["center", "iou:0.2", "duke", "overlap"]))
def test_no_order_and_no_id_matters(scene, chance, rule):
    images, lesions, results = scene
    expected = numbers(matched(*scene, rule))
    renamed = {one["id"]: 1000 - 7 * one["id"] for one in images}
    images = [{**one, "id": renamed[one["id"]]} for one in images]
    lesions = [{**one, "id": 50 - one["id"], "image_id": renamed[one["image_id"]]} for one in lesions]
    results = [{**one, "image_id": renamed[one["image_id"]]} for one in results]
    for records in (images, lesions, results):
        chance.shuffle(records)
    same(numbers(matched(images, lesions, results, rule)), expected)


def repeated(scene, times):
    """Copy every patient so often, as patients of their own."""
    images, lesions, results = [], [], []
    for one in scene[0]:
        for copy in range(times[one["patient_id"]]):
            number = one["id"] * 100 + copy
            images.append({**one, "id": number, "patient_id": f"{one['patient_id']}.{copy}"})
            lesions += [{**a, "image_id": number} for a in scene[1] if a["image_id"] == one["id"]]
            results += [{**a, "image_id": number} for a in scene[2] if a["image_id"] == one["id"]]
    return images, lesions, results


@settings(max_examples=25, deadline=None)
@given(scenes())
def test_every_patient_twice_changes_nothing(scene):
    twice = repeated(scene, dict.fromkeys("123", 2))
    for way in ("step", "linear"):
        same(numbers(matched(*twice), interpolation=way), numbers(matched(*scene), interpolation=way))


@settings(max_examples=25, deadline=None)
@given(scenes(), st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=4), st.booleans())
def test_weights_are_patients_repeated(scene, draws, duplicates):
    found = matched(*scene)
    drawn = [dict(zip("123", row, strict=True)) for row in draws]
    drawn = [row for row in drawn if any(row[one["patient_id"]] for one in scene[0])]
    weights = np.array([[row[one["patient_id"]] for one in scene[0]] for row in drawn], dtype=float)
    for way in ("step", "linear"):
        options = {"interpolation": way, "count_duplicates": duplicates}
        same(numbers(found, image_weights=np.ones(len(scene[0])), **options), numbers(found, **options))
        if not drawn:
            continue
        rows = numbers(found, image_weights=weights, **options)
        assert rows.shape == (len(drawn), len(POINTS) * len(DENOMINATORS))
        for row, weight, times in zip(rows, weights, drawn, strict=True):
            same(numbers(found, image_weights=weight, **options), row)
            same(numbers(matched(*repeated(scene, times)), **options), row)
    for name in DENOMINATORS if drawn else ():
        whole = froc_curve(found, denominator=name, image_weights=weights)
        assert whole.sensitivity.shape == (len(drawn), len(whole.thresholds))
        last = froc_curve(matched(*repeated(scene, drawn[0])), denominator=name)
        same(whole.false_positives[0, -1], last.false_positives[-1])
        same(whole.sensitivity[0, -1], last.sensitivity[-1])


@settings(max_examples=25, deadline=None)
@given(scenes(), st.lists(st.integers(0, 10), max_size=12))
def test_what_a_normal_image_can_change(scene, scores):
    images, lesions, results = scene
    more = [box(99, 0, score / 10) for score in scores]
    before = matched(*scene)
    after = matched([*images, image(99)], lesions, results + more)
    # At a threshold a normal image changes no sensitivity, and per positive image it changes nothing at all.
    assert after.lesion_score.tolist() == before.lesion_score.tolist()
    same(sensitivity_at(after, denominator="positive"), sensitivity_at(before, denominator="positive"))
    # Per image it dilutes the others' false positives, unless it has as many above every score of theirs.
    loud = matched([*images, image(99)], lesions, results + [box(99, 0, 1.0 + n / 10) for n in range(9)])
    if before.lesions:
        assert (sensitivity_at(loud) <= sensitivity_at(before)).all()


def test_a_clean_normal_image_dilutes_the_false_positives_per_image():
    results = [box(1, 200, 0.9), box(1, 0, 0.5)]
    before = matched([image(1)], [lesion(1, 1, 0)], results)
    after = matched([image(1), image(2)], [lesion(1, 1, 0)], results)
    assert sensitivity_at(before, [0.5]).tolist() == [0]
    assert sensitivity_at(after, [0.5]).tolist() == [1]  # one false positive on two images, no longer on one
    assert sensitivity_at(after, [0.5], denominator="positive").tolist() == [0]


# --- large, and with nothing in it ---


def test_uneven_weights_of_many_false_positives_reach_beyond_the_first_ones():
    chance = random.Random(0)
    images = [image(number) for number in range(1, 6)]
    lesions = [lesion(number, number, 0) for number in range(1, 6)]
    results = [box(number, 200, chance.random()) for number in range(1, 6) for _ in range(600)]
    results += [box(number, 0, chance.random()) for number in range(1, 6)]
    found = matched(images, lesions, results)
    # Only the first image counts, with 600 of the 3000: more than the thousand first are needed for 400.
    weights = np.array([[1.0, 0, 0, 0, 0], [0.001, 0, 0, 0, 7]])
    at = [0.5, 100, 400, 599, 1e6]
    rows = sensitivity_at(found, at, image_weights=weights)
    curve = froc_curve(found, image_weights=weights)
    for row, fp, sensitivity in zip(rows, curve.false_positives, curve.sensitivity, strict=True):
        one = dataclasses.replace(curve, false_positives=fp, sensitivity=sensitivity)
        assert row.tolist() == pytest.approx(steps_of(one, at))


@every_denominator
def test_no_predictions_find_nothing(denominator):
    found = matched([image(1), image(2)], [lesion(1, 1, 0)], [])
    assert sensitivity_at(found, denominator=denominator).tolist() == [0] * len(POINTS)
    assert froc_curve(found, denominator=denominator).sensitivity.tolist() == [0]


def test_without_lesions_or_units_there_is_no_sensitivity():
    normal = matched([image(1)], [], [box(1, 0, 0.5)])
    assert np.isnan(sensitivity_at(normal)).all()
    assert np.isnan(mean_sensitivity(normal))
    assert froc_curve(normal).false_positives.tolist() == [0, 1]
    positive = matched([image(1)], [lesion(1, 1, 0)], [box(1, 0, 0.5)])
    for way in ("step", "linear"):
        assert np.isnan(sensitivity_at(positive, denominator="normal", interpolation=way)).all()


def test_bad_weights_denominators_and_interpolations_are_refused():
    found = matched([image(1), image(2)], [lesion(1, 1, 0)], [])
    for weights in ([1.0], [[1.0, 1.0, 1.0]], [1.0, np.nan], [-1.0, 1.0], 3.0):
        with pytest.raises(ValueError, match="image_weights"):
            sensitivity_at(found, image_weights=weights)
    with pytest.raises(InputError, match=r"froc_denominator: is no denominator .*choose from all, positive"):
        sensitivity_at(found, denominator="exam")
    with pytest.raises(ValueError, match="must be step or linear: cubic"):
        sensitivity_at(found, interpolation="cubic")
