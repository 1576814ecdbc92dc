"""What stands in the tables, in metrics.json and in the figures of classifiers."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from mammodet.evaluation.class_scores import ClassScores
from mammodet.evaluation.classifier_numbers import classifier_numbers
from mammodet.evaluation.classifier_report import FILES, classifier_overview, write_classifier_report
from mammodet.evaluation.classifier_tables import csv_table, latex_tables, markdown_tables, numbers_table
from mammodet.evaluation.resampling import Bootstrap

BOOTSTRAP = Bootstrap(resamples=60)


def network(name, skill, classes=("benign", "malignant"), per_class=20, bootstrap=BOOTSTRAP):
    random = np.random.default_rng(len(name))
    truth = np.tile(np.arange(len(classes)), per_class)
    logits = random.normal(size=(len(truth), len(classes)))
    logits[np.arange(len(truth)), truth] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    patients = [str(place // 2) for place in range(len(truth))]
    scores = ClassScores(classes, truth.tolist(), probabilities, patients, len(classes) - 1)
    return classifier_numbers(name, scores, bootstrap)


@pytest.fixture(scope="module")
def two():
    return [network("alexnet", 0.3), network("res_net 18%", 1.5)]


def test_one_row_per_network_each_cell_with_its_interval(two):
    rows = list(csv.DictReader(csv_table(two).splitlines()))
    assert [row["Network"] for row in rows] == ["alexnet", "res_net 18%", "drawn at random"]
    assert list(rows[0])[3:9] == ["Accuracy", "Sensitivity", "Specificity", "PPV", "NPV", "AUC"]
    assert set(list(rows[0])[9:]) == {"F1", "MCC", "Balanced accuracy"}
    for row, one in zip(rows, two, strict=False):
        estimate = one.numbers["sensitivity"]
        boot = estimate.intervals["bootstrap"]
        assert row["Sensitivity"] == f"{estimate.value:.3f} ({boot.low:.3f}-{boot.high:.3f})"
        assert row["Cases"] == "40" and row["Patients"] == "20"
    assert rows[-1]["AUC"] == "0.500" and rows[-1]["Accuracy"] == "0.500" and rows[-1]["MCC"] == "0.000"


def test_markdown_has_both_layouts(two):
    lines = markdown_tables(two)
    first, second = (lines.index(line) for line in lines if line.startswith("| Network"))
    assert len({len(line) for line in lines[first : first + 5]}) == 1  # aligned
    assert lines[second].split("|")[4].strip() == "Accuracy" and "MCC" in lines[second]


def test_an_interval_that_is_not_the_bootstrap_is_marked():
    perfect = [network("perfect", 40)]
    row = next(iter(csv.DictReader(csv_table(perfect).splitlines())))
    assert re.fullmatch(r"1\.000 \(0\.\d{3}-1\.000\)\*", row["AUC"])
    assert markdown_tables(perfect)[-1].startswith("* where the bootstrap has no width")
    assert "$^{*}$: where the bootstrap" in latex_tables(perfect, "test.json")


def test_latex_is_escaped_and_balanced(two):
    text = latex_tables(two, "a_b.json")
    assert r"res\_net 18\%" in text and r"a\_b.json" in text
    assert "-0." not in text.replace("$-$0.", "").replace("--0.", "")  # a minus is no hyphen
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    for table in text.split(r"\begin{table}")[1:]:
        columns = len(re.search(r"@\{\}(\w+)@\{\}", table)[1])
        rows = [line for line in table.splitlines() if " & " in line]
        assert {line.count(" & ") for line in rows} == {columns - 1}


def test_all_numbers_stand_one_by_one(two):
    rows = list(csv.DictReader(numbers_table(two).splitlines()))
    (row,) = [
        row
        for row in rows
        if (row["network"], row["class"], row["number"], row["interval"])
        == ("alexnet", "all", "auc", "obuchowski")
    ]
    interval = two[0].numbers["auc"].intervals["obuchowski"]
    assert (float(row["low"]), float(row["high"])) == (interval.low, interval.high)
    assert {row["class"] for row in rows} == {"all", "benign", "malignant"}


def test_metrics_and_figures_are_written(two, tmp_path: Path):
    inputs = {"data": {"path": "test.json", "sha256": "0" * 64}}
    write_classifier_report(two, tmp_path, inputs, BOOTSTRAP, "test.json")
    figures = {f"{name}.{suffix}" for name in ("roc", "confusion") for suffix in ("png", "svg")}
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, *figures}
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert document["schema"] == "mammodet.classification/1" and document["inputs"] == inputs
    found = document["networks"]["alexnet"]
    assert found["numbers"]["auc"]["value"] == two[0].numbers["auc"].value
    assert found["confusion"]["counts"] == [list(row) for row in two[0].table.confusion]
    assert document["stochastic_baseline"]["numbers"]["auc"] == 0.5
    assert "alexnet" in (tmp_path / "roc.svg").read_text()


def test_one_class_alone_has_tables_and_no_curve(tmp_path: Path):
    scores = ClassScores(("a", "b"), [1, 1, 1], np.array([[0.2, 0.8]] * 3), ["p", "q", "r"], 1)
    models = [classifier_numbers("net", scores, BOOTSTRAP)]
    write_classifier_report(models, tmp_path, {}, BOOTSTRAP, "x")
    assert not (tmp_path / "roc.png").exists() and (tmp_path / "confusion.png").exists()
    text = "\n".join(classifier_overview(models))
    assert "no case of class a" in text and "too few cases to compare with chance: no case" in text
    assert "n/a" in text and "nan" not in text


def test_several_classes_have_their_auc_each(tmp_path: Path):
    models = [network("net", 1, ("normal", "benign", "malignant"))]
    header = csv_table(models).splitlines()[0]
    assert header.endswith("Macro F1,MCC,Macro AUC,AUC normal,AUC benign,AUC malignant")
    write_classifier_report(models, tmp_path, {}, BOOTSTRAP, "x")
    assert (tmp_path / "roc.png").exists()
    assert classifier_overview(models)[-1].startswith("net: ")
    assert "balanced accuracy" in classifier_overview(models)[-1]


def test_names_of_classes_are_no_formulas(tmp_path: Path):
    models = [network("$x^", 1, ("a$_{", "_b|\n"))]
    write_classifier_report(models, tmp_path, {}, BOOTSTRAP, "x")
    assert "$x^" in (tmp_path / "table.csv").read_text()
