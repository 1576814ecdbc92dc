"""The page of an evaluation in a real Chromium: what it shows, what it answers to, and what it never does."""

import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammodet.datasets.atomic import write_text
from mammodet.datasets.coco import Coco
from mammodet.evaluation.froc import froc_curve
from mammodet.evaluation.froc_cases import froc_cases
from mammodet.evaluation.froc_matching import match_cases
from mammodet.evaluation.froc_table import FrocProtocol
from mammodet.evaluation.fusion import fuse
from mammodet.evaluation.hit_rules import parse_rules
from mammodet.evaluation.image_scores import ImageScores
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.report import render, write_report
from mammodet.evaluation.report_data import match_rules, viewer_data
from mammodet.evaluation.report_gallery import Gallery, build_viewer
from mammodet.evaluation.report_images import FOLDER
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import Options, evaluate

INPUTS = {name: {"path": f"{name}.json", "sha256": "0" * 64} for name in ("ground_truth", "predictions")}
PARTS = Path(__file__).resolve().parents[2] / "evaluation" / "report_page"
HOSTILE = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">'
WIDTH, HEIGHT = 400, 500
MARKS = ([60, 80, 40, 30], [250, 330, 24, 50])  # bright rectangles of the first image: x, y, width, height
KEYS = {
    *("threshold", "threshold-number", "rule", "filter-truth", "filter-view", "sort", "search"),
    *("filters-clear", "page-on"),
}


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "the package playwright is not installed (extra dev)"
    else:
        missing = "" if shutil.which("chromium") else "chromium is not on PATH (Debian package chromium)"
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not run as root, which CI is.
        opened = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--force-color-profile=srgb"]
        )
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Open a report; in the end nothing may have gone wrong there and nothing may have been asked for."""
    contexts, wrong = [], []

    def open_page(report, width=1400, height=900, scheme="light", **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on(
            "console", lambda message: message.type in ("error", "warning") and wrong.append(message.text)
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda asked: asked.url.startswith(("file:", "data:")) or wrong.append(f"asks for {asked.url}"),
        )
        page.goto(report.resolve().as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def study(folder, patients=20, **changes):
    """Some patients with random lesions and predictions, and pictures of the first two images."""
    rng = np.random.default_rng(7)
    images, lesions, results = [], [], []
    for number in range(1, 2 * patients + 1):
        label = ("malignant", "benign", "normal", None)[number % 4]
        image = {"id": number, "file_name": f"files/{number}.png", "width": WIDTH, "height": HEIGHT}
        image |= {"patient_id": f"P{(number + 1) // 2}", "laterality": "L", "view": ("CC", "MLO")[number % 2]}
        images.append(image | ({} if label is None else {"label": label}))
        boxes = list(MARKS) if number == 1 else [random_box(rng) for _ in range(int(rng.integers(0, 3)))]
        for box in boxes if label in ("malignant", "benign") or number == 1 else []:
            category = int(rng.integers(1, 3))
            lesions.append({"id": len(lesions) + 1, "image_id": number, "category_id": category, "bbox": box})
            if number > 1 and rng.random() < 0.15:
                lesions[-1]["ignore"] = 1
            if rng.random() < 0.8:
                results.append(found(rng, number, [v + rng.normal(0, 4) for v in box]))
        for _ in range(rng.poisson(2)):  # twice at one place: suppression has something to do
            box = random_box(rng)
            results += [found(rng, number, box), found(rng, number, [*box[:3], box[3] * 1.2])]
    (folder / "files").mkdir(parents=True, exist_ok=True)
    for number in (1, 2):
        cv2.imwrite(str(folder / "files" / f"{number}.png"), marked(number))
    return Coco(images, lesions, folder / "gt.json", **changes), results


def random_box(rng):
    return [*rng.uniform(0, 300, 2).round(1).tolist(), *rng.uniform(15, 90, 2).round(1).tolist()]


def found(rng, image, box):
    score = round(float(rng.beta(1.5, 2)), 2)  # two digits: some boxes tie
    inside = [max(0.0, round(float(value), 1)) for value in box]
    return {"image_id": image, "category_id": int(rng.integers(1, 3)), "bbox": inside, "score": score}


def marked(number):
    """A grey image with white marks where the first image has lesions."""
    picture = np.full((HEIGHT, WIDTH), 60, np.uint8)
    picture[:5] = 0
    for x, y, width, height in MARKS if number == 1 else ():
        picture[y : y + height, x : x + width] = 255
    return picture


def write(folder, coco, results, protocol=None, **options):
    evaluation = evaluate(coco, results, protocol or Protocol(), Options(Bootstrap(resamples=20)))
    return write_report(evaluation, folder / "out", INPUTS, Gallery(coco, results, **options))


def write_page(folder, coco, results, protocol=None, **options):
    """Write the page alone, without tables and figures."""
    evaluation = evaluate(coco, results, protocol or Protocol(), Options(Bootstrap(resamples=0)))
    out = folder / "out"
    viewer = build_viewer(Gallery(coco, results, **options), evaluation, out)
    write_text(out / "metrics.json", "{}")
    write_text(out / "report.html", render(evaluation, INPUTS, {}, viewer))
    return out / "report.html"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    coco, results = study(folder)
    return write(folder, coco, results), coco, results


def set_threshold(page, value):
    page.locator("#threshold-number").fill(repr(value))
    page.locator("#threshold-number").press("Enter")
    page.wait_for_function(
        "value => Math.abs(document.getElementById('threshold').value - value) < 0.006", arg=value
    )
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def live(page):
    names = ("lesions", "false", "sensitivity", "specificity")
    return {name: page.locator(f"#live-{name}").inner_text() for name in names}


def number(value):
    return "n/a" if value is None or not np.isfinite(value) else f"{value:.3f}"


def expected(coco, results, rule, threshold):
    """The same numbers, from the FROC curve and the published fusion."""
    curve = froc_curve(match_cases(froc_cases(coco, results), rule))
    place = np.flatnonzero(curve.thresholds >= threshold)[-1]
    verdicts = fuse(coco, results, threshold).images
    truth = {one["id"]: truth_of(coco, one) for one in coco.images}
    called = {
        kind: [verdicts[key].malignant for key, value in truth.items() if value in kinds]
        for kind, kinds in (("positive", ("malignant",)), ("negative", ("benign", "normal")))
    }
    return {
        "lesions": number(curve.sensitivity[place]),
        "false": number(curve.false_positives[place]),
        "sensitivity": number(np.mean(called["positive"])),
        "specificity": number(1 - np.mean(called["negative"])),
    }


def truth_of(coco, image):
    if image.get("label"):
        return image["label"]
    worst = [one["category_id"] for one in coco.annotations_of[image["id"]] if not one.get("ignore")]
    return None if not worst else "malignant" if 2 in worst else "benign"


def test_the_numbers_at_the_start_are_those_of_metrics_json(made, visit):
    page = visit(made[0])
    document = json.loads((made[0].parent / "metrics.json").read_text())
    row = document["detection_at_threshold"]["rows"][0]
    classes = document["image"]["per_class"]
    assert live(page) == {
        "lesions": number(row["sensitivity"]),
        "false": number(row["false_positives_per_unit"]),
        "sensitivity": number(classes["malignant"]["sensitivity"]),
        "specificity": number(classes["not malignant"]["sensitivity"]),
    }
    tiles = page.locator(".tile b").all_inner_texts()
    aucs = [
        document[name]["auc"] for name in ("image", "breast", "patient", "lesion_published", "lesion_all")
    ]
    coco = document["coco"]["all"]
    assert tiles == [number(value) for value in (coco["AP"], coco["AP50"], *aucs)]


def all_numbers(value):
    """Every number in a JSON document, as the page shows it."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(all_numbers, value))
    return {number(value)} if isinstance(value, int | float) else set()


def test_every_number_on_the_page_is_in_metrics_json(made, visit):
    page = visit(made[0])
    document = json.loads((made[0].parent / "metrics.json").read_text())
    shown = re.findall(r"(?<![\d.-])-?\d\.\d{3}(?!\d)", page.locator("main").inner_text())
    assert len(shown) > 300
    assert set(shown) <= all_numbers(document)


def test_the_operating_point_is_pythons_at_every_threshold_and_rule(made, visit):
    _, coco, results = made
    page = visit(made[0])
    on_a_score = sorted({one["score"] for one in results})[len(results) // 5]
    rules = parse_rules(Protocol().froc.hit_rules)
    for place, rule in enumerate(rules):
        page.locator("#rule").select_option(str(place))
        for threshold in (0.0, 0.123, on_a_score, 0.5, 0.87, 1.0)[:: 1 if place < 2 else 3]:
            set_threshold(page, threshold)
            assert live(page) == expected(coco, results, rule, threshold), (rule.name, threshold)
    page.locator("#threshold-reset").click()
    page.wait_for_function("document.getElementById('threshold-number').value === '0.3'")


@pytest.mark.parametrize("denominator", ["all", "normal"])
def test_the_rules_in_javascript_are_the_published_ones_for_every_image(browser, tmp_path, denominator):
    coco, results = study(tmp_path)
    protocol = Protocol(froc=FrocProtocol(denominator=denominator, hit_rules=("center", "iou:0.5")))
    rules = match_rules(coco, results, protocol)
    data = viewer_data(coco, results, protocol, rules, judged=True)
    page = browser.new_page()
    code = (PARTS / "judge.js").read_text() + "return new Judge(data).at(threshold, rule);"
    judge = "([code, data, threshold, rule]) => new Function('data', 'threshold', 'rule', code)(data, threshold, rule)"
    curves = [froc_curve(one.matches, denominator=denominator) for one in rules]
    for threshold in (0.0, 0.2, 0.3, results[0]["score"], 0.6, 0.9, 1.0):
        verdicts = fuse(coco, results, threshold, protocol.suppression_iou).images
        for rule, curve in enumerate(curves):
            told = page.evaluate(judge, [code, data, threshold, rule])
            for image, one in zip(coco.images, told["images"], strict=True):
                assert one["malignant"] == verdicts[image["id"]].malignant
                assert one["verdictScore"] == verdicts[image["id"]].score
            place = np.flatnonzero(curve.thresholds >= threshold)[-1]
            total, units = told["total"], data["rules"][rule]["units"]
            assert total["falsePositives"] / units == pytest.approx(curve.false_positives[place])
            assert total["found"] / len(data["rules"][rule]["lesions"]) == pytest.approx(
                curve.sensitivity[place]
            )
    page.close()


def test_the_slider_changes_boxes_and_outcomes(made, visit):
    page = visit(made[0])
    drawn = page.locator('.card rect[stroke-dasharray]:not([stroke-dasharray=""])')
    before, outcomes = drawn.count(), page.locator("#chips-outcome").inner_text()
    page.locator("#threshold").focus()
    for _ in range(60):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.getElementById('threshold-number').value > 0.59")
    assert 0 < drawn.count() < before
    assert page.locator("#chips-outcome").inner_text() != outcomes
    set_threshold(page, 1.0)
    assert drawn.count() == 0


def test_filters_and_sorting_change_the_gallery(made, visit):
    page = visit(made[0])
    first = page.locator("#shown").inner_text()
    assert first == "All 40 images"
    chip = page.locator(".chip.fp")
    chip.click()
    count = int(chip.locator("b").inner_text())
    assert page.locator("#shown").inner_text() == f"{count} of 40 images"
    assert page.locator(".card").count() == page.locator(".card .badge.fp").count() == min(count, 24)
    page.locator(".chip.missed").click()
    assert page.locator(".card").count() == page.locator(".card .badge.fp + .badge.missed").count() < count
    page.locator("#filters-clear").click()
    page.locator("#search").fill("p7")
    assert page.locator(".card .name").all_text_contents() == ["files/13.png", "files/14.png"]
    page.locator("#filters-clear").click()
    page.locator("#filter-view").select_option(label="L CC")
    assert page.locator("#shown").inner_text() == "20 of 40 images"
    page.locator("#filter-truth").select_option(label="normal")
    assert page.locator("#shown").inner_text() == "10 of 40 images"
    page.locator("#filters-clear").click()
    page.locator("#sort").select_option("false")
    badges = page.locator(".card").evaluate_all(
        "cards => cards.map((card) => parseInt(card.querySelector('.badge.false')?.textContent ?? 0))"
    )
    assert badges == sorted(badges, reverse=True) and badges[0] > badges[-1]


def test_without_a_file_the_card_says_so_and_shows_its_boxes(made, visit):
    page = visit(made[0])
    page.locator("#search").fill("files/3.png")
    assert page.locator(".card .why").text_content() == "no such file"
    assert page.locator(".card rect").count() > 0
    page.locator(".card").click()
    assert page.locator("#full-problem").inner_text() == "No picture: no such file."


def open_first(page):
    """Open the image with the marks, without labels, at a threshold that leaves only true boxes."""
    page.locator("#search").fill("files/1.png")
    page.locator(".card").first.click()
    page.keyboard.press("l")
    page.wait_for_selector("#canvas[data-ready=yes]")


def canvas_pixels(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_selector("#canvas[data-ready=yes]")
    shot = page.locator("#canvas").screenshot()
    pixels = cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR).astype(int)
    inner = np.zeros_like(pixels)
    inner[8:-8, 8:-8] = pixels[8:-8, 8:-8]  # without the focus ring
    return inner


def regions(mask, least):
    """The bounding boxes of connected regions of a mask, as x1, y1, x2, y2, from the top."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    kept = [(x, y, x + w, y + h) for x, y, w, h, area in stats[1:].tolist() if area >= least]
    return sorted(kept, key=lambda one: one[1])


def assert_boxes_on_marks(page, marks):
    """The true boxes are drawn exactly around the marks of the picture, wherever both are."""
    page.keyboard.press("t")
    bare = canvas_pixels(page)
    page.keyboard.press("t")
    framed = canvas_pixels(page)
    white = regions((bare > 235).all(axis=2), 30)
    lines = regions((framed.max(axis=2) - framed.min(axis=2)) > 60, 30)
    assert len(white) == len(lines) == marks
    for mark, line in zip(white, lines, strict=True):
        assert np.abs(np.subtract(mark, line)).max() <= 3  # half the line's width and one pixel of blur
    return white


def test_boxes_stay_on_their_lesions_while_zooming_and_panning(made, visit):
    page = visit(made[0])
    set_threshold(page, 1.0)
    open_first(page)
    page.keyboard.press("p")
    fitted = assert_boxes_on_marks(page, 2)
    canvas = page.locator("#canvas").bounding_box()
    x, y = fitted[0][0], fitted[0][1]
    page.mouse.move(canvas["x"] + x, canvas["y"] + y)
    for _ in range(3):
        page.mouse.wheel(0, -100)
    zoomed = assert_boxes_on_marks(page, 2)
    assert zoomed[0][2] - zoomed[0][0] > 1.4 * (fitted[0][2] - fitted[0][0])
    assert abs(zoomed[0][0] - x) <= 2 and abs(zoomed[0][1] - y) <= 2  # what lies below the mouse stays there
    page.mouse.down()
    page.mouse.move(canvas["x"] + x + 70, canvas["y"] + y - 40, steps=3)
    page.mouse.up()
    dragged = assert_boxes_on_marks(page, 2)
    assert np.abs(np.subtract(dragged[0], zoomed[0]) - [70, -40, 70, -40]).max() <= 2
    for key in ("ArrowDown", "ArrowRight", "-"):
        page.keyboard.press(key)
    assert assert_boxes_on_marks(page, 2) != dragged
    page.keyboard.press("0")
    assert assert_boxes_on_marks(page, 2) == fitted


def test_two_fingers_zoom_and_one_pans(made, visit):
    page = visit(made[0], width=390, height=844, has_touch=True)
    set_threshold(page, 1.0)
    open_first(page)
    page.keyboard.press("p")
    before = assert_boxes_on_marks(page, 2)
    canvas = page.locator("#canvas").bounding_box()
    x, y = canvas["x"] + before[0][0], canvas["y"] + before[0][1]  # the first mark, which stays there
    touch = page.context.new_cdp_session(page)

    def fingers(kind, *points):
        touch.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]}
        )

    fingers("touchStart", (x - 60, y), (x + 60, y))
    for step in range(1, 6):
        fingers("touchMove", (x - 60 - 3 * step, y), (x + 60 + 3 * step, y))
    fingers("touchEnd")
    after = assert_boxes_on_marks(page, 2)
    assert after[0][2] - after[0][0] == pytest.approx(1.25 * (before[0][2] - before[0][0]), abs=3)
    assert np.abs(np.subtract(after[0], before[0])[:2]).max() <= 2
    fingers("touchStart", (x, y))
    for step in range(1, 5):  # beyond what Chromium takes for a finger that trembles
        fingers("touchMove", (x + 10 * step, y + 10 * step))
    fingers("touchEnd")
    moved = assert_boxes_on_marks(page, 2)
    assert np.abs(np.subtract(moved[0], after[0]) - [40, 40, 40, 40]).max() <= 2


def test_the_keyboard_alone_reaches_and_does_everything(made, visit):
    page = visit(made[0])

    def focused():
        return page.evaluate("document.activeElement.id || document.activeElement.className")

    page.keyboard.press("Tab")
    assert focused() == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#content"
    seen, rings = set(), []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(focused())
        rings.append(page.evaluate("getComputedStyle(document.activeElement).outlineStyle"))
        if focused() == "page-on":
            break
    assert seen >= KEYS | {"card"} | {f"chip {one}" for one in ("tp", "fp", "tn", "fn", "missed", "false")}
    assert set(rings) <= {"solid", "auto"}
    page.locator("#page-on").press("Enter")
    assert page.locator("#page-number").inner_text() == "25 to 40 of 40"
    page.locator("#page-back").press("Enter")
    page.locator(".card[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    name = page.evaluate("document.activeElement.title")
    page.keyboard.press("Enter")
    assert page.locator("#full-name").inner_text() == name and focused() == "canvas"
    place = page.locator("#full-place").inner_text()
    page.keyboard.press("n")
    assert page.locator("#full-place").inner_text() != place
    page.keyboard.press("b")
    assert page.locator("#full-place").inner_text() == place == "2 / 40"
    for key, switch in (("t", "truth"), ("p", "predictions"), ("l", "labels")):
        page.keyboard.press(key)
        assert page.locator(f"#show-{switch}").get_attribute("aria-pressed") == "false"
        page.keyboard.press(key)
    inside = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        inside.add(focused())
        assert page.evaluate(
            "document.activeElement === document.body || document.activeElement.closest('#full') !== null"
        )
    tools = {"zoom-in", "zoom-out", "zoom-fit", "zoom-one", "show-truth", "show-predictions", "show-labels"}
    assert inside >= tools | {"full-close", "full-on", "full-back", "full-threshold", "canvas"}
    page.locator("#full-threshold").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.getElementById('threshold-number').value === '0.305'")
    page.keyboard.press("Escape")
    page.wait_for_function("name => document.activeElement.title === name", arg=name)
    assert page.locator("#full").is_hidden()


def test_nothing_that_users_give_becomes_code(visit, tmp_path):
    coco, results = study(tmp_path)
    for image in coco.images:
        image.update(
            file_name=HOSTILE, patient_id=HOSTILE + str(image["id"]), view=HOSTILE, manufacturer=HOSTILE
        )
        image["laterality"] = "\u2028\ud800" + HOSTILE
    for lesion in coco.annotations:
        lesion.update(finding=HOSTILE, lesion_id=HOSTILE)
    hostile = [{"id": 1, "name": HOSTILE}, {"id": 2, "name": "malignant" + HOSTILE}]
    coco = Coco(coco.images, coco.annotations, coco.path, hostile)
    page = visit(write_page(tmp_path, coco, results, Protocol(froc=FrocProtocol(class_aware=True))))
    page.locator(".card").first.click()
    page.locator("#full-boxes button").first.click()
    page.keyboard.press("n")
    assert page.locator("#full-name").inner_text() == HOSTILE
    assert HOSTILE in page.locator("#full-facts").inner_text()
    page.keyboard.press("Escape")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img:not([src^=data]), main script").count() == 0
    assert page.evaluate("document.scripts.length") == 2
    # A script that got in all the same would be stopped by the page's policy.
    assert "script-src 'sha256-" in page.locator("meta[http-equiv]").get_attribute("content")


def test_the_policy_stops_foreign_scripts(browser, made):
    page = browser.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(made[0].as_uri())
    page.evaluate(
        "() => { const code = document.createElement('script'); code.textContent = 'window.hacked = 1';"
        " document.body.append(code); fetch('https://example.org').catch(() => {}); }"
    )
    assert page.evaluate("window.hacked") is None
    assert len([text for text in said if "Content Security Policy" in text]) >= 2
    page.close()


def test_other_categories_have_no_verdicts_of_images(visit, tmp_path):
    coco, results = study(tmp_path)
    coco = Coco(
        coco.images, coco.annotations, coco.path, [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    )
    page = visit(write_page(tmp_path, coco, results, pictures="none"))
    assert page.locator("#live-sensitivity, #chips-outcome").count() == 0
    set_threshold(page, 0.5)
    page.locator(".chip.false").click()
    assert page.locator(".card").count() > 0
    page.locator(".card").first.click()
    assert re.search(r"^\S+ of|^No lesion", page.locator("#full-outcome").inner_text())


def test_scores_of_images_have_verdicts_and_no_boxes(visit, tmp_path):
    coco, _ = study(tmp_path)
    drawn = np.random.default_rng(3).beta(1, 1, len(coco.images)).round(3).tolist()
    drawn[0] = 0.5  # on the threshold: malignant
    scores = ImageScores({one["id"]: score for one, score in zip(coco.images, drawn, strict=True)})
    report = write(tmp_path, coco, scores)
    page = visit(report)
    document = json.loads((report.parent / "metrics.json").read_text())
    shown = set(re.findall(r"(?<![\d.-])-?\d\.\d{3}(?!\d)", page.locator("main").inner_text()))
    assert len(shown) > 100
    assert shown <= all_numbers(document) | {f"{score:.3f}" for score in drawn}
    for name in ("#rule", "#curve", "#chips-lesion", "#live-lesions", "#live-false"):
        assert not page.locator(name).is_visible()
    assert page.locator("rect[stroke-dasharray]:not([stroke-dasharray=''])").count() == 0
    truth = {one["id"]: truth_of(coco, one) for one in coco.images}
    for threshold in (0.5, 0.2, 0.9):
        set_threshold(page, threshold)
        called = {
            kind: [scores.of_image[key] >= threshold for key, value in truth.items() if value in kinds]
            for kind, kinds in (("positive", ("malignant",)), ("negative", ("benign", "normal")))
        }
        assert page.locator("#live-sensitivity").inner_text() == number(np.mean(called["positive"]))
        assert page.locator("#live-specificity").inner_text() == number(1 - np.mean(called["negative"]))
        wrong = sum(called["negative"])
        page.locator(".chip.fp").click()
        assert page.locator("#shown").inner_text() == f"{wrong} of 40 images"
        assert page.locator(".card .badge.fp").count() == page.locator(".card").count() == min(wrong, 24)
        page.locator("#filters-clear").click()
    set_threshold(page, 0.5)
    page.locator("#sort").select_option("score")
    highest = sorted(drawn, reverse=True)[:3]
    told = page.locator(".card .badge.score").all_inner_texts()[:3]
    assert told == [f"score {score:.3f}" for score in highest]
    page.locator("#search").fill("files/1.png")
    page.locator(".card").first.click()
    outcome = {"malignant": "true", "benign": "false", "normal": "false", None: "unknown truth"}[truth[1]]
    assert page.locator("#full-outcome").inner_text().startswith(f"Image: {outcome}")
    assert page.locator("#full-outcome").inner_text().endswith("malignancy score 0.500.")
    assert not page.locator("#show-predictions").is_visible()
    assert page.locator("#full-boxes li.truth").count() == len(coco.annotations_of[1])


def test_many_pictures_lie_beside_the_page_and_go_with_it(visit, tmp_path, monkeypatch):
    coco, results = study(tmp_path)
    monkeypatch.setattr("mammodet.evaluation.report_images.EMBEDDED_BYTES", 100)
    report = write_page(tmp_path, coco, results)
    assert {path.name for path in (report.parent / FOLDER).iterdir()} == {"000000_1.png", "000001_1.png"}
    page = visit(report)
    open_first(page)
    assert page.locator("#zoom").inner_text() != "100 %"
    assert (canvas_pixels(page) > 235).all(axis=2).sum() > 1000
    (report.parent / FOLDER / "mine.txt").write_text("mine")
    write(tmp_path, coco, results, pictures="none")
    assert [path.name for path in (report.parent / FOLDER).iterdir()] == ["mine.txt"]


def test_a_phone_needs_no_sideways_scrolling_and_dark_is_dark(made, visit):
    for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 27)")):
        page = visit(made[0], width=390, height=844, scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
        page.locator(".card").first.click()
        box = page.locator("#full-close").bounding_box()
        assert box["x"] + box["width"] <= 390
        wide = page.locator("#canvas").bounding_box()
        assert wide["width"] == 390 and wide["height"] > 400


def test_the_contents_lead_to_every_part(made, visit):
    page = visit(made[0])
    titles = page.locator("main h2").all_inner_texts()
    links = page.locator("nav.contents a")
    assert links.all_inner_texts() == titles
    links.last.click()
    assert page.locator("main h2").last.bounding_box()["y"] < 900
    page.wait_for_function("document.querySelectorAll('nav.contents a[aria-current]').length === 1")


def memory_mb(browser):
    """Resident memory of all renderers, in MB."""
    session = browser.new_browser_cdp_session()
    kinds = session.send("SystemInfo.getProcessInfo")["processInfo"]
    status = [Path(f"/proc/{one['id']}/status").read_text() for one in kinds if one["type"] == "renderer"]
    return max(int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024 for text in status)


@pytest.mark.slow
def test_a_thousand_images_stay_below_500_mb(browser, visit, tmp_path):
    coco, results = study(tmp_path, patients=500)
    picture = cv2.GaussianBlur(
        np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH), np.uint8), (0, 0), 3
    )
    for number in range(1, 1001):
        cv2.imwrite(str(tmp_path / "files" / f"{number}.png"), picture)
    report = write_page(tmp_path, coco, results, pictures="all")
    page = visit(report)
    entry = page.evaluate("performance.getEntriesByType('navigation')[0].toJSON()")
    opened = memory_mb(browser)
    page.locator("#page-on").click()
    page.locator(".card").first.click()
    for _ in range(100):
        page.keyboard.press("n")
    page.wait_for_selector("#canvas[data-ready=yes]")
    used = memory_mb(browser)
    print(f"{report.stat().st_size / 1e6:.0f} MB page, loaded after {entry['loadEventEnd']:.0f} ms, "
          f"{opened:.0f} MB, {used:.0f} MB after 100 images")  # fmt: skip
    assert opened < 500 and used < 500


@pytest.mark.slow
def test_a_full_size_mammogram_zooms(browser, visit, tmp_path):
    height, width = 4096, 3328
    picture = cv2.resize(np.random.default_rng(1).integers(20, 120, (512, 416), np.uint8), (width, height))
    picture[3000:3040, 2000:2060] = 255
    (tmp_path / "files").mkdir()
    cv2.imwrite(str(tmp_path / "files" / "1.png"), picture)
    image = {"id": 1, "file_name": "files/1.png", "width": width, "height": height, "label": "malignant"}
    lesion = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [2000, 3000, 60, 40]}
    page = visit(write_page(tmp_path, Coco([image], [lesion], tmp_path / "gt.json"), []))
    open_first(page)
    page.locator("#full-boxes button").first.click()
    page.wait_for_selector("#canvas[data-ready=yes]")
    assert int(page.locator("#zoom").inner_text().split()[0]) > 300
    assert_boxes_on_marks(page, 1)
    frames = page.evaluate(
        """() => new Promise((done) => {
        const canvas = document.getElementById('canvas'), times = [];
        const step = (now) => {
          times.push(now);
          if (times.length > 120) return done(times.slice(1).map((time, n) => time - times[n]).sort((a, b) => a - b));
          const deltaY = times.length % 60 < 30 ? 40 : -40;
          canvas.dispatchEvent(new WheelEvent('wheel', { deltaY, clientX: 500, clientY: 500, cancelable: true }));
          requestAnimationFrame(step);
        };
        requestAnimationFrame(step);
      })"""
    )
    print(f"zooming: {frames[60]:.0f} ms a frame in the median, {frames[-1]:.0f} ms at most")
    page.wait_for_selector("#canvas[data-ready=yes]")
    assert_boxes_on_marks(page, 1)
    assert memory_mb(browser) < 500
