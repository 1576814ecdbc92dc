"""Areas under AFROC and weighted AFROC: by hand, against every pair counted, and with weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.evaluation.afroc import afroc_area
from mammodet.evaluation.froc_matching import FrocMatches

ALL_FOUR = [(weighted, cases) for weighted in (False, True) for cases in ("normal", "all")]


def matches(images, patient=None, breast=None):
    """Build matches from images ``(scores of lesions, None when missed; scores of false positives)``.

    A third entry False says that an image without a lesion is not normal.
    """
    lesions = [(place, score) for place, one in enumerate(images) for score in one[0]]
    found = [(place, score) for place, score in lesions if score is not None]
    wrong = [(place, score) for place, one in enumerate(images) for score in one[1]]
    own = [number for number, (_, score) in enumerate(lesions) if score is not None]
    alone = np.arange(len(images))
    return FrocMatches(
        rule="center",
        classes="any",
        prediction_score=np.array([score for _, score in found + wrong], dtype=float),
        prediction_image=np.array([place for place, _ in found + wrong], dtype=np.int64),
        prediction_lesion=np.array(own + [-1] * len(wrong), dtype=np.int64),
        is_false_positive=np.array([False] * len(found) + [True] * len(wrong), dtype=bool),
        is_duplicate=np.zeros(len(found) + len(wrong), dtype=bool),
        lesion_score=np.array([-np.inf if s is None else s for _, s in lesions], dtype=float),
        lesion_image=np.array([place for place, _ in lesions], dtype=np.int64),
        is_positive=np.array([bool(one[0]) for one in images]),
        is_normal=np.array([not one[0] and one[2:] != (False,) for one in images]),
        breast=alone if breast is None else np.array(breast),
        patient=alone if patient is None else np.array(patient),
    )


def areas(found, **more):
    return [float(afroc_area(found, weighted=w, false_positives_of=cases, **more)) for w, cases in ALL_FOUR]


# Two positive images and two normal ones. Highest false positives: 0.6 and none; 0.3 and none.
HAND = [([0.5, None], [0.6, 0.1]), ([0.3], []), ([], [0.2, 0.3]), ([], [])]


def test_by_hand():
    # against the normal images (0.3, none)  0.5: 1 + 1  missed: 0 + 1/2  0.3: 1/2 + 1
    # and the positive ones (0.6, none)      0.5: 0 + 1  missed: 0 + 1/2  0.3: 0 + 1
    assert areas(matches(HAND)) == pytest.approx(
        [
            (2 + 0.5 + 1.5) / (3 * 2),
            (3 + 1 + 2.5) / (3 * 4),
            ((2 + 0.5) / 2 + 1.5) / (2 * 2),
            ((3 + 1) / 2 + 2.5) / (2 * 4),
        ]
    )


def test_importance_of_lesions_by_hand():
    found = matches(HAND)
    area = afroc_area(found, weighted=True, lesion_weights=[0.8, 0.2, 1])
    assert area == pytest.approx((0.8 * 2 + 0.2 * 0.5 + 1.5) / 4)
    for wrong in ([0.5, 0.4, 1], [1, 1, 1], [1.5, -0.5, 1], [1, 1]):
        with pytest.raises(ValueError, match="lesion_weights must"):
            afroc_area(found, weighted=True, lesion_weights=wrong)
    with pytest.raises(ValueError, match="weighted=True"):
        afroc_area(found, lesion_weights=[0.5, 0.5, 1])


def test_a_patient_as_the_case_by_hand():
    # Patient 0: the first positive image and a normal one with a false positive of 0.3; patient 2 is normal.
    found = matches(HAND, patient=[0, 1, 0, 2])
    # lesions 0.5, missed, 0.3 against one normal patient without false positive, then 0.6 and none as well
    assert areas(found, case="patient") == pytest.approx(
        [(1 + 0.5 + 1) / 3, (2 + 1 + 2) / 9, (1.5 / 2 + 1) / 2, (3 / 2 + 2) / 6]
    )
    assert areas(matches(HAND, breast=[0, 1, 0, 2]), case="breast") == areas(found, case="patient")


def test_the_ends_of_the_scale():
    assert areas(matches([([0.9], []), ([0.8], [0.1]), ([], [0.7]), ([], [])]))[::2] == [1, 1]
    assert areas(matches([([None], [0.9]), ([], [0.7])])) == [0] * 4
    assert areas(matches([([None], []), ([], [])])) == [0.5] * 4  # no prediction at all
    assert areas(matches([([0.5], [0.5]), ([], [0.5])])) == [0.5] * 4  # all scores equal


def test_an_image_of_unknown_lesions_is_no_case():
    assert areas(matches([*HAND, ([], [0.9], False)])) == areas(matches(HAND))


def test_without_normal_images_only_the_variant_over_all_exists():
    normal, every, weighted, weighted_every = areas(matches([([0.5], [0.6]), ([0.7], [])]))
    assert np.isnan([normal, weighted]).all()
    assert every == weighted_every == (1 + 0 + 1 + 1) / 4
    assert np.isnan(areas(matches([([], [0.5]), ([], [])]))).all()


score = st.integers(0, 6).map(lambda tenths: tenths / 10)
some_images = st.lists(
    st.tuples(st.lists(st.one_of(st.none(), score), max_size=3), st.lists(score, max_size=3)),
    min_size=1,
    max_size=7,
)


def pairs(images, weighted, cases, weights):
    """Count every pair of a lesion and a case."""
    won = total = 0.0
    for (lesions, _), weight in zip(images, weights, strict=True):
        for lesion in lesions:
            for (others, wrong), other in zip(images, weights, strict=True):
                if others and cases == "normal":
                    continue
                mine, worst = (-np.inf if lesion is None else lesion), max(wrong, default=-np.inf)
                part = weight * other / (len(lesions) if weighted else 1)
                total += part
                won += part * ((mine > worst) + (mine == worst) / 2)
    return won / total if total else np.nan


def trapezoid(found, cases):
    """Return the area under the empirical curve with its straight line to (1, 1), each lesion alike."""
    worst = np.full(found.images, -np.inf)
    wrong = found.is_false_positive
    np.maximum.at(worst, found.prediction_image[wrong], found.prediction_score[wrong])
    worst = worst[found.is_normal | (found.is_positive & (cases == "all"))]
    steps = np.append(np.unique(found.prediction_score)[::-1], -np.inf)
    x = [0.0, *((worst >= step).mean() for step in steps)]
    y = [0.0, *((found.lesion_score >= step).mean() for step in steps)]
    return np.sum(np.diff(x) * (np.array(y[1:]) + y[:-1]) / 2)


@settings(max_examples=60, deadline=None)
@given(some_images, st.lists(st.lists(st.integers(0, 3), min_size=7, max_size=7), min_size=1, max_size=3))
def test_every_pair_counted_one_by_one(images, rows):
    found = matches(images)
    weights = np.array(rows, dtype=float)[:, : len(images)]
    for weighted, cases in ALL_FOUR:
        options = {"weighted": weighted, "false_positives_of": cases}
        point = afroc_area(found, **options)
        same(point, pairs(images, weighted, cases, np.ones(len(images))))
        same(point, afroc_area(found, image_weights=np.ones(len(images)), **options))
        if not weighted and np.isfinite(point):
            same(point, trapezoid(found, cases))
        resampled = afroc_area(found, image_weights=weights, **options)
        same(resampled, [pairs(images, weighted, cases, row) for row in weights])
        same(resampled[0], afroc_area(found, image_weights=weights[0], **options))
        repeated = [one for one, times in zip(images, rows[0], strict=False) for _ in range(times)]
        if repeated:
            same(resampled[0], afroc_area(matches(repeated), **options))


def same(one, other):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12, equal_nan=True)
