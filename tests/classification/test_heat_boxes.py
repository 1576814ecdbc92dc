"""Boxes cut out of a heatmap: exact in the file, scored by a rule, evaluated like those of a detector."""

from __future__ import annotations

import numpy as np
import pytest

from mammodet.classification.window_heat import average_windows, heat_boxes
from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import Coco, read_results
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.evaluation.froc import froc_curve, sensitivity_at
from mammodet.evaluation.froc_matching import match_froc
from mammodet.evaluation.hit_rules import HitRule


class TestBoxes:
    GEOMETRY = Geometry(40, 50).crop(4, 6, 30, 40).flip()

    def _heat(self, values):
        """Return heat of 10 x 10 px windows that do not overlap; ``values`` [4, 3], NaN for no window."""
        values = np.array(values)
        rows, columns = np.nonzero(~np.isnan(values))
        windows = np.stack([columns * 10, rows * 10], axis=1)
        return average_windows(windows, values[rows, columns], 10, self.GEOMETRY)

    def test_a_region_becomes_its_exact_box_in_the_file(self):
        nan = np.nan
        heat = self._heat([[0.9, 0.2, nan], [0.1, 0.1, nan], [0.1, 0.6, 0.1], [0.1, 0.1, 0.7]])
        boxes = heat_boxes(heat, 7, 2)
        assert [box["image_id"] for box in boxes] == [7, 7] and {box["category_id"] for box in boxes} == {2}
        assert [box["score"] for box in boxes] == pytest.approx([0.9, 0.7])
        # Mirrored in the crop: the first column of windows lies at the right, 4 + 30 - 10 = 24.
        assert boxes[0]["bbox"] == [24, 6, 10, 10]
        # Touching at a corner makes one region: columns 10 to 30, rows 20 to 40 of the crop.
        assert boxes[1]["bbox"] == [4, 26, 20, 20]

    def test_the_box_is_where_the_heat_is(self):
        heat = self._heat(np.random.default_rng(3).random((4, 3)))
        source = heat.to_source()
        for box in heat_boxes(heat, 1, 1, threshold=0.6):
            x, y, width, height = (int(side) for side in box["bbox"])
            inside = source[y : y + height, x : x + width]
            assert inside.max() == pytest.approx(box["score"])
            for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert edge.max() >= 0.6  # no smaller box holds the region

    def test_the_mean_is_over_the_area(self):
        windows = np.array([[0, 0], [2, 0]])  # cells 2, 8 and 2 px wide: 1.0, 0.8, 0.6
        heat = average_windows(windows, np.array([1.0, 0.6]), 10, Geometry(12, 10))
        (box,) = heat_boxes(heat, 1, 1, threshold=0.5, score="mean")
        assert box["score"] == pytest.approx(0.8) and box["bbox"] == [0, 0, 12, 10]
        assert heat_boxes(heat, 1, 1, threshold=0.5)[0]["score"] == pytest.approx(1.0)

    def test_a_box_that_lies_in_padding_is_cut_off(self):
        heat = average_windows(
            np.array([[0, 0], [10, 0]]), np.array([0.9, 0.1]), 10, Geometry(15, 10).pad(5, 0, 0, 0)
        )
        assert heat_boxes(heat, 1, 1)[0]["bbox"] == [0, 0, 5, 10]

    def test_nothing_hot_gives_no_box(self):
        assert heat_boxes(self._heat(np.full((4, 3), 0.4)), 1, 1) == []

    @pytest.mark.parametrize("options", [{"threshold": 0.0}, {"threshold": 1.1}, {"score": "median"}])
    def test_bad_options_are_named(self, options):
        with pytest.raises(InputError, match=next(iter(options))):
            heat_boxes(self._heat(np.full((4, 3), 0.4)), 1, 1, **options)


def test_its_boxes_are_evaluated_by_froc_like_those_of_a_detector(tmp_path):
    image = {"id": 1, "file_name": "a.png", "width": 90, "height": 120, "patient_id": "p"}
    lesion = {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "bbox": [30.0, 40.0, 16.0, 16.0],
        "area": 256.0,
        "iscrowd": 0,
    }
    windows = np.array([[32, 40], [64, 80]])
    heat = average_windows(windows, np.array([0.9, 0.6]), 16, Geometry(90, 120))
    path = tmp_path / "results.json"
    write_json(path, heat_boxes(heat, 1, 2))
    coco = Coco([image], [lesion], tmp_path / "coco.json")
    matches = match_froc(coco, read_results(path, coco), HitRule.parse("overlap"))
    assert sensitivity_at(matches, [0.0, 1.0]).tolist() == [1.0, 1.0]
    assert froc_curve(matches).false_positives[-1] == 1  # the second box, which hits nothing
