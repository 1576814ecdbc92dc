"""Labels and spacings of a ground truth that are no labels and no spacings are refused, not guessed."""

import pytest

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.ground_truth_check import check_ground_truth
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.summary import evaluate


def truth(tmp_path, key, value, categories=("benign", "malignant")):
    images = [{"id": n, "file_name": f"{n}.png", "width": 500, "height": 400} for n in (1, 2, 3)]
    for image in images[1:]:
        image[key] = value
    lesion = {"id": 1, "image_id": 2, "category_id": 2, "bbox": [10, 10, 50, 50], "area": 2500, "iscrowd": 0}
    named = [{"id": n, "name": name} for n, name in enumerate(categories, start=1)]
    return Coco(images, [lesion], tmp_path / "gt.json", categories=named)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("spacing_mm", "0.07", "two positive numbers"),
        ("spacing_mm", 0.07, "two positive numbers"),
        ("spacing_mm", [-0.07, 0.07], "two positive numbers"),
        ("spacing_mm", [0.07], "two positive numbers"),
        ("label", "cancer", "normal or benign or malignant or null"),
        ("label", ["malignant"], "normal or benign or malignant or null"),
        ("label", 1, "normal or benign or malignant or null"),
    ],
)
def test_a_wrong_value_is_named_with_file_image_and_remedy(tmp_path, key, value, expected):
    with pytest.raises(InputError) as caught:
        evaluate(truth(tmp_path, key, value), [], Protocol())
    told = str(caught.value)
    assert f"gt.json: images[id=2].{key}: must be {expected}" in told
    assert "and 1 more images" in told and repr(value) in told and "leave the key out" in told


@pytest.mark.parametrize(
    ("key", "value"), [("spacing_mm", None), ("spacing_mm", (0.1, 0.2)), ("label", None), ("label", "normal")]
)
def test_right_and_unknown_values_pass(tmp_path, key, value):
    check_ground_truth(truth(tmp_path, key, value))


def test_other_files_may_use_label_for_something_else(tmp_path):
    check_ground_truth(truth(tmp_path, "label", 17, categories=("cat", "dog")))


@pytest.mark.parametrize("name", [None, 3, ["mass"]])
def test_a_name_of_a_class_is_a_text(tmp_path, name):
    with pytest.raises(InputError, match=r"gt.json: categories\[id=1\].name: must be a text"):
        evaluate(truth(tmp_path, "label", None, categories=(name, "malignant")), [], Protocol())
