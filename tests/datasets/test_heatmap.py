"""Heat of a network lies where it belongs on the mammogram, whatever was done to the pixels before."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mammodet.datasets.geometry import Geometry
from mammodet.datasets.heatmap import (
    concentration,
    field_of_view,
    paint,
    panels,
    peak,
    sample,
    to_source,
    write_heat,
)

GEOMETRIES = {
    "whole": Geometry(120, 160),
    "cropped": Geometry(120, 160).crop(24, 32, 80, 96),
    "cropped and mirrored": Geometry(120, 160).crop(24, 32, 80, 96).flip(),
    "shrunk": Geometry(240, 320).crop(48, 64, 160, 192).scale(80, 96),
    "padded": Geometry(120, 160).crop(30, 40, 70, 80).pad(8, 4, 2, 12).flip(),
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize(("stride", "first"), [(4, 0), (8, 0), (8, 7)])
def test_a_hot_cell_is_hottest_at_its_pixel_of_the_source(geometry: Geometry, stride: int, first: int):
    row, column = 5, 6
    values = np.zeros((-(-geometry.height // stride), -(-geometry.width // stride)), np.float32)
    values[row, column] = 1
    heat = to_source(values, stride, geometry, first=first)
    assert heat.shape == (geometry.source_height, geometry.source_width) and heat.dtype == np.float32
    at_x, at_y = first + column * stride, first + row * stride
    pixel = [at_x, at_y, at_x + 1, at_y + 1]
    x1, y1, x2, y2 = geometry.boxes_to_source([pixel])[0]
    x, y = peak(heat)
    assert x1 - 1 <= x < x2 + 1 and y1 - 1 <= y < y2 + 1
    assert heat[y, x] == pytest.approx(1, abs=0.3 if "shrunk" else 0)


def test_a_ramp_over_cells_is_a_ramp_over_pixels():
    values = np.arange(10, dtype=np.float32)[None].repeat(8, axis=0)
    heat = to_source(values, 4, Geometry(37, 29))
    np.testing.assert_allclose(heat[3, :36], np.arange(36) / 4, atol=1e-5)


def test_there_is_no_heat_where_the_model_saw_nothing():
    geometry = GEOMETRIES["cropped and mirrored"]
    heat = to_source(np.ones((24, 20), np.float32), 4, geometry)
    x1, y1, x2, y2 = field_of_view(geometry)
    assert (x1, y1, x2, y2) == (24, 32, 104, 128)
    assert (heat[y1:y2, x1:x2] == 1).all() and heat.sum() == (x2 - x1) * (y2 - y1)


def test_sampling_at_some_places_gives_what_the_whole_heatmap_has_there():
    geometry = GEOMETRIES["cropped and mirrored"]
    values = np.random.default_rng(0).random((24, 20), dtype=np.float32)
    whole = to_source(values, 4, geometry)
    x, y = np.array([30, 60, 90]), np.array([50, 51])
    np.testing.assert_allclose(sample(values, 4, geometry, x + 0.5, y + 0.5), whole[np.ix_(y, x)], atol=1e-6)


def test_heat_is_painted_from_blue_to_red_and_nothing_is_painted_without_heat():
    pixels = np.full((4, 5), 0.4, np.float32)
    heat = np.zeros((4, 5), np.float32)
    assert (paint(pixels, heat) == 102).all()
    heat[1, 1], heat[2, 2] = 0.6, 0.06
    painted = paint(pixels, heat).astype(int)
    assert painted[1, 1, 0] > painted[1, 1, 2] + 40 and painted[2, 2, 2] > painted[2, 2, 0]
    assert (painted[0] == 102).all()


def test_concentration_tells_the_share_of_heat_and_area_in_boxes():
    heat = np.zeros((10, 20), np.float32)
    heat[2:4, 3:6], heat[8, 18] = 0.5, 1.0
    inside = concentration(heat, [{"bbox": [3, 2, 3, 2]}])
    assert inside.heat == pytest.approx(3 / 4) and inside.area == pytest.approx(6 / 200)
    assert not inside.peak_inside
    assert concentration(heat, [{"bbox": [17.5, 7.5, 1, 1]}, {"bbox": [17.5, 7.5, 1, 1]}]).peak_inside
    nothing = concentration(np.zeros((10, 20), np.float32), [{"bbox": [0, 0, 5, 5]}])
    assert not nothing.peak_inside and nothing.heat == 0


def test_a_stored_heatmap_can_be_read_back(tmp_path: Path):
    heat = np.random.default_rng(1).random((30, 20), dtype=np.float32)
    write_heat(tmp_path / "heat.png", heat)
    stored = cv2.imread(str(tmp_path / "heat.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    np.testing.assert_allclose(stored / 65535, heat, atol=1e-5)


def test_panels_hold_every_picture_beside_the_other():
    pictures = [("a", np.full((40, 30), value, np.float32), False) for value in (0.2, 0.4, 0.6)]
    sheet = panels([pictures[:2], pictures[2:]])
    assert {51, 102, 153} <= set(np.unique(sheet).tolist())
    assert sheet.shape[0] > 2 * 40 and sheet.shape[1] > 2 * 30
