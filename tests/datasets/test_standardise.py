"""Crops that keep the breast and drop the rest; resampling, orientation, and the record of it all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.mammogram import Mammogram, read_mammogram
from mammodet.datasets.standardise import Recipe, breast_bbox, standardise


def _phantom(height: int = 1000, width: int = 800, *, right: bool = False) -> np.ndarray:
    """Half an ellipse at the chest wall, fading to its skin, with noise."""
    rows, columns = np.mgrid[:height, :width]
    radius = np.hypot(columns / (0.55 * width), (rows - 0.5 * height) / (0.38 * height))
    pixels = np.clip(1.05 - radius, 0, 0.6) + 0.1 * (radius < 1)
    pixels = np.clip(pixels + np.random.default_rng(0).normal(0, 0.004, pixels.shape), 0, 1)
    return np.ascontiguousarray(pixels[:, ::-1] if right else pixels, dtype=np.float32)


BREAST = (0, 120, 440, 760)  # x, y, width, height of the ellipse


def _mammogram(pixels: np.ndarray, **facts: object) -> Mammogram:
    known: dict[str, object] = {
        "laterality": "L",
        "view": "CC",
        "patient_id": "p",
        "study_id": "s",
        "spacing_mm": None,
        "spacing_source": None,
        "bit_depth": 12,
        "recipe": Recipe(),
    }
    return Mammogram(pixels=pixels, path=Path("x.png"), **{**known, **facts})  # type: ignore[arg-type]


def _holds(bbox: tuple[int, int, int, int], slack: int = 40) -> bool:
    """Tell whether a box holds the whole breast of the phantom and not much more."""
    x, y, width, height = bbox
    left, top, breast_width, breast_height = BREAST
    inside = x == left and y <= top and x + width >= left + breast_width and y + height >= top + breast_height
    return inside and width <= breast_width + 2 * slack and height <= breast_height + 2 * slack


def test_the_breast_of_a_clean_image() -> None:
    assert _holds(breast_bbox(_phantom()))


def test_labels_and_markers_are_left_out() -> None:
    pixels = _phantom()
    pixels[40:110, 600:760] = 1
    pixels[900:930, 500:700:2] = 0.9
    assert _holds(breast_bbox(pixels))


def test_film_fog_and_scanner_edges_are_left_out() -> None:
    pixels = np.maximum(_phantom(), 0.03).astype(np.float32)
    pixels[:, 780:] = 1
    pixels[:, 770:780] = 0
    pixels[:12] = 0.9
    assert _holds(breast_bbox(pixels), slack=60)


def test_dark_borders_of_a_digitiser_frame() -> None:
    inside = np.maximum(_phantom(), 0.05)
    framed = np.pad(inside, ((0, 0), (150, 150))).astype(np.float32)
    x, y, width, height = breast_bbox(framed)
    assert 100 <= x <= 150
    assert 590 <= x + width <= 680
    assert y <= 120
    assert y + height >= 880


def test_tissue_at_the_edge_is_never_cut() -> None:
    right = _phantom(right=True)
    x, _, width, _ = breast_bbox(right)
    assert x + width == 800
    assert breast_bbox(_phantom()[200:800]) == (0, 0, breast_bbox(_phantom()[200:800])[2], 600)
    full = np.random.default_rng(0).uniform(0.5, 0.9, (600, 500)).astype(np.float32)
    assert breast_bbox(full) == (0, 0, 500, 600)


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (3, 500), (700, 2)])
def test_odd_images_are_kept_whole(shape: tuple[int, int]) -> None:
    kept = standardise(_mammogram(np.zeros(shape, dtype=np.float32)), Recipe())
    assert kept.pixels.shape == shape
    assert kept.notes == ("breast not found: whole image kept",)


def test_real_crops_hold_every_lesion_and_are_smaller_than_the_film(shared_data: Path) -> None:
    films = {path.stem: path for path in (shared_data / "mini-mias").glob("*.pgm")}
    pixels = {stem: read_mammogram(path).pixels for stem, path in films.items()}
    boxes = {stem: breast_bbox(film) for stem, film in pixels.items()}
    areas = [width * height / 1024**2 for _, _, width, height in boxes.values()]
    assert len(areas) == 118
    assert max(areas) < 0.97
    assert np.mean(areas) < 0.55
    rows = (shared_data / "mini-mias" / "Info.txt").read_text(errors="replace")
    lesions = re.findall(r"^(mdb\d+) \w \w{4} [BM] (\d+) (\d+) (\d+)\s*$", rows, flags=re.MULTILINE)
    lesions = [(stem, *map(int, rest)) for stem, *rest in lesions if stem in boxes]
    assert len(lesions) > 30
    for stem, column, row, radius in lesions:
        x, y, width, height = boxes[stem]
        lost = np.zeros((1024, 1024), dtype=bool)
        lost[max(0, 1024 - row - radius) : 1024 - row + radius, max(0, column - radius) : column + radius] = 1
        lost[y : y + height, x : x + width] = 0
        # Circles run over the edge of the film: what a crop takes from them has to be black.
        assert not lost.any() or pixels[stem][lost].mean() < 0.02, stem


def test_real_crops_drop_the_air(shared_data: Path) -> None:
    for name, widest in (("L-CC", 1500), ("R-CC", 1300), ("L-MLO", 1600), ("R-MLO", 1400)):
        x, _, width, height = breast_bbox(read_mammogram(shared_data / "exam" / f"{name}.png").pixels)
        assert x == 0
        assert 1000 < width < widest
        assert height > 2500
    x, y, width, height = breast_bbox(read_mammogram(shared_data / "dicom" / "ge_essential_r_mlo.dcm").pixels)
    assert x + width == 2394
    assert y == 0
    assert width < 1400
    assert height < 2500


def test_the_whole_image_without_crop() -> None:
    pixels = _phantom()
    kept = standardise(_mammogram(pixels), Recipe(crop=False))
    np.testing.assert_array_equal(kept.pixels, pixels)
    assert kept.geometry == Geometry(800, 1000)


def test_right_breasts_are_mirrored_on_demand() -> None:
    right = _mammogram(_phantom(right=True), laterality="R", spacing_mm=(0.1, 0.1))
    mirrored = standardise(right, Recipe(orient_left=True))
    straight = standardise(right, Recipe())
    np.testing.assert_array_equal(mirrored.pixels, straight.pixels[:, ::-1])
    assert mirrored.pixels.flags.c_contiguous
    assert mirrored.spacing_mm == (0.1, 0.1)
    unknown = standardise(_mammogram(_phantom(), laterality=None), Recipe(orient_left=True))
    assert unknown.notes == ("laterality unknown: not mirrored",)


def test_resampling_reaches_the_wanted_pixel_size() -> None:
    kept = standardise(_mammogram(_phantom(), spacing_mm=(0.1, 0.05)), Recipe(crop=False, spacing_mm=0.2))
    assert kept.pixels.shape == (500, 200)
    assert kept.spacing_mm == pytest.approx((0.2, 0.2))
    cropped = standardise(_mammogram(_phantom(), spacing_mm=(0.07, 0.07)), Recipe(spacing_mm=0.1))
    assert cropped.spacing_mm == pytest.approx((0.1, 0.1), rel=0.01)
    corners = cropped.geometry.boxes_to_source([[0, 0, cropped.geometry.width, cropped.geometry.height]])[0]
    crop = cropped.geometry.to_dict()["steps"][0]
    expected = [crop["x"], crop["y"], crop["x"] + crop["width"], crop["y"] + crop["height"]]
    np.testing.assert_allclose(corners, expected, atol=1e-3)


def test_resampling_without_a_pixel_size_is_refused() -> None:
    with pytest.raises(InputError, match="assumed_spacing_mm"):
        standardise(_mammogram(_phantom()), Recipe(spacing_mm=0.1))


def test_a_margin_stays_inside_the_image() -> None:
    _, _, width, height = breast_bbox(_phantom())
    wide = standardise(_mammogram(_phantom()), Recipe(crop_margin_px=50)).geometry
    assert (wide.width, wide.height) == (width + 50, height + 100)
    whole = standardise(_mammogram(_phantom()), Recipe(crop_margin_px=5000)).geometry
    assert (whole.width, whole.height) == (800, 1000)


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(voi="HARDER", spacing_mm=0.1, orient_left=True, invert="header")
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    "broken",
    [
        {"colour": 1},
        {"invert": "maybe"},
        {"intensity": "bright"},
        {"spacing_mm": 0},
        {"assumed_spacing_mm": 100},
        {"crop_margin_px": -1},
    ],
)
def test_broken_recipes_are_refused(broken: dict[str, object]) -> None:
    with pytest.raises(InputError, match="recipe"):
        Recipe.from_dict(broken)


@pytest.mark.parametrize("voi", [-1, "-1"])
def test_windows_are_counted_from_0(voi: int | str) -> None:
    with pytest.raises(InputError, match=r"recipe\.voi: must not be negative"):
        Recipe(voi=voi)
    assert Recipe(voi=0).voi == 0


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((400, 300), (1067, 800)),
        ((3328, 1408), (1333, 564)),
        ((300, 900), (444, 1333)),
        ((800, 800), (800, 800)),
    ],
)
def test_resizing_to_sides_is_that_of_torchvision(size, expected):
    """Golden: min_size 800 and max_size 1333 of torchvision's GeneralizedRCNNTransform, to a pixel."""
    height, width = size
    mammogram = _mammogram(np.ones(size, np.float32), spacing_mm=(0.07, 0.07))
    done = standardise(mammogram, Recipe(crop=False, resize_px=(800, 1333)))
    assert done.pixels.shape == expected
    scale = expected[0] / height
    assert done.spacing_mm is not None and done.spacing_mm[0] == pytest.approx(0.07 / scale)
    transform = GeneralizedRCNNTransform(800, 1333, [0.0], [1.0])
    torchvision_size = transform.resize(torch.zeros(1, height, width), None)[0].shape[-2:]
    assert np.abs(np.subtract(torchvision_size, expected)).max() <= 1


@pytest.mark.parametrize(
    "options",
    [{"resize_px": (800, 700)}, {"resize_px": (8, 16)}, {"resize_px": (800, 1333), "spacing_mm": 0.1}],
)
def test_impossible_sides_are_named(options):
    with pytest.raises(InputError, match=r"recipe\.resize_px"):
        Recipe(**options)


def test_a_recipe_with_sides_survives_json():
    recipe = Recipe(resize_px=(800, 1333))
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
