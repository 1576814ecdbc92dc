"""Rows of panels: every panel at its size and place, and sheets that hold them all."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.classification.case_pictures import (
    Panel,
    Row,
    case_panel,
    draw_row,
    draw_sheet,
    panel_size,
    panels_of,
)


def panel(width: int, height: int, value: int) -> np.ndarray:
    picture = np.full((height, width, 3), value, np.uint8)
    picture[0, 0] = picture[-1, -1] = 255 - value
    return picture


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((112, 112), (320, 320)), ((674, 674), (674, 674)), ((4096, 3328), (585, 720)), ((1, 3), (320, 107))],
)
def test_small_inputs_are_enlarged_and_large_ones_reduced(shape, expected):
    assert panel_size(*shape) == expected
    assert case_panel(np.zeros(shape, np.float32)).shape == (*expected[::-1], 3)


@settings(deadline=None)
@given(width=st.integers(1, 300), height=st.integers(1, 300), count=st.integers(1, 4))
def test_panels_can_be_cut_out_of_a_row_again(width, height, count):
    pictures = [panel(width, height, 40 * number) for number in range(count)]
    row = Row(
        "wrong", "a file", "wrong", [Panel(f"panel {index}", one) for index, one in enumerate(pictures)]
    )
    found = panels_of(draw_row(row), count)
    assert len(found) == count
    for one, other in zip(found, pictures, strict=True):
        np.testing.assert_array_equal(one, other)


def test_heat_and_boxes_lie_on_the_panel_where_they_lie_on_the_input():
    pixels, heat = np.full((1440, 1080), 0.5, np.float32), np.zeros((1440, 1080), np.float32)
    heat[1000:1100, 200:300] = 1
    plain = case_panel(pixels)
    assert (plain == 128).all()
    hot = case_panel(pixels, heat)
    red = (hot[:, :, 0].astype(int) - hot[:, :, 2]) > 40
    rows, columns = np.nonzero(red)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx(
        (500, 549, 100, 149), abs=1
    )
    boxed = case_panel(pixels, None, [{"bbox": [200, 1000, 100, 100], "category_id": 2, "provenance": {}}])
    rows, columns = np.nonzero((boxed != plain).any(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx(
        (500, 549, 100, 149), abs=1
    )


def test_a_sheet_holds_every_panel_reduced():
    rows = [
        Row(
            f"row {one}", "", "right", [Panel("x", panel(400, 500, 60 + one)), Panel("y", panel(40, 20, 200))]
        )
        for one in range(3)
    ]
    sheet = draw_sheet(
        [("worst", rows[:2]), ("best", rows[2:])], "a $title with letters such as ä and \udce9"
    )
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    for one in range(3):
        assert ((sheet == 60 + one).all(axis=2).sum()) == pytest.approx(160 * 200, rel=0.02)
    assert ((sheet == 200).all(axis=2).sum()) >= 3 * (40 * 20 - 2)


def test_torch_is_not_imported():
    code = "import sys, mammodet.classification.case_pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
