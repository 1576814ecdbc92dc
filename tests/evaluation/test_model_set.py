"""Several models on the same cases: the numbers are those of each alone, and pages and tables hold them."""

import base64
import csv
import hashlib
import html.parser
import io
import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mammodet.datasets.coco import read_coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.comparison import Difference
from mammodet.evaluation.error_gallery import crop_window
from mammodet.evaluation.error_pixels import NO_FILE, NOT_READ
from mammodet.evaluation.froc_table import FrocProtocol, FrocTable
from mammodet.evaluation.model_comparison import LEVELS, compare_models
from mammodet.evaluation.model_set import Model, compare_set, evaluate_models
from mammodet.evaluation.model_set_figures import (
    differences_figure,
    models_froc_figure,
    models_roc_figure,
    shown_name,
)
from mammodet.evaluation.model_set_overview import model_set_overview
from mammodet.evaluation.model_set_pictures import disputed_pictures
from mammodet.evaluation.model_set_report import render, write_comparison
from mammodet.evaluation.model_set_tables import (
    comparison_document,
    disputed_counts,
    headlines,
    model_set_csv,
    summary,
)
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.resampling import Bootstrap, primary
from mammodet.evaluation.summary import Options, evaluate, metrics_document

OPTIONS = Options(Bootstrap(60))
INPUTS = {
    "ground_truth": {"path": "gt.json", "sha256": "0" * 64},
    "predictions": [{"name": name, "path": f"{name}.json", "sha256": "1" * 64} for name in "ab"],
}
PROFILE = [{"id": 1, "name": "benign"}, {"id": 2, "name": "malignant"}]
SCRIPT = "<script>alert(1)</script>"


def truth_of(folder, patients=8, name="{number}.png", categories=PROFILE):
    """Write and read a file of patients with two views of one breast: malignant, benign and normal in turn."""
    images, annotations = [], []
    for number in range(1, 2 * patients + 1):
        patient = (number + 1) // 2
        label = ("malignant", "benign", "normal")[patient % 3]
        image = {"id": number, "file_name": name.format(number=number), "width": 600, "height": 600}
        breast = {"patient_id": str(patient), "laterality": "L", "view": ("MLO", "CC")[number % 2]}
        images.append({**image, **breast, "label": label})
        if label != "normal":
            box = {"bbox": [150, 150, 300, 300], "area": 90000, "iscrowd": 0}
            category = 2 if label == "malignant" else 1
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": category, **box}
            )
    path = folder / "gt.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return read_coco(path, profile=False)


def detector(coco, seed, found=0.7):
    rng = np.random.default_rng(seed)
    results = []
    for one in coco.annotations:
        if rng.random() < found:
            category = one["category_id"] if rng.random() < 0.8 else 3 - one["category_id"]
            box = [140 + 20 * rng.random(), 150, 300, 300]
            results.append(result(one["image_id"], category, box, 0.3 + 0.7 * rng.random()))
    for image in coco.images:
        if rng.random() < 0.5:
            results.append(result(image["id"], int(rng.integers(1, 3)), [5, 5, 40, 60], rng.random()))
    return results


def result(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": box, "score": round(float(score), 4)}


def paint(folder, number):
    """Write the picture of an image, dark with a bright lesion."""
    pixels = np.full((600, 600), 40, np.uint8)
    pixels[150:450, 150:450] = 200
    cv2.imwrite(str(folder / f"{number}.png"), pixels)


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def coco(folder):
    return truth_of(folder)


@pytest.fixture(scope="module")
def results(coco):
    return {"a": detector(coco, 1), "b": detector(coco, 2, 0.5), "c": detector(coco, 3, 0.95)}


@pytest.fixture(scope="module")
def models(coco, results):
    return evaluate_models(coco, results, Protocol(), OPTIONS)


def test_each_model_has_the_numbers_that_it_has_alone(coco, results, models):
    document = comparison_document(models, INPUTS)
    json.dumps(document, allow_nan=False)
    assert [one["name"] for one in document["models"]] == ["a", "b", "c"]
    for model, some in zip(document["models"], results.values(), strict=True):
        alone = metrics_document(evaluate(coco, some, Protocol(), OPTIONS), {})
        found = {(one["level"], one["number"]): one for one in model["numbers"]}
        for number, value in alone["coco"]["all"].items():
            assert found["coco", f"all {number}"]["value"] == value
            assert found["coco", f"all {number}"]["interval"] == alone["coco_intervals"]["all"][number]
        for level in LEVELS:
            assert found[level, "auc"]["value"] == alone[level]["auc"]
            assert found[level, "accuracy"]["value"] == alone[level]["accuracy"]
        for row in alone["froc"]["rows"]:
            assert found[f"froc {row['rule']} {row['classes']}", "cpm"]["value"] == row["cpm"]


def test_each_difference_is_that_of_two_models_alone(coco, results, models):
    for name in "bc":
        alone = evaluate(coco, results[name], Protocol(), OPTIONS)
        assert list(models.differences[name]) == compare_models(coco, results["a"], results[name], alone)


def test_the_first_one_is_what_the_others_are_compared_with(coco, results, models):
    turned = evaluate_models(coco, {name: results[name] for name in "cab"}, Protocol(), OPTIONS)
    assert (turned.first.name, list(turned.differences)) == ("c", ["a", "b"])
    for one, other in zip(models.differences["c"], turned.differences["a"], strict=True):
        assert (one.level, one.number) == (other.level, other.number)
        if one.found.difference is not None:
            assert one.found.difference == pytest.approx(-other.found.difference, abs=1e-12)
    widths = [
        sorted(round(row.apart, 9) for row in some)
        for some in (models.disagreements["c"], turned.disagreements["a"])
    ]
    assert widths[0] == widths[1] != []


def test_equal_models_do_not_differ(coco, results):
    models = evaluate_models(coco, {"one": results["a"], "two": list(results["a"])}, Protocol(), OPTIONS)
    found = [row.found for row in models.differences["two"]]
    assert {one.difference for one in found} <= {0, None}
    assert any(one.difference == 0 for one in found)
    assert {one.p for one in found} <= {1, None}
    assert models.disagreements == {"two": []} and models.disputed() == []


def test_disputes_are_the_cases_that_mcnemar_counts(models):
    for name in "bc":
        counted = disputed_counts(models, name)
        for level, title in (("image", "images"), ("lesion_all", "lesions")):
            found = models.compared(name, level, "accuracy", "McNemar").found
            cases = models.first.evaluation.levels[level].classification.cases
            lost = counted[f"{title}_first_right"]
            gained = counted[title] - lost
            assert found.difference == pytest.approx((gained - lost) / cases)


def test_disputes_by_hand(tmp_path):
    coco = truth_of(tmp_path, patients=3)  # 1, 2 benign; 3, 4 normal; 5, 6 malignant
    whole = [150, 150, 300, 300]
    first = [result(5, 2, whole, 0.9), result(1, 1, whole, 0.8), result(6, 2, whole, 0.7)]
    other = [result(5, 1, whole, 0.6), result(1, 2, whole, 0.5), result(3, 2, whole, 0.35)]
    other += [result(6, 2, whole, 0.4)]
    models = evaluate_models(coco, {"a": first, "b": other}, Protocol(), OPTIONS)
    found = {
        (row.kind, row.image_id): (row.first, row.this, row.first_right) for row in models.disagreements["b"]
    }
    assert found == {
        ("image", 5): ("malignant", "not malignant", True),
        ("image", 1): ("not malignant", "malignant", True),
        ("image", 3): ("not malignant", "malignant", True),
        ("lesion", 5): ("malignant", "benign", True),
        ("lesion", 1): ("benign", "malignant", True),
    }
    apart = {(row.kind, row.image_id): row.apart for row in models.disagreements["b"]}
    assert apart["lesion", 5] == pytest.approx(0.9 - 0.4)
    assert apart["lesion", 1] == pytest.approx(0.8 - 0.5)
    assert apart["image", 3] == pytest.approx(0.35)
    assert [one.image_id for one in models.disputed()] == [5, 3, 1]
    table = rows(model_set_csv(models)["disagreements.csv"])
    assert {row["right"] for row in table} == {"a"} and len(table) == 5


def test_the_tables_hold_the_numbers(models):
    tables = model_set_csv(models)
    numbers = {(row["level"], row["number"]): row for row in rows(tables["models.csv"])}
    for one in models.models:
        level = one.evaluation.levels["breast"]
        assert float(numbers["breast", "auc"][one.name]) == level.roc.auc
        assert float(numbers["breast", "auc"][f"{one.name} low"]) == primary(level.intervals["auc"]).low
    compared = rows(tables["comparison.csv"])
    assert len(compared) == sum(map(len, models.differences.values()))
    assert list(compared[0]) == [
        *("model", "level", "number", "test", "first", "this"),
        *("difference", "low", "high", "p", "reason"),
    ]
    paper = rows(tables["summary.csv"])
    assert [row["model"] for row in paper] == ["a", "b", "c"]
    assert paper[0]["AP50 p"] == "" and paper[1]["AUC images test"] == "Obuchowski"
    assert paper[1]["AUC patients test"] == "DeLong"
    assert paper[2]["Accuracy lesions test"] == "bootstrap by patient"
    p = models.compared("c", "lesion_all", "accuracy").found.p
    assert float(paper[2]["Accuracy lesions p"]) == p


def classifier(model, levels=("image", "breast", "patient")):
    """Return a model as one without boxes would be: some levels, no COCO and no FROC."""
    evaluation = model.evaluation
    chosen = {name: evaluation.levels[name] for name in levels}
    less = replace(
        evaluation,
        coco={},
        coco_intervals={},
        froc=FrocTable(evaluation.froc.protocol, ()),
        levels=chosen,
        cases=replace(evaluation.cases, lesions=[], fusion=replace(evaluation.cases.fusion, detections={})),
        errors=None,
    )
    return Model("classifier", less)


@pytest.mark.parametrize("place", [0, 1])
def test_a_model_may_have_some_levels_only(coco, models, tmp_path, place):
    chosen = [models.models[0], models.models[1]]
    chosen[place] = classifier(models.models[2])
    mixed = compare_set(coco, chosen)
    later = mixed.later[0].name
    assert {row.level for row in mixed.differences[later]} == {"image", "breast", "patient"}
    assert {row.kind for row in mixed.disagreements[later]} == {"image"}
    cells = summary(mixed)["classifier"]
    shown = dict(zip([one.title for one in headlines(mixed)], cells, strict=True))
    assert shown["AP50"].value is None and shown["AUC images"].value is not None
    assert shown["Accuracy lesions"].value is None and shown["CPM center"].compared is None
    numbers = {(row["level"], row["number"]): row for row in rows(model_set_csv(mixed)["models.csv"])}
    assert numbers["coco", "all AP"]["classifier"] == numbers["lesion_all", "auc"]["classifier"] == "n/a"
    assert float(numbers["coco", "all AP"][mixed.models[1 - place].name]) >= 0
    page = write_comparison(mixed, tmp_path, INPUTS, disputed_pictures(mixed, 2)).read_text()
    assert "n/a" in page
    assert (tmp_path / "compare_froc.png").is_file()
    assert any("n/a" in line for line in model_set_overview(mixed))


def test_models_without_boxes_alone(coco, models):
    alike = [classifier(models.models[0]), replace(classifier(models.models[1]), name="other")]
    found = compare_set(coco, alike)
    assert [one.title for one in headlines(found)] == ["AUC images", "AUC breasts", "AUC patients"]
    assert 'id="boxes"' not in render(found, INPUTS, {})
    assert models_froc_figure(found) is None and models_roc_figure(found) is not None


DEGENERATE = {
    "one without predictions": (lambda results: {"a": results["a"], "b": []}, Bootstrap(40)),
    "none with predictions": (lambda results: {"a": [], "b": []}, Bootstrap(40)),
    "no resamples": (lambda results: {"a": results["a"], "b": results["b"]}, Bootstrap(0)),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_little_to_compare_is_a_report_all_the_same(coco, results, name):
    chosen, bootstrap = DEGENERATE[name]
    models = evaluate_models(coco, chosen(results), Protocol(), Options(bootstrap))
    pictures = disputed_pictures(models, 3)
    page = render(models, INPUTS, {}, pictures)
    document = json.loads(json.dumps(comparison_document(models, INPUTS, pictures), allow_nan=False))
    figures = [draw(models) for draw in (models_roc_figure, models_froc_figure, differences_figure)]
    if name == "one without predictions":
        worse = next(row for row in document["differences"] if row["number"] == "all AR_100")
        assert (worse["this"], worse["difference"]) == (0, -worse["first"])
        assert document["disputed"]["b"]["lesions"] == document["disputed"]["b"]["lesions_first_right"] > 0
    if name == "none with predictions":
        assert "the models answer alike" in page
    if name == "no resamples":
        assert {row["p"] for row in document["differences"] if row["test"].startswith("boot")} == {None}
        assert [one is None for one in figures] == [False, False, True]


def test_other_categories_have_coco_and_froc_alone(tmp_path):
    coco = truth_of(tmp_path, categories=[{"id": 1, "name": SCRIPT}, {"id": 2, "name": "mass"}])
    results = {"a": detector(coco, 1), "b": detector(coco, 2)}
    protocol = Protocol(froc=FrocProtocol(hit_rules=("center", "iou:0.1"), class_aware=True))
    models = evaluate_models(coco, results, protocol, OPTIONS)
    assert models.levels == [] and models.disputed() == []
    page = render(models, INPUTS, {})
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "need the categories" in page and "Disagreements" not in page
    assert len(headlines(models)) == 2


def test_the_pictures_are_the_same_place_with_the_boxes_of_each(tmp_path):
    coco = truth_of(tmp_path, patients=3)
    whole = [150, 150, 300, 300]
    models = evaluate_models(coco, {"a": [result(5, 2, whole, 0.9)], "b": []}, Protocol(), OPTIONS)
    paint(tmp_path, 5)
    (picture,) = disputed_pictures(models)
    assert (picture.image.image_id, picture.scale, picture.whole) == (5, 1, False)
    left, top, right, bottom = crop_window(whole, 600, 600, context=1.6)
    assert (picture.width, picture.height) == (right - left, bottom - top) == (480, 480)
    first, second = (
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int) for jpeg in picture.jpegs
    )
    orange = [(image[:, :, 2] - image[:, :, 0]) > 60 for image in (first, second)]  # red less blue
    edge = 150 - left
    assert orange[1][edge : edge + 300, edge - 1].mean() > 0.9  # the lesion, solid, also where it is missed
    assert orange[0][edge : edge + 300, edge - 4].mean() > 0.3  # the box around it, dashed
    assert not orange[1][:, edge - 4].any()
    inside = slice(edge + 10, edge + 290)
    assert abs(first[inside, inside] - second[inside, inside]).max() < 12  # the same pixels


def test_images_that_cannot_be_read_are_named_and_stay(coco, models):
    chosen = models.disputed()
    broken = coco.image_path(coco.image_by_id[chosen[1].image_id])
    broken.write_bytes(b"no picture")
    pictures = disputed_pictures(models, 3)
    broken.unlink()
    assert [one.reason for one in pictures] == [NO_FILE, NOT_READ, NO_FILE]
    page = render(models, INPUTS, {}, pictures)
    assert f"{chosen[1].file_name} ({NOT_READ})" in page
    assert f"{len(chosen)} images are in dispute. Here are 3" in page
    table = rows(model_set_csv(models, pictures)["disagreements.csv"])
    assert len(table) == sum(map(len, models.disagreements.values()))
    told = {row["picture"] for row in table}
    assert told == {NO_FILE, NOT_READ, "not among the cases shown"}
    assert "3 of 3 disputed images could not be read" in model_set_overview(models, pictures)[-1]


class Page(html.parser.HTMLParser):
    """Collects elements, addresses, and the text of the style element."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.addresses, self.attributes = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value for name, value in attrs if name in ("src", "href")]


def test_nothing_that_users_name_becomes_a_part_of_the_page(tmp_path):
    nasty = 'x" onerror="alert(1)'
    coco = truth_of(tmp_path, name=f"{SCRIPT.replace('/', '-')}{nasty}{{number}}.png")
    results = {
        SCRIPT: detector(coco, 1),
        f"{nasty}$_\\frac{{": detector(coco, 2),
        "\ud800": detector(coco, 3),
    }
    models = evaluate_models(coco, results, Protocol(), OPTIONS)
    for image in coco.images[:3]:
        paint(tmp_path, image["id"])
        (tmp_path / f"{image['id']}.png").rename(coco.image_path(image))
    inputs = {
        "ground_truth": {"path": SCRIPT, "sha256": "0"},
        "predictions": [{"name": name, "path": SCRIPT, "sha256": "1"} for name in results],
    }
    text = write_comparison(models, tmp_path / "out", inputs, disputed_pictures(models)).read_text()
    page = Page(text)
    assert "script" not in page.elements and "onerror" not in page.attributes
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 3
    assert 'style="' not in text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'") and f"style-src 'sha256-{digest}'" in policy
    for name in ("compare_roc", "compare_froc", "compare_differences"):
        assert "<script" not in (tmp_path / "out" / f"{name}.svg").read_text()


def test_the_page_shows_the_numbers_of_the_document(models):
    page, document = render(models, INPUTS, {}), comparison_document(models, INPUTS)
    assert document["schema"] == "mammodet.comparison/1"
    assert document["protocol"]["score_threshold"] == 0.3
    assert document["inputs"] == INPUTS
    part = page[page.index('id="summary"') : page.index('id="disagreements"')]
    body = [re.sub(r"<[^>]*>", " ", row).split() for row in part.split("<tr>")[2:]]
    numbers = [
        {(one["level"], one["number"]): one for one in model["numbers"]} for model in document["models"]
    ]
    for words, found in zip(body, numbers, strict=False):
        for column in headlines(models):
            one = found[column.level, column.number]
            assert f"{one['value']:.3f}" in words and f"{one['interval']['low']:.3f}" in words


def test_an_earlier_comparison_is_removed_and_nothing_else(coco, models, tmp_path):
    (tmp_path / "compare_froc.svg").write_text("mine")
    short = compare_set(coco, [classifier(models.models[0]), replace(classifier(models.models[1]), name="d")])
    write_comparison(short, tmp_path, INPUTS)
    assert (tmp_path / "compare_froc.svg").read_text() == "mine"
    (tmp_path / "notes.txt").write_text("mine")
    write_comparison(short, tmp_path, INPUTS)
    assert not (tmp_path / "compare_froc.svg").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("names", "problem"),
    [(["a"], "must be two or more"), (["a", " "], "must not be empty"), (["a", "a low"], "two columns")],
)
def test_names_that_cannot_be_told_apart_are_refused(coco, tmp_path, names, problem):
    with pytest.raises(InputError, match=problem):
        model_set_csv(evaluate_models(coco, {name: [] for name in names}, Protocol(), Options(Bootstrap(0))))


def test_models_under_other_rules_are_not_compared(coco, results, models):
    other = Model("d", evaluate(coco, results["b"], Protocol(score_threshold=0.5), OPTIONS), results["b"])
    with pytest.raises(ValueError, match="other protocols"):
        compare_set(coco, [models.first, other])


def test_six_models_are_drawn_apart(coco, results):
    names = ["_hidden", "$x$", "a" * 60, "d", "e", "f"]
    models = evaluate_models(
        coco, {name: detector(coco, seed) for seed, name in enumerate(names)}, Protocol(), OPTIONS
    )
    for figure, panels in ((models_roc_figure(models), 4), (models_froc_figure(models), 4)):
        assert len(figure.axes) == panels
        for axes in figure.axes:
            legend = axes.get_legend()
            assert len(legend.get_texts()) == len(names)
            looks = {(line.get_color(), line.get_linestyle()) for line in legend.get_lines()}
            assert len(looks) == len(names)
    assert differences_figure(models) is not None
    assert shown_name("a" * 60).endswith("…") and shown_name("$x$") == r"\$x\$"


def test_a_difference_without_an_interval_is_left_out_of_the_figure(models):
    none = Difference(
        "bootstrap by patient", None, None, None, models.differences["b"][0].found.interval, None
    )
    bare = [replace(row, found=none) for row in models.differences["b"]]
    emptied = replace(models, models=models.models[:2], differences={"b": bare})
    assert differences_figure(emptied) is None
