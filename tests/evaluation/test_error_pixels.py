"""Errors on their images: where background boxes lie, and the pictures of the worst cases."""

import csv
import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammodet.datasets.coco import Coco
from mammodet.datasets.drawing import COLOURS
from mammodet.evaluation.error_analysis import ErrorRules, analyse_errors
from mammodet.evaluation.error_cases import NOT_LOOKED_AT
from mammodet.evaluation.error_gallery import crop_picture, crop_png, crop_window, gallery_figure, worst_cases
from mammodet.evaluation.error_pixels import NO_FILE, NOT_READ, OTHER_SIZE, look_at_images
from mammodet.evaluation.error_places import MUSCLE, NO_VIEW, OUTSIDE, TISSUE, UNSURE, BreastMap
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.report import write_report
from mammodet.evaluation.resampling import PatientResamples
from mammodet.evaluation.summary import Options, evaluate

BENIGN, MALIGNANT = 1, 2
NAMES = {BENIGN: "benign", MALIGNANT: "malignant"}
HEIGHT, WIDTH = 1000, 800


def breast(muscle=True):
    """A left breast on 1000 x 800 px; its muscle's edge runs from x = 300 at the top to y = 500 at the left."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    inside = (x / 600) ** 2 + ((y - 450) / 540) ** 2 < 1
    texture = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, x.shape).astype(np.float32), (0, 0), 12)
    pixels = np.where(inside, 0.45 + 1.2 * texture, 0.02)
    wedge = inside & (x / 300 + y / 500 < 1)
    return np.where(wedge & muscle, pixels + 0.35, pixels).clip(0, 1).astype(np.float32)


IN_MUSCLE, IN_TISSUE, IN_AIR = [20, 100, 60, 60], [250, 450, 80, 80], [650, 850, 60, 60]


def test_places_on_an_mlo_view():
    found = BreastMap.of(breast(), "MLO")
    assert found.place(IN_MUSCLE) == (MUSCLE, None)
    assert found.place(IN_TISSUE) == (TISSUE, None)
    assert found.place(IN_AIR) == (OUTSIDE, None)
    assert found.place([100, 150, 2, 2]) == (MUSCLE, None)  # less than a pixel of the small image
    assert found.place([790, 990, 100, 100]) == (OUTSIDE, None)  # beyond the image
    mirrored = BreastMap.of(np.ascontiguousarray(breast()[:, ::-1]), "MLO")
    x, y, width, height = IN_MUSCLE
    assert mirrored.place([WIDTH - x - width, y, width, height]) == (MUSCLE, None)


def test_where_the_muscle_is_not_found_only_its_corner_is_unknown():
    found = BreastMap.of(breast(muscle=False), "MLO")
    assert found.place(IN_MUSCLE) == ("unknown", UNSURE)
    assert found.place([450, 600, 40, 40]) == (TISSUE, None)
    assert BreastMap.of(breast(), None).place(IN_MUSCLE) == ("unknown", NO_VIEW)
    assert BreastMap.of(breast(), "CC").place(IN_MUSCLE) == (TISSUE, None)
    assert BreastMap.of(np.zeros((300, 300), np.float32), "CC").place([0, 0, 9, 9])[0] == "unknown"


def test_a_crop_is_two_and_a_half_boxes_wide_and_inside_the_image():
    assert crop_window([400, 300, 200, 100], WIDTH, HEIGHT) == (250, 100, 750, 600)
    assert crop_window([400, 300, 10, 10], WIDTH, HEIGHT) == (277, 177, 533, 433)  # 256 px
    assert crop_window([0, 0, 10, 10], WIDTH, HEIGHT) == (0, 0, 256, 256)
    assert crop_window([790, 990, 10, 10], WIDTH, HEIGHT) == (544, 744, 800, 1000)
    assert crop_window([100, 100, 600, 600], WIDTH, HEIGHT) == (0, 0, 800, 1000)


def test_a_crop_shows_both_boxes_where_they_are_the_same():
    bbox = [400, 300, 100, 100]
    truth = [{"bbox": bbox, "category_id": MALIGNANT}, {"bbox": [0, 0, 9, 9], "category_id": BENIGN}]
    drawn = crop_picture(
        breast(), bbox, truth, [{"bbox": bbox, "category_id": BENIGN, "score": 1}], side=None
    )
    assert drawn.shape == (256, 256, 3)
    left = 400 - crop_window(bbox, WIDTH, HEIGHT)[0]
    assert tuple(drawn[128, left]) == COLOURS[MALIGNANT]  # solid
    dashes = (drawn[60:200, left - 3] == COLOURS[BENIGN]).all(axis=1)
    assert 0.2 < dashes.mean() < 0.9
    coded = np.frombuffer(crop_png(breast(), bbox), dtype=np.uint8)
    assert cv2.imdecode(coded, cv2.IMREAD_COLOR).shape == (448, 448, 3)


def study(folder, views=("MLO", "MLO", "CC", "CC")):
    """Four images: the breast; a text; one of another size; one that is not there. A lesion on the first."""
    cv2.imwrite(str(folder / "1.png"), (breast() * 65535).astype(np.uint16))
    (folder / "2.png").write_text("no image")
    cv2.imwrite(str(folder / "3.png"), (breast()[:900] * 65535).astype(np.uint16))
    images = [
        {"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT, "view": view}
        for number, view in enumerate(views, start=1)
    ]
    lesion = {"id": 1, "image_id": 1, "category_id": MALIGNANT, "bbox": [300, 600, 50, 50]}
    boxes = [(1, IN_MUSCLE, 0.5), (1, IN_TISSUE, 0.6), (1, IN_AIR, 0.7), (1, IN_AIR, 0.2)]
    boxes += [(number, IN_TISSUE, 0.9) for number in (2, 3, 4)]
    results = [
        {"image_id": number, "category_id": BENIGN, "bbox": bbox, "score": score}
        for number, bbox, score in boxes
    ]
    return Coco(images, [lesion], folder / "gt.json"), results


def looked(coco, results, most):
    resamples = PatientResamples([one["id"] for one in coco.images], 0)
    analysis = analyse_errors(coco, results, ErrorRules(0.3), NAMES, resamples)
    return look_at_images(coco, results, analysis, most)


def test_background_boxes_get_places_and_what_cannot_be_read_is_counted(tmp_path):
    analysis = looked(*study(tmp_path), 10)
    assert analysis.places() == {
        TISSUE: 1,
        OUTSIDE: 1,
        MUSCLE: 1,
        f"unknown: {NO_FILE}": 1,
        f"unknown: {NOT_READ}": 1,
        f"unknown: {OTHER_SIZE}": 1,
    }
    assert analysis.looked == 1
    shown = [(analysis.cases[one.case].kind, analysis.cases[one.case].image_id) for one in analysis.gallery]
    assert shown == [("background", 1), ("background", 1), ("background", 1), ("missed", 1)]
    assert gallery_figure(analysis) is not None


def test_no_more_images_are_read_than_allowed(tmp_path):
    coco, results = study(tmp_path)
    assert looked(coco, results, 0).places() == {f"unknown: {NOT_LOOKED_AT}": 6}
    assert gallery_figure(looked(coco, results, 0)) is None
    assert looked(coco, results, 1).places()[f"unknown: {NOT_LOOKED_AT}"] == 4  # 2.png has the highest score


def test_the_worst_cases_are_of_different_images_where_they_can_be(tmp_path):
    coco, results = study(tmp_path)
    cases = looked(coco, results, 0).cases
    chosen = worst_cases(cases, 4)
    assert [cases[place].image_id for place in chosen] == [2, 3, 4, 1, 1]
    assert [cases[place].score for place in chosen] == [0.9, 0.9, 0.9, 0.7, None]


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>.png", "$\\frac{1.png"])
def test_the_report_holds_the_section_and_escapes_names(tmp_path, hostile):
    coco, results = study(tmp_path)
    (tmp_path / "1.png").rename(tmp_path / hostile.replace("/", "_"))
    coco.images[0]["file_name"] = hostile.replace("/", "_")
    evaluation = evaluate(coco, results, Protocol(), Options(error_images=9))
    out = tmp_path / "report"
    page = write_report(evaluation, out, {}).read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == len(evaluation.errors.gallery) == 4
    assert "<script>alert" not in page
    assert {"errors.png", "errors.svg", "gallery.png"} <= {one.name for one in out.iterdir()}
    rows = list(csv.DictReader(io.StringIO((out / "errors.csv").read_text(encoding="utf-8"))))
    assert [row["place"] for row in rows if row["image_id"] == "1"] == [OUTSIDE, TISSUE, MUSCLE, ""]
    write_report(evaluate(Coco(coco.images, [], Path("gt.json")), [], Protocol()), out, {})
    assert not (out / "gallery.png").exists()
