"""Agreement of two sets of boxes: both ways, by image, class, overlap and score."""

from __future__ import annotations

import pytest

from mammodet.evaluation.agreement import Agreement, agreement


def _box(x: float, score: float, image: int = 1, category: int = 1) -> dict[str, object]:
    return {"image_id": image, "category_id": category, "bbox": [x, 0.0, 100.0, 100.0], "score": score}


def test_agreement_asks_for_overlap_class_image_and_score():
    reference = [_box(0, 0.9)]
    assert agreement(reference, [_box(1, 0.91)]) == Agreement(2, 2, pytest.approx(0.01))
    for other in (_box(10, 0.9), _box(0, 0.9, category=2), _box(0, 0.9, image=2)):
        assert agreement(reference, [other]).share == 0
    assert agreement(reference, [_box(0, 0.8)]) == Agreement(2, 0, pytest.approx(0.1))
    assert agreement(reference, []) == Agreement(1, 0, 0.0)
    assert agreement([], []).share == 1


def test_a_box_at_the_threshold_may_have_its_partner_below_it():
    assert agreement([_box(0, 0.301)], [_box(0, 0.299)]) == Agreement(1, 1, pytest.approx(0.002))
