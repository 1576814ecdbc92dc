"""Hit rules: how they are typed, where each one begins and ends, and what does not change them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.errors import InputError
from mammodet.evaluation.hit_rules import DEFAULT_RULES, HitRule, parse_rules
from mammodet.evaluation.matching import iou_matrix

RULES = (*DEFAULT_RULES, "overlap", "center-distance:30px", "center-distance:5mm")
TRUE = [100.0, 100.0, 140.0, 130.0]  # 40 wide, 30 high, centre (120, 115), diagonal 50

box = st.tuples(*[st.integers(0, 90)] * 2, *[st.integers(1, 60)] * 2).map(
    lambda one: [one[0], one[1], one[0] + one[2], one[1] + one[3]]
)


def hits(rule, *predictions, true=TRUE, **more):
    return HitRule.parse(rule).compare(np.array(predictions), np.array(true), **more)[0].tolist()


def around(x, y, size=10.0):
    return [x - size / 2, y - size / 2, x + size / 2, y + size / 2]


@pytest.mark.parametrize("text", RULES)
def test_a_rule_is_written_as_it_is_read(text):
    assert HitRule.parse(text).name == text
    assert HitRule.parse(HitRule.parse(f" {text.upper()} ").name) == HitRule.parse(text)


def test_numbers_may_be_typed_in_other_ways():
    assert HitRule.parse("iou:.50").name == "iou:0.5"
    assert HitRule.parse("center-distance:1e2 px").name == "center-distance:100px"


@pytest.mark.parametrize(
    "text",
    [
        *("", "iou", "iou:", "iou:0", "iou:1.1", "iou:-1", "iou:nan", "iou:half"),
        *("centre", "center:3", "duke:100", "overlap:0.1", "center-distance", "center-distance:5"),
        *(f"center-distance:{radius}" for radius in ("5cm", "0px", "infpx", "-5mm", "px")),
    ],
)
def test_what_is_no_rule_is_named_with_the_choices(text):
    with pytest.raises(InputError, match=r"hit_rules: is no hit rule .* choose from center, iou:T") as told:
        HitRule.parse(text)
    assert repr(text) in str(told.value)


def test_a_list_of_rules_is_neither_empty_nor_double():
    with pytest.raises(InputError, match="is empty"):
        parse_rules([])
    with pytest.raises(InputError, match=r"is there twice .*iou:0\.5"):
        parse_rules(["iou:0.5", "duke", "iou:0.50"])


def test_center_takes_the_edge_and_nothing_beyond():
    assert hits("center", around(120, 115), around(140, 130), around(140.1, 130)) == [True, True, False]
    assert hits("center", [0, 0, 240, 230]) == [True]  # however large the prediction


def test_iou_takes_the_threshold_itself():
    half = [100.0, 100.0, 120.0, 130.0]
    assert hits("iou:0.5", half) == [True]
    assert hits("iou:0.51", half) == [False]


def test_the_iou_with_a_crowd_is_the_share_of_the_prediction():
    inside = around(120, 115)
    assert hits("iou:0.5", inside) == [False]
    assert hits("iou:0.5", inside, crowd=True) == [True]


def test_distances_in_pixels_and_millimetres():
    assert hits("center-distance:30px", around(150, 115), around(150.1, 115)) == [True, False]
    spacing = [0.2, 0.1]  # row, column: 5 mm are 50 px to the side and 25 px down
    places = [around(170, 115), around(171, 115), around(120, 140), around(120, 141)]
    assert hits("center-distance:5mm", *places, spacing_mm=spacing) == [True, False, True, False]
    with pytest.raises(ValueError, match="pixel spacing"):
        hits("center-distance:5mm", around(120, 115))


def test_duke_is_the_larger_of_100_pixels_and_half_the_diagonal():
    assert hits("duke", around(220, 115), around(220.1, 115)) == [True, False]
    large = [0.0, 0.0, 600.0, 800.0]  # half the diagonal is 500
    assert hits("duke", around(300, 900), around(300, 901), true=large) == [True, False]


def test_boxes_that_only_touch_do_not_overlap():
    assert hits("overlap", [140, 100, 160, 130], [139.9, 100, 160, 130]) == [False, True]


@settings(max_examples=60, deadline=None)
@given(st.lists(box, min_size=1, max_size=5), st.lists(box, min_size=1, max_size=5))
def test_the_matrix_of_an_image_agrees_with_the_pairs_and_with_iou(predictions, lesions):
    found, true = np.array(predictions, float), np.array(lesions, float)
    for text in RULES:
        rule = HitRule.parse(text)
        matrix, quality = rule.compare(found[:, None], true[None], spacing_mm=[0.5, 0.5])
        assert matrix.shape == quality.shape == (len(found), len(true))
        one = rule.compare(found[-1], true[0], spacing_mm=[0.5, 0.5])
        assert (one[0], one[1]) == (matrix[-1, 0], quality[-1, 0])
        if rule.kind == "iou":
            assert np.array_equal(matrix, iou_matrix(found, true) >= rule.value)


@settings(max_examples=60, deadline=None)
@given(box, box, st.integers(-50, 50))
def test_moving_or_mirroring_both_boxes_changes_no_hit(found, true, step):
    for text in RULES:
        expected = hits(text, found, true=true, spacing_mm=[0.5, 0.5])
        moved = [[one + step for one in each] for each in (found, true)]
        assert hits(text, moved[0], true=moved[1], spacing_mm=[0.5, 0.5]) == expected
        mirrored = [[-each[2], each[1], -each[0], each[3]] for each in (found, true)]
        assert hits(text, mirrored[0], true=mirrored[1], spacing_mm=[0.5, 0.5]) == expected


@given(box, box)
def test_a_stricter_iou_never_hits_more(found, true):
    answers = [hits(f"iou:{value}", found, true=true)[0] for value in (0.1, 0.2, 0.5, 0.9)]
    assert answers == sorted(answers, reverse=True)
    assert hits("overlap", found, true=true)[0] >= answers[0]
