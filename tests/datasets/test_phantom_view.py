"""What the pictures of a phantom show: chest wall, lesions, and how they can be told apart."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.masks import mask_to_bbox
from mammodet.datasets.phantom_config import SIDES, VIEWS, PhantomConfig
from mammodet.datasets.phantom_lesions import KINDS, draw_lesion
from mammodet.datasets.phantom_texture import Spectrum, power_law_field
from mammodet.datasets.phantom_view import RenderedView, plan_patient, render_view

DEMO = PhantomConfig(seed=11, height=512, width=416, spacing_mm=0.4, lesion_rate=1.0, second_lesion_rate=0.0)


@pytest.fixture(scope="module")
def demo_views() -> list[tuple[str, str, RenderedView]]:
    """Every lesion kind on both views: the ten patients among whom the kinds are dealt out."""
    return [
        (side, view, render_view(DEMO, plan_patient(DEMO, number), side, view))
        for number in range(1, 11)
        for side in SIDES
        for view in VIEWS
    ]


def test_pixels_are_float32_from_air_to_white(demo_views: list[tuple[str, str, RenderedView]]) -> None:
    for _, _, rendered in demo_views:
        assert rendered.pixels.shape == (512, 416)
        assert rendered.pixels.dtype == np.float32
        assert rendered.pixels.min() == 0
        assert 0.5 < rendered.pixels.max() <= 1


def test_chest_wall_is_left_on_a_left_breast(demo_views: list[tuple[str, str, RenderedView]]) -> None:
    for side, _, rendered in demo_views:
        wall, air = (0, -1) if side == "L" else (-1, 0)
        assert (rendered.pixels[:, wall] > 0).mean() > 0.4
        assert (rendered.pixels[:, air] > 0).mean() == 0


def test_muscle_is_at_the_upper_chest_wall_of_mlo(demo_views: list[tuple[str, str, RenderedView]]) -> None:
    for side, view, rendered in demo_views:
        hung = rendered.pixels if side == "L" else rendered.pixels[:, ::-1]
        corner, breast = np.median(hung[5:60, 2:12]), np.median(hung[hung > 0])
        assert view != "MLO" or corner > breast + 0.08


def test_lesions_lie_in_the_breast_and_are_large_enough(
    demo_views: list[tuple[str, str, RenderedView]],
) -> None:
    for _, _, rendered in demo_views:
        for one in rendered.lesions:
            assert (rendered.pixels[one.mask] > 0).mean() > 0.98
            bbox = mask_to_bbox(one.mask)
            assert bbox is not None
            assert min(bbox[2:]) >= 14
            assert max(bbox[2:]) <= 36 / DEMO.spacing_mm


def test_lesions_are_brighter_than_what_is_around_them(
    demo_views: list[tuple[str, str, RenderedView]],
) -> None:
    for _, _, rendered in demo_views:
        for one in rendered.lesions:
            around = (
                cv2.dilate(one.mask.astype(np.uint8), np.ones((15, 15), np.uint8)).astype(bool) & ~one.mask
            )
            inside = np.percentile(rendered.pixels[one.mask], 98)
            assert inside > np.percentile(rendered.pixels[around & (rendered.pixels > 0)], 75)


def test_mask_is_what_the_lesion_adds() -> None:
    """Two renderings that differ by the lesion's contrast alone differ in the mask and hardly outside."""
    for number in range(1, 4):
        patient = plan_patient(DEMO, number)
        patient = replace(
            patient,
            sides={k: replace(v, distractors=[], calcified_vessel=False) for k, v in patient.sides.items()},
        )
        with_lesion = render_view(DEMO, patient, "R", "MLO")
        bare = replace(patient, sides={k: replace(v, lesions=[]) for k, v in patient.sides.items()})
        without = render_view(DEMO, bare, "R", "MLO")
        added = np.abs(with_lesion.pixels - without.pixels)
        mask = np.logical_or.reduce([one.mask for one in with_lesion.lesions])
        assert added[mask].sum() > 0.93 * added.sum()
        tight = mask_to_bbox(added > 0.02)
        bbox = mask_to_bbox(mask)
        assert tight is not None
        assert bbox is not None
        assert np.abs(np.subtract(tight, bbox)).max() <= 3.0 / DEMO.spacing_mm


def test_conspicuity_scales_the_contrast() -> None:
    patient = plan_patient(DEMO, 1)
    views = [render_view(replace(DEMO, conspicuity=c), patient, "L", "CC") for c in (0.05, 0.5, 1.0)]
    mask = views[0].lesions[0].mask
    faint, subtle, clear = (float(view.pixels[mask].mean()) for view in views)
    assert faint < subtle < clear


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
def test_lesions_have_physical_sizes(seed: int, kind: tuple[str, str]) -> None:
    lesion = draw_lesion(np.random.default_rng(seed), 1, *kind)
    if lesion.finding == "mass":
        assert lesion.body is not None
        assert 2 * max(lesion.body.radii) >= 6
        assert 2 * lesion.extent_mm() <= 36
        assert (len(lesion.strokes) > 0) == (lesion.pathology == "malignant")
        return
    ends = np.r_[lesion.strokes[:, :3], lesion.strokes[:, 3:6]]
    assert 5 <= np.ptp(ends, axis=0).max() <= 30
    assert lesion.strokes[:, 6:8].min() > 0.05
    assert lesion.strokes[:, 6:8].max() <= 0.9


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_malignant_clusters_have_more_and_benign_rounder_particles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    benign, malignant = (
        draw_lesion(rng, 1, pathology, "calcification") for pathology in ("benign", "malignant")
    )
    assert len(malignant.strokes) >= 2 * len(benign.strokes)
    lengths = np.linalg.norm(benign.strokes[:, 3:6] - benign.strokes[:, :3], axis=1)
    assert (lengths == 0).all()


def test_a_lesion_is_as_far_behind_the_nipple_on_both_views() -> None:
    for number in range(1, 6):
        for side in plan_patient(DEMO, number).sides.values():
            for lesion in side.lesions:
                for view in side.breast.views.values():
                    assert view.outline[:, 0].max() - view.nipple[0] < 6  # the nipple is where the outline is
                    assert lesion.centre[0] < view.nipple[0]


def test_power_law_field_has_the_slope_asked_for() -> None:
    field = power_law_field(np.random.default_rng(0), (512, 512), 0.3, Spectrum(0.01, 1e6, beta=3.0))
    power = np.abs(np.fft.rfft2(field)) ** 2
    radius = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None, :])
    rings = [
        (low, power[(radius >= low) & (radius < 1.2 * low)].mean()) for low in np.geomspace(0.02, 0.3, 12)
    ]
    slope = np.polyfit(*np.log(np.array(rings)).T, 1)[0]
    assert slope == pytest.approx(-3.0, abs=0.15)
