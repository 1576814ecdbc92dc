"""The schema of metrics.json: real documents obey it, wrong ones do not, and the page tells it."""

import copy
import importlib.util
import json
import re
from pathlib import Path

import jsonschema
import pytest

from mammodet.datasets.coco import Coco, read_coco, read_results
from mammodet.evaluation.froc_table import FrocProtocol
from mammodet.evaluation.metrics_schema import metrics_schema
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import SCHEMA, Options, evaluate, metrics_document

ROOT = Path(__file__).resolve().parents[2]
INPUTS = {name: {"path": f"{name}.json", "sha256": "0" * 64} for name in ("ground_truth", "predictions")}
IMAGES = [
    {"id": number, "file_name": f"{number}.png", "width": 500, "height": 500, "label": label}
    for number, label in enumerate(("malignant", "benign", "normal", "malignant", None), start=1)
]
LESIONS = [
    {"id": number, "image_id": number, "category_id": category, "bbox": [10, 10, 80, 80]}
    for number, category in ((1, 2), (2, 1), (4, 2))
]
RESULTS = [
    {"image_id": number, "category_id": category, "bbox": [12, 10, 80, 80], "score": score}
    for number, category, score in ((1, 2, 0.9), (2, 1, 0.8), (3, 2, 0.4), (5, 1, 0.3))
]


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(metrics_schema())
    return jsonschema.Draft202012Validator(metrics_schema())


def document(images=IMAGES, lesions=LESIONS, results=RESULTS, resamples=20, categories=None, **froc):
    more = {} if categories is None else {"categories": categories}
    coco = Coco(list(images), list(lesions), Path("gt.json"), **more)
    found = evaluate(coco, results, Protocol(froc=FrocProtocol(**froc)), Options(Bootstrap(resamples)))
    return json.loads(json.dumps(metrics_document(found, INPUTS), allow_nan=False))


DOCUMENTS = {
    "usual": {},
    "no resamples": {"resamples": 0},
    "no predictions": {"results": []},
    "one image without anything": {"images": IMAGES[4:], "lesions": [], "results": []},
    "normal images only": {"images": IMAGES[2:3], "lesions": [], "results": RESULTS[2:3]},
    "by class": {
        "class_aware": True,
        "denominator": "patient",
        "hit_rules": ("overlap", "center-distance:9px"),
    },
    "other categories": {"categories": [{"id": 1, "name": "mass"}, {"id": 2, "name": "<b>"}]},
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_obey_the_schema(name, validator):
    validator.validate(document(**DOCUMENTS[name]))


def test_the_document_of_a_real_coco_file_obeys_the_schema(validator, shared_data):
    coco = read_coco(shared_data / "coco" / "instances_val2014_100.json", profile=False)
    results = read_results(shared_data / "coco" / "instances_val2014_fakebbox100_results.json", coco)
    found = metrics_document(evaluate(coco, results, Protocol(), Options(Bootstrap(2))), INPUTS)
    validator.validate(json.loads(json.dumps(found)))


def changed(*path, to):
    def change(found):
        for key in path[:-1]:
            found = found[key]
        found[path[-1]] = to

    return change


@pytest.mark.parametrize(
    "damage",
    [
        changed("coco", "all", "AP", to=-1),
        changed("coco", "all", "AP", to="n/a"),
        changed("new", to=1),
        changed("image", "new", to=1),
        changed("froc", "rows", 0, "new", to=1),
        changed("image", "auc", to=1.5),
        changed("image", "intervals", "auc", "bootstrap", "low", to=None),  # without a reason
        changed("image", "intervals", "auc", "mystery", to={}),
        changed("schema", to="mammodet.metrics/2"),
        changed("reason", to="both a reason and levels"),
        lambda found: found.pop("breast"),
        lambda found: found["froc"].pop("rows"),
        lambda found: found["inputs"]["predictions"].pop("sha256"),
    ],
)
def test_wrong_documents_do_not(damage, validator):
    found = copy.deepcopy(document())
    damage(found)
    assert not validator.is_valid(found)


def test_every_part_is_used_described_and_strict():
    schema = metrics_schema()
    assert schema["properties"]["schema"]["const"] == SCHEMA
    used = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))
    assert used == set(schema["$defs"])
    for part in (schema, *schema["$defs"].values()):
        assert part["description"] and part["title"]
        assert part["additionalProperties"] is False
        assert all("description" in one or "$ref" in one for one in part["properties"].values())


def test_the_page_is_made_from_the_schema():
    spec = importlib.util.spec_from_file_location("metrics_json", ROOT / "docs" / "metrics_json.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = (ROOT / "docs" / "metrics-json.md").read_text(encoding="utf-8")
    assert written == script.page(), "run: python docs/metrics_json.py docs/metrics-json.md"
    for name, part in metrics_schema()["$defs"].items():
        assert all(f"| `{key}`" in written for key in part["properties"]), name
