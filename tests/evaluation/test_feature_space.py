"""Maps of features are the same again; neighbours are the nearest of other patients, by plain computation."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine

from mammodet.evaluation.feature_figure import feature_figure
from mammodet.evaluation.feature_space import FeatureMap, feature_map, nearest, standardised


def clusters(count: int = 20, seed: int = 0) -> np.ndarray:
    """Return features [3 * count, 64] of three groups."""
    draw = np.random.default_rng(seed)
    middles = draw.normal(0, 4, (3, 64))
    return np.concatenate([middle + draw.normal(0, 1, (count, 64)) for middle in middles])


def test_a_map_is_the_same_again_and_keeps_groups_together():
    features = clusters()
    placed, again = feature_map(features), feature_map(features)
    assert isinstance(placed, FeatureMap) and isinstance(again, FeatureMap)
    np.testing.assert_array_equal(placed.points, again.points)
    assert placed.perplexity == pytest.approx(59 / 3)
    groups = np.repeat([0, 1, 2], 20)
    distances = np.linalg.norm(placed.points[:, None] - placed.points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(axis=1)] == groups).all()


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        (np.zeros((9, 4)), "9 cases are too few"),
        (np.zeros((12, 4)), "the same features"),
        (np.full((12, 4), np.nan), "not finite"),
    ],
)
def test_a_map_that_cannot_be_made_has_a_reason(features, reason):
    assert reason in feature_map(features)


@pytest.mark.parametrize("count", [10, 11, 40])
def test_few_cases_have_a_map(count):
    placed = feature_map(np.random.default_rng(0).normal(size=(count, 5)))
    assert isinstance(placed, FeatureMap) and placed.points.shape == (count, 2)
    assert 3 <= placed.perplexity < count and np.isfinite(placed.points).all()


def test_a_constant_feature_tells_nothing():
    features = np.array([[1.0, 0.1], [2.0, 0.1], [3.0, 0.1]])
    scaled = standardised(features, features)
    np.testing.assert_allclose(scaled[:, 0], [-1.2247449, 0, 1.2247449])
    assert (scaled[:, 1] == 0).all()


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cases=st.integers(1, 6),
    references=st.integers(1, 30),
    patients=st.integers(1, 5),
    count=st.integers(1, 8),
)
def test_neighbours_are_those_of_a_plain_computation(seed, cases, references, patients, count):
    draw = np.random.default_rng(seed)
    asked, known = draw.normal(size=(cases, 7)), draw.normal(size=(references, 7)) * 3 + 1
    whose, theirs = ([f"p{one}" for one in draw.integers(0, patients, n)] for n in (cases, references))
    found = nearest(asked, whose, known, theirs, count)
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    for row, patient, mine in zip(asked, whose, found, strict=True):
        others = [index for index, name in enumerate(theirs) if name != patient]
        assert len(mine) == min(count, len(others))
        if references == 1:
            continue  # a single one has no deviation
        plain = {
            index: cosine((row - mean) / deviation, (known[index] - mean) / deviation) for index in others
        }
        expected = sorted(others, key=lambda index: plain[index])[:count]
        assert [one.index for one in mine] == expected
        assert [one.distance for one in mine] == pytest.approx([plain[index] for index in expected])
        assert all(theirs[one.index] != patient for one in mine)


def test_a_case_is_no_neighbour_of_its_own():
    features = clusters(4)
    patients = [f"patient {index // 2}" for index in range(12)]
    for index, mine in enumerate(nearest(features, patients, features, patients, 12)):
        assert len(mine) == 10 and not {one.index // 2 for one in mine} & {index // 2}
    assert nearest(features, patients, features[:0], [], 3) == [[]] * 12


def test_the_figure_rings_errors_and_names_classes():
    placed = FeatureMap(np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32), 3.0)
    truth = [0] * 5 + [1] * 5 + [None] * 2
    figure = feature_figure(placed, ("no $x", "malignant"), truth, [0, 0, 0, 0, 1, *[1] * 7])
    (axes,) = figure.axes
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == [r"no \$x (5)", "malignant (5)", "truth unknown (2)", "classified wrong (1)"]
    (ringed,) = [one for one in axes.collections if one.get_label().startswith("classified")]
    np.testing.assert_allclose(ringed.get_offsets(), placed.points[4:5])
    figure.draw_without_rendering()


def test_torch_is_not_imported():
    code = "import sys, mammodet.evaluation.feature_figure; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
