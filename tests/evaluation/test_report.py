"""The files of an evaluation: figures that repeat byte for byte, tables, and one self-contained page."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import pytest

from mammodet.datasets.coco import Coco
from mammodet.evaluation.figures import (
    confusion_figure,
    froc_figure,
    reliability_figure,
    roc_figure,
    save_in_both,
)
from mammodet.evaluation.overview import overview
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.report import render, write_report
from mammodet.evaluation.summary import evaluate
from mammodet.evaluation.tables import csv_tables

INPUTS = {name: {"path": f"{name}.json", "sha256": "0" * 64} for name in ("ground_truth", "predictions")}


def study(labels=("malignant", "benign", "normal", "malignant"), categories=None):
    images, lesions, results = [], [], []
    for number, label in enumerate(labels, start=1):
        image = {"id": number, "file_name": f"{number}.png", "width": 500, "height": 500, "label": label}
        images.append(image)
        if label != "normal":
            category = 2 if label == "malignant" else 1
            bbox = [10, 10, 50 + number, 60]
            lesions.append({"id": number, "image_id": number, "category_id": category, "bbox": bbox})
            found = {"image_id": number, "category_id": category, "bbox": bbox, "score": 0.5 + number / 10}
            results.append(found)
    more = {} if categories is None else {"categories": categories}
    return evaluate(Coco(images, lesions, Path("gt.json"), **more), results, Protocol())


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_figures_are_the_same_bytes_again_and_readable(tmp_path):
    drawn = {roc_figure: "levels", confusion_figure: "levels", reliability_figure: "levels"}
    for name, evaluation in (("1", study()), ("2", study())):
        (tmp_path / name).mkdir()
        for draw, part in (drawn | {froc_figure: "froc"}).items():
            save_in_both(draw(getattr(evaluation, part)), tmp_path / name, draw.__name__)
    written = sorted((tmp_path / "1").iterdir())
    assert len(written) == 8
    for path in written:
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()
        if path.suffix == ".png":
            assert min(cv2.imread(str(path)).shape[:2]) > 800
        else:
            assert ET.parse(path).getroot().tag.endswith("svg")


def test_the_roc_figure_tells_each_auc_on_a_square_with_named_axes():
    levels = study().levels
    axes = roc_figure(levels).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(labels) == 5
    assert labels[0].startswith(f"Images (n = 4): AUC {levels['image'].roc.auc:.3f} [")
    assert axes.get_aspect() == 1
    assert axes.get_xlabel() and axes.get_ylabel()
    dashes = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()[1:]}
    assert len(dashes) == 5


def test_the_confusion_figure_shows_every_count():
    levels = study().levels
    panels = [axes for axes in confusion_figure(levels).axes if axes.get_visible()]
    for axes, level in zip(panels, levels.values(), strict=True):
        shown = [int(text.get_text().split("\n")[0]) for text in axes.texts]
        assert shown == [count for row in level.classification.confusion for count in row]


def test_no_curve_and_no_case_draw_nothing():
    assert roc_figure(study(["normal", "normal"]).levels) is None
    other = study(["normal"], [{"id": 1, "name": "mass"}])
    assert confusion_figure(other.levels) is None


def test_tables_hold_the_numbers_and_na_where_there_is_none():
    evaluation = study(["malignant", "normal", "normal"])
    tables = csv_tables(evaluation)
    benign = next(row for row in rows(tables["coco.csv"]) if row["class"] == "benign")
    assert set(benign.values()) == {"benign", "n/a"}
    image = {row["class"]: row for row in rows(tables["image.csv"])}
    assert image["malignant"]["predicted malignant"] == "1"
    assert image["all"]["auc"] == "1.0"
    assert image["all"]["auc_malignant_vs_benign"] == "n/a"
    assert [row["truth"] for row in rows(tables["images.csv"])] == ["malignant", "normal", "normal"]
    assert {row["lesions"] for row in rows(tables["lesion.csv"])} == {"matched", "all"}
    assert {row["curve"] for row in rows(tables["roc.csv"])} == {"image", "breast", "patient"}


def test_the_page_is_whole_and_reaches_for_nothing_outside(tmp_path):
    page = write_report(study(), tmp_path, INPUTS).read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "metrics.json",
        "table2.tex",
        *(f"{name}.csv" for name in ("coco", "froc", "froc_curves", "roc", "intervals", "calibration")),
        "subgroups.csv",
        *(f"{name}.csv" for name in ("operating_points", "fusion")),
        *(f"{name}.csv" for name in ("errors", "error_kinds", "error_places", "views")),
        *(f"{name}{plural}.csv" for name in ("image", "breast", "patient", "lesion") for plural in ("", "s")),
        *(
            f"{name}.{suffix}"
            for name in ("roc", "froc", "confusion", "reliability", "errors", "subgroups")
            for suffix in ("png", "svg")
        ),
    }
    assert page.count("data:image/svg+xml;base64,") == 6
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "prefers-color-scheme: dark" in page
    assert "at least 0.3 count" in page


def test_the_page_has_every_subgroup_once():
    evaluation = study()
    page = render(evaluation, INPUTS, {})
    table = page.partition("Subgroups (COCO)</h2>")[2].partition("</table>")[0]
    shown = [row for row in evaluation.subgroups if row.classes == "all"]
    assert table.count("<tr") == len(shown) + 1
    assert table.count("<th>size in px</th>") == table.count("<th>view</th>") == 1


def test_names_from_files_are_escaped(tmp_path):
    evaluation = study(["normal"], [{"id": 1, "name": "<script>alert(1)</script>"}])
    page = render(evaluation, INPUTS, {})
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def missing(truth):
    """One lesion of this truth is missed; a benign one scores higher than the malignant one."""
    images = [
        {"id": number, "file_name": f"{number}.png", "width": 500, "height": 500} for number in (1, 2, 3)
    ]
    lesions = [
        {"id": number, "image_id": number, "category_id": category, "bbox": [10, 10, 50, 60]}
        for number, category in ((1, 1), (2, 2), (3, 1 if truth == "benign" else 2))
    ]
    results = [
        {"image_id": number, "category_id": 2, "bbox": [10, 10, 50, 60], "score": score}
        for number, score in ((1, 0.8), (2, 0.5))
    ]
    return evaluate(Coco(images, lesions, Path("gt.json")), results, Protocol())


def test_missed_benign_lesions_raise_the_auc_and_a_warning_says_so():
    evaluation = missing("benign")
    assert evaluation.counts["lesions_missed_benign"] == evaluation.counts["lesions_missed"] == 1
    assert evaluation.levels["lesion_published"].roc.auc == 0
    assert evaluation.levels["lesion_all"].roc.auc == 0.5
    page = render(evaluation, INPUTS, {})
    assert re.search(r"class=\"note\">1 of the missed lesions are benign\. .*perfect negative", page)
    assert page.index("of the missed lesions are benign") < page.index("Detection (COCO)</h2>")
    warnings = [line for line in overview(evaluation) if line.startswith("warning")]
    assert len(warnings) == 1 and "Lesions, all: 1 missed benign" in warnings[0]


def test_missed_malignant_lesions_raise_no_warning():
    evaluation = missing("malignant")
    assert evaluation.counts["lesions_missed"] == 1
    assert evaluation.counts["lesions_missed_benign"] == 0
    assert "of the missed lesions are benign" not in render(evaluation, INPUTS, {})
    assert not any(line.startswith("warning") for line in overview(evaluation))


def test_nothing_of_an_earlier_evaluation_stays(tmp_path):
    write_report(study(), tmp_path, INPUTS)
    write_report(study(["normal"], [{"id": 1, "name": "mass"}]), tmp_path, INPUTS)
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "metrics.json",
        *(f"{name}.csv" for name in ("coco", "intervals", "froc", "froc_curves", "subgroups")),
        *(f"{name}.csv" for name in ("errors", "error_kinds", "error_places", "views")),
    }


def test_files_of_somebody_else_stay(tmp_path):
    (tmp_path / "images.csv").write_text("mine")
    write_report(study(["normal"], [{"id": 1, "name": "mass"}]), tmp_path, INPUTS)
    assert (tmp_path / "images.csv").read_text() == "mine"


@pytest.mark.parametrize("labels", [["normal", "normal"], ["malignant"], ["benign", "benign"]])
def test_one_class_only_gives_a_page_that_says_so(labels):
    page = render(study(labels), INPUTS, {})
    assert "needs both classes" in page
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)
