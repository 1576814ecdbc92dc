"""Intervals of FROC and AFROC: the weights are a repeated data set, and what is told where there is none."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco
from mammodet.evaluation.figures import froc_figure
from mammodet.evaluation.froc import DENOMINATORS, POINTS
from mammodet.evaluation.froc_comparison import COMPARED, compare_froc
from mammodet.evaluation.froc_intervals import BAND_POINTS, NUMBERS, froc_values
from mammodet.evaluation.froc_table import FrocProtocol, froc_document, froc_table, match_rules
from mammodet.evaluation.model_comparison import compare_models, comparison_csv
from mammodet.evaluation.overview import overview
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.report import write_report
from mammodet.evaluation.resampling import Bootstrap, PatientResamples
from mammodet.evaluation.summary import Options, evaluate, resamples_of
from mammodet.evaluation.tables import csv_tables

SIDE = 40
RULES = ("center", "iou:0.3", "duke")


class Given(PatientResamples):
    """Resamples that are told instead of drawn."""

    def __init__(self, patients, draws):
        super().__init__(patients, len(draws))
        self.draws = np.array(draws, dtype=np.int32)

    def chunks(self, items=None):
        yield self.draws


def patients_of(images):
    """As the evaluation names them: an image without a patient is one of its own."""
    return [image["patient_id"] or f"image {image['id']}" for image in images]


@st.composite
def scenes(draw):
    """Draw up to four patients, one image known to nobody, lesions, and scores that often are equal."""
    images, lesions, results = [], [], []
    owners = draw(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=7))
    for number, patient in enumerate(owners, 1):
        side = draw(st.sampled_from("LR"))
        image = {"id": number, "file_name": f"{number}.png", "width": 999, "height": 999, "label": None}
        images.append({**image, "patient_id": patient, "laterality": side})
        for place in draw(st.lists(st.sampled_from([0, 300, 600]), max_size=3, unique=True)):
            more = draw(st.sampled_from([{}, {}, {}, {"ignore": 1}]))
            bbox = [place, 0, SIDE, SIDE]
            record = {"id": len(lesions) + 1, "image_id": number, "category_id": 2, "bbox": bbox}
            lesions.append({**record, "iscrowd": 0, "area": SIDE * SIDE, **more})
        for place in draw(st.lists(st.sampled_from([0, 300, 600, 900]), max_size=6)):
            shift, score = draw(st.integers(0, 60)), draw(st.integers(1, 8)) / 8
            bbox = [place + shift, 0, SIDE, SIDE]
            results.append({"image_id": number, "category_id": 2, "bbox": bbox, "score": score})
    return images, lesions, results


def coco_of(images, lesions):
    return Coco(list(images), list(lesions), Path("gt.json"))


def repeated(scene, times):
    """Copy every patient so often, as patients of their own."""
    images, lesions, results = [], [], []
    for one, owner in zip(scene[0], patients_of(scene[0]), strict=True):
        for copy in range(times[owner]):
            number = one["id"] * 100 + copy
            patient = None if one["patient_id"] is None else f"{owner}.{copy}"
            images.append({**one, "id": number, "patient_id": patient})
            lesions += [{**a, "image_id": number} for a in scene[1] if a["image_id"] == one["id"]]
            results += [{**a, "image_id": number} for a in scene[2] if a["image_id"] == one["id"]]
    return images, [{**one, "id": place} for place, one in enumerate(lesions, 1)], results


def numbers(row):
    return [np.nan if value is None else value for value in (row.numbers[name] for name in NUMBERS)]


@settings(max_examples=40, deadline=None)
@given(scenes(), st.sampled_from(list(DENOMINATORS)), st.data())
def test_weights_are_the_data_set_repeated(scene, denominator, data):
    protocol = FrocProtocol(RULES, denominator)
    owners = patients_of(scene[0])
    names = sorted(set(owners))  # the order of the draws
    drawn = data.draw(st.lists(st.integers(0, 3), min_size=len(names), max_size=len(names)))
    resamples = Given(owners, [[1] * len(names), drawn])
    coco = coco_of(*scene[:2])
    values = froc_values(match_rules(coco, scene[2], protocol), resamples, denominator=denominator)
    for row, found in zip(froc_table(coco, scene[2], protocol).rows, values, strict=True):
        np.testing.assert_allclose(found.numbers[0], numbers(row), rtol=0, atol=1e-12)
    if not any(drawn):
        assert all(np.isnan(found.numbers[1]).all() for found in values)
        return
    images, lesions, results = repeated(scene, dict(zip(names, drawn, strict=True)))
    again = froc_table(coco_of(images, lesions), results, protocol)
    for row, found in zip(again.rows, values, strict=True):
        np.testing.assert_allclose(found.numbers[1], numbers(row), rtol=0, atol=1e-12)


def screening(seed, patients=40, found=0.7):
    """Return images of two views, lesions on the first patients, and predictions with scores 0 to 1."""
    rng = np.random.default_rng(seed)
    images, lesions, results = [], [], []
    for number in range(1, 2 * patients + 1):
        owner, sick = f"p{(number - 1) // 2}", number <= patients
        image = {"id": number, "file_name": f"{number}.png", "width": 999, "height": 999}
        images.append(image | {"patient_id": owner, "label": "malignant" if sick else "normal"})
        for _ in range(rng.poisson(2)):
            bbox = [float(rng.uniform(500, 900)), 0.0, 40.0, 40.0]
            record = {"image_id": number, "category_id": 2, "bbox": bbox}
            results.append({**record, "score": float(rng.beta(1, 3))})
        if sick:
            bbox = [0.0, 0.0, 40.0, 40.0]
            record = {"image_id": number, "category_id": 2, "bbox": bbox}
            lesions.append({"id": number, **record, "iscrowd": 0, "area": 1600.0})
            if rng.random() < found:
                results.append({**record, "score": float(rng.beta(3, 2))})
    return coco_of(images, lesions), results


def test_every_number_has_an_interval_around_it_and_the_seed_repeats_it():
    coco, results = screening(0)
    tables = [
        froc_table(coco, results, FrocProtocol(), resamples_of(coco, Bootstrap(500, seed=seed)))
        for seed in (1, 1, 2)
    ]
    for row, same, other in zip(*(table.rows for table in tables), strict=True):
        assert tuple(row.intervals) == NUMBERS
        assert row.intervals == same.intervals != other.intervals
        for name, interval in row.intervals.items():
            assert interval.low <= row.numbers[name] <= interval.high, name
            assert (interval.resamples, interval.undefined) == (500, 0)


def test_chunks_do_not_change_the_numbers(monkeypatch):
    coco, results = screening(1)
    resamples = resamples_of(coco, Bootstrap(100))
    matches = match_rules(coco, results, FrocProtocol(RULES))
    whole = froc_values(matches, resamples, band_of=[True] * 3)
    monkeypatch.setattr("mammodet.evaluation.resampling._CHUNK_BYTES", 4 * 80 * 7)  # seven resamples at once
    monkeypatch.setattr("mammodet.evaluation.image_weights._NUMBERS_AT_ONCE", 100)  # one
    for one, part in zip(whole, froc_values(matches, resamples, band_of=[True] * 3), strict=True):
        np.testing.assert_array_equal(one.numbers, part.numbers)
        np.testing.assert_array_equal(one.band, part.band)


def test_few_resamples_without_a_normal_patient_are_counted():
    coco, results = screening(2, patients=4)
    row = froc_table(coco, results, FrocProtocol(("center",)), resamples_of(coco, Bootstrap(4000))).rows[0]
    # Two of four patients are healthy: none is drawn in (1/2)^4 of the resamples, and so it is with the sick.
    assert row.intervals["cpm"].undefined / 4000 == pytest.approx(1 / 16, abs=0.015)
    assert row.intervals["afroc"].undefined / 4000 == pytest.approx(1 / 8, abs=0.02)
    assert row.intervals["afroc1"].undefined == row.intervals["cpm"].undefined


def test_the_band_is_the_interval_of_the_curve_of_the_first_rule():
    coco, results = screening(3)
    rows = froc_table(coco, results, FrocProtocol(RULES), resamples_of(coco, Bootstrap(300))).rows
    assert [row.band is not None for row in rows] == [True, False, False]
    band, row = rows[0].band, rows[0]
    assert (np.diff(band.low) >= 0).all() and (np.diff(band.high) >= 0).all()
    for point, name in zip(POINTS, NUMBERS, strict=False):
        place = np.searchsorted(BAND_POINTS, point * (1 + 1e-9), "right") - 1
        assert band.low[place] <= row.intervals[name].low + 1e-12
        assert band.low[place + 1] >= row.intervals[name].low - 1e-12


def test_the_patients_are_those_of_all_other_numbers():
    coco, results = screening(9, patients=2)
    # Nobody knows the patients of two breasts: each breast stands for one, and the images of one go together.
    images = [{**one, "patient_id": None, "breast_id": f"b{one['id'] // 3}"} for one in coco.images]
    coco = replace(coco, images=images)
    resamples = resamples_of(coco, Bootstrap(50))
    row = froc_table(coco, results, FrocProtocol(("center",)), resamples).rows[0]
    assert (row.units, resamples.patients) == (4, 2)
    without_lesion = sum(int((part[:, 0] == 0).sum()) for part in resamples.chunks())
    assert row.intervals["cpm"].undefined == without_lesion > 0


def test_the_figure_shows_the_band_and_says_what_it_is(tmp_path):
    coco, results = screening(10)
    inputs = {name: {"path": name, "sha256": "0"} for name in ("ground_truth", "predictions")}
    for resamples, bands in ((100, 1), (0, 0)):
        evaluation = evaluate(coco, results, Protocol(), Options(Bootstrap(resamples, 0.9)))
        axes = froc_figure(evaluation.froc).axes[0]
        assert len(axes.collections) == bands
        label, interval = axes.get_legend().get_texts()[0].get_text(), evaluation.froc.rows[0].intervals
        assert label.startswith("center: CPM 0.") and label.endswith("]") == bool(bands)
        page = write_report(evaluation, tmp_path, inputs).read_text()
        assert ("Band: pointwise 90 % interval by patient of center" in page) == bool(bands)
        shown = "{0.low:.3f} to {0.high:.3f}".format(interval["wafroc"]) if bands else "n/a"
        assert (f"<small>{shown}</small>" in page) == bool(bands)


EMPTY = {
    "one patient": lambda c, r: (replace(c, images=[{**i, "patient_id": "p"} for i in c.images]), r),
    "no normals": lambda c, r: (replace(c, images=c.images[:40]), [b for b in r if b["image_id"] <= 40]),
    "no lesions": lambda c, r: (replace(c, annotations=[]), r),
    "no predictions": lambda c, r: (c, []),
    "all scores equal": lambda c, r: (c, [{**one, "score": 0.5} for one in r]),
}
REASONS = {
    "one patient": dict.fromkeys(NUMBERS, "needs two patients or more, there is one"),
    "no normals": dict.fromkeys(("afroc", "wafroc"), "undefined in every resample"),
    "no lesions": dict.fromkeys(NUMBERS, "undefined in every resample"),
    "no predictions": {},
    "all scores equal": {},
}


@pytest.mark.parametrize("name", EMPTY)
def test_little_input_has_an_interval_or_a_reason_and_never_nan(name):
    coco, results = EMPTY[name](*screening(4))
    table = froc_table(coco, results, FrocProtocol(), resamples_of(coco, Bootstrap(100)))
    document = json.loads(json.dumps(froc_document(table), allow_nan=False))
    for row in document["rows"]:
        assert set(row["intervals"]) == set(NUMBERS)
        for number, interval in row["intervals"].items():
            reason = REASONS[name].get(number)
            assert interval["reason"] == reason
            assert (interval["low"] is None) == (interval["high"] is None) == (reason is not None)
    nothing = [one.intervals["cpm"] for one in table.rows] if name == "no predictions" else []
    assert all((one.low, one.high) == (0, 0) for one in nothing)
    found = list(compare_froc(coco, results, results, table, resamples_of(coco, Bootstrap(100))))
    for _, number, difference in found:
        if number in REASONS[name]:
            assert difference.reason and difference.difference is None
        else:
            assert (difference.difference, difference.p) == (0, 1)


def test_without_resamples_there_are_no_intervals_but_wilsons():
    coco, results = screening(5)
    row = froc_table(coco, results, FrocProtocol(), resamples_of(coco, Bootstrap(0))).rows[0]
    assert (row.intervals, row.band) == ({}, None)
    assert set(row.kinds("most_sensitivity")) == {"wilson"} and row.kinds("cpm") == {}
    lines = overview(evaluate(coco, results, Protocol(), Options(Bootstrap(0))))
    assert not any("% interval" in line for line in lines)


def test_a_perfect_sensitivity_shows_wilsons_interval():
    coco, results = screening(6, found=1)
    evaluation = evaluate(coco, results, Protocol(), Options(Bootstrap(100)))
    row = evaluation.froc.rows[0]
    assert (row.intervals["most_sensitivity"].low, row.most_sensitivity) == (1, 1)
    assert row.kinds("most_sensitivity")["wilson"].low == pytest.approx(40 / (40 + 1.959964**2))
    lines = overview(evaluation)
    place = next(n for n, line in enumerate(lines) if line.startswith("center"))
    assert lines[place + 1].startswith("  95 % interval") and "0.912-1.000*" in lines[place + 1]


def test_the_tables_hold_the_intervals():
    coco, results = screening(7)
    evaluation = evaluate(coco, results, Protocol(), Options(Bootstrap(100)))
    row = evaluation.froc.rows[1]
    tables = {name: text.splitlines() for name, text in csv_tables(evaluation).items()}
    froc = dict(
        zip(*(line.split(",") for line in (tables["froc.csv"][0], tables["froc.csv"][2])), strict=True)
    )
    for name in NUMBERS:
        assert float(froc[f"{name} low"]) == row.intervals[name].low
        assert float(froc[f"{name} high"]) == row.intervals[name].high
    listed = [line for line in tables["intervals.csv"] if line.startswith("froc iou:0.1 any,cpm,")]
    assert len(listed) == 1 and str(row.intervals["cpm"].high) in listed[0]


def test_a_model_that_finds_more_is_told_apart_at_every_rule():
    coco, results = screening(8, patients=60, found=0.9)
    hit = [one["bbox"][0] == 0 for one in results]
    kept = np.random.default_rng(0).random(len(results)) < 0.5
    fewer = [one for one, right, keep in zip(results, hit, kept, strict=True) if not right or keep]
    options = Options(Bootstrap(300))
    evaluation = evaluate(coco, results, Protocol(), options)
    rows = compare_models(coco, fewer, results, evaluation)
    found = {(row.level, row.number): row.found for row in rows if row.level.startswith("froc")}
    assert {level for level, _ in found} == {row.title for row in evaluation.froc.rows}
    assert {number for _, number in found} == set(COMPARED)
    other = evaluate(coco, fewer, Protocol(), Options(Bootstrap(0)))
    for one, row in zip(other.froc.rows, evaluation.froc.rows, strict=True):
        for number in COMPARED:
            difference = found[row.title, number]
            assert (difference.first, difference.second) == (one.numbers[number], row.numbers[number])
            assert difference.interval.low <= difference.difference <= difference.interval.high
        assert found[row.title, "cpm"].p == found[row.title, "wafroc"].p == pytest.approx(2 / 301)
    swapped = compare_froc(coco, results, fewer, other.froc, resamples_of(coco, Bootstrap(300)))
    for title, number, difference in swapped:
        assert difference.interval.high == pytest.approx(-found[title, number].interval.low, abs=1e-12)
    assert "froc duke any,wafroc,bootstrap by patient," in comparison_csv(rows)
