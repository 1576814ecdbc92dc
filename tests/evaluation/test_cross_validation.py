"""The table of a cross-validation against numbers computed by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco
from mammodet.evaluation.cross_validation import (
    blocks,
    spread,
    summary,
    table_csv,
    table_markdown,
    table_text,
)
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.summary import evaluate, metrics_document

SIZE = 100


def _fold(truths: str, scores: list[float | None]) -> dict[str, Any]:
    """Evaluate a fold of one image per patient: M malignant, B benign, each with one lesion; N normal.

    A score is that of a malignant box on the lesion, None an image without any box.
    """
    labels = {"M": "malignant", "B": "benign", "N": "normal"}
    images: list[Any] = [
        {
            "id": number,
            "file_name": f"{number}.png",
            "width": SIZE,
            "height": SIZE,
            "patient_id": f"p{number}",
            "laterality": "L",
            "label": labels[truth],
        }
        for number, truth in enumerate(truths, start=1)
    ]
    box = [10, 10, 40, 40]
    lesions: list[Any] = [
        {"id": number, "image_id": number, "category_id": 2 if truth == "M" else 1, "bbox": box, "area": 1600}
        for number, truth in enumerate(truths, start=1)
        if truth != "N"
    ]
    results = [
        {"image_id": number, "category_id": 2, "bbox": box, "score": score}
        for number, score in enumerate(scores, start=1)
        if score is not None
    ]
    evaluation = evaluate(Coco(images, lesions, Path("fold.json")), results, Protocol())
    return json.loads(json.dumps(metrics_document(evaluation, {})))


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return [
        # 2 of 2 malignant called so, 1 of 2 others; AUC: 0.9 and 0.7 beat 0 twice, 0.9 beats 0.8, 0.7 does not.
        _fold("MMBN", [0.9, 0.7, 0.8, None]),
        # 1 of 2 malignant, 0 of 2 others; AUC: 0.9 beats both, a missed one (0) ties with both: (2 + 1) / 4.
        _fold("MMBN", [0.9, None, None, None]),
        # Nothing malignant: no AUC, no sensitivity, and no precision without a box.
        _fold("BNN", [None, None, None]),
    ]


def _rows(text: str, level: str) -> dict[str, dict[str, str]]:
    return {row["fold"]: row for row in csv.DictReader(io.StringIO(text)) if row["level"] == level}


def test_averages_and_deviations_are_those_computed_by_hand(documents: list[dict[str, Any]]):
    image = summary(blocks(documents))["image"]
    # AUC 3/4 and 3/4; accuracy 3/4, 3/4, 1; sensitivity 1, 1/2; specificity 1/2, 1, 1; precision 2/3, 1.
    assert image["auc"] == pytest.approx({"mean": 0.75, "standard_deviation": 0, "folds": 2})
    root = math.sqrt
    accuracy = {"mean": 5 / 6, "standard_deviation": root((2 / 144 + 4 / 144) / 2), "folds": 3}
    assert image["accuracy"] == pytest.approx(accuracy)
    assert image["sensitivity"] == pytest.approx(
        {"mean": 0.75, "standard_deviation": root(0.125), "folds": 2}
    )
    specificity = {"mean": 5 / 6, "standard_deviation": root((4 / 36 + 1 / 36 + 1 / 36) / 2), "folds": 3}
    assert image["specificity"] == pytest.approx(specificity)
    assert image["precision"] == pytest.approx(
        {"mean": 5 / 6, "standard_deviation": root(1 / 18), "folds": 2}
    )
    assert summary(blocks(documents))["breast"] == image  # one image per breast


def test_an_undefined_number_is_a_dash_and_counts_nowhere(documents: list[dict[str, Any]]):
    rows = _rows(table_csv(blocks(documents)), "image")
    assert list(rows) == [
        "fold 1",
        "fold 2",
        "fold 3",
        "average",
        "standard deviation",
        "folds averaged",
    ]
    assert rows["fold 3"]["auc"] == rows["fold 3"]["sensitivity"] == "-"
    assert float(rows["average"]["auc"]) == 0.75 and rows["folds averaged"]["auc"] == "2"
    assert rows["folds averaged"]["accuracy"] == "3"
    assert (rows["fold 3"]["cases"], rows["fold 3"]["positives"]) == ("3", "0")
    for text in (table_markdown(blocks(documents)), table_text(blocks(documents))):
        assert "folds averaged" in text and "nan" not in text.lower() and "None" not in text


def test_both_lesion_protocols_are_told(documents: list[dict[str, Any]]):
    table = {block.name: block for block in blocks(documents)}
    # Fold 2 has 3 lesions, of which 1 is found.
    assert table["lesion_published"].counts["cases"] == (3, 1, 0)
    assert table["lesion_all"].counts["cases"] == (3, 3, 1)
    assert table["lesion_published"].metrics["sensitivity"] == (1.0, 1.0, None)
    assert table["lesion_all"].metrics["sensitivity"] == (1.0, 0.5, None)


def test_the_page_holds_one_table_per_level(documents: list[dict[str, Any]]):
    page = table_markdown(blocks(documents[:2]))
    assert [line for line in page.splitlines() if line.startswith("### ")] == [
        "### Image level",
        "### Breast level",
        "### Lesion level, matched lesions",
        "### Lesion level, all lesions",
        "### Boxes (COCO)",
    ]
    lines = page.splitlines()
    assert lines[2] == "|  | cases | positive | AUC | accuracy | sens. | spec. | precision | F1 |"
    assert lines[4] == "| fold 1 | 4 | 2 | 0.750 | 0.750 | 1.000 | 0.500 | 0.667 | 0.800 |"
    assert lines[6] == "| average |  |  | 0.750 | 0.750 | 0.750 | 0.750 | 0.833 | 0.733 |"


def test_one_fold_has_no_deviation():
    assert (spread([0.5]).mean, spread([0.5]).standard_deviation) == (0.5, None)
    assert (spread([None]).mean, spread([None]).folds) == (None, 0)


@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=12), st.integers(0, 12))
def test_where_the_undefined_folds_stand_makes_no_difference(values: list[float | None], place: int):
    assert spread(values) == spread([value for value in values if value is not None])
    assert spread([*values[:place], None, *values[place:]]) == spread(values)
