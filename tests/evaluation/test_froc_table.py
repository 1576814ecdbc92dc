"""The table of all hit rules: what stands in it, what it says when there is nothing, and its figure."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.figures import froc_figure
from mammodet.evaluation.froc import CPM_POINTS, POINTS, froc_curve
from mammodet.evaluation.froc_matching import match_froc
from mammodet.evaluation.froc_table import FrocProtocol, corners, froc_document, froc_table
from mammodet.evaluation.hit_rules import DEFAULT_RULES, HitRule
from mammodet.evaluation.overview import overview
from mammodet.evaluation.protocol import Protocol, statements
from mammodet.evaluation.report import render
from mammodet.evaluation.summary import evaluate, metrics_document
from mammodet.evaluation.tables import csv_tables


def image(number, label=None, **more):
    return {"id": number, "file_name": f"{number}.png", "width": 900, "height": 900, "label": label, **more}


def lesion(number, image_id, category, *bbox):
    return {"id": number, "image_id": image_id, "category_id": category, "bbox": list(bbox)}


def box(image_id, category, score, *bbox):
    return {"image_id": image_id, "category_id": category, "score": score, "bbox": list(bbox)}


IMAGES = [image(1, "malignant"), image(2, "benign"), image(3, "normal"), image(4, "normal")]
LESIONS = [lesion(1, 1, 2, 100, 100, 200, 200), lesion(2, 2, 1, 100, 100, 200, 200)]
RESULTS = [
    box(1, 2, 0.9, 150, 100, 200, 200),  # IoU 0.6: by every rule
    box(2, 1, 0.8, 270, 100, 200, 200),  # IoU 0.08, centres 170 px apart, half the diagonal 141
    box(3, 2, 0.7, 0, 0, 50, 50),
]


def table(images=IMAGES, lesions=LESIONS, results=RESULTS, **more):
    return froc_table(Coco(list(images), list(lesions), Path("gt.json")), results, FrocProtocol(**more))


def test_one_row_per_rule_with_the_same_predictions():
    found = table(hit_rules=(*DEFAULT_RULES, "overlap"))
    assert [row.rule for row in found.rows] == ["center", "iou:0.1", "iou:0.2", "iou:0.5", "duke", "overlap"]
    assert [row.most_sensitivity for row in found.rows] == [0.5] * 5 + [1]
    assert {(row.lesions, row.units, row.classes) for row in found.rows} == {(2, 4, "any")}
    assert {(row.positive_images, row.normal_images) for row in found.rows} == {(2, 2)}
    strict, lax = found.rows[0], found.rows[-1]
    assert (strict.most_false_positives, lax.most_false_positives) == (0.5, 0.25)
    assert strict.sensitivity == (0.5,) * len(POINTS)
    # 0.9 alone up to 1/8, then 0.8 as well: without a false positive
    assert lax.sensitivity == (1,) * len(POINTS)
    # lesions 0.9 and missed against normal images of 0.7 and none; 0.9 and 0.8
    assert (strict.afroc, lax.afroc) == ((2 + 0.5) / 4, 1)


def test_every_class_by_itself():
    found = table(class_aware=True, denominator="normal")
    assert found.classes == ["benign", "malignant"]
    assert len(found.rows) == 2 * len(DEFAULT_RULES)
    benign, malignant = (found.of(name)[0] for name in found.classes)
    assert (benign.units, malignant.units) == (3, 3)  # images without a lesion of the class
    assert malignant.most_false_positives == pytest.approx(1 / 3)
    assert malignant.most_sensitivity == 1


def test_corners_keep_every_step():
    chance = np.random.default_rng(0)
    results = [box(1, 2, score, 0, 0, 9, 9) for score in chance.random(50)]
    found = match_froc(Coco(IMAGES, LESIONS, Path("gt.json")), RESULTS + results, HitRule.parse("overlap"))
    curve = froc_curve(found)
    kept = corners(curve)
    assert len(kept.thresholds) == 4  # none, two lesions, the end
    for at in np.linspace(0, 14, 57):
        steps = [one.sensitivity[one.false_positives <= at].max() for one in (curve, kept)]
        assert steps[0] == steps[1]


NOTHING = {
    "no predictions": (IMAGES, LESIONS, []),
    "no positives": (IMAGES[2:], [], [RESULTS[2]]),
    "no normals": (IMAGES[:2], LESIONS, RESULTS[:2]),
    "one patient": ([image(1, "malignant", patient_id="7")], LESIONS[:1], RESULTS[:1]),
    "all scores equal": (IMAGES, LESIONS, [{**one, "score": 0.5} for one in RESULTS]),
    "nothing at all": (IMAGES[2:], [], []),
}


@pytest.mark.parametrize("denominator", ["all", "normal", "patient"])
@pytest.mark.parametrize("name", NOTHING)
def test_degenerate_input_gives_numbers_or_a_reason(name, denominator):
    images, lesions, results = NOTHING[name]
    for class_aware in (False, True):
        protocol = Protocol(froc=FrocProtocol(denominator=denominator, class_aware=class_aware))
        evaluation = evaluate(Coco(list(images), list(lesions), Path("gt.json")), results, protocol)
        document = metrics_document(evaluation, {})
        json.dumps(document, allow_nan=False)
        for row in document["froc"]["rows"]:
            values = [*row["sensitivity"].values(), row["cpm"], row["most_sensitivity"]]
            assert all(value is None or 0 <= value <= 1 for value in values)
            values = [row[name] for name in ("afroc", "wafroc", "afroc1", "wafroc1")]
            assert all(value is None or 0 <= value <= 1 for value in values)
            assert bool(row["notes"]) == (row["cpm"] is None or row["afroc"] is None)
        page = render(evaluation, {}, {})
        assert all(note in page for row in evaluation.froc.rows for note in row.notes)
        for shown in (page, *overview(evaluation), csv_tables(evaluation)["froc.csv"]):
            assert not re.search(r"\bnan\b", shown)


def test_what_degenerate_input_says():
    said = {name: table(*NOTHING[name], denominator="normal").rows[0] for name in NOTHING}
    assert said["no predictions"].sensitivity == (0,) * len(POINTS)
    assert said["no predictions"].afroc == 0.5
    assert said["no positives"].notes == ("no sensitivity: there is no lesion",)
    assert said["no normals"].cpm is None
    assert said["no normals"].notes[0] == "no FROC: there is no normal image"
    assert said["no normals"].notes[1].startswith("no AFROC: there is no image without lesions")
    assert said["no normals"].afroc1 == (1 + 1 + 0.5 + 0) / 4  # 0.9 and missed against none and 0.8


def test_the_document_names_points_and_denominator():
    document = froc_document(table(denominator="patient"))
    assert document["denominator"] == "patient"
    assert document["points"] == [0.125, 0.25, 0.3, 0.5, 1, 2, 4, 8]
    assert document["cpm_points"] == [0.125, 0.25, 0.5, 1, 2, 4, 8] == list(CPM_POINTS)
    row = document["rows"][0]
    assert list(row["sensitivity"]) == ["0.125", "0.25", "0.3", "0.5", "1", "2", "4", "8"]
    assert "curve" not in row


def test_a_protocol_says_what_is_wrong_with_it():
    with pytest.raises(InputError, match=r"hit_rules: is no hit rule .*'near'"):
        FrocProtocol(hit_rules=("near",))
    with pytest.raises(InputError, match="froc_denominator"):
        FrocProtocol(denominator="exam")  # type: ignore[arg-type]


def test_the_rules_are_told_in_words():
    told = statements(Protocol(froc=FrocProtocol(("duke", "iou:0.25"), "breast", True)))["froc"]
    for part in ("per breast", "Each class by itself", "at least 0.25", "max(100 px", "0.125, 0.25, 0.5, 1"):
        assert part in told


def test_the_figure_has_a_panel_per_class_and_a_curve_per_rule():
    axes = froc_figure(table()).axes
    assert len(axes) == 1
    labels = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert labels == [f"{rule}: CPM 0.500" for rule in DEFAULT_RULES]
    assert axes[0].get_xlabel() == "False positives per image"
    assert len(froc_figure(table(class_aware=True)).axes) == 2
    assert froc_figure(table(IMAGES[2:], [], [])) is None
