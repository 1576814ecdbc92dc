"""Windows lie inside the image, centred where they can be; random negatives touch no annotation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.patch_macro import is_macrocalcification
from mammodet.datasets.patch_sampling import PUBLISHED, SamplingRule, published_rule, sample_windows
from mammodet.datasets.patch_windows import centred, clear_places, draw_places, window_means
from mammodet.datasets.standardise import Standardised


def lesion(number: int, x: float, y: float, width: float, height: float, **more: Any) -> dict[str, Any]:
    box = {"id": number, "image_id": 1, "category_id": 1, "bbox": [x, y, width, height]}
    return {**box, "finding": "calcification", **more}


def image(**more: Any) -> dict[str, Any]:
    return {"id": 1, "file_name": "a.png", "label": "benign", **more}


def film(height: int, width: int, pixels: np.ndarray | None = None) -> Standardised:
    shown = np.full((height, width), 0.5, np.float32) if pixels is None else pixels
    return Standardised(shown, Geometry(width, height), None)


@st.composite
def cases(draw: st.DrawFn) -> tuple[SamplingRule, list[dict[str, Any]], Standardised]:
    height, width = draw(st.integers(20, 90)), draw(st.integers(20, 90))
    annotations = []
    for number in range(1, 1 + draw(st.integers(0, 5))):
        x, y = draw(st.floats(0, width - 1)), draw(st.floats(0, height - 1))
        annotations.append(
            lesion(
                number,
                x,
                y,
                draw(st.floats(0.5, width - x)),
                draw(st.floats(0.5, height - y)),
                category_id=draw(st.integers(1, 2)),
                finding=draw(st.sampled_from(["calcification", "mass", "distortion"])),
                ignore=draw(st.integers(0, 1)),
                iscrowd=draw(st.integers(0, 1)),
            )
        )
    noise = np.random.default_rng(draw(st.integers(0, 99))).random((height, width), dtype=np.float32)
    rule = SamplingRule(
        draw(st.integers(8, 30)),
        findings=draw(st.sampled_from([None, ("calcification",)])),
        keep_larger=draw(st.booleans()),
        min_mean=draw(st.sampled_from([0.0, 0.5])),
        negatives=draw(st.floats(0, 5)),
        normal_negatives=draw(st.integers(0, 4)),
        masses=draw(st.booleans()),
        seed=draw(st.integers(0, 9)),
    )
    return rule, annotations, film(height, width, noise)


@settings(max_examples=200, deadline=None)
@given(cases())
def test_windows_lie_inside_and_negatives_touch_no_annotation(
    case: tuple[SamplingRule, list[dict[str, Any]], Standardised],
) -> None:
    rule, annotations, standardised = case
    height, width = standardised.pixels.shape
    sampled = sample_windows(rule, image(label="normal"), annotations, standardised)
    if min(height, width) < rule.size:
        assert sampled.windows == () and sampled.left_out == {"images smaller than a patch": 1}
        return
    assert len({(one.x, one.y) for one in sampled.windows}) == len(sampled.windows)
    for window in sampled.windows:
        assert 0 <= window.x <= width - rule.size and 0 <= window.y <= height - rule.size
        shown = standardised.pixels[window.y : window.y + rule.size, window.x : window.x + rule.size]
        if window.label == "normal":
            assert window.annotation is None and shown.mean() >= rule.min_mean - 1e-5
            for x, y, w, h in (one["bbox"] for one in annotations):
                apart = window.x > x + w or window.x + rule.size < x
                assert apart or window.y > y + h or window.y + rule.size < y
    assert sample_windows(rule, image(label="normal"), annotations, standardised) == sampled
    lesions = {one.annotation for one in sampled.windows if one.annotation}
    told = sum(sampled.left_out.values()) - sampled.left_out.get(
        "random negatives for which there is no place", 0
    )
    assert len(lesions) + told == len(annotations)  # nothing is left out untold


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(8, 40))
def test_a_window_is_centred_unless_the_border_is_in_the_way(data: st.DataObject, size: int) -> None:
    width, height = data.draw(st.integers(size, 100)), data.draw(st.integers(size, 100))
    x, y = data.draw(st.floats(0, width)), data.draw(st.floats(0, height))
    left, top = centred([x - 3, y - 2, x + 3, y + 2], size, width, height)
    for place, centre, whole in ((left, x, width), (top, y, height)):
        assert 0 <= place <= whole - size
        if 0 < place < whole - size:
            assert abs(place + size / 2 - centre) <= 0.5
        elif size / 2 + 1 < centre < whole - size / 2 - 1:
            assert abs(place + size / 2 - centre) <= 0.5  # not shifted without need
        else:
            assert place in {0, whole - size} or abs(place + size / 2 - centre) <= 0.5


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(12, 30), st.integers(12, 30), st.integers(0, 99))
def test_means_and_clear_places_are_those_of_every_window(
    size: int, height: int, width: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    pixels = random.random((height, width), dtype=np.float32)
    corner = random.uniform(-5, 30, 2)
    box = [*corner, *(corner + random.uniform(0.5, 9, 2))]
    means, clear = window_means(pixels, size), clear_places((height, width), size, [box])
    for y in range(height - size + 1):
        for x in range(width - size + 1):
            assert means[y, x] == pytest.approx(pixels[y : y + size, x : x + size].mean(), abs=1e-5)
            apart = x > box[2] or x + size < box[0] or y > box[3] or y + size < box[1]
            assert clear[y, x] == apart
    assert means.shape == clear.shape == (height - size + 1, width - size + 1)


def test_all_allowed_places_are_drawn_about_as_often() -> None:
    allowed = np.zeros((6, 7), bool)
    allowed[1, 2:5] = allowed[4, 6] = True
    random = np.random.default_rng(0)
    drawn = [draw_places(allowed, 1, random)[0] for _ in range(4000)]
    counts = {place: drawn.count(place) for place in set(drawn)}
    assert set(counts) == {(2, 1), (3, 1), (4, 1), (6, 4)} and min(counts.values()) > 900
    assert sorted(draw_places(allowed, 9, random)) == [(2, 1), (3, 1), (4, 1), (6, 4)]
    assert draw_places(np.zeros((3, 3), bool), 2, random) == []


def test_pesapane_takes_calcifications_and_as_many_negatives_of_the_same_image() -> None:
    rule = PUBLISHED["pesapane"]
    found = [
        lesion(1, 300, 300, 40, 40, category_id=2),
        lesion(2, 2, 2, 20, 20),
        lesion(3, 700, 700, 50, 50, finding="mass"),
        lesion(4, 500, 100, 9, 9, ignore=1),
    ]
    sampled = sample_windows(rule, image(), found, film(1000, 900))
    assert [(one.x, one.y, one.label) for one in sampled.windows[:2]] == [
        (264, 264, "malignant"),
        (0, 0, "benign"),
    ]
    assert [one.label for one in sampled.windows[2:]] == ["normal", "normal"]
    assert sampled.left_out == {"lesions of finding mass": 1, "ignored lesions and crowds": 1}
    assert sample_windows(rule, image(label="normal"), [], film(1000, 900)).windows == ()
    other = sample_windows(replace(rule, seed=1), image(), found, film(1000, 900))
    assert other.windows[:2] == sampled.windows[:2] and other.windows[2:] != sampled.windows[2:]


def test_a_negative_is_bright_enough_or_there_is_none() -> None:
    dark = np.full((400, 400), 0.1, np.float32)
    sampled = sample_windows(PUBLISHED["pesapane"], image(), [lesion(1, 10, 10, 9, 9)], film(400, 400, dark))
    assert [one.label for one in sampled.windows] == ["benign"]
    assert sampled.left_out == {"random negatives for which there is no place": 1}


def breast(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    inside = (columns / (0.7 * width)) ** 2 + ((rows - height / 2) / (0.48 * height)) ** 2 < 1
    texture = np.random.default_rng(0).normal(0, 0.02, inside.shape)
    return np.where(inside, 0.5 + texture, 0.01).clip(0, 1).astype(np.float32)


def test_mracko_shifts_clusters_leaves_out_larger_ones_and_takes_three_kinds_of_negatives() -> None:
    rule, pixels = replace(PUBLISHED["mracko"], size=200), breast(1200, 900)
    found = [
        lesion(1, 0, 500, 150, 150, category_id=2),
        lesion(2, 300, 500, 201, 40),
        lesion(3, 300, 900, 60, 60, finding="mass", ignore=1),
        lesion(4, 250, 250, 30, 30, subtype={"calc_type": "LARGE_RODLIKE"}),
        lesion(5, 20, 520, 30, 30, finding="mass"),
    ]
    sampled = sample_windows(rule, image(), found, film(1200, 900, pixels))
    labels = [one.label for one in sampled.windows]
    assert labels == ["malignant", "mass", "macrocalcification", "normal"]
    assert (sampled.windows[0].x, sampled.windows[0].y) == (0, 475)
    assert sampled.left_out == {
        "lesions larger than a patch": 1,
        "mass windows that show a cluster too": 1,
    }


def test_healthy_tissue_of_mracko_is_at_least_seventy_percent_breast() -> None:
    rule, pixels = replace(PUBLISHED["mracko"], size=200, normal_negatives=40), breast(1200, 900)
    inside = pixels > 0.2
    sampled = sample_windows(rule, image(label="normal"), [], film(1200, 900, pixels))
    shares = [inside[one.y : one.y + 200, one.x : one.x + 200].mean() for one in sampled.windows]
    assert len(shares) == 40 and min(shares) > 0.66  # the search for the breast runs on 256 px
    assert min(shares) < 0.95  # not only its middle


def test_an_image_that_is_labelled_but_has_no_box_gives_no_negatives() -> None:
    sampled = sample_windows(PUBLISHED["mracko"], image(label="malignant"), [], film(900, 900))
    assert sampled.windows == ()
    assert sampled.left_out == {"images with a label but no box, which give no negatives": 1}


def test_boxes_go_through_the_geometry_and_lesions_outside_the_crop_are_told() -> None:
    geometry = Geometry(1000, 1000).crop(500, 0, 500, 1000).scale(250, 500)
    pixels = np.full((500, 250), 0.5, np.float32)
    found = [lesion(1, 700, 400, 40, 40), lesion(2, 100, 100, 40, 40)]
    sampled = sample_windows(
        SamplingRule(64, negatives=0), image(), found, Standardised(pixels, geometry, None)
    )
    assert [(one.x, one.y) for one in sampled.windows] == [(110 - 32, 210 - 32)]
    assert sampled.left_out == {"lesions whose centre lies outside the crop": 1}


def test_of_lesions_with_one_window_the_worst_counts() -> None:
    found = [lesion(1, 50, 50, 8, 8), lesion(2, 48, 48, 12, 12, category_id=2)]
    sampled = sample_windows(SamplingRule(32, negatives=0), image(), found, film(200, 200))
    assert [(one.label, one.annotation) for one in sampled.windows] == [("malignant", 2)]
    assert sampled.left_out == {"lesions with the window of another one": 1}


@pytest.mark.parametrize(
    ("more", "macro"),
    [
        ({"subtype": {"calc_type": "COARSE"}}, True),
        ({"subtype": {"calc_type": "ROUND_AND_REGULAR-LUCENT_CENTER-DYSTROPHIC"}}, True),
        ({"subtype": {"calc_type": "ROUND_AND_REGULAR"}}, False),
        ({"subtype": {"calc_type": "COARSE-PLEOMORPHIC"}}, False),
        ({"subtype": {"calc_type": "AMORPHOUS"}}, False),
        ({"subtype": {"calc_type": "VASCULAR"}, "category_id": 2}, False),
        ({"subtype": {"calc_type": "EGGSHELL"}, "finding": "mass"}, False),
        ({"provenance": {"flags": ["calcifications", "milk_of_calcium"]}}, True),
        ({"provenance": {"flags": ["suspicious_calcifications", "milk_of_calcium"]}}, False),
        ({}, False),
    ],
)
def test_macrocalcifications_are_those_of_typically_benign_form(more: dict[str, Any], macro: bool) -> None:
    assert is_macrocalcification(lesion(1, 0, 0, 9, 9, **more)) is macro


def test_values_out_of_range_are_refused() -> None:
    for name, value in (("size", 4), ("min_mean", 1.5), ("negatives", -1.0), ("seed", -1)):
        with pytest.raises(InputError, match=name):
            published_rule("pesapane", **{name: value})
    with pytest.raises(InputError, match="pesapane, mracko"):
        published_rule("other")
