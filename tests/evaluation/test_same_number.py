"""The same quantity in two tables of one evaluation is the same, and what is not there has no interval."""

from pathlib import Path

import numpy as np
import pytest

from mammodet.datasets.coco import Coco, counts
from mammodet.evaluation.coco_thresholds import ThresholdProtocol
from mammodet.evaluation.froc import POINTS
from mammodet.evaluation.froc_table import FrocProtocol
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import Options, evaluate

SIDES = (20, 30, 40, 97, 120)
SEEDS = range(6)
every_study = pytest.mark.parametrize("seed", SEEDS)
COCO_OF = {"AP50": "AP50", "AP": "AP", "AR": "AR_100"}


def study(seed, patients=6):
    """Make images of a few patients, some of nobody; equal scores, ignored lesions and crowds are usual."""
    rng = np.random.default_rng(seed)
    images, lesions, results = [], [], []
    for patient in range(patients):
        for number, (side, view) in enumerate((s, v) for s in "LR" for v in ("CC", "MLO")):
            one = {"id": 4 * patient + number + 1, "width": 800, "height": 900, "file_name": "a.png"}
            one |= {"laterality": side, "view": view, "density": "AB"[patient % 2]}
            kind = rng.random()
            if kind < 0.8:
                one["patient_id"] = f"p{patient}"
            elif kind < 0.9:
                one["breast_id"] = f"b{patient}{side}"
            images.append(one)
            boxes = [[*rng.integers(0, 300, 2).tolist(), *rng.choice(SIDES, 2).tolist()] for _ in range(4)]
            for bbox in boxes[: rng.integers(0, 4)]:
                record = {"id": len(lesions) + 1, "image_id": one["id"], "bbox": bbox, "iscrowd": 0}
                left_out = [{"ignore": 1}, {"iscrowd": 1}, {}, {}, {}, {}, {}, {}][rng.integers(8)]
                lesions.append(record | {"category_id": int(rng.integers(1, 3)), **left_out})
            for bbox in boxes:
                moved = np.maximum(np.array(bbox) + rng.integers(-12, 13, 4), [0, 0, 5, 5]).tolist()
                score, category = rng.integers(0, 11) / 10, int(rng.integers(1, 3))
                results.append(
                    {"image_id": one["id"], "category_id": category, "bbox": moved, "score": score}
                )
    return Coco(images, lesions, Path("gt.json")), results


@pytest.fixture(scope="module")
def evaluated():
    known = {}

    def of(seed):
        if seed not in known:
            coco, results = study(seed, patients=2 + seed)
            protocol = Protocol(score_threshold=0.0, froc=FrocProtocol(class_aware=True))
            options = Options(Bootstrap(100), thresholds=ThresholdProtocol((0.1, 0.5), (10, 100)))
            known[seed] = coco, evaluate(coco, results, protocol, options)
        return known[seed]

    return of


@every_study
def test_average_precisions(evaluated, seed):
    _, found = evaluated(seed)
    for name, numbers in found.coco.items():
        assert found.errors.ap[name] == pytest.approx(numbers["AP50"], abs=1e-12)
        [at_half] = [
            row for row in found.coco_thresholds if (row.classes, row.max_dets, row.iou) == (name, 100, 0.5)
        ]
        assert at_half.ap == pytest.approx(numbers["AP50"], abs=1e-12)
        assert at_half.ap_interval == found.coco_intervals[name]["AP50"]


@every_study
def test_sizes_in_pixels_with_their_intervals(evaluated, seed):
    _, found = evaluated(seed)
    rows = [row for row in found.subgroups if row.group == "size in px"]
    assert len(rows) == 9
    for row in rows:
        for number in ("AP", "AR"):
            name = f"{number}_{row.value}"
            assert row.numbers[number] == pytest.approx(found.coco[row.classes][name], abs=1e-12)
            assert row.intervals[number] == found.coco_intervals[row.classes][name]


@every_study
def test_lesions_and_found_ones(evaluated, seed):
    coco, found = evaluated(seed)
    lesions = sum(map(counts, coco.annotations))
    assert found.counts["lesions"] == found.errors.lesions == len(found.cases.lesions) == lesions
    assert sum(row.lesions for row in found.froc.rows if row.rule == "center") == lesions
    for group in ("size in mm", "size in px", "finding", "view", "density", "manufacturer"):
        rows = [row for row in found.subgroups if (row.group, row.classes) == (group, "all")]
        assert sum(row.lesions for row in rows) == lesions
        assert sum(row.found for row in rows) == found.errors.found


@every_study
def test_published_fusion_is_that_of_the_levels(evaluated, seed):
    _, found = evaluated(seed)
    for row in (row for row in found.fusion if row.rule == "published"):
        level = found.levels[row.level]
        assert (row.auc, row.cases) == (level.roc.auc, level.classification.cases)
        assert dict(row.intervals) == dict(level.intervals["auc"])


@pytest.mark.parametrize("denominator", ["all", "positive", "normal", "breast", "patient"])
def test_curve_and_table_and_counts_of_froc(denominator):
    coco, results = study(3)
    found = evaluate(
        coco, results, Protocol(froc=FrocProtocol(denominator=denominator)), Options(Bootstrap(100))
    )
    for row in found.froc.rows:
        read = [row.curve.sensitivity[row.curve.false_positives <= x + 1e-9].max() for x in POINTS]
        assert row.sensitivity == pytest.approx(read)
        assert row.most_sensitivity == row.curve.sensitivity[-1]
        assert (
            row.units
            == {
                "all": found.counts["images"],
                "positive": row.positive_images,
                "normal": row.normal_images,
                "breast": found.counts["breasts"],
                "patient": found.counts["patients"],
            }[denominator]
        )


@every_study
def test_no_interval_without_a_number_and_none_beside_the_number(evaluated, seed):
    _, found = evaluated(seed)
    pairs = [(found.coco[c][n], one) for c, row in found.coco_intervals.items() for n, one in row.items()]
    pairs += [(row.numbers[n], one) for row in found.froc.rows for n, one in row.intervals.items()]
    pairs += [(row.numbers[n], one) for row in found.subgroups for n, one in row.intervals.items()]
    for value, interval in pairs:
        if value is None:
            assert interval.low is None and interval.reason
        elif interval.low is not None:
            assert interval.low - 1e-12 <= value <= interval.high + 1e-12
    for level in found.levels.values():
        for point in level.points:
            for estimate in point.numbers.values():
                if estimate.value is None:
                    assert all(one.low is None and one.reason for one in estimate.intervals.values())


def test_one_patient_with_lesions_has_no_interval_in_any_table():
    images = [
        {"id": n, "file_name": f"{n}.png", "width": 500, "height": 500, "patient_id": f"p{n}"}
        for n in range(1, 6)
    ]
    lesions = [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 10, 50, 50], "iscrowd": 0}]
    results = [{"image_id": 1, "category_id": 2, "bbox": [10, 10, 50, 50], "score": 0.9}]
    found = evaluate(
        Coco(images, lesions, Path("gt.json")),
        results,
        Protocol(),
        Options(Bootstrap(50), thresholds=ThresholdProtocol((0.2,))),
    )
    assert found.coco["all"]["AR_100"] == found.froc.rows[0].cpm == 1
    rows = [found.coco_intervals["all"]["AR_100"], found.coco_thresholds[0].ap_interval]
    rows += [found.froc.rows[0].intervals[name] for name in ("cpm", "sensitivity at 1", "wafroc")]
    rows += [one.intervals["AR"] for one in found.subgroups if one.classes == "all" and one.lesions]
    rows += [found.levels["lesion_all"].intervals["accuracy"]["bootstrap"]]
    assert {one.reason for one in rows} == {"needs two patients or more, there is one"}
    assert found.froc.rows[0].band is None
