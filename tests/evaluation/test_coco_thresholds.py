"""COCO's numbers at other thresholds and numbers of boxes: pycocotools' own with its params set."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest

from mammodet.datasets.coco import read_coco, read_results
from mammodet.datasets.errors import InputError
from mammodet.evaluation.coco_thresholds import ThresholdProtocol, coco_thresholds
from mammodet.evaluation.detection_metrics import class_names, coco_metrics, match_boxes
from mammodet.evaluation.group_tables import threshold_table
from mammodet.evaluation.resampling import PatientResamples


@pytest.fixture(scope="module")
def val2014(shared_data):
    coco = read_coco(shared_data / "coco" / "instances_val2014_100.json", profile=False)
    return coco, read_results(shared_data / "coco" / "instances_val2014_fakebbox100_results.json", coco)


def rows_of(coco, results, protocol, resamples=0):
    patient_of = {image["id"]: str(image["id"]) for image in coco.images}
    drawn = PatientResamples(list(patient_of.values()), resamples, 0)
    rows = coco_thresholds(coco, results, protocol, patient_of, drawn)
    return {(row.classes, row.max_dets, row.iou): row for row in rows}


def same(value, values):
    known = values[values > -1]
    assert value == (pytest.approx(known.mean(), abs=1e-12) if known.size else None)


def test_numbers_are_those_of_pycocotools_with_these_parameters(val2014):
    ious, mosts = (0.1, 0.25, 0.5, 1.0), (2, 40, 300)
    rows = rows_of(*val2014, ThresholdProtocol((0.5, 0.1, 0.25, 1.0), (40, 300, 2)))
    evaluator = match_boxes(*val2014, "pycocotools").evaluator
    evaluator.params.iouThrs, evaluator.params.maxDets = np.array(ious), list(mosts)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
    precision, recall = evaluator.eval["precision"][..., 0, :], evaluator.eval["recall"][..., 0, :]
    assert len(rows) == 81 * 3 * 5
    for place, name in enumerate(("all", *class_names(val2014[0]))):
        classes = slice(None) if not place else slice(place - 1, place)
        for column, most in enumerate(mosts):
            for row, iou in enumerate((None, *ious)):
                chosen = slice(None) if iou is None else slice(row - 1, row)
                same(rows[name, most, iou].ap, precision[chosen, :, classes, column])
                same(rows[name, most, iou].ar, recall[chosen, classes, column])
                assert (rows[name, most, iou].reason is None) == (rows[name, most, iou].lesions > 0)


def test_one_of_the_two_alone_takes_the_other_from_coco(val2014):
    expected = coco_metrics(*val2014)["all"]
    rows = rows_of(*val2014, ThresholdProtocol(max_dets=(1, 10)))
    assert rows["all", 10, None].ar == pytest.approx(expected["AR_10"], abs=1e-12)
    assert rows["all", 1, None].ar == pytest.approx(expected["AR_1"], abs=1e-12)
    rows = rows_of(*val2014, ThresholdProtocol((0.5, 0.75)))
    assert rows["all", 100, 0.75].ap == pytest.approx(expected["AP75"], abs=1e-12)
    assert rows_of(*val2014, ThresholdProtocol()) == {}


def test_a_number_that_does_not_exist_is_none_with_a_reason(val2014):
    coco = replace(val2014[0], annotations=[])
    rows = rows_of(coco, val2014[1], ThresholdProtocol((0.1,)), 5)
    assert {row.ap for row in rows.values()} == {None} == {row.ar for row in rows.values()}
    assert all("no such lesion" in row.reason for row in rows.values())
    assert all(row.ap_interval.low is None and row.ap_interval.reason for row in rows.values())
    text = threshold_table(rows.values())
    assert ",nan" not in text and "-1" not in text and "all,100,mean,0,n/a" in text


def test_intervals_hold_the_number(val2014):
    row = rows_of(*val2014, ThresholdProtocol((0.1, 0.5)), 100)["all", 100, 0.1]
    assert row.ap_interval.low < row.ap < row.ap_interval.high
    assert row.ar_interval.low < row.ar < row.ar_interval.high


@pytest.mark.parametrize(
    "options, field",
    [
        (((0.05,), ()), "iou_thresholds"),
        (((1.2,), ()), "iou_thresholds"),
        (((float("nan"),), ()), "iou_thresholds"),
        (((), (0,)), "max_dets"),
    ],
)
def test_what_cannot_be_is_refused(options, field):
    with pytest.raises(InputError, match=field):
        ThresholdProtocol(*options)
