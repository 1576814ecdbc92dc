"""LaTeX tables: the numbers of the evaluation, whatever the files are called, and they compile."""

import re
import shutil
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco
from mammodet.evaluation.cross_validation import blocks
from mammodet.evaluation.latex import cross_validation_table, escape, performance_table
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import Options, evaluate, metrics_document

HOSTILE = r"50%_of\a{b}#1 $x^2$ ~&<>|\"--'`" + " Mračko\u0142ø ß î 乳房\n\\input{secret} %"


def study(truths="MMBBN", scores=(0.9, 0.35, 0.6, None, 0.4), resamples=50, categories=None):
    """One image per patient: M malignant, B benign, each with one lesion; N normal; malignant boxes."""
    labels = {"M": "malignant", "B": "benign", "N": "normal"}
    images, lesions, results = [], [], []
    for number, (truth, score) in enumerate(zip(truths, scores, strict=True), start=1):
        image = {"id": number, "file_name": f"{number}.png", "width": 100, "height": 100}
        images.append({**image, "patient_id": f"p{number}", "laterality": "L", "label": labels[truth]})
        one = {"image_id": number, "category_id": 1 if truth == "B" else 2, "bbox": [10, 10, 40, 40]}
        if truth != "N":
            lesions.append({**one, "id": number})
        if score is not None:
            results.append({**one, "category_id": 2, "score": score})
    more = {} if categories is None else {"categories": categories}
    coco = Coco(images, lesions, Path("gt.json"), **more)
    return evaluate(coco, results, Protocol(), Options(Bootstrap(resamples)))


def folds(times=1):
    documents = [study(), study("MBN", (0.9, 0.4, None)), study("BNN", (None, None, None))]
    return blocks([metrics_document(one, {}) for one in documents * times])


def rows(table):
    """Return the cells of every row, without commands."""
    lines = [line for line in table.splitlines() if line.endswith((r"\\", r"\\[2pt]"))]
    return [[cell.strip() for cell in re.sub(r"\\\\(\[2pt\])?$", "", line).split(" & ")] for line in lines]


def test_the_numbers_are_those_of_the_evaluation():
    evaluation = study()
    table = rows(performance_table(evaluation, {"predictions": {"path": "a/dt.json"}}))
    assert table[0] == ["Class", "$n$", "Precision", "Sensitivity", "F1", "Accuracy", "AUC"]
    headings = [row[0] for row in table if len(row) == 1]
    assert [one.split("textit{")[1] for one in headings] == [
        "Image level, 5 images of 5 patients}}",
        "Breast level, 5 breasts of 5 patients}}",
        "Patient level, 5 patients}}",
        "Lesion level, matched lesions, 3 lesions of 3 patients}}",
        "Lesion level, all lesions, 4 lesions of 4 patients}}",
    ]
    level = evaluation.levels["image"]
    other, malignant = level.classification.per_class.values()
    assert table[2] == [
        *("Not malignant", "3", f"{other.precision:.3f}", f"{other.sensitivity:.3f}", f"{other.f1:.3f}"),
        *(f"{level.classification.accuracy:.3f}", f"{level.roc.auc:.3f}"),
    ]
    boot = level.intervals["auc"]["bootstrap"]
    assert f"{boot.low:.3f}--{boot.high:.3f}" in table[3][6]
    assert table[4][:4] == ["Malignant", "2", f"{malignant.precision:.3f}", "1.000"]
    assert table[5][3].endswith("$^{*}$}")  # a sensitivity of 1: Wilson's interval


def test_what_is_undefined_is_a_dash_and_no_resamples_give_no_intervals():
    table = performance_table(study("NNN", (None, None, 0.8), resamples=0), {})
    assert "scriptsize" not in table and "interval" not in table
    malignant = next(row for row in rows(table) if row[0] == "Malignant")
    assert malignant[:5] == ["Malignant", "0", "0.000", "--", "0.000"]
    assert not re.search(r"\b(nan|None)\b", table)


def test_other_categories_have_no_table():
    categories = [{"id": 1, "name": "mass"}, {"id": 2, "name": "all"}]
    assert performance_table(study(categories=categories), {}) is None


def test_every_fold_average_and_deviation_is_there():
    table = cross_validation_table(folds())
    assert "3 folds" in table
    first = [row[0] for row in rows(table)]
    for name in ("Fold 1", "Fold 3", "Average", "Standard deviation"):
        assert first.count(name) == 5, name
    assert first.count("Folds averaged") == 4  # the numbers of boxes are there in every fold
    image = folds()[0]
    average = next(row for row in rows(table) if row[0] == "Average")
    assert average == ["Average", "", "", *(f"{image.spread(name).mean:.3f}" for name in image.metrics)]
    third = next(row for row in rows(table) if row[0] == "Fold 3")
    assert third[3] == "--"  # one class only: no AUC


def test_names_are_escaped():
    assert escape("a_b & 50%") == r"a\_b \& 50\%"
    assert escape("\\input{x}") == r"\textbackslash{}input\{x\}"
    assert escape("Mračko\n%") == r"Mra\v{c}ko \%"
    assert escape("乳") == "?"
    table = performance_table(study(), {"predictions": {"path": HOSTILE}})
    assert "\\input" not in table and "secret" in table
    assert len(table.splitlines()) == len(performance_table(study(), {}).splitlines())


@given(st.text())
def test_nothing_that_is_escaped_is_a_command_or_ends_a_line(text):
    found = escape(text)
    assert "\n" not in found and found.isascii()
    bare = re.sub(r"\\([&%$#_{}]|textbackslash\{\}|text[a-z]+\{\})", "", found)
    bare = re.sub(r"\\([`'^~=\".]|[urHvc])\{[^{}]*\}|\{\\(ss|o|O|ae|AE|l|L|i)\}|-\{\}", "", bare)
    assert not set(bare) & set("\\&%$#_{}~^"), found


@pytest.mark.slow
@pytest.mark.parametrize("accented", [False, True])
def test_both_tables_compile(tmp_path, accented):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed: texlive-latex-base and texlive-latex-recommended")
    name = string.printable + "".join(map(chr, range(0xA0, 0x250))) if accented else HOSTILE
    performance = performance_table(study(), {"predictions": {"path": name.replace("/", "")}})
    (tmp_path / "table2.tex").write_text(performance, encoding="utf-8")
    table = cross_validation_table(folds(3 if accented else 1))
    (tmp_path / "table3.tex").write_text(table, encoding="utf-8")
    page = "\n".join(
        (
            r"\documentclass{article}\usepackage{booktabs}",
            r"\begin{document}\input{table2}\input{table3}\end{document}",
        )
    )
    (tmp_path / "paper.tex").write_text(page)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overfull" not in done.stdout or accented  # one long name of no words
    assert "Float too large" not in done.stdout
    assert (tmp_path / "paper.pdf").is_file()
