"""What the terminal says about intervals, stars and images that could not be looked at."""

import pytest

from mammodet.datasets.coco import Coco
from mammodet.evaluation.overview import overview
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import Options, evaluate

STAR = "* where the bootstrap has no width"


def study(tmp_path, truths, scores, patients=None):
    """One image of each truth, with one malignant box; a score below 0.5 is off the lesion."""
    images, lesions, results = [], [], []
    for number, (truth, score) in enumerate(zip(truths, scores, strict=True), start=1):
        patient = str(number) if patients is None else patients[number - 1]
        image = {"id": number, "file_name": f"{number}.png", "width": 500, "height": 500}
        images.append({**image, "label": truth, "patient_id": patient})
        if truth != "normal":
            lesion = {"id": len(lesions) + 1, "image_id": number, "category_id": 1 + (truth == "malignant")}
            lesions.append({**lesion, "bbox": [10, 10, 80, 80], "area": 6400, "iscrowd": 0})
        box = [10, 10, 80, 80] if score >= 0.5 else [300, 300, 80, 80]
        results.append({"image_id": number, "category_id": 2, "bbox": box, "score": score})
    categories = [{"id": 1, "name": "benign"}, {"id": 2, "name": "malignant"}]
    return Coco(images, lesions, tmp_path / "gt.json", categories=categories), results


def lines(coco, results, images=0):
    return overview(evaluate(coco, results, Protocol(), Options(Bootstrap(200), error_images=images)))


def test_the_star_is_explained_where_there_is_one(tmp_path):
    perfect = lines(*study(tmp_path, ["malignant"] * 6 + ["normal"] * 6, [0.9] * 6 + [0.1] * 6))
    assert any(line.endswith("*") for line in perfect) and any(line.startswith(STAR) for line in perfect)
    truths = ["malignant", "normal"] * 6
    mixed = lines(*study(tmp_path, truths, [0.9, 0.6, 0.4, 0.1, 0.8, 0.35, 0.7, 0.2, 0.31, 0.1, 0.6, 0.55]))
    starred = [line for line in mixed if "*" in line]
    assert (not starred) or any(not line.startswith(STAR) for line in starred)


@pytest.mark.parametrize("truth", ["malignant", "benign", "normal"])
def test_the_resamples_are_told_where_all_images_are_of_one_class(tmp_path, truth):
    told = lines(*study(tmp_path, [truth] * 6, [0.9] * 6))
    assert "intervals: 200 bootstrap resamples of 6 patients" in told
    assert any(line.startswith("no interval of the AUC of images: ") for line in told)


def test_one_patient_has_no_intervals(tmp_path):
    told = lines(*study(tmp_path, ["malignant", "normal"], [0.9, 0.2], ["a", "a"]))
    assert "no intervals: they need two patients or more, there is one" in told


def test_other_categories_are_told_the_resamples_too(tmp_path):
    coco, results = study(tmp_path, ["malignant", "normal"], [0.9, 0.2])
    other = Coco(coco.images, coco.annotations, coco.path, categories=[{"id": 2, "name": "mass"}])
    assert "intervals: 200 bootstrap resamples of 2 patients" in lines(other, results)


def test_boxes_on_images_that_are_not_there_are_told(tmp_path):
    coco, results = study(tmp_path, ["malignant", "normal"], [0.9, 0.4])
    assert "1 background boxes of unknown place: file not there" in lines(coco, results, images=5)
    (tmp_path / "2.png").write_bytes(b"no picture")
    assert "1 background boxes of unknown place: file cannot be read" in lines(coco, results, images=5)
    assert not any("unknown place" in line for line in lines(coco, results))
