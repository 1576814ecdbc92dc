"""Input with little in it: every number makes sense or has a reason; no crash, no -1, no NaN."""

import csv
import functools
import io
import json
import re
from pathlib import Path

import jsonschema
import pytest

from mammodet.datasets.coco import Coco
from mammodet.evaluation.froc_table import FrocProtocol
from mammodet.evaluation.metrics_schema import metrics_schema
from mammodet.evaluation.overview import overview
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.report import render
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import Options, evaluate, metrics_document
from mammodet.evaluation.tables import csv_tables
from mammodet.tools.cli import main

INPUTS = {name: {"path": f"{name}.json", "sha256": "0" * 64} for name in ("ground_truth", "predictions")}
LEVELS = ("image", "breast", "patient", "lesion_published", "lesion_all")
PROFILE = [{"id": 1, "name": "benign"}, {"id": 2, "name": "malignant"}]
NOT_COUNTED = ("most_false_positives", "threshold", "seed", "resamples", "points", "cpm_points")


def image(number, label=None, **more):
    return {"id": number, "file_name": f"{number}.png", "width": 500, "height": 500, "label": label, **more}


def owned(number, patient, side, label=None):
    return image(number, label, patient_id=patient, laterality=side, view="CC")


def lesion(number, image_id, category, **more):
    bbox = [10, 10, 80, 80]
    return {"id": number, "image_id": image_id, "category_id": category, "bbox": bbox, "iscrowd": 0, **more}


def box(image_id, category, score, x=12):
    return {"image_id": image_id, "category_id": category, "bbox": [x, 10, 80, 80], "score": score}


IMAGES = [
    owned(1, "a", "L", "malignant"),
    owned(2, "b", "R", "benign"),
    owned(3, "c", "L", "normal"),
    owned(4, "d", "R", "normal"),
]
LESIONS = [lesion(1, 1, 2), lesion(2, 2, 1)]
RESULTS = [box(1, 2, 0.9), box(2, 1, 0.8), box(3, 2, 0.4), box(4, 1, 0.2, 300), box(1, 1, 0.35, 300)]
IGNORED = [{**one, "ignore": 1} for one in LESIONS]
UNLABELLED = [{**one, "label": None} for one in IMAGES]

STUDIES = {
    "as it should be": (IMAGES, LESIONS, RESULTS),
    "no predictions": (IMAGES, LESIONS, []),
    "no positives": (IMAGES[1:], LESIONS[1:], RESULTS[1:4]),
    "no negatives": (IMAGES[:1], LESIONS[:1], [RESULTS[0], RESULTS[4]]),
    "one patient": ([{**one, "patient_id": "a"} for one in IMAGES], LESIONS, RESULTS),
    "one patient of each class": (IMAGES[:2], LESIONS, RESULTS[:2]),
    "all scores equal": (IMAGES, LESIONS, [{**one, "score": 0.5} for one in RESULTS]),
    "all scores 0": (IMAGES, LESIONS, [{**one, "score": 0.0} for one in RESULTS]),
    "all scores 1": (IMAGES, LESIONS, [{**one, "score": 1.0} for one in RESULTS]),
    "no breast id, no patient, no side": (
        [image(n, IMAGES[n - 1]["label"]) for n in range(1, 5)],
        LESIONS,
        RESULTS,
    ),
    "no images with lesions": (IMAGES[2:], [], RESULTS[2:4]),
    "one image": (IMAGES[:1], LESIONS[:1], RESULTS[:1]),
    "one image with nothing": ([image(1)], [], []),
    "all lesions ignored": (IMAGES, IGNORED, RESULTS),
    "all lesions ignored, no labels": (UNLABELLED, IGNORED, RESULTS),
    "no truth at all": (UNLABELLED, [], RESULTS),
    "a class never predicted": (IMAGES, LESIONS, [one for one in RESULTS if one["category_id"] == 2]),
    "a class without a lesion": (IMAGES, LESIONS[:1], RESULTS),
    "predictions on normal images only": (IMAGES, LESIONS, RESULTS[2:4]),
    "labels against lesions": ([{**one, "label": "normal"} for one in IMAGES], LESIONS, RESULTS),
}
OBEYED = jsonschema.Draft202012Validator(metrics_schema())
every_study = pytest.mark.parametrize("name", STUDIES)


def evaluated(name, resamples=20, *, class_aware=False, denominator="all", categories=None):
    images, lesions, results = STUDIES[name]
    more = {} if categories is None else {"categories": categories}
    protocol = Protocol(froc=FrocProtocol(denominator=denominator, class_aware=class_aware))
    coco = Coco(list(images), list(lesions), Path("gt.json"), **more)
    return evaluate(coco, results, protocol, Options(Bootstrap(resamples)))


@functools.cache
def document(name, **options):
    found = metrics_document(evaluated(name, **options), INPUTS)
    return json.loads(json.dumps(found, allow_nan=False))


def numbers(node, path=()):
    """Yield every number of a document with where it stands."""
    if isinstance(node, dict | list):
        for key, part in node.items() if isinstance(node, dict) else enumerate(node):
            yield from numbers(part, (*path, key))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield path, node


def intervals(node):
    """Yield every interval of a document."""
    if isinstance(node, dict):
        if {"low", "high", "method"} <= node.keys():
            yield node
        for part in node.values():
            yield from intervals(part)
    elif isinstance(node, list):
        for part in node:
            yield from intervals(part)


@pytest.mark.parametrize("class_aware", [False, True])
@every_study
def test_every_number_makes_sense_or_has_a_reason(name, class_aware):
    found = document(name, class_aware=class_aware, denominator="normal" if class_aware else "all")
    OBEYED.validate(found)
    for path, value in numbers({key: found[key] for key in found if key not in ("inputs", "versions")}):
        low = -1 if "mcc" in path else 0
        assert value >= low, path
        if isinstance(value, float) and not set(path) & set(NOT_COUNTED):
            assert value <= 1, path
    for interval in intervals(found):
        assert (interval["low"] is None) == (interval["high"] is None) == bool(interval["reason"])
        assert interval["low"] is None or interval["low"] <= interval["high"]
    for row in found["froc"]["rows"]:
        assert bool(row["notes"]) == (row["cpm"] is None or row["afroc"] is None)
    for row in found["fusion_rules"]:
        assert bool(row["note"]) == (row["auc"] is None)
    for level in (found[one] for one in LEVELS):
        assert (level["auc"] is None) == bool(level["auc_note"])
        assert (level["cases"] == 0) == (level["brier"] is None) == (level["ece"] is None)
        assert (level["cases"] == 0) == (level["accuracy"] is None)
        for point in level["operating_points"]:
            assert bool(point["reason"]) == (not point["numbers"])
        for numbers_of in level["per_class"].values():
            assert (numbers_of["support"] == 0) == (numbers_of["sensitivity"] is None)


@every_study
def test_every_table_and_page_can_be_read(name):
    evaluation = evaluated(name)
    texts = csv_tables(evaluation)
    page = re.sub(r"<(style|script)[^>]*>.*?</\1>", "", render(evaluation, INPUTS, {}), flags=re.DOTALL)
    for file, text in (texts | {"page": page, "terminal": "\n".join(overview(evaluation))}).items():
        shown = _without_infinity(file, text)
        assert not re.search(r"\b(nan|inf|None)\b|(?<![\w.-])-1(\.0+)?(?![\w.])", shown), file
    for file, text in texts.items():
        rows = list(csv.reader(io.StringIO(text)))
        assert {len(row) for row in rows} == {len(rows[0])}, file


def _without_infinity(file, text):
    # The first threshold of a curve is above every score.
    return text.replace(",inf\n", ",\n") if file in ("roc.csv", "froc_curves.csv") else text


@pytest.mark.parametrize("resamples", [0, 1])
@every_study
def test_few_or_no_resamples(name, resamples):
    found = document(name, resamples=resamples)
    if not resamples:
        assert found["coco_intervals"] == {}
        assert "bootstrap" not in found["image"]["intervals"]["auc"]


@every_study
def test_other_categories_have_detection_numbers_and_a_reason(name):
    categories = [{"id": 1, "name": "mass"}, {"id": 2, "name": "all"}]
    found = metrics_document(evaluated(name, categories=categories), INPUTS)
    json.dumps(found, allow_nan=False)
    assert set(found["coco"]) == {"all", "mass", "all (2)"}
    assert "need the categories 1 benign, 2 malignant" in found["reason"]
    assert not set(LEVELS) & set(found)


def test_what_the_numbers_are():
    found = {name: document(name) for name in STUDIES}
    nothing = found["no predictions"]
    assert nothing["coco"]["all"]["AP"] == nothing["coco"]["malignant"]["AR_100"] == 0
    assert nothing["image"]["auc"] == nothing["froc"]["rows"][0]["wafroc"] == 0.5
    assert nothing["froc"]["rows"][0]["cpm"] == 0
    assert nothing["lesion_published"]["auc_note"].endswith("0 positive and 0 negative cases")
    assert nothing["image"]["per_class"]["malignant"]["precision"] is None
    alike = found["all scores equal"]
    assert alike["fusion_rules"][1]["rule"] == "max"
    points = {point["name"]: point for point in alike["image"]["operating_points"]}
    assert points["threshold 0.5"]["numbers"]["sensitivity"]["value"] == 1
    assert found["no positives"]["coco"]["malignant"]["AP"] is None
    assert found["no positives"]["coco"]["benign"]["AP"] == pytest.approx(
        found["no positives"]["coco"]["all"]["AP"]
    )
    assert found["no positives"]["image"]["auc_note"] == (
        "needs both classes, there are 0 positive and 3 negative cases"
    )
    assert found["no negatives"]["image"]["auc_note"].endswith("1 positive and 0 negative cases")
    assert found["no negatives"]["froc"]["rows"][0]["notes"][0].startswith("no AFROC")
    one = found["one patient"]
    assert one["coco_intervals"]["all"]["AP"]["reason"] == "needs two patients or more, there is one"
    assert one["image"]["auc"] is not None and one["patient"]["cases"] == 1
    lonely = found["no breast id, no patient, no side"]
    assert (
        lonely["breast"]["cases"]
        == lonely["patient"]["cases"]
        == lonely["counts"]["images_without_patient"]
        == 4
    )
    assert lonely["image"]["auc"] == lonely["breast"]["auc"] == lonely["patient"]["auc"]
    ignored = found["all lesions ignored"]
    assert ignored["counts"]["lesions"] == 0 and ignored["counts"]["lesions_ignored"] == 2
    assert ignored["coco"]["all"]["AP"] is None and ignored["lesion_all"]["cases"] == 0
    assert ignored["froc"]["rows"][0]["notes"] == ["no sensitivity: there is no lesion"]
    assert ignored["image"]["cases"] == 4  # their labels stay
    assert found["all lesions ignored, no labels"]["image"]["cases"] == 0
    never = found["a class never predicted"]
    assert never["coco"]["benign"]["AP"] == 0 and never["coco"]["malignant"]["AP"] > 0
    assert never["lesion_all"]["confusion"]["counts"] == [[0, 0, 1], [0, 1, 0]]


# --- the same through the command ---


@pytest.fixture
def command(tmp_path):
    def run(images, lesions, results, *options):
        truth = {"images": images, "annotations": lesions, "categories": PROFILE}
        (tmp_path / "gt.json").write_text(json.dumps(truth))
        (tmp_path / "dt.json").write_text(json.dumps(results))
        files = ["--ground-truth", tmp_path / "gt.json", "--predictions", tmp_path / "dt.json"]
        more = ["--resamples", "5", *options]
        return main(["evaluate", *map(str, files), "--out", str(tmp_path / "out"), *more])

    return run


@pytest.mark.parametrize(
    "name",
    [
        "no predictions",
        "one image with nothing",
        "all lesions ignored, no labels",
        "one patient",
        "no negatives",
    ],
)
def test_the_command_writes_everything(name, command, tmp_path, capsys):
    assert command(*STUDIES[name]) == 0
    told = capsys.readouterr()
    assert "Traceback" not in told.err and not re.search(r"\b(nan|None)\b", told.out)
    text = (tmp_path / "out" / "metrics.json").read_text()
    assert not re.search(r"NaN|Infinity", text)
    found = json.loads(text)
    OBEYED.validate(found)
    assert found["counts"]["images"] == len(STUDIES[name][0])
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize("size", [[10, 10, 0, 80], [10, 10, 80, 0], [10, 10, 0, 0]])
def test_boxes_of_size_zero_are_refused(size, command, capsys):
    assert command(IMAGES, [{**LESIONS[0], "bbox": size}], RESULTS) == 2
    assert "annotations[id=1].bbox" in capsys.readouterr().err
    assert command(IMAGES, LESIONS, [{**RESULTS[0], "bbox": size}, *RESULTS[1:]]) == 2
    told = capsys.readouterr().err
    assert "results[0].bbox" in told and "Traceback" not in told


def test_no_image_is_refused(command, capsys):
    assert command([], [], []) == 2
    assert "images: has no image" in capsys.readouterr().err
